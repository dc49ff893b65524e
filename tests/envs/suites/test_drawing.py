import numpy as np
import pytest

from worldmodel.envs.suites.drawing import SHAPES, Screen, Thing, draw, texture

SIZE = 64
GROUND = np.full((SIZE, SIZE, 3), 100, np.uint8)
DARK = np.zeros((SIZE, SIZE, 3), np.uint8)
RED = (255, 0, 0)


def at(*places):
    return np.array(places, float)


def screen(left, right, *up):
    return Screen(left, right, np.array(up, float), DARK)


def test_a_disc_has_its_area_and_place_in_every_frame():
    thing = Thing("disc", RED, 0.25, at((0, 0), (-0.5, 0.25)))
    frames = draw(GROUND, [thing], [screen(0.9, 1, 0, 0)], [])
    share = (frames[..., 0].astype(float) - 100)[:, :50] / 155  # of each pixel, without the screen
    assert share.sum((1, 2)) == pytest.approx(np.pi * (0.25 * SIZE / 2) ** 2, rel=0.02)
    rows, columns = np.mgrid[:50, :SIZE] + 0.5
    for image, (x, y) in zip(share, thing.path, strict=True):
        assert (image * columns).sum() / image.sum() == pytest.approx((x + 1) / 2 * SIZE, abs=0.05)
        assert (image * rows).sum() / image.sum() == pytest.approx((y + 1) / 2 * SIZE, abs=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_nowhere_further_than_its_reach(shape):
    thing = Thing(shape, RED, 0.3, at((0.1, -0.1)), striped=True)
    (image,) = draw(GROUND, [], [screen(0.9, 1, 0)], [thing])
    rows, columns = np.nonzero((image != 100).any(-1)[:55])
    assert len(rows) > 30
    far = np.hypot((columns + 0.5) / SIZE * 2 - 1.1, (rows + 0.5) / SIZE * 2 - 0.9)
    assert far.max() <= 1.2 * 0.3 + 1.5 / SIZE


def test_what_is_outside_is_not_seen_and_what_is_at_the_edge_in_part():
    thing = Thing("square", RED, 0.2, at((-1.3, 0), (-1, 0), (1, 0), (4, 0), (0, -9)))
    frames = draw(GROUND, [thing], [screen(0.9, 1, *[0] * 5)], [])
    seen = (frames[:, :50] != 100).any(-1).sum((1, 2))
    assert seen[[0, 3, 4]].tolist() == [0, 0, 0]
    assert seen[1] == seen[2] > 0


def test_a_screen_that_is_up_hides_what_is_behind_and_not_what_is_before():
    thing = Thing("disc", RED, 0.2, at((0, 0.2), (0, 0.2), (0, 0.2)))
    screens = [screen(-0.5, 0.5, 0, 0.5, 1)]
    behind, front = (draw(GROUND, *x) for x in (([thing], screens, []), ([], screens, [thing])))
    red = [int((frame[..., 0] == 255).sum()) for frame in behind]
    assert red[0] > red[1] > red[2] == 0
    assert (front[2, :, :, 0] == 255).sum() == red[0]


@pytest.mark.parametrize("pattern", ["plain", "blocks", "stripes", "checks", "waves", "speckle"])
def test_a_texture_lies_between_its_colours(pattern):
    random = np.random.default_rng(0)
    found = texture(pattern, 32, ((10, 20, 30), (60, 90, 40)), random)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    assert (found >= (10, 20, 30)).all() and (found <= (60, 90, 40)).all()
    assert (found.std((0, 1)).max() > 1) == (pattern != "plain")
