"""The verb `train`: an action predictor, and states that suit it, from episodes with actions.

The encoder comes from `pretrain`, frozen or tuned, or starts from scratch for comparison. A state
is the head's latent of one time step; `worldmodel.objectives` is how it learns from video.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from worldmodel import checkpoint
from worldmodel.architecture import Architecture, check_frames
from worldmodel.datasets import open_episodes
from worldmodel.episodes.windows import EpisodeDataset, Segments, load_arrays
from worldmodel.errors import ConfigError, nearest
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.heads import time_step_latents
from worldmodel.objectives.centre import Centre, check_centre, regularise
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.training.loop import Learner, fit
from worldmodel.training.optimisation import Optimisation

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Tune = Literal["none", "all"]
_AT_ONCE = 32  # time steps that an encoder without a head sees together


@dataclass(frozen=True)
class Rollouts:
    """How predicting under actions is practised.

    Attributes:
        length: time steps in a segment of an episode, at least 2.
        inverse_weight: of the error of the inverse model, see `ActionLearner`; 0 leaves it out.
        noise: standard deviation added to the states that predictions start from.
        centre: what is subtracted from states before the regulariser sees them, see
            `objectives/centre.py`: `episode` where something stands still in each episode and
            differs between them, as a target that is in the picture does.
        per_episode: segments of each episode in a batch; more make its mean one of the episode.
    """

    length: int = 5
    inverse_weight: float = 1.0
    noise: float = 0.0
    centre: Centre = "none"
    per_episode: int = 1

    def __post_init__(self) -> None:
        check_centre(self.centre)
        if self.length < 2:
            raise ConfigError(
                f"rollouts.length={self.length}: an action leads from one time step to the next; "
                "say at least 2"
            )


class ActionLearner(Learner):
    """Learns to predict states under actions, one step ahead and rolled out.

    While the encoder learns, a linear inverse model reads the action block from a state and the
    next one, so that states hold what actions change (its weights are not kept).

    Args:
        model: with a head and an action predictor.
        data: labelled episodes.
        regulariser: keeps states from collapsing while the encoder learns.
        rollouts: how predicting is practised.
        batch: segments in a batch.
        seed: of the batches.
        frozen: the encoder and its head stay as they are; states are computed once.
        new_head: with `frozen`, only the encoder stays; the head learns from its tokens, which are
            computed once and kept in memory.
    """

    def __init__(
        self, model: WorldModel, data: EpisodeDataset, *, regulariser: Regulariser,
        rollouts: Rollouts, batch: int, seed: int, frozen: bool, new_head: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.data, self.regulariser, self.frozen = model, data, regulariser, frozen
        self.batch, self.rollouts, self.seed = batch, rollouts, seed
        self.inverse = nn.Linear(2 * model.state_dim, model.action_block * model.action_dim)
        assert model.head is not None
        self.learns_states = new_head or not frozen
        self._kept = [model.encoder] if frozen and new_head else [model.encoder, model.head]
        for part in self._kept:
            part.requires_grad_(not frozen)
        self.bank = None
        if frozen:
            self.bank = all_tokens(model, data) if new_head else all_states(model, data)

    def train(self, mode: bool = True) -> "ActionLearner":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for part in self._kept:
                part.eval()
        return self

    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of step `step`."""
        with self.waiting():
            segments = self.data.sample(
                step, self.batch, seed=self.seed, length=self.rollouts.length,
                per_episode=self.rollouts.per_episode,
            )  # fmt: skip
        states = self._states(segments)  # b t d
        actions = segments.actions.to(states.device)
        noise = torch.randn(states.shape, generator=generator).to(states.device)
        noise = noise * self.rollouts.noise
        predicted = one_step(self.model, states + noise, actions)
        begun = self.data.least
        imagined = self.model.imagine(
            (states + noise)[:, :begun], actions[:, : begun - 1], actions[:, begun - 1 :]
        )
        terms = {
            "prediction": (predicted - states[:, -predicted.shape[1] :]).square().mean(),
            "rollout": (imagined - states[:, begun:]).square().mean(),
        }
        if self.learns_states and self.rollouts.inverse_weight:
            pairs = torch.cat([states[:, :-1], states[:, 1:]], dim=2)
            error = (self.inverse(pairs) - self.model.normalise(actions)).square().mean()
            terms["inverse"] = self.rollouts.inverse_weight * error
        if not self.learns_states:  # states do not change, so they cannot collapse
            return Losses(terms=terms, features=None, numbers={})
        regularisation = regularise(
            self.regulariser, states[:, :, None], step=step, centre=self.rollouts.centre,
            clips_per_video=self.rollouts.per_episode,
        )  # fmt: skip
        features = rearrange(states, "b t d -> t b d")
        terms["regulariser"] = regularisation.loss
        numbers = {"sigreg_over_floor": regularisation.over_floor}
        return Losses(terms=terms, features=features.detach(), numbers=numbers)

    def _states(self, segments: Segments) -> Tensor:
        head = self.model.head
        assert head is not None
        if self.bank is None:
            frames = segments.clip().frames.to(self.model.device)
            return time_step_latents(self.model.encoder, head, frames)[:, :, 0]
        first = segments.starts + self.model.tubelet_frames - 1
        last = first[:, None] + self.model.action_block * torch.arange(self.rollouts.length)
        kept = self.bank[self.data.arrays.offsets[segments.episodes][:, None] + last.clamp(min=0)]
        if not self.learns_states:
            return kept
        tokens = rearrange(kept, "b t n d -> (b t) n d").to(self.model.device)
        return rearrange(head(tokens), "(b t) 1 d -> b t d", b=len(kept))


def one_step(model: WorldModel, states: Tensor, actions: Tensor) -> Tensor:
    """Each state from the full window of true ones before it: b t d, b t-1 a -> b t-window d."""
    window = min(model.action_window, states.shape[1] - 1)
    seen = rearrange(states[:, :-1].unfold(1, window, 1), "b n d w -> (b n) w d")
    done = rearrange(actions.unfold(1, window, 1), "b n a w -> (b n) w a")
    return rearrange(model.predict(seen, done)[:, -1], "(b n) d -> b n d", b=len(states))


@torch.no_grad()
def all_states(model: WorldModel, data: EpisodeDataset) -> Tensor:
    """The state of the time step that ends at each frame of all episodes: t d."""
    head = model.head
    assert head is not None
    model.eval()
    latents = (time_step_latents(model.encoder, head, steps) for steps in _time_steps(model, data))
    return torch.cat([some[:, 0, 0] for some in latents])


@torch.no_grad()
def all_tokens(model: WorldModel, data: EpisodeDataset) -> Tensor:
    """The tokens of the time step that ends at each frame of all episodes: t n d, on the CPU."""
    model.eval()
    pieces = (piece for steps in _time_steps(model, data) for piece in steps.split(_AT_ONCE))
    return torch.cat([model.encoder(piece).cpu() for piece in pieces])


def _time_steps(model: WorldModel, data: EpisodeDataset) -> Iterator[Tensor]:
    """The time steps that end at each frame, episode by episode: t i c h w.

    An episode's first frame is repeated before it, as an agent sees a world after a reset.
    """
    p, arrays = model.tubelet_frames, data.arrays
    for place in arrays.slices:
        frames = arrays.frames[place]
        padded = torch.cat([frames[:1].expand(p - 1, -1, -1, -1), frames])
        tubes = rearrange(padded.unfold(0, p, 1), "t c h w i -> t i c h w")
        yield tubes.to(model.device).float() / 255


def train(
    run: "Run", *, episodes: str, regulariser: Regulariser, optimisation: Optimisation,
    rollouts: Rollouts, encoder: str | None = None, model: Architecture | None = None,
    tune: Tune = "none", labelled: int | None = None, batch: int = 64,
    reading: Mapping[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Learn what actions do; leaves the complete model in `run.model_folder`.

    Args:
        run: where log, checkpoints and model go; its seed decides the batches.
        episodes: ours, LeRobot's or HDF5; those with actions are used.
        regulariser: of the states, while the encoder learns.
        optimisation: how the loss is descended.
        rollouts: how predicting under actions is practised.
        encoder: a pretrained model, or the run that made it; None starts from scratch.
        model: sizes, for what is new; the encoder's own where it is pretrained.
        tune: `none` freezes the encoder and its head, `all` goes on training them. A third-party
            encoder has no head: a new one learns from the tokens of the frozen encoder. Other parts
            of the model (masked predictor, classifier, frame predictor) are kept with a frozen
            encoder and dropped from a tuned one, which they do not fit any more.
        labelled: how many of the episodes with actions are used, the first; all if None.
        batch: segments in a batch.
        reading: options of the episodes' format, for example `{camera: top}`.

    Returns:
        `steps`, `skipped_steps`, the labelled `episodes` and `frames`, `data_wait`.
    """
    if tune not in get_args(Tune):
        raise ConfigError(f"no tune '{tune}': {nearest(tune, get_args(Tune))}")
    architecture = model or Architecture()
    pretrained = None if encoder is None else load(encoder)
    if pretrained is not None and pretrained.head is not None and pretrained.head.per_token:
        raise ConfigError(
            f"{encoder}: its head makes no state of a time step; pretrain with "
            "model.latent_per_token=false"
        )
    base, new_head = pretrained or architecture, pretrained is not None and pretrained.head is None
    if batch % rollouts.per_episode:
        raise ConfigError(
            f"batch={batch} does not divide into rollouts.per_episode={rollouts.per_episode}"
        )
    known = open_episodes(episodes, **({"fit": base.size} | dict(reading or {}))).training.labelled
    if not len(known):
        raise ConfigError(f"{episodes}: no episode has actions; collect with labelled_fraction > 0")
    if labelled is not None and not 1 <= labelled <= len(known):
        raise ConfigError(f"labelled must lie between 1 and {len(known)}, got {labelled}")
    used = known[:labelled]
    arrays = load_arrays(used)
    # A new head is made for the frames that there are, as long as they are square.
    any_size = new_head and arrays.frames.shape[-2] == arrays.frames.shape[-1]
    check_frames(arrays.frames, episodes, base.encoder, size=base.size, any_size=any_size)
    least = architecture.action_predictor(1, 1).least
    if rollouts.length <= least:
        raise ConfigError(
            f"rollouts.length={rollouts.length}: the first {least} time steps are given, so say "
            f"at least {least + 1}"
        )
    data = EpisodeDataset(
        arrays, tubelet_frames=base.encoder.tubelet_frames, action_block=architecture.action_block,
        least=least,
    )  # fmt: skip
    learned = begin(architecture, data, pretrained=pretrained).to(run.device)
    learner = ActionLearner(
        learned, data, regulariser=regulariser, rollouts=rollouts, batch=batch, seed=run.seed,
        frozen=tune == "none" and encoder is not None, new_head=new_head,
    ).to(run.device)  # fmt: skip
    steps = fit(learner, run, optimisation, description="train")
    if tune == "all" or encoder is None:
        # They were made for the encoder as it was.
        learned.masked_predictor = learned.classifier = learned.frame_predictor = None
        learned.flow_head = None
    checkpoint.save(learned.eval(), run.model_folder)
    return {
        "steps": steps, "skipped_steps": learner.skipped_steps, "episodes": len(used),
        "frames": len(data.arrays.frames), "data_wait": learner.data_wait,
    }  # fmt: skip


def begin(
    architecture: Architecture, data: EpisodeDataset, *, pretrained: WorldModel | None
) -> WorldModel:
    """A model whose action predictor is new, around a pretrained or a new encoder.

    A pretrained encoder without a head gets a new one, for frames of the data's size. It keeps its
    masked predictor, classifier, frame predictor and flow head.
    """
    assert data.arrays.actions is not None
    base = pretrained or WorldModel(architecture.encoder, size=architecture.size)
    head, size = base.head, base.size
    if head is None:
        if pretrained is not None:
            size = data.arrays.frames.shape[-1]
        head = replace(architecture, encoder=base.encoder, size=size, latent_per_token=False).head()
    repeats = data.action_block
    predictor = architecture.action_predictor(head.width, repeats * data.action_dim)
    model = WorldModel(
        base.encoder, size=size, head=head, masked_predictor=base.masked_predictor,
        action_predictor=predictor, action_dim=data.action_dim, action_block=data.action_block,
        classifier=base.classifier,
        frame_predictor=base.frame_predictor, flow_head=base.flow_head,
    )  # fmt: skip
    taken = torch.ones(len(data.arrays.actions), dtype=torch.bool)
    taken[data.arrays.offsets[1:] - 1] = False  # no action follows the last frame of an episode
    std, mean = torch.std_mean(data.arrays.actions[taken], dim=0)
    model.action_mean.copy_(mean.repeat(repeats))
    model.action_std.copy_(std.clamp_min(1e-6).repeat(repeats))
    return model
