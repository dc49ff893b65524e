"""Collection, from the behaviour to the files."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.planners.fakes import POINT_WORLD
from worldmodel.cli.runner import run_verb
from worldmodel.datasets import open_catalogue
from worldmodel.envs import View
from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError, RunError, WorldModelError
from worldmodel.planners.behaviours import Random, SmoothRandom
from worldmodel.planners.collect import Recording, collect, held_out_numbers, plan_jobs
from worldmodel.runs.run import Run


def gather(folder, *, seed=2, episodes=6, env=POINT_WORLD, steps=8, behaviour=None, **recording):
    run = Run.open(folder, verb="collect", config={}, seed=seed)
    settings = Recording(**({"labelled_fraction": 0.5} | recording))
    try:
        found = collect(
            run,
            env=env,
            episodes=episodes,
            steps=steps,
            behaviour=behaviour or SmoothRandom(),
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


def test_a_tenth_is_held_out_and_nothing_learns_from_it(tmp_path):
    _, episodes = gather(tmp_path / "run", episodes=20, labelled_fraction=1.0)
    assert episodes.info.held_out == (9, 19)
    assert [int(p.stem) for p in episodes.held_out.paths] == [9, 19]
    assert len(episodes.training) == 18 and len(episodes.training.held_out) == 0
    videos = open_catalogue(str(tmp_path / "run"))
    assert len(videos) == 20 and len(videos.training) == 18
    assert not {Path(item.key).stem for item in videos.training} & {"000009", "000019"}
    _, whole = gather(tmp_path / "whole", held_out_share=0.0)
    assert whole.info.held_out == () and len(whole.training) == 6


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_labels_are_spread_in_what_is_held_out_and_in_the_rest(fraction):
    apart = held_out_numbers(200, 0.1)
    for seed in range(20):
        jobs = plan_jobs(200, labelled_fraction=fraction, seed=seed, apart=apart)
        labelled = {job.index for job in jobs if job.labelled}
        assert len(labelled & set(apart)) == round(20 * fraction)
        assert len(labelled - set(apart)) == round(180 * fraction)


def test_rewards_and_the_options_of_the_reset_are_recorded(tmp_path):
    _, episodes = gather(tmp_path / "run", reset_options={"task": "hazard"}, episodes=1)
    assert episodes[0].metadata["reset_options"] == '{"task": "hazard"}'
    reward = episodes[0].info["reward"]
    assert reward[0].isnan() and not reward[1:].any()


@pytest.mark.parametrize("steps", [0, -3])
def test_an_episode_without_steps_is_refused(tmp_path, steps):
    with pytest.raises(ConfigError, match="at least one step"):
        gather(tmp_path / "run", steps=steps)


def test_choices_are_recorded_as_their_numbers(tmp_path):
    view = View(size=16)
    run = Run.open(tmp_path / "run", verb="collect", config={}, seed=0)
    collect(run, env="CartPole-v1", episodes=2, steps=5, behaviour=Random(), view=view)
    run.close()
    episodes = Episodes(tmp_path / "run")
    assert episodes.info.action_choices == (2,)
    assert (episodes.info.action_low, episodes.info.action_high) == ((0.0,), (1.0,))
    assert set(torch.cat([e.actions for e in episodes]).flatten().tolist()) == {0.0, 1.0}
    assert episodes[0].info["observation"].shape == (6, 4)
    assert episodes[0].info["state"].shape == (6, 4)
    assert load_arrays(episodes).actions.shape == (sum(episodes.lengths), 2)


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


def test_a_finished_collection_goes_on_with_more_episodes(tmp_path):
    def collected(episodes):
        words = [f"env={POINT_WORLD}", f"episodes={episodes}", "steps=5",
                 "recording.labelled_fraction=0.3", "seed=3"]  # fmt: skip
        run_verb("collect", words, runs_dir=tmp_path / "runs", name="more")
        return Episodes(tmp_path / "runs/collect/more")

    few = collected(10)
    stamps = {path: path.stat().st_mtime_ns for path in few.paths}
    more = collected(20)
    assert len(more) == 20 and more.has_actions[:10] == few.has_actions
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert (few.info.held_out, more.info.held_out) == ((9,), (9, 19))
    assert sum(more.has_actions) in (5, 6)
    with pytest.raises(RunError, match="other settings"):
        collected(15)


@pytest.mark.slow
def test_workers_change_nothing(tmp_path):
    _, one = gather(tmp_path / "one")
    _, two = gather(tmp_path / "two", workers=2)
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert one.info == two.info


class Hanging(SmoothRandom):
    """Never chooses an action in the episode of one seed."""

    def reset(self, space, info, *, seed):
        super().reset(space, info, seed=seed)
        while seed == 20_002:
            time.sleep(1)


@pytest.mark.slow
def test_an_episode_that_hangs_is_named_and_what_was_collected_stays(tmp_path):
    words = {"behaviour": Hanging(), "workers": 2, "patience": 8.0}
    with pytest.raises(WorldModelError, match="episode 2: it took longer than 8 s, so something"):
        gather(tmp_path / "run", **words)
    kept = {int(path.stem) for path in (tmp_path / "run/episodes").glob("*.safetensors")}
    assert {0, 1} <= kept and 2 not in kept
    results, _ = gather(tmp_path / "run")
    assert results["episodes"] == 6


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


def test_a_run_from_before_a_setting_existed_is_the_same_run(tmp_path, capsys):
    words = [f"env={POINT_WORLD}", "episodes=2", "steps=3"]
    run_verb("collect", words, runs_dir=tmp_path, name="default")
    file = tmp_path / "collect/default/config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    older = [line for line in lines if "patience" not in line]
    assert len(older) == len(lines) - 1
    file.write_text("".join(older))
    run_verb("collect", words, runs_dir=tmp_path, name="default")
    assert "was finished before" in capsys.readouterr().err
    with pytest.raises(RunError, match="recording.patience: 600.0, now 5"):
        run_verb("collect", [*words, "recording.patience=5"], runs_dir=tmp_path, name="default")
