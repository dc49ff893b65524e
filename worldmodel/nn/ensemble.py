"""Several action predictors that began differently: where they disagree, they do not know."""

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.action_predictor import ActionPredictor, ActionTransformer
from worldmodel.nn.blocks import arguments
from worldmodel.nn.heads import Head
from worldmodel.nn.state_mlp import StateMLP

KINDS: dict[str, type[ActionPredictor]] = {
    "StateMLP": StateMLP, "ActionTransformer": ActionTransformer,
}  # fmt: skip


class Ensemble(ActionPredictor):
    """The mean of several predictors of one kind, each of which learns by its own error.

    Their variance is small where data was and grows away from it (Lakshminarayanan et al. 2017,
    arXiv:1612.01474); `Disagreement` makes a cost of it.

    Args:
        state_dim: dimension of a state.
        action_dim: dimension of an action block.
        kind: of each, `StateMLP` or `ActionTransformer`.
        members: how many.
        width, depth, window: of each.
        least: states that each is given at least.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, kind: str = "StateMLP", members: int = 5,
        width: int = 512, depth: int = 3, window: int = 2, least: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = arguments(locals())
        if kind not in KINDS:
            raise ConfigError(f"an ensemble is of {' or '.join(KINDS)}, got kind={kind}")
        if members < 2:
            raise ConfigError(f"an ensemble has at least two members, got members={members}")
        sizes = {"width": width, "depth": depth, "window": window}
        if kind != "StateMLP":  # which is always given its whole window
            sizes["least"] = least
        each = [KINDS[kind](state_dim, action_dim, **sizes) for _ in range(members)]
        self.members = nn.ModuleList(each)
        self.window, self.least = window, each[0].least

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "Ensemble":
        """A new one for a head's states."""
        KINDS["StateMLP"].of(head, 1, width=1, depth=1, window=window, least=least)  # checks
        return cls(head.width, action_dim, width=width, depth=depth, window=window)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For the last of `window` states (b t d) and actions (b t a), the next: b t d."""
        return self.each(states, actions).mean(dim=0)

    @property
    def alone(self) -> list[ActionPredictor]:
        """Its members, each by itself."""
        return [member for member in self.members if isinstance(member, ActionPredictor)]

    def each(self, states: Tensor, actions: Tensor) -> Tensor:
        """What each member says: e b t d."""
        return torch.stack([member(states, actions) for member in self.members])
