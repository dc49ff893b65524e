from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.worldmodel.toys import small, small_model, write_dots
from worldmodel import checkpoint
from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError
from worldmodel.evaluation.probe import (
    extract,
    features_of,
    linear_readout,
    probe,
    time_steps_of,
)
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.runs.run import Run

GROUPS = np.repeat(np.arange(20), 10)


def normal(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def split(x, y):
    return (x[:300], y[:300]), (x[300:], y[300:])


def test_features_that_hold_the_target_explain_all_of_it():
    y = normal(500, 2, seed=0) * [1, 100] + [0, 7]
    mixed = np.concatenate([y, normal(500, 10, seed=1)], axis=1) @ normal(12, 12, seed=2)
    readout = linear_readout(*split(mixed, y), GROUPS)
    assert readout.r2 > 0.999
    assert readout.low <= readout.r2 <= readout.high
    assert readout.n == 200


def test_noise_explains_nothing():
    readout = linear_readout(*split(normal(500, 30, seed=3), normal(500, 2, seed=4)), GROUPS)
    assert abs(readout.r2) < 0.1
    assert readout.low < 0 < readout.r2 + 0.1


def test_half_the_variance_is_half_and_the_mean_is_over_the_targets_numbers():
    x, unseen = normal(500, 1, seed=5), normal(500, 1, seed=6)
    half = linear_readout(*split(x, x + unseen), GROUPS)
    assert half.r2 == pytest.approx(0.5, abs=0.1)
    assert half.low < 0.5 < half.high
    both = linear_readout(*split(x, np.concatenate([x, unseen], axis=1)), GROUPS)
    assert both.r2 == pytest.approx(0.5, abs=0.05)


def test_intervals_resample_episodes_and_not_their_rows():
    x = normal(320, 1, seed=7)
    y = x + normal(320, 1, seed=8)
    train = x[:300], y[:300]
    # Ten equal rows an episode say no more than one.
    test = x[300:].repeat(10, axis=0), y[300:].repeat(10, axis=0)
    episodes = linear_readout(train, test, GROUPS)
    rows = linear_readout(train, test, np.arange(200))
    assert episodes.r2 == pytest.approx(rows.r2)
    assert episodes.high - episodes.low > 2 * (rows.high - rows.low)
    assert episodes == linear_readout(train, test, GROUPS)
    assert episodes != linear_readout(train, test, GROUPS, seed=1)


def test_time_steps_lie_side_by_side_and_know_their_last_frame(tmp_path):
    arrays = load_arrays(Episodes(write_dots(tmp_path / "e", episodes=3, length=7)))
    frames, rows, episodes = time_steps_of(arrays, 2)
    assert rows.tolist() == [1, 3, 5, 8, 10, 12, 15, 17, 19]
    assert episodes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.equal(frames[:, 1], arrays.frames[rows])
    assert torch.equal(frames[:, 0], arrays.frames[rows - 1])


def test_features_do_not_depend_on_chunks_or_neighbours():
    model = small_model()
    frames = (torch.rand(7, 2, 3, 16, 16) * 255).to(torch.uint8)
    features = features_of(model)
    whole = extract(features, frames)
    assert whole.shape == (7, 16)
    assert np.allclose(whole, extract(features, frames, chunk=3), rtol=1e-3, atol=1e-2)


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return write_dots(tmp_path_factory.mktemp("dots") / "e", episodes=12)


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "run", verb="probe", config={}, seed=0)
    yield run
    run.close()


def test_a_place_is_read_out_of_pixels_and_states(run, dots, tmp_path):
    folder = str(checkpoint.save(small_model(), tmp_path / "model"))
    results = probe(run, model=folder, pretrained=folder, episodes=str(dots), targets=["position"])
    names = ["", "pretrained_", "random_init_", "pixels_"]
    expected = {f"{name}position_r2{end}" for name in names for end in ("", ".n", ".low", ".high")}
    assert set(results) == expected
    assert results["position_r2.n"] == 4 * 12  # 4 held-out episodes of 12 time steps
    assert results["position_r2"] == results["pretrained_position_r2"]
    assert results["pixels_position_r2"] > 0.9


def test_an_unknown_target_is_refused(run, dots, tmp_path):
    folder = str(checkpoint.save(small_model(), tmp_path / "model"))
    with pytest.raises(ConfigError, match="no info 'speed' in all its episodes; there are pos"):
        probe(run, model=folder, episodes=str(dots), targets=["speed"])


@pytest.mark.parametrize("place", ["model", "pretrained"])
def test_frames_of_another_size_than_the_model_s_are_refused(run, dots, tmp_path, place):
    large = replace(small(), size=32)
    models = {
        "fits": small_model(),
        "head": WorldModel(large.encoder, size=32, head=large.head()),
        "timm": WorldModel(FrameEncoder("vit_tiny_patch16_224", size=32), size=32),
        "patches": WorldModel(VideoViT(24, 1, heads=2, patch=32), size=32),
    }
    for name, model in models.items():
        checkpoint.save(model, tmp_path / name)
    for name in ("head", "timm", "patches"):
        chosen = {"model": str(tmp_path / "fits")} | {place: str(tmp_path / name)}
        with pytest.raises(ConfigError, match="its frames have 16 x 16 pixels, .* takes 32 x 32"):
            probe(run, episodes=str(dots), targets=["position"], **chosen)


@pytest.mark.parametrize("per_token", [False, True])
def test_without_a_head_of_states_frames_of_any_size_are_read(run, dots, tmp_path, per_token):
    sizes = replace(small(per_token=per_token), size=32)
    head = sizes.head() if per_token else None
    folder = checkpoint.save(WorldModel(sizes.encoder, size=32, head=head), tmp_path / "model")
    results = probe(run, model=str(folder), episodes=str(dots), targets=["position"])
    assert results["position_r2.n"] == 4 * 12
