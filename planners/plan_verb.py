"""The verb `plan`: evaluate a planner with a model on held-out starts and goals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.joined import Folders, read_episodes
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.runs.run import read_settings

from .agent import AgentSettings, PlanningPolicy
from .behaviours import NoOp, Random
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
    to_show,
)
from .factory import Factory
from .guardrails.guardrail import Guardrail
from .kept_records import KeptRecords, evaluation_of
from .pairs import manifest_of, manifest_tasks, read_manifest
from .plan_results import say_what_is_missing, write_episodes, write_json, write_outcomes
from .planner import Planner
from .protocol import protocol
from .recorded_states import RecordedStates, labelled_for
from .success import AS_TOLD, Outcome, Success
from .tasks import (
    FROM_EPISODES,
    Task,
    Tasks,
    crossed_tasks,
    episode_tasks,
    held_out_tasks,
    image_tasks,
)
from .ways import Way

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

PAIRS = ".json"  # how a file of starts and goals ends
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
        `inverse_success`, by what it did from one state to the next; and `random_p` and so on, see
        `compared`.
    """
    loaded = load(model)  # says first of all if there is no such model
    _require_other_episodes(evaluation, loaded)
    say_what_is_untold(run, loaded, agent)
    recorded_in = episodes_from or trained_on(model)
    success = _known_success(success, env, view, goal)
    recorded = _recorded(goal, goals_from, recorded_in)
    chosen = _tasks(goal, evaluation, success, recorded, pairs, offset, episodes, run.seed)
    tasks = chosen.tasks
    evaluation, offset, seed = _as_asked(goal, evaluation, offset, run.seed)
    states = RecordedStates(run, model, recorded_in, evaluation.violation)
    costs = [states.prepare(p) for p in (cost, *agent.more_costs) if p is not None]
    guardrails = [states.prepare(p) for p in (*agent.more_guardrails, guardrail) if p is not None]
    results = _learned(costs, guardrails)
    make_policy = partial(_make_policy, model, planner, costs, guardrails, agent)
    baselines = _baselines(states, model, goal, offset) if evaluation.baselines else {}
    # An environment's own limit of time counts for its own tasks alone.
    most = None if goal == "env" else evaluation.budget + chosen.longest_replay
    make = partial(make_env, env, evaluation.env_options, view, size=loaded.size, steps=most)
    who = {"planner": planner, "costs": costs, "guardrails": guardrails, "agent": agent,
           "model": model}  # fmt: skip
    facts = protocol(env, view, chosen, success, evaluation, who)
    how = {"budget": evaluation.budget, "offset": offset, "seed": seed}
    _tell_what_is_asked(run, facts, chosen, recorded, how, asked=episodes)
    kept = _kept(run, evaluation_of(facts, loaded))
    records = _run_tasks(run, make, make_policy, tasks, evaluation, success, kept, "planner")
    outcomes = outcomes_of(records, tasks, success=success, budget=evaluation.budget)
    shown = {i: records[i] for i in to_show(outcomes, evaluation.keep)}
    write_episodes(run.folder / "episodes", shown, make, env)
    write_outcomes(run.folder / "outcomes.json", records, tasks, outcomes, evaluation.violation)
    say_what_is_missing(run, records, outcomes, evaluation.violation)
    results |= summarise(
        records, tasks, violation=evaluation.violation, success=success, budget=evaluation.budget
    )
    if chosen.solved is not None:
        results["solved_starts"] = float(chosen.solved)
    if evaluation.diagnose:
        results |= _diagnosis(run, states, make, make_policy, tasks, evaluation, agent)
    results |= _beside(run, make, baselines, tasks, evaluation, success, outcomes, kept)
    kept.delete()
    return results


def _require_other_episodes(evaluation: Evaluation, model: ImageDynamics) -> None:
    """Refuse episodes that a diagnosis could not predict, before anything is planned."""
    if evaluation.other_episodes is None:
        return
    if not evaluation.diagnose:
        raise ConfigError("evaluation.other_episodes= is for a diagnosis; say evaluation.diagnose=")
    labelled_for(model, evaluation.other_episodes)


def _tell_what_is_asked(
    run: "Run", facts: Mapping[str, str], chosen: Tasks, recorded: Episodes | None,
    how: Mapping[str, int], *, asked: int,
) -> None:  # fmt: skip
    """Say the protocol and write it; and the pairs, where starts and goals were recorded."""
    run.say("; ".join(f"{name}: {value}" for name, value in facts.items()))
    write_json(run.folder / "protocol.json", facts)
    if recorded is not None:
        write_json(run.folder / "pairs.json", manifest_of(chosen, recorded, facts, **how))
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


def _as_asked(
    goal: str, evaluation: Evaluation, offset: int, seed: int
) -> tuple[Evaluation, int, int]:
    """The budget, the offset and the seed of policies that a file of pairs says, if it is one."""
    if goal.endswith(PAIRS):
        asked = read_manifest(Path(goal))
        offset, seed = asked.offset or offset, seed if asked.seed is None else asked.seed
        if evaluation.max_steps is None:
            evaluation = replace(evaluation, max_steps=asked.budget)
    if evaluation.max_steps is None and is_recorded(goal):
        evaluation = replace(evaluation, max_steps=2 * offset)
    return evaluation, offset, seed


def _beside(
    run: "Run", make: Callable[[], gymnasium.Env], baselines: Mapping[str, Callable[[], Policy]],
    tasks: Sequence[Task], evaluation: Evaluation, success: Success, outcomes: Sequence[Outcome],
    kept: KeptRecords,
) -> dict[str, float]:  # fmt: skip
    """Results of the baselines on the same tasks, and how likely each difference is by chance."""
    results: dict[str, float] = {}
    curves = {"planner": outcomes}
    # Without planning, an episode takes less time than a worker takes to start.
    how = replace(evaluation, keep=0, workers=1)
    for name, policy in baselines.items():
        done = _run_tasks(run, make, policy, tasks, how, success, kept, name)
        found = summarise(done, tasks, success=success, budget=evaluation.budget)
        results |= {f"{name}_{k}": v for k, v in found.items() if k.split(".")[0] in OF_BASELINES}
        curves[name] = outcomes_of(done, tasks, success=success, budget=evaluation.budget)
        results |= {f"{name}_p": p for p in compared(outcomes, curves[name])}
    reached = {name: reached_by(some, evaluation.budget) for name, some in curves.items()}
    write_json(run.folder / "reached_by.json", {k: v for k, v in reached.items() if v})
    return results


def _baselines(
    states: RecordedStates, model: str, goal: str, offset: int
) -> dict[str, Callable[[], Policy]]:
    """What makes the policies that do not plan, by name."""
    made: dict[str, Callable[[], Policy]] = {"random": Random, "noop": NoOp}
    for name, learned in states.cloned(offset).items() if is_recorded(goal) else ():
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


def _known_success(success: Success, env: str, view: View | None, goal: str) -> Success:
    """What success is where nothing is said: for goals of episodes what is known of a world."""
    if success.within and not is_recorded(goal):
        raise ConfigError(
            f"success.within compares with infos of the goal, which goal={goal} does not tell; say "
            "goal=episodes or crossed, or success.total_reward="
        )
    told = success.within or success.total_reward is not None
    if told or goal == "env" or view is None:
        return success
    within = view.within(env)
    if not within and is_recorded(goal):
        raise ConfigError(
            f"goal={goal}: nothing is known of what reaching a goal means in {env}; say "
            "success.within={INFO: RADIUS} with an info of its episodes (worldmodel data inspect "
            "lists them), or success.total_reward="
        )
    return Success(within) if is_recorded(goal) else success


def is_recorded(goal: str) -> bool:
    """True for goals that are steps of recorded episodes."""
    return goal in FROM_EPISODES or goal.endswith(PAIRS)


def _recorded(goal: str, goals: Folders | None, others: Folders | None) -> Episodes | None:
    """The episodes that starts and goals are steps of; None for goals of another kind."""
    if goals is not None and not is_recorded(goal):
        raise ConfigError(
            f"goals_from={goals} holds steps of episodes, which goal={goal} does not take: say "
            "goal=episodes or crossed, or leave it out"
        )
    if not is_recorded(goal):
        return None
    if goals is not None:
        return read_episodes(goals, "goals_from")
    if others is None:
        raise ConfigError(f"goal={goal}: name the folder of episodes with episodes_from=")
    return read_episodes(others, "episodes_from")


def _tasks(
    goal: str, how: Evaluation, success: Success, recorded: Episodes | None, way: Way | None,
    offset: int, episodes: int, seed: int,
) -> Tasks:  # fmt: skip
    if way is not None and goal not in FROM_EPISODES:
        raise ConfigError(
            f"pairs= chooses among goals that are steps of episodes, not among those of "
            f"goal={goal}: say goal=episodes or crossed"
        )
    if goal == "env":
        tasks = held_out_tasks(how.tasks, episodes=episodes, seed=seed)
        return Tasks(tasks, "the environment's own starts and goals, held-out seeds")
    if recorded is None:
        return image_tasks(goal, how.tasks, episodes=episodes, seed=seed)
    if how.tasks:
        raise ConfigError(
            f"evaluation.tasks={list(how.tasks)} are of the environment, and goal={goal} takes "
            "starts and goals of episodes; leave one of them out"
        )
    if goal.endswith(PAIRS):
        return manifest_tasks(recorded, Path(goal), success, episodes=episodes, seed=seed)
    make = episode_tasks if goal == "episodes" else crossed_tasks
    return make(recorded, success, offset=offset, episodes=episodes, seed=seed, way=way)


def _make_cloning(model: str, learned: Cloned, offset: int) -> Policy:
    return CloningPolicy(load(model), learned, steps_to_go=offset)


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
