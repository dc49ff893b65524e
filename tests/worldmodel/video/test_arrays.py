"""Arrays and live frames: whatever is handed over is read rightly, or refused in one line."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.worldmodel.video.made_videos import stripes
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.clip import read_clip
from worldmodel.video.decoding import Limits

FRAMES = np.stack([stripes(number, 20, 16) for number in range(20)])  # t h w c


def levels(clip) -> np.ndarray:
    """The frames of a clip as they were given: t h w c, uint8."""
    return (clip.frames[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("ask", "numbers"), [({"stride": 2}, [0, 2, 4]), ({"fps": 4}, [0, 2, 5])], ids=["stride", "fps"]
)
def test_a_camera_that_reuses_its_memory(kind, ask, numbers):
    def camera():
        memory = np.empty_like(FRAMES[0])
        for image in FRAMES:
            memory[:] = image
            yield torch.from_numpy(memory) if kind == "torch" else memory

    clip = read_clip(camera(), num_frames=3, rate=10, **ask)
    assert np.array_equal(levels(clip), FRAMES[numbers])


VIEWS = {
    "colours": FRAMES[..., ::-1],
    "backwards": FRAMES[::-1],
    "mirrored": FRAMES[:, :, ::-1],
    "sparse": FRAMES[::3, ::2],
    "fortran": np.asfortranarray(FRAMES),
    "read-only": np.frombuffer(FRAMES.tobytes(), np.uint8).reshape(FRAMES.shape),
    "channels": np.moveaxis(FRAMES, 3, 1)[..., ::-1],
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_read_as_what_they_show(view):
    frames = VIEWS[view]
    shown = np.moveaxis(frames, 1, 3) if view == "channels" else frames
    assert np.array_equal(levels(read_clip(frames, num_frames=3, rate=10)), shown[:3])
    small = read_clip(frames, num_frames=3, rate=10, size=5)
    assert torch.equal(small.frames, read_clip(frames.copy(), num_frames=3, rate=10, size=5).frames)
    live = read_clip(iter(shown), num_frames=3, rate=10)
    assert np.array_equal(levels(live), shown[:3])


@pytest.mark.parametrize("live", [False, True])
def test_a_rate_may_be_a_fraction(live):
    source = iter(FRAMES) if live else FRAMES
    clip = read_clip(source, num_frames=3, rate=Fraction(30000, 1001))
    assert clip.times[0].tolist() == pytest.approx([0.0, 1001 / 30000, 2002 / 30000])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("rate", ["10", 0, -1, float("nan"), float("inf"), [10.0, 20.0]])
def test_rates_that_are_none_are_refused(live, rate):
    with pytest.raises(ConfigError, match="need rate=, frames per second; got"):
        read_clip(iter(FRAMES) if live else FRAMES, num_frames=3, rate=rate)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (FRAMES.astype(object), "is object of shape"),
        (torch.rand(4, 3, 4, 4, requires_grad=True), "is float32 of shape"),
        (torch.zeros(4, 3, 4, 4, dtype=torch.bfloat16), "cannot be made an array"),
        (torch.zeros(4, 3, 4, 4, dtype=torch.uint8, device="meta"), "cannot be made an array"),
    ],
)
def test_arrays_without_pixels_are_refused(frames, message):
    with pytest.raises(VideoError, match=f"^<array [0-9x]+>: {message}.*; give"):
        read_clip(frames, num_frames=2, rate=10)


IMAGE = FRAMES[0]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(0.0, IMAGE), (0.1, IMAGE, 1)], "frame 1 is a tuple of 3; give images, or tuples"),
        ([(None, IMAGE)], "frame 0 comes with the time None; give finite seconds"),
        ([("0.5", IMAGE)], "frame 0 comes with the time '0.5'"),
        ([(0.0, IMAGE), (float("inf"), IMAGE)], "frame 1 comes with the time inf"),
        ([IMAGE[:0]], r"frame 0 is uint8 of shape \(0, 20, 3\); give images h w c"),
        ([torch.rand(16, 20, 3, requires_grad=True)], "frame 0 is float32 of shape"),
        ([[0.5, IMAGE]], "frame 0 cannot be made an array"),
        ([IMAGE, IMAGE[:12]], r"is of shape .* at 0 s and of shape .* at 0.1 s; give frames"),
    ],
)
@pytest.mark.parametrize("size", [None, 8])
def test_live_frames_that_are_wrong_are_named(items, message, size):
    with pytest.raises(VideoError, match=f"^<live frames>: {message}"):
        read_clip(iter(items), num_frames=2, rate=10, size=size)


@pytest.mark.parametrize("fps", [60, 1e12, 1e308])
def test_a_frame_that_would_come_twice_is_said_at_once(fps):
    """Also where the clip begins a rounding error before the start that is asked for."""
    said = "^<live frames>: has no frame between 0.333333 and 0.366667 s, too long for fps="
    for count in (2, 100_000):
        with pytest.raises(VideoError, match=said):
            read_clip(iter(FRAMES), num_frames=count, fps=fps, rate=30, start=0.3333335)
    with pytest.raises(VideoError, match="^<live frames>: has 30 frames/s, too few for fps=31 "):
        read_clip(iter([IMAGE] * 400), num_frames=300, fps=31, rate=30)


def test_a_gap_between_live_frames_is_named():
    pairs = [(0.05 * number + 0.6 * (number > 9), image) for number, image in enumerate(FRAMES)]
    with pytest.raises(VideoError, match="has no frame between 0.45 and 1.1 s, too long for fps=4"):
        read_clip(iter(pairs), num_frames=4, fps=4)
    assert read_clip(iter(pairs), num_frames=2, fps=4).times[0].tolist() == [0.0, 0.25]


def test_live_frames_keep_to_the_limits():
    def camera():
        while True:
            yield IMAGE

    def read(limits: Limits, **ask):
        return read_clip(camera(), num_frames=3, rate=10, limits=limits, **ask)

    assert read(Limits(pixels=16 * 20, frames=3)).frames.shape == (1, 3, 3, 16, 20)
    with pytest.raises(VideoError, match="has frames of 20x16, more than the limit of 319 pixels"):
        read(Limits(pixels=16 * 20 - 1))
    with pytest.raises(VideoError, match="the limit of 40 frames came before the clip was complet"):
        read(Limits(frames=40), start=9.0)
    with pytest.raises(VideoError, match="3 frames of 20x16 take 0.002747 MiB, .* limit of 0.001;"):
        read(Limits(mib=0.001))
    with pytest.raises(VideoError, match="3 frames of 1250000x1000000 take .* raise limits.mib"):
        read(Limits(), size=1_000_000)


def test_arrays_keep_to_the_limits():
    def array(limits: Limits, size: int | None = None, num_frames: int = 1) -> torch.Tensor:
        return read_clip(FRAMES, num_frames=num_frames, rate=10, size=size, limits=limits).frames

    with pytest.raises(VideoError, match="has frames of 20x16, more than the limit of 319 pixels"):
        array(Limits(pixels=16 * 20 - 1))
    with pytest.raises(VideoError, match="1 frames of 20x16 take 0.0009155 MiB, .* limit of 1e-05"):
        array(Limits(mib=1e-5))
    with pytest.raises(VideoError, match="1 frames of 1250000x1000000 take"):
        array(Limits(), 1_000_000)
    assert array(Limits(mib=1e-3), 4, 3).shape == (1, 3, 3, 4, 4)
