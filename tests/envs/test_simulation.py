import numpy as np
import pytest

from worldmodel.envs import layout
from worldmodel.envs.simulation import PHYSICS_STEPS, STEP_SECONDS, Simulation, build_model


@pytest.mark.parametrize("door", [-0.6, 0.0, 0.25])
def test_the_model_has_the_measures_of_the_layout(door):
    rooms = layout.Layout(door)
    model = build_model(rooms)

    def geom(name):
        entry = model.geom(name)
        return entry.pos, entry.size

    assert geom("body")[1][0] == geom("disc")[1][0] == layout.AGENT_RADIUS
    assert geom("other_disc")[1][0] == layout.AGENT_RADIUS
    assert geom("hazard")[1][0] == layout.HAZARD_RADIUS
    np.testing.assert_allclose(geom("hazard")[0][:2], rooms.hazard)
    assert model.opt.timestep * PHYSICS_STEPS == pytest.approx(STEP_SECONDS)
    for axis, sign, name in ((0, 1, "east"), (0, -1, "west"), (1, 1, "north"), (1, -1, "south")):
        position, size = geom(name)
        assert sign * position[axis] - size[axis] == pytest.approx(layout.HALF_BOX)
    posts = [geom(name) for name in ("below_door", "above_door")]
    edges = [posts[0][0][1] + posts[0][1][1], posts[1][0][1] - posts[1][1][1]]
    half = layout.DOOR_WIDTH / 2
    np.testing.assert_allclose(edges, [door - half, door + half])
    assert all(size[0] == layout.HALF_WALL for _, size in posts)


def test_placing_forgets_what_happened_before():
    simulation = Simulation(layout.Layout())

    def roll():
        simulation.place(np.array([0.5, 0.7]), np.array([0.2, 1.5]))
        for _ in range(8):  # into a wall and along it
            simulation.advance(np.array([0.3, 1.0]))
        return np.concatenate([simulation.position, simulation.velocity])

    first = roll()
    simulation.advance(np.array([-1.0, -1.0]))
    np.testing.assert_array_equal(first, roll())


def test_mirrored_forces_move_the_agent_in_mirror_image():
    simulation = Simulation(layout.Layout())
    forces = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    ends = []
    for sign in (1, -1):
        simulation.place(sign * np.array([0.6, -0.5]))
        for force in forces:
            simulation.advance(sign * force)
        ends.append(sign * simulation.position)
    np.testing.assert_allclose(*ends, atol=1e-9)


def test_what_is_returned_is_a_copy():
    simulation = Simulation(layout.Layout())
    simulation.position[:] = 0.9
    simulation.velocity[:] = 0.9
    assert simulation.position.tolist() == [-0.5, 0.0]
    assert simulation.velocity.tolist() == [0.0, 0.0]
