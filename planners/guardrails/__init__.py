"""Guardrails: what a plan must not cross."""

from .action_bounds import ActionBounds
from .choices import Choices
from .guardrail import Guardrail
from .keep_out import KeepOut, KeepOutFlagged

__all__ = ["ActionBounds", "Choices", "Guardrail", "KeepOut", "KeepOutFlagged"]
