"""What a checkpoint does not say of itself, and a user may."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hints:
    """Answers to what cannot be told from weights; None leaves the published answer.

    Attributes:
        family: `vjepa` (1), `vjepa2`, `vjepa2.1` or `vjepa2-ac`.
        heads: attention heads of the encoder.
        predictor_heads: attention heads of the predictor.
        size: side of the square frames in pixels.
    """

    family: str | None = None
    heads: int | None = None
    predictor_heads: int | None = None
    size: int | None = None
