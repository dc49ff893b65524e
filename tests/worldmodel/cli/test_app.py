"""The command line with toy verbs: words in, status, lines and folders out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import toy
from worldmodel.cli import app, settings
from worldmodel.cli.runner import run_verb
from worldmodel.cli.settings import quoted
from worldmodel.cli.verbs import VERBS, Verb

ODD = [
    "vidéo.mp4", "vitl (1).pt", "日本.pt", "it's.pt", "a=b.pt", "a[1].pt", "a{b}.pt", "a&b.pt",
    "a;b.pt", "#x.pt", "a\nb.pt", "a\udce9.pt", "a'b'.pt", "x!~.pt", "a\\'b.pt",
    "${x}.pt", "a/${oc.env:HOME}", "${", "\\\\${seed}", "$x$",
]  # fmt: skip


@pytest.fixture(autouse=True)
def toy_verbs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(settings, "CONFIGS", "tests.toy_configs")
    monkeypatch.setitem(VERBS, "toy", Verb("does nothing", "worldmodel toy path=x", ("path",)))
    monkeypatch.setitem(VERBS, "other", Verb("does nothing else", "worldmodel other size=x"))
    monkeypatch.chdir(tmp_path)
    toy.CALLS.clear()
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a wrong command ends with."""
    assert app.main(words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("worldmodel: ")
    return line


def test_a_run_leaves_its_folder_and_prints_its_results(
    toy_verbs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["toy", "path=x", "size=large", "steps=2", "name=mine"]) == 0
    folder = toy_verbs / "runs" / "toy" / "mine"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["results"]["area"] == 8
    assert {"verb", "version", "git_commit", "seed", "device", "seconds"} < set(metrics)
    assert yaml.safe_load((folder / "config.yaml").read_text())["size"]["depth"] == 1
    assert (folder / "report.html").is_file()
    out, err = capsys.readouterr()
    assert "rate       0.5  [0.200, 0.800]  n=10" in out
    assert "rate.low" not in out
    assert err.strip().endswith("report: runs/toy/mine/report.html")


def test_a_finished_run_is_not_run_again_and_other_settings_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.main(["toy", "x"]) == 0
    assert app.main(["toy", "x", "threads=1"]) == 0  # how, not what
    assert "was finished before; existing=redo does it again" in capsys.readouterr().err
    assert toy.CALLS == ["x"]
    assert "size.width: 4, now 8" in error_of(capsys, "toy", "x", "size.width=8")
    assert app.main(["toy", "x", "size.width=8", "existing=replace"]) == 0
    assert app.main(["toy", "x", "size.width=8", "existing=redo"]) == 0
    assert toy.CALLS == ["x", "x", "x"]


def test_a_page_that_an_interruption_left_out_is_made(toy_verbs: Path) -> None:
    assert app.main(["toy", "x"]) == 0
    page = toy_verbs / "runs/toy/default/report.html"
    page.unlink()
    assert app.main(["toy", "x"]) == 0
    assert page.is_file() and toy.CALLS == ["x"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tou"], "no verb 'tou'; did you mean 'toy'?"),
        (["toy", "pth=x"], "no setting 'pth'; did you mean 'path'?"),
        (["toy", "x", "size.widht=3"], "did you mean 'size.width'?"),
        (["toy", "x", "width=3"], "did you mean 'size.width'? worldmodel toy --help lists all"),
        (["toy", "x", "wdith=3"], "did you mean 'size.width' or 'size.depth'?"),
        (["toy", "x", "qqqqq=3"], "no setting 'qqqqq'; worldmodel toy --help lists all"),
        (["toy", "x", "name=${seed}"], "name=${seed}: names a folder in runs_dir"),
        (["toy", "path=[${a}]"], "quote a text with such letters: \"path='[${a}]'\""),
        (["toy", "x", "size=lage"], "no size 'lage'; did you mean 'large'?"),
        (["toy", "x", "+extra=1"], "extra: tests.toy.toy has no such setting"),
        (["toy", "x", "steps=many"], "steps=many must be a whole number"),
        (["toy", "x", "steps=2.5"], "steps=2.5 must be a whole number"),
        (["toy", "x", "rate=true"], "rate=True must be a number"),
        (["toy", "x", "mode=fst"], "did you mean 'fast'?"),
        (["toy", "path=3"], "path=3 must be text"),
        (["toy"], "path is not set: say what it is with path=..."),
        (["toy", "x", "y"], "'y': settings are given as key=value"),
        (["toy", "x", "--ful"], "no flag '--ful'"),
        (["toy", "x", "steps=[1"], "cannot read steps=[1; quote a text with such letters"),
        (
            ["toy", "path=[1].pt"],
            "cannot read path=[1].pt; quote a text with such letters: \"path='[1].pt'\"",
        ),
        (["toy", "path=é,b"], "quote a text with such letters: \"path='é,b'\""),
        (
            ["toy", "path=a,b"],
            "path=a,b: is several values, one for each run of a sweep; say "
            "--multirun, path=[a,b] for a list, or quote a text: \"path='a,b'\"",
        ),
        (["toy", "x", "size.width=0"], "width must be at least 1, got 0"),
        (["toy", "x", "seed=-1"], "seed=-1 must be a whole number"),
        (["toy", "x", "existing=keep"], "say resume, replace or redo"),
        (["toy", "x", "name=../up"], "names a folder in runs_dir"),
        (["toy", "x", "device=gpu7"], "device=gpu7: does not work here"),
        (["toy", "missing"], "missing: no such video; check the path"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], says: str, toy_verbs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(capsys, *words)
    assert not list((toy_verbs).rglob("config.yaml"))  # nothing half-made is left


def test_several_ranks_are_refused_and_leave_nothing(
    toy_verbs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "`worldmodel toy` is done by one process" in error_of(capsys, "toy", "x")
    assert not (toy_verbs / "runs").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")  # as torchrun says of one process
    assert app.main(["toy", "x"]) == 0


def test_debug_shows_where_an_error_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["toy", "missing", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_run_keeps_its_folder_and_goes_on(
    toy_verbs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["toy", "interrupt"]) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert (toy_verbs / "runs/toy/default/log.jsonl").is_file()
    assert app.main(["toy", "interrupt"]) == 130


def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        app.main(["toy", "broken"])


def test_problems_found_are_status_1() -> None:
    assert app.main(["toy", "bad"]) == 1
    assert app.main(["toy", "bad"]) == 1  # also when nothing is run again


def test_settings_are_shown_with_defaults_from_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["toy", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["size"] == {"_target_": "tests.toy.Size", "width": 4, "depth": 1}
    assert shown["steps"] == 3
    assert toy.CALLS == []


def test_a_mapping_that_takes_anything_takes_new_keys() -> None:
    assert app.main(["toy", "x", "options.door=0.3", "options.deep.er=1"]) == 0


def test_a_plain_setting_may_be_called_like_a_group(toy_verbs: Path) -> None:
    assert app.main(["other", "size=some/where"]) == 0
    metrics = toy_verbs / "runs/other/default/metrics.json"
    assert json.loads(metrics.read_text())["results"]["letters"] == len("some/where")


def test_a_sweep_runs_all_combinations_with_their_values_as_names(toy_verbs: Path) -> None:
    words = ["toy", "-m", "path=x", "size=small,large", "steps=1,2", "seed=3"]
    assert app.main(words) == 0
    names = {path.name for path in (toy_verbs / "runs/toy").iterdir()}
    assert names == {f"default_size={s}_steps={n}" for s in ("small", "large") for n in (1, 2)}


def test_a_sweep_stops_at_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such video" in error_of(capsys, "toy", "-m", "path=missing,x")


def test_a_word_that_stands_alone_is_taken_as_it_is(toy_verbs: Path) -> None:
    words = ["a b,c [d]'e", "a\\b", "a\\"]
    for number, word in enumerate(words):
        assert app.main(["toy", word, f"name={number}"]) == 0
    assert toy.CALLS == words


@pytest.mark.parametrize("path", ODD)
def test_names_of_files_need_no_quotes(path: str) -> None:
    for value in (path, quoted(path)):  # the second time its own settings are read back
        assert app.main(["toy", f"path={value}"]) == 0
    assert toy.CALLS == [path]


@pytest.mark.parametrize(
    "path",
    [*ODD[::5], *(pytest.param(p, marks=pytest.mark.exhaustive) for p in ODD if p not in ODD[::5])],
)
def test_nor_do_they_in_a_sweep_or_for_a_key_that_is_called_like_a_group(
    path: str, toy_verbs: Path
) -> None:
    assert app.main(["other", f"size={path}"]) == 0  # called like a folder of configurations
    metrics = toy_verbs / "runs/other/default/metrics.json"
    assert json.loads(metrics.read_text())["results"]["letters"] == len(path)
    assert app.main(["toy", "-m", f"path={path}", "steps=3,4"]) == 0
    assert toy.CALLS == [path] * 2


def test_verbs_run_in_process_as_on_the_command_line(tmp_path: Path) -> None:
    results = run_verb("toy", ["path=x", "size=large"], runs_dir=tmp_path / "in", name="stage")
    assert results["area"] == 8
    assert (tmp_path / "in/toy/stage/metrics.json").is_file()


def test_help_shows_settings_choices_and_what_they_mean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.main(["toy", "--help"]) == 0
    text = capsys.readouterr().out
    assert "size=large|small" in text
    assert "size.width=4" in text
    assert "`interrupt` and `broken` end the run half-way." in " ".join(text.split())
    assert "mode=fast" in text


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(words) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("worldmodel 0.")


def test_the_program_answers_as_a_process_of_its_own() -> None:
    words = [sys.executable, "-m", "worldmodel", "pretrain", "optimisation.stepz=3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'optimisation.steps'?" in done.stderr
