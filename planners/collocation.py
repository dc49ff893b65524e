"""Planning by collocation: states and actions together, tied by predictions of one step."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .candidates import project, weigh
from .descent import Adam, Steepest, require_slopes, slopes, starts
from .dynamics import BranchingDynamics
from .planner import Plan, Planner, Search
from .problem import Problem


class Collocation(Planner):
    """Direct collocation over virtual states (von Stryk 1993).

    A gradient through a rollout passes through the model once for each block of it, and may vanish
    or explode on its way. Here every state of a plan is a variable of its own: costs and guardrails
    look at these, and that each is what the model predicts from the one before is a constraint,
    kept by an augmented Lagrangian (Hestenes 1969). On the way to a plan, states may pass where no
    action leads. What counts in the end is what follows when the actions are rolled out: the answer
    is the best of those rollouts, safe ones first.

    Args:
        horizon: Action blocks of a plan.
        starts: Candidates that descend in parallel: the warm start, doing nothing, random ones.
        rounds: Times that the actions are rolled out and the multipliers are updated; one more
            rollout is that of the starts.
        iterations: Steps of Adam in each round.
        learning_rate: Length of a first step, in the units of `Problem`, and in the spread of the
            states that the starts lead to; it falls to zero over the rounds.
        init_std: Spread of the random starts, in the units of `Problem`.
        tightness: Weight of half a squared miss of a prediction, in spreads, beside a cost whose
            steepest slope is 1.
    """

    def __init__(
        self, horizon: int = 6, *, starts: int = 8, rounds: int = 6, iterations: int = 15,
        learning_rate: float = 0.15, init_std: float = 0.7, tightness: float = 1.0,
    ) -> None:  # fmt: skip
        if min(horizon, rounds, iterations) < 1 or starts < 2:
            raise ConfigError(
                "Collocation needs horizon, rounds and iterations >= 1 and starts >= 2, got "
                f"{horizon}, {rounds}, {iterations} and {starts}"
            )
        if min(learning_rate, init_std, tightness) <= 0:
            raise ConfigError(
                "Collocation needs learning_rate, init_std and tightness > 0, got "
                f"{learning_rate}, {init_std} and {tightness}"
            )
        self.horizon, self.starts, self.rounds = horizon, starts, rounds
        self.iterations, self.learning_rate = iterations, learning_rate
        self.init_std, self.tightness = init_std, tightness

    @property
    def follows_slopes(self) -> bool:
        """It does."""
        return True

    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`.

        Raises:
            ConfigError: actions are choices, which have no slope, or the model cannot go on from
                many histories at once.
        """
        require_slopes("Collocation", problem)
        if not isinstance(problem.model, BranchingDynamics):
            raise ConfigError(
                f"Collocation asks a model for `imagine`, which {type(problem.model).__name__} "
                "does not have; take planner=gradient"
            )
        search = Search(problem)
        begun = starts(
            problem, warm_start, generator, horizon=self.horizon, number=self.starts,
            init_std=self.init_std,
        )  # fmt: skip
        with torch.no_grad():
            scored = search.score(begun)
        with torch.enable_grad():
            actions = scored.actions.detach().clone().requires_grad_()
            self._descend(search, actions, scored.states.detach().clone().requires_grad_())
        return search.finish()

    def _descend(self, search: Search, actions: Tensor, states: Tensor) -> None:
        problem, scale = search.problem, search.problem.units.scale
        unit = _spread(problem, states.detach())
        multipliers = torch.zeros_like(states)
        adams, steepest = [Adam(x.detach()) for x in (states, actions)], Steepest(actions.detach())
        for number in range(self.rounds):
            for step in range(self.iterations):
                left = 1 - (number * self.iterations + step) / (self.rounds * self.iterations)
                weighed = weigh(problem, actions, states)
                slope = slopes(weighed, [states, actions])
                missed = (one_step(problem, states, actions, search) - states) / unit
                tie = multipliers * missed + self.tightness / 2 * missed.square()
                tied = [
                    part.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
                    for part in torch.autograd.grad(tie.sum(), [states, actions])
                ]
                with torch.no_grad():
                    slope = slope or [torch.zeros_like(x) for x in (states, actions)]
                    slope = [unit * slope[0], scale * slope[1]]
                    slope = steepest.measured(slope, weighed.safe)
                    length = left * self.learning_rate
                    slope = [slope[0] + unit * tied[0], slope[1] + scale * tied[1]]
                    moved = [adam.direction(s) for adam, s in zip(adams, slope, strict=True)]
                    states -= length * unit * moved[0]
                    actions.copy_(project(problem, actions - length * scale * moved[1]))
            with torch.no_grad():
                missed = (one_step(problem, states, actions, search) - states) / unit
                multipliers += self.tightness * missed
                search.score(actions.detach())
                # Where a virtual state's cost is no number there is no slope: begin again.
                lost = ~weigh(problem, actions, states).cost.isfinite()
                states[lost], actions[lost] = search.best.states, search.best.actions
                multipliers[lost] = 0


def one_step(problem: Problem, states: Tensor, actions: Tensor, search: Search) -> Tensor:
    """What the model predicts from the state before each, be that virtual or not: k t d."""
    model, (k, t) = problem.model, actions.shape[:2]
    assert isinstance(model, BranchingDynamics)
    window = int(getattr(model, "action_window", 1))
    seen, done = problem.history.states[-window:], problem.history.actions
    kept = len(seen)
    past = done[len(done) - (kept - 1) :]
    path = torch.cat([seen.expand(k, -1, -1), states[:, :-1]], dim=1)
    led = torch.cat([past.expand(k, -1, -1), actions], dim=1)
    found: list[Tensor] = []
    while len(found) < t:  # those before which there are equally many states go together
        ends = [kept + len(found)]
        if ends[0] >= window:
            ends = list(range(ends[0], kept + t))
        length = min(ends[0], window)
        before, by = (
            torch.cat([x[:, end - length : end] for end in ends]) for x in (path, led)
        )  # fmt: skip
        after = model.imagine(before, by[:, :-1], by[:, -1:])[:, 0]
        search.count(len(after))
        found += after.split(k)
    return torch.stack(found, dim=1)


def _spread(problem: Problem, states: Tensor) -> Tensor:
    """How far states (k t d) lie from where they began, over all of them; never zero."""
    far = (states - problem.history.states[-1]).square().mean().sqrt()
    return far if far.isfinite() and far > 0 else torch.ones_like(far)
