"""The verb `select`: rank trainings on video without labels, by three scores side by side."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Generator, Tensor

from worldmodel.errors import ConfigError, RunError, nearest
from worldmodel.evaluation.label_free import (
    ALPHA,
    lambda_of,
    lidar,
    loss_over_lambda,
    mean_tokens,
    rankme,
    spearman,
    views,
)
from worldmodel.interop.load import load
from worldmodel.loading.in_memory import Clips
from worldmodel.loading.sources import ClipSource, EpisodeVideos, VideoFiles, VideoMixture
from worldmodel.runs.run import read_log, read_metrics
from worldmodel.storage.files import whole_file
from worldmodel.video.arguments import counted

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

By = Literal["loss", "rankme", "lidar"]
MEANING = {
    "loss": "training loss over lambda to the power alpha (LeJEPA, arXiv:2511.08544, eq. 8), low",
    "rankme": "effective rank of the mean tokens of time steps (RankMe, arXiv:2210.02885), high",
    "lidar": "rank of what tells clips apart, half of each hidden (LiDAR, arXiv:2312.04000), high",
}
_SOURCES = {of.__name__: of for of in (VideoFiles, VideoMixture, EpisodeVideos)}
# These differ between runs that can be compared: they are what is chosen.
_CHOSEN = ("masks", "momentum", "regulariser")
_LAST = 0.1  # share of a log whose mean is the training loss
_BATCH = 32
_DEPTH = 3  # runs below a folder that is named: runs/pretrain/NAME
_CLIP_SEED = 1_000_000  # clips are drawn by another seed than those of trainings


@dataclass
class Candidate:
    """A finished pretraining, and what is found of it."""

    name: str
    folder: Path
    settings: dict[str, Any]
    loss: float  # logged, the mean of the last tenth
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float | None:
        """Of SIGReg; None where there is none."""
        regulariser = self.settings["objective"].get("regulariser") or {}
        is_sigreg = str(regulariser.get("_target_", "")).endswith(".SIGReg")
        return float(regulariser["weight"]) if is_sigreg else None

    @property
    def data(self) -> str:
        """What it was trained on, in words that are equal where that is."""
        kept = {k: self.settings.get(k) for k in ("data", "num_frames", "transforms")}
        return json.dumps(kept, sort_keys=True)

    @property
    def objective(self) -> str:
        """What it minimised, but for what is chosen by comparing."""
        given = self.settings["objective"]
        kept = {
            name: value
            for name, value in given.items()
            if name not in _CHOSEN and not name.startswith("predictor_")
        }
        kept["regulariser"] = (given.get("regulariser") or {}).get("_target_")
        return json.dumps(kept, sort_keys=True)


def select(
    run: "Run", *, runs: Sequence[str], by: By = "loss", alpha: float = ALPHA,
    held_out: str | None = None, clips: int = 256, num_views: int = 8, seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Rank pretrainings without labels: by loss over lambda to the power alpha, RankMe and LiDAR.

    Prints one table and writes `select.json`. Only runs on the same data with the same objective
    are compared, and the most that are; the others are named in a line. Clips are the same for all.

    Args:
        run: where `select.json` goes.
        runs: folders of runs, or folders that hold some.
        by: which score decides the order: loss, rankme or lidar.
        alpha: power of lambda; 0 is the loss alone.
        held_out: videos that RankMe and LiDAR look at; null draws clips anew from those that the
            runs were trained on, which flatters what has learned them by heart.
        clips: how many; several times the width of tokens is best.
        num_views: of each clip, for LiDAR.
        seed: of clips and views.
        device: where to compute.

    Returns:
        `runs`, `left_out`, and how far the scores agree: `spearman.loss.rankme`, ...

    Raises:
        RunError: there are not two runs that can be compared, or one is damaged.
        ConfigError: no such score, or too few clips.
    """
    if by not in get_args(By):
        raise ConfigError(f"by={by}: {nearest(str(by), get_args(By))}")
    if clips < 2 or num_views < 2:
        raise ConfigError(f"clips and num_views must be at least 2, got {clips} and {num_views}")
    found, reasons = _find(runs)
    chosen, others = comparable(found)
    reasons += others
    for reason in reasons:
        run.say(f"left out: {reason}")
    if held_out is None:
        run.say("clips are drawn anew from the videos of the trainings; name others by held_out=")
    source = _source(chosen[0], held_out)
    opened: dict[tuple[int, int], Clips] = {}
    try:
        with run.progress(len(chosen), "select") as bar:
            for candidate in chosen:
                _score(candidate, source, opened, alpha=alpha, clips=clips, num_views=num_views,
                       seed=seed, device=device)  # fmt: skip
                bar.advance()
    finally:
        for data in opened.values():
            data.close()
    ordered = sorted(chosen, key=lambda candidate: _sort_key(candidate, by))
    _write(run.folder / "select.json", ordered, reasons, by=by, alpha=alpha)
    for line in table(ordered, by).splitlines():
        run.say(line)
    return {"runs": len(ordered), "left_out": len(found) - len(ordered), **_agreement(ordered)}


def _score(
    candidate: Candidate, source: ClipSource, opened: dict[tuple[int, int], Clips], *,
    alpha: float, clips: int, num_views: int, seed: int, device: str,
) -> None:  # fmt: skip
    """Fill in the scores of a run."""
    model = load(candidate.folder, device=device)
    num_frames = int(candidate.settings["num_frames"])
    key = (model.size, num_frames)
    if key not in opened:
        opened[key] = source.open(size=key[0], num_frames=num_frames, progress=lambda *_: None)
    generator = Generator().manual_seed(seed)
    steps, seen = [], []
    for frames in _batches(opened[key], clips, seed=seed):
        frames = frames.to(device)
        steps.append(mean_tokens(model.encoder, frames))
        seen.append(views(model.encoder, frames, count=num_views, generator=generator))
    weight, batch = candidate.weight, int(candidate.settings["batch"])
    candidate.scores = {
        "train_loss": candidate.loss,
        "lambda": math.nan if weight is None else lambda_of(weight, batch),
        "loss": loss_over_lambda(candidate.loss, weight=weight, batch=batch, alpha=alpha),
        "rankme": rankme(torch.cat(steps).flatten(0, 1)),
        "lidar": lidar(torch.cat(seen)),
    }


def _batches(data: Clips, clips: int, *, seed: int) -> Iterator[Tensor]:
    """Frames b t c h w of so many clips, a batch at a time; the same for every run."""
    for step in range(-(-clips // _BATCH)):
        frames = data.sample(step, _BATCH, seed=_CLIP_SEED + seed).frames
        yield frames[: clips - step * _BATCH]


def _source(candidate: Candidate, held_out: str | None) -> ClipSource:
    """Where clips come from: each of another video, none mirrored."""
    if held_out is not None:
        return VideoFiles(path=held_out, flip=False, clips_per_video=1)
    given = dict(candidate.settings["data"])
    kind = _SOURCES.get(str(given.pop("_target_", "")).rpartition(".")[2])
    try:
        if kind is None:
            raise ValueError("its kind of data is not known")
        source = kind(**given)
        if isinstance(source, EpisodeVideos):
            return replace(source, clips_per_video=1, rest_fraction=0.0)
        return replace(source, clips_per_video=1, flip=False)
    except (TypeError, ValueError) as cause:
        raise RunError(
            f"{candidate.folder}: its data cannot be opened again ({cause}); name videos by "
            "held_out="
        ) from cause


def _find(named: Sequence[str]) -> tuple[list[Candidate], list[str]]:
    """The finished pretrainings in the folders that are named, and why others are not taken."""
    files = [name for name in named if Path(name).is_file()]  # runs/* names those too
    below = [path for name in named if name not in files for path in _runs_below(Path(name))]
    folders = list(dict.fromkeys(below))
    found, unfinished, verbs = [], [], []
    for folder in folders:
        settings = _settings(folder)
        if settings["verb"] != "pretrain":
            verbs.append(str(settings["verb"]))
        elif not (folder / "metrics.json").is_file():
            unfinished.append(folder.name)
        else:
            found.append(_candidate(folder, settings))
    names = [candidate.name for candidate in found]
    for candidate in found:
        if names.count(candidate.name) > 1:
            candidate.name = str(candidate.folder)
    reasons = []
    if files:
        reasons.append(f"{counted(len(files), 'file')} among the folders ({_few(files)})")
    if verbs:
        several = ", ".join(sorted(set(verbs)))
        reasons.append(f"{counted(len(verbs), 'run')} of other verbs than pretrain ({several})")
    if unfinished:
        reasons.append(f"{counted(len(unfinished), 'run')} not finished ({_few(unfinished)})")
    if not found:
        raise RunError(
            f"{' '.join(named) or 'runs='}: no finished pretraining among "
            f"{counted(len(folders), 'run')}; name runs, as in worldmodel select runs/pretrain/*"
        )
    return found, reasons


def _runs_below(path: Path) -> list[Path]:
    """The folder, if it is a run's, or the runs in it."""
    if not path.is_dir():
        raise RunError(f"{path}: there is no such folder; name folders of runs")
    if (path / "config.yaml").is_file():
        return [path]
    below: list[Path] = []
    for depth in range(1, _DEPTH + 1):
        below += [at.parent for at in sorted(path.glob("/".join(["*"] * depth + ["config.yaml"])))]
    return below


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        if not isinstance(settings["verb"], str):
            raise TypeError("its verb is no text")
        return settings
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as cause:
        raise RunError(
            f"{folder / 'config.yaml'}: is not the settings of a run; leave that folder out"
        ) from cause


def _candidate(folder: Path, settings: dict[str, Any]) -> Candidate:
    read_metrics(folder)  # says what is wrong with it
    losses = [line["loss"] for line in read_log(folder) if "loss" in line]
    if not losses or not {"data", "objective", "batch", "num_frames"} <= settings.keys():
        raise RunError(f"{folder}: its log has no loss, or its settings no data; leave it out")
    last = losses[-max(round(len(losses) * _LAST), 1) :]
    return Candidate(folder.name, folder, settings, sum(last) / len(last))


def comparable(found: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """The most runs that share data and objective, and a line on those that do not.

    Raises:
        RunError: there are not two.
    """
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in found:
        groups.setdefault((candidate.data, candidate.objective), []).append(candidate)
    key, chosen = max(groups.items(), key=lambda group: len(group[1]))
    reasons = []
    data = [c.name for c in found if c.data != key[0]]
    objective = [c.name for c in found if c.data == key[0] and c.objective != key[1]]
    for names, what in ((data, "trained on other data"), (objective, "with another objective")):
        if names:
            reasons.append(f"{counted(len(names), 'run')} {what} ({_few(names)})")
    if len(found) < 2:
        raise RunError(f"{found[0].name} alone cannot be ranked; name two runs or more")
    if len(chosen) < 2:
        raise RunError(
            f"no two of {counted(len(found), 'run')} can be compared: they differ in data, "
            "num_frames, transforms or objective; name runs of one sweep"
        )
    return chosen, reasons


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _sort_key(candidate: Candidate, by: By) -> float:
    """Low is good; what is not finite comes last."""
    value = candidate.scores[by]
    return math.inf if math.isnan(value) else value if by == "loss" else -value


def _agreement(ordered: Sequence[Candidate]) -> dict[str, float]:
    """Spearman's correlation of each two scores, with the sign that makes agreement positive."""
    columns = {by: [-_sort_key(candidate, by) for candidate in ordered] for by in get_args(By)}
    pairs = (("loss", "rankme"), ("loss", "lidar"), ("rankme", "lidar"))
    return {f"spearman.{a}.{b}": spearman(columns[a], columns[b]) for a, b in pairs}


def table(ordered: Sequence[Candidate], by: By) -> str:
    """The runs in their order, with what each column is below."""
    shown = Table(box=None, pad_edge=False)
    names = {"loss": "loss/λ^α", "rankme": "RankMe", "lidar": "LiDAR"}
    for name in ("", "run", "loss", "λ", *names.values()):
        shown.add_column(name, justify="left" if name == "run" else "right")
    for place, candidate in enumerate(ordered, start=1):
        scores = candidate.scores
        cells = [scores[name] for name in ("train_loss", "lambda", *names)]
        words = ["–" if math.isnan(value) else f"{value:.4g}" for value in cells]
        shown.add_row(str(place), candidate.name, *words)
    text = StringIO()
    width = max(len(candidate.name) for candidate in ordered) + 60
    Console(file=text, width=width).print(shown)
    lines = [f"{names[name]}: {words} is good" for name, words in MEANING.items()]
    return "\n".join([text.getvalue().rstrip(), *lines, f"ordered by {names[by]}"])


def _write(
    path: Path, ordered: Sequence[Candidate], left_out: Sequence[str], *, by: By, alpha: float
) -> None:
    """All of it as JSON; a number that does not exist is null."""
    rows: list[Mapping[str, Any]] = [
        {
            "place": place, "run": os.fspath(candidate.folder),
            **{k: None if math.isnan(v) else v for k, v in candidate.scores.items()},
        }
        for place, candidate in enumerate(ordered, start=1)
    ]  # fmt: skip
    content = {"by": by, "alpha": alpha, "scores": MEANING, "left_out": left_out, "runs": rows}
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
