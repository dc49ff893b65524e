"""Look for what pip cannot install, and install it where that is allowed.

python3 system.py venv opengl           needed: where one is missing and stays so, exit status 2
python3 system.py --optional ffmpeg     wished for: where it is missing, say so and go on

The Makefile runs this before it downloads anything, so only the standard library is used here.
"Allowed" means as root, or with a sudo that asks for no password. Everybody else is shown the one
line to type.
"""

import argparse
import ctypes
import ctypes.util
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PROBE_SECONDS = 60  # a driver that hangs must not hang the set-up
# Arguments of libEGL's functions (EGL/eglext.h).
PLATFORM_DEVICE, MOST_DEVICES = 0x313F, 16
MANAGERS = ("apt-get", "dnf")


@dataclass(frozen=True)
class Need:
    """Something of the operating system.

    Attributes:
        title: its name in messages.
        purpose: who needs it.
        problem: says why it does not work, None where it does.
        packages: what brings it, by package manager.
    """

    title: str
    purpose: str
    problem: Callable[[], str | None]
    packages: dict[str, tuple[str, ...]]


def why_no_venv() -> str | None:
    """Debian splits what makes virtual environments from Python."""
    try:
        importlib.import_module("ensurepip")
        importlib.import_module("venv")
    except ImportError as cause:
        return f"{sys.executable}: {cause}"
    return None


def why_no_opengl() -> str | None:
    """Try what MuJoCo will try: EGL, then OSMesa; or only what `MUJOCO_GL` names."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if sys.platform != "linux" or asked not in ("", "egl", "osmesa"):
        return None
    problems = [_in_a_process(name) for name in ([asked] if asked else ["egl", "osmesa"])]
    return None if None in problems else problems[0]


def _in_a_process(backend: str) -> str | None:
    """A driver may crash or hang: not here."""
    command = [sys.executable, "-c", f"import system; system.probe({backend!r})"]
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        done = subprocess.run(
            command, cwd=here, capture_output=True, text=True, timeout=PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{backend} gives no answer within {PROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"{backend}: exit status {done.returncode}"]
    return lines[-1].removeprefix("OSError: ")


def probe(backend: str) -> None:
    """Load an OpenGL and start its first device that works.

    Raises:
        OSError: a library is missing, or no driver starts.
    """
    if backend == "osmesa":
        if ctypes.util.find_library("OSMesa") is None:
            raise OSError("libOSMesa.so is not installed")
        return
    egl = ctypes.CDLL("libEGL.so.1")
    try:
        ctypes.CDLL("libOpenGL.so.0")
    except OSError:
        ctypes.CDLL("libGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [
        egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")
    ]
    if None in addresses:
        raise OSError("libEGL.so.1 cannot draw without a screen (EGL_EXT_platform_device)")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    query = ctypes.CFUNCTYPE(number, number, pointer, pointer)(addresses[0])
    display_of = ctypes.CFUNCTYPE(pointer, number, pointer, pointer)(addresses[1])
    devices, count = (pointer * MOST_DEVICES)(), number()
    query(MOST_DEVICES, devices, ctypes.byref(count))
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    for device in devices[: count.value]:
        display = display_of(PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            return
    raise OSError(f"libEGL.so.1 finds no driver that starts ({count.value} devices)")


def why_no_ffmpeg() -> str | None:
    """The shared libraries are what torchcodec loads; a program called ffmpeg is not enough."""
    found = ctypes.util.find_library("avcodec")
    return None if found else "libavcodec.so is not installed"


NEEDS = {
    "venv": Need(
        "Python's module venv",
        "the package is installed into .venv",
        why_no_venv,
        {"apt-get": (f"python3.{sys.version_info.minor}-venv",), "dnf": ("python3",)},
    ),
    "opengl": Need(
        "off-screen OpenGL",
        "MuJoCo draws its worlds with it",
        why_no_opengl,
        # libgl1 and mesa-dri-drivers bring Mesa's software driver.
        {
            "apt-get": ("libegl1", "libgl1"),
            "dnf": ("mesa-libEGL", "mesa-libGL", "mesa-dri-drivers"),
        },
    ),
    "ffmpeg": Need(
        "FFmpeg's libraries",
        "for torchcodec, an optional decoder; its tests are skipped without",
        why_no_ffmpeg,
        {"apt-get": ("ffmpeg",), "dnf": ("ffmpeg-free",)},
    ),
}


def allowed() -> list[str] | None:
    """The words before a command that installs; None where this user may not install."""
    if os.geteuid() == 0:
        return []
    try:
        done = subprocess.run(["sudo", "-n", "true"], capture_output=True)
    except OSError:
        return None
    return ["sudo", "-n"] if done.returncode == 0 else None


def install(manager: str, packages: Sequence[str], *, before: Sequence[str]) -> None:
    """Install packages; what the package manager says is shown only where it fails."""
    words = [*before, "env", "DEBIAN_FRONTEND=noninteractive", manager]
    if manager == "apt-get":
        subprocess.run([*words, "update", "-qq"], capture_output=True)  # or install says why not
        words += ["install", "-y", "-qq", "--no-install-recommends"]
    else:
        words += ["install", "-y", "-q"]
    done = subprocess.run([*words, *packages], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout[-2000:] + done.stderr[-2000:], file=sys.stderr)


def provide(names: Sequence[str], *, optional: bool = False) -> bool:
    """Look for each need and install what is missing where that is allowed.

    Returns:
        Whether all of them work now; where not, what to type has been shown.
    """
    missing = [NEEDS[name] for name in names if NEEDS[name].problem() is not None]
    manager = next((name for name in MANAGERS if shutil.which(name)), "")
    packages = [p for need in missing for p in need.packages.get(manager, ())]
    before = allowed() if packages else None
    if before is not None:
        say(f"installing with {manager}: {' '.join(packages)}")
        install(manager, packages, before=before)
        importlib.invalidate_caches()
    problems = [(need, problem) for need in missing if (problem := need.problem()) is not None]
    for need, problem in problems:
        say(f"{need.title} ({need.purpose}): {problem}")
    if problems:
        say(remedy([need for need, _ in problems], manager))
        if optional:
            say("going on without")
    return not problems


def remedy(needs: Sequence[Need], manager: str) -> str:
    """The line to type; for an unknown package manager, the names of the packages elsewhere."""
    lines = {
        name: f"{name} install -y {' '.join(p for need in needs for p in need.packages[name])}"
        for name in MANAGERS
    }
    if not manager:
        others = "; ".join(lines.values())
        return f"install it with the package manager of this system; on others it is: {others}"
    line = lines[manager]
    if os.geteuid() != 0:
        line = f"sudo {line}" if shutil.which("sudo") else f"su -c '{line}'"
    return f"to have it, type this line and run make again:\n\n    {line}\n"


def say(text: str) -> None:
    """Tell the user, beside what make prints."""
    print(f"worldmodel: {text}", file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> int:
    """Do what the words say; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("needs", nargs="+", choices=[*NEEDS])
    parser.add_argument("--optional", action="store_true", help="go on without")
    asked = parser.parse_args(words)
    works = provide(asked.needs, optional=asked.optional)
    return 0 if works or asked.optional else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
