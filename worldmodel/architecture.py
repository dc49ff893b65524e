"""The sizes of a model, as a configuration names them, and the parts that have them."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError, nearest
from worldmodel.nn.action_predictor import ActionPredictor
from worldmodel.nn.encoder import Encoder, VideoViT
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import Head, StateHead, TokenHead, state_frames
from worldmodel.nn.masked_predictor import MaskedPredictor

State = Literal["vector", "tokens"]


@dataclass(frozen=True)
class Architecture:
    """Sizes of a world model.

    Attributes:
        encoder: frames to tokens; any `Encoder`.
        size: side of the square frames in pixels.
        latent_width: dimensions of a latent that are predicted from video.
        extra_width: dimensions of a latent that are seen and never predicted; see `Head`.
        latent_per_token: predict a latent for each token instead of one for each time step.
        state: of an action model: `vector`, made by a head that learns, or all `tokens` of a time
            step, as they are.
        still: with `state=tokens`, a state is of one frame, shown as if it stood still.
        predictor_width: of the masked predictor.
        action: class of the action predictor, one of those in `nn/` that are an `ActionPredictor`.
        action_width, action_depth, action_window: of the action predictor.
        action_block: environment steps from one state to the next, all of whose actions lead there;
            as many as a time step has frames if None.
    """

    encoder: Encoder = field(default_factory=VideoViT)
    size: int = 64
    latent_width: int = 96
    extra_width: int = 96
    latent_per_token: bool = False
    state: State = "vector"
    still: bool = False
    predictor_width: int = 384
    action: str = "ActionTransformer"
    action_width: int = 128
    action_depth: int = 2
    action_window: int = 2
    action_block: int | None = None

    def __post_init__(self) -> None:
        if self.action_block is not None and self.action_block < 1:
            raise ConfigError(f"model.action_block must be at least 1, got {self.action_block}")
        if self.state not in get_args(State):
            raise ConfigError(f"model.state={self.state}: {nearest(self.state, get_args(State))}")
        if self.still and self.state != "tokens":
            raise ConfigError("model.still=true needs model.state=tokens")

    @property
    def tokens(self) -> int:
        """Tokens in a time step."""
        _, h, w = self.encoder.grid_of(self.encoder.tubelet_frames, self.size, self.size)
        return h * w

    def head(self, *, proprioception: int = 0, told: str | None = None) -> Head:
        """A new head: from tokens to latents.

        Args:
            proprioception: dimensions for what a body knows of itself; states of tokens alone have
                room for it.
            told: the info that tells it.
        """
        if self.state == "tokens":
            encoder = self.encoder
            _, h, w = encoder.grid_of(encoder.tubelet_frames, self.size, self.size)
            return FrameTokens(
                (h, w), encoder.width, proprioception=proprioception, told=told, still=self.still
            )
        if proprioception:
            raise ConfigError(
                f"proprioception={told} goes into states of tokens: say model.state=tokens"
            )
        if self.latent_per_token:
            return TokenHead(self.encoder.width, dim=self.latent_width)
        return StateHead(
            self.tokens, self.encoder.width, dim=self.latent_width, extra=self.extra_width
        )

    def masked_predictor(self) -> MaskedPredictor:
        """A new masked predictor: from latents that are seen to those that are hidden."""
        head = self.head()
        return MaskedPredictor(
            self.tokens if head.per_token else 1,
            head.width,
            head.dim,
            width=self.predictor_width,
        )

    def action_predictor(self, head: Head, block_dim: int) -> ActionPredictor:
        """A new action predictor, for the states of a head, action blocks of `block_dim`."""
        if self.action_width % 4:
            raise ConfigError(
                f"model.action_width must be a multiple of 4, got {self.action_width}"
            )
        known = ActionPredictor.registry
        if self.action not in known:
            raise ConfigError(f"model.action={self.action}: {nearest(self.action, known)}")
        # A single frame tells no velocity: a prediction begins with two.
        single = state_frames(self.encoder, head) == 1
        least = min(2, self.action_window) if single else 1
        return known[self.action].of(
            head, block_dim, width=self.action_width, depth=self.action_depth,
            window=self.action_window, least=least,
        )  # fmt: skip


def check_frames(
    frames: Tensor, source: str, encoder: Encoder, *, size: int, any_size: bool
) -> None:
    """Refuse episodes whose frames do not fit a model.

    Args:
        frames: the episodes' frames, n c h w.
        source: their path, for the message.
        encoder: of the model.
        size: of the model: side of its square frames in pixels.
        any_size: allow other sizes: nothing after the encoder depends on it, as a head does.

    Raises:
        ConfigError: they have another size than the model needs.
    """
    h, w = frames.shape[-2:]
    fits, cause = any_size or (h, w) == (size, size), None
    try:
        encoder.grid_of(encoder.tubelet_frames, h, w)
    except ShapeError as raised:
        fits, cause = False, raised
    if not fits:
        raise ConfigError(
            f"{source}: its frames have {h} x {w} pixels, the model takes {size} x {size}; collect "
            f"such episodes, resize them where their format can (reading={{size:{size}}}), "
            "or use a model of their size"
        ) from cause
