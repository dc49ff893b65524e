"""Distance to a sub-goal: a recorded state some steps ahead on the way to the goal."""

from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.objectives.distances import Distance, check_distance
from worldmodel.types import History

from ..landmarks import Landmarks
from .cost import Cost
from .goal_state import GoalState, require_weights
from .landmark_distance import NEAREST
from .over_landmarks import OverLandmarks


class Subgoals(Cost):
    """`GoalState` to the landmark that lies `ahead` steps on the way from the present state.

    The way is a shortest path through the graph of landmarks, as in `LandmarkDistance`: where
    episodes have been, and through no wall. It begins at the landmark nearest to the state, and the
    sub-goal is the recorded state of the first one after it that is at least `ahead` steps farther
    along; where the goal comes sooner, it is the goal itself. It lies as far as a plan reaches, so
    a plan that goes round a corner to it can be found.

    Where no path leads to the goal, the goal itself is the sub-goal. As with `LandmarkDistance`
    that is no error: `landmarks_joined` says how well the graph hangs together.

    Args:
        landmarks: The graph.
        state: The goal (d), or several (g d), of which the one with the shortest way counts.
        ahead: Steps to the sub-goal; None is as many as the plans have that are judged.
        weight: See `GoalState`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        distance: `l2`, `l1`, `smooth_l1` or `cosine`.
    """

    def __init__(
        self, landmarks: Landmarks, state: Tensor, *, ahead: float | None = None,
        weight: float = 1.0, running: float = 1.0, terminal: float = 1.0, distance: Distance = "l2",
    ) -> None:  # fmt: skip
        _require_ahead(ahead)
        self._to = partial(
            GoalState, weight=weight, running=running, terminal=terminal, distance=distance
        )
        self.state = self._to(state).state  # refused here if it is no state
        self.ahead = ahead
        self._landmarks = landmarks
        self._goals = state.reshape(-1, state.shape[-1])
        # A wall may lie between a state and all landmarks but the nearest, so others are asked only
        # where that one is joined to none. The same holds where a way begins.
        self._paths = [
            [landmarks.paths_to(goal, nearest=number) for goal in self._goals]
            for number in (1, NEAREST)
        ]
        self._way: _Way | None = None

    def after(self, history: History) -> "Subgoals":
        """This cost for plans that begin at the last state of `history`, its way found."""
        here = copy(self)
        here._way = self._way_from(history.states[-1])
        return here

    def subgoal(self, ahead: float) -> Tensor:
        """The state (d) that lies `ahead` steps on the way, or the goal.

        Where no way leads to any of several goals, they are all (g d) that is left.

        Raises:
            ConfigError: it is not known where plans begin.
        """
        if self._way is None:
            raise ConfigError(
                "Subgoals has to be told where plans begin: cost.after(history) first; Problem "
                "does it"
            )
        return self._way.at(ahead)

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        ahead = float(states.shape[1]) if self.ahead is None else self.ahead
        return self._to(self.subgoal(ahead))(states, actions)

    def _way_from(self, state: Tensor) -> "_Way":
        around = self._landmarks.nearest(state, NEAREST)[1].tolist()
        for start, paths_of_goals in product(around, self._paths):
            lengths = torch.stack([paths.lengths[start] for paths in paths_of_goals])
            goal = int(lengths.argmin())
            if lengths[goal].isfinite():
                paths = paths_of_goals[goal]
                passed = paths.after(start)
                steps = (lengths[goal] - paths.lengths[passed]).tolist()
                places = self._landmarks.states[passed].to(self.state)
                return _Way(steps, torch.cat([places, self._goals[goal, None]]))
        return _Way([], self.state[None])


@dataclass(frozen=True)
class _Way:
    """What comes after the landmark where a way begins."""

    steps: list[float]  # w, increasing: from there to each landmark
    places: Tensor  # w+1 d: the landmarks, and the goal; w+1 g d if all goals are left

    def at(self, ahead: float) -> Tensor:
        """The first landmark that is at least so many steps away, else the goal."""
        sooner = sum(steps < ahead for steps in self.steps)
        return self.places[sooner]


class GoalBySubgoals(OverLandmarks):
    """`Subgoals` to the goal image of each episode, over landmarks of recorded episodes.

    Args:
        num_landmarks: See `Landmarks.from_states`.
        ahead: See `Subgoals`, as for the others.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        distance: `l2`, `l1`, `smooth_l1` or `cosine`.
    """

    def __init__(
        self, *, num_landmarks: int = 400, ahead: float | None = None, weight: float = 1.0,
        running: float = 1.0, terminal: float = 1.0, distance: Distance = "l2",
    ) -> None:  # fmt: skip
        _require_ahead(ahead)
        require_weights(weight, running, terminal)
        check_distance(distance)
        build = partial(
            Subgoals, ahead=ahead, weight=weight, running=running, terminal=terminal,
            distance=distance,
        )  # fmt: skip
        super().__init__(build, num_landmarks=num_landmarks)


def _require_ahead(ahead: float | None) -> None:
    if ahead is not None and not ahead > 0:
        raise ConfigError(
            "ahead of Subgoals must be above 0 steps, or null for as many as a plan has, got "
            f"{ahead}"
        )
