"""A training on streamed video that is killed in the middle of an epoch loses nothing."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.worldmodel.loading.test_workers import closing_group, hear_interrupts
from tests.worldmodel.toys import small
from worldmodel.loading.sources import VideoFiles
from worldmodel.loading.stream import ClipStream
from worldmodel.objectives.masks import AllButOne, MaskMixture
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run, read_log
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain

STEPS, BATCH, VIDEOS, STOP = 9, 4, 14, 5  # 36 clips: two and a half epochs; stopped in the second


def learn(folder: str, videos: str, seen: str, workers: int, stop: int = -1) -> dict[str, float]:
    """Train on a stream; writes what each step saw to `seen` and waits for its end at `stop`."""

    def sample(self, step, batch, *, seed):
        clips = original(self, step, batch, seed=seed)
        with open(seen, "a") as file:
            file.write(json.dumps([step, [[o.name, o.start] for o in clips[2]]]) + "\n")
        if step == stop:
            print("here", flush=True)
            signal.pause()
        return clips

    original, ClipStream.sample_uint8 = ClipStream.sample_uint8, sample
    try:
        return pretrain(
            Run.open(folder, verb="pretrain", config={}, seed=3),
            data=VideoFiles(videos, preload=False, on_bad_video="skip", workers=workers),
            model=small(),
            objective=partial(
                TimeSteps,
                masks=MaskMixture([AllButOne()], [1]),
                regulariser=SIGReg(num_slices=8),
            ),
            optimisation=Optimisation(STEPS, log_every=1, save_seconds=-1),
            batch=BATCH,
            num_frames=4,
        )
    finally:
        ClipStream.sample_uint8 = original


def steps_seen(path: Path) -> dict[int, list]:
    """The clips of each step; a step that was done twice must have seen the same."""
    seen: dict[int, list] = {}
    for step, origins in map(json.loads, path.read_text().splitlines()):
        assert seen.setdefault(step, origins) == origins
    return seen


def losses(folder: Path) -> list[tuple[float, float]]:
    return [(line["step"], line["loss"]) for line in read_log(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)]
)
def test_a_killed_run_goes_on_with_the_very_next_sample(tmp_path, make_video, how):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(VIDEOS):
        make_video(videos / f"{number:02}.mp4", 10 + number, size=(24, 16))
    (videos / "bad.mp4").write_text("no video")
    whole = learn(str(tmp_path / "whole"), str(videos), str(tmp_path / "whole.jsonl"), 0)

    arguments = [str(tmp_path / "cut"), str(videos), str(tmp_path / "cut.jsonl")]
    program = (
        "from tests.worldmodel.loading.test_resume import learn\n"
        f"if __name__ == '__main__': learn(*{arguments}, 2, stop={STOP})"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    with (
        subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
            start_new_session=True,
            preexec_fn=hear_interrupts,
        ) as process,
        closing_group(process),
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b"here\n", f"ended before: {process.wait(timeout=20)}"
        os.killpg(process.pid, how) if how == signal.SIGINT else process.send_signal(how)
        process.wait(timeout=20)
    assert not (tmp_path / "cut" / "metrics.json").exists()
    resumed = learn(*arguments, 1)

    assert steps_seen(tmp_path / "cut.jsonl") == steps_seen(tmp_path / "whole.jsonl")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "cut")) == STEPS
    assert {k: v for k, v in resumed.items() if k != "data_wait"} == {
        k: v for k, v in whole.items() if k != "data_wait"
    }
    assert resumed["skipped"] == 1
    listed = (tmp_path / "cut" / "skipped.csv").read_text()
    assert listed.count("bad.mp4") >= 1 and listed == (tmp_path / "whole/skipped.csv").read_text()
