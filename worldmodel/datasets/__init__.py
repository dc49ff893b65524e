"""Formats of data sets: from what lies on disk to a catalogue of videos, or to episodes."""

from worldmodel.datasets.format import Format as Format
from worldmodel.datasets.format import formats as formats
from worldmodel.datasets.open import find_format as find_format
from worldmodel.datasets.open import open_catalogue as open_catalogue
from worldmodel.datasets.open import open_episodes as open_episodes
