import pytest

from benchmarks.recipes import interval, overview, rows


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
