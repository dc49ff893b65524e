"""What cannot be read from third-party weights and has to be given by the user."""

from dataclasses import asdict, dataclass

from worldmodel.errors import ConfigError


@dataclass(frozen=True)
class Hints:
    """Facts that weights do not hold; None takes the published value.

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
