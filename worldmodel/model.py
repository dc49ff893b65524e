"""`WorldModel`: the learned networks, behind four verbs: encode, states, predict, rollout.

A value to load and use. `objectives/` and `training/` train its parts; a part that has not been
trained yet is missing, and the method that needs it says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError, WorldModelError
from worldmodel.nn.action_predictor import ActionPredictor
from worldmodel.nn.classifier import AttentiveClassifier
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.ensemble import Ensemble
from worldmodel.nn.flow import FlowHead
from worldmodel.nn.frame_predictor import FrameActionPredictor
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import Head, state_frames, time_step_latents
from worldmodel.nn.predictor import Prediction, Predictor
from worldmodel.nn.token_predictor import Context, TokenPredictor
from worldmodel.types import Clip, History, Latents, Mask


class WorldModel(nn.Module):
    """Encoder, predictors and state head under one name.

    Args:
        encoder: frames -> tokens.
        size: side of the square frames in pixels.
        head: one time step's tokens -> its state, or its latents.
        masked_predictor: hidden latents from visible ones; surprise needs it.
        action_predictor: next state from states and actions, a vector or all tokens of a frame;
            planning needs it.
        classifier: the class of a clip, from the encoder's tokens.
        flow_head: optical flow between time steps, from the encoder's tokens.
        action_dim: dimension of one action of the environment; 0 if no actions were learned.
        action_choices: how many alternatives each choice of an action has, which `action_dim`
            counts together; none where actions are numbers; None where that is not known.
        action_block: environment steps from one state to the next; as many as a time step has
            frames if None.
    """

    action_mean: Tensor  # a, of an action block, in the environment's units
    action_std: Tensor  # a

    def __init__(
        self, encoder: Encoder, *, size: int, head: Head | None = None,
        masked_predictor: Predictor | None = None,
        action_predictor: ActionPredictor | None = None, action_dim: int = 0,
        action_choices: Sequence[int] | None = None,
        classifier: AttentiveClassifier | None = None,
        flow_head: FlowHead | None = None, action_block: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.head, self.masked_predictor = encoder, head, masked_predictor
        self.action_predictor, self.classifier = action_predictor, classifier
        self.flow_head = flow_head
        self.size, self.action_dim = size, action_dim
        self.action_choices = None if action_choices is None else tuple(action_choices)
        if self.action_choices and sum(self.action_choices) != action_dim:
            raise ConfigError(
                f"action_choices={list(self.action_choices)} are {sum(self.action_choices)} "
                f"alternatives in all, action_dim is {action_dim}"
            )
        self.action_block = action_block or self.state_frames
        block = self.action_block * action_dim
        self.register_buffer("action_mean", torch.zeros(block))
        self.register_buffer("action_std", torch.ones(block))

    @property
    def tubelet_frames(self) -> int:
        """Frames in a time step."""
        return self.encoder.tubelet_frames

    @property
    def state_frames(self) -> int:
        """Frames that a state is made of: those of a time step, or one."""
        return state_frames(self.encoder, self.head)

    @property
    def proprioception(self) -> str | None:
        """The info that tells what a body knows of itself, of a model that takes it by name."""
        return self.head.told if isinstance(self.head, FrameTokens) else None

    @property
    def state_dim(self) -> int:
        """Dimension of a state."""
        return int(self._part("head").width)

    @property
    def image_dim(self) -> int:
        """Dimensions of a state that an image tells, which come first."""
        head = self._part("head")
        return int(head.dim) if isinstance(head, FrameTokens) else self.state_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def encode(self, clip: Clip) -> Latents:
        """All tokens of a clip; each may depend on the whole clip.

        Raises:
            ShapeError: the clip does not divide into time steps.
        """
        frames = clip.frames.to(self.device)
        grid = self.encoder.grid(frames)
        step = 1 if self.encoder.is_image(clip.frames.shape[1]) else self.tubelet_frames
        last = clip.times[:, step - 1 :: step]
        return Latents(self.encoder(frames), grid, last)

    def states(self, clip: Clip, proprioception: Tensor | None = None) -> Tensor:
        """The state of each time step, encoded alone: b t d with t = frames / state_frames.

        Args:
            clip: b (t i) c h w.
            proprioception: b t s, what a body knows of itself at the end of each time step, for a
                model that takes it; zeros if None.

        Raises:
            ShapeError: the frames are not of the model's size, or it takes no such proprioception.
            WorldModelError: the model has no head yet, or one that makes latents of tokens.
        """
        head = self._part("head")
        if head.per_token:
            raise WorldModelError(
                "this model makes latents of tokens, not states of time steps: pretrain with "
                "model.latent_per_token=false"
            )
        frames = clip.frames.to(self.device)
        _, t, _, h, w = frames.shape
        if (h, w) != (self.size, self.size) or t % self.state_frames:
            raise ShapeError(
                f"this model takes clips of {self.size} x {self.size} pixels and a multiple of "
                f"{self.state_frames} frames, got {t} frames of {h} x {w}"
            )
        states = time_step_latents(self.encoder, head, frames)[:, :, 0]
        if proprioception is None:
            return states
        if not isinstance(head, FrameTokens):
            raise ShapeError("this model takes no proprioception: train with proprioception=")
        return head.with_known(states, proprioception)

    def predict(self, states: Tensor, actions: Tensor) -> Tensor:
        """The state after each of `states` (b t d) and its action block (b t a): b t d.

        Some predictors tell the last of them alone: b 1 d.

        It looks at no more states than the predictor's window, if it does not unroll; actions are
        in the environment's units. A history that is too short began at rest: its first state
        stood, without action.
        """
        return self.predictions_of_each(states, actions).mean(dim=0)

    def predictions_of_each(self, states: Tensor, actions: Tensor) -> Tensor:
        """As `predict`, but what each member of an ensemble says: e b t d; others have one."""
        predictor: ActionPredictor = self._part("action_predictor")
        if missing := max(0, predictor.least - states.shape[1]):
            states, actions = self._from_rest(states, actions)
        following = predictor.each(states, self.normalise(actions))
        return following[:, :, missing:] if following.shape[2] == states.shape[1] else following

    def disagreement(self, states: Tensor, actions: Tensor) -> Tensor:
        """Where the members of an ensemble disagree on what follows each state.

        Args:
            states: k t d, on the way of a plan.
            actions: k t a, action blocks that are taken at each.

        Returns:
            k t, the variance over the members, the mean over the dimensions.

        Raises:
            WorldModelError: there is one predictor only.
        """
        if not isinstance(self._part("action_predictor"), Ensemble):
            raise WorldModelError(
                "this model has one action predictor, which cannot disagree: train with "
                "model.action=Ensemble"
            )
        found = []
        for t in range(states.shape[1]):
            first = max(0, t + 1 - self.action_window)
            each = self.predictions_of_each(states[:, first : t + 1], actions[:, first : t + 1])
            found.append(each[:, :, -1].var(dim=0).mean(dim=-1))
        return torch.stack(found, dim=1) if found else states.new_zeros(len(states), 0)

    def normalise(self, actions: Tensor) -> Tensor:
        """Action blocks (... a) in the environment's units -> mean 0 and variance 1 in training."""
        return (actions - self.action_mean) / self.action_std

    @property
    def action_window(self) -> int:
        """States that the action predictor looks at."""
        return int(self._part("action_predictor").window)

    @property
    def action_least(self) -> int:
        """States that the action predictor is given at least."""
        return int(self._part("action_predictor").least)

    def rollout(self, history: History, actions: Tensor) -> Tensor:
        """Imagine the states after each block of `k` action sequences; differentiable.

        Args:
            history: states and action blocks so far.
            actions: k t a, action blocks in the environment's units.

        Returns:
            k t d.
        """
        states = history.states[-self.action_window :]
        past = history.actions[len(history.actions) - (len(states) - 1) :]
        if self._part("action_predictor").one_history:
            return self.imagine(states[None], past[None], actions)
        k = len(actions)
        return self.imagine(
            repeat(states, "t d -> k t d", k=k), repeat(past, "t a -> k t a", k=k), actions
        )

    def imagine(
        self, states: Tensor, past: Tensor, actions: Tensor, *, by: ActionPredictor | None = None
    ) -> Tensor:
        """Continue each of `states` (b s d), led to by `past` (b s-1 a), by `actions` (b t a).

        Args:
            states: b s d; 1 s d leads to all where the predictor takes `one_history`.
            past: b s-1 a.
            actions: b t a.
            by: a member of an ensemble; all of them together if None.

        Returns:
            b t d.
        """
        predictor: ActionPredictor = by or self._part("action_predictor")
        states, past = self._from_rest(states, past)
        return predictor.rollout(states, self.normalise(past), self.normalise(actions))

    def _from_rest(self, states: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """A history that is long enough for the predictor: before it began, its world stood."""
        missing = max(0, self.action_least - states.shape[1])
        rest = states[:, :1].expand(-1, missing, -1)
        nothing = past.new_zeros(len(past), missing, past.shape[2])
        return torch.cat([rest, states], dim=1), torch.cat([nothing, past], dim=1)

    def _part(self, name: str) -> Any:
        part = getattr(self, name)
        if part is None:
            raise WorldModelError(f"this model has no {name.replace('_', ' ')}: {_REMEDIES[name]}")
        return part

    def predictions(self, clip: Clip) -> Iterator[Prediction]:
        """Predictions of the masked predictor for a clip, in order of time.

        Raises:
            ShapeError: the clip does not divide into time steps, or there is nothing to predict.
        """
        predictor: Predictor = self._part("masked_predictor")
        return predictor.predictions(self.encoder, self.head, clip.frames.to(self.device))

    def fill_in(self, clip: Clip, mask: Mask, *, context: Context = "dropped") -> Tensor:
        """The tokens at hidden positions of a clip from those at visible ones: b q d.

        Args:
            clip: b t c h w.
            mask: ids of the visible tokens and of those to predict.
            context: the encoder sees the visible positions only (`dropped`) or the whole clip
                (`masked_after`); see `TokenPredictor.fill_in`.

        Raises:
            ShapeError: the mask is not of these clips; one row holds for all of them.
            WorldModelError: the model has no predictor of tokens.
        """
        predictor = self._part("masked_predictor")
        if not isinstance(predictor, TokenPredictor):
            raise WorldModelError(
                "this model's predictor fills in time steps, not tokens: load a V-JEPA model"
            )
        mask = mask.to(self.device)
        frames = clip.frames.to(self.device)
        return predictor.fill_in(self.encoder, frames, mask.context, mask.targets, how=context)

    def frame_tokens(self, clip: Clip) -> Tensor:
        """The tokens of each frame alone, repeated to fill a tubelet, and normed: b (t h w) d."""
        b, p = len(clip), self.tubelet_frames
        frames = repeat(clip.frames.to(self.device), "b t c h w -> (b t) p c h w", p=p)
        tokens = self.encoder(frames)
        return rearrange(F.layer_norm(tokens, tokens.shape[-1:]), "(b t) n d -> b (t n) d", b=b)

    def next_frames(self, clip: Clip, proprioception: Tensor, actions: Tensor) -> Tensor:
        """The tokens of the frame after each of a clip, normed: b (t h w) d.

        Args:
            clip: b t c h w, of any size that divides into patches.
            proprioception: b t s, at each frame, in the units of the training.
            actions: b t a, the action that is taken at each frame, in the environment's units.

        Raises:
            ShapeError: proprioception or actions are not of those frames, or of another width or
                type.
            WorldModelError: the model does not predict the tokens of single frames.
        """
        predictor, head = self._part("action_predictor"), self._part("head")
        if not isinstance(predictor, FrameActionPredictor) or not head.still:
            raise WorldModelError(
                "this model does not predict the tokens of single frames: take one of V-JEPA 2-AC, "
                "or train with recipe=vjepa2_ac"
            )
        _, h, w = self.encoder.grid_of(self.tubelet_frames, *clip.frames.shape[-2:])
        now, grid = self.frame_tokens(clip), (clip.frames.shape[1], h, w)
        if head.extra and proprioception.shape[-1] == head.extra:  # others are refused below
            known = (proprioception.to(self.device) - head.known_mean) / head.known_std
            proprioception = known.to(proprioception.dtype)
        known, taken = proprioception.to(self.device), actions.to(self.device)
        if taken.shape[-1:] == self.action_mean.shape:  # others are refused below
            taken = self.normalise(taken)
        tokens = predictor.next_tokens(now, known, taken, grid)
        tokens = now + tokens if predictor.change else tokens
        return F.layer_norm(tokens, tokens.shape[-1:])

    def classify(self, clip: Clip) -> Tensor:
        """A score (logit) of each class for each clip: b classes."""
        return self._part("classifier")(self.encoder(clip.frames.to(self.device)))

    def flow(self, clip: Clip) -> Tensor:
        """Where each pixel goes, from the last frame of each time step to that of the next.

        Returns:
            b t-1 2 h w, pixels per frame, x to the right and y down; t time steps.

        Raises:
            ShapeError: the clip does not divide into time steps, or has one only.
            WorldModelError: the model has not learned flow.
        """
        return self._part("flow_head").flow(self.encoder, clip.frames.to(self.device))

    def latents(self, clip: Clip) -> Tensor:
        """The latents that the masked predictor predicts, of each time step alone: b t m d.

        Raises:
            ShapeError: the clip does not divide into time steps.
        """
        head = self._part("head")
        return time_step_latents(self.encoder, head, clip.frames.to(self.device))[..., : head.dim]

    def spec(self) -> dict[str, Any]:
        """How to build this model again, as JSON, without its weights."""
        parts = {name: part for name in PARTS if (part := getattr(self, name)) is not None}
        block = self.action_block
        own: dict[str, Any] = {} if block == self.state_frames else {"action_block": block}
        if self.action_choices is not None:
            own["action_choices"] = list(self.action_choices)
        return {
            "size": self.size,
            "action_dim": self.action_dim,
            **own,
            "encoder": _described(self.encoder),
            "parts": {name: _described(part) for name, part in parts.items()},
        }


def _described(part: Any) -> dict[str, Any]:
    """The part's class and arguments; the class stands under `class` where `name` is taken."""
    return {"class" if "name" in part.spec else "name": type(part).__name__, **part.spec}


PARTS: dict[str, Mapping[str, type[nn.Module]]] = {
    "head": Head.registry,
    "masked_predictor": Predictor.registry,
    "action_predictor": ActionPredictor.registry,
    "classifier": {"AttentiveClassifier": AttentiveClassifier},
    "flow_head": {"FlowHead": FlowHead},
}
"""The parts of a model beside its encoder, with the classes that each can be of."""

# How to get a model with each part; three parts can only come with the weights.
_REMEDIES = {
    "head": "`worldmodel train encoder=...` learns one on top of it",
    "masked_predictor": (
        "none can be added to these weights; take a model of `worldmodel pretrain`, before "
        "tune=all, or a V-JEPA checkpoint with its predictor"
    ),
    "action_predictor": "`worldmodel train encoder=...` learns one on top of it",
    "classifier": (
        "`worldmodel probe task=classify` fits one; or load it with V-JEPA's attentive probe, "
        "classifier=..., or from a Hugging Face folder of VJEPA2ForVideoClassification"
    ),
    "flow_head": "`worldmodel pretrain recipe=mcjepa` learns one with its encoder",
}
