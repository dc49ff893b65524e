"""One image of a run for a document: a planned episode beside the surprise at a violation."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase

from worldmodel.episodes.folder import Episodes
from worldmodel.errors import RunError
from worldmodel.report.acting import goal_image, planned, reached
from worldmodel.report.images import background, episode_images, strip
from worldmodel.report.judging import median_pair
from worldmodel.report.run_folder import Examples, RunRecord, read_examples, read_runs
from worldmodel.storage.files import whole_file

_INK, _POSSIBLE, _IMPOSSIBLE = "#1d2430", "#2f6fab", "#c8553d"
_KIND = "teleport"
_SHOWN = 10  # frames of the strips: the last ones


def draw_story(folder: str | Path, path: str | Path) -> Path:
    """Draw the image of a finished quickstart.

    Args:
        folder: A run that holds a planning run with episodes, the last of which is drawn from, and
            a surprise run with pairs.
        path: Of the PNG.

    Raises:
        RunError: one of the two is missing.
    """
    runs = read_runs(Path(folder))
    plans = planned(runs)
    scored = [read_examples(run) for run in runs if run.verb == "surprise"]
    pairs = [examples for examples in scored if examples is not None and examples.kinds]
    if not plans or not pairs:
        raise RunError(f"{folder}: an image needs a planning run that kept episodes and a "
                       "surprise run with pairs, as a quickstart has")  # fmt: skip
    figure = Figure(figsize=(11, 3.6), dpi=130, layout="constrained")
    halves = figure.subfigures(1, 2, width_ratios=(1, 2.35), squeeze=False)
    assert isinstance(halves, np.ndarray)
    left, right = halves[0]
    _episode(left, plans[-1])
    _surprise(right, pairs[0])
    with whole_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)


def _episode(figure: FigureBase, run: RunRecord) -> None:
    """The last frame of the kept episode with the longest path to its goal, and that path."""
    kept = list(Episodes(run.folder / "episodes"))
    still = background([episode.frames.numpy() for episode in kept])
    episode = max([episode for episode in kept if reached(episode)] or kept, key=len)
    frames = episode.frames.numpy()
    images = episode_images(
        frames,
        still,
        goal=goal_image(episode),
        violated=np.zeros(len(frames), bool),
        size=512,
    )
    axes = figure.subplots()
    axes.imshow(images[-1])
    around = ",\naround the hazard" if "guardrail_examples" in run.results else ""
    title = f"planned: {len(frames) - 1} steps to a goal image{around}"
    axes.set_title(title, fontsize=10, color=_INK)
    axes.axis("off")


def _surprise(figure: FigureBase, examples: Examples) -> None:
    kind = _KIND if _KIND in examples.kinds else examples.kinds[0]
    pair = median_pair(examples, kind)
    t, w = examples.frames.shape[1], examples.frames.shape[3] + 2
    first = max(t - _SHOWN, 0)
    axes = figure.subplots(3, 1, height_ratios=(1, 1, 2), sharex=True)
    names = {"possible": _POSSIBLE, "impossible": _IMPOSSIBLE}
    for index, (name, colour) in enumerate(names.items()):
        frames = examples.frames[2 * pair + index, first:]
        axes[index].imshow(strip(frames), aspect="auto", extent=(0, w * (t - first), 0, w))
        axes[index].set_ylabel(name, rotation=0, ha="right", va="center", color=colour)
        axes[index].set(xticks=[], yticks=[])
        axes[index].spines[:].set_visible(False)
        shown = examples.score_frames >= first
        x = (examples.score_frames[shown] - first + 0.5) * w
        axes[2].plot(x, examples.scores[2 * pair + index][shown], color=colour, marker="o", ms=3)
    axes[2].axvline((examples.step[pair] - first) * w, color=_INK, lw=0.8, ls=":")
    axes[2].set_ylabel("surprise", color=_INK)
    axes[2].set_ylim(bottom=0)
    axes[2].spines[["top", "right"]].set_visible(False)
    axes[2].set_xticks([])
    axes[0].set_title(f"judged: the same drive, with a {kind} and without", fontsize=10, color=_INK)
