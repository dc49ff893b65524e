"""What is said of a model that knows its world, of one that is deaf, and of one that is wrong."""

import pytest
import torch

from tests.planners.fakes import PointModel, PointWorld, collected
from worldmodel.episodes.folder import Episodes
from worldmodel.planners import CEM, GoalImage
from worldmodel.planners.agent import PlanningPolicy
from worldmodel.planners.behaviours import Random
from worldmodel.planners.diagnosis import open_loop, ranks
from worldmodel.planners.episode_states import encode_episodes
from worldmodel.planners.tasks import held_out_tasks


class Deaf(PointModel):
    """Says that nothing changes."""

    def rollout(self, history, actions):
        return history.states[-1].expand(len(actions), actions.shape[1], -1)


class Wrong(PointModel):
    """Takes left for right."""

    def rollout(self, history, actions):
        return super().rollout(history, -actions)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = collected(tmp_path_factory.mktemp("some"), Random())
    return encode_episodes(PointModel(), Episodes(folder), flag="hazard_contact")


def found(model, recorded):
    return open_loop(model, recorded, max_history=3, seed=0)


def test_a_model_that_knows_its_world_errs_little_and_hears_actions(recorded):
    known = found(PointModel(), recorded)
    assert set(known) == {
        f"error_{what}_{steps}" for what in ("over_standing_still", "with_other_actions")
        for steps in (4, 16)
    }  # fmt: skip  # whole blocks of two; no episode has 24 steps and another state
    assert known["error_over_standing_still_16"] < 0.01
    assert known["error_with_other_actions_16"] > 100


def test_a_deaf_model_is_as_good_as_standing_still_whatever_is_done(recorded):
    deaf = found(Deaf(), recorded)
    for steps in (4, 16):
        assert deaf[f"error_over_standing_still_{steps}"] == pytest.approx(1)
        assert deaf[f"error_with_other_actions_{steps}"] == pytest.approx(1)


def test_a_wrong_model_is_worse_than_standing_still(recorded):
    assert found(Wrong(), recorded)["error_over_standing_still_16"] > 1.5


@pytest.mark.parametrize(("model", "sign"), [(PointModel(), 1), (Wrong(), -1)])
def test_costs_are_ranked_as_they_come_or_the_other_way_round(model, sign):
    policy = PlanningPolicy(
        model, CEM(4, candidates=32, elites=4, iterations=2), costs=[GoalImage()]
    )
    tasks = held_out_tasks(["any"], episodes=3, seed=0)
    ranked = ranks(PointWorld(), model, policy, tasks, seed=0)
    assert ranked["rank_random.n"] == 3
    assert sign * ranked["rank_random"] > 0.9
    assert sign * ranked["rank_best"] > 0.3


def test_candidates_that_all_cost_the_same_have_no_rank():
    model = Deaf()
    policy = PlanningPolicy(model, CEM(2, candidates=8, elites=4), costs=[GoalImage()])
    tasks = held_out_tasks(["any"], episodes=1, seed=0)
    assert "rank_random" not in ranks(PointWorld(), model, policy, tasks, seed=0)
    assert torch.is_tensor(policy.agent.plan.actions)
