"""The map, on a random walk through two rooms whose true distances are known."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import dijkstra
from scipy.stats import spearmanr

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.planners import LandmarkDistance, Landmarks

DOOR, WALL = 0.25, 0.1  # halves of the door's height and the wall's thickness; the wall is at x = 0


def crosses_wall(start, end):
    """Whether the straight way between two points enters the wall."""
    way = start + np.linspace(0, 1, 50)[:, None] * (end - start)
    return bool(((np.abs(way[:, 0]) < WALL) & (np.abs(way[:, 1]) > DOOR)).any())


def walks(num=40, steps=300, seed=0):
    """Random walks (t 2) in two rooms of [-1, 1]^2; a step into the wall is not taken."""
    generator = np.random.default_rng(seed)
    sequences = []
    for _ in range(num):
        x, y = generator.uniform((WALL, -1), (1, 1))
        positions = [np.array([generator.choice([-x, x]), y])]
        velocity = np.zeros(2)
        for _ in range(steps):
            velocity = 0.8 * velocity + 0.05 * generator.normal(size=2)
            after = np.clip(positions[-1] + velocity, -1, 1)
            if crosses_wall(positions[-1], after):
                after, velocity = positions[-1], -velocity
            positions.append(after)
        sequences.append(torch.tensor(np.stack(positions), dtype=torch.float32))
    return sequences


def geodesic(start, goal):
    """The shortest way between two points: straight, or by the corners of the door."""
    corners = [np.array([x, y]) for x in (-WALL, WALL) for y in (-DOOR, DOOR)]
    points = [start, *corners, goal]
    ways = np.full((6, 6), np.inf)
    for i, p in enumerate(points):
        for j, q in enumerate(points):
            if i != j and not crosses_wall(p, q):
                ways[i, j] = np.linalg.norm(p - q)
    return dijkstra(ways, indices=0)[-1]


@pytest.fixture(scope="module")
def sequences():
    return walks()


@pytest.fixture(scope="module")
def rooms(sequences):
    return Landmarks.from_states(sequences, num_landmarks=200)


def positions(landmarks):
    """Where the landmarks lie in the rooms (n 2)."""
    return landmarks.points @ torch.linalg.pinv(landmarks.metric)


def test_no_edge_crosses_the_wall(rooms):
    where = positions(rooms).numpy()
    crossing = [crosses_wall(where[i], where[j]) for i, j in rooms.edges.T.numpy()]
    # A landmark is the mean of a cell, so an edge may cut a corner of the door, no more.
    assert np.mean(crossing) < 0.02
    assert rooms.largest_part == 1.0


def test_lengths_count_steps(rooms, sequences):
    steps = torch.cat([(rooms.embed(s[1:]) - rooms.embed(s[:-1])) for s in sequences])
    assert steps.square().mean(dim=0).sqrt() == pytest.approx([1.0, 1.0], rel=0.01)


def test_path_lengths_are_geodesic_and_straight_distances_are_not(rooms):
    generator = np.random.default_rng(1)
    goal = np.array([0.5, 0.8])
    states = generator.uniform(-1, 1, (400, 2))
    states = states[np.abs(states[:, 0]) > WALL]
    truth = [geodesic(s, goal) for s in states]
    cost = LandmarkDistance(rooms, torch.tensor(goal, dtype=torch.float32), near=0.0)
    with torch.no_grad():
        steps = cost.steps_to_goal(torch.tensor(states, dtype=torch.float32))
    along = spearmanr(steps, truth).statistic
    straight = spearmanr(np.linalg.norm(states - goal, axis=1), truth).statistic
    assert along > 0.97
    assert along > straight + 0.02


def test_behind_the_wall_is_far_and_the_way_leads_through_the_door(rooms):
    goal = torch.tensor([0.3, 0.8])
    cost = LandmarkDistance(rooms, goal)
    behind, door, inside = torch.tensor([[-0.3, 0.8], [0.0, 0.0], [0.9, 0.8]])
    with torch.no_grad():
        far, middle, near = (cost.steps_to_goal(x).item() for x in (behind, door, inside))
    # By straight distance the order is the other way round.
    assert (behind - goal).norm() < (door - goal).norm()
    assert far > 1.3 * middle > 1.3 * near
    # Following the graph downhill from behind the wall passes the door.
    place = torch.tensor([-0.3, 0.8])
    passed = [place]
    where = positions(rooms)
    lengths = rooms.path_lengths(goal)
    current = int((where - place).norm(dim=1).argmin())
    first, second = rooms.edges
    for _ in range(100):
        around = torch.cat([second[first == current], first[second == current]])
        downhill = around[lengths[around].argmin()]
        if lengths[downhill] >= lengths[current]:
            break
        current = int(downhill)
        passed.append(where[current])
    assert (passed[-1] - goal).norm() < 0.3
    at_wall = min(passed, key=lambda p: abs(p[0].item()))
    assert abs(at_wall[1]) < DOOR + 0.1


def test_the_goal_is_the_minimum(rooms):
    goal = torch.tensor([-0.5, -0.4])
    cost = LandmarkDistance(rooms, goal)
    around = torch.tensor(np.random.default_rng(2).uniform(-1, 1, (500, 2)), dtype=torch.float32)
    with torch.no_grad():
        best = around[cost.steps_to_goal(around).argmin()]
    assert (best - goal).norm() < 0.12


def test_cost_is_differentiable_and_points_to_the_door(rooms):
    cost = LandmarkDistance(rooms, torch.tensor([0.3, 0.8]))
    generator = torch.Generator().manual_seed(0)
    states = torch.tensor([-0.4, 0.7]) + 0.1 * torch.randn(64, 2, generator=generator)
    states.requires_grad_()
    cost.steps_to_goal(states).sum().backward()
    # On average downhill is down, to the door, and not to the right, into the wall.
    assert -states.grad.mean(dim=0)[1] < -0.5


def test_running_and_terminal_weights(rooms):
    goal = torch.zeros(2)
    states = torch.tensor([[[0.5, 0.5], [0.2, 0.1], [0.0, 0.0]]])
    steps = LandmarkDistance(rooms, goal).steps_to_goal(states)
    cost = LandmarkDistance(rooms, goal, weight=2.0, running=0.5, terminal=3.0)
    expected = 2 * (0.5 * steps.mean(dim=1) + 3 * steps[:, -1])
    torch.testing.assert_close(cost(states, torch.zeros(1, 3, 2)), expected)


def test_unreachable_is_far_but_finite():
    # Two rooms without a door: never in one episode together.
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.rand(2000, 2, generator=generator) * 0.1 + torch.tensor([x, 0.0]) for x in (-1.0, 1.0)
    )
    landmarks = Landmarks.from_states([left, right], num_landmarks=20)
    lengths = landmarks.path_lengths(torch.tensor([1.05, 0.05]))
    here = positions(landmarks)[:, 0] > 0
    assert lengths.isfinite().all()
    assert lengths[~here].unique().item() == pytest.approx(2 * lengths[here].max().item())
    assert landmarks.largest_part == pytest.approx(here.float().mean().item(), abs=0.2)


def test_directions_without_a_place_are_left_out():
    generator = torch.Generator().manual_seed(0)
    slow = torch.cat(walks(10, 200, seed=3))
    noise = torch.randn(len(slow), 6, generator=generator)
    mixed = torch.cat([slow, noise, torch.zeros(len(slow), 1)], dim=1)
    landmarks = Landmarks.from_states(list(mixed.split(201)), num_landmarks=50)
    assert landmarks.metric.shape == (9, 2)
    # The noise hardly enters the two directions that are left.
    parts = landmarks.metric.abs() * mixed.std(dim=0)[:, None]
    assert parts[2:].max() < 0.05 * parts[:2].max()


def test_same_seed_same_map(sequences, rooms):
    again = Landmarks.from_states(sequences, num_landmarks=200)
    assert torch.equal(again.points, rooms.points) and torch.equal(again.edges, rooms.edges)


def test_what_cannot_be_a_map_is_refused(rooms):
    with pytest.raises(ConfigError, match="states that change"):
        Landmarks.from_states([torch.ones(50, 2)])
    with pytest.raises(ConfigError, match="no two landmarks were joined 5 times"):
        Landmarks.from_states([torch.rand(30, 2)], num_landmarks=30, min_transitions=5)
    with pytest.raises(ShapeError, match="must be d = 2"):
        rooms.path_lengths(torch.zeros(3))
