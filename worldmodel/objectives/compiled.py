"""The sums and slopes of `epps_pulley.py` by C, compiled when they are first asked for.

A C compiler is all it takes (`cc`, `gcc` or `clang`), and half a second; the library is made for
this process alone and kept nowhere. `python -m benchmarks sigreg` has the times.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.objectives.epps_pulley import Powers, coefficients, quadrature

SOURCE = Path(__file__).with_name("epps_pulley.c")
MOST_KNOTS = 64
_LANES = 16  # as in the source
_FLAGS = ("-O3", "-ffast-math", "-fPIC", "-c")
_OF_THIS_MACHINE = "-march=native"  # which not every compiler knows


def compiled(knots: int) -> Powers:
    """The same three steps as `EAGER`'s, for float32 on a CPU and this number of knots.

    Raises:
        ConfigError: there is no compiler, or it fails; or there are too many knots for it.
    """
    quadrature(knots)  # refuses too few
    if knots > MOST_KNOTS:
        raise ConfigError(
            f"kernel=compiled takes at most {MOST_KNOTS} knots, got {knots}; take kernel=eager"
        )
    _library()
    return Powers(_in_one_piece, _power_sums, _slope)


def _in_one_piece(x: Tensor, knots: int) -> Tensor:
    if x.device.type != "cpu" or x.dtype != torch.float32:
        raise ConfigError(
            f"kernel=compiled is for float32 on a CPU, got {x.dtype} on {x.device.type}; take "
            "kernel=eager"
        )
    return x.contiguous()


def _power_sums(x: Tensor, knots: int) -> Tensor:
    p, _, m = x.shape
    sums = torch.empty(knots - 1, p, 1, m, dtype=torch.complex64)
    _on_all_cores(_library().power_sums, x, knots, sums)
    return sums


def _slope(error: Tensor, x: Tensor, knots: int) -> Tensor:
    slopes = torch.empty_like(x)
    factors = coefficients(error, knots).resolve_conj().contiguous()
    _on_all_cores(_library().slope, x, knots, factors, slopes)
    return slopes


@cache
def _library() -> ctypes.CDLL:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise ConfigError(
            "kernel=compiled needs a C compiler (cc, gcc or clang), and there is none; "
            "kernel=eager computes the same"
        )
    with tempfile.TemporaryDirectory() as folder:
        half, made = Path(folder) / "epps_pulley.o", Path(folder) / "epps_pulley.so"
        command = [compiler, *_FLAGS, str(SOURCE), "-o", str(half)]
        try:
            try:
                _call([*command, _OF_THIS_MACHINE])
            except ConfigError:
                _call(command)
            # Linked by itself: told of fast mathematics, GCC links what makes the whole process
            # take its smallest numbers for zero.
            _call([compiler, "-shared", str(half), "-o", str(made), "-lm"])
            return ctypes.CDLL(str(made))  # stays loaded without the file
        except OSError as cause:
            raise ConfigError(f"kernel=compiled: {cause}; take kernel=eager") from cause


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise ConfigError(f"kernel=compiled: {command[0]} fails ({first}); take kernel=eager")


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "sigreg")


def _on_all_cores(function: Callable[..., None], x: Tensor, knots: int, *others: Tensor) -> None:
    """Call it for as many shares of the tiles as there are threads; ctypes lets go of the GIL."""
    p, b, m = x.shape
    tiles, cores = p * -(-m // _LANES), torch.get_num_threads()
    spacing = ctypes.c_float(float(quadrature(knots).knots[1]))
    shape = [ctypes.c_long(n) for n in (p, b, m)]
    ends = [tiles * i // cores for i in range(cores + 1)]

    def work(first: int, last: int) -> None:
        function(
            ctypes.c_void_p(x.data_ptr()), *shape, ctypes.c_long(first), ctypes.c_long(last),
            spacing, knots, *(ctypes.c_void_p(other.data_ptr()) for other in others),
        )  # fmt: skip

    waiting = [_threads().submit(work, *share) for share in zip(ends[:-2], ends[1:-1], strict=True)]
    work(ends[-2], ends[-1])
    for share in waiting:
        share.result()
