"""Why plans fail: is the model wrong, does it hear actions, does its cost rank what comes?"""

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np
import torch
from einops import rearrange
from scipy.stats import spearmanr
from torch import Tensor

from worldmodel.types import History

from .agent import PlanningPolicy
from .candidates import Candidates, project, score
from .carried_out import Script, ends_of_blocks, frames_of_states
from .dynamics import ImageDynamics, told_proprioception
from .episode_loop import EpisodeRecord, Policy, run_episode
from .episode_states import EpisodeStates
from .image_states import encode_images
from .problem import Problem
from .tasks import Task

AHEAD = (5, 15, 25)  # environment steps
STARTS = 200  # of predictions
CANDIDATES = 24  # of each kind, carried out from each start


@torch.no_grad()
def open_loop(
    model: ImageDynamics, recorded: EpisodeStates, *, max_history: int, seed: int
) -> dict[str, float]:
    """How far predictions err after about 5, 15 and 25 environment steps of recorded actions.

    Args:
        model: Predicts.
        recorded: States of episodes that it has not learned from, with their actions.
        max_history: Most states that it predicts from.
        seed: Of the starts.

    Returns:
        For each number of steps that the episodes and the action blocks allow,
        `error_over_standing_still_STEPS` (the mean squared error over that of the state at the
        start: above 1, to predict is worse than to say that nothing changes) and
        `error_with_other_actions_STEPS` (over the same predictions' error when they are led by
        the actions of another start: near 1, actions are not heard).
    """
    found: dict[str, float] = {}
    random = np.random.default_rng(seed)
    for steps in AHEAD:
        blocks = round(steps / model.action_block)
        ahead = blocks * model.action_block  # the nearest that whole blocks reach
        if not blocks or f"error_over_standing_still_{ahead}" in found:
            continue
        starts = _starts(recorded, blocks, random)
        if len(starts) < 2:
            continue
        others = starts[torch.arange(len(starts)).roll(1)]
        errors = torch.tensor(
            [
                _errors(model, recorded, int(at), int(other), blocks, max_history)
                for at, other in zip(starts, others, strict=True)
            ]
        ).mean(dim=0)
        found[f"error_over_standing_still_{ahead}"] = float(errors[0] / errors[1])
        found[f"error_with_other_actions_{ahead}"] = float(errors[2] / errors[0])
    return found


def _starts(recorded: EpisodeStates, blocks: int, random: np.random.Generator) -> Tensor:
    """Indices of states with so many recorded action blocks ahead, at most `STARTS` of them."""
    firsts = recorded.lengths.cumsum(0) - recorded.lengths
    ends = (firsts + recorded.lengths).repeat_interleave(recorded.lengths)
    known = ~recorded.blocks.isnan().any(dim=1)
    at = torch.arange(len(recorded.states))
    led = torch.stack([known[(at + i).clamp(max=len(at) - 1)] for i in range(blocks)]).all(dim=0)
    found = at[led & (at + blocks < ends)].numpy()
    return torch.from_numpy(random.permutation(found)[:STARTS].copy())


def _errors(
    model: ImageDynamics, recorded: EpisodeStates, at: int, other: int, blocks: int, most: int
) -> tuple[float, float, float]:
    """Squared errors of the prediction, of standing still, and under the actions of another."""
    ends = recorded.lengths.cumsum(0)
    episode = int(torch.searchsorted(ends, at, right=True))
    begun = int(ends[episode] - recorded.lengths[episode])
    first = max(begun, at - most + 1)
    device = getattr(model, "device", recorded.states.device)
    history = History(
        recorded.states[first : at + 1].to(device), recorded.blocks[first:at].to(device)
    )
    actions = torch.stack([recorded.blocks[i : i + blocks] for i in (at, other)]).to(device)
    foreseen = model.rollout(history, actions)[:, -1].cpu()
    came = recorded.states[at + blocks]
    told = getattr(model, "image_dim", len(came))
    own, under_other = (foreseen - came)[:, :told].square().mean(dim=1)
    still = (recorded.states[at] - came)[:told].square().mean()
    return float(own), float(still), float(under_other)


def ranks(
    env: gymnasium.Env, model: ImageDynamics, policy: PlanningPolicy, tasks: Sequence[Task], *,
    seed: int, on_task: Callable[[], object] = lambda: None,
) -> dict[str, float]:  # fmt: skip
    """How well predicted costs rank what comes of candidates when they are carried out.

    From the start of each task: candidates at random, and the best of the planner's last iteration.

    Args:
        env: Observes images; can be begun again at the tasks' starts.
        model: Encodes what comes.
        policy: Plans with the model.
        tasks: Starts and goals.
        seed: Of the random candidates.
        on_task: Called after each.

    Returns:
        `rank_random` and `rank_best`: the mean of Spearman's correlation over the tasks, and
        `.n`, how many had costs that differ. Where the best are ranked like chance, the planner has
        found what the model is wrong about.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds: dict[str, list[float]] = {"random": [], "best": []}
    for task in tasks:
        _carried_out(env, policy, task, steps=1)
        problem, plan = policy.agent.problem, policy.agent.plan
        assert problem is not None and plan is not None
        best = plan.candidates
        for name, chosen in (
            ("random", _at_random(problem, best, generator)),
            ("best", best.take(best.rank()[:CANDIDATES])),
        ):
            pairs = [
                (float(cost), came)
                for cost, actions in zip(chosen.cost, chosen.actions, strict=True)
                if (came := _cost_of(env, model, problem, task, actions)) is not None
            ]
            if pairs and all(len(set(costs)) > 1 for costs in zip(*pairs, strict=True)):
                kinds[name].append(float(spearmanr(*zip(*pairs, strict=True)).statistic))
        on_task()
    found: dict[str, float] = {}
    for name, values in kinds.items():
        if values:
            found |= {f"rank_{name}": float(np.mean(values)), f"rank_{name}.n": float(len(values))}
    return found


def _at_random(problem: Problem, like: Candidates, generator: torch.Generator) -> Candidates:
    units, (_, t, a) = problem.units, like.actions.shape
    drawn = torch.randn((CANDIDATES, t, a), generator=generator).to(like.actions)
    return score(problem, project(problem, units.centre + units.scale * drawn)).detach()


def _cost_of(
    env: gymnasium.Env, model: ImageDynamics, problem: Problem, task: Task, actions: Tensor
) -> float | None:
    """The cost of what comes when actions (t a) are carried out; None if the episode ends early."""
    block = model.action_block
    flat = rearrange(actions, "t (k a) -> (t k) a", k=block).cpu().numpy()
    record = _carried_out(env, Script(flat), task, steps=len(flat))
    if record.steps < len(flat):
        return None
    told = told_proprioception(model)
    known = None if told is None else record.infos[told][ends_of_blocks(model, len(record.frames))]
    states = encode_images(model, frames_of_states(model, record.frames), known)[None]
    return float(sum(cost(states, actions[None])[0] for cost in problem.costs))


def _carried_out(env: gymnasium.Env, policy: Policy, task: Task, *, steps: int) -> EpisodeRecord:
    return run_episode(
        env, policy, seed=task.seed, options=task.options, max_steps=steps, replay=task.replay,
        goal=task.goal, shown=task.shown, told=task.told, draws=task.draws,
    )  # fmt: skip
