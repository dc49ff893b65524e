import pytest

from benchmarks.collapse_alarm import CASES, outcome, rows

HEALTHY = {"feature_std": 1.0, "effective_rank": 9.0, "joint_rank": 9.0, "mean_cosine": 0.0}
DEAD = {**HEALTHY, "feature_std": 0.0}


def record(trained, end, *log, seed=2):
    return {"case": CASES[0].name, "seed": seed, "untrained": 0.6, "trained": trained,
            "end": end, "log": list(log)}  # fmt: skip


@pytest.mark.parametrize(
    ("trained", "expected"),
    [(0.66, "learned"), (0.64, "between"), (0.41, "between"), (0.39, "collapsed")],
)
def test_an_outcome_is_told_by_what_an_untrained_model_knows(trained, expected):
    assert outcome(record(trained, HEALTHY)) == expected


def test_errors_are_counted_among_the_runs_that_learned_and_that_collapsed():
    records = [
        record(0.9, HEALTHY, HEALTHY, HEALTHY), record(0.9, DEAD, HEALTHY, DEAD),
        record(0.5, DEAD, DEAD), record(0.0, HEALTHY, DEAD), record(0.0, DEAD, HEALTHY),
        record(0.0, DEAD, DEAD), record(0.0, HEALTHY, HEALTHY, seed=1),
    ]  # fmt: skip
    found = {
        row["key"].partition(".")[2]: (row["value"], row["n"]) for row in rows("x", records, (2,))
    }
    assert found == {
        "false_alarm.at_the_end": (1 / 2, 2),
        "false_alarm.at_any_step": (1 / 2, 2),
        "false_alarm.of_all_steps": (1 / 4, 4),
        "missed.at_the_end": (1 / 3, 3),
        "missed.at_every_step": (1 / 3, 3),
        "neither_learned_nor_collapsed": (1 / 6, 6),
    }
