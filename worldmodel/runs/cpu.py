"""Two process settings that decide how fast PyTorch is on a CPU; set before torch is imported.

- The allocator. glibc gives every large block back to the kernel and faults it in again: up to
  3.5 times slower element-wise work. Here large blocks stay with the process.
- The wait policy. OpenMP threads that spin while they wait slow small operations 35 times down
  beside one busy neighbour. Here they sleep.

The command line does this on Linux with glibc; as a library the package leaves the process as it
is. `WORLDMODEL_CPU_TUNING=0` leaves it alone too, and whatever the environment already sets wins.
Imports neither torch nor numpy.
"""

import ctypes
import os
import platform
import sys

SWITCH = "WORLDMODEL_CPU_TUNING"
WAIT_POLICY = "OMP_WAIT_POLICY"

# Option numbers of glibc's mallopt (malloc.h) with the variables that set the same for processes
# that are started from here. Values are C ints: 2 GiB is the most.
_NEVER_MMAP = 0
_KEEP = 2**31 - 1
_GROW_BY = 2**28
_OPTIONS = {
    "MALLOC_MMAP_MAX_": (-4, _NEVER_MMAP),
    "MALLOC_TRIM_THRESHOLD_": (-1, _KEEP),
    "MALLOC_TOP_PAD_": (-2, _GROW_BY),
}


def tune() -> bool:
    """Set the wait policy and the allocator of this process and those it starts.

    Returns:
        Whether it did: False when switched off, not on glibc, or torch is there already.
    """
    if os.environ.get(SWITCH) == "0" or not _is_glibc() or "torch" in sys.modules:
        return False
    os.environ.setdefault(WAIT_POLICY, "passive")
    malloc = ctypes.CDLL(None)
    for variable, (option, value) in _OPTIONS.items():
        if variable not in os.environ:
            malloc.mallopt(option, value)
            os.environ[variable] = str(value)
    return True


def state() -> dict[str, str]:
    """The settings as this process has them, for `worldmodel doctor`."""
    unset = "not set"
    return {
        SWITCH: os.environ.get(SWITCH, "1 (default)"),
        WAIT_POLICY: os.environ.get(WAIT_POLICY, unset),
        **{variable: os.environ.get(variable, unset) for variable in _OPTIONS},
    }


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
