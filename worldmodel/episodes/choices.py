"""Actions that are choices: recorded as the number of one, learned as a number for each."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.episodes.episode import require


def spread_choices(actions: Tensor, counts: Sequence[int], first: Sequence[float]) -> Tensor:
    """Actions (t r) that are numbers of alternatives -> 1 for the chosen one, 0 for others: t a.

    Args:
        actions: one number for each choice.
        counts: how many alternatives each choice has; without any, actions are numbers and stay.
        first: the number of the first alternative of each.

    Raises:
        EpisodeError: an action is none of the alternatives.
    """
    if not counts:
        return actions
    numbers = from_zero(actions, counts, first)
    chosen = [
        F.one_hot(part, count)
        for part, count in zip(numbers.long().unbind(dim=1), counts, strict=True)
    ]
    return torch.cat(chosen, dim=1).to(actions)


def from_zero(actions: Tensor, counts: Sequence[int], first: Sequence[float]) -> Tensor:
    """Actions (t r) that are numbers of alternatives, counted from 0 whatever the first one's is.

    Raises:
        EpisodeError: an action is none of the alternatives.
    """
    rule = f"actions are choices among {list(counts)} alternatives, numbered from {list(first)}"
    fits = actions.ndim == 2 and actions.shape[1] == len(counts)
    require(fits, f"{rule}; got actions of shape {tuple(actions.shape)}")
    numbers = actions - actions.new_tensor(list(first))
    most = actions.new_tensor([float(count - 1) for count in counts])
    known = ((numbers == numbers.round()) & (numbers >= 0) & (numbers <= most)).all(dim=1)
    require(bool(known.all()), f"{rule}; got {actions[~known][:1].tolist()}")
    return numbers
