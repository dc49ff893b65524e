"""What a plan is asked: where starts and goals come from, and when a goal counts as reached."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium

from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.joined import Folders, read_episodes
from worldmodel.errors import ConfigError

from .environment import View
from .evaluate import Evaluation
from .fresh_starts import tasks_of_episodes
from .pairs import manifest_tasks, read_manifest
from .success import Success
from .tasks import FROM_EPISODES, Tasks, held_out_tasks, image_tasks
from .ways import Way

PAIRS = ".json"  # how a file of starts and goals ends


@dataclass(frozen=True)
class Goals:
    """Which starts and goals are asked for, as the settings of `plan` say it.

    Attributes:
        kind: `env`, `episodes`, `crossed`, a file of pairs, or an image or a folder of images.
        offset: Steps from a start to its goal, where they are steps of episodes.
        way: Has to lead from each start to its goal.
        episodes: How many there are at most.
        seed: Decides which.
    """

    kind: str
    offset: int
    way: Way | None
    episodes: int
    seed: int

    @property
    def recorded(self) -> bool:
        """True for goals that are steps of recorded episodes."""
        return self.kind in FROM_EPISODES or self.kind.endswith(PAIRS)

    def episodes_of(self, goals: Folders | None, others: Folders | None) -> Episodes | None:
        """The episodes that starts and goals are steps of; None for goals of another kind.

        Args:
            goals: Folders that were named for them.
            others: Those of everything else that is recorded.

        Raises:
            ConfigError: folders are named and not needed, or needed and not named.
        """
        if goals is not None and not self.recorded:
            raise ConfigError(
                f"goals_from={goals} holds steps of episodes, which goal={self.kind} does not "
                "take: say goal=episodes or crossed, or leave it out"
            )
        if not self.recorded:
            return None
        if goals is not None:
            return read_episodes(goals, "goals_from")
        if others is None:
            raise ConfigError(f"goal={self.kind}: name the folder of episodes with episodes_from=")
        return read_episodes(others, "episodes_from")

    def tasks(
        self, how: Evaluation, success: Success, recorded: Episodes | None,
        make: Callable[[int], gymnasium.Env],
    ) -> Tasks:  # fmt: skip
        """The starts and goals.

        Args:
            how: The episodes are run; its kinds of tasks are the environment's.
            success: When a goal counts as reached.
            recorded: See `episodes_of`.
            make: Makes the environment, whose episodes may have so many steps at least.

        Raises:
            ConfigError: settings do not go together, or there are no such tasks.
        """
        if self.way is not None and self.kind not in FROM_EPISODES:
            raise ConfigError(
                f"pairs= chooses among goals that are steps of episodes, not among those of "
                f"goal={self.kind}: say goal=episodes or crossed"
            )
        if self.kind == "env":
            tasks = held_out_tasks(how.tasks, episodes=self.episodes, seed=self.seed)
            return Tasks(tasks, "the environment's own starts and goals, held-out seeds")
        if recorded is None:
            return image_tasks(self.kind, how.tasks, episodes=self.episodes, seed=self.seed)
        if how.tasks:
            raise ConfigError(
                f"evaluation.tasks={list(how.tasks)} are of the environment, and goal={self.kind} "
                "takes starts and goals of episodes; leave one of them out"
            )
        if self.kind.endswith(PAIRS):
            return manifest_tasks(
                recorded, Path(self.kind), success, episodes=self.episodes, seed=self.seed
            )
        return tasks_of_episodes(
            recorded, success, make, crossed=self.kind == "crossed", offset=self.offset,
            episodes=self.episodes, seed=self.seed, way=self.way,
        )  # fmt: skip

    def as_asked(self, evaluation: Evaluation) -> tuple[Evaluation, int, int]:
        """The evaluation with its budget, the offset, and the seed of policies.

        A file of pairs says them, if there is one.
        """
        offset, seed = self.offset, self.seed
        if self.kind.endswith(PAIRS):
            asked = read_manifest(Path(self.kind))
            offset, seed = asked.offset or offset, seed if asked.seed is None else asked.seed
            if evaluation.max_steps is None:
                evaluation = replace(evaluation, max_steps=asked.budget)
        if evaluation.max_steps is None and self.recorded:
            evaluation = replace(evaluation, max_steps=2 * offset)
        return evaluation, offset, seed

    def success(self, said: Success, env: str, view: View | None) -> Success:
        """What success is where nothing is said: for goals of episodes what is known of a world.

        Raises:
            ConfigError: what is said needs goals of episodes, or nothing is known of this world.
        """
        if said.within and not self.recorded:
            raise ConfigError(
                f"success.within compares with infos of the goal, which goal={self.kind} does not "
                "tell; say goal=episodes or crossed, or success.total_reward="
            )
        told = said.within or said.total_reward is not None
        if told or self.kind == "env" or view is None:
            return said
        within = view.within(env)
        if not within and self.recorded:
            raise ConfigError(
                f"goal={self.kind}: nothing is known of what reaching a goal means in {env}; say "
                "success.within={INFO: RADIUS} with an info of its episodes (worldmodel data "
                "inspect lists them), or success.total_reward="
            )
        return Success(within) if self.recorded else said
