"""The page's pictures of a pretraining: pixels with known answers, and a page for every case."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.worldmodel.report.test_page import Tags
from worldmodel.errors import RunError
from worldmodel.objectives.masks import PREDICTED, SEEN, UNUSED
from worldmodel.report import build
from worldmodel.report.seeing import colours_of, enlarged, heat, masked, on_frame
from worldmodel.runs.run import Run
from worldmodel.training.seen import FILE


def arrays(**changed: np.ndarray | None) -> dict[str, np.ndarray]:
    """Two clips of three time steps with a grid of two by two."""
    random = np.random.default_rng(0)
    made: dict[str, np.ndarray | None] = {
        "frames": random.integers(0, 256, (2, 3, 16, 16, 3), np.uint8),
        "steps": np.arange(3),
        "components": random.normal(size=(2, 3, 2, 2, 3)).astype(np.float32),
        "parts": np.tile(np.array([SEEN, PREDICTED, UNUSED, SEEN], np.int8).reshape(2, 2),
                         (2, 3, 1, 1)),
        "error": np.full((2, 3, 2, 2), 0.25, np.float32),
        "copying": np.full((2, 3, 2, 2), 0.5, np.float32),
        "images": random.integers(0, 256, (3, 16, 16, 3), np.uint8),
        "neighbours": np.array([[0, 1], [2, 0]]),
        "cosines": np.array([[0.875], [-0.125]], np.float32),
    } | changed  # fmt: skip
    return {name: array for name, array in made.items() if array is not None}


def page_of(folder: Path, tensors: dict[str, np.ndarray], **names: list[str]) -> str:
    run = Run.open(folder, verb="pretrain", config={}, seed=0)
    names = {"videos": ["a/b <i>.mp4", "c.mp4"], "masks": ["tubes", "future"], **names}
    save_file(tensors, run.folder / FILE, {k: json.dumps(v) for k, v in names.items()})
    run.finish({})
    page = build(run.folder).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == [] and all(source.startswith("data:image/") for source in tags.sources)
    return page


def rows_of(page: str) -> list[str]:
    """The labels of the first clip's rows."""
    return re.findall(r'<div class="row"><span>(\w+)<', page.split("<figcaption>")[0])


def test_the_page_shows_what_was_kept(tmp_path: Path) -> None:
    page = page_of(tmp_path / "r", arrays())
    assert rows_of(page) == ["frames", "masked", "tokens", "copying", "predicting"]
    assert "b &lt;i&gt;.mp4 · mask: tubes, 50% hidden" in page and "mask: future" in page
    assert "prediction errs by 0.250 and copying by 0.500" in page
    assert "<figcaption>0.88</figcaption>" in page and "<figcaption>-0.12</figcaption>" in page
    found = re.search(r'alt="frames" src="data:image/webp;base64,([^"]+)', page)
    assert found is not None
    assert Image.open(io.BytesIO(base64.b64decode(found[1]))).size == (3 * 128 + 2 * 4, 128)


def test_what_a_model_has_not_is_left_out(tmp_path: Path) -> None:
    nothing = {"parts": None, "error": None, "copying": None, "images": None, "neighbours": None,
               "cosines": None}  # fmt: skip
    page = page_of(tmp_path / "r", arrays(**nothing), masks=[])
    assert rows_of(page) == ["frames", "tokens"]
    assert "mask" not in page.split("<h2>Seeing</h2>")[1].split("<h2>")[0]
    assert "it takes two of these or more" in page and 'class="scale"' not in page


def test_errors_of_states_are_bars_and_those_beyond_the_scale_have_numbers(tmp_path: Path) -> None:
    error = np.full((2, 3, 1, 1), 0.1, np.float32)
    error[:, 0], error[1, 2] = np.nan, 7.5
    page = page_of(tmp_path / "r", arrays(error=error, copying=error))
    assert rows_of(page) == ["frames", "masked", "tokens", "error"]
    assert page.count("<title>predicting: 0.100</title>") == 3
    assert page.count("<title>copying: 7.500</title>") == 1 and page.count(">7.5</text>") == 2
    assert "NaN" not in page and "nan" not in page


def test_errors_that_are_all_unknown_or_zero_are_left_out(tmp_path: Path) -> None:
    for name, value in (("unknown", np.nan), ("zero", 0.0)):
        flat = np.full((2, 3, 2, 2), value, np.float32)
        page = page_of(tmp_path / name, arrays(error=flat, copying=flat))
        assert rows_of(page) == ["frames", "masked", "tokens"]


def test_several_pretrainings_fold(tmp_path: Path) -> None:
    top = Run.open(tmp_path / "q", verb="quickstart", config={}, seed=0)
    for name in ("one", "two"):
        page_of(tmp_path / "q" / "pretrain" / name, arrays())
    top.finish({})
    page = build(tmp_path / "q").read_text(encoding="utf-8")
    assert page.count("<h2>Seeing</h2>") == 1
    assert "<details open><summary>pretrain/one</summary>" in page
    assert "<details><summary>pretrain/two</summary>" in page


def test_a_name_that_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    assert "?.mp4" in page_of(tmp_path / "r", arrays(), videos=["\udcff.mp4", "b.mp4"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    page_of(tmp_path / "r", arrays())
    (tmp_path / "r" / FILE).write_bytes(b"xx")
    with pytest.raises(RunError, match=r"seen\.safetensors: cannot be read"):
        build(tmp_path / "r")
    save_file({"frames": np.zeros(1)}, tmp_path / "r" / FILE)
    with pytest.raises(RunError, match="components are missing"):
        build(tmp_path / "r")


def test_what_is_seen_stays_and_what_is_hidden_is_dimmed() -> None:
    frames = np.full((1, 32, 32, 3), 90, np.uint8)
    drawn = masked(frames, np.array([[[SEEN, PREDICTED], [UNUSED, SEEN]]], np.int8))
    assert (drawn[0, :16, :16] == (90, 90, 90, 255)).all()
    assert (drawn[0, 16:, 16:] == (90, 90, 90, 255)).all()
    hatched = drawn[0, :16, 16:, :3] != 90
    assert 0.05 < hatched.any(axis=-1).mean() < 0.3
    assert (drawn[0, :16, 16:][~hatched.any(axis=-1)][:, 3] < 60).all()
    assert (drawn[0, 16:, :16, :3] == 90).all() and (drawn[0, 16:, :16, 3] < 20).all()


@pytest.mark.parametrize(("side", "cells"), [(16, 3), (7, 7), (5, 2), (2, 4)])
def test_tokens_lie_over_their_part_of_the_frame(side: int, cells: int) -> None:
    values = np.arange(cells * cells).reshape(1, cells, cells)
    drawn = on_frame(values, (side, side))
    nearest = [int((i + 0.5) * cells / side) for i in range(side)]
    assert (drawn == [[[cells * row + column for column in nearest] for row in nearest]]).all()


def test_colours_fill_the_range_and_equal_tokens_are_grey() -> None:
    components = np.stack([np.linspace(-3, 5, 400), np.linspace(1, 0, 400), np.full(400, 2.0)], -1)
    colours = colours_of(components)
    assert colours[0].tolist() == [0, 255, 128] and colours[-1].tolist() == [255, 0, 128]
    assert (np.diff(colours[:, 0].astype(int)) >= 0).all()


def test_heat_is_lighter_for_larger_errors_and_faint_for_none() -> None:
    frames = np.full((1, 8, 8, 3), 100, np.uint8)
    drawn = heat(frames, np.array([[[0.0, 0.5], [2.0, np.nan]]]), 1.0)
    low, middle, high, none = drawn[0, 0, 0], drawn[0, 0, 7], drawn[0, 7, 0], drawn[0, 7, 7]
    assert low[:3].sum() < middle[:3].sum() < high[:3].sum()
    assert high[:3].tolist() == [round(0.62 * c + 38) for c in (252, 255, 164)]
    assert low[3] == 255 and none.tolist() == [100, 100, 100, 60]


@pytest.mark.parametrize(("shape", "side"), [((16, 16), 128), ((64, 96), 128), ((200, 150), 150)])
def test_small_frames_are_enlarged_and_large_ones_left(shape: tuple[int, int], side: int) -> None:
    drawn = enlarged(np.zeros((2, *shape, 3), np.uint8))
    assert min(drawn.shape[1:3]) == side and drawn.shape[1] * shape[1] == drawn.shape[2] * shape[0]
