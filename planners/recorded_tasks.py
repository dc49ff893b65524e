"""Tasks of recorded episodes: from a step of one that is held out to a step of it or of another."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.episodes.episode import Episode
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, EpisodeError

from .collect import FIRST_HELD_OUT_SEED, SEEDS_PER_RUN
from .infos import ENDED, REWARD
from .success import Success
from .tasks import Pair, Task, Tasks
from .ways import Way

OF_STEPS = (REWARD, ENDED)  # infos of the step that led to a frame, which no reset tells
_TRIES = 200  # per task, before it is said that there are none


def episode_tasks(
    recorded: Episodes, success: Success, *, offset: int, episodes: int, seed: int,
    way: Way | None = None, resets: bool = False,
) -> Tasks:  # fmt: skip
    """From a step of a held-out episode to what it showed `offset` steps later.

    Starts that are already at their goal are left out and counted; so are, uncounted, those from
    which no such `way` leads to it.

    Args:
        recorded: Some of them held out.
        success: When a goal counts as reached.
        offset: Steps from a start to its goal.
        episodes: How many tasks at most.
        seed: Decides which.
        way: Has to lead from each start to its goal.
        resets: Begin at the first step of each episode only, which its reset leads to.

    Raises:
        ConfigError: the episodes are too short, or hold no such tasks.
        EpisodeError: they cannot be begun again.
    """
    pool = Pool(recorded, offset, episodes, resets=resets)
    found: list[Task] = []
    solved = 0
    for start in pool.draw(np.random.default_rng([seed, offset]), most=_TRIES * episodes):
        goal = start.later(offset)
        if way is not None and not start.leads(way, goal):
            continue
        if start.distance(success, goal) <= 1:
            solved += 1
            continue
        found.append(start.task(goal, "offset", draws=draws_of(seed, len(found))))
        if len(found) == episodes:
            break
    _require_found(found, recorded, f"{offset} steps", way)
    words = f"what the same episode showed {offset} steps later"
    return Tasks(found, _words(pool, words, way), solved)


def crossed_tasks(
    recorded: Episodes, success: Success, *, offset: int, episodes: int, seed: int,
    way: Way | None = None, resets: bool = False,
) -> Tasks:  # fmt: skip
    """From one held-out episode to another, a pair that no behaviour in the data ever joined.

    Each pair is as far apart, in radii of `success`, as a pair of one episode `offset` steps apart
    is: so the two differ in what joined them alone. With a `way`, only pairs that it joins.

    Args:
        recorded: Some of them held out.
        success: When a goal counts as reached: by distances.
        offset: Steps that would be as far.
        episodes: How many tasks at most.
        seed: Decides which.
        way: See `episode_tasks`.
        resets: See `episode_tasks`.

    Raises:
        ConfigError: success is not a distance, or there are too few episodes.
        EpisodeError: they cannot be begun again.
    """
    if not success.within:
        raise ConfigError(
            "goal=crossed matches distances: say what success is, success.within={INFO: RADIUS}"
        )
    pool = Pool(recorded, offset, episodes, resets=resets)
    if len(pool.episodes) < 2:
        raise ConfigError("goal=crossed needs at least two held-out episodes")
    random = np.random.default_rng([seed, offset, 1])
    found: list[Task] = []
    solved = 0
    for start in pool.draw(random, most=_TRIES * episodes):
        wanted = start.distance(success, start.later(offset))
        if wanted <= 1:
            solved += 1
            continue
        others = [pool.anywhere(random, but=start.number) for _ in range(_TRIES)]
        if way is not None and not (others := [o for o in others if start.leads(way, o)]):
            continue
        apart = [start.distance(success, goal) for goal in others]
        nearest = int(np.argmin(np.abs(np.log(np.maximum(apart, 1e-9) / wanted))))
        if not 0.8 <= apart[nearest] / wanted <= 1.25 or apart[nearest] <= 1:
            continue
        found.append(start.task(others[nearest], "crossed", draws=draws_of(seed, len(found))))
        if len(found) == episodes:
            break
    _require_found(found, recorded, f"{offset} steps, in another episode", way)
    words = f"what another one showed, as far away as {offset} steps of one are"
    return Tasks(found, _words(pool, words, way), solved)


@dataclass(frozen=True)
class Moment:
    """A step of an episode."""

    episode: Episode
    step: int
    number: int  # of the episode, in its folder

    def later(self, steps: int) -> "Moment":
        """So many steps later."""
        return Moment(self.episode, self.step + steps, self.number)

    def info(self, name: str) -> np.ndarray:
        """What was told of it."""
        return self.episode.info[name][self.step].numpy()

    @property
    def infos(self) -> dict[str, np.ndarray]:
        """All that was told of it."""
        names = (n for n in self.episode.info if not n.endswith("_image"))
        return {name: self.info(name) for name in names}

    def distance(self, success: Success, goal: "Moment") -> float:
        """How far the goal is, in radii; infinite where success is not a distance."""
        if not success.within:
            return float("inf")
        here = {name: value[None] for name, value in self.infos.items()}
        missing = [name for name in success.within if name not in here]
        if missing:
            raise ConfigError(
                f"success.within goes by '{missing[0]}', which {self.episode.source} does not "
                f"hold: choose from {', '.join(sorted(here))}"
            )
        return float(success.ratio(here, goal.infos)[0])

    def leads(self, way: Way, goal: "Moment") -> bool:
        """True if such a way leads from here to the goal."""
        here = {name: value[None] for name, value in self.infos.items()}
        return bool(way.leads(here, goal.infos)[0])

    def as_goal(self) -> dict[str, np.ndarray]:
        """What a task that ends here tells of its goal."""
        return self.infos | {"goal_image": self.episode.frames[self.step].numpy()}

    def task(self, goal: "Moment", name: str, *, draws: int) -> Task:
        """To begin here and to go there."""
        about = self.episode.metadata
        options = json.loads(about.get("reset_options", "{}"))
        replay, told = None, {}
        if is_restored(self.episode):
            options["state"] = self.info("state").tolist()
            told["state"] = self.info("state")
            told |= {k: v for k, v in self.infos.items() if k.startswith("factor_")}
        else:
            if self.episode.actions is not None:
                replay = self.episode.actions[: self.step].numpy()
            told = {k: v for k, v in self.infos.items() if k not in OF_STEPS}
        return Task(
            int(about["seed"]), name, options, goal.as_goal(), replay,
            self.episode.frames[self.step].numpy(), told, draws,
            Pair(self.number, self.step, goal.number, goal.step),
        )  # fmt: skip


class Pool:
    """The held-out episodes that are long enough, and their steps.

    Args:
        recorded: Some of them held out.
        offset: Steps from a start to its goal.
        episodes: How many tasks are asked for.
        resets: The first step of each is its only start.

    Raises:
        ConfigError: there are none.
        EpisodeError: one of them cannot be begun again at its starts.
    """

    def __init__(
        self, recorded: Episodes, offset: int, episodes: int, *, resets: bool = False
    ) -> None:
        if episodes < 1:
            raise ConfigError(f"episodes={episodes}: an evaluation has at least one")
        if offset < 1:
            raise ConfigError(f"offset={offset}: a goal is at least one step ahead")
        held_out = recorded.held_out
        if not len(held_out):
            raise ConfigError(
                f"{recorded.name}: holds out no episodes from training; collect more than "
                "1 / recording.held_out_share of them"
            )
        numbered = zip(held_out.numbers, held_out, strict=True)
        kept = [(number, episode) for number, episode in numbered if len(episode) > offset]
        if not kept:
            raise ConfigError(
                f"offset={offset}: the longest held-out episode of {recorded.name} has "
                f"{max(held_out.lengths) - 1} steps"
            )
        for _, episode in kept:
            require_beginning(episode, 0 if resets else 1)
        self.numbers, self.episodes = (list(part) for part in zip(*kept, strict=True))
        self._offset, self.resets = offset, resets

    def draw(self, random: np.random.Generator, *, most: int) -> Iterator[Moment]:
        """Starts that have a goal ahead, each at most once, in random order."""
        starts = [1 if self.resets else len(e) - self._offset for e in self.episodes]
        ends = np.cumsum(starts)
        for place in random.permutation(ends[-1])[:most]:
            number = int(np.searchsorted(ends, place, side="right"))
            before = int(ends[number - 1]) if number else 0
            yield Moment(self.episodes[number], int(place) - before, self.numbers[number])

    def anywhere(self, random: np.random.Generator, *, but: int) -> Moment:
        """Any step of any episode but the one with this number."""
        others = [i for i, number in enumerate(self.numbers) if number != but]
        chosen = others[random.integers(len(others))]
        episode = self.episodes[chosen]
        return Moment(episode, int(random.integers(len(episode))), self.numbers[chosen])


def require_beginning(episode: Episode, step: int) -> None:
    """Refuse an episode that cannot be begun again from a step."""
    if "seed" not in episode.metadata:
        raise EpisodeError(
            f"{episode.source}: does not say the seed of its reset; collect it again"
        )
    if step and not is_restored(episode) and episode.actions is None:
        raise EpisodeError(
            f"{episode.source}: has neither a state of the simulator that can be set nor actions, "
            "so it cannot be begun again from the middle"
        )


def is_restored(episode: Episode) -> bool:
    """True if a reset can begin from the infos `state` of an episode."""
    return "state" in episode.info and episode.metadata.get("restores") == "state"


def draws_of(seed: int, index: int) -> int:
    """The seed of a policy's randomness in a task."""
    return FIRST_HELD_OUT_SEED + SEEDS_PER_RUN * seed + index


def _require_found(found: Sequence[Task], recorded: Episodes, what: str, way: Way | None) -> None:
    if not found and way is not None:
        raise ConfigError(
            f"{recorded.name}: no held-out start is away from its goal ({what}) by a {way.words}; "
            "say another offset, or goals_from= a folder whose episodes show it"
        )
    if not found:
        raise ConfigError(
            f"{recorded.name}: no held-out start is away from its goal ({what}); say a larger "
            "offset, or a smaller radius of success"
        )


def _words(pool: Pool, goals: str, way: Way | None) -> str:
    what = "resets" if pool.resets else "steps"
    how = how_begun(restored=all(map(is_restored, pool.episodes)), resets=pool.resets)
    by = "" if way is None else f", by a {way.words}"
    return f"from {what} of held-out episodes ({how}) to {goals}{by}"


def how_begun(*, restored: bool, resets: bool) -> str:
    """What brings the world to starts that were recorded, for the protocol."""
    if resets:
        return "again with their seeds"
    return "set in the simulator" if restored else "reached again by the recorded actions"
