"""Poses of a gripper, against scipy's rotations."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from tests.worldmodel.toys import seeded
from worldmodel.nn import gripper


def poses(count, scale=1.0, seed=0):
    found = torch.randn(count, 7, generator=seeded(seed), dtype=torch.float64) * scale
    found[:, 4] = found[:, 4].clamp(-1.5, 1.5)  # the second angle lies between -pi/2 and pi/2
    return found


def test_angles_are_those_of_scipy_there_and_back():
    angles = poses(200)[:, 3:6]
    theirs = Rotation.from_euler("xyz", angles.numpy()).as_matrix()
    ours = gripper.rotations(angles)
    assert np.allclose(ours, theirs, atol=1e-12)
    back = gripper.angles(ours)
    assert np.allclose(back, Rotation.from_matrix(theirs).as_euler("xyz"), atol=1e-9)


def test_places_add_up_rotations_follow_one_another_and_the_gripper_ends():
    before, change = poses(100), poses(100, 0.5, seed=1)
    after = gripper.moved(before, change)
    assert torch.allclose(after[:, :3], before[:, :3] + change[:, :3])
    first, then = (Rotation.from_euler("xyz", x[:, 3:6].numpy()) for x in (before, change))
    assert np.allclose(gripper.rotations(after[:, 3:6]), (then * first).as_matrix(), atol=1e-9)
    assert torch.equal(after[:, 6], (before[:, 6] + change[:, 6]).clamp(0, 1))
    assert 0 < int((after[:, 6] == 1).sum()) < 100


def test_no_change_changes_nothing_and_slopes_are_those_of_differences():
    before = poses(20, 0.4)
    before[:, 6] = 0.5
    assert torch.allclose(gripper.moved(before, torch.zeros_like(before)), before, atol=1e-12)
    change = poses(3, 0.2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gripper.moved(before[:3], x)[:, :6], change)
