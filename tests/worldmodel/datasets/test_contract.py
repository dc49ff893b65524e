"""What every format owes: the same questions to each, on a small data set made for it."""

import json
import pickle

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.worldmodel.datasets.layouts import CAMERA, LAYOUTS, images_of, write_table
from worldmodel.datasets import find_format, formats, open_catalogue
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.loading.clip_reader import Opened
from worldmodel.video.decoding import Decoding

EACH = pytest.mark.parametrize("name", list(LAYOUTS))


@EACH
def test_it_is_recognised_and_counted(make_layout, name):
    made = make_layout(name)
    assert find_format(made.path, **made.options).name == made.format
    catalogue = open_catalogue(made.path, **made.options)
    assert isinstance(catalogue, Catalogue)
    assert len(catalogue) == made.count and catalogue.name
    insisted = open_catalogue(made.path, format=made.format, **made.options)
    assert [i.name for i in insisted] == [i.name for i in catalogue]


@EACH
def test_order_is_stable_and_names_are_unique(make_layout, name):
    made = make_layout(name)
    first, again = (open_catalogue(made.path, **made.options) for _ in range(2))
    names = [item.name for item in first]
    assert names == [item.name for item in again]
    assert len(set(names)) == len(names)
    assert all(n.isprintable() for n in names)
    assert first[-1].name == names[-1] and [i.name for i in first[1:]] == names[1:]
    with pytest.raises(IndexError):
        first[made.count]


@EACH
def test_labels_are_the_classes(make_layout, name):
    made = make_layout(name)
    catalogue = open_catalogue(made.path, **made.options)
    labels = [item.label for item in catalogue]
    assert labels == (made.labels or [None] * made.count)
    if catalogue.classes:
        assert all(0 <= label < len(catalogue.classes) for label in labels if label is not None)


@EACH
def test_items_travel_and_open(make_layout, name):
    made = make_layout(name)
    for item in open_catalogue(made.path, **made.options):
        assert isinstance(item, Item)
        copy = pickle.loads(pickle.dumps(item))
        assert (copy.name, copy.key, copy.label, copy.window) == (
            item.name, item.key, item.label, item.window,
        )  # fmt: skip
        assert len(pickle.dumps(item)) < 1000
        source = copy.open(Decoding(short_side=16))
        numbers = np.array([0, source.num_frames - 1])
        frames = source.read(numbers)
        assert frames.dtype == torch.uint8 and min(frames.shape[2:]) == 16
        assert frames.shape[:2] == (2, 3)
        times = source.times(np.arange(source.num_frames))
        assert times[0] == 0 and (np.diff(times) > 0).all()
        if item.window is not None:
            begin, end = item.window
            assert 0 <= begin < end <= times[-1] + 1
        source.close()


# One data set opened in two ways; an option that changes nothing in what is read may stand once.
WAYS = {
    "hdf5_groups": [{}, {"fps": 5}, {"camera": "agentview_image"}, {"split": "train"}],
    "hdf5_two_cameras": [{"camera": "left"}, {"camera": "right"}],
    "lerobot_v3": [{}, {"camera": "top"}],
    "lerobot_two_cameras": [{"camera": "top"}, {"camera": "side"}],
    "dino_wm_videos": [{}, {"fps": 5}, {"action": "abs_actions"}],
    "dino_wm_tensors": [{}, {"fps": 5}],
    "minari": [{}, {"camera": "image"}, {"fps": 5}],
    "act": [{}, {"fps": 5}, {"action": "qpos"}],
    "act_jpeg": [{}, {"jpeg": "rgb"}],
    "act_two_cameras": [{"camera": "left"}, {"camera": "right"}],
    "diffusion_policy": [{}, {"fps": 5}, {"action": "state"}],
    "shards": [{"video": "mp4", "on_bad": "skip"}, {"video": "left.mp4", "on_bad": "skip"}],
    "moving_mnist": [{}, {"split": "train"}, {"split": "test"}, {"fps": 5}],
}


def two_cameras(made_of, name):
    """A layout with frames of a second camera that are lighter."""
    if name == "hdf5_two_cameras":
        path = made_of("hdf5_groups").path
        with h5py.File(path, "a") as file:
            for demo in file["data"].values():
                demo["obs/left"] = demo["obs/agentview_image"][()]
                demo["obs/right"] = demo["obs/agentview_image"][()] + 40
                del demo["obs/agentview_image"], demo["next_obs"]
        return path
    if name == "act_two_cameras":
        path = made_of("act").path
        for place in path.glob("*.hdf5"):
            with h5py.File(place, "a") as file:
                images = file["observations/images"]
                images["left"], images["right"] = images["top"][()], images["top"][()] + 40
        return path
    path = made_of("lerobot_v21_images").path
    about = json.loads((path / "meta/info.json").read_text())
    about["features"]["observation.images.side"] = about["features"][CAMERA]
    (path / "meta/info.json").write_text(json.dumps(about))
    for number, file in enumerate(sorted(path.rglob("*.parquet"))):
        rows = pq.read_table(file).to_pydict()
        lighter = images_of((number + 1) % 3)
        rows["observation.images.side"] = [lighter[0]] * len(rows["index"])
        write_table(file, rows)
    return path


@pytest.mark.parametrize("name", [*LAYOUTS, *(name for name in WAYS if name not in LAYOUTS)])
def test_what_shares_a_reader_is_the_same_frames_at_the_same_times(make_layout, name):
    """However a data set is opened: a process keeps one reader for all items that open the same."""
    if name in LAYOUTS:
        made = make_layout(name)
        path, ways = made.path, WAYS.get(name, [made.options])
    else:
        path, ways = two_cameras(make_layout, name), WAYS[name]
    opened = Opened(Decoding(), most=1000)
    for options in ways:
        for item in open_catalogue(path, **options):
            shared, own = opened.get(item), item.open(Decoding())
            assert np.array_equal(shared.times, own.times(np.arange(own.num_frames)))
            ends = np.array([0, own.num_frames - 1])
            assert torch.equal(shared.source.read(ends), own.read(ends))
            own.close()
    opened.close()


@EACH
def test_wrong_options_are_refused_in_one_line(make_layout, name):
    made = make_layout(name)
    with pytest.raises(ConfigError, match="has no option 'colour'") as caught:
        open_catalogue(made.path, colour=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", list(formats()))
@pytest.mark.parametrize("what", ["missing", "empty", "text", "zeros", "fifo", "loop", "void"])
def test_what_it_is_not_is_one_line_with_its_name(tmp_path, format, what):
    """Every format is made to open what cannot be one: an error that names it, at once."""
    import os

    place = tmp_path / "place.bin"
    if what == "fifo":
        os.mkfifo(place)
    elif what == "loop":
        place.symlink_to(place)
    elif what == "void":
        place.mkdir()
    elif what != "missing":
        place.write_bytes({"empty": b"", "text": b"words\n" * 50, "zeros": bytes(5000)}[what])
    with pytest.raises(WorldModelError, match="place.bin") as caught:
        catalogue = open_catalogue(place, format=format)
        catalogue[0].open(Decoding())
    assert "\n" not in str(caught.value)


def test_every_format_has_a_layout(make_layout):
    assert {make_layout(name).format for name in LAYOUTS} == set(formats())


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        open_catalogue(tmp_path, format="foldr")
    with pytest.raises(WorldModelError, match="nothing; check the path"):
        open_catalogue(tmp_path / "nowhere")
