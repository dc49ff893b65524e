"""Sweeps through launchers of others: the same bytes as one process, whoever ran them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = ("collect", "env=Pendulum-v1", "episodes=3", "steps=4", "recording.held_out_share=0")


OWN = """
import os, pathlib, signal
from worldmodel.planners.behaviours import Random

class KilledOnce(Random):
    # Its process is killed in the second episode of a seed, but not again.
    def __init__(self, marker):
        self.marker = pathlib.Path(marker)

    def reset(self, space, info, *, seed):
        super().reset(space, info, seed=seed)
        if seed == 10_001 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def run(folder, *words):
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", *WORDS, *words], cwd=folder, capture_output=True,
        text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def written(folder):
    return {
        path.relative_to(folder / "runs/collect"): path.read_bytes()
        for path in sorted(folder.glob("runs/collect/*/episodes/*.safetensors"))
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder, "name=part", "seed=1,2", "behaviour=random", "--multirun")
    assert len(written(folder)) == 6
    return written(folder)


@pytest.mark.exhaustive  # failed once within the whole suite, never alone: not understood yet
def test_jobs_of_submitit_write_what_one_process_does(tmp_path, alone):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="worldmodel[slurm]")
    run(
        tmp_path, "name=part", "seed=1,2", "behaviour=random", "--multirun",
        "hydra/launcher=submitit_local",
    )  # fmt: skip
    assert written(tmp_path) == alone
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "collect", "env=Nowhere-v0", "episodes=1", "seed=1,2",
         "--multirun", "hydra/launcher=submitit_local"], cwd=tmp_path, capture_output=True,
        text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 2
    assert "worldmodel: cannot make environment 'Nowhere-v0'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([], id="here"),
        pytest.param(["hydra/launcher=submitit_local"], id="jobs", marks=pytest.mark.exhaustive),
    ],
)
def test_problems_that_runs_find_end_with_one_wherever_they_ran(tmp_path, launcher):
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="worldmodel[slurm]")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "data", "check", "path=videos", "seed=1,2",
         "--multirun", *launcher], cwd=tmp_path, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr


@pytest.mark.exhaustive
def test_two_nodes_of_ray_write_what_one_process_does_though_a_worker_is_lost(
    tmp_path, alone, monkeypatch
):
    pytest.importorskip("ray", reason="worldmodel[ray]")
    from ray.cluster_utils import Cluster

    (tmp_path / "own_behaviour.py").write_text(OWN)
    monkeypatch.chdir(Path(__file__).parent)  # of the cluster, not of the run
    paths = [str(tmp_path), os.getenv("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        run(
            tmp_path, "name=part", "seed=1,2", "--multirun", "hydra/launcher=ray",
            "behaviour._target_=own_behaviour.KilledOnce", "+behaviour.marker=killed",
            f"hydra.launcher.ray.init.address={cluster.address}",
            "+hydra.launcher.ray.init.object_store_memory=null",
        )  # fmt: skip
    finally:
        cluster.shutdown()
    assert (tmp_path / "killed").exists()
    assert written(tmp_path) == alone
