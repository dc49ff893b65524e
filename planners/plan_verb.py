"""The verb `plan`: evaluate a planner with a model on held-out starts and goals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.interop.load import load
from worldmodel.storage.files import whole_file

from .agent import AgentSettings, PlanningPolicy
from .behaviours import NoOp, Random
from .collect import folder_info, say_left_out, to_episode
from .costs.cost import Cost
from .episode_loop import EpisodeRecord, Policy, make_env
from .episode_states import EpisodeStates, cached_states
from .evaluate import Evaluation, Task, evaluate, held_out_tasks, summarise
from .factory import Factory
from .guardrails.guardrail import Guardrail
from .planner import Planner

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Part = TypeVar("Part")


def plan(
    run: "Run",
    *,
    env: str,
    model: str,
    planner: Planner,
    cost: Cost | Factory[Cost] | None,
    guardrail: Guardrail | Factory[Guardrail] | None = None,
    episodes: int = 100,
    episodes_from: str | None = None,
    evaluation: Evaluation,
    agent: AgentSettings,
) -> dict[str, float]:
    """Plan in held-out episodes; report success, violations and time, beside two baselines.

    Args:
        run: Where results and the first episodes go; its seed decides the tasks and all
            randomness.
        env: gymnasium id; its reset returns the goal as the info `goal_image`.
        model: Folder of the model, or of the run that trained it.
        planner: Searches for actions.
        cost: What a plan should make small: `goal`, the distance of states to the goal's, or
            `landmarks`, the distance along paths that recorded episodes took.
        guardrail: What a plan must not cross, besides the bounds of actions: `none`, or `keepout`,
            learned from the frames of recorded episodes that are flagged as violations.
        episodes: How many.
        episodes_from: Folder of recorded episodes, or of the run that collected them; needed by
            `landmarks` and `keepout`.
        evaluation: How the episodes are run and what is kept of them.
        agent: How often it plans, and further costs and guardrails, such as
            agent.more_costs=[{_target_: worldmodel.planners.ActionEffort, weight: 0.1}].

    Returns:
        What `summarise` says of the agent, and `random_success` and `noop_success`.
    """
    tasks = held_out_tasks(evaluation.tasks, episodes=episodes, seed=run.seed)
    costs = [*([] if cost is None else [cost]), *agent.more_costs]
    guardrails = [*agent.more_guardrails, *([] if guardrail is None else [guardrail])]
    if needing := [p for p in (*costs, *guardrails) if isinstance(p, Factory) and p.needs_episodes]:
        needs = type(needing[0]).__name__
        recorded = _load_episode_states(run, model, episodes_from, evaluation.violation, needs)
        costs = [_prepare(part, recorded, run.seed) for part in costs]
        guardrails = [_prepare(part, recorded, run.seed) for part in guardrails]
    results: dict[str, float] = {}
    for part in (*costs, *guardrails):
        if isinstance(part, Factory):
            results |= part.report()
    make_policy = partial(_make_policy, model, planner, costs, guardrails, agent)
    records = _run_tasks(run, env, make_policy, tasks, evaluation, "plan")
    _write_episodes(run.folder / "episodes", records[: evaluation.keep], env, evaluation)
    _write_outcomes(run.folder / "outcomes.json", records, tasks, evaluation.violation)
    _say_what_is_missing(run, records, evaluation.violation)
    results |= summarise(records, tasks, violation=evaluation.violation)
    if not evaluation.baselines:
        return results
    # Without planning, an episode takes less time than a worker takes to start.
    how = replace(evaluation, keep=0, workers=1)
    for name, policy in (("random", Random), ("noop", NoOp)):
        found = summarise(_run_tasks(run, env, policy, tasks, how, f"plan: {name} baseline"), tasks)
        results |= {f"{name}_{k}": v for k, v in found.items() if k.split(".")[0] == "success"}
    return results


def _prepare(
    part: Part | Factory[Part], recorded: EpisodeStates, seed: int
) -> Part | Factory[Part]:
    if isinstance(part, Factory) and part.needs_episodes:
        return part.prepare(recorded, seed=seed)
    return part


def _load_episode_states(
    run: "Run", model: str, episodes_from: str | None, flag: str, needed_by: str
) -> EpisodeStates:
    """The states of the episodes in a folder, as the model in another folder encodes them."""
    if episodes_from is None:
        raise ConfigError(
            f"{needed_by} is made from recorded episodes: name their folder with episodes_from=, "
            "or use cost=goal guardrail=none"
        )
    episodes = Episodes(episodes_from)
    loaded = load(model)
    with run.progress(len(episodes), "encode the episodes") as bar:
        return cached_states(
            loaded, episodes, weights=_weights(model), flag=flag, on_episode=bar.advance
        )


def _make_policy(
    model: str,
    planner: Planner,
    costs: Sequence[Cost | Factory[Cost]],
    guardrails: Sequence[Guardrail | Factory[Guardrail]],
    agent: AgentSettings,
) -> Policy:
    return PlanningPolicy(
        load(model),
        planner,
        costs=costs,
        guardrails=guardrails,
        replan_every=agent.replan_every,
        max_history=agent.max_history,
    )


def _run_tasks(
    run: "Run",
    env: str,
    make_policy: Callable[[], Policy],
    tasks: Sequence[Task],
    how: Evaluation,
    description: str,
) -> list[EpisodeRecord]:
    """The records of all tasks, while a progress bar shows the success so far."""
    records: list[EpisodeRecord] = []
    with run.progress(len(tasks), description) as bar:
        for record in evaluate(env, make_policy, tasks, how):
            records.append(record)
            told = [r.success for r in records if r.success is not None]
            bar.advance(1, **({"success": sum(told) / len(records)} if told else {}))
    return records


def _say_what_is_missing(run: "Run", records: Sequence[EpisodeRecord], violation: str) -> None:
    """Name the infos that are not recorded, and what the episodes did not tell."""
    said: set[str] = set()
    for record in records:
        say_left_out(run, record.left_out, said)
    told = {
        "success": [r.success is not None for r in records],
        violation: [r.ever(violation) is not None for r in records],
    }
    for name, episodes in told.items():
        if not any(episodes):
            run.say(f"no info '{name}' in any step, so no rate of it is reported")
        elif not all(episodes):
            run.say(
                f"info '{name}' in {sum(episodes)} of {len(episodes)} episodes; the others "
                "count as without"
            )


def _write_episodes(
    folder: Path, records: Sequence[EpisodeRecord], env: str, how: Evaluation
) -> None:
    if not records:
        return
    with make_env(env, how.env_options) as opened:
        info = folder_info(opened, env, labelled=True)
    with EpisodeWriter(folder, info) as writer:
        for index, record in enumerate(records):
            writer.write(to_episode(record, info), index)


def _write_outcomes(
    path: Path, records: Sequence[EpisodeRecord], tasks: Sequence[Task], violation: str
) -> None:
    """One line for each episode, for comparing two runs pair by pair; null is what was not told."""
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
