"""The page's part on acting: looping clips of planned episodes, with goal and violations."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.episodes.episode import Episode
from worldmodel.episodes.folder import Episodes
from worldmodel.report.folder import RunRecord
from worldmodel.report.images import background, episode_images, looping_uri

_MOST = 6  # episodes of one run
_FRAME_MS = 90
_LEGEND = (
    "Planned episodes as the agent saw them. The green ring is the goal, which the agent is given "
    "as an image; the line is the way so far. The orange patch on the floor is the hazard; a red "
    "border marks the frames in which it was touched. The agent sees the patch, but neither ring, "
    "nor line, nor border."
)


def section(stages: Sequence[RunRecord]) -> str:
    """Clips of every planning run that kept episodes."""
    parts = [_stage(stage) for stage in stages if stage.verb == "plan" and _has_episodes(stage)]
    if not parts:
        return ""
    return f"<h2>Acting</h2><p>{_LEGEND}</p>{''.join(parts)}"


def _has_episodes(stage: RunRecord) -> bool:
    return any((stage.folder / "episodes").glob("*.safetensors"))


def _stage(stage: RunRecord) -> str:
    kept = Episodes(stage.folder / "episodes")
    episodes = [kept[index] for index in range(min(len(kept), _MOST))]
    outcomes = _outcomes(stage.folder / "outcomes.json")
    still = background([episode.frames.numpy() for episode in episodes])
    clips = []
    for index, episode in enumerate(episodes):
        outcome = outcomes[index] if index < len(outcomes) else {}
        clips.append(f'<figure class="card"><img alt="a planned episode" '
                     f'src="{clip_uri(episode, still)}">'
                     f"<figcaption>{_caption(episode, outcome)}</figcaption></figure>")  # fmt: skip
    title = f'<h3 style="margin-top:1.4rem">{escape(stage.name)}{_summary(stage)}</h3>'
    return f'{title}<div class="clips">{"".join(clips)}</div>'


def clip_uri(episode: Episode, still: np.ndarray) -> str:
    """The looping clip of an episode before the background `still`."""
    images = episode_images(
        episode.frames.numpy(),
        still,
        goal=_goal(episode),
        violated=_flag(episode, "hazard_contact"),
    )
    return looping_uri(images, frame_ms=_FRAME_MS)


def _goal(episode: Episode) -> np.ndarray | None:
    image = episode.info.get("goal_image")
    return None if image is None else image.numpy()


def _flag(episode: Episode, name: str) -> np.ndarray:
    values = episode.info.get(name)
    if values is None:
        return np.zeros(len(episode), bool)
    return np.nan_to_num(values.numpy()).astype(bool)  # NaN: that step did not tell


def _caption(episode: Episode, outcome: dict[str, Any]) -> str:
    told = [name for name in ("success", "is_success") if name in episode.info]
    reached = any(bool(_flag(episode, name).any()) for name in told)
    steps = len(episode) - 1
    words = [str(outcome["task"]).replace("_", " ")] if "task" in outcome else []
    verdict = f"reached in {steps} steps" if reached else f"not reached in {steps} steps"
    span = f'<span class="{"met" if reached else "missed"}">{verdict}</span>'
    words.append(span if told else f"{steps} steps")
    touched = int(_flag(episode, "hazard_contact").sum())
    if touched:
        words.append(f'<span class="missed">hazard for {touched}</span>')
    return " · ".join(words)


def _summary(stage: RunRecord) -> str:
    results = stage.results
    if "success" not in results:
        return ""
    words = f": {results['success']:.0%} of {results.get('success.n', 0):.0f} goals reached"
    if "violation_rate" in results:
        words += f", hazard touched in {results['violation_rate']:.0%}"
    return f'<span class="soft" style="font-weight:400">{words}</span>'


def _outcomes(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())) if path.is_file() else []
