"""Acting: planners, costs, guardrails, agents."""

from .agent import Agent
from .cem import CEM
from .costs import (
    ActionEffort,
    Cost,
    GoalAlongLandmarks,
    GoalImage,
    GoalState,
    LandmarkDistance,
)
from .episode_loop import Policy, run_episode
from .factory import Factory
from .gradient import Gradient
from .guardrails import ActionBounds, Guardrail, KeepOut, KeepOutFlagged
from .landmarks import Landmarks
from .planner import Plan, Planner
from .problem import Problem

__all__ = [
    "CEM",
    "ActionBounds",
    "ActionEffort",
    "Agent",
    "Cost",
    "Factory",
    "GoalAlongLandmarks",
    "GoalImage",
    "GoalState",
    "Gradient",
    "Guardrail",
    "KeepOut",
    "KeepOutFlagged",
    "LandmarkDistance",
    "Landmarks",
    "Plan",
    "Planner",
    "Policy",
    "Problem",
    "run_episode",
]
