"""Surprise by a stub whose predictions are known, and by a model that has seen a dot move."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.worldmodel.toys import dots, noise, small, small_model
from worldmodel.errors import ShapeError
from worldmodel.evaluation.surprise import surprise, surprise_and_persistence
from worldmodel.loading.in_memory import ClipDataset, MemoryVideo
from worldmodel.model import WorldModel
from worldmodel.nn.predictor import Prediction
from worldmodel.objectives.masks import AllButOne, MaskMixture
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run
from worldmodel.training.loop import fit
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import VideoLearner, health
from worldmodel.types import Clip


def clip_of(frames, fps=10):
    times = torch.arange(frames.shape[1], dtype=torch.float64) / fps
    return Clip(frames, times.expand(len(frames), -1))


class Stub:
    """Sees the brightness of each time step's last frame; predicts that it goes on by 0.1."""

    tubelet_frames = 2

    def predictions(self, clip):
        level = clip.frames[:, 1::2].mean(dim=(2, 3, 4))[:, :, None, None]
        before, after = level[:, :-1], level[:, 1:]
        ends = torch.arange(3, clip.frames.shape[1], 2)
        for steps in (slice(1), slice(1, None)):  # piece by piece
            yield Prediction(before[:, steps] + 0.1, after[:, steps], before[:, steps],
                            last_frames=ends[steps], power=2)  # fmt: skip


def brightness(*levels):
    frames = torch.tensor(levels).repeat_interleave(2)[None, :, None, None, None]
    return clip_of(frames.expand(1, -1, 3, 4, 4).contiguous())


def test_a_score_is_the_error_of_what_was_predicted_at_its_time():
    clip = brightness(0.1, 0.2, 0.3, 0.8, 0.9)
    found = surprise(Stub(), clip)
    expected = torch.tensor([[0, 0, 0.4**2, 0]])  # what broke the rule is time step 3
    assert torch.allclose(found.scores, expected, atol=1e-6)
    assert found.times.tolist() == [pytest.approx([0.3, 0.5, 0.7, 0.9])]
    copied = surprise_and_persistence(Stub(), clip)[1]
    assert torch.allclose(copied.scores, torch.tensor([[0.01, 0.01, 0.25, 0.01]]), atol=1e-6)
    assert torch.equal(copied.times, found.times)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_clips_that_are_too_short_or_do_not_divide_are_refused(frames):
    with pytest.raises(ShapeError, match=f"multiple of 2 frames, at least 4, got {frames}"):
        surprise(small_model(), clip_of(noise(1, frames, 3, 16, 16)))


def test_a_score_knows_nothing_of_what_comes_later_and_rows_are_apart():
    model = small_model()
    frames = noise(2, 8, 3, 16, 16)
    changed = frames.clone()
    changed[0, 5] = 0
    before, after = surprise(model, clip_of(frames)), surprise(model, clip_of(changed))
    differs = ~torch.isclose(before.scores, after.scores, rtol=1e-4)
    assert differs.tolist() == [[False, True, True], [False] * 3]


# A model that has seen a dot go straight, at one speed in one of four directions


def straight(random, length=8):
    direction = random.choice([(1.0, 0), (-1.0, 0), (0, 1.0), (0, -1.0)])
    middle = random.uniform(6.5, 8.5, 2)
    return middle + np.outer(np.arange(length) - (length - 1) / 2, direction) * 1.5


def tensor_of(frames):
    return torch.from_numpy(frames).movedim(-1, -3)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    random = np.random.default_rng(0)
    times = torch.arange(8, dtype=torch.float64)
    videos = [MemoryVideo(str(i), tensor_of(dots(straight(random))), times) for i in range(300)]
    clips = ClipDataset(videos, num_frames=4, stride=1)
    sizes = small()
    objective = TimeSteps(
        sizes,
        masks=MaskMixture([AllButOne()], [1]),
        regulariser=SIGReg(num_slices=64),
    )
    run = Run.open(tmp_path_factory.mktemp("run") / "r", verb="pretrain", config={}, seed=0)
    learner = VideoLearner(objective, clips, batch=32, seed=0)
    steps = Optimisation(400, learning_rate=3e-3)
    fit(learner, run, steps, description="dots")
    run.close()
    model = WorldModel(
        objective.encoder,
        size=16,
        head=objective.head,
        masked_predictor=objective.predictor,
    ).eval()
    return SimpleNamespace(model=model, clips=clips, objective=objective)


def test_a_dot_that_jumps_surprises_and_when_it_does(learned):
    random = np.random.default_rng(1)
    possible = np.stack([straight(random) for _ in range(60)])
    jumped = possible.copy()
    jumped[:, 4:] = np.stack(
        [15 - p if abs(p - 7.5).max() > 2.5 else p + 5 for p in possible[:, 4:]]
    )
    scores = [
        surprise(learned.model, Clip.from_uint8(tensor_of(dots(places)))).scores
        for places in (possible, jumped)
    ]
    assert torch.allclose(scores[0][:, 0], scores[1][:, 0], rtol=1e-3)  # before, nothing differs
    assert (scores[1][:, 1] > scores[0][:, 1]).float().mean() > 0.9
    assert (scores[1].argmax(dim=1) == 1).float().mean() > 0.8
    # Better than persistence: it has learned how the dot goes on.
    copied = surprise_and_persistence(learned.model, Clip.from_uint8(tensor_of(dots(possible))))[
        1
    ].scores
    assert scores[0].mean() < 0.5 * copied.mean()


def test_what_was_learned_has_not_collapsed(learned):
    frames = learned.clips.sample(400, 256, seed=0).frames
    diagnosis, moving = health(learned.objective, frames, 16)
    assert diagnosis.alarm is None
    assert moving.alarm is None and moving.prediction_over_copying < 0.5
    assert diagnosis.feature_std == pytest.approx(1, abs=0.35)
    still = copy.deepcopy(learned.objective)
    torch.nn.init.zeros_(still.encoder.norm.weight)  # every token alike, whatever is seen
    collapsed, _ = health(still, frames, 16)
    assert "collapsed" in collapsed.alarm
