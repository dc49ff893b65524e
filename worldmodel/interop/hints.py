"""What a checkpoint does not say of itself, and a user may."""

from dataclasses import asdict, dataclass
from pathlib import Path

from worldmodel.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class Hints:
    """Answers to what cannot be told from weights; None leaves the published answer.

    Attributes:
        family: `vjepa` (1), `vjepa2`, `vjepa2.1` or `vjepa2-ac`.
        heads: attention heads of the encoder.
        predictor_heads: attention heads of the predictor.
        size: side of the square frames in pixels.

    Raises:
        ConfigError: a number is no whole number above 0, or the family no text.
    """

    family: str | None = None
    heads: int | None = None
    predictor_heads: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.family, str | None):
            raise ConfigError(f"family={self.family}: must be text, or left out")
        for name, value in asdict(self).items():
            if name != "family" and value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name}={value}: must be a whole number above 0, or left out")


def frames_size(size: int, patch: int, path: Path) -> int:
    """The side of the frames, which patches must fill.

    Raises:
        CheckpointError: they do not.
    """
    if size < 1 or size % patch:
        raise CheckpointError(
            f"{path}: frames of {size} x {size} pixels do not divide into its patches of {patch} x "
            f"{patch}; say a multiple of {patch} as size="
        )
    return size
