"""Costs: what a plan should make small."""

from .action_effort import ActionEffort
from .cost import Cost
from .disagreement import Disagreement
from .goal_state import GoalImage, GoalState
from .landmark_distance import GoalAlongLandmarks, LandmarkDistance
from .learned_reward import ExpectedReward, LearnedReward
from .read_out import ReadOut, ReadOutGoal
from .subgoals import GoalBySubgoals, Subgoals
from .temporal_distance import GoalInSteps, TemporalDistance

__all__ = [
    "ActionEffort",
    "Cost",
    "Disagreement",
    "ExpectedReward",
    "GoalAlongLandmarks",
    "GoalBySubgoals",
    "GoalImage",
    "GoalInSteps",
    "GoalState",
    "LandmarkDistance",
    "LearnedReward",
    "ReadOut",
    "ReadOutGoal",
    "Subgoals",
    "TemporalDistance",
]
