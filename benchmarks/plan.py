"""One decision of a planner over a model of the quickstart's size, weights untrained."""

from typing import Any

import torch
from torch import Generator

from benchmarks.measure import time_alternately
from benchmarks.table import Row, Table
from worldmodel.architecture import Architecture
from worldmodel.model import WorldModel
from worldmodel.nn.heads import StateHead
from worldmodel.planners import CEM, GoalState, Problem
from worldmodel.types import Clip, History

SIZE = 64  # pixels of a side
ACTION_DIM = 2


def bench(*, repeats: int = 25, device: str = "cpu") -> Table:
    """Time of seeing a frame and of planning from it by CEM, `repeats` times."""
    planner = CEM()
    model = _model().to(device).eval()
    state = torch.zeros(model.state_dim, device=device)
    block = model.action_dim * model.action_block
    history = History(state[None], torch.zeros(0, block, device=device))
    clip = Clip.from_images(torch.zeros(1, 3, SIZE, SIZE), model.tubelet_frames).to(device)
    plans: list[Any] = []

    def see() -> None:
        with torch.no_grad():
            model.states(clip)

    def decide() -> None:
        generator = Generator(device).manual_seed(0)
        problem = Problem(model, history, costs=[GoalState(state + 1)])
        plans.append(planner.plan(problem, generator=generator))

    times = time_alternately({"see": see, "plan": decide}, repeats=repeats, device=device)
    rows = [
        Row.median("plan.see_ms", [1e3 * s for s in times["see"]]),
        Row.median("plan.seconds", times["plan"]),
        Row.exact("plan.model_calls", plans[-1].model_calls),
        Row.median("plan.steps_per_second", [plans[-1].model_steps / s for s in times["plan"]]),
    ]
    protocol = {
        "planner": {"name": type(planner).__name__, **_numbers(planner)},
        "model": {"state_dim": model.state_dim, **_numbers(Architecture()), "trained": False},
        "measured": "one decision; steps are action blocks imagined, summed over candidates",
    }
    return Table("speed-plan", "python -m benchmarks plan", protocol, rows)


def _model() -> WorldModel:
    parts = Architecture(size=SIZE)
    head = parts.head()
    assert isinstance(head, StateHead)
    model = WorldModel(parts.encoder, size=SIZE, head=head, action_dim=ACTION_DIM)
    block = model.action_block * ACTION_DIM
    model.action_predictor = parts.action_predictor(model.head, block)
    return model


def _numbers(planner: Any) -> dict[str, float]:
    return {k: v for k, v in vars(planner).items() if isinstance(v, int | float)}
