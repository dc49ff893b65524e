"""Whatever the file, the frames are those of decoding it in order from its start."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.worldmodel.data.films import FILMS
from worldmodel.data.catalogue import Opening
from worldmodel.data.decoders import known
from worldmodel.data.video import VideoReader, decode, to_rgb
from worldmodel.errors import VideoError


def truth(path: Path, stream: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All frames `t h w c` and their times, decoded in order."""
    times, frames = zip(*decode(path, stream=stream), strict=True)
    return np.stack([to_rgb(frame) for frame in frames]), np.array(times)


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Makes each film once."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def film(name: str) -> Path:
        if name not in made:
            made[name] = FILMS[name].write(folder, name)
        return made[name]

    return film


def draws(count: int, seed: int, times: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 8, times)
    return [np.sort(random.integers(count, size=size)) for size in sizes]


@pytest.mark.parametrize("name", FILMS)
def test_random_access_gives_the_frames_of_a_decode_in_order(films, name):
    path = films(name)
    frames, times = truth(path)
    reader = VideoReader(path)
    assert reader.num_frames == len(frames)
    np.testing.assert_allclose(reader.times(np.arange(len(frames))), times, atol=1e-9)
    for indices in [np.arange(len(frames)), *draws(len(frames), seed=0)]:
        got = reader.read(indices).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(got, frames[indices]), f"{name}: {indices}"
    mixed = np.random.default_rng(2).integers(len(frames), size=9)
    for clip, wanted in zip(reader.read_clips([mixed[:4], mixed[4:]]), (mixed[:4], mixed[4:]),
                            strict=True):  # fmt: skip
        assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), frames[wanted])
    reader.close()


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
@pytest.mark.parametrize("name", FILMS)
def test_other_decoders_are_right_or_passed_over(films, name, backend):
    missing = known()[backend].missing()
    if missing:
        pytest.skip(missing)
    path = films(name)
    frames, _ = truth(path)
    try:
        reader = VideoReader(path, Opening(backend=backend))
        got = {}
        for indices in draws(len(frames), seed=1):
            got |= dict(zip(indices.tolist(), reader.read(indices), strict=True))
    except VideoError as cause:
        assert re.search(rf": {backend} would not give its right frames \(.+\); use", str(cause))
        return
    assert reader.backend == backend
    for number, frame in got.items():
        assert nearest_to(frame.permute(1, 2, 0).numpy(), frames, number) == number


def nearest_to(picture: np.ndarray, frames: np.ndarray, number: int, around: int = 8) -> int:
    """Which of the frames around a number looks most like a picture; the number itself in a tie."""
    begin = max(0, number - around)
    some = frames[begin : number + around + 1].astype(np.int16)
    far = np.abs(some - picture.astype(np.int16)).mean((1, 2, 3))
    return number if far[number - begin] == far.min() else begin + int(far.argmin())
