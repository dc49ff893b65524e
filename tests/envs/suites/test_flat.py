"""The suites `flat` and `flat_rich`: matched by hash, and pixels do not tell what is possible."""

import functools
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from einops import rearrange

from worldmodel.architecture import Architecture
from worldmodel.envs.layout import TaskError
from worldmodel.envs.suites.flat import CONDITIONS, PARTS, PROPERTIES, FlatSuite
from worldmodel.envs.suites.quadruplet import PAIRS
from worldmodel.evaluation.statistics import wilson
from worldmodel.evaluation.surprise import surprise_and_persistence
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT
from worldmodel.types import Clip

FPS, LENGTH = 5, 24
KINDS = list(itertools.product((False, True), CONDITIONS, PROPERTIES))
HIDDEN = [kind for kind in KINDS if kind[1] != "visible"]


@functools.cache
def scenes(rich, condition, property, *, n=12, part="test", size=32, seed=0):
    suite = FlatSuite(rich=rich, size=size, num_frames=LENGTH, fps=FPS, seed=seed)
    return [suite.quadruplet(part, condition, property, number) for number in range(n)]


def runs_of(clips, length):
    """How often each sequence of so many frames comes in some clips."""
    return Counter(
        clip[t : t + length].tobytes() for clip in clips for t in range(len(clip) - length + 1)
    )


@pytest.mark.parametrize(("rich", "condition", "property"), KINDS)
def test_possible_and_impossible_clips_hold_the_same_frames(rich, condition, property):
    for scene in scenes(rich, condition, property):
        assert scene.clips.shape == (4, LENGTH, 32, 32, 3) and scene.clips.dtype == np.uint8
        assert runs_of(scene.clips[:2], 1) == runs_of(scene.clips[2:], 1)


@pytest.mark.parametrize(("rich", "condition", "property"), HIDDEN)
def test_hidden_splices_leave_the_same_changes_of_frames(rich, condition, property):
    shifted = scenes(rich, condition, property, part="shifted", n=6)
    for scene in scenes(rich, condition, property) + shifted:
        for length in (2, scene.run + 1):
            assert runs_of(scene.clips[:2], length) == runs_of(scene.clips[2:], length)
        # Longer ones differ: something is spliced.
        assert runs_of(scene.clips[:2], scene.run + 2) != runs_of(scene.clips[2:], scene.run + 2)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("property", PROPERTIES)
def test_a_splice_in_plain_view_is_a_change_that_possible_clips_do_not_hold(rich, property):
    for scene in scenes(rich, "visible", property):
        new = runs_of(scene.clips[2:], 2) - runs_of(scene.clips[:2], 2)
        assert sorted(new.values()) == [1, 1] or list(new.values()) == [2]
        assert scene.event == scene.cut


@pytest.mark.parametrize(("rich", "condition", "property"), HIDDEN)
def test_nothing_tells_the_clips_apart_for_as_long_as_a_window_can_span(rich, condition, property):
    for scene in scenes(rich, condition, property):
        assert 0.7 <= scene.run / FPS <= 2.0
        first, second = scene.clips[:2]
        differ = (first != second).any(axis=(1, 2, 3))
        assert not differ[0]
        hidden = slice(scene.event - scene.run, scene.event)
        assert not differ[hidden].any() and hidden.start < scene.cut < scene.event
        # 16 frames at 5 per second hold two frames that tell the clips apart on either side.
        assert differ[hidden.start - 2 : hidden.start].all()
        assert differ[scene.event : scene.event + 2].all()
        assert scene.run + 4 <= 16


def test_sixteen_frames_at_fifteen_per_second_span_what_is_hidden_nowhere():
    suite = FlatSuite(size=32, num_frames=72, fps=15)
    for property, number in itertools.product(PROPERTIES, range(5)):
        assert suite.quadruplet("test", "occluded", property, number).run + 2 > 16


@pytest.mark.parametrize("fps", [5, 10, 15, 30])
@pytest.mark.parametrize("size", [32, 64])
def test_every_scene_fits_into_the_shortest_clip(fps, size):
    suite = FlatSuite(size=size, num_frames=4 * fps, fps=fps)
    for condition, property in itertools.product(CONDITIONS, PROPERTIES):
        scene = suite.quadruplet("dev", condition, property, 0)
        assert scene.clips.shape[1:3] == (4 * fps, size)
        assert condition == "visible" or 0.7 <= scene.run / fps <= 2.0


def pixel_change(clips):
    return np.abs(np.diff(clips.astype(np.int64), axis=1)).sum(axis=(1, 2, 3, 4))


def static(clips):
    return np.abs(clips.astype(np.int64) - clips[:, :1]).sum(axis=(1, 2, 3, 4))


def brightness(clips):
    return clips.astype(np.int64).sum(axis=(1, 2, 3, 4))


def right(score, scene):
    """How many of a scene's two pairs a score of whole clips is right in."""
    scores = score(scene.clips)
    return sum(np.sign(scores[other] - scores[own]) / 2 + 0.5 for own, other in PAIRS)


@pytest.mark.parametrize("score", [pixel_change, static, brightness])
@pytest.mark.parametrize(("rich", "condition", "property"), HIDDEN)
def test_pixels_are_right_in_exactly_one_pair_of_every_hidden_scene(
    score, rich, condition, property
):
    found = scenes(rich, condition, property, n=100 if condition == "occluded" else 30)
    assert [right(score, scene) for scene in found] == [1.0] * len(found)


def untrained():
    torch.manual_seed(0)
    sizes = Architecture(
        encoder=VideoViT(24, 2, heads=2, patch=16), size=32, latent_width=12, predictor_width=48
    )
    predictor = sizes.masked_predictor()
    return WorldModel(sizes.encoder, size=32, head=sizes.head(), masked_predictor=predictor).eval()


@pytest.mark.slow
@pytest.mark.parametrize(("rich", "condition", "property"), HIDDEN)
def test_an_untrained_model_and_copying_its_last_latent_are_right_half_of_the_time(
    rich, condition, property
):
    model, right_ones = untrained(), np.zeros(2)
    found = scenes(rich, condition, property, n=100 if condition == "occluded" else 30)
    for first in range(0, len(found), 25):
        some = found[first : first + 25]
        frames = torch.from_numpy(np.concatenate([scene.clips for scene in some]))
        clip = Clip.from_uint8(rearrange(frames, "n t h w c -> n t c h w").contiguous())
        for which, scores in enumerate(surprise_and_persistence(model, clip)):
            means = scores.scores.double().mean(1).numpy().reshape(-1, 4)
            for own, other in PAIRS:
                right_ones[which] += (np.sign(means[:, other] - means[:, own]) / 2 + 0.5).sum()
    for right_of_one in right_ones:
        interval = wilson(right_of_one, 2 * len(found))
        assert interval.low <= 0.5 <= interval.high


def test_in_plain_view_pixels_do_tell_where_a_thing_at_rest_changes():
    found = scenes(False, "visible", "permanence", n=40)
    assert sum(right(pixel_change, scene) for scene in found) > 45  # of 80


@pytest.mark.parametrize("rich", [False, True])
def test_the_same_seed_and_number_give_the_same_scene_and_others_another(rich):
    make = functools.partial(FlatSuite, rich=rich, size=32)
    again, other = make(seed=0), make(seed=1)
    first = scenes(rich, "occluded", "shape")[3].clips
    scene = again.quadruplet("test", "occluded", "shape", 3).clips
    np.testing.assert_array_equal(scene, first)
    for different in (
        other.quadruplet("test", "occluded", "shape", 3),
        again.quadruplet("dev", "occluded", "shape", 3),
        again.quadruplet("test", "occluded", "shape", 4),
        again.quadruplet("test", "occluded", "colour", 3),
    ):
        assert (different.clips != first).any()


@pytest.mark.parametrize("rich", [False, True])
def test_no_scene_is_in_two_parts(rich):
    """By what is seen of it: clips of a plain ground and its screens alone may well be alike."""
    parts = {part: set() for part in PARTS}
    suite = FlatSuite(rich=rich, size=32)
    clips = {"train": [suite.training_clip(number) for number in range(100)]}
    for part in PARTS[1:]:
        kinds = itertools.product(CONDITIONS, PROPERTIES)
        made = [scenes(rich, *kind, part=part, n=6) for kind in kinds]
        clips[part] = [clip for some in made for scene in some for clip in scene.clips]
    for part, of_part in clips.items():
        for clip in of_part:
            if len(np.unique(clip.astype(np.int64) @ (1, 1000, 1000000))) > 2:  # colours
                parts[part].add(clip.tobytes())
        assert len(parts[part]) > 60
    for one, other in itertools.combinations(PARTS, 2):
        assert not parts[one] & parts[other]


def test_a_training_clip_is_one_that_can_happen(monkeypatch):
    """Its scene is spliced for controls only, of which every clip can happen."""
    made = []
    draw = FlatSuite._draw

    def kept(self, part, condition, property, random):
        assert part == "train"
        scene = draw(self, part, condition, property, random)
        made.append((condition, property, scene))
        return scene

    monkeypatch.setattr(FlatSuite, "_draw", kept)
    suite = FlatSuite(size=32)
    clips = [suite.training_clip(number) for number in range(200)]
    which = Counter()
    for clip, (condition, _, scene) in zip(clips, made, strict=True):
        matches = [i for i in range(4) if (scene.clips[i] == clip).all()]
        which[condition, matches[0]] += 1
    assert {i for condition, i in which if condition != "control"} == {0, 1}
    assert {i for condition, i in which if condition == "control"} == {0, 1, 2, 3}
    share = sum(n for (condition, _), n in which.items() if condition != "visible") / 200
    assert 0.65 < share < 0.85
    assert {property for _, property, _ in made} == set(PROPERTIES)


def test_the_shifted_part_has_shapes_that_no_other_part_has():
    looks = [
        {shape for part in parts for shape in _look(part).shapes}
        for parts in (("train", "dev", "test"), ("shifted",))
    ]
    assert not looks[0] & looks[1]
    patterns = [set(_look(part).patterns) for part in ("train", "shifted")]
    assert not patterns[0] & patterns[1]


def _look(part):
    from worldmodel.envs.suites.flat import _LOOKS

    return _LOOKS[part]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": 31}, "size must be at least 32 pixels, got 31"),
        ({"fps": 4}, "fps must lie from 5 to 30, got 4"),
        ({"fps": 31, "num_frames": 200}, "fps must lie from 5 to 30, got 31"),
        ({"num_frames": 19}, "num_frames must be at least 20, 4 seconds at 5 per second, got 19"),
    ],
)
def test_a_number_out_of_range_is_refused(words, message):
    with pytest.raises(TaskError, match=message):
        FlatSuite(**words)


def test_an_unknown_part_condition_or_property_is_refused():
    suite = FlatSuite(size=32)
    for words in (("train", "occluded", "shape"), ("test", "hidden", "shape"),
                  ("test", "occluded", "gravity")):  # fmt: skip
        with pytest.raises(TaskError, match="valid are"):
            suite.quadruplet(*words, 0)
