"""Acting: planners, costs, guardrails, agents."""

from .agent import Agent
from .cem import CEM
from .costs import ActionEffort, Cost, GoalState, LandmarkDistance
from .episode import Policy, run_episode
from .gradient import Gradient
from .guardrails import ActionBounds, Guardrail, KeepOut
from .landmarks import Landmarks
from .planner import Plan, Planner

__all__ = [
    "CEM",
    "ActionBounds",
    "ActionEffort",
    "Agent",
    "Cost",
    "GoalState",
    "Gradient",
    "Guardrail",
    "KeepOut",
    "LandmarkDistance",
    "Landmarks",
    "Plan",
    "Planner",
    "Policy",
    "run_episode",
]
