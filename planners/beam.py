"""Beam search over choices: the most promising beginnings of plans, one block after another."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ConfigError

from .categorical import require_choices
from .planner import Plan, Planner, Search, beginnings
from .problem import Problem

MOST_BLOCKS = 4096  # alternatives of a block that are tried one by one


class BeamSearch(Planner):
    """Every alternative of every block of the best beginnings; exhaustive where the beam is wide.

    A beginning is judged by the costs of a plan that ends there.

    Args:
        horizon: Action blocks of a plan.
        beams: Beginnings that are gone on with.
    """

    def __init__(self, horizon: int = 6, *, beams: int = 64) -> None:
        if min(horizon, beams) < 1:
            raise ConfigError(
                f"BeamSearch needs horizon >= 1 and beams >= 1, got {horizon} and {beams}"
            )
        self.horizon, self.beams = horizon, beams

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`. Nothing in it is random.

        Raises:
            ConfigError: actions are numbers, or a block has too many alternatives.
        """
        counts = require_choices(problem, "BeamSearch")
        if math.prod(counts) > MOST_BLOCKS:
            raise ConfigError(
                f"an action block has {math.prod(counts)} alternatives, BeamSearch tries at most "
                f"{MOST_BLOCKS} one by one; take planner=categorical, or a shorter action block"
            )
        search, device = Search(problem), problem.history.states.device
        blocks = torch.stack([
            torch.cat([F.one_hot(torch.tensor(i), n) for i, n in zip(chosen, counts, strict=True)])
            for chosen in itertools.product(*map(range, counts))
        ]).float().to(device)  # fmt: skip
        beams = torch.zeros(1, 0, problem.action_dim, device=device)
        for step in range(1, self.horizon + 1):
            begun = beams.repeat_interleave(len(blocks), dim=0)
            tried = torch.cat([begun, blocks.repeat(len(beams), 1)[:, None]], dim=1)
            if step == self.horizon:
                if warm_start is not None:
                    begun = beginnings(problem, warm_start, horizon=self.horizon)
                    tried = torch.cat([tried, begun])
                search.score(tried)
                break
            scored = search.look(tried)
            beams = scored.actions[scored.rank()[: self.beams]]
        return search.finish()
