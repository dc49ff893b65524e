"""How a world of others is seen, and what it tells: settings that make a `PixelWorld`."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import gymnasium

from .known_worlds import known
from .pixel_world import DEFAULT_SIZE, PixelWorld
from .rendering import RenderingError, choose_gl, import_triton_first


@dataclass(frozen=True)
class View:
    """Makes images of a world that draws itself; see `PixelWorld` for what the settings mean."""

    size: int | None = None  # pixels; None: as large as the model's that plans, otherwise 64
    crop: tuple[float, float, float, float] | None = None  # top, bottom, left, right, as shares
    camera: Any = None  # of a MuJoCo world: its name, number, or {distance: 1, elevation: -90}
    effects: bool = False  # draw shadows, reflections, sky and haze of MuJoCo worlds
    bodies: tuple[str, ...] = ()  # of a MuJoCo world, whose positions are told
    hidden: tuple[str, ...] = ()  # bodies and sites of a MuJoCo world that are not drawn
    factors: Mapping[str, Any] | None = None  # of a MuJoCo world: {light: [0.7, 1.3], mass: 2}

    def __call__(self, env: gymnasium.Env[Any, Any], *, size: int | None = None) -> PixelWorld:
        """The world that observes images; of `size` where the settings say none.

        A known world shows and tells what is known to matter, unless the settings say otherwise.
        """
        found = None if env.spec is None else known(env.spec.id)
        camera = dict(self.camera) if isinstance(self.camera, Mapping) else self.camera
        bodies = tuple(self.bodies)
        if found is not None:
            bodies = bodies or found.bodies
            camera = camera if camera is not None else dict(found.camera) or None
        return PixelWorld(
            env, self.size or size or DEFAULT_SIZE, crop=self.crop, camera=camera,
            effects=self.effects, bodies=bodies, hidden=tuple(self.hidden),
            factors=None if self.factors is None else dict(self.factors),
        )  # fmt: skip

    def prepare(self) -> None:
        """Choose MuJoCo's OpenGL, which some worlds ask for as soon as they are imported."""
        import_triton_first()
        # Where none works, a world that draws by MuJoCo will say so; others need none.
        with contextlib.suppress(RenderingError):
            choose_gl()

    @property
    def chosen(self) -> tuple[str, ...]:
        """The settings that are not as they are by default."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def within(self, env_id: str) -> dict[str, float]:
        """What reaching a goal means in a known world: how near which infos come to the goal's."""
        found = known(env_id)
        return {} if found is None else dict(found.within)
