import pytest

from benchmarks.recipes import chosen_rate, interval, overview, rows, step_seconds
from worldmodel.errors import ConfigError


def record(recipe, seed, **read):
    signs = {} if recipe == "untrained" else {"feature_std": 0.9}
    return {"world": "digits", "recipe": recipe, "seed": seed, "read": read, **signs}


RECORDS = [
    record("untrained", 1, **{"linear.digit_accuracy": 0.2, "position_r2": 0.5}),
    record("untrained", 2, **{"linear.digit_accuracy": 0.3, "position_r2": 0.5}),
    record("vjepa2", 1, **{"linear.digit_accuracy": 0.7, "position_r2": 0.4}),
    record("vjepa2", 2, **{"linear.digit_accuracy": 0.8, "position_r2": 0.4}),
]


def test_a_row_is_the_mean_over_seeds_beside_the_untrained_floor():
    table = {row["key"]: row for row in rows(RECORDS)}
    row = table["digits.vjepa2.linear.digit_accuracy"]
    assert row["value"] == pytest.approx(0.75) and row["floor"] == pytest.approx(0.25)
    assert row["n"] == 2 and row["per_seed"] == [0.7, 0.8]
    # Student's t with one degree of freedom: 12.706 standard errors of 0.05.
    assert row["high"] - row["value"] == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert table["digits.vjepa2.feature_std"]["value"] == pytest.approx(0.9)


def test_one_seed_has_no_interval():
    assert interval([0.5]) == {}


def test_the_overview_has_a_line_for_each_number_and_marks_what_may_be_best():
    lines = overview(rows(RECORDS), ["untrained", "vjepa2"])
    assert lines == [
        ["digits linear.digit_accuracy", "**0.250 ± 0.635**", "**0.750 ± 0.635**"],
        ["digits position_r2", "**0.500**", "0.400"],
    ]


def test_the_sweep_decides_rate_and_steps():
    swept = [
        {"world": world, "recipe": "vjepa2", "rate": rate, "steps": 10, "cpu_seconds": seconds,
         "read": {"a_r2": value}}
        for world, rate, seconds, value in (
            ("x", 1e-3, 5.0, 0.2), ("y", 1e-3, 4.0, 0.6),
            ("x", 3e-3, 6.0, 0.3), ("y", 3e-3, 5.0, 0.4),
        )
    ]  # fmt: skip
    assert chosen_rate(swept, "vjepa2") == 1e-3 and step_seconds(swept, "vjepa2") == 0.4
    with pytest.raises(ConfigError, match="step of ijepa takes is not known"):
        step_seconds(swept, "ijepa")
