"""Costs: what a plan should make small."""

from .action_effort import ActionEffort
from .cost import Cost
from .disagreement import Disagreement
from .goal_state import GoalImage, GoalState
from .landmark_distance import GoalAlongLandmarks, LandmarkDistance
from .read_out import ReadOut, ReadOutGoal

__all__ = [
    "ActionEffort",
    "Cost",
    "Disagreement",
    "GoalAlongLandmarks",
    "GoalImage",
    "GoalState",
    "LandmarkDistance",
    "ReadOut",
    "ReadOutGoal",
]
