"""Sweeps through launchers of others: the same bytes as one process, whoever ran them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.planners.behaviours import Random

ROOT = Path(__file__).parents[3]
WORDS = ("collect", "env=Pendulum-v1", "episodes=3", "steps=4", "recording.held_out_share=0")


class KilledOnce(Random):
    """Its process is killed in the second episode of a seed, but not again."""

    def __init__(self, marker):
        self.marker = Path(marker)

    def reset(self, space, info, *, seed):
        super().reset(space, info, seed=seed)
        if seed == 10_001 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder, *words):
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", *WORDS, *words], cwd=folder, capture_output=True,
        text=True, timeout=400, env=os.environ | {"PYTHONPATH": paths},
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


@pytest.mark.slow
def test_jobs_of_submitit_write_what_one_process_does(tmp_path, alone):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="worldmodel[slurm]")
    run(
        tmp_path, "name=part", "seed=1,2", "behaviour=random", "--multirun",
        "hydra/launcher=submitit_local",
    )  # fmt: skip
    assert written(tmp_path) == alone


@pytest.mark.exhaustive
def test_two_nodes_of_ray_write_what_one_process_does_though_a_worker_is_lost(tmp_path, alone):
    pytest.importorskip("ray", reason="worldmodel[ray]")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        run(
            tmp_path, "name=part", "seed=1,2", "--multirun", "hydra/launcher=ray",
            f"behaviour._target_={__name__}.KilledOnce", f"+behaviour.marker={tmp_path / 'killed'}",
            f"hydra.launcher.ray.init.address={cluster.address}",
            "+hydra.launcher.ray.init.object_store_memory=null",
        )  # fmt: skip
    finally:
        cluster.shutdown()
    assert (tmp_path / "killed").exists()
    assert written(tmp_path) == alone
