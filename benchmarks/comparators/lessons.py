"""What a learner with reward practises, and its reward: tasks like those of the evaluation.

From a step of an episode that our model learns from to what that episode showed some steps later:
as the evaluation asks it of held-out episodes. A learner that was asked something else in its
training than afterwards would be at a disadvantage.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.planners.recorded_tasks import Moment
from worldmodel.planners.success import Success
from worldmodel.planners.tasks import Task


def lessons(
    recorded: Episodes, success: Success, *, offset: int, seed: int, begun: int
) -> Iterator[Task]:
    """Tasks without end; starts that are at their goal already are left out.

    Args:
        recorded: Of which those that are not held out are taken.
        success: When a goal counts as reached.
        offset: Steps from a start to its goal.
        seed, begun: Decide which: others after an interruption, before which so many had begun.

    Raises:
        ConfigError: no episode is that long.
    """
    training = recorded.training
    long = [place for place, frames in enumerate(training.lengths) if frames > offset]
    if not long:
        raise ConfigError(f"offset={offset}: no training episode of {recorded.name} is that long")
    random = np.random.default_rng([seed, offset, begun])
    while True:
        place = int(random.choice(long))
        step = int(random.integers(training.lengths[place] - offset))
        start = Moment(training.read(place), step, training.numbers[place])
        goal = start.later(offset)
        if start.distance(success, goal) > 1:
            yield start.task(goal, "lesson", draws=0)


def reward(info: Mapping[str, Any], goal: Mapping[str, np.ndarray], success: Success) -> float:
    """Minus the distance to the goal, in radii within which it counts as reached.

    In radii, since the learners bin rewards coarsely and centimetres would fall into one bin.
    """
    here = {name: np.asarray(info[name])[None] for name in success.within}
    return -float(success.ratio(here, goal)[0])
