"""Files of starts and goals: what is written is read again, and so is what CLEAR-LeWM writes."""

import json

import gymnasium
import numpy as np
import pytest

from tests.planners.test_tasks import NEAR, Restoring
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.collect import Recording, collect
from worldmodel.planners.evaluate import Evaluation
from worldmodel.planners.pairs import VERSION, manifest_of, manifest_tasks, read_manifest
from worldmodel.planners.protocol import protocol
from worldmodel.planners.recorded_tasks import crossed_tasks, episode_tasks
from worldmodel.planners.success import Success
from worldmodel.planners.tasks import Pair
from worldmodel.runs.run import Run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    assert gymnasium.spec("test/Restoring-v0").entry_point is Restoring
    run = Run.open(tmp_path_factory.mktemp("runs") / "collect", verb="collect", config={}, seed=0)
    collect(
        run, env="test/Restoring-v0", episodes=30, steps=40, behaviour=SmoothRandom((4.0, 12.0)),
        recording=Recording(held_out_share=0.5),
    )  # fmt: skip
    run.close()
    return Episodes(run.folder)


def facts(tasks):
    return protocol("test/Restoring-v0", None, tasks, NEAR, Evaluation(max_steps=20))


def written(tasks, recorded, folder, *, seed):
    path = folder / "pairs.json"
    made = manifest_of(tasks, recorded, facts(tasks), budget=20, offset=10, seed=seed)
    path.write_text(json.dumps(made))
    return path


@pytest.mark.parametrize("make", [episode_tasks, crossed_tasks])
def test_what_a_plan_was_asked_can_be_asked_again(recorded, tmp_path, make):
    tasks = make(recorded, NEAR, offset=10, episodes=6, seed=3)
    path = written(tasks, recorded, tmp_path, seed=3)
    again = manifest_tasks(recorded, path, NEAR, episodes=6, seed=3)
    assert facts(again)["tasks_sha256"] == facts(tasks)["tasks_sha256"]
    assert [t.pair for t in again.tasks] == [t.pair for t in tasks.tasks]
    assert facts(again) == facts(tasks)
    assert (read_manifest(path).budget, read_manifest(path).offset) == (20, 10)
    fewer = manifest_tasks(recorded, path, NEAR, episodes=4, seed=3)
    assert len(fewer) == 4 and "pairs of pairs.json (starts set" in fewer.words


def test_pairs_of_other_episodes_are_refused(recorded, tmp_path):
    tasks = episode_tasks(recorded, NEAR, offset=10, episodes=3, seed=3)
    path = written(tasks, recorded, tmp_path, seed=3)
    told = json.loads(path.read_text())
    told["pairs"][0]["start_step"] += 1
    path.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="was written of other episodes than those of"):
        manifest_tasks(recorded, path, NEAR, episodes=3, seed=3)


def test_rows_count_all_frames_of_the_folder(recorded, tmp_path):
    tasks = episode_tasks(recorded, NEAR, offset=10, episodes=5, seed=0)
    told = json.loads(written(tasks, recorded, tmp_path, seed=0).read_text())
    frames = np.concatenate([episode.info["position"].numpy() for episode in recorded])
    for one, task in zip(told["pairs"], tasks.tasks, strict=True):
        assert one["goal_step"] - one["start_step"] == one["goal_row"] - one["start_row"] == 10
        assert np.allclose(frames[one["goal_row"]], task.goal["position"])
        assert np.allclose(frames[one["start_row"]], task.options["state"])
        assert one["episode_id"] in recorded.info.held_out


def clear(*pairs, **more):
    """As CLEAR-LeWM writes it, with what is not read left out."""
    keys = ("episode_id", "start_step", "goal_step")
    listed = [dict(zip(keys, pair, strict=True)) | {"difficulty": 1.0} for pair in pairs]
    return {"schema_version": VERSION, "task": "tworoom", "pairs": listed, **more}


def test_manifests_of_others_are_read(recorded, tmp_path):
    path = tmp_path / "strict.json"
    path.write_text(json.dumps(clear((0, 2, 27), (1, 5, 30), protocol={"eval_budget": 50})))
    assert read_manifest(path).pairs == [Pair(0, 2, 0, 27), Pair(1, 5, 1, 30)]
    assert read_manifest(path).budget == 50 and read_manifest(path).offset == 25
    tasks = manifest_tasks(recorded, path, Success(within={"position": 1e-6}), episodes=9, seed=0)
    assert len(tasks) == 2 and "1 of them of episodes that are not held out" in tasks.words
    path.write_text(json.dumps(clear((0, 2, 2), (1, 5, 30))))
    tasks = manifest_tasks(recorded, path, NEAR, episodes=9, seed=0)
    assert (len(tasks), tasks.solved) == (1, 1)


def test_what_is_no_such_file_is_one_line(recorded, tmp_path):
    path = tmp_path / "pairs.json"

    def refused(match, value):
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        with pytest.raises(ConfigError, match=match):
            manifest_tasks(recorded, path, NEAR, episodes=5, seed=0)

    with pytest.raises(ConfigError, match="no such file of pairs"):
        read_manifest(tmp_path / "none.json")
    refused("is no file of pairs", "{")
    refused("is no file of pairs", [1])
    refused("is no file of pairs", {"schema_version": VERSION})
    refused("pairs of version 7", {"schema_version": "7", "pairs": []})
    refused("has no episode 99", clear((99, 0, 5)))
    refused("names step 500 of episode 3, which has 41", clear((3, 0, 500)))
    refused("no pair whose start is away", clear((3, 4, 4)))
    refused("has no pairs", clear())
    refused("is no file of pairs .*-1 is no whole number from 0", clear((3, -1, 4)))
    refused("is no file of pairs .*0.5 is no whole number", clear((3, 0.5, 4)))
    refused("is no file of pairs .*True is no whole number", clear((True, 1, 4)))
    refused("is no file of pairs .*inf", clear((3, 1, float("inf"))))
    refused(
        "is no file of pairs .*0 is no whole number from 1",
        clear((3, 1, 9), protocol={"eval_budget": 0}),
    )
    refused("is no file of pairs", "[" * 100_000)
    path.write_text(json.dumps(clear((0, 2, 27))))
    with pytest.raises(ConfigError, match="episodes=0: an evaluation has at least one"):
        manifest_tasks(recorded, path, NEAR, episodes=0, seed=0)
