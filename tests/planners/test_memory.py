"""Memory does not grow with the decisions of an agent."""

import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from tests.worldmodel.toys import stirred
from worldmodel.model import WorldModel
from worldmodel.nn.action_predictor import ActionTransformer
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.heads import StateHead
from worldmodel.planners import CEM, ActionBounds, Agent, GoalState, Gradient
from worldmodel.planners.icem import ICEM
from worldmodel.runs.memory import resident_bytes

MIB = 2**20
SIZE = 8  # pixels of a side
SIZES = {"candidates": 4, "iterations": 1, "elites": 2}
PLANNERS = {
    "cem": lambda: CEM(2, **SIZES),
    "icem": lambda: ICEM(2, **SIZES, kept=1.0),  # hands something on to the next decision
    "gradient": lambda: Gradient(2, starts=2, iterations=1),  # keeps what slopes need
}


def image(random):
    return random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def tiny():
    """The smallest model that encodes, and predicts by a transformer."""
    head = StateHead(1, 8, dim=4, extra=4)
    acting = ActionTransformer(8, 2, width=8, depth=1, heads=1, window=2)
    encoder = VideoViT(8, 1, heads=1, patch=SIZE, tubelet_frames=1)
    model = WorldModel(encoder, size=SIZE, head=head, action_predictor=acting, action_dim=2)
    return stirred(model).eval()


def grown(planner, *, warm_up, decisions):
    """Bytes that an agent grows by, in so many decisions after those that warm up."""
    random, model, begun = np.random.default_rng(0), tiny(), 0
    costs, bounds = [GoalState.from_image(image(random))], [ActionBounds(-1.0, 1.0)]
    agent = Agent(model, planner, costs=costs, guardrails=bounds)
    for number in range(warm_up + decisions):
        if number == warm_up:
            gc.collect()
            begun = resident_bytes()
        for _ in range(model.action_block):
            agent.act(image(random))
    assert agent.plans == warm_up + decisions
    gc.collect()
    return resident_bytes() - begun


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", PLANNERS)
def test_memory_is_flat_over_ten_thousand_decisions(name):
    more = grown(PLANNERS[name](), warm_up=500, decisions=10_000)
    print(f"{name}: {more / MIB:+.2f} MiB")
    assert more < 4 * MIB


class Hoarding(CEM):
    """Forgets nothing that it was asked."""

    def plan(self, problem, **given):
        self.asked.append((problem, np.ones(16_000)))
        return super().plan(problem, **given)


def grown_of_hoarding():
    hoarding = Hoarding(2, **SIZES)
    hoarding.asked = []
    return grown(hoarding, warm_up=20, decisions=100)


def grown_of_icem():
    return grown(PLANNERS["icem"](), warm_up=50, decisions=150)


def test_memory_is_flat_over_hundreds_of_decisions_and_what_is_hoarded_shows():
    """In a process of its own: what other tests had let go of would be used again, unseen."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        assert alone.submit(grown_of_icem).result() < 4 * MIB
        assert alone.submit(grown_of_hoarding).result() > 8 * MIB
