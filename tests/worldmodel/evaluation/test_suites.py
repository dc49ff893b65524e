"""The contract of suites, held by each of them, and what is wrong with one said by name."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.worldmodel.evaluation import suite_layouts as made
from tests.worldmodel.evaluation.suite_layouts import EVENT, LENGTH, SUITES, MadeSuite
from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.suites.grasp import Grasp
from worldmodel.evaluation.suites.inflevel import InfLevel
from worldmodel.evaluation.suites.intphys import IntPhys
from worldmodel.evaluation.suites.intphys2 import IntPhys2
from worldmodel.evaluation.suites.matching import matched
from worldmodel.evaluation.suites.reading import show
from worldmodel.video.decoding import Decoding

AS_IT_IS = Decoding()


@pytest.fixture(params=SUITES)
def suite(request, tmp_path) -> MadeSuite:
    return SUITES[request.param](tmp_path)


def shown(clip, *, fps=None, size=made.SIDE, tubelet_frames=2, priming=False, framing="whole"):
    return show(clip, size=size, tubelet_frames=tubelet_frames, fps=fps, priming=priming,
                framing=framing, decoding=AS_IT_IS)  # fmt: skip


def levels(clip, **how):
    """The grey level of each frame that is shown."""
    frames = shown(clip, **how).clip.frames[0]
    return (frames.mean(dim=(1, 2, 3)) * 255).round().int().tolist()


# The contract


def test_clips_are_listed_with_their_labels_and_in_a_fixed_order(suite):
    clips = suite.suite.clips(str(suite.path))
    assert clips == suite.suite.clips(f"{suite.path}/")
    assert sorted(clip.name for clip in clips) == sorted(n for pair in suite.pairs for n in pair)
    assert list(dict.fromkeys(clip.property for clip in clips)) == suite.properties
    assert {clip.fps for clip in clips} == {suite.fps}
    assert len({clip.scene for clip in clips}) > 1 or len(clips) == 4


def test_listing_opens_no_clip(suite):
    names = [clip.name for clip in suite.suite.clips(str(suite.path))]
    for file in [*suite.path.rglob("*.png"), *suite.path.rglob("*.mp4")]:
        file.write_bytes(b"no frame")
    assert [clip.name for clip in suite.suite.clips(str(suite.path))] == names


def test_each_clip_has_the_counterpart_that_it_is_published_with(suite):
    pairs = list(matched(suite.suite.clips(str(suite.path)), AS_IT_IS))
    assert {(pair.possible.name, pair.other.name) for pair in pairs} == suite.pairs
    assert len(pairs) == len(suite.pairs)
    for pair in pairs:
        assert pair.possible.group() == pair.other.group()
        assert pair.possible.possible is True
        assert pair.other.possible is (pair.possible.condition == "control")


def test_pairs_begin_alike_and_then_differ(suite):
    for pair in matched(suite.suite.clips(str(suite.path)), AS_IT_IS):
        a, b = (np.array(levels(clip)) for clip in (pair.possible, pair.other))
        assert len(a) == len(b) == LENGTH
        assert np.abs(a - b)[: EVENT - 1].max() <= 2  # but for compression
        assert np.abs(a - b)[EVENT + 1 :].min() > 5


def test_a_folder_of_something_else_is_refused(suite, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match=r"empty: .*(check|fetch)|(.*csv: no such list of clips)"):
        suite.suite.clips(str(tmp_path / "empty"))
    with pytest.raises(VideoError, match="nowhere: is no folder; say where the suite is"):
        suite.suite.clips(str(tmp_path / "nowhere"))


def test_a_clip_that_is_missing_is_named(suite):
    first = sorted(suite.pairs)[0][1]
    files = [path for path in suite.path.rglob("*") if str(path).endswith(first)]
    assert len(files) == 1
    shutil.rmtree(files[0]) if files[0].is_dir() else files[0].unlink()
    stem = Path(first).stem
    with pytest.raises(VideoError) as error:
        suite.suite.clips(str(suite.path))
    assert stem in str(error.value) or str(Path(first).parent) in str(error.value)


def test_frames_that_do_not_decode_are_named(suite):
    clip = suite.suite.clips(str(suite.path))[0]
    place = Path(clip.read.key)
    file = sorted(place.iterdir())[3] if place.is_dir() else place
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(VideoError, match=file.name):
        shown(clip)


# Reading


def test_a_clip_is_resampled_by_time_and_whole_time_steps_are_shown(tmp_path):
    made.write_scene(tmp_path / "O1/s", {n: (n < "3", made.grey(range(11))) for n in "1234"})
    clip = IntPhys().clips(str(tmp_path))[0]  # 15 frames per second
    assert levels(clip) == list(range(10))
    assert levels(clip, tubelet_frames=3) == list(range(9))
    assert levels(clip, fps=7.5) == [0, 2, 4, 6, 8, 10]
    assert levels(clip, fps=5) == [0, 3, 6, 9]
    seen = shown(clip, fps=5)
    assert seen.clip.times[0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6])
    assert seen.fps == 15 and seen.primed == 0
    with pytest.raises(VideoError, match="too few for fps=30 without showing a frame twice"):
        shown(clip, fps=30)
    with pytest.raises(VideoError, match="has 11 frames to score, fewer than the 12 of a time"):
        shown(clip, tubelet_frames=12)


def test_frames_that_are_not_square_are_squeezed_or_cut(tmp_path):
    frames = np.zeros((4, 16, 32, 3), np.uint8)
    frames[:, :, :4] = 200  # at the left edge
    made.write_scene(tmp_path / "O1/s", {n: (n < "3", frames) for n in "1234"})
    clip = IntPhys().clips(str(tmp_path))[0]
    whole, centre = (shown(clip, framing=how).clip.frames for how in ("whole", "centre"))
    assert whole.shape == centre.shape == (1, 4, 3, 16, 16)
    assert whole[..., 0].min() > 0.7 and centre.max() == 0


def test_a_priming_is_cut_off_or_comes_before(tmp_path):
    suite = made.inflevel(tmp_path)
    clip = suite.suite.clips(str(tmp_path))[0]
    assert clip.start == made.PRIMED
    cut, primed = shown(clip), shown(clip, priming=True)
    assert cut.primed == 0 and primed.primed == made.PRIMED // 2
    assert levels(clip)[0] > 40 > levels(clip, priming=True)[0]
    assert primed.clip.frames.shape[1] == cut.clip.frames.shape[1] + made.PRIMED
    assert cut.clip.times[0, 0] == pytest.approx(made.PRIMED / 10)
    # Of four frames at a time step of three, the first is left out.
    assert shown(clip, priming=True, tubelet_frames=3).clip.times[0, 0] == pytest.approx(0.1)


# IntPhys


def test_of_ties_nothing_is_chosen(tmp_path):
    same = {n: (n < "3", made.grey([50] * 4)) for n in "1234"}
    made.write_scene(tmp_path / "O1/s", same)
    with pytest.raises(VideoError, match="O1/s: cannot be told which .* alike for 8 frames in all"):
        list(matched(IntPhys().clips(str(tmp_path)), AS_IT_IS))


def test_of_a_scene_with_two_clips_no_frame_is_read(tmp_path):
    made.write_scene(tmp_path / "visible_x/s", dict(list(made.quartet().items())[:2]), fps=5)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"no frame")
    (pair,) = matched(IntPhys().clips(str(tmp_path)), AS_IT_IS)
    assert (pair.possible.name, pair.other.name) == ("visible_x/s/1", "visible_x/s/2")


def test_conditions_and_events_are_told_by_names_and_headers(tmp_path):
    made.ours(tmp_path)
    made.write_scene(tmp_path / "O2/0001_O2_test_occluded_static_nobj1", made.quartet())
    clips = {clip.name: clip for clip in IntPhys().clips(str(tmp_path))}
    ours = clips["occluded_permanence/a/2"]
    assert (ours.condition, ours.property) == ("occluded", "permanence")
    assert ours.event == pytest.approx(EVENT / 10)
    assert clips["control_colour/a/1"].event is None
    published = clips["O2/0001_O2_test_occluded_static_nobj1/1"]
    assert (published.condition, published.property) == ("occluded", "shape")


def edit(tmp_path, what):
    """A suite of two scenes, and something done to its first clip."""
    made.intphys(tmp_path)
    clip = tmp_path / "dev/O1/01/1"
    what(clip)
    return IntPhys().clips(str(tmp_path))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda c: shutil.rmtree(c / "scene"), "O1/01/1: has no folder scene"),
        (lambda c: (c / "status.json").unlink(), "O1/01/1/status.json: no such status of a clip"),
        (lambda c: (c / "status.json").write_text("{"), "status.json: is not complete JSON"),
        (lambda c: (c / "status.json").write_text("{}"), "status.json: has no header"),
        (lambda c: made.write_status(c, possible="yes"), "is_possible is 'yes', not true or false"),
        (lambda c: made.write_status(c, possible=False), "O1/01: has 1 possible clip and 3 imposs"),
        (lambda c: made.write_status(c, possible=True, event_frame=-1), "event_frame is -1"),
        (lambda c: made.write_status(c, possible=True, fps=0), "header.fps is 0, not a number"),
        (lambda c: shutil.rmtree(c), "O1/01: holds the clips 2, 3, 4, where a scene has 1, 2"),
        (lambda c: c.rename(c.with_name("one")), "clips are numbered folders, one is none"),
        (lambda c: c.parents[1].rename(c.parents[2] / "O4"), "O4: is no folder of a property"),
        (lambda c: (c.parents[1] / "fps.txt").write_text("many"), "'many' is not a number of fr"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_clip_of_intphys_is_said(tmp_path, what, said):
    with pytest.raises(VideoError, match=said):
        edit(tmp_path, what)


def test_rates_that_are_missing_or_contradict_each_other_are_refused(tmp_path):
    made.write_scene(tmp_path / "visible_x/s", made.quartet())
    with pytest.raises(VideoError, match=r"visible_x/s/1: nothing says how many frames per second"):
        IntPhys().clips(str(tmp_path))
    (tmp_path / "fps.txt").write_text("12")
    assert {clip.fps for clip in IntPhys().clips(str(tmp_path))} == {12}
    made.write_status(tmp_path / "visible_x/s/1", possible=True, fps=10)
    with pytest.raises(VideoError, match=r"has 10 frames per second by its status.json and 12 by"):
        IntPhys().clips(str(tmp_path))


def test_a_split_that_is_not_there_or_has_labels_where_it_has_none(tmp_path):
    made.write_scene(tmp_path / "test/O1/0001", made.quartet(labelled=False))
    with pytest.raises(VideoError, match="has a folder test and none called dev; say suite.split"):
        IntPhys().clips(str(tmp_path))
    clips = IntPhys("test").clips(str(tmp_path))
    assert [clip.name for clip in clips] == [f"O1/0001/{n}" for n in "1234"]
    assert {clip.possible for clip in clips} == {None}
    made.write_status(tmp_path / "test/O1/0001/2", possible=True)
    with pytest.raises(VideoError, match=r"0001/2/status.json: says whether the clip is possible"):
        IntPhys("test").clips(str(tmp_path))


def answer(file):
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["answer.txt"]
        return archive.read("answer.txt").decode()


def test_the_submission_is_in_the_form_of_the_challenge(tmp_path):
    for scene in ("0001", "0002"):
        made.write_scene(tmp_path / "test/O1" / scene, made.quartet(labelled=False))
    suite, out = IntPhys("test"), tmp_path / "out"
    out.mkdir()
    names = [clip.name for clip in suite.clips(str(tmp_path))]
    surprises = {name: float(number) for number, name in enumerate(names)}
    lines = answer(suite.submission(str(tmp_path), surprises, out)).splitlines()
    assert lines[:3] == ["O1/0001/1 1", "O1/0001/2 0.5", f"O1/0001/3 {1 / 3:.17g}"]
    assert len(lines) == 8 and lines[4].startswith("O1/0002/1 ")
    # In the first edition its list has longer names, and its order holds.
    long = [f"O1/{s}_O1_test_visible_static_nobj1/{n}" for s in ("0002", "0001") for n in "4321"]
    (tmp_path / "task.txt").write_text("\n".join(long) + "\n")
    lines = answer(suite.submission(str(tmp_path), surprises, out)).splitlines()
    assert [line.split()[0] for line in lines] == long
    assert float(lines[-1].split()[1]) == 1 and float(lines[0].split()[1]) == 1 / 8
    (tmp_path / "task.txt").write_text("\n".join(long[:-1]))
    with pytest.raises(VideoError, match=r"task.txt: leaves out 1 clips .*: O1/0001/1"):
        suite.submission(str(tmp_path), surprises, out)
    (tmp_path / "task.txt").write_text("O1/0009/1\n")
    with pytest.raises(VideoError, match="task.txt, line 1: O1/0009/1 is not there"):
        suite.submission(str(tmp_path), surprises, out)


def test_suites_with_labels_have_no_submission(tmp_path):
    with pytest.raises(ConfigError, match="Grasp has no form for a submission"):
        Grasp().submission("x", {}, tmp_path)


# The lists of InfLevel and IntPhys 2


def rewrite(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",possible", ",impossible", "pair 0: has 0 possible clips and 2 impossible"),
        (",possible", ",maybe", "line 2: label 'maybe' is neither possible nor impossible"),
        ("gravity/center", "solidity/center", "names solidity/center.* of another folder than gr"),
        ("gravity/center", "gravity/left", "of different scenes"),
        ("vid1_end_priming_2", "x", "gravity.csv: has no column vid1_end_priming_2"),
        (",3,", ",three,", "vid1_end_priming_2 is 'three', not the number of a frame"),
        ("duck__cv", "duck__uv", "line 2: names .*duck__uv.mp4, which is not there"),
        (
            "gravity/center",
            "gravity/../center",
            "line 2: 'gravity/../center.*' leads out of the fol",
        ),
    ],
)
def test_what_is_wrong_with_a_list_of_inflevel_is_said(tmp_path, old, new, said):
    made.inflevel(tmp_path)
    rewrite(tmp_path / "gravity.csv", old, new)
    with pytest.raises(VideoError, match=said):
        InfLevel().clips(str(tmp_path))


def test_lists_of_inflevel_may_lie_elsewhere_and_each_is_wanted(tmp_path):
    suite = made.inflevel(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "gravity.csv").rename(tmp_path / "lists/gravity.csv")
    with pytest.raises(VideoError, match=r"gravity.csv: no such list of clips"):
        suite.suite.clips(str(tmp_path))
    only = InfLevel(str(tmp_path / "lists"), ["gravity"])
    assert {clip.property for clip in only.clips(str(tmp_path))} == {"gravity"}
    with pytest.raises(ConfigError, match="no property 'gravty' of InfLevel: did you mean 'grav"):
        InfLevel(properties=["gravty"])


def test_a_priming_that_is_longer_than_its_video_is_named(tmp_path):
    made.inflevel(tmp_path)
    rewrite(tmp_path / "gravity.csv", ",3,", ",300,")
    clip = next(c for c in InfLevel().clips(str(tmp_path)) if c.start == 301)
    with pytest.raises(VideoError, match="duck__cv.mp4: has 16 frames, and its priming is said"):
        shown(clip)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1_Possible", "1_Impossible", "^0, pair 1: has 0 possible clips and 1 imposs"),
        ("1_Possible", "Possible", "line 2: type is 'Possible', not 1_Possible"),
        ("type", "kind", "metadata.csv: has no column type; its columns are SceneIndex, kind"),
        ("Videos/0_1_Possible", "Videos/gone", "line 2: names .*gone.mp4, which is not there"),
        ("Videos/0_1_Possible", "../x", "line 2: 'Videos/../x.mp4' leads out of the folder"),
        ("permanence", "", "line 2: has no condition"),
    ],
)
def test_what_is_wrong_with_the_list_of_intphys_2_is_said(tmp_path, old, new, said):
    made.intphys2(tmp_path)
    rewrite(tmp_path / "Main/metadata.csv", old, new)
    with pytest.raises(VideoError, match=said):
        IntPhys2().clips(str(tmp_path))


def test_scenes_of_intphys_2_that_were_rendered_again_are_further_pairs(tmp_path):
    made.intphys2(tmp_path)
    file = tmp_path / "Main/metadata.csv"
    header, *rows = file.read_text().splitlines()
    again = [row.replace("Videos/", "") for row in rows[:4]]
    file.write_text("\n".join([header, *rows, *again]))
    clips = IntPhys2().clips(str(tmp_path))
    assert len(list(matched(clips, AS_IT_IS))) == 6
    assert len({(clip.scene, clip.pair) for clip in clips}) == 6


def test_frames_of_intphys_2_need_a_rate(tmp_path):
    made.intphys2_images(tmp_path)
    (tmp_path / "Images/fps.txt").unlink()
    with pytest.raises(VideoError, match="7_1_Possible: nothing says how many frames per second"):
        IntPhys2().clips(str(tmp_path))


def test_a_video_of_grasp_without_its_counterpart_is_named(tmp_path):
    made.grasp(tmp_path)
    shutil.rmtree(tmp_path / "IP_Gravity")
    with pytest.raises(
        VideoError, match=r"Gravity/1, pair 0: has 1 possible clip and 0 imposs.*P_"
    ):
        Grasp().clips(str(tmp_path))


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    made.intphys2(tmp_path)
    file = tmp_path / "Main/metadata.csv"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *rows, *rows]))
    with pytest.raises(VideoError, match=r"0_1_Possible.mp4: is in the suite 2 times"):
        IntPhys2().clips(str(tmp_path))
