"""Ways: what leads from a start to a goal, to be left out of data and asked of plans."""

from .around import Around
from .passage import Passage
from .way import Way

__all__ = ["Around", "Passage", "Way"]
