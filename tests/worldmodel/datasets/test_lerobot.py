"""LeRobot's rows find their frames, however the times in a data set drift or are told."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.worldmodel.datasets.layouts import CAMERA, write_table
from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.errors import EpisodeError
from worldmodel.loading.clip_reader import Opened
from worldmodel.tools.conversion.encode_video import encode_item
from worldmodel.video.clip import VideoReader
from worldmodel.video.decoding import Decoding

FPS, BITS = 10, 9
SIDE = "observation.images.side"


def striped(numbers: Sequence[int]) -> np.ndarray:
    """Frames t h w 3 that show their number as black and white stripes."""
    bits = np.array(numbers)[:, None] >> np.arange(BITS) & 1
    image = np.repeat(255 * bits, 16, axis=1).astype(np.uint8)
    return np.repeat(image[:, None, :, None], 32, axis=1).repeat(3, axis=3)


def numbers_in(frames: np.ndarray) -> list[int]:
    """The numbers that frames t h w 3 show."""
    middles = np.asarray(frames)[:, 16, 8 : 16 * BITS : 16, 0] > 127
    return (middles << np.arange(BITS)).sum(axis=1).tolist()


def write_h264(path: Path, numbers: Sequence[int], fps: int = FPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 16 * BITS, 32, "yuv420p"
        for image in striped(numbers):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def write_info(root: Path, version: str, cameras: Sequence[str], fps: float = FPS) -> None:
    numbers = {"dtype": "float32", "shape": [1], "names": None}
    features = {camera: {"dtype": "video", "shape": [32, 144, 3]} for camera in cameras}
    features |= {"action": numbers, "timestamp": numbers}
    info = {"codebase_version": version, "fps": fps, "features": features}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))


def write_v3(
    root: Path,
    *,
    lengths: Sequence[int] = (30,) * 6,
    files: Sequence[int] = (0,) * 6,
    drift: float = 0.0,
    times: Sequence[np.ndarray] | None = None,
    video: Sequence[Sequence[int]] | None = None,
    begins: Sequence[float] | None = None,
    offsets: dict[str, int] | None = None,
) -> Path:
    """Episodes in joined files; frame `k` of all episodes shows `k`.

    Args:
        root: Where to.
        lengths: Frames of each episode.
        files: The video file that each is in.
        drift: Frames that `from_timestamp` is further off with each episode of a file.
        times: The timestamps of each one's rows.
        video: The numbers of the frames of each file.
        begins: The frame at which each episode is said to begin.
        offsets: For each camera the frames in its first file before the first episode.
    """
    offsets = offsets or {CAMERA: 0}
    write_info(root, "v3.0", list(offsets))
    starts = np.cumsum([0, *lengths])
    numbers = np.arange(len(lengths))
    rows: dict[str, list] = {"timestamp": [], "action": [], "episode_index": []}
    for number, length in enumerate(lengths):
        rows["timestamp"] += list(np.arange(length) / FPS if times is None else times[number])
        rows["action"] += [[float(starts[number] + i)] for i in range(length)]
        rows["episode_index"] += [number] * length
    write_table(root / "data/chunk-000/file-000.parquet", rows)
    table = {
        "episode_index": numbers.tolist(), "tasks": [["push"]] * len(lengths),
        "length": list(lengths), "data/chunk_index": [0] * len(lengths),
        "data/file_index": [0] * len(lengths),
    }  # fmt: skip
    for camera, offset in offsets.items():
        first = np.array([starts[np.argmax(np.array(files) == file)] for file in files])
        place = np.array([(np.array(files[:n]) == files[n]).sum() for n in numbers])
        said = starts[:-1] - first + offset if begins is None else np.array(begins)
        begin = np.maximum(0, said + drift * place) / FPS
        table |= {
            f"videos/{camera}/chunk_index": [0] * len(lengths),
            f"videos/{camera}/file_index": list(files),
            f"videos/{camera}/from_timestamp": begin.tolist(),
            f"videos/{camera}/to_timestamp": (begin + np.array(lengths) / FPS).tolist(),
        }
        for file in sorted(set(files)):
            inside = np.flatnonzero(np.array(files) == file)
            shown = list(range(starts[inside[0]], starts[inside[-1] + 1]))
            shown = [511] * offset + shown if video is None else video[file]
            write_h264(root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4", shown)
    write_table(root / "meta/episodes/chunk-000/file-000.parquet", table)
    return root


def check_frames(root: Path, lengths: Sequence[int], **options) -> None:
    """Every row has its frame, as an episode, as a part of a video, and converted."""
    starts = np.cumsum([0, *lengths])
    store, catalogue = open_episodes(root, **options), open_catalogue(root, **options)
    opened = Opened(Decoding())
    for number, episode in enumerate(store):
        wanted = list(range(starts[number], starts[number + 1]))
        assert numbers_in(episode.frames) == wanted
        assert episode.actions[:, 0].tolist() == wanted[:-1]
        item = catalogue[number]
        first, times = opened.get(item).part(item)
        frames = opened.get(item).source.read(first + np.arange(len(times)))
        assert numbers_in(frames.movedim(1, -1)) == wanted
        assert item.check_rows(opened.get(item).source)
    opened.close()
    encode_item(item, root / "last.mp4", decoding=Decoding(), quality=18)
    video = VideoReader(str(root / "last.mp4"))
    assert numbers_in(video.read(np.arange(video.num_frames)).movedim(1, -1)) == wanted
    video.close()


@pytest.mark.parametrize("drift", [-0.2, 0.2, -0.05, 0.7, -3.2])
def test_joined_episodes_are_counted_where_their_times_drift(tmp_path, drift):
    write_v3(tmp_path, drift=drift)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_frames(tmp_path, (30,) * 6)
        check_frames(tmp_path, (30,) * 6)
    lines = [str(warning.message) for warning in said]
    if abs(5 * drift) <= 0.5:
        assert lines == []
    else:
        assert len(lines) == 1 and "lengths" in lines[0]
        assert f"{5 * abs(drift):.2g} frames away" in lines[0]


def test_exact_times_say_nothing(tmp_path):
    write_v3(tmp_path, lengths=(30, 7, 1, 22, 40, 5), files=(0, 0, 0, 1, 1, 2))
    check_frames(tmp_path, (30, 7, 1, 22, 40, 5))


@pytest.mark.parametrize("drift", [-0.2, 0.2])
@pytest.mark.parametrize("missing", [1, -1])
def test_neither_counted_nor_told_by_times(tmp_path, drift, missing):
    shown = [[*range(180 - missing)]]
    write_v3(tmp_path, drift=drift, video=shown)
    with pytest.warns(UserWarning, match="from_timestamps"):
        store = open_episodes(tmp_path)
    with pytest.raises(EpisodeError, match=f"{180 - missing} frames.*6 episodes.*180.*0.4"):
        store[0]
    item = open_catalogue(tmp_path)[2]
    opened = Opened(Decoding())
    with pytest.raises(EpisodeError, match="which frames are its own cannot be known"):
        opened.get(item).part(item)
    opened.close()


def test_all_begins_at_zero_are_counted(tmp_path):
    write_v3(tmp_path, begins=[0] * 6)
    with pytest.warns(UserWarning, match="frames away"):
        check_frames(tmp_path, (30,) * 6)


def test_begins_that_go_on_in_the_second_file_are_counted(tmp_path):
    """As old writers had them: seconds of the data set, and not of the file."""
    write_v3(tmp_path, files=(0, 0, 0, 1, 1, 1), begins=np.arange(6) * 30)
    with pytest.warns(UserWarning, match="frames away"):
        check_frames(tmp_path, (30,) * 6)


def test_each_camera_has_its_own_times(tmp_path):
    """The second began three frames earlier than the first episode."""
    write_v3(tmp_path, offsets={CAMERA: 0, SIDE: 3})
    check_frames(tmp_path, (30,) * 6, camera="top")
    check_frames(tmp_path, (30,) * 6, camera="side")


def test_a_file_of_which_some_episodes_are_listed_goes_by_its_times(tmp_path):
    write_v3(tmp_path, lengths=(30, 30), files=(0, 0), begins=(30, 90),
             video=[[*range(300, 330), *range(30), *range(330, 360), *range(30, 60)]])  # fmt: skip
    check_frames(tmp_path, (30, 30))


def test_begins_inside_the_episode_before_are_not_trusted(tmp_path):
    write_v3(tmp_path, begins=np.arange(6) * 29, video=[[*range(174)]])
    with pytest.warns(UserWarning, match="from_timestamps"):
        store = open_episodes(tmp_path)
    with pytest.raises(EpisodeError, match="174 frames.*up to 1 frames into each other"):
        store[3]


def test_an_episode_that_goes_on_in_the_next_file_is_refused_alone(tmp_path):
    write_v3(tmp_path, lengths=(30, 30, 30), files=(0, 0, 1), begins=(0, 30, 15),
             video=[[*range(45)], [*range(45, 90)]])  # fmt: skip
    store = open_episodes(tmp_path)
    assert numbers_in(store[0].frames) == list(range(30))
    assert numbers_in(store[2].frames) == list(range(60, 90))
    with pytest.raises(EpisodeError, match="episode 1: .*45 frames to 4.400 s.*cut, fetch it"):
        store[1]


def clock(seed: int, *, offset: float = 0.0, jitter: float = 0.0, rate: float = 1.0) -> list:
    """The timestamps of three episodes of 30 rows by a clock of the hardware, in float64."""
    random = np.random.default_rng(seed)
    return [offset + (np.arange(30) + jitter * random.uniform(-1, 1, 30)) / (FPS * rate)
            for _ in range(3)]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "noted"),
    [
        (clock(0, jitter=0.3), False),
        (clock(0, jitter=0.45, offset=0.05), True),
        (clock(0, offset=0.12), True),
        (clock(0, offset=1.7e9), True),
        (clock(0, rate=0.9), True),
        (clock(0, rate=1.3, jitter=0.4, offset=77.0), True),
    ],
)
def test_timestamps_of_a_hardware_clock_do_not_choose_frames(tmp_path, times, noted):
    write_v3(tmp_path, lengths=(30,) * 3, files=(0,) * 3, times=times)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_frames(tmp_path, (30,) * 3)
        assert np.allclose(open_episodes(tmp_path)[1].times, times[1] - times[1][0], atol=1e-6)
    assert len(said) == noted and all("frames are counted" in str(w.message) for w in said)


def write_v21(root: Path, times: np.ndarray, shown: Sequence[int], fps: int = FPS) -> Path:
    """One episode of 30 rows, and the frames of its video."""
    write_info(root, "v2.1", [CAMERA])
    line = {"episode_index": 0, "tasks": ["push"], "length": len(times)}
    (root / "meta" / "episodes.jsonl").write_text(json.dumps(line))
    write_h264(root / f"videos/chunk-000/{CAMERA}/episode_000000.mp4", shown, fps)
    rows = {"timestamp": list(times), "action": [[float(i)] for i in range(len(times))],
            "episode_index": [0] * len(times)}  # fmt: skip
    write_table(root / "data/chunk-000/episode_000000.parquet", rows)
    return root


def test_a_file_for_each_episode_is_counted_too(tmp_path):
    write_v21(tmp_path, clock(0, rate=0.9, jitter=0.3)[0], range(30))
    with pytest.warns(UserWarning, match="episode 0: its times .*frames are counted"):
        assert numbers_in(open_episodes(tmp_path)[0].frames) == list(range(30))


def test_more_frames_than_rows_go_by_their_times(tmp_path):
    write_v21(tmp_path, np.arange(30) / FPS, range(60), fps=2 * FPS)
    assert numbers_in(open_episodes(tmp_path)[0].frames) == list(range(0, 60, 2))


def refused(root: Path, message: str) -> None:
    with pytest.raises(EpisodeError, match=message) as caught:
        open_episodes(root)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("times", "count", "message"),
    [
        (clock(0, rate=1e-3)[0], 30, "timestamps are 100 apart, where fps=10 .* makes it 0.1 s; "
                                     "they look like milliseconds: write seconds"),
        (clock(0, rate=1e-9)[0], 30, "they look like nanoseconds"),
        (clock(0, rate=0.1)[0], 30, "timestamps are 1 apart, .*correct one of the two"),
        (clock(0, offset=1.7e9)[0], 31, "begin at 1700000000, as Unix time does: write seconds"),
        (clock(0, offset=1.7e9)[0].astype(np.float32), 30, "row 1 has 1700000000 s after "
                                                           ".*Unix time needs more digits"),
        (clock(0, offset=5.0)[0], 31, "timestamps begin at 5 s: write seconds since"),
        (np.arange(30) / FPS, 29, "29 frames to 2.800 s.*30 rows in all; the file is cut"),
        (clock(1, jitter=0.4)[0].clip(0), 31, "of its 30 rows: 31 frames.*frames away from the "),
    ],
)  # fmt: skip
def test_wrong_times_are_named_with_what_they_look_like(tmp_path, times, count, message):
    write_v21(tmp_path, times, range(count))
    refused(tmp_path, f"episode 0: .*{message}")


def rename_actions(root: Path, *names: str) -> None:
    """Give the actions other names, each a column of its own."""
    info = json.loads((root / "meta/info.json").read_text())
    about = info["features"].pop("action")
    info["features"] |= {name: about for name in names}
    (root / "meta/info.json").write_text(json.dumps(info))
    place = root / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(place).to_pydict()
    actions = rows.pop("action")
    pq.write_table(pa.table(rows | {name: actions for name in names}), place)


def test_actions_by_the_other_name(tmp_path):
    """As openpi writes them."""
    rename_actions(write_v3(tmp_path), "actions")
    store = open_episodes(tmp_path)
    assert len(store.labelled) == 6 and store.info.action_high == (179.0,)
    assert store[1].actions[:, 0].tolist() == list(range(30, 59)) and not store[1].info
    check_frames(tmp_path, (30,) * 6)


def test_actions_in_several_columns_are_named(tmp_path):
    rename_actions(write_v3(tmp_path), "action.arm", "action.gripper")
    with pytest.warns(UserWarning, match="without actions.*action=: action.arm, action.gripper"):
        open_catalogue(tmp_path)
    store = open_episodes(tmp_path)
    assert not len(store.labelled) and set(store[0].info) == {"action.arm", "action.gripper"}
    assert open_episodes(tmp_path, action="gripper")[0].actions.shape == (29, 1)


def test_two_features_of_one_name_are_both_kept(tmp_path):
    write_v3(tmp_path)
    names = ("observation.state", "state", "observation.a/b", "a_b")
    info = json.loads((tmp_path / "meta/info.json").read_text())
    info["features"] |= {name: {"dtype": "float32", "shape": [1]} for name in names}
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    place = tmp_path / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(place).to_pydict()
    rows |= {name: [float(number)] * 180 for number, name in enumerate(names)}
    pq.write_table(pa.table(rows), place)
    found = open_episodes(tmp_path)[0].info
    assert {name: float(values[0]) for name, values in found.items()} == {
        "observation.state": 0.0, "state": 1.0, "observation.a_b": 2.0, "a_b": 3.0,
    }  # fmt: skip
