"""What a plan should make small."""

from .action_effort import ActionEffort
from .cost import Cost
from .goal_state import GoalState
from .landmark_distance import LandmarkDistance

__all__ = ["ActionEffort", "Cost", "GoalState", "LandmarkDistance"]
