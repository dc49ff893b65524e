"""Plain networks that learn from the states of recorded episodes in seconds, before any plan."""

from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn

from worldmodel.errors import ConfigError

STEPS, BATCH, WIDTH, RATE = 3000, 256, 256, 1e-3
LEFT_OUT = 10


def every_tenth(numbers: Tensor) -> Tensor:
    """True for rows of every tenth episode (numbers n), by which what was learned is judged."""
    return numbers % LEFT_OUT == LEFT_OUT - 1


def require_steps(steps: int) -> None:
    """Refuse to follow a network that has learned nothing."""
    if steps < 1:
        raise ConfigError(f"steps={steps}: a network learns for at least one step")


def plain_network(inputs: int, outputs: int, *, seed: int) -> nn.Sequential:
    """Two hidden layers; its weights are a function of the seed, and leave no other trace."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(),
            nn.Linear(WIDTH, outputs),
        )  # fmt: skip


def descend(
    parameters: Iterable[Tensor], loss: Callable[[Generator], Tensor], *, seed: int,
    steps: int = STEPS,
) -> None:  # fmt: skip
    """Adam on a loss that draws its own batches.

    Args:
        parameters: what learns.
        loss: of a batch that it draws with the generator.
        seed: of the batches.
        steps: of Adam.
    """
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    generator = Generator().manual_seed(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(generator).backward()
        optimiser.step()


class Standardise(nn.Module):
    """Numbers (n d) to mean 0 and deviation 1 of the data; what never changes stays 0.

    Args:
        data: What mean and deviation are of, n d.
    """

    mean: Tensor  # d
    std: Tensor  # d

    def __init__(self, data: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", data.mean(dim=0))
        std = data.std(dim=0)
        self.register_buffer("std", torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x: Tensor) -> Tensor:
        """Numbers ... d, of which only the data's first d are taken."""
        return (x[..., : len(self.mean)] - self.mean.to(x)) / self.std.to(x)
