import numpy as np
import pytest
from gymnasium.error import Error

from worldmodel.envs.layout import (
    AGENT_RADIUS,
    HAZARD_CORE,
    HAZARD_RADIUS,
    MIN_TASK_DISTANCE,
    TASKS,
    Layout,
)


def sampled(task, *, door=0.0, n=50):
    layout, rng = Layout(door), np.random.default_rng(0)
    return layout, [layout.sample_task(task, rng) for _ in range(n)]


@pytest.mark.parametrize("door", [-0.6, 0.0, 0.35])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_starts_and_ends_on_free_floor_and_unsolved(task, door):
    layout, pairs = sampled(task, door=door)
    for start, goal in pairs:
        assert layout.is_free(start) and layout.is_free(goal)
        assert np.linalg.norm(start - goal) >= MIN_TASK_DISTANCE


@pytest.mark.parametrize(("task", "same"), [("same_room", True), ("other_room", False)])
def test_room_tasks_are_on_the_side_they_say(task, same):
    _, pairs = sampled(task)
    assert all((start[0] * goal[0] > 0) == same for start, goal in pairs)


def test_any_task_has_both_kinds_of_goals():
    _, pairs = sampled("any", n=200)
    other = np.mean([start[0] * goal[0] < 0 for start, goal in pairs])
    assert 0.3 < other < 0.7


def test_the_straight_way_of_a_hazard_task_enters_the_patch_but_its_ends_do_not():
    layout, pairs = sampled("hazard")
    for start, goal in pairs:
        for end in (start, goal):
            assert np.linalg.norm(end - layout.hazard) > HAZARD_RADIUS + AGENT_RADIUS
        way = layout.path(start, goal)
        walked = np.concatenate(
            [
                a + np.linspace(0, 1, 200)[:, None] * (b - a)
                for a, b in zip(way[:-1], way[1:], strict=True)
            ]
        )
        nearest = np.linalg.norm(walked - layout.hazard, axis=1).min()
        assert nearest <= HAZARD_CORE + 0.01
        assert nearest == pytest.approx(layout.hazard_distance(start, goal), abs=0.01)


def test_a_short_way_around_the_hazard_exists_on_both_sides():
    layout = Layout()
    for side in (-1, 1):
        beside = layout.hazard + [0, side * (HAZARD_RADIUS + AGENT_RADIUS + 0.02)]
        assert layout.is_free(beside) and not layout.in_hazard(beside)


@pytest.mark.parametrize("door", [-0.6, 0.0, 0.5])
def test_the_way_to_the_other_room_leads_through_the_door(door):
    layout, pairs = sampled("other_room", door=door)
    for start, goal in pairs:
        corners = layout.path(start, goal)
        assert len(corners) == 3
        assert layout.is_free(corners[1])


@pytest.mark.parametrize(
    ("place", "free"),
    [
        ((-0.5, 0.0), True),
        ((0.0, 0.0), True),
        ((0.0, 0.16), True),
        ((0.0, 0.18), False),
        ((0.12, 0.5), False),
        ((0.93, 0.0), False),
        ((0.5, -0.93), False),
        ((np.nan, 0.0), False),
    ],
)
def test_where_the_agent_fits(place, free):
    assert Layout().is_free(np.array(place)) is free


def test_hazard_contact_is_the_centre_inside_the_patch():
    layout = Layout()
    for angle in np.linspace(0, 2 * np.pi, 8):
        towards = np.array([np.cos(angle), np.sin(angle)])
        assert layout.in_hazard(layout.hazard + (HAZARD_RADIUS - 1e-6) * towards)
        assert not layout.in_hazard(layout.hazard + (HAZARD_RADIUS + 1e-6) * towards)


def test_unknown_task_names_the_nearest():
    with pytest.raises(Error, match=r"unknown task 'othr_room'.*did you mean 'other_room'"):
        Layout().sample_task("othr_room", np.random.default_rng(0))


@pytest.mark.parametrize("door", [0.7, -1.0, float("nan")])
def test_a_door_must_be_inside_the_wall(door):
    with pytest.raises(ValueError, match="door must be in"):
        Layout(door)
