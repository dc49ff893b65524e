import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks import recipes
from benchmarks.recipe_rows import interval, overview, rows
from benchmarks.recipes import Case, chosen_rate, step_seconds
from worldmodel.errors import ConfigError


def record(recipe, seed, **read):
    signs = {"cpu_seconds": 1.0}
    if recipe != "untrained":
        signs["feature_std"] = 0.9
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


def swept(rate, world, seconds, value):
    read = {"a_r2": value, "b_r2": -5.0}
    return {"world": world, "recipe": "vjepa2", "rate": rate, "steps": 10, "cpu_seconds": seconds,
            "read": read}  # fmt: skip


def test_the_sweep_decides_rate_and_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "RATES", {"vjepa2": (1e-3, 3e-3)})
    monkeypatch.setattr(recipes, "SWEPT", ("x", "y"))
    monkeypatch.setattr(recipes, "RESULTS", tmp_path)  # where no table is
    found = [swept(1e-3, "x", 5.0, 0.2), swept(1e-3, "y", 4.0, 0.6), swept(3e-3, "x", 6.0, 0.3)]
    with pytest.raises(ConfigError, match=r"lacks \[\('y', 0.003\)\]"):
        chosen_rate(found, "vjepa2")
    found.append(swept(3e-3, "y", 5.0, 0.4))
    assert chosen_rate(found, "vjepa2") == 1e-3 and step_seconds(found, "vjepa2") == 0.4
    made = {"protocol": {"step_seconds": {"vjepa2": 0.1}}}  # on a machine that was quicker
    (tmp_path / "recipes.json").write_text(json.dumps(made))
    assert chosen_rate(found, "vjepa2") == 1e-3 and step_seconds(found, "vjepa2") == 0.1


def test_rates_were_tried_where_every_world_of_the_sweep_was(monkeypatch):
    monkeypatch.setattr(recipes, "SWEPT", ("x", "y"))
    found = [swept(rate, world, 1.0, 0.5) for rate, world in
             ((3e-3, "x"), (1e-3, "x"), (3e-3, "y"), (1e-3, "y"), (1e-2, "x"))]  # fmt: skip
    assert recipes.rates_tried(found) == {"vjepa2": [1e-3, 3e-3]} and recipes.rates_tried([]) == {}


def test_an_encoder_that_was_kept_is_not_trained_again(tmp_path, monkeypatch):
    def train(chosen, model, *_):
        torch.nn.init.constant_(model.encoder.weight, chosen["value"])
        return {"feature_std": 0.5}

    monkeypatch.setattr(recipes, "train", train)
    found = []
    for key, value in (("x.1", 1.0), ("x.2", 2.0), ("x.1", 3.0)):
        model = SimpleNamespace(encoder=torch.nn.Linear(2, 2))
        numbers = recipes.learned(tmp_path / "kept" / key, {"value": value}, model, [], 0)
        found.append((model.encoder.weight.mean().item(), numbers["feature_std"]))
    assert found == [(1.0, 0.5), (2.0, 0.5), (1.0, 0.5)]


def test_a_recipe_that_joins_later_is_timed_beside_one_of_the_table(tmp_path, monkeypatch):
    """Everything takes three times as long today; the ratio is what counts."""
    known = json.loads((recipes.RESULTS / "recipes.json").read_text())["protocol"]["step_seconds"]
    now = [0.0]

    def train(chosen, *_):
        steps = chosen["optimisation"]["steps"]
        masked = chosen["objective"]["_target_"].endswith("MaskedTokens")
        now[0] += 7.0 + steps * (known["tube_sigreg"] if masked else 0.5) * 3

    world = SimpleNamespace(size=64, patch=16, videos=lambda *_, **__: [])
    monkeypatch.setattr(recipes, "WORLDS", dict.fromkeys(recipes.SWEPT, world))
    monkeypatch.setattr(recipes, "train", train)
    monkeypatch.setattr(recipes, "build", lambda *_: None)
    monkeypatch.setattr(recipes.time, "process_time", lambda: now[0])
    found = recipes.pace("videomae", tmp_path, steps=4, repeats=3)
    assert found == pytest.approx(0.5)
    recipes.note_pace(tmp_path, "videomae", found)
    line = {"recipe": "videomae", "steps": 10, "cpu_seconds": 15.0}
    assert step_seconds([recipes.with_pace(line, tmp_path)], "videomae") == pytest.approx(0.5)
    other = line | {"recipe": "ijepa"}
    assert recipes.with_pace(other, tmp_path) == other


def test_where_no_sweep_was_run_the_table_says_what_it_was_made_with(tmp_path, monkeypatch):
    """And goes on to say it of all recipes when one of them is measured again."""
    table = json.loads((recipes.RESULTS / "recipes.json").read_text())
    protocol = table["protocol"]
    assert {"tube_sigreg", "vjepa2"} <= set(protocol["rates"])
    (tmp_path / "recipes.json").write_text(json.dumps(table))
    monkeypatch.setattr(recipes, "RESULTS", tmp_path)
    for recipe in ("tube_sigreg", "vjepa2"):
        assert chosen_rate([], recipe) == protocol["rates"][recipe]
        assert step_seconds([], recipe) == protocol["step_seconds"][recipe]
    for unknown in (chosen_rate, step_seconds):
        with pytest.raises(ConfigError, match="of ijepa: run --sweep first"):
            unknown([], "ijepa")
    one = [{"world": "digits", "recipe": "vjepa2", "seed": 22, "rate": 3e-4,
            "read": {"position_r2": 0.5}}]  # fmt: skip
    recipes.write_table(one, [], seconds=recipes.SECONDS)
    again = json.loads((tmp_path / "recipes.json").read_text())
    for key in ("rates", "step_seconds", "swept_steps", "swept_on", "rates_tried"):
        assert again["protocol"][key] == protocol[key]

    def others(rows):
        return sorted((r for r in rows if not r["key"].startswith("digits.vjepa2.")),
                      key=lambda row: row["key"])  # fmt: skip

    assert others(again["rows"]) == others(table["rows"]) and len(others(again["rows"])) > 100
    values = {row["key"]: row["value"] for row in again["rows"]}
    assert values["digits.vjepa2.position_r2"] == 0.5
    floors = {row["key"]: row.get("floor") for row in again["rows"]}
    assert floors["digits.vjepa2.position_r2"] == values["digits.untrained.position_r2"]
    assert again["command"] == table["command"] and "digits.vjepa2.effective_rank" not in values
    monkeypatch.setattr(recipes, "BATCH", 7)
    with pytest.raises(ConfigError, match="was measured with another batch; move it away"):
        recipes.write_table(one, [], seconds=recipes.SECONDS)


def test_a_baseline_that_the_table_has_is_not_measured_again(monkeypatch):
    seconds, seeds = recipes.SECONDS, recipes.REPORT
    assert recipes.in_table("tworoom", "pixels", seeds, seconds)
    for asked in (("tworoom", "pixels", (22,), seconds), ("tworoom", "raw", seeds, seconds),
                  ("sea", "pixels", seeds, seconds), ("tworoom", "pixels", seeds, 1)):  # fmt: skip
        assert not recipes.in_table(*asked)
    monkeypatch.setattr(recipes, "EPOCHS", 7)  # of attentive probes, which digits have
    assert not recipes.in_table("digits", "pixels", seeds, seconds)
    assert recipes.in_table("tworoom", "pixels", seeds, seconds)


def test_a_case_is_told_apart_by_everything_that_it_is_measured_with():
    case = Case("digits", "vjepa2", 1, 1e-3, 10)
    others = [replace(case, **{k: v}) for k, v in
              {"rate": 3e-3, "steps": 11, "seed": 2, "swept": True, "world": "tworoom",
               "recipe": "videomae"}.items()]  # fmt: skip
    assert len({c.key() for c in (case, *others)}) == 7
    assert case.key() == replace(case).key()


def test_the_table_is_of_the_cases_that_were_asked_for(tmp_path, monkeypatch):
    """Records of another rate, or read otherwise, are left where they are, and in no mean."""
    kept = tmp_path / "records.jsonl"
    monkeypatch.setattr(recipes, "chosen_rate", lambda swept, recipe: 1e-3)
    monkeypatch.setattr(recipes, "step_seconds", lambda swept, recipe: recipes.SECONDS / 10)
    monkeypatch.setattr(recipes, "BASELINES", ())
    tables = []
    monkeypatch.setattr(recipes, "write_table", lambda records, *_, **__: tables.append(records))
    wanted = Case("digits", "vjepa2", 22, 1e-3, 10)
    keys = [*map(recipes.of_record, (wanted, replace(wanted, rate=3e-3))), f"{wanted.key()}.7"]
    for key, value in zip(keys, (0.5, 0.9, 0.7), strict=True):
        line = {"case": key, "world": "digits", "recipe": "vjepa2", "seed": 22,
                "rate": 1e-3, "read": {"a_r2": value}}  # fmt: skip
        with kept.open("a") as file:
            file.write(json.dumps(line) + "\n")
    words = ["--worlds", "digits", "--recipes", "vjepa2", "--seeds", "22", "--kept-in"]
    monkeypatch.setattr(sys, "argv", ["recipes", *words, str(tmp_path)])
    recipes.main()
    assert [[record["read"]["a_r2"] for record in records] for records in tables] == [[0.5]]
