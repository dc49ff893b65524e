import pytest

from benchmarks import ablation
from benchmarks.planning import WORLDS
from worldmodel.cli.compose import settle
from worldmodel.evaluation.statistics import wilson


def results(held, rank):
    return {
        "success_held": held, "success_held.n": 50.0, "diagnosis_rank_random": rank,
        "diagnosis_error_over_standing_still_15": 0.5,
    }  # fmt: skip


def test_rows_count_successes_of_all_seeds_and_average_the_rest():
    found = {("all", 1): results(0.9, 0.6), ("all", 2): results(0.8, 0.8)}
    table = {row["key"]: row for row in ablation.rows(found)}
    row = table["reacher_hidden.all.success_held"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(wilson(85, 100))
    assert row["n"] == 100 and row["per_seed"] == [0.9, 0.8]
    rank = table["reacher_hidden.all.diagnosis_rank_random"]
    assert rank["value"] == pytest.approx(0.7) and rank["n"] == 2 and "low" not in rank


def test_numbers_that_a_collapsed_model_has_not_are_no_rows():
    broken = results(0.0, float("nan"))
    del broken["diagnosis_error_over_standing_still_15"]
    keys = {row["key"] for row in ablation.rows({("no_regulariser", 1): broken})}
    assert keys == {"reacher_hidden.no_regulariser.success_held"}


@pytest.mark.parametrize("term", ablation.TERMS)
def test_every_term_is_a_setting_that_changes_something(term):
    world = WORLDS[ablation.WORLD]
    train = settle("train", ["episodes=x", *world.train, *ablation.TERMS[term]])
    words = ["model=x", f"env={world.env}", *world.plan, *world.goals[ablation.GOAL]]
    plan = settle("plan", [*words, *ablation.PLANNED.get(term, ())])
    same = train == settle("train", ["episodes=x", *world.train]) and plan == settle("plan", words)
    assert same == (term == "all")


def test_terms_share_their_episodes_and_go_on(tmp_path, monkeypatch):
    verbs = []

    def run_verb(verb, words, *, runs_dir, name):
        verbs.append((verb, name))
        if verb == "plan":
            folder = runs_dir / "plan" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.json").write_text("{}")

    monkeypatch.setattr(ablation, "run_verb", run_verb)
    monkeypatch.setattr(ablation, "read_metrics", lambda folder: {"results": results(0.5, 0.1)})
    for term in ("all", "terminal_cost"):
        ablation.measure(term, 1, tmp_path / "1")
    assert verbs == [
        ("collect", "episodes"), ("train", "all"), ("plan", "all"),
        ("collect", "episodes"), ("train", "all"), ("plan", "terminal_cost"),
    ]  # fmt: skip
    assert set(ablation.finished(tmp_path)) == {("all", 1), ("terminal_cost", 1)}
