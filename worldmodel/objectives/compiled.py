"""The sums and slopes of `epps_pulley.py` by C, compiled when they are first asked for.

A C compiler is all it takes (`cc`, `gcc` or `clang`), and half a second; the library is made for
this process alone and kept nowhere. `python -m benchmarks sigreg` has the times.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.objectives.epps_pulley import Powers, coefficients, quadrature

SOURCE = Path(__file__).with_name("epps_pulley.c")
_LANES, _MOST_KNOTS = 16, 64  # as in the source
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-Wno-psabi", "-shared", "-fPIC")


@cache
def compiled() -> Powers:
    """The same three steps as `EAGER`'s, for float32 on a CPU.

    Raises:
        ConfigError: there is no compiler, or it fails.
    """
    library = _library()

    def power_sums(x: Tensor, knots: int) -> Tensor:
        _check(x, knots)
        p, _, m = x.shape
        sums = torch.empty(knots - 1, p, 1, m, dtype=torch.complex64)
        _on_all_cores(library.power_sums, x, knots, sums)
        return sums

    def slope(error: Tensor, x: Tensor, knots: int) -> Tensor:
        _check(x, knots)
        slopes = torch.empty_like(x)
        factors = coefficients(error, knots).resolve_conj().contiguous()
        _on_all_cores(library.slope, x, knots, factors, slopes)
        return slopes

    return Powers(lambda x, knots: x.contiguous(), power_sums, slope)


@cache
def _library() -> ctypes.CDLL:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise ConfigError(
            "kernel=compiled needs a C compiler (cc, gcc or clang), and there is none; "
            "kernel=eager computes the same"
        )
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "epps_pulley.so"
        done = subprocess.run(
            [compiler, *_FLAGS, str(SOURCE), "-o", str(made), "-lm"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            first = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
            raise ConfigError(f"kernel=compiled: {compiler} fails ({first}); take kernel=eager")
        return ctypes.CDLL(str(made))  # stays loaded without the file


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


def _check(x: Tensor, knots: int) -> None:
    if x.device.type != "cpu" or x.dtype != torch.float32 or knots > _MOST_KNOTS:
        raise ConfigError(
            f"kernel=compiled is for float32 on a CPU and at most {_MOST_KNOTS} knots, got "
            f"{x.dtype} on {x.device.type} and {knots}; take kernel=eager"
        )
