"""Memory of a stream of clips does not grow."""

import gc

import pytest

from worldmodel.loading.sources import VideoFiles
from worldmodel.runs.memory import resident_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "most", [3000, pytest.param(10_000, marks=pytest.mark.exhaustive)], ids="{} clips".format
)
def test_memory_is_flat_over_thousands_of_clips_through_two_workers(tmp_path, make_video, most):
    for number in range(40):
        make_video(tmp_path / f"{number}.mp4", 12, size=(32, 24))
    clip_source = VideoFiles(str(tmp_path), preload=False, workers=2, clips_per_video=1)
    clips = clip_source.open(size=24, num_frames=4, progress=lambda *done: None)
    batch, sizes = 50, {}
    for step in range(most // batch):
        clips.sample(step, batch, seed=0)
        if (step + 1) * batch in (1000, most):
            gc.collect()
            sizes[(step + 1) * batch] = resident_bytes()
    clips.close()
    assert sizes[most] < 1.05 * sizes[1000], {n: s / 2**20 for n, s in sizes.items()}
