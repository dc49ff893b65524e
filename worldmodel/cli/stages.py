"""The stories that `worldmodel quickstart` tells, each a list of verbs with their settings.

`quickstart` is the whole story; the others are compared with a finished one, whose folder is
`main`. A `Scale` says how much each stage does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worldmodel.cli.settings import quoted
from worldmodel.runs.run import read_metrics

SECONDS = {"collect": 12, "pretrain": 200, "train": 90, "probe": 11, "plan": 55, "surprise": 25}
"""Of a stage by its verb, about: they share out the progress bar."""


@dataclass(frozen=True)
class Stage:
    """One verb of a story.

    Attributes:
        name: Of its run, in the story's folder.
        verb: What is run.
        words: Its settings, as on the command line.
        gather: Names in the story's results, and the stage's results that they stand for. A name
            ending in `*` takes all that begin alike.
    """

    name: str
    verb: str
    words: Sequence[str] = ()
    gather: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much the stages do; words are settings that a verb gets beside those of its stage."""

    rollouts: int = 600
    held_out: int = 150
    model: str = "tiny"
    pretrain: Sequence[str] = (
        "optimisation.steps=800",
        "optimisation.learning_rate=2e-3",
        "batch=96",
    )
    # Lower than the default: prediction counts for more, and with it motion (docs/pretraining.md).
    regulariser: Sequence[str] = ("objective.regulariser.weight=3",)
    train: Sequence[str] = ("optimisation.steps=1000",)
    plan: Sequence[str] = ("episodes=100",)
    cem: Sequence[str] = ("planner.candidates=96", "planner.iterations=3")
    gradient: Sequence[str] = ("planner=gradient",)
    guardrail: Sequence[str] = ("guardrail=keepout",)
    pairs: int = 100


SCALES = {
    "full": Scale(),
    "smoke": Scale(
        rollouts=40,
        held_out=6,
        model="smoke",
        pretrain=("optimisation.steps=20", "batch=16"),
        regulariser=(),
        train=("optimisation.steps=20",),
        plan=(
            "episodes=4",
            "evaluation.max_steps=8",
            "cost.num_landmarks=10",
            "evaluation.keep=2",
            "evaluation.workers=1",
        ),
        cem=("planner.candidates=32",),
        gradient=("planner=gradient", "planner.starts=4"),
        guardrail=("guardrail=keepout", "guardrail.miss_rate=0.4"),
        pairs=4,
    ),
}

_WORLD = "env=worldmodel.envs:worldmodel/TwoRoom-v0"
# Episodes are held out as a collection of their own.
_EXPLORE = (
    _WORLD, "steps=60", "recording.reset_options={task: explore}", "recording.held_out_share=0",
)  # fmt: skip
_GOALS = (_WORLD, "cost=landmarks", "evaluation.tasks=[same_room,other_room]")
_NO_BASELINES = "evaluation.baselines=false"


def quickstart(folder: Path, scale: Scale, main: Path | None = None) -> list[Stage]:
    """Record episodes, learn from them, read out, plan, and judge what cannot happen.

    Goals are planned for with both planners; those behind the hazard without and with the
    guardrail.
    """
    rollouts, held_out = _episodes(folder, "rollouts"), _episodes(folder, "held_out")
    video, model = folder / "pretrain/video", _is("model", folder / "train/actions")
    record = (f"episodes={scale.rollouts}", *_EXPLORE, "recording.labelled_fraction=0.1")
    keep = (f"episodes={scale.held_out}", *_EXPLORE, "recording.held_out=true")
    train = (_is("episodes", rollouts), _is("encoder", video), f"model={scale.model}")
    plan = (*_GOALS, model, _is("episodes_from", rollouts), *scale.plan)
    gradient = (*scale.gradient, _NO_BASELINES, *plan)
    hazard = (_NO_BASELINES, *scale.cem, *plan, "evaluation.tasks=[hazard]")
    pretrained = ("feature_std", "effective_rank", "sigreg_over_floor", "collapsed")
    readouts = (model, _is("pretrained", video), _is("episodes", held_out))
    violations = (_is("model", video), f"pairs={scale.pairs}")
    without = {"guardrail.violation_rate_off": "violation_rate", "guardrail.success_off": "success"}
    return [
        Stage("rollouts", "collect", (*record, "recording.workers=2")),
        Stage("held_out", "collect", keep),
        _video("video", rollouts, scale, scale.regulariser, _under("pretrain", *pretrained)),
        Stage("actions", "train", (*train, *scale.train)),
        Stage("readouts", "probe", readouts, {"probe.*": "*"}),
        Stage("goals", "plan", (*scale.cem, *plan), {"plan.*": "*"}),
        Stage("gradient", "plan", gradient, {"plan.gradient_success": "success"}),
        Stage("hazard_off", "plan", hazard, without),
        Stage(
            "hazard",
            "plan",
            (*scale.guardrail, *hazard),
            _under("guardrail", "violation_rate", "success"),
        ),
        Stage("violations", "surprise", violations, {"surprise.*": "*"}),
    ]


def scratch(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """The same action model without pretraining: same episodes with actions, same total time."""
    rollouts, actions = _episodes(main, "rollouts"), folder / "train/actions"
    return [
        Stage("actions", "train", (_is("episodes", rollouts), *_for_as_long(main))),
        _readouts("readouts", actions, main, _under("scratch", "position_r2", "velocity_r2")),
        _goals("goals", actions, main, scale, "scratch.plan_success"),
    ]


def few_labels(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """A hundredth of the episodes with actions instead of a tenth.

    On top of the pretrained encoder, and from scratch for as long as pretraining and action model
    took together.
    """
    labelled = (_is("episodes", _episodes(main, "rollouts")), "labelled=6")
    pretrained = (*labelled, _is("encoder", main / "pretrain/video"), *scale.train)
    scratch = folder / "train/scratch"
    found = {"few.scratch_position_r2": "position_r2", "few.scratch_velocity_r2": "velocity_r2"}
    return [
        Stage("pretrained", "train", pretrained),
        _goals("pretrained_goals", folder / "train/pretrained", main, scale, "few.plan_success"),
        Stage("scratch", "train", (*labelled, *_for_as_long(main))),
        _readouts("scratch_readouts", scratch, main, found),
        _goals("scratch_goals", scratch, main, scale, "few.scratch_plan_success"),
    ]


def pretraining(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """The worth of each choice of the pretraining: one left out or changed at a time.

    The same videos, steps and batch as in the story at `main`; reported in docs/pretraining.md.
    """
    changed = {
        # Every dimension of a latent is a target.
        "no_seen_part": (*scale.regulariser, "model.extra_width=0"),
        "default_weight": ("objective.regulariser.weight=10",),
        # As V-JEPA: an EMA teacher makes the targets, nothing else prevents collapse.
        "teacher": ("objective.targets=ema", "regulariser=none"),
    }
    rollouts, read = _episodes(main, "rollouts"), ("position_r2", "velocity_r2")
    stages = [_readouts("probe_as_is", main / "pretrain/video", main, _under("as_is", *read))]
    for name, words in changed.items():
        model, found = folder / "pretrain" / name, _under(name, "effective_rank", "collapsed")
        stages.append(_video(name, rollouts, scale, words, found))
        stages.append(_readouts(f"probe_{name}", model, main, _under(name, *read)))
    return stages


STORIES: dict[str, Callable[[Path, Scale, Path], list[Stage]]] = {
    "quickstart": quickstart,
    "scratch": scratch,
    "few_labels": few_labels,
    "pretraining": pretraining,
}


def _video(
    name: str, episodes: Path, scale: Scale, words: Sequence[str], gather: Mapping[str, str]
) -> Stage:
    """Pretraining on the frames of episodes."""
    source = ("data=episodes", _is("data.path", episodes), f"model={scale.model}")
    # Two rooms look alike in all episodes: nothing that stands still tells them apart.
    alike = ("objective.centre=none", "data.clips_per_video=1")
    how = ("masks=time_steps", "num_frames=4", *alike, *scale.pretrain)
    return Stage(name, "pretrain", (*source, *how, *words), gather)


def _readouts(name: str, model: Path, main: Path, gather: Mapping[str, str]) -> Stage:
    """What a model knows of the story's held-out episodes."""
    words = (_is("model", model), _is("episodes", _episodes(main, "held_out")))
    return Stage(name, "probe", words, gather)


def _goals(name: str, model: Path, main: Path, scale: Scale, success: str) -> Stage:
    """How often a model reaches the story's goals with CEM."""
    where = (_is("model", model), _is("episodes_from", _episodes(main, "rollouts")))
    words = (*_GOALS, *scale.cem, _NO_BASELINES, *where, *scale.plan)
    return Stage(name, "plan", words, {success: "success"})


def _for_as_long(main: Path) -> tuple[str, str]:
    """As many training steps as fit into the time that the story's two trainings took."""
    took = read_metrics(main)["results"]
    seconds = took["seconds.video"] + took["seconds.actions"]
    return "optimisation.steps=1000000", f"optimisation.seconds={seconds:.1f}"


def _episodes(folder: Path, name: str) -> Path:
    return folder / "collect" / name / "episodes"


def _is(key: str, path: Path) -> str:
    return f"{key}={quoted(str(path))}"


def _under(prefix: str, *names: str) -> dict[str, str]:
    return {f"{prefix}.{name}": name for name in names}
