import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from worldmodel.envs import rendering
from worldmodel.envs.layout import Layout
from worldmodel.envs.simulation import AGENT, NO_AGENT, OTHER_AGENT, Simulation


@pytest.fixture
def no_choice_yet(monkeypatch):
    """As in a process whose user has set nothing."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def works_only(monkeypatch, *names):
    tried = []

    def probe(backend):
        tried.append(backend)
        return None if backend in names else "no such library"

    monkeypatch.setattr(rendering, "probe_gl", probe)
    monkeypatch.setattr(rendering, "_CHOOSING", ())  # the MuJoCo of this process stays as it is
    return tried


def test_the_first_backend_that_works_is_chosen(monkeypatch, no_choice_yet):
    tried = works_only(monkeypatch, "osmesa", "glfw")
    assert rendering.choose_gl() == "osmesa"
    assert os.environ["MUJOCO_GL"] == "osmesa"
    assert tried == ["egl", "osmesa"]


def test_what_the_user_set_stands_untried(monkeypatch, no_choice_yet):
    tried = works_only(monkeypatch, "egl")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert rendering.choose_gl() == "glfw"
    assert tried == []


def test_without_any_backend_the_message_says_what_to_install(monkeypatch, no_choice_yet):
    works_only(monkeypatch)
    with pytest.raises(rendering.RenderingError, match=r"apt-get install libegl1") as caught:
        rendering.choose_gl()
    assert "\n" not in str(caught.value)
    assert "MUJOCO_GL" not in os.environ


def test_gymnasiums_own_worlds_draw_although_they_import_mujoco_first():
    env = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    code = (
        "import gymnasium, worldmodel.envs as envs\n"
        "world = gymnasium.make('Reacher-v5', render_mode='rgb_array')\n"
        "assert envs.PixelWorld(world).reset()[0].any()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=120)


def test_a_backend_that_does_not_exist_gives_its_reason():
    assert "MUJOCO_GL" in (rendering.probe_gl("crayon") or "")


def test_a_backend_that_hangs_is_given_up(monkeypatch):
    def hang(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert rendering.probe_gl.__wrapped__("egl") == "no answer within 60 s"


def test_a_fresh_process_finds_its_own_backend():
    env = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    code = "from worldmodel.envs.rendering import choose_gl; print(choose_gl())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in rendering.BACKENDS


def test_frames_are_averages_of_finer_ones():
    fine = np.zeros((4, 4, 3), np.uint8)
    fine[0, 0], fine[2:, 2:] = 255, 200
    expected = np.zeros((2, 2, 3), np.uint8)
    expected[0, 0], expected[1, 1] = 64, 200  # 63.75 rounds up
    np.testing.assert_array_equal(rendering._average(fine), expected)


def test_the_renderer_is_shared_within_a_thread_and_not_between_threads():
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    mine = rendering.fast_renderer(model, 16)
    assert rendering.fast_renderer(model, 16) is mine
    assert rendering.fast_renderer(model, 32) is not mine
    others = []
    # The key is what matters: no context is made for a thread that does not draw.
    made = rendering._shared_renderer
    rendering._shared_renderer = lambda *key: others.append(key)
    try:
        worker = threading.Thread(target=rendering.fast_renderer, args=(model, 16))
        worker.start()
        worker.join()
    finally:
        rendering._shared_renderer = made
    assert others[0][3] != threading.get_ident()


def test_effects_are_off_in_a_model_that_had_them():
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        """<mujoco><asset><material name="m" reflectance=".5"/></asset>
        <worldbody><light castshadow="true"/><geom size="1" material="m"/></worldbody></mujoco>"""
    )
    rendering.strip_effects(model)
    assert not model.light_castshadow.any() and not model.mat_reflectance.any()
    assert model.vis.quality.offsamples == model.vis.quality.shadowsize == 0


def test_the_agent_can_be_hidden_or_change_colour_at_equal_contrast():
    simulation, rng = Simulation(Layout()), np.random.default_rng(0)
    for _ in range(10):
        simulation.place(np.array([-0.5, 0.0]) + rng.uniform(-0.3, 0.3, 2))  # on bare floor
        floor, seen, other = (
            simulation.frame(64, groups=g).astype(int) for g in (NO_AGENT, AGENT, OTHER_AGENT)
        )
        assert np.abs(seen - floor).sum() == np.abs(other - floor).sum() > 5000
        assert np.abs(seen - other).sum() > 5000
    simulation.place(np.array([0.5, -0.7]))
    np.testing.assert_array_equal(simulation.frame(64, groups=NO_AGENT), floor)
