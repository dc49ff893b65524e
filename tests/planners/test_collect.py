"""Collection, from the behaviour to the files."""

import numpy as np
import pytest
import torch

from tests.planners.fakes import POINT_WORLD
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.collect import Recording, collect, plan_jobs
from worldmodel.runs.run import Run


def gather(folder, *, seed=2, episodes=6, env=POINT_WORLD, **recording):
    run = Run.open(folder, verb="collect", config={}, seed=seed)
    settings = Recording(**({"labelled_fraction": 0.5} | recording))
    try:
        found = collect(
            run,
            env=env,
            episodes=episodes,
            steps=8,
            behaviour=SmoothRandom(),
            recording=settings,
        )
        return found, Episodes(folder / "episodes")
    finally:
        run.close()


def test_episodes_are_on_disk_and_half_are_labelled(tmp_path):
    results, episodes = gather(tmp_path / "run")
    assert results["episodes"] == 6 and results["labelled_episodes"] == 3
    assert results["frames"] == sum(episodes.lengths) <= 6 * 9
    assert len(episodes.labelled) == 3 and len(episodes.unlabelled) == 3
    assert episodes.info.env_id == POINT_WORLD and episodes.info.fps == 10
    assert episodes.info.action_low == (-1.0, -1.0)
    assert episodes.info.seeds == tuple(range(20_000, 20_006))
    for episode in episodes.labelled:
        position, hazard = episode.info["position"], episode.info["hazard_contact"]
        moved = (position[:-1] + 0.1 * episode.actions).clamp(-1, 1)
        torch.testing.assert_close(position[1:], moved)
        assert torch.equal(hazard, position.norm(dim=1) < 0.25)
        assert episode.info["goal_image"].shape == (16, 16, 3)


def test_videos_only_where_nothing_is_labelled(tmp_path):
    results, episodes = gather(tmp_path / "run", labelled_fraction=0.0)
    assert results["labelled_frames"] == 0 and episodes.info.action_low == ()


def test_an_interrupted_collection_goes_on(tmp_path):
    _, whole = gather(tmp_path / "whole")
    folder = tmp_path / "cut"
    gather(folder)
    stamps = {}
    for index in (1, 4):
        (folder / "episodes" / f"{index:06d}.safetensors").unlink()
    (folder / "episodes" / "episodes.json").unlink()
    for path in (folder / "episodes").glob("*.safetensors"):
        stamps[path] = path.stat().st_mtime_ns
    _, again = gather(folder)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a.frames, b.frames) and (a.actions is None) == (b.actions is None)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path):
    _, one = gather(tmp_path / "one")
    _, two = gather(tmp_path / "two", workers=2)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert one.info == two.info


def test_infos_that_are_not_recorded_are_named_once(tmp_path, capsys):
    gather(tmp_path / "run", episodes=3)
    assert capsys.readouterr().err.count("info 'label' of type str") == 1


def test_other_seeds_are_other_episodes(tmp_path):
    _, one = gather(tmp_path / "one", seed=0)
    _, two = gather(tmp_path / "two", seed=1)
    assert not any(torch.equal(a.frames[:1], b.frames[:1]) for a, b in zip(one, two, strict=True))


def test_reset_options_reach_the_world(tmp_path):
    _, episodes = gather(tmp_path / "run", reset_options={"task": "hazard"}, episodes=2)
    starts = torch.stack([e.info["position"][0] for e in episodes])
    assert np.allclose(starts, [[-0.7, 0.02]] * 2)


def test_labels_are_a_share_of_the_episodes():
    jobs = plan_jobs(200, labelled_fraction=0.1, seed=0)
    labelled = [job.index for job in jobs if job.labelled]
    assert len(labelled) == 20 and max(labelled) > 100
    assert labelled != [
        j.index for j in plan_jobs(200, labelled_fraction=0.1, seed=1) if j.labelled
    ]


@pytest.mark.parametrize("settings", [(0, 0.5), (5, 1.5), (5, -0.1), (2_000_000, 1.0)], ids=str)
def test_impossible_collections_are_refused(settings):
    with pytest.raises(ConfigError):
        plan_jobs(settings[0], labelled_fraction=settings[1], seed=0)
