"""The verb `train`: an action predictor, and states that suit it, from episodes with actions.

The encoder comes from `pretrain`, frozen or tuned, or starts from scratch for comparison. A state
is the head's latent of one time step; `worldmodel.objectives` is how it learns from video.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from worldmodel import checkpoint
from worldmodel.architecture import Architecture, check_frames
from worldmodel.datasets import open_episodes
from worldmodel.episodes.joined import Folders, named
from worldmodel.episodes.windows import EpisodeArrays, EpisodeDataset, Segments, load_arrays
from worldmodel.errors import ConfigError, nearest
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import time_step_latents
from worldmodel.objectives.centre import Centre, check_centre, regularise
from worldmodel.objectives.distances import Distance, check_distance, distances
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.training.begin import Begin, begin, keeps_head
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
        steps: time steps that are imagined one after another, from the first; all if None.
        weight: of the error of what is imagined, beside that of one step; 0 leaves it out.
        distance: of predictions from states, `l1`, `l2`, `smooth_l1` or `cosine`.
        inverse_weight: of the error of the inverse model, see `ActionLearner`; 0 leaves it out.
        straight_weight: of one minus the cosine between a change of the state and the next, while
            the encoder learns: paths that are straight are easier to plan along (arXiv:2603.12231);
            0 leaves it out.
        noise: standard deviation added to the states that predictions start from.
        centre: what is subtracted from states before the regulariser sees them, see
            `objectives/centre.py`: `episode` where something stands still in each episode and
            differs between them, as a target that is in the picture does.
        per_episode: segments of each episode in a batch; more make its mean one of the episode.
    """

    length: int = 5
    steps: int | None = None
    weight: float = 1.0
    distance: Distance = "l2"
    inverse_weight: float = 1.0
    straight_weight: float = 0.0
    noise: float = 0.0
    centre: Centre = "none"
    per_episode: int = 1

    def __post_init__(self) -> None:
        check_centre(self.centre)
        check_distance(self.distance)
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"rollouts.steps={self.steps}: say at least 1, or null for all")
        if self.straight_weight and self.length < 3:
            raise ConfigError(
                f"rollouts.straight_weight compares two changes in a row: rollouts.length="
                f"{self.length} has none, say at least 3"
            )
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
        begun, terms = self.data.least, {}
        predicted = one_step(self.model, states + noise, actions)  # e b t d
        later = states[:, -predicted.shape[2] :].expand_as(predicted)
        terms["prediction"] = self._error(predicted, later)  # of each member of an ensemble
        if self.rollouts.weight:
            led = actions[:, begun - 1 :][:, : self.rollouts.steps]
            came = states[:, begun:][:, : self.rollouts.steps]
            given = (states + noise)[:, :begun], actions[:, : begun - 1]
            assert self.model.action_predictor is not None
            errors = [
                self._error(self.model.imagine(*given, led, by=alone), came)
                for alone in self.model.action_predictor.alone
            ]
            terms["rollout"] = self.rollouts.weight * torch.stack(errors).mean()
        if self.learns_states and self.rollouts.straight_weight:
            changes = states.diff(dim=1)
            turned = 1 - F.cosine_similarity(changes[:, :-1], changes[:, 1:], dim=-1).mean()
            terms["straight"] = self.rollouts.straight_weight * turned
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

    def _error(self, predicted: Tensor, states: Tensor) -> Tensor:
        """What a body knows of itself counts only where it is told."""
        told = None if self.model.proprioception else self.model.image_dim
        return distances(predicted[..., :told], states[..., :told], self.rollouts.distance).mean()

    def _states(self, segments: Segments) -> Tensor:
        head = self.model.head
        assert head is not None
        if self.bank is None:
            return self.model.states(segments.clip(), known(self.model, segments.info))
        first = segments.starts + self.model.state_frames - 1
        last = first[:, None] + self.model.action_block * torch.arange(self.rollouts.length)
        kept = self.bank[self.data.arrays.offsets[segments.episodes][:, None] + last.clamp(min=0)]
        if not self.learns_states:
            return kept
        tokens = rearrange(kept, "b t n d -> (b t) n d").to(self.model.device)
        return rearrange(head(tokens), "(b t) 1 d -> b t d", b=len(kept))


def known(model: WorldModel, info: Mapping[str, Tensor]) -> Tensor | None:
    """What a body knows of itself, b t s, of a model that is told; None of others."""
    if model.proprioception is None:
        return None
    told = info[model.proprioception].float()
    return told.reshape(*told.shape[:2], -1)


def one_step(model: WorldModel, states: Tensor, actions: Tensor) -> Tensor:
    """Each state from the true ones before it, as many as a window holds.

    Where one window holds all of them, or the predictor takes any number, the states after fewer
    are predicted too, if the predictor tells them.

    Args:
        model: with an action predictor.
        states: b t d.
        actions: b t-1 a.

    Returns:
        e b t' d, of the last t' states; e members of an ensemble, or one.
    """
    assert model.action_predictor is not None
    window = min(model.action_window, states.shape[1] - 1)
    if model.action_predictor.unrolls or window == states.shape[1] - 1:
        following = model.predictions_of_each(states[:, :-1], actions)
        whole = following.shape[2] == states.shape[1] - 1
        return following[:, :, model.action_least - 1 :] if whole else following
    seen = rearrange(states[:, :-1].unfold(1, window, 1), "b n d w -> (b n) w d")
    done = rearrange(actions.unfold(1, window, 1), "b n a w -> (b n) w a")
    following = model.predictions_of_each(seen, done)[:, :, -1]
    return rearrange(following, "e (b n) d -> e b n d", b=len(states))


@torch.no_grad()
def all_states(model: WorldModel, data: EpisodeDataset) -> Tensor:
    """The state of the time step that ends at each frame of all episodes: t d."""
    head = model.head
    assert head is not None
    model.eval()
    latents = (time_step_latents(model.encoder, head, steps) for steps in _time_steps(model, data))
    states = torch.cat([some[:, 0, 0] for some in latents])
    if isinstance(head, FrameTokens) and head.told is not None:
        return head.with_known(states, data.arrays.info[head.told].float().reshape(len(states), -1))
    return states


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
    p, arrays = model.state_frames, data.arrays
    for place in arrays.slices:
        frames = arrays.frames[place]
        padded = torch.cat([frames[:1].expand(p - 1, -1, -1, -1), frames])
        tubes = rearrange(padded.unfold(0, p, 1), "t c h w i -> t i c h w")
        yield tubes.to(model.device).float() / 255


def train(
    run: "Run", *, episodes: str | Sequence[str], regulariser: Regulariser,
    optimisation: Optimisation, rollouts: Rollouts, encoder: str | None = None,
    model: Architecture | None = None, tune: Tune | None = None, predictor: Begin = "new",
    proprioception: str | None = None, labelled: int | None = None, batch: int = 64,
    reading: Mapping[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Learn what actions do; leaves the complete model in `run.model_folder`.

    Args:
        run: where log, checkpoints and model go; its seed decides the batches.
        episodes: ours, LeRobot's or HDF5; those with actions are used. Several folders of ours are
            used as one.
        regulariser: of the states, while the encoder learns.
        optimisation: how the loss is descended.
        rollouts: how predicting under actions is practised.
        encoder: a pretrained model, or the run that made it; None starts from scratch.
        model: sizes, for what is new; the encoder's own where it is pretrained.
        tune: `none` freezes the encoder and its head, the default for one that is pretrained;
            `all` goes on training them, the default for a new one. A third-party encoder has no
            head: a new one learns from the tokens of the frozen encoder. Other parts of the model
            (masked predictor, classifier, flow head) are kept with a frozen encoder and dropped
            from a tuned one, which they do not fit any more.
        predictor: `new`, or `kept` to train on the action predictor of the pretrained model; for
            actions of another width its embedding of them is new.
        proprioception: name of the info that tells what a body knows of itself, for states of
            tokens (`model.state=tokens`).
        labelled: how many of the episodes with actions are used, the first; all if None.
        batch: segments in a batch.
        reading: options of the episodes' format, for example `{camera: top}`.

    Returns:
        `steps`, `skipped_steps`, the labelled `episodes` and `frames`, `data_wait`.
    """
    tune = tune or ("all" if encoder is None else "none")
    architecture = model or Architecture()
    pretrained = None if encoder is None else load(encoder)
    _check(encoder, architecture, pretrained, tune=tune, predictor=predictor)
    base, has_head = pretrained or architecture, keeps_head(architecture, pretrained)
    if batch % rollouts.per_episode:
        raise ConfigError(
            f"batch={batch} does not divide into rollouts.per_episode={rollouts.per_episode}"
        )
    source = named(episodes)
    arrays = _labelled_arrays(episodes, {"fit": base.size} | dict(reading or {}), labelled)
    # A new head is made for the frames that there are, as long as they are square.
    square = arrays.frames.shape[-2] == arrays.frames.shape[-1]
    any_size = pretrained is not None and not has_head and square
    check_frames(arrays.frames, source, base.encoder, size=base.size, any_size=any_size)
    if proprioception is not None and proprioception not in arrays.info:
        raise ConfigError(f"proprioception: {nearest(proprioception, arrays.info)}")
    learned = begin(
        architecture, arrays, pretrained=pretrained, predictor=predictor,
        proprioception=proprioception,
    ).to(run.device)  # fmt: skip
    _check_begun(learned, arrays, rollouts, encoder=encoder, episodes=source)
    data = EpisodeDataset(
        arrays, tubelet_frames=learned.state_frames, action_block=learned.action_block,
        least=learned.action_least,
    )  # fmt: skip
    if rollouts.length <= data.least:
        raise ConfigError(
            f"rollouts.length={rollouts.length}: the first {data.least} time steps are given, so "
            f"say at least {data.least + 1}"
        )
    assert learned.head is not None
    learns = not has_head and any(True for _ in learned.head.parameters())
    learner = ActionLearner(
        learned, data, regulariser=regulariser, rollouts=rollouts, batch=batch, seed=run.seed,
        frozen=tune == "none", new_head=learns,
    ).to(run.device)  # fmt: skip
    steps = fit(learner, run, optimisation, description="train")
    if tune == "all":
        # They were made for the encoder as it was.
        learned.masked_predictor = learned.classifier = learned.flow_head = None
    checkpoint.save(learned.eval(), run.model_folder)
    return {
        "steps": steps, "skipped_steps": learner.skipped_steps, "episodes": len(arrays),
        "frames": len(data.arrays.frames), "data_wait": learner.data_wait,
    }  # fmt: skip


def _check_begun(
    learned: WorldModel, arrays: EpisodeArrays, rollouts: Rollouts, *, encoder: str | None,
    episodes: str,
) -> None:  # fmt: skip
    """Refuse episodes that do not tell what a model takes, and practice too short for it.

    Raises:
        ConfigError: names the info, or the length.
    """
    if learned.proprioception not in (None, *arrays.info):
        raise ConfigError(
            f"{encoder} has learned with the info {learned.proprioception}, which {episodes} does "
            f"not tell: {nearest(str(learned.proprioception), arrays.info)}"
        )
    acting = learned.action_predictor
    assert acting is not None
    if acting.unrolls and rollouts.length - 1 <= acting.window:
        raise ConfigError(
            f"rollouts.length={rollouts.length}: a {type(acting).__name__} looks further back than "
            f"its window of {acting.window} and has to practise it; say {acting.window + 2} or "
            "more, as much as a history and a plan are long"
        )


def _labelled_arrays(
    episodes: Folders, reading: Mapping[str, Any], labelled: int | None
) -> EpisodeArrays:
    """The episodes with actions that are trained on, the first `labelled` of them."""
    known = open_episodes(episodes, **reading).training.labelled
    if not len(known):
        raise ConfigError(
            f"{named(episodes)}: no episode has actions; collect with labelled_fraction > 0"
        )
    if labelled is not None and not 1 <= labelled <= len(known):
        raise ConfigError(f"labelled must lie between 1 and {len(known)}, got {labelled}")
    return load_arrays(known[:labelled])


def _check(
    encoder: str | None, architecture: Architecture, pretrained: WorldModel | None, *, tune: str,
    predictor: str,
) -> None:  # fmt: skip
    """Refuse words that there are not, and parts that are not there.

    Raises:
        ConfigError: names the setting.
    """
    for name, value, choices in (
        ("tune", tune, get_args(Tune)), ("predictor", predictor, get_args(Begin))
    ):  # fmt: skip
        if value not in choices:
            raise ConfigError(f"no {name} '{value}': {nearest(value, choices)}")
    if pretrained is not None and pretrained.head is not None and pretrained.head.per_token:
        raise ConfigError(
            f"{encoder}: its head makes no state of a time step; pretrain with "
            "model.latent_per_token=false"
        )
    if predictor == "kept" and (pretrained is None or pretrained.action_predictor is None):
        raise ConfigError(f"predictor=kept: encoder={encoder} has no action predictor; say new")
    if tune == "none" and pretrained is None and not architecture.encoder.spec.get("pretrained"):
        raise ConfigError(
            "tune=none freezes an encoder that has learned nothing: name one with encoder=, say "
            "model.encoder.pretrained=true for one of timm, or tune=all"
        )
