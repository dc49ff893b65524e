"""The page's part on acting: looping clips of planned episodes, with goal and violations."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from worldmodel.episodes.episode import Episode
from worldmodel.episodes.folder import Episodes
from worldmodel.report import charts
from worldmodel.report.images import background, episode_images, looping_uri
from worldmodel.report.run_folder import RunRecord

_MOST = 6  # episodes of one run
_FRAME_MS = 90
_HAZARD = "hazard_contact"  # flags a violation, where a run was told nothing else
_LEGEND = (
    "Planned episodes as the agent saw them. Drawn over them are the goal (a green ring or "
    "outline), the path so far (a line), and a red border where a violation was flagged. The "
    "agent is given the goal as an image and sees none of these marks."
)
# What is drawn beside a planner that is none of the ways to act without planning.
_TITLES = {"ceiling": "ceiling: planned in the simulator itself, as a perfect model could"}


def section(runs: Sequence[RunRecord]) -> str:
    """Clips of every planning run that kept episodes."""
    parts = [_run(run) for run in planned(runs)]
    if not parts:
        return ""
    return f"<h2>Acting</h2><p>{_LEGEND}</p>{''.join(parts)}"


def planned(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The planning runs that kept episodes."""
    plans = [run for run in runs if run.verb == "plan"]
    return [run for run in plans if any((run.folder / "episodes").glob("*.safetensors"))]


def _run(run: RunRecord) -> str:
    kept = Episodes(run.folder / "episodes")
    episodes = [kept[index] for index in range(min(len(kept), _MOST))]
    told = run.folder / "outcomes.json"
    outcomes: list[dict[str, Any]] = json.loads(told.read_text()) if told.is_file() else []
    still = background([episode.frames.numpy() for episode in episodes])
    clips, violation = [], _violation(run)
    for path, episode in zip(kept.paths, episodes, strict=False):
        index = int(path.stem)  # of the task
        outcome = outcomes[index] if index < len(outcomes) else {}
        caption = _caption(episode, outcome, violation)
        clips.append(f'<figure class="card"><img alt="a planned episode" '
                     f'src="{clip_uri(episode, still, violation)}">'
                     f"<figcaption>{caption}</figcaption></figure>")  # fmt: skip
    title = f'<h3 style="margin-top:1.4rem">{escape(run.name)}{_summary(run)}</h3>'
    return f'{title}<div class="clips">{"".join(clips)}</div>{_reached_by(run)}'


def _reached_by(run: RunRecord) -> str:
    """Which share of goals was reached within how many steps, beside the baselines."""
    told = run.folder / "reached_by.json"
    shares: dict[str, list[float]] = json.loads(told.read_text()) if told.is_file() else {}
    if not shares:
        return ""
    shares = {_TITLES.get(name, name): values for name, values in shares.items()}
    names = list(shares)
    colours = {name: index % charts.NUM_COLOURS + 1 for index, name in enumerate(names)}
    curves = {
        name: charts.Curve(list(range(len(values))), values, colours[name])
        for name, values in shares.items()
    }
    drawn = charts.line_chart(curves, charts.Frame(holds=(0.0, 1.0), x_label="steps"))
    return (
        '<div class="card" style="max-width:480px;margin-top:1rem">'
        '<p class="soft">Share of goals reached within so many steps</p>'
        f"{drawn}{charts.legend(colours)}</div>"
    )


def clip_uri(episode: Episode, still: np.ndarray, violation: str) -> str:
    """The looping clip of an episode before the background `still`."""
    images = episode_images(
        episode.frames.numpy(),
        still,
        goal=goal_image(episode),
        violated=_flag(episode, violation),
    )
    return looping_uri(images, frame_ms=_FRAME_MS)


def goal_image(episode: Episode) -> np.ndarray | None:
    """The goal that the agent was given, if it is one image: h w c."""
    image = episode.info.get("goal_image")
    if image is None or (image.ndim == 4 and (image != image[0]).any()):
        return None
    return image.numpy() if image.ndim == 3 else image[0].numpy()


def _flag(episode: Episode, name: str) -> np.ndarray:
    values = episode.info.get(name)
    if values is None:
        return np.zeros(len(episode), bool)
    return np.nan_to_num(values.numpy()).astype(bool)  # NaN: that step did not tell


def reached(episode: Episode) -> bool | None:
    """True if the goal was reached; None where the environment did not say."""
    told = [name for name in ("success", "is_success") if name in episode.info]
    return any(bool(_flag(episode, name).any()) for name in told) if told else None


def _violation(run: RunRecord) -> str:
    """The info that flags a violation, as the run was told."""
    told = run.settings.get("evaluation") or {}
    return str(told.get("violation", _HAZARD))


def _caption(episode: Episode, outcome: dict[str, Any], violation: str) -> str:
    words = [str(outcome["task"]).replace("_", " ")] if "task" in outcome else []
    steps = f"{len(episode) - 1} steps"
    words.append(
        {
            None: steps,
            True: f'<span class="met">reached in {steps}</span>',
            False: f'<span class="missed">not reached in {steps}</span>',
        }[outcome["success"] if "success" in outcome else reached(episode)]
    )
    touched = int(_flag(episode, violation).sum())
    if touched:
        name = "hazard" if violation == _HAZARD else escape(violation)
        words.append(f'<span class="missed">{name} for {touched}</span>')
    return " · ".join(words)


def _summary(run: RunRecord) -> str:
    results = run.results
    if "success" not in results:
        return ""
    words = f": {results['success']:.0%} of {results.get('success.n', 0):.0f} goals reached"
    if "violation_rate" in results:
        violation = _violation(run)
        name = "hazard touched" if violation == _HAZARD else escape(violation)
        words += f", {name} in {results['violation_rate']:.0%}"
    return f'<span class="soft" style="font-weight:400">{words}</span>'
