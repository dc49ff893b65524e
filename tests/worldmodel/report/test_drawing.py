"""Charts and images: what is drawn stands where the numbers say."""

import re

import numpy as np
import pytest

from tests.fake_run import AGENT, SIZE, draw
from worldmodel.report import charts
from worldmodel.report.charts import Curve, Frame, line_chart
from worldmodel.report.images import background, difference, episode_images, strip
from worldmodel.report.run_folder import Examples
from worldmodel.report.thresholds import Threshold


def points(svg: str) -> list[tuple[float, float]]:
    path = re.search(r' d="([^"]*)"', svg)
    assert path is not None
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path[1])]


def test_a_straight_line_is_drawn_straight_from_edge_to_edge() -> None:
    frame = Frame(width=400, height=200, left=50, right=10)
    drawn = points(line_chart({"a": Curve([0, 1, 2], [0, 5, 10])}, frame))
    assert [x for x, _ in drawn] == [50, 220, 390]
    heights = [y for _, y in drawn]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert heights[0] > heights[2]  # up is more


def test_on_a_log_axis_equal_ratios_are_equal_distances() -> None:
    svg = line_chart({"a": Curve([0, 1, 2], [0.01, 1, 100])}, Frame(log_y=True))
    a, b, c = (y for _, y in points(svg))
    assert a - b == pytest.approx(b - c, abs=0.2)


def test_a_number_that_is_not_there_is_a_gap() -> None:
    svg = line_chart({"a": Curve([0, 1, 2, 3], [1, float("nan"), 2, 3])}, Frame())
    assert re.search(r' d="M[\d. ]+M[\d. ]+L[\d. ]+"', svg)
    assert "nothing to draw" in line_chart({"a": Curve([0], [float("nan")])}, Frame())


def test_names_are_not_markup() -> None:
    assert "<title>&lt;b&gt;</title>" in line_chart({"<b>": Curve([0, 1], [0, 1])}, Frame())


def test_long_curves_are_thinned_and_keep_their_mean() -> None:
    many = Curve(list(range(10_000)), [1.0, 3.0] * 5000)
    thin = charts._thin(many)
    assert len(thin.x) <= 400
    assert sum(thin.y) / len(thin.y) == pytest.approx(2)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.97, 0.99), (-3, 5), (2e5, 9e5), (4, 4)])
def test_ticks_are_few_and_hold_the_range(low: float, high: float) -> None:
    ticks = charts._ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low and ticks[-1] >= high


def test_intervals_stay_on_the_axis() -> None:
    svg = charts.interval(1.0, 0.9, 1.2, baseline=-0.3, threshold=Threshold(0.95))
    places = [float(x) for x in re.findall(r'(?:cx|x1|x2)="([\d.]+)"', svg)]
    assert min(places) >= 4 and max(places) <= 156


def test_the_background_has_no_agent_and_the_goal_is_where_it_differs() -> None:
    frames = np.stack([draw(x, 0.6) for x in np.linspace(-0.8, 0.8, 20)])
    still = background([frames])
    assert (still == draw(0, 0, agent=None)).all()
    mask = difference(draw(-0.5, -0.5), still)
    assert mask is not None
    rows, columns = np.nonzero(mask)
    assert rows.mean() / SIZE * 2 - 1 == pytest.approx(0.5, abs=0.04)
    assert columns.mean() / SIZE * 2 - 1 == pytest.approx(-0.5, abs=0.04)
    assert difference(255 - still, still) is None  # all over the image: not one thing
    assert difference(still, still) is None


def test_goal_and_violation_are_drawn_and_the_frames_are_not_touched() -> None:
    frames = np.stack([draw(-0.5, 0.5), draw(-0.4, 0.5)])
    before = frames.copy()
    images = episode_images(
        frames, draw(0, 0, agent=None), goal=draw(0.5, -0.5), violated=np.array([False, True])
    )
    assert (frames == before).all()
    plain, marked = (np.asarray(image) for image in images)
    assert tuple(marked[1, 128]) == (222, 58, 46) and tuple(plain[1, 128]) != (222, 58, 46)
    ring = (plain == (46, 178, 112)).all(axis=-1)
    rows, columns = np.nonzero(ring)
    assert columns.mean() / 256 * 2 - 1 == pytest.approx(0.5, abs=0.05)
    assert rows.mean() / 256 * 2 - 1 == pytest.approx(0.5, abs=0.05)
    assert tuple(plain[64, 64]) == pytest.approx(AGENT, abs=12)


def test_a_goal_that_is_no_disc_is_drawn_by_its_outline_and_leaves_no_trail() -> None:
    still = np.full((64, 64, 3), 120, np.uint8)

    def bar(row: int) -> np.ndarray:
        image = still.copy()
        image[row : row + 4, 8:56] = 10
        return image

    frames = np.stack([bar(10), bar(14), bar(18)])
    images = episode_images(frames, still, goal=bar(44), violated=np.zeros(3, bool))
    last = np.asarray(images[-1])
    rows, columns = np.nonzero((last == (46, 178, 112)).all(axis=-1))
    assert (rows.min(), rows.max()) == pytest.approx((44 * 4, 48 * 4 - 1), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((8 * 4, 56 * 4 - 1), abs=2)
    inside = last[44 * 4 + 7, 8 * 4 + 20 : 56 * 4 - 20]
    assert not (inside == (46, 178, 112)).all(axis=-1).any()
    assert not (last == (30, 36, 48)).all(axis=-1).any()  # no trail


def test_a_strip_has_its_frames_in_order() -> None:
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 200)])
    sheet = np.asarray(strip(frames, gap=2))
    assert sheet.shape == (8, 18, 4)
    assert sheet[0, 0, 0] == 10 and sheet[0, 10, 0] == 200 and sheet[0, 8, 3] == 0


@pytest.mark.parametrize(("t", "s", "expected"), [(16, 7, 3), (6, 2, 3), (4, 1, 3), (8, 7, 1)])
def test_scores_stand_under_the_last_frame_of_what_they_are_about(
    t: int, s: int, expected: int
) -> None:
    examples = Examples(
        np.zeros((2, t, 4, 4, 3), np.uint8), np.zeros((2, s)), np.zeros(1), ("a",), None
    )
    assert examples.score_frames[0] == expected
    assert examples.score_frames[-1] == t - 1
    assert len(examples.score_frames) == s
