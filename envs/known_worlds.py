"""What is worth telling of worlds that other people made, and what reaching a goal means there.

Nothing depends on a world being here: `view.bodies=` and `success.within=` say the same of others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class KnownWorld:
    """Settings that make sense of a world."""

    within: Mapping[str, float]  # info -> how near it must come to the goal's, in its own unit
    bodies: tuple[str, ...] = ()  # of a MuJoCo world, whose positions are told
    camera: Mapping[str, object] = field(default_factory=dict)  # that sees all that matters


ABOVE: dict[str, object] = {"elevation": -90, "lookat": (0.0, 0.0, 0.0)}

KNOWN: Mapping[str, KnownWorld] = {
    # The radius of its goal, metres.
    "worldmodel/TwoRoom-v0": KnownWorld({"position": 0.12}),
    # A quarter of the way from one cup to the next.
    "worldmodel/Cups-v0": KnownWorld({"hand": 0.15}),
    # The arm reaches 0.21 m; from straight above.
    "Reacher-v5": KnownWorld(
        {"fingertip": 0.05},
        bodies=("fingertip",),
        camera=ABOVE | {"distance": 0.6},
    ),
    "Pusher-v5": KnownWorld({"object": 0.05}, bodies=("object", "tips_arm")),
    "InvertedPendulum-v5": KnownWorld({"pole": 0.1}, bodies=("pole",)),
    # The cosine and sine of its angle, and its velocity.
    "Pendulum-v1": KnownWorld({"observation": 0.3}),
    # Position, velocity, angle, angular velocity.
    "CartPole-v1": KnownWorld({"observation": 0.3}),
    # Pixels, and the chord of 20 degrees.
    "gym_pusht/PushT-v0": KnownWorld({"block_position": 20.0, "block_direction": 0.347}),
    # OGBench's own radii, metres.
    "cube-single-v0": KnownWorld({"privileged/block_0_pos": 0.04}),
    # Their info `xy` is not told at a reset.
    "pointmaze-medium-v0": KnownWorld({"observation": 1.0}),
    "antmaze-medium-v0": KnownWorld({"torso": 1.0}, bodies=("torso",)),
    # From straight above: walls hide the ball from the side. Five and eight cells of 1 m.
    "PointMaze_UMaze-v3": KnownWorld({"achieved_goal": 0.45}, camera=ABOVE | {"distance": 6.5}),
    "PointMaze_Medium-v3": KnownWorld({"achieved_goal": 0.45}, camera=ABOVE | {"distance": 10.2}),
}


def known(env_id: str) -> KnownWorld | None:
    """What is known of a world by its gymnasium id, without the module before a colon."""
    return KNOWN.get(env_id.rpartition(":")[2])
