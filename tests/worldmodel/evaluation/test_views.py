"""Clips and squares of a video, and the features that are kept of them."""

import numpy as np
import pytest
import torch

from tests.worldmodel.evaluation.labelled_videos import Kept
from tests.worldmodel.toys import small_model
from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.frozen_features import SHARD, Extraction, pixels, tokens_of
from worldmodel.evaluation.views import ViewRequest, Views, read_views
from worldmodel.video.decoding import Decoding

ONE = Views(num_frames=4, clips=1, workers=0)


def first_frames(views, **item):
    """The number of each clip's first frame, and the column that its square begins with."""
    found = read_views(views, 16, Decoding(), ViewRequest(Kept("a", **item)))
    assert found.dtype == np.uint8 and found.shape[1:] == (views.num_frames, 3, 16, 16)
    return found[:, 0, 0, 5, 5].tolist(), (found[:, 0, 0, 0, 0] - 100).tolist()


def test_one_clip_is_in_the_middle_and_several_are_spread_evenly():
    assert first_frames(ONE, frames=13)[0] == [5]  # of the beginnings 0 to 9
    assert first_frames(Views(num_frames=4, clips=2, workers=0), frames=13)[0] == [2, 7]
    assert first_frames(Views(num_frames=4, clips=3, workers=0), frames=4)[0] == [0, 0, 0]
    strided = Views(num_frames=4, stride=3, clips=1, workers=0)
    assert read_views(strided, 16, Decoding(), ViewRequest(Kept("a")))[0, :, 0, 5, 5].tolist() == [
        1, 4, 7, 10,
    ]  # fmt: skip


def test_one_square_is_in_the_middle_and_several_go_from_side_to_side():
    assert first_frames(ONE, shape=(16, 28))[1] == [6]
    three = Views(num_frames=4, clips=2, crops=3, workers=0)
    assert first_frames(three, frames=13, shape=(16, 28)) == ([2, 2, 2, 7, 7, 7], [0, 6, 12] * 2)


def test_a_video_that_is_too_short_is_named():
    with pytest.raises(VideoError, match="a: is shorter than the clip: 3 frames"):
        first_frames(ONE, frames=3)


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"crops": 0}, {"stride": 2, "fps": 3.0}])
def test_views_without_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Views(**wrong)


def extraction(folder, *, tokens=True, on_bad_video="error"):
    views = Views(num_frames=4, clips=2, workers=0, on_bad_video=on_bad_video)
    encoders = {"model": tokens_of(small_model()), "pixels": pixels(2)}
    return Extraction(encoders, views, 16, Decoding(), tokens, folder)


def extract(of, items):
    skipped = []
    return *of.run(items, progress=lambda done: None, on_skip=skipped.append), skipped


def test_features_are_the_encoder_s_tokens_and_their_mean(tmp_path):
    items = [Kept(f"v{i}", frames=12 + i) for i in range(3)]
    found, kept, _ = extract(extraction(tmp_path), items)
    assert kept == [0, 1, 2]
    views = read_views(extraction(tmp_path).views, 16, Decoding(), ViewRequest(items[2]))
    with torch.inference_mode():
        tokens = small_model().encoder(torch.from_numpy(views).float() / 255)
    assert torch.allclose(found["model"].means[2], tokens.mean(dim=1), atol=1e-5)
    read = found["model"].tokens([2, 2], [0, 1])
    assert torch.allclose(read, tokens, atol=1e-2)  # kept in half precision
    assert found["pixels"].means.shape == (3, 2, 4 * 3 * 8 * 8)
    assert found["pixels"].tokens([0], [0]).shape == (1, 2, 2 * 3 * 8 * 8)


def test_what_was_extracted_is_not_read_again_and_other_videos_are(tmp_path):
    items = [Kept(f"v{i}") for i in range(SHARD + 2)]
    first, _, _ = extract(extraction(tmp_path, tokens=False), items)
    gone = [Kept(f"v{i}", is_bad=i < SHARD) for i in range(SHARD + 2)]
    again, _, _ = extract(extraction(tmp_path, tokens=False), gone)
    assert torch.equal(first["model"].means, again["model"].means)
    with pytest.raises(VideoError, match="other: is bad"):
        extract(extraction(tmp_path, tokens=False), [Kept("other", is_bad=True), *items])
    (tmp_path / "00000.safetensors").write_bytes(b"cut short")
    mended, _, _ = extract(extraction(tmp_path, tokens=False), items)
    assert torch.equal(first["model"].means, mended["model"].means)


def test_bad_videos_are_left_out_where_that_is_said(tmp_path):
    items = [Kept("a"), Kept("b", is_bad=True), Kept("c", frames=2), Kept("d", frames=14)]
    found, kept, skipped = extract(extraction(tmp_path, on_bad_video="skip"), items)
    assert kept == [0, 3] and [bad.name for bad in skipped] == ["b", "c"]
    assert len(found["model"]) == 2
    with pytest.raises(VideoError, match="all videos are bad"):
        extract(extraction(tmp_path / "none", on_bad_video="skip"), items[1:3])
