"""Worlds and models whose truth is known, to hold the planners to."""

import gymnasium
import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.planners import CEM, ActionEffort, Cost, GoalState, Gradient, Guardrail, Problem
from worldmodel.planners.beam import BeamSearch
from worldmodel.planners.behaviours import NoOp, Random, SmoothRandom
from worldmodel.planners.categorical import CategoricalCEM
from worldmodel.planners.collect import collect
from worldmodel.planners.collocation import Collocation
from worldmodel.planners.episode_loop import Policy
from worldmodel.planners.episode_states import EpisodeStates
from worldmodel.planners.icem import ICEM
from worldmodel.planners.mppi import MPPI
from worldmodel.planners.refined import Refined
from worldmodel.runs.run import Run
from worldmodel.types import Clip, History

# Every planner stands here once, with settings that are enough for the oracles.
PLANNERS = {
    "icem": lambda horizon: ICEM(
        horizon, candidates=512, iterations=70, elites=60, momentum=0.7, colour=1.0, shrink=1.0
    ),
    "mppi": lambda horizon: MPPI(horizon, candidates=512, iterations=40, narrowing=0.88),
    "refined": lambda horizon: Refined(
        CEM(horizon, candidates=128, iterations=10), Gradient(horizon, iterations=100)
    ),
    "cem": lambda horizon: CEM(horizon, candidates=384, iterations=30, elites=40),
    "gradient": lambda horizon: Gradient(horizon, starts=8, iterations=150, learning_rate=0.05),
    "collocation": lambda horizon: Collocation(horizon, rounds=12, iterations=15),
}

# Those that choose among alternatives.
CHOOSERS = {
    "cem": PLANNERS["cem"],
    "categorical": lambda horizon: CategoricalCEM(horizon, candidates=256, iterations=12),
    "beam": lambda horizon: BeamSearch(horizon, beams=128),
}


class Linear:
    """z' = A z + B a, and z' also depends on nothing else."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        self.rolled = []  # the steps of each rollout

    def rollout(self, history: History, actions):
        return self.imagine(history.states[-1:].expand(len(actions), 1, -1), None, actions)

    def imagine(self, states, past, actions):
        self.rolled.append(len(actions) * actions.shape[1])
        state = states[:, -1]
        states = []
        for t in range(actions.shape[1]):
            state = state @ self.a.T + actions[:, t] @ self.b.T
            states.append(state)
        return torch.stack(states, dim=1)


class Maze:
    """Each choice is a step: stay, right, up, left, down; a wall with one gap cannot be crossed."""

    steps = torch.tensor([[0.0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])

    def rollout(self, history, actions):
        assert set(actions.unique().tolist()) <= {0.0, 1.0}
        assert (actions.unflatten(-1, (-1, 5)).sum(-1) == 1).all()
        place, places = history.states[-1].expand(len(actions), -1), []
        for block in actions.unbind(1):
            for step in block.split(5, dim=-1):
                there = place + step @ self.steps
                blocked = (there[:, 0] == 1) & (there[:, 1] != 2)
                place = torch.where(blocked[:, None], place, there)
            places.append(place)
        return torch.stack(places, dim=1)


def point(d=2):
    """A point that goes where it is told: z' = z + a."""
    return Linear(torch.eye(d), torch.eye(d))


def at(*position):
    return History(torch.tensor([list(position)]), torch.zeros(0, 2))


def run(planner, model, history, *, costs, guardrails=(), seed=0, warm_start=None):
    problem = Problem(model, history, costs=costs, guardrails=guardrails)
    generator = torch.Generator().manual_seed(seed)
    return planner.plan(problem, generator=generator, warm_start=warm_start)


def linear_quadratic():
    """Random stable dynamics with a quadratic cost, and its optimum in closed form."""
    generator = torch.Generator().manual_seed(3)
    d, a, horizon = 4, 2, 4
    matrix = torch.randn(d, d, generator=generator)
    a_matrix = 0.9 * matrix / torch.linalg.matrix_norm(matrix, 2)
    b_matrix = torch.randn(d, a, generator=generator)
    start, goal = torch.randn(2, d, generator=generator)
    effort = 0.05
    # Stacked states = free + response @ stacked actions, so the cost is a least-squares problem.
    free, response = [], torch.zeros(horizon * d, horizon * a)
    state = start
    for t in range(horizon):
        state = a_matrix @ state
        free.append(state)
        for s in range(t + 1):
            power = torch.linalg.matrix_power(a_matrix, t - s) @ b_matrix
            response[t * d : (t + 1) * d, s * a : (s + 1) * a] = power
    miss = torch.cat(free) - goal.repeat(horizon)
    # GoalState: mean over t and d, plus the last step's mean over d. ActionEffort: mean over t, a.
    weight = torch.full((horizon * d,), 1 / (horizon * d))
    weight[-d:] += 1 / d
    hessian = response.T @ (weight[:, None] * response) + effort / (horizon * a) * torch.eye(
        horizon * a
    )
    best = torch.linalg.solve(hessian, -response.T @ (weight * miss))
    residual = response @ best + miss
    cost = (weight * residual.square()).sum() + effort * best.square().mean()
    history = History(start[None], torch.zeros(0, a))
    costs = [GoalState(goal), ActionEffort(effort)]
    return Linear(a_matrix, b_matrix), history, costs, best.reshape(horizon, a), cost.item()


class Disc(Guardrail):
    """Stay out of a disc around `centre`; states are positions."""

    def __init__(self, centre, radius):
        self.centre, self.radius = torch.tensor(centre), radius

    def margin(self, states, actions):
        return (states[..., :2] - self.centre).square().sum(-1).add(1e-12).sqrt() - self.radius


class Tempting(Cost):
    """Rewards, without limit, being where the guardrail forbids to be."""

    def __init__(self, guardrail, scale=1e4):
        self.guardrail, self.scale = guardrail, scale

    def __call__(self, states, actions):
        return self.scale * self.guardrail.margin(states, actions).sum(dim=1)


SIZE = 16
SPEED = 0.1


def draw(position):
    """An image (h w c, uint8) that says exactly where the point is: its colour."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[..., :2] = np.round((np.asarray(position) + 1) / 2 * 255)
    return image


class PointWorld(gymnasium.Env):
    """A point in a box that moves by SPEED * action; goals, a hazard disc, images as above."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    hazard, radius = np.array([0.0, 0.0]), 0.25

    def __init__(self, speed=SPEED):
        self.speed = speed
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        task = (options or {}).get("task", "any")
        start, goal = self.np_random.uniform(-0.9, 0.9, (2, 2))
        if task == "hazard":
            start, goal = np.array([-0.7, 0.02]), np.array([0.7, 0.02])
        self.position, self.goal, self.taken = start, goal, []
        return draw(start), self._info() | {"goal_image": draw(goal), "label": "text"}

    def step(self, action):
        assert self.action_space.contains(action)
        self.taken.append(action)
        self.position = np.clip(self.position + self.speed * action, -1, 1)
        info = self._info()
        return draw(self.position), 0.0, info["success"], False, info

    def _info(self):
        return {
            "position": self.position.astype(np.float32),
            "success": bool(np.linalg.norm(self.position - self.goal) < 0.08),
            "hazard_contact": bool(np.linalg.norm(self.position - self.hazard) < self.radius),
        }


# gymnasium imports what stands before the colon, also in spawned workers.
POINT_WORLD = "tests.planners.fakes:test/PointWorld-v0"


if "test/PointWorld-v0" not in gymnasium.registry:
    gymnasium.register("test/PointWorld-v0", entry_point="tests.planners.fakes:PointWorld")


class PointModel:
    """Knows `PointWorld` exactly; two steps a block, two frames a state.

    A state is the position in the latter frame and in the former one (x y x y).
    """

    action_dim, action_block, state_frames, size = 2, 2, 2, SIZE

    def states(self, clip: Clip):
        colours = clip.frames[:, :, :2].mean(dim=(-1, -2)) * 2 - 1
        pairs = rearrange(colours, "b (t s) a -> b t s a", s=2)
        return rearrange(pairs.flip(2), "b t s a -> b t (s a)")

    def rollout(self, history: History, actions):
        position = history.states[-1, :2].expand(len(actions), -1)
        positions = []
        for action in rearrange(actions, "k t (s a) -> (t s) k a", a=2):
            position = (position + SPEED * action.clamp(-1, 1)).clamp(-1, 1)
            positions.append(position)
        return torch.stack(
            [
                torch.cat(pair[::-1], dim=-1)
                for pair in zip(positions[::2], positions[1::2], strict=True)
            ],
            dim=1,
        )


class Towards(Policy):
    """Always the same action; remembers what it was told."""

    def __init__(self, action):
        self.action = np.array(action, np.float32)
        self.seen = []

    def reset(self, action_space, info, *, seed):
        self.seen = [(seed, sorted(info))]

    def __call__(self, observation, info):
        self.seen.append(info["position"])
        return self.action

    def numbers(self):
        return {"seen": float(len(self.seen) - 1)}


def recorded(sequences: list[Tensor], blocks: Tensor | None = None, **infos: Tensor):
    """Episodes of these states (t d)."""
    states = torch.cat(sequences)
    nothing = torch.zeros(len(states), dtype=torch.bool)
    return EpisodeStates(
        states, torch.tensor([len(s) for s in sequences]), nothing, nothing,
        torch.full((len(states), 2), torch.nan) if blocks is None else blocks, infos,
    )  # fmt: skip


def collected(folder, behaviour):
    """The folder of twelve episodes of a behaviour in `PointWorld`."""
    run = Run.open(folder / "run", verb="collect", config={}, seed=0)
    collect(run, env=POINT_WORLD, episodes=12, steps=24, behaviour=behaviour)
    run.close()
    return run.folder / "episodes"


every_behaviour = pytest.mark.parametrize(
    "policy", [NoOp(), Random(), SmoothRandom()], ids=lambda p: type(p).__name__
)
