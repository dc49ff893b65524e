"""One decision of a planner: ours at the quickstart's size, and at two sizes beside LeWorldModel's.

The other side is `stable-worldmodel` (`pip install 'worldmodel[peers]'`): its CEM with its LeWM
module, with the same width, depth, heads, network, window, samples, iterations and horizon, in turn
with ours. Both begin from states that are encoded; neither projects its predictions any further.

What a decision of ours is made of, from a frame on, stands beside: see `plan_parts`.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator

from benchmarks import plan_parts
from benchmarks.measure import time_alternately
from benchmarks.peers import installed
from benchmarks.table import Row, Table
from worldmodel.architecture import Architecture
from worldmodel.model import WorldModel
from worldmodel.nn.class_token_vit import ClassTokenViT
from worldmodel.nn.heads import ClassTokenHead, StateHead
from worldmodel.nn.rollout_transformer import RolloutTransformer
from worldmodel.planners import CEM, GoalState, Problem
from worldmodel.types import Clip, History

SIZE = 64  # pixels of a side
ACTION_DIM = 2
PEER = "stable_worldmodel"


@dataclass(frozen=True)
class Setting:
    """What both sides have alike."""

    width: int  # of a state and of the transformer
    depth: int
    heads: int
    head_width: int
    mlp_width: int
    samples: int
    iterations: int
    elites: int
    horizon: int
    block: int = 10  # dimension of an action block
    window: int = 3
    # Of our encoder, which the other side is not compared in: as LeWM's.
    size: int = 224
    patch: int = 14
    encoder_depth: int = 12
    encoder_heads: int = 3


SETTINGS = {
    "lewm": Setting(192, 6, 16, 64, 2048, samples=300, iterations=10, elites=30, horizon=5),
    "small": Setting(
        128, 2, 4, 32, 512, samples=256, iterations=5, elites=25, horizon=6, block=4, size=64,
        patch=8, encoder_depth=4, encoder_heads=4,
    ),
}  # fmt: skip
BARS = {"lewm": 2.4, "small": 1.8}


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

    problem = Problem(model, history, costs=[GoalState(state + 1)])

    def decide() -> None:
        generator = Generator(device).manual_seed(0)
        plans.append(planner.plan(replace(problem), generator=generator))

    times = time_alternately({"see": see, "plan": decide}, repeats=repeats, device=device)
    rows = [
        Row.median("plan.see_ms", [1e3 * s for s in times["see"]]),
        Row.median("plan.seconds", times["plan"]),
        Row.exact("plan.model_calls", plans[-1].model_calls),
        Row.median("plan.steps_per_second", [plans[-1].model_steps / s for s in times["plan"]]),
        *plan_parts.rows("plan", planner, problem, see, repeats=repeats, device=device),
    ]
    for name, setting in SETTINGS.items():
        fewer = max(3, repeats // 5)
        rows += beside_peer(name, setting, repeats=fewer, device=device)
        rows += parts_of_ours(name, setting, repeats=fewer, device=device)
    protocol = {
        "planner": {"name": type(planner).__name__, **_numbers(planner)},
        "model": {"state_dim": model.state_dim, **_numbers(Architecture()), "trained": False},
        "measured": "one decision; steps are action blocks imagined, summed over candidates; "
        "encode_ms, rollout_ms, cost_ms and update_ms are its parts, from a frame on",
        "beside": {name: vars(setting) for name, setting in SETTINGS.items()},
    }
    return Table("speed-plan", "python -m benchmarks plan", protocol, rows)


def beside_peer(name: str, setting: Setting, *, repeats: int, device: str) -> list[Row]:
    """Seconds of a decision of both sides, and how many of ours fit into one of theirs.

    Nothing where the other side is not installed.
    """
    if not installed(PEER):
        return []
    functions = {"ours": ours(setting, device), "theirs": theirs(setting, device)}
    times = time_alternately(functions, repeats=repeats, device=device)
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    return [
        *(Row.median(f"{name}.{side}_seconds", times[side]) for side in functions),
        Row.median(f"{name}.speed", ratios, bar=BARS[name]),
    ]


def ours(setting: Setting, device: str) -> Callable[[], object]:
    """A decision from one state, by CEM."""
    planner, problem = asked(setting, device)
    # A new problem each time, as an agent makes: what it has found out is not known before.
    return lambda: planner.plan(replace(problem), generator=Generator(device).manual_seed(0))


def parts_of_ours(name: str, setting: Setting, *, repeats: int, device: str) -> list[Row]:
    """The parts of our decision, from a frame on."""
    planner, problem = asked(setting, device)
    clip = Clip.from_images(torch.zeros(1, 3, setting.size, setting.size), 1).to(device)
    model = problem.model
    assert isinstance(model, WorldModel)

    def see() -> None:
        with torch.no_grad():
            model.states(clip)

    return plan_parts.rows(name, planner, problem, see, repeats=repeats, device=device)


def asked(setting: Setting, device: str) -> tuple[CEM, Problem]:
    """Our planner, and what it is asked: to go on from a state that is encoded."""
    acting = RolloutTransformer(
        setting.width, setting.block, width=setting.width, depth=setting.depth, heads=setting.heads,
        window=setting.window, head_width=setting.head_width, mlp_width=setting.mlp_width,
    )  # fmt: skip
    encoder = ClassTokenViT(
        setting.width, setting.encoder_depth, heads=setting.encoder_heads, patch=setting.patch,
        size=setting.size,
    )  # fmt: skip
    head = ClassTokenHead(setting.width, dim=setting.width)
    model = WorldModel(
        encoder, size=setting.size, head=head, action_predictor=acting, action_dim=setting.block,
        action_block=1,
    ).to(device).eval()  # fmt: skip
    planner = CEM(
        horizon=setting.horizon, iterations=setting.iterations, candidates=setting.samples,
        elites=setting.elites,
    )  # fmt: skip
    state = torch.zeros(setting.width, device=device)
    history = History(state[None], torch.zeros(0, setting.block, device=device))
    return planner, Problem(model, history, costs=[GoalState(state + 1, running=0)])


def theirs(setting: Setting, device: str) -> Callable[[], object]:
    """The same by stable-worldmodel."""
    import gymnasium
    import numpy as np
    from stable_worldmodel import PlanConfig
    from stable_worldmodel.solver import CEMSolver
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import Embedder, Predictor

    predictor = Predictor(
        num_frames=setting.window, depth=setting.depth, heads=setting.heads,
        mlp_dim=setting.mlp_width, input_dim=setting.width, hidden_dim=setting.width,
        dim_head=setting.head_width,
    )  # fmt: skip
    embedder = Embedder(input_dim=setting.block, smoothed_dim=10, emb_dim=setting.width)
    model = LeWM(torch.nn.Identity(), predictor, embedder).to(device).eval()
    solver = CEMSolver(
        model, num_samples=setting.samples, n_steps=setting.iterations, topk=setting.elites,
        device=device,
    )  # fmt: skip
    space = gymnasium.spaces.Box(-1, 1, (1, setting.block), np.float32)
    solver.configure(
        action_space=space, n_envs=1, config=PlanConfig(setting.horizon, setting.horizon)
    )
    state = torch.zeros(1, 1, setting.width)

    def decide() -> object:
        # Encoded already, as ours; the pixels say how many frames there are.
        seen = {"pixels": torch.zeros(1, 1, 3, 1, 1), "goal": torch.zeros(1, 1, 3, 1, 1)}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its time
            return solver.solve({**seen, "emb": state, "goal_emb": state + 1})

    return decide


def _model() -> WorldModel:
    parts = Architecture(size=SIZE)
    head = parts.head()
    assert isinstance(head, StateHead)
    model = WorldModel(parts.encoder, size=SIZE, head=head, action_dim=ACTION_DIM)
    block = model.action_block * ACTION_DIM
    model.action_predictor = parts.action_predictor(head, block)
    return model


def _numbers(planner: Any) -> dict[str, float]:
    return {k: v for k, v in vars(planner).items() if isinstance(v, int | float)}
