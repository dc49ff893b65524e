"""The verb `plan`: how well a planner does with a model, on held-out starts and goals."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import CheckpointError, ConfigError, EnvError, nearest
from worldmodel.interop.load import load
from worldmodel.storage.files import whole_file

from .agent import PlanningPolicy
from .behaviours import NoOp, Random
from .collect import folder_info, to_episode
from .costs.cost import Cost
from .costs.goal_state import GoalState
from .costs.landmark_distance import LandmarkDistance
from .episode import EpisodeRecord, Policy, make_env
from .episode_states import Experience, cached_experience
from .evaluate import Task, evaluate, held_out_tasks, summarise
from .guardrails.guardrail import Guardrail
from .guardrails.keep_out import KeepOut
from .landmarks import Landmarks
from .planner import Planner

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

COSTS = ("goal", "landmarks")
GUARDRAILS = ("none", "keepout")
# Of hazards that the guardrail is shown, and as many again four times of what is none.
EXAMPLES = 500


def plan(
    run: "Run",
    *,
    env: str,
    model: str,
    planner: Planner,
    tasks: Sequence[str] = ("same_room", "other_room"),
    episodes: int = 100,
    max_steps: int = 60,
    cost: str = "landmarks",
    guardrail: str = "none",
    more_costs: Sequence[Cost] = (),
    more_guardrails: Sequence[Guardrail] = (),
    episodes_from: str | None = None,
    num_landmarks: int = 400,
    miss_rate: float = 0.02,
    buffer: float = 2.0,
    violation: str = "hazard_contact",
    replan_every: int = 1,
    max_history: int = 3,
    floors: bool = True,
    keep: int = 6,
    workers: int = 2,
    env_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Plan in held-out episodes; report success, violations and time, beside the floors.

    Args:
        run: Where results and the first episodes go.
        env: gymnasium id; its reset tells the goal as the info `goal_image`.
        model: Folder of the model, or of the run that trained it.
        planner: Searches.
        tasks: Kinds of start and goal, in turn.
        episodes: How many.
        max_steps: Budget of each, in environment steps.
        cost: `goal`, distance in states, or `landmarks`, distance along ways that were seen.
        guardrail: `none`, or `keepout`, learned from what the episodes flag as `violation`.
        more_costs: Beside that cost, such as
            [{_target_: worldmodel.planners.ActionEffort, weight: 0.1}].
        more_guardrails: Beside `guardrail` and the bounds of actions; written alike.
        episodes_from: Folder of episodes, or of the run that collected them; needed by
            `landmarks` and `keepout`.
        num_landmarks: See `Landmarks`.
        miss_rate: See `KeepOut`.
        buffer: See `KeepOut`.
        violation: Name of the info that says whether a frame violates what is guarded.
        replan_every: See `Agent`.
        max_history: See `Agent`.
        floors: Whether random actions and doing nothing are evaluated on the same tasks too.
        keep: Of how many episodes, from the first, the frames are written.
        workers: Processes that evaluate at the same time.
        env_options: Keyword arguments of the environment.
        seed: Decides the tasks and all randomness.

    Returns:
        What `summarise` says of the agent, and `random_success` and `noop_success`.
    """
    _require_choice("cost", cost, COSTS)
    _require_choice("guardrail", guardrail, GUARDRAILS)
    asked = held_out_tasks(tasks, episodes=episodes, seed=seed)
    results: dict[str, float] = {}
    landmarks, guardrails = None, list(more_guardrails)
    if cost == "landmarks" or guardrail == "keepout":
        experience = load_experience(run, model, episodes_from, flag=violation)
    if cost == "landmarks":
        landmarks = Landmarks.from_states(
            experience.sequences, num_landmarks=num_landmarks, seed=seed
        )
        landmarks.save(run.folder / "landmarks.safetensors")
        results |= {"landmarks": float(len(landmarks)), "landmarks_joined": landmarks.largest_part}
    if guardrail == "keepout":
        hazards, safe = experience.examples(EXAMPLES, seed=seed)
        guardrails.append(
            KeepOut.from_states(hazards, safe, miss_rate=miss_rate, buffer=buffer, seed=seed)
        )
        results["guardrail_examples"] = float(len(hazards))
    sampling, costs = (replan_every, max_history), GoalCosts(landmarks, tuple(more_costs))
    make_policy = partial(_make_policy, model, planner, costs, guardrails, sampling)
    settings: dict[str, Any] = {"max_steps": max_steps, "env_options": env_options}
    settings["workers"] = workers
    run_all = partial(_run_all, run, env, asked, settings)
    records = run_all(make_policy, "plan", keep=keep)
    _write_episodes(run.folder / "episodes", records[:keep], env, env_options)
    _write_outcomes(run.folder / "outcomes.json", records, asked, violation)
    results |= summarise(records, asked, violation=violation)
    if floors:
        # Without planning, an episode takes less time than a worker takes to start.
        alone = partial(_run_all, run, env, asked, settings | {"workers": 1})
        results |= _floors(alone, asked)
    return results


def _floors(run_all: Callable[..., list[EpisodeRecord]], tasks: Sequence[Task]) -> dict[str, float]:
    """What random actions and doing nothing reach on the same tasks."""
    results: dict[str, float] = {}
    for name, policy in (("random", Random), ("noop", NoOp)):
        floor = summarise(run_all(policy, f"plan: {name} floor", keep=0), tasks)
        parts = ("success", "success.n", "success.low", "success.high")
        results |= {f"{name}_{part}": floor[part] for part in parts}
    return results


@dataclass(frozen=True)
class GoalCosts:
    """The costs of an episode, from the goal image that its reset tells."""

    landmarks: Landmarks | None = None  # without them, plain distance in states
    more: tuple[Cost, ...] = ()  # the same in all episodes

    def __call__(self, info: Mapping[str, Any]) -> list[Cost]:
        """The costs for the goal in `info`."""
        if "goal_image" not in info:
            raise EnvError(
                "the environment's reset tells no goal_image, which planning needs as its goal; "
                "wrap it in worldmodel.envs.PixelWorld"
            )
        image = np.asarray(info["goal_image"])
        if self.landmarks is None:
            return [GoalState.from_image(image), *self.more]
        return [LandmarkDistance.from_image(image, self.landmarks), *self.more]


def load_experience(run: "Run", model: str, episodes_from: str | None, *, flag: str) -> Experience:
    """The states of the episodes in a folder, as the model in another folder sees them."""
    if episodes_from is None:
        raise ConfigError(
            "cost=landmarks and guardrail=keepout are made from episodes; name their folder with "
            "episodes_from=, or use cost=goal guardrail=none"
        )
    episodes = Episodes(episodes_from)
    loaded = load(model)
    with run.progress(len(episodes), "see the episodes") as bar:
        return cached_experience(
            loaded, episodes, weights=_weights(model), flag=flag, on_episode=bar.advance
        )


def _make_policy(
    model: str,
    planner: Planner,
    make_costs: GoalCosts,
    guardrails: Sequence[Guardrail],
    sampling: tuple[int, int],
) -> Policy:
    replan_every, max_history = sampling
    return PlanningPolicy(
        load(model),
        planner,
        make_costs=make_costs,
        guardrails=guardrails,
        replan_every=replan_every,
        max_history=max_history,
    )


def _run_all(
    run: "Run",
    env: str,
    tasks: Sequence[Task],
    settings: Mapping[str, Any],
    make_policy: Callable[[], Policy],
    description: str,
    *,
    keep: int,
) -> list[EpisodeRecord]:
    records: list[EpisodeRecord] = []
    with run.progress(len(tasks), description) as bar:
        for record in evaluate(env, make_policy, tasks=tasks, keep=keep, **settings):
            records.append(record)
            bar.advance(1, success=sum(r.success for r in records) / len(records))
    return records


def _write_episodes(
    folder: Path,
    records: Sequence[EpisodeRecord],
    env: str,
    env_options: Mapping[str, Any] | None,
) -> None:
    if not records:
        return
    opened = make_env(env, env_options)
    info = folder_info(opened, env, labelled=True)
    opened.close()
    with EpisodeWriter(folder, info) as writer:
        for index, record in enumerate(records):
            writer.write(to_episode(record, info), index)


def _write_outcomes(
    path: Path, records: Sequence[EpisodeRecord], tasks: Sequence[Task], violation: str
) -> None:
    """One line an episode: what paired comparisons of two runs start from."""
    outcomes = [
        {
            "seed": task.seed,
            "task": task.name,
            "success": record.success,
            "violation": record.ever(violation),
            "steps": record.steps,
        }
        for record, task in zip(records, tasks, strict=True)
    ]
    with whole_file(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(o) for o in outcomes) + "\n]\n")


def _weights(model: str) -> Path:
    folder = Path(model).parent if Path(model).is_file() else Path(model)
    for path in (folder / "model.safetensors", folder / "model" / "model.safetensors"):
        if path.is_file():
            return path
    raise CheckpointError(f"{folder}: holds no model.safetensors; name a model's or a run's folder")


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value} is unknown; {nearest(value, choices)}")
