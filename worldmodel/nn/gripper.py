"""Poses of a gripper: seven numbers, a place, three angles, and how far it is closed."""

import torch
from torch import Tensor

POSE = 7


def moved(poses: Tensor, changes: Tensor) -> Tensor:
    """The poses (... 7) after changes of them (... 7); differentiable.

    Places add up, rotations follow one another, and the gripper closes between 0 (open) and 1
    (Droid's convention, as V-JEPA 2-AC was trained: arXiv:2506.09985, section 3.1). Angles are in
    radians, of rotations around the fixed axes x, y and z, in this order.
    """
    turned = rotations(changes[..., 3:6]) @ rotations(poses[..., 3:6])
    closed = (poses[..., 6:] + changes[..., 6:]).clamp(0, 1)
    return torch.cat([poses[..., :3] + changes[..., :3], angles(turned), closed], dim=-1)


def rotations(angles: Tensor) -> Tensor:
    """Matrices (... 3 3) that turn around x, then y, then z, by angles (... 3) in radians."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        (cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz),
        (cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz),
        (-sy, sx * cy, cx * cy),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def angles(rotations: Tensor) -> Tensor:
    """The angles (... 3) of rotations (... 3 3), the second between -pi/2 and pi/2.

    At those two ends the first and the third are not to be told apart.
    """
    r = rotations
    x = torch.atan2(r[..., 2, 1], r[..., 2, 2])
    y = torch.atan2(-r[..., 2, 0], torch.hypot(r[..., 2, 1], r[..., 2, 2]))
    return torch.stack([x, y, torch.atan2(r[..., 1, 0], r[..., 0, 0])], dim=-1)
