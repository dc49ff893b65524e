"""The verb `plan`: evaluate a planner with a model on held-out starts and goals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.runs.run import read_settings

from .agent import AgentSettings, PlanningPolicy
from .behaviours import NoOp, Random
from .ceiling import CEILING, CeilingPolicy, Simulator, require_ceiling
from .cloning import Cloned, CloningPolicy
from .costs.cost import Cost
from .diagnosis import open_loop, ranks
from .dynamics import ImageDynamics, told_proprioception
from .environment import View, make_env
from .episode_loop import EpisodeRecord, Policy
from .evaluate import (
    Evaluation,
    compared,
    evaluate,
    outcomes_of,
    reached_by,
    summarise,
)
from .factory import Factory
from .goals import Goals
from .guardrails.guardrail import Guardrail
from .kept_records import KeptRecords, evaluation_of
from .other_plan import compare_beside, outcomes_beside
from .pairs import manifest_of
from .plan_results import write_json, write_what_came
from .planner import Planner
from .protocol import described, protocol
from .recorded_states import RecordedStates, labelled_for
from .success import AS_TOLD, Outcome, Success
from .tasks import Task, Tasks
from .ways import Way

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

OF_BASELINES = ("success", "success_at_end", "success_held", "total_reward")


def plan(
    run: "Run",
    *,
    env: str,
    model: str,
    planner: Planner,
    cost: Cost | Factory[Cost] | None,
    goal: str = "env",
    offset: int = 25,
    success: Success = AS_TOLD,
    guardrail: Guardrail | Factory[Guardrail] | None = None,
    episodes: int = 100,
    episodes_from: str | Sequence[str] | None = None,
    goals_from: str | Sequence[str] | None = None,
    pairs: Way | None = None,
    view: View | None = None,
    evaluation: Evaluation,
    agent: AgentSettings,
) -> dict[str, float]:
    """Plan in held-out episodes; report success, violations and time, beside baselines.

    Args:
        run: Where results and the first episodes go; its seed decides the tasks and all
            randomness.
        env: gymnasium id.
        model: Folder of the model, or of the run that trained it.
        planner: Searches for actions.
        cost: What a plan should make small: `goal`, the distance of states to the goal's, or
            `landmarks`, the distance along paths that recorded episodes took.
        goal: Where starts and goals come from: `env` (its reset tells the goal as the info
            `goal_image`), `episodes` (from a step of a held-out episode to what it showed later),
            `crossed` (to what another episode showed, as far away), the pairs of a file (that
            an earlier plan wrote, or CLEAR-LeWM), or an image file or a folder of images.
        offset: How many steps later, with `episodes` and `crossed`.
        success: When a goal counts as reached. Without settings: as the environment says; with
            goals of episodes, by distances that are known of some worlds.
        guardrail: What a plan must not cross, besides the bounds of actions: `none`, or `keepout`,
            learned from the frames of recorded episodes that are flagged as violations.
        episodes: How many.
        episodes_from: Folder of recorded episodes, or of the run that collected them, or several,
            for `landmarks`, `keepout`, cloning, and goals of episodes; those that the model was
            trained on if None.
        goals_from: Folder of the episodes that starts and goals are taken from, where these are
            others, such as those of a behaviour that went where the data never did.
        pairs: A way that has to lead from each start to its goal, with `episodes` and `crossed`.
        view: Makes images of an environment that observes something else, and draws.
        evaluation: How the episodes are run and what is kept of them.
        agent: How often it plans, and further costs and guardrails, such as
            agent.more_costs=[{_target_: worldmodel.planners.ActionEffort, weight: 0.1}].

    Returns:
        What `summarise` says of the agent, and of baselines: `random_success`, `noop_success` and,
        for goals of episodes, `cloning_success`, by what the data did on the way to such goals, and
        `inverse_success`, by what it did from one state to the next; `random_p` and so on, see
        `compared`. With evaluation.ceiling=true also `ceiling_success` and so on: no baseline, but
        what the same planner does where the simulator predicts in place of the model; with
        evaluation.beside=FOLDER `beside_success` and so on, of that plan, and `beside_p`.
    """
    loaded = load(model)  # says first of all if there is no such model
    _require_other_episodes(evaluation, loaded)
    say_what_is_untold(run, loaded, agent)
    recorded_in = episodes_from or trained_on(model)
    goals = Goals(goal, offset, pairs, episodes, run.seed)
    success = goals.success(success, env, view)
    recorded = goals.episodes_of(goals_from, recorded_in)
    make = partial(make_env, env, evaluation.env_options, view, size=loaded.size)
    chosen = goals.tasks(evaluation, success, recorded, lambda steps: make(steps=steps))
    _require_what_can_be(evaluation, chosen, planner, make, env)
    evaluation, offset, seed = goals.as_asked(evaluation)
    asked = protocol(env, view, chosen, success, evaluation)
    other = outcomes_beside(evaluation.beside, asked["hash"])  # before anything is learned
    states = RecordedStates(run, model, recorded_in, evaluation.violation)
    costs = [states.prepare(p) for p in (cost, *agent.more_costs) if p is not None]
    guardrails = [states.prepare(p) for p in (*agent.more_guardrails, guardrail) if p is not None]
    results = _learned(costs, guardrails)
    make_policy = partial(_make_policy, model, planner, costs, guardrails, agent)
    others = _baselines(states, model, goals, offset) if evaluation.baselines else {}
    # An environment's own limit of time counts for its own tasks alone.
    most = None if goal == "env" else evaluation.budget + chosen.longest_replay
    make, tasks = partial(make, steps=most), chosen.tasks
    others |= _ceiling(evaluation, make_policy, make, agent)
    who = {"planner": planner, "costs": costs, "guardrails": guardrails, "agent": agent,
           "model": model}  # fmt: skip
    facts = asked | {name: described(part) for name, part in who.items()}
    _tell_what_is_asked(run, facts, chosen, recorded, (evaluation.budget, offset, seed), episodes)
    kept = _kept(run, evaluation_of(facts, loaded))
    records = _run_tasks(run, make, make_policy, tasks, evaluation, success, kept, "planner")
    outcomes = outcomes_of(records, tasks, success=success, budget=evaluation.budget)
    write_what_came(run, env, make, tasks, records, outcomes, evaluation)
    results |= summarise(
        records, tasks, violation=evaluation.violation, success=success, budget=evaluation.budget
    )
    results |= chosen.left_out() | compare_beside(outcomes, other)
    if evaluation.diagnose:
        results |= _diagnosis(run, states, make, make_policy, tasks, evaluation, agent)
    results |= _beside(run, make, others, tasks, evaluation, success, outcomes, kept)
    kept.delete()
    return results


def _require_other_episodes(evaluation: Evaluation, model: ImageDynamics) -> None:
    """Refuse episodes that a diagnosis could not predict, before anything is planned."""
    if evaluation.other_episodes is None:
        return
    if not evaluation.diagnose:
        raise ConfigError("evaluation.other_episodes= is for a diagnosis; say evaluation.diagnose=")
    labelled_for(model, evaluation.other_episodes)


def _require_what_can_be(
    evaluation: Evaluation, chosen: Tasks, planner: Planner, make: Callable[[], gymnasium.Env],
    env: str,
) -> None:  # fmt: skip
    """Refuse a ceiling or a diagnosis that this world cannot have, before anything is planned.

    Raises:
        ConfigError: plans cannot be tried out in it, or not from the same start.
    """
    if evaluation.ceiling:
        require_ceiling(make, planner, chosen.tasks[0])
    if evaluation.diagnose and chosen.anew:
        raise ConfigError(
            f"evaluation.diagnose= carries out many plans from one start, and {chosen.why} in "
            f"{env}; leave it out"
        )


def _tell_what_is_asked(
    run: "Run", facts: Mapping[str, str], chosen: Tasks, recorded: Episodes | None,
    how: tuple[int, int, int], asked: int,
) -> None:  # fmt: skip
    """Say the protocol and write it; and the pairs, where starts and goals were recorded."""
    if chosen.why is not None:
        run.say(f"episodes begin at resets, not at recorded steps: {chosen.why}")
    run.say("; ".join(f"{name}: {value}" for name, value in facts.items()))
    write_json(run.folder / "protocol.json", facts)
    if recorded is not None and not chosen.anew:
        budget, offset, seed = how
        manifest = manifest_of(chosen, recorded, facts, budget=budget, offset=offset, seed=seed)
        write_json(run.folder / "pairs.json", manifest)
    if len(chosen) < asked:
        run.say(f"there are only {len(chosen)} such tasks, not the {asked} that were asked for")


def _learned(*parts: Sequence[Any]) -> dict[str, float]:
    """What costs and guardrails report of what they learned from episodes."""
    made = [part for several in parts for part in several if isinstance(part, Factory)]
    return {name: value for part in made for name, value in part.report().items()}


def _kept(run: "Run", of: str) -> KeptRecords:
    """Records of an earlier attempt at this evaluation; those of another are not taken."""
    kept = KeptRecords(run.folder / "evaluated", of)
    if kept.deleted:
        run.say(
            f"{kept.deleted} episodes of an earlier attempt are evaluated again: the model's "
            "weights, or what is asked, were others then"
        )
    return kept


def _beside(
    run: "Run", make: Callable[[], gymnasium.Env], others: Mapping[str, Callable[[], Policy]],
    tasks: Sequence[Task], evaluation: Evaluation, success: Success, outcomes: Sequence[Outcome],
    kept: KeptRecords,
) -> dict[str, float]:  # fmt: skip
    """Results of others on the same tasks, and how likely each difference is by chance."""
    results: dict[str, float] = {}
    curves = {"planner": outcomes}
    for name, policy in others.items():
        # Without planning, an episode takes less time than a worker takes to start.
        how = replace(evaluation, keep=0, workers=evaluation.workers if name == CEILING else 1)
        done = _run_tasks(run, make, policy, tasks, how, success, kept, name)
        found = summarise(done, tasks, success=success, budget=evaluation.budget)
        results |= {f"{name}_{k}": v for k, v in found.items() if k.split(".")[0] in OF_BASELINES}
        curves[name] = outcomes_of(done, tasks, success=success, budget=evaluation.budget)
        results |= {f"{name}_p": p for p in compared(outcomes, curves[name])}
    reached = {name: reached_by(some, evaluation.budget) for name, some in curves.items()}
    write_json(run.folder / "reached_by.json", {k: v for k, v in reached.items() if v})
    return results


def _baselines(
    states: RecordedStates, model: str, goals: Goals, offset: int
) -> dict[str, Callable[[], Policy]]:
    """What makes the policies that do not plan, by name."""
    made: dict[str, Callable[[], Policy]] = {"random": Random, "noop": NoOp}
    for name, learned in states.cloned(offset).items() if goals.recorded else ():
        made[name] = partial(_make_cloning, model, learned, offset)
    return made


def _diagnosis(
    run: "Run", states: RecordedStates, make: Callable[[], gymnasium.Env],
    make_policy: Callable[[], PlanningPolicy], tasks: Sequence[Task], evaluation: Evaluation,
    agent: AgentSettings,
) -> dict[str, float]:  # fmt: skip
    """Errors of predictions on held-out episodes, and how costs rank what comes."""
    policy, tasks = make_policy(), tasks[: evaluation.diagnose]
    predict = partial(open_loop, policy.model, max_history=agent.max_history, seed=run.seed)
    recorded = states.held_out()
    found = {} if recorded is None else predict(recorded)
    if evaluation.other_episodes is not None:
        others = states.held_out(evaluation.other_episodes)
        assert others is not None
        found |= {f"other_{name}": value for name, value in predict(others).items()}
    with make() as env, run.progress(len(tasks), "diagnose") as bar:
        found |= ranks(env, policy.model, policy, tasks, seed=run.seed, on_task=bar.advance)
    return {f"diagnosis_{name}": value for name, value in found.items()}


def trained_on(model: str) -> str | list[str] | None:
    """The folder of episodes that a model was trained on, or several, if its run says so."""
    folders = (Path(model), *Path(model).parents[:2])  # of the run, of its model, of its file
    folder = next((f for f in folders if (f / "config.yaml").is_file()), None)
    found = None if folder is None else read_settings(folder).get("episodes")
    return found if isinstance(found, str | list) else None


def say_what_is_untold(run: "Run", model: ImageDynamics, agent: AgentSettings) -> None:
    """Say so where a model takes what a body knows of itself, and nobody tells it."""
    missing = getattr(model, "state_dim", 0) - getattr(model, "image_dim", 0)
    if missing > 0 and not (told_proprioception(model) or agent.proprioception):
        run.say(
            f"the model takes {missing} numbers of what a body knows of itself, and is told none: "
            "zeros stand for them; agent.proprioception= names the info that tells them"
        )


def _make_cloning(model: str, learned: Cloned, offset: int) -> Policy:
    return CloningPolicy(load(model), learned, steps_to_go=offset)


def _ceiling(
    evaluation: Evaluation, make_policy: Callable[[], PlanningPolicy],
    make: Callable[[], gymnasium.Env], agent: AgentSettings,
) -> dict[str, Callable[[], Policy]]:  # fmt: skip
    """What makes the policy that plans in the simulator, where it is asked for."""
    if not evaluation.ceiling:
        return {}
    return {CEILING: partial(_make_ceiling, make_policy, make, agent.proprioception)}


def _make_ceiling(
    make_policy: Callable[[], PlanningPolicy], make: Callable[[], gymnasium.Env], told: str | None
) -> Policy:
    """The same policy, but planning in the simulator."""
    policy = make_policy()
    told = told_proprioception(policy.model) or told
    simulator = Simulator(policy.model, make(), told=told)
    return CeilingPolicy(policy.predicting_by(simulator), simulator)


def _make_policy(
    model: str,
    planner: Planner,
    costs: Sequence[Cost | Factory[Cost]],
    guardrails: Sequence[Guardrail | Factory[Guardrail]],
    agent: AgentSettings,
) -> PlanningPolicy:
    return PlanningPolicy(
        load(model),
        planner,
        costs=costs,
        guardrails=guardrails,
        replan_every=agent.replan_every,
        max_history=agent.max_history,
        proprioception=agent.proprioception,
    )


def _run_tasks(
    run: "Run",
    make: Callable[[], gymnasium.Env],
    make_policy: Callable[[], Policy],
    tasks: Sequence[Task],
    how: Evaluation,
    success: Success,
    kept: KeptRecords,
    name: str,
) -> list[EpisodeRecord]:
    """The records of all tasks, while a progress bar shows the success so far.

    Each is kept as soon as it is there; those that an earlier attempt kept are not run again.
    """
    done = kept.read(name, tasks)
    records: list[EpisodeRecord] = []
    reached, told = 0, False
    with run.progress(len(tasks), "plan" if name == "planner" else f"plan: {name}") as bar:
        for record in evaluate(make, make_policy, tasks, how, success, done):
            if len(records) >= len(done):
                kept.write(name, len(records), record)
            records.append(record)
            outcome = outcomes_of(
                [record], [tasks[len(records) - 1]], success=success, budget=how.budget
            )
            reached += bool(outcome[0].once)
            told = told or outcome[0].once is not None
            bar.advance(1, **({"success": reached / len(records)} if told else {}))
    return records
