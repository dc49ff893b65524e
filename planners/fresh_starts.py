"""Where episodes begin in a world that cannot be brought back to a recorded step.

A start is set in the simulator, or reached again from its reset by the recorded actions; neither
is possible where no state is told and a world does not repeat itself, which is found out by
beginning a few starts twice and holding the one against the other. (Against what was recorded, a
camera or an option that is not the collection's would look the same: that stays an error.) Then
episodes begin at resets. If the same seed leads to the same reset, it is the reset of a held-out
episode, and the goal what that episode showed later: reproducible, and reached once from there. If
not even that, it is any reset, with a seed that no collection uses, and the goal a recorded frame.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, EnvError, EpisodeError

from .action_space import ActionSpace
from .recorded_tasks import Pool, crossed_tasks, draws_of, episode_tasks
from .starts import FEW, begun, fields_apart, told_otherwise
from .success import Success
from .tasks import Task, Tasks
from .ways import Way

TRIED = 3  # starts that are begun twice: those with the most recorded actions before them


def tasks_of_episodes(
    recorded: Episodes, success: Success, make: Callable[[int], gymnasium.Env], *, crossed: bool,
    offset: int, episodes: int, seed: int, way: Way | None = None,
) -> Tasks:  # fmt: skip
    """Starts and goals of held-out episodes: at their steps, or at resets where that cannot be.

    Args:
        recorded: Some of them held out.
        success: When a goal counts as reached.
        make: Makes the environment, whose episodes may have so many steps at least.
        crossed: Goals are of another episode than starts.
        offset: Steps from a start to its goal.
        episodes: How many tasks at most.
        seed: Decides which.
        way: Has to lead from each start to its goal.

    Raises:
        ConfigError: there are no such tasks; or goals are to be as far away as in an episode, and
            the world does not begin at the same place twice.
        EpisodeError: an episode does not say how it began.
    """
    how: Mapping[str, Any] = {"offset": offset, "episodes": episodes, "seed": seed}
    choose = partial(crossed_tasks if crossed else episode_tasks, recorded, success, way=way, **how)
    try:
        tasks = choose()
    except EpisodeError as error:  # at resets it comes again, unless it is of later steps alone
        why = str(error)
    else:
        if (differs := _differs(make, tasks.tasks)) is None:
            return tasks
        why = f"the same actions after the same reset do not lead to the same ({differs})"
    tasks = choose(resets=True)
    differs = _differs(make, [replace(task, replay=None) for task in tasks.tasks])
    if differs is None:
        return replace(tasks, why=why)
    why = f"a reset with the same seed is not the same twice ({differs})"
    if way is not None:
        raise ConfigError(
            f"pairs= asks for a way from a start, and in {recorded.info.env_id} {why}; leave it out"
        )
    if crossed:
        raise ConfigError(
            f"goal=crossed asks for goals as far from a start as in an episode, and in "
            f"{recorded.info.env_id} {why}; plan with goal=episodes"
        )
    return replace(_anew(recorded, **how), why=why)


def _differs(make: Callable[[int], gymnasium.Env], tasks: Sequence[Task]) -> str | None:
    """What is another when starts are begun a second time, in words; None if nothing is."""
    tried = sorted(tasks, key=_steps_before, reverse=True)[:TRIED]
    tried = [task for task in tried if "state" not in task.options]
    if not tried:
        return None
    with make(_steps_before(tried[0])) as env:
        differs = next((what for task in tried if (what := _differs_of(env, task))), None)
    return differs


def _differs_of(env: gymnasium.Env, task: Task) -> str | None:
    ways = [_begun(env, task) for _ in range(2)]
    if errors := [way for way in ways if isinstance(way, str)]:
        # What goes wrong twice in the same way is no want of repeating: the episode will say so.
        return None if len(set(errors)) == 1 < len(errors) else errors[0]
    (first, info), (second, again) = (way for way in ways if not isinstance(way, str))
    if fields_apart(first, second)[0] > FEW:
        return "the image differs"
    told = {name: np.asarray(info[name]) for name in task.told if name in info}
    other = told_otherwise(again, told)
    return None if other is None else f"'{other}' differs"


def _begun(env: gymnasium.Env, task: Task) -> tuple[np.ndarray, Mapping[str, Any]] | str:
    """The image and the infos at a start, or what the environment did wrong on the way."""
    space = ActionSpace.of(env.action_space)
    try:
        return begun(env, space, seed=task.seed, options=task.options, replay=task.replay)
    except EnvError as error:
        return str(error)


def _steps_before(task: Task) -> int:
    return 0 if task.replay is None else len(task.replay)


def _anew(recorded: Episodes, *, offset: int, episodes: int, seed: int) -> Tasks:
    """From any resets to what held-out episodes showed `offset` steps after theirs."""
    pool = Pool(recorded, offset, episodes, resets=True)
    found: list[Task] = []
    for start in pool.draw(np.random.default_rng([seed, offset]), most=episodes):
        options = json.loads(start.episode.metadata.get("reset_options", "{}"))
        goal = start.later(offset).as_goal()
        found.append(Task(draws_of(seed, len(found)), "offset", options, goal))
    words = (
        "from fresh resets, held-out seeds (the world does not repeat them, so each policy begins "
        f"elsewhere) to what held-out episodes showed {offset} steps after their own"
    )
    return Tasks(found, words, anew=True)
