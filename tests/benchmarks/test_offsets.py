import json
import sys

import pytest

from benchmarks import offsets, planning
from worldmodel.evaluation.statistics import wilson


def test_a_curve_takes_the_trials_of_all_seeds_and_grows(tmp_path, monkeypatch, capsys):
    asked = []

    def planned(name, seed, folder, goal, words):
        asked.append((name, seed, goal, *words))
        found = {"success_held": 0.8 if seed == 1 else 0.6, "success_held.n": 50.0}
        return found | {"random_success_held": 0.1, "random_success_held.n": 50.0}

    monkeypatch.setattr(offsets, "learn", lambda name, seed, folder: None)
    monkeypatch.setattr(offsets, "planned", planned)
    monkeypatch.setattr(offsets, "TABLE", tmp_path / "offsets.json")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["offsets", *words])
        offsets.main()
        return {
            row["key"]: row for row in json.loads((tmp_path / "offsets.json").read_text())["rows"]
        }

    run("--worlds", "umaze", "--seeds", "1", "--offsets", "50")
    table = run("--worlds", "umaze", "tworoom", "--seeds", "1", "2", "--offsets", "50", "100")
    assert asked[0] == ("umaze", 1, "offset50", "goal=episodes", "offset=50")
    assert len(asked) == 8 and len(set(asked)) == 8
    row = table["umaze.offset50.success"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(wilson(70, 100))
    assert row["per_seed"] == [0.8, 0.6] and row["floor"] == pytest.approx(0.1)
    # Two rooms have a cost of their own for goals far away.
    assert ("tworoom", 1, "offset100", "goal=episodes", "offset=100", "cost=landmarks") in asked
    assert [*table][0] == "tworoom.offset50.success"
    # What was measured with other settings is left out, and said.
    monkeypatch.setattr(planning, "EPISODES", planning.EPISODES + 1)
    assert [*run("--worlds", "umaze", "--seeds", "1", "--offsets", "10")] == [
        "umaze.offset10.success"
    ]
    assert "umaze seed 1 is left out: it was measured with settings" in capsys.readouterr().out
