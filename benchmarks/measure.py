"""Measure time and memory of functions so that a busy machine disturbs it least."""

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def time_alternately(
    functions: Mapping[str, Callable[[], object]], *, repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Seconds of each function in each of so many rounds, after one that warms up."""
    return time_in_rounds(functions, [()] * (repeats + 1), device=device)


def time_in_rounds(
    functions: Mapping[str, Callable[..., object]],
    rounds: Sequence[tuple[Any, ...]],
    *,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Seconds of functions that are called in turn: a neighbour slows all of them, not one.

    Args:
        functions: What to call, by name.
        rounds: The arguments that all get in each round; the first warms up and is not timed.
        device: Where they work; a GPU is waited for.

    Returns:
        For each name its times in seconds, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number, arguments in enumerate(rounds):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function(*arguments)
            synchronize(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_tensor_bytes(function: Callable[[], object]) -> int:
    """The most bytes that tensors made while `function` runs held at once.

    Counts what operations return, not the scratch space inside one, and not what was there before.
    """
    with _Ledger() as ledger:
        function()
    return ledger.peak


class _Ledger(TorchDispatchMode):
    """Adds up storages as operations return them, and subtracts them as they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held = 0
        self._known: dict[int, int] = {}  # storage's identity to bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = {
            x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage(), before)
        return result

    def _add(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        key = storage._cdata
        if key in before or key in self._known:
            return
        self._known[key] = storage.nbytes()
        self._held += storage.nbytes()
        self.peak = max(self.peak, self._held)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self._held -= self._known.pop(key, 0)
