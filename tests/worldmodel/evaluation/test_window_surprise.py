"""Surprise over windows by a stub whose predictions are known, and by each kind of predictor."""

from types import SimpleNamespace

import pytest
import torch

from tests.worldmodel.evaluation.suite_layouts import ours
from tests.worldmodel.interop import makers
from tests.worldmodel.toys import noise, small, small_model, stirred
from worldmodel.errors import ConfigError, ShapeError, WorldModelError
from worldmodel.evaluation.surprise import surprise_and_persistence
from worldmodel.evaluation.surprise_protocol import SurpriseProtocol, facts
from worldmodel.evaluation.window_surprise import (
    predictor_for,
    starts,
    window_change,
    window_surprise,
)
from worldmodel.interop import vjepa
from worldmodel.model import WorldModel
from worldmodel.nn.causal_predictor import CausalPredictor
from worldmodel.types import Clip


class Stub:
    """Sees the brightness of each time step's last frame; predicts that it goes on by 0.1."""

    power = 2

    def observed(self, encoder, head, frames):
        return frames[:, 1::2].mean(dim=(2, 3, 4))[:, :, None, None]

    def ahead(self, encoder, head, frames, steps):
        last = self.observed(encoder, head, frames)[:, -1:]
        return last + 0.1 * torch.arange(1, steps + 1)[None, :, None, None]


STUB = SimpleNamespace(masked_predictor=Stub(), encoder=None, head=None, tubelet_frames=2,
                       device=torch.device("cpu"))  # fmt: skip


def brightness(*levels):
    frames = torch.tensor(levels).repeat_interleave(2)[None, :, None, None, None]
    return frames.expand(1, -1, 3, 4, 4)


def clip_of(frames):
    return Clip(frames, torch.arange(frames.shape[1], dtype=torch.float64)[None] / 10)


def memory():
    """A model with a memory of all that it was shown."""
    sizes = small(extra=0)
    predictor = CausalPredictor(1, 12, 12, horizons=[1, 2, 4], width=24, depth=1, heads=2)
    model = WorldModel(sizes.encoder, size=16, head=sizes.head(), masked_predictor=predictor)
    return stirred(model).eval()


# Known numbers


def test_a_window_s_surprise_is_the_mean_error_of_its_hidden_time_steps():
    frames = brightness(0.1, 0.2, 0.3, 0.8, 0.9)
    asked = SurpriseProtocol(window=3, seen=1, distance="l1")
    begins = starts(5, 0, asked)
    assert begins == [0, 1, 2]
    found, copied = window_surprise(STUB, frames, begins, asked)
    # Hidden are 0.2 and 0.3, as predicted; 0.3 and 0.8 of which 0.4 was; 0.8 and 0.9 of 0.4, 0.5.
    assert found.tolist() == pytest.approx([0, 0.2, 0.4], abs=1e-6)
    assert copied.tolist() == pytest.approx([0.15, 0.35, 0.55], abs=1e-6)


def test_distances_are_absolute_squared_or_those_of_the_training():
    frames = brightness(0.1, 0.2, 0.3, 0.8)
    for distance, expected in (("l1", 0.4), ("l2", 0.16), ("trained", 0.16)):
        asked = SurpriseProtocol(window=2, seen=1, distance=distance)
        assert window_surprise(STUB, frames, [2], asked)[0].tolist() == pytest.approx([expected])


def test_windows_slide_and_begin_after_the_priming():
    assert starts(10, 0, SurpriseProtocol(window=4, seen=2, stride=3)) == [0, 3, 6]
    assert starts(10, 3, SurpriseProtocol(window=4, seen=2, stride=3)) == [3, 6]
    assert starts(4, 0, SurpriseProtocol(window=4, seen=2)) == [0]
    assert starts(3, 0, SurpriseProtocol(window=4, seen=2)) == []


def test_the_change_of_pixels_is_that_of_the_hidden_frames():
    frames = brightness(0.1, 0.1, 0.5, 0.5, 0.4)
    asked = SurpriseProtocol(window=3, seen=1)
    # Of four hidden frames one differs from the one before it, in the last window two do.
    found = window_change(frames, [0, 1, 2], 2, asked)
    assert found.tolist() == pytest.approx([0.1, 0.1, 0.025])


# Each kind of predictor


@torch.inference_mode()
def test_windows_of_tokens_are_scored_as_surprise_scores_them(tmp_path):
    torch.save(makers.checkpoint(makers.encoder(), makers.predictor()), tmp_path / "c.pt")
    model, _ = vjepa.read(tmp_path / "c.pt", makers.HINTS)
    model.masked_predictor.set_window(4, 2)
    frames = noise(1, 26, 3, 32, 32)  # ten windows: more than are scored at once
    expected = [x.scores[0] for x in surprise_and_persistence(model, clip_of(frames))]
    model.masked_predictor.set_window(8, 4)  # its own window does not count
    asked = SurpriseProtocol(window=4, seen=2)
    found = window_surprise(model, frames, starts(13, 0, asked), asked)
    for own, theirs in zip(found, expected, strict=True):
        assert len(own) == 10 and torch.allclose(own, theirs, atol=1e-5)


@torch.inference_mode()
def test_windows_of_two_time_steps_are_scored_as_surprise_scores_them():
    model, frames = small_model(), noise(1, 12, 3, 16, 16)
    asked = SurpriseProtocol(window=2, seen=1, distance="trained")
    found, copied = window_surprise(model, frames, starts(6, 0, asked), asked)
    expected = surprise_and_persistence(model, clip_of(frames))
    assert torch.allclose(found, expected[0].scores[0], rtol=1e-4)
    assert torch.allclose(copied, expected[1].scores[0], rtol=1e-4)


@torch.inference_mode()
def test_a_long_memory_knows_what_came_before_the_window_and_a_short_one_does_not():
    model, frames = memory(), noise(1, 16, 3, 16, 16)
    changed = frames.clone()
    changed[:, :4] = 0  # before the last window, which begins at time step 4
    for kind, same in (("short", True), ("long", False)):
        asked = SurpriseProtocol(window=4, seen=2, memory=kind)
        before, after = (window_surprise(model, x, [4], asked)[0] for x in (frames, changed))
        assert torch.allclose(before, after, rtol=1e-5) is same, kind
    # Where nothing comes before a window, both are the same.
    first = [window_surprise(model, frames, [0], SurpriseProtocol(4, 2, memory=kind))[0]
             for kind in ("short", "long")]  # fmt: skip
    assert torch.allclose(*first, rtol=1e-5)


@torch.inference_mode()
def test_what_is_said_after_each_beginning_is_what_is_said_of_it_alone():
    model, frames = memory(), noise(2, 16, 3, 16, 16)
    parts, predictor = (model.encoder, model.head), model.masked_predictor
    for seen, said in zip((2, 5), predictor.ahead_of_each(*parts, frames, (2, 5), 2), strict=True):
        alone = predictor.ahead(*parts, frames[:, : seen * model.tubelet_frames], 2)
        assert torch.allclose(said, alone, rtol=1e-4, atol=1e-5) and said.std() > 0.01


@torch.inference_mode()
def test_no_score_knows_what_comes_after_its_window():
    frames = noise(1, 16, 3, 16, 16)
    changed = frames.clone()
    changed[:, 10:] = 0
    for model, kind in ((small_model(), "short"), (memory(), "long")):
        asked = SurpriseProtocol(window=4, seen=2, memory=kind)
        before, after = (
            window_surprise(model, x, starts(8, 0, asked), asked)[0] for x in (frames, changed)
        )
        same = torch.isclose(before, after, rtol=1e-4).tolist()
        assert same == [True, True, False, False, False]


def test_models_that_cannot_be_asked_are_refused():
    with pytest.raises(ConfigError, match="memory=long: MaskedPredictor looks at no more than a"):
        predictor_for(small_model(), SurpriseProtocol(memory="long"))
    assert predictor_for(memory(), SurpriseProtocol(memory="long")).horizons == (1, 2, 4)
    model = small_model()
    model.masked_predictor = None
    with pytest.raises(WorldModelError, match="no masked predictor, so nothing surprises it"):
        predictor_for(model, SurpriseProtocol())
    with pytest.raises(ShapeError, match="says nothing of the one that comes 5 after it"):
        window_surprise(memory(), noise(1, 16, 3, 16, 16), [0], SurpriseProtocol(8, 3))


# The protocol


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seen": 0}, "protocol.seen=0: is a number of time steps, at least 1"),
        ({"seen": 8}, "protocol.seen=8: leaves nothing to predict of a window of 8 time steps"),
        ({"window": 7.5}, "protocol.window=7.5: is a number of time steps, at least 1"),
        ({"stride": 0}, "protocol.stride=0: is a number"),
        ({"fps": 0}, "protocol.fps=0: is a positive number"),
        ({"distance": "l3"}, "no protocol.distance 'l3': choose from: l1, l2, trained"),
        ({"aggregation": "median"}, "no protocol.aggregation 'median'"),
        ({"memory": "lon"}, "no protocol.memory 'lon': did you mean 'long'"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        SurpriseProtocol(**settings)


def test_the_published_protocol_is_the_default():
    asked = SurpriseProtocol()
    assert (asked.window, asked.seen, asked.stride, asked.distance) == (8, 4, 1, "l1")
    assert (asked.aggregation, asked.memory, asked.fps) == ("mean", "short", None)


def test_the_hash_is_of_what_was_asked(tmp_path):
    made = ours(tmp_path)
    clips = made.suite.clips(str(made.path))

    def of(protocol=None, found=clips, tubelet_frames=2, fps=None):
        return facts(
            protocol or SurpriseProtocol(), "IntPhys", found, tubelet_frames=tubelet_frames, fps=fps
        )

    first = of()
    assert first["suite"] == "IntPhys: 8 clips of 2 scenes" and first["window"] == "8"
    assert len(first["protocol_sha256"]) == 12 and of() == first
    others = [
        of(SurpriseProtocol(stride=2)), of(SurpriseProtocol(aggregation="max")), of(fps=7.5),
        of(tubelet_frames=1), of(found=clips[:4]),
    ]  # fmt: skip
    assert len({x["protocol_sha256"] for x in (first, *others)}) == 6
