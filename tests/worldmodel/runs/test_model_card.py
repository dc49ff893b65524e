"""The README.md beside a saved model."""

from pathlib import Path

import yaml

from worldmodel.runs import model_card

METRICS = {
    "verb": "pretrain", "version": "0.1.0", "git_commit": "abc", "seed": 3, "device": "cpu",
    "seconds": 12.5, "config_sha256": "f00", "results": {"videos": 8.0, "feature_std": 0.987654321},
}  # fmt: skip
CONFIG = {
    "name": "tubes",
    "data": {"_target_": "worldmodel.loading.sources.VideoFiles", "path": "my|videos", "fps": None},
    "optimisation": {"steps": 30},
}


def card(folder: Path) -> str:
    return model_card.of_run(
        folder, METRICS, CONFIG, {"data.path": "my|videos", "optimisation.steps": 30}
    )


def test_a_card_says_what_the_run_knows(tmp_path: Path) -> None:
    text = card(tmp_path / "model")
    head, _, rest = text.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(head)["license"] == "other"
    parts = dict(part.split("\n", 1) for part in rest.split("## ")[1:])
    assert list(parts) == ["Data", "Recipe", "Numbers", "Provenance", "Use", "Licence"]
    assert "| data.path | my\\|videos |" in parts["Data"] and "| videos | 8 |" in parts["Data"]
    assert "fps" not in parts["Data"] and "_target_" not in parts["Data"]
    assert "| optimisation.steps | 30 |" in parts["Recipe"] and "data" not in parts["Recipe"]
    assert "| feature_std | 0.987654 |" in parts["Numbers"] and "videos" not in parts["Numbers"]
    assert "| git_commit | abc |" in parts["Provenance"] and "| seed | 3 |" in parts["Provenance"]
    assert f'wm.load("{tmp_path / "model"}")' in parts["Use"]


def test_a_card_is_renewed_but_never_a_person_s_own(tmp_path: Path) -> None:
    assert model_card.write(tmp_path, card(tmp_path))
    assert model_card.write(tmp_path, card(tmp_path) + "more")
    path = tmp_path / "README.md"
    assert path.read_text().endswith("more")
    path.write_text(path.read_text().replace(model_card.MARK, "") + "mine")
    assert not model_card.write(tmp_path, card(tmp_path))
    assert path.read_text().endswith("mine")
