"""Costs against values worked out by hand."""

import numpy as np
import pytest
import torch

from tests.planners.fakes import SIZE, PointModel, draw
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.planners import ActionEffort, GoalState
from worldmodel.planners.image_states import encode_images

STATES = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])  # k t d


def test_goal_state_counts_the_way_and_the_end():
    cost = GoalState(torch.zeros(2), weight=2.0, running=1.0, terminal=3.0)
    # Mean squares over d: 0.5 and 2; their mean 1.25; the last 2.
    assert cost(STATES, STATES).tolist() == [2 * (1.25 + 3 * 2.0), 0.0]


def test_action_effort_is_the_weighted_mean_square():
    assert ActionEffort(0.5)(STATES, STATES).tolist() == [0.5 * (1 + 4) / 4, 0.0]


def test_negative_weights_are_refused():
    with pytest.raises(ConfigError, match="at least 0"):
        ActionEffort(-1.0)
    with pytest.raises(ConfigError, match="at least 0"):
        GoalState(torch.zeros(2), terminal=-1.0)
    with pytest.raises(ShapeError, match="must be d"):
        GoalState(torch.zeros(2, 2, 2))


def test_goal_from_image_is_the_state_that_it_shows():
    waiting = GoalState.from_image(draw((0.5, -0.25)), weight=3.0)
    with pytest.raises(ConfigError, match="bind"):
        waiting(STATES, STATES)
    bound = waiting.bind(PointModel())
    assert bound.state.tolist() == pytest.approx([0.5, -0.25] * 2, abs=1 / 255)
    assert bound.weight == 3.0 and bound.bind(PointModel()) is bound


def test_of_several_goals_the_nearest_counts():
    images = np.stack([draw((0.5, 0.5)), draw((-0.5, 0.0))])
    both = GoalState.from_image(images).bind(PointModel())
    alone = [GoalState.from_image(image).bind(PointModel()) for image in images]
    states = torch.rand(20, 1, 4) * 2 - 1
    costs = torch.stack([cost(states, states) for cost in alone])
    torch.testing.assert_close(both(states, states), costs.amin(dim=0))
    assert set(costs.argmin(dim=0).tolist()) == {0, 1}


def test_images_of_all_layouts_are_the_same_state():
    image = draw((0.2, 0.4))
    as_float = torch.from_numpy(image).permute(2, 0, 1) / 255
    large = np.kron(image, np.ones((3, 3, 1), np.uint8))
    layouts = [
        image,
        image[None],
        np.stack([image, image])[None],
        np.moveaxis(image, -1, 0),
        as_float,
        as_float[None].expand(2, -1, -1, -1)[None],
        large,
    ]
    states = torch.cat([encode_images(PointModel(), x) for x in layouts])
    assert states.shape == (7, 4)
    torch.testing.assert_close(states, states[:1].expand(7, -1))


def test_many_images_keep_their_order():
    places = np.linspace(-1, 1, 300)
    states = encode_images(PointModel(), np.stack([draw((p, -p)) for p in places]))
    torch.testing.assert_close(states[:, 0], torch.tensor(places).float(), atol=1 / 255, rtol=0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((SIZE, SIZE), np.uint8), "h w 3"),
        (np.zeros((4, SIZE, SIZE, 1), np.uint8), "h w 3"),
        (np.zeros((0, SIZE, SIZE, 3), np.uint8), "h w 3"),
        (np.zeros((1, 3, SIZE, SIZE, 3), np.uint8), "made of 2 frames, got clips of 3"),
        (np.full((SIZE, SIZE, 3), 7.0, np.float32), r"floats in \[0, 1\]"),
        (np.zeros((SIZE, SIZE, 3), np.int64), "must be uint8"),
        (np.zeros((SIZE, 2 * SIZE, 3), np.uint8), "square"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(ShapeError, match=message):
        encode_images(PointModel(), images)
