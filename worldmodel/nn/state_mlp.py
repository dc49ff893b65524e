"""The next state from the last states and actions, by a plain network."""

import torch
from torch import Tensor, nn

from worldmodel.errors import ShapeError
from worldmodel.nn.action_predictor import ActionPredictor, check_least
from worldmodel.nn.blocks import arguments, zeroed
from worldmodel.nn.heads import Head


class StateMLP(ActionPredictor):
    """Next state from the last `window` states and actions, laid side by side.

    The output is the present state plus a learned change, so an untrained one says that nothing
    changes.

    Args:
        state_dim: dimension of a state.
        action_dim: dimension of an action block.
        width, depth: of the network.
        window: states that a prediction looks at, no more and no fewer.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, width: int = 512, depth: int = 3, window: int = 2
    ) -> None:
        super().__init__()
        self.spec = arguments(locals())
        self.window = self.least = check_least(window, window)
        layers: list[nn.Module] = []
        inputs = window * (state_dim + action_dim)
        for _ in range(depth):
            layers += [nn.Linear(inputs, width), nn.SiLU()]
            inputs = width
        self.hidden = nn.Sequential(*layers)
        self.out = zeroed(nn.Linear(inputs, state_dim))

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "StateMLP":
        """A new one for a head's states; it is always given the whole window."""
        check_least(least, window)
        return cls(head.width, action_dim, width=width, depth=depth, window=window)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For the last of `window` states (b t d) and actions (b t a), the next: b 1 d.

        Raises:
            ShapeError: there are fewer or more.
        """
        if states.shape[1] != self.window:
            raise ShapeError(f"a prediction takes {self.window} states, got {states.shape[1]}")
        seen = torch.cat([states.flatten(1), actions.flatten(1)], dim=1)
        return states[:, -1:] + self.out(self.hidden(seen))[:, None]
