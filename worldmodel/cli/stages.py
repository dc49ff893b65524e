"""The stories that `worldmodel quickstart` tells, each a list of verbs with their settings.

`quickstart` is the whole story; the others are compared with a finished one, whose folder is
`main`. A `Scale` says how much each stage does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.cli.settings import quoted
from worldmodel.runs.run import read_metrics


@dataclass(frozen=True)
class Stage:
    """One verb of a story.

    Attributes:
        name: Of its run, in the story's folder.
        verb: What is run.
        words: Its settings, as on the command line.
        gather: Names in the story's results, and the stage's results that they stand for. A name
            ending in `*` takes all that begin alike.
        share: Of the story's time, in any unit; only the progress bar needs it.
    """

    name: str
    verb: str
    words: Sequence[str] = ()
    gather: Mapping[str, str] | None = None
    share: float = 1.0


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
    regulariser: Sequence[str] = ("regulariser.weight=3",)
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

_EXPLORE = ("steps=60", "recording.reset_options={task: explore}")


def quickstart(folder: Path, scale: Scale, main: Path | None = None) -> list[Stage]:
    """Record episodes, learn from them, read out, plan, and judge what cannot happen."""
    rollouts, held_out = _episodes(folder, "rollouts"), _episodes(folder, "held_out")
    model = _at("model", folder, "train/actions")
    video = _at("model", folder, "pretrain/video")
    collect = (
        f"episodes={scale.rollouts}",
        *_EXPLORE,
        "recording.labelled_fraction=0.1",
        "recording.workers=2",
    )
    return [
        Stage("rollouts", "collect", collect, share=17),  # seconds, about
        Stage(
            "held_out",
            "collect",
            (f"episodes={scale.held_out}", *_EXPLORE, "recording.held_out=true"),
            share=8,
        ),
        Stage(
            "video",
            "pretrain",
            (*_video(rollouts, scale), *scale.regulariser),
            _renamed("pretrain", "feature_std", "effective_rank", "sigreg_over_floor", "collapsed"),
            share=200,
        ),
        Stage(
            "actions",
            "train",
            (
                _at("episodes", rollouts),
                _at("encoder", folder, "pretrain/video"),
                f"model={scale.model}",
                *scale.train,
            ),
            share=90,
        ),
        Stage(
            "readouts",
            "probe",
            (model, _at("pretrained", folder, "pretrain/video"), _at("episodes", held_out)),
            {"probe.*": "*"},
            share=11,
        ),
        *_acting(model, rollouts, scale),
        Stage(
            "violations",
            "surprise",
            (video, f"pairs={scale.pairs}"),
            {"surprise.*": "*"},
            share=25,
        ),
    ]


def _acting(model: str, rollouts: Path, scale: Scale) -> list[Stage]:
    """Goals with both planners, then goals behind the hazard without and with the guardrail."""
    plan = (model, _at("episodes_from", rollouts), *scale.plan)
    hazard = ("evaluation.tasks=[hazard]", "evaluation.baselines=false", *scale.cem, *plan)
    return [
        Stage("goals", "plan", (*scale.cem, *plan), {"plan.*": "*"}, share=50),
        Stage(
            "gradient",
            "plan",
            (*scale.gradient, "evaluation.baselines=false", *plan),
            {"plan.gradient_success": "success"},
            share=75,
        ),
        Stage(
            "hazard_off",
            "plan",
            hazard,
            {"guardrail.violation_rate_off": "violation_rate", "guardrail.success_off": "success"},
            share=45,
        ),
        Stage(
            "hazard",
            "plan",
            (*scale.guardrail, *hazard),
            _renamed("guardrail", "violation_rate", "success"),
            share=50,
        ),
    ]


def scratch(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """The same action model without pretraining: same episodes with actions, same total time."""
    model = _at("model", folder, "train/actions")
    rollouts = _episodes(main, "rollouts")
    return [
        Stage("actions", "train", (_at("episodes", rollouts), *_for_as_long(main))),
        Stage(
            "readouts",
            "probe",
            (model, _at("episodes", _episodes(main, "held_out"))),
            _renamed("scratch", "position_r2", "velocity_r2"),
        ),
        Stage(
            "goals",
            "plan",
            (
                *scale.cem,
                "evaluation.baselines=false",
                model,
                _at("episodes_from", rollouts),
                *scale.plan,
            ),
            {"scratch.plan_success": "success"},
        ),
    ]


def few_labels(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """A hundredth of the episodes with actions instead of a tenth.

    On top of the pretrained encoder, and from scratch for as long as pretraining and action model
    took together.
    """
    rollouts = main / "collect/rollouts"
    labelled = (_at("episodes", rollouts), "labelled=6")
    plan = (*scale.cem, "evaluation.baselines=false", _at("episodes_from", rollouts), *scale.plan)
    model = _at("model", folder, "train/scratch")
    return [
        Stage(
            "pretrained",
            "train",
            (*labelled, _at("encoder", main, "pretrain/video"), *scale.train),
            share=90,
        ),
        Stage(
            "pretrained_goals",
            "plan",
            (_at("model", folder, "train/pretrained"), *plan),
            {"few.plan_success": "success"},
            share=70,
        ),
        Stage("scratch", "train", (*labelled, *_for_as_long(main)), share=300),
        Stage(
            "scratch_readouts",
            "probe",
            (model, _at("episodes", main, "collect/held_out")),
            {"few.scratch_position_r2": "position_r2", "few.scratch_velocity_r2": "velocity_r2"},
            share=10,
        ),
        Stage(
            "scratch_goals",
            "plan",
            (model, *plan),
            {"few.scratch_plan_success": "success"},
            share=120,
        ),
    ]


def pretraining(folder: Path, scale: Scale, main: Path) -> list[Stage]:
    """The worth of each choice of the pretraining: one left out or changed at a time.

    The same videos, steps and batch as in the story at `main`; reported in docs/pretraining.md.
    """
    changed = {
        # Every dimension of a latent is a target.
        "no_seen_part": (*scale.regulariser, "model.extra_width=0"),
        "default_weight": ("regulariser.weight=10",),
        # As V-JEPA: an EMA teacher makes the targets, nothing else prevents collapse.
        "teacher": ("targets=ema", "regulariser=none"),
    }
    stages = [_readouts("as_is", main / "pretrain/video", main)]
    for name, words in changed.items():
        learned = (*_video(_episodes(main, "rollouts"), scale), *words)
        numbers = _renamed(name, "effective_rank", "collapsed")
        stages.append(Stage(name, "pretrain", learned, numbers, share=20))
        stages.append(_readouts(name, folder / "pretrain" / name, main))
    return stages


STORIES: dict[str, Callable[[Path, Scale, Path], list[Stage]]] = {
    "quickstart": quickstart,
    "scratch": scratch,
    "few_labels": few_labels,
    "pretraining": pretraining,
}


def _video(episodes: Path, scale: Scale) -> tuple[str, ...]:
    """Pretraining on the frames of episodes."""
    source = ("data=episodes", _at("data.path", episodes))
    return (*source, f"model={scale.model}", "masks=time_steps", "num_frames=4", *scale.pretrain)


def _readouts(name: str, model: Path, main: Path) -> Stage:
    words = (_at("model", model), _at("episodes", _episodes(main, "held_out")))
    return Stage(f"probe_{name}", "probe", words, _renamed(name, "position_r2", "velocity_r2"))


def _for_as_long(main: Path) -> tuple[str, str]:
    """As many training steps as fit into the time that the story's two trainings took."""
    took = read_metrics(main)["results"]
    seconds = took["seconds.video"] + took["seconds.actions"]
    return "optimisation.steps=1000000", f"optimisation.seconds={seconds:.1f}"


def _episodes(folder: Path, name: str) -> Path:
    return folder / "collect" / name / "episodes"


def _at(key: str, folder: Path, inside: str = "") -> str:
    return f"{key}={quoted(str(folder / inside))}"


def _renamed(prefix: str, *names: str) -> dict[str, str]:
    return {f"{prefix}.{name}": name for name in names}
