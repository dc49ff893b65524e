"""The states of recorded episodes, from which costs, guardrails and baselines learn."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.joined import Folders, read_episodes
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.interop.load import load

from .cloning import Cloned, clone
from .costs.cost import Cost
from .dynamics import ImageDynamics, described_actions, learned_choices
from .episode_states import EpisodeStates, cached_states, encode_episodes
from .factory import Factory
from .guardrails.guardrail import Guardrail

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Part = TypeVar("Part", Cost, Guardrail)


class RecordedStates:
    """The states of the recorded episodes, encoded when something first asks for them."""

    def __init__(self, run: "Run", model: str, episodes_from: Folders | None, flag: str) -> None:
        self._run, self._model, self._flag = run, model, flag
        self._folders = episodes_from
        self._encoded: EpisodeStates | None = None

    def prepare(self, part: Part | Factory[Part]) -> Part | Factory[Part]:
        """A cost or a guardrail that has learned from them, if it does."""
        if isinstance(part, Factory) and part.needs_episodes:
            return part.prepare(self._states(type(part).__name__), seed=self._run.seed)
        return part

    def cloned(self, offset: int) -> dict[str, Cloned]:
        """Baselines that learn what was done, by name; none, and said so, without actions.

        `cloning`: on the way to goals up to twice `offset` environment steps ahead. `inverse`:
        between one state and the next, an inverse dynamics that takes each goal for the next state.
        """
        farthest = max(1, 2 * offset // load(self._model).action_block)
        try:
            return {
                name: clone(self._states(name), horizon=horizon, seed=self._run.seed)
                for name, horizon in (("cloning", farthest), ("inverse", 1))
            }
        except ConfigError as cause:
            self._run.say(f"no baseline that learns what was done: {cause}")
            return {}

    def held_out(self, other: str | None = None) -> EpisodeStates | None:
        """Those of the held-out episodes with actions; None where there are none.

        Args:
            other: Another folder, of which the model has learned nothing: all of its episodes.

        Raises:
            ConfigError: no episode of the other folder has actions.
        """
        if other is not None:
            episodes = labelled_for(load(self._model), other)
        elif self._folders is None:
            return None
        else:
            episodes = read_episodes(self._folders, "episodes_from").held_out.labelled
        if not len(episodes):
            return None
        return encode_episodes(load(self._model), episodes, flag=self._flag, whole=True)

    def _states(self, needed_by: str) -> EpisodeStates:
        if self._folders is None:
            raise ConfigError(
                f"{needed_by} is made from recorded episodes: name their folder with "
                "episodes_from=, or use cost=goal guardrail=none"
            )
        if self._encoded is None:
            episodes = read_episodes(self._folders, "episodes_from").training
            loaded = load(self._model)
            with self._run.progress(len(episodes), "encode the episodes") as bar:
                self._encoded = cached_states(
                    loaded, episodes, weights=_weights(self._model), flag=self._flag,
                    on_episode=bar.advance,
                )  # fmt: skip
        return self._encoded


def _weights(model: str) -> Path:
    folder = Path(model).parent if Path(model).is_file() else Path(model)
    for path in (folder / "model.safetensors", folder / "model" / "model.safetensors"):
        if path.is_file():
            return path
    raise CheckpointError(f"{folder}: holds no model.safetensors; name a model's or a run's folder")


def labelled_for(model: ImageDynamics, folder: str) -> Episodes:
    """The episodes of a folder whose actions a model can be led by.

    Raises:
        ConfigError: none has actions, or they are of another width than those it has learned.
    """
    episodes = Episodes(folder).labelled
    if not len(episodes):
        raise ConfigError(f"evaluation.other_episodes={folder}: no episode has actions")
    choices, learned = episodes.info.action_choices, learned_choices(model)
    width = sum(choices) or len(episodes.info.action_low)
    if width != model.action_dim or learned not in (None, choices):
        raise ConfigError(
            f"evaluation.other_episodes={folder}: actions are {described_actions(width, choices)}, "
            f"the model has learned actions of {described_actions(model.action_dim, learned)}"
        )
    return episodes
