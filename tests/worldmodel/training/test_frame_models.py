"""A timm backbone through the verbs: pretrained on a made video, then used."""

from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.cli import app
from worldmodel.cli.runner import run_verb
from worldmodel.interop.load import load

SMALL = [
    "model=timm", "model.encoder.name=resnet18", "model.predictor_width=32", "num_frames=6",
    "optimisation.steps=4", "batch=4", "objective.regulariser.num_slices=32", "device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square that moves over a dark ground."""
    path = tmp_path_factory.mktemp("videos") / "square.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            image = np.full((64, 96, 3), 20, np.uint8)
            image[20:40, 2 * number : 2 * number + 16] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_a_backbone_learns_from_video_and_is_surprised(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["pretrain", *SMALL, f"data.path={video.parent}"]) == 0
    model = load("runs/pretrain/default")
    assert model.encoder.spec["name"] == "resnet18" and model.encoder.grid_of(2, 64, 64)[0] == 1
    words = ["surprise", "model=runs/pretrain/default", f"clips={video}", "device=cpu"]
    assert app.main(words) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model.encoder.name=resnet19"], "no backbone 'resnet19'; did you mean 'resnet18'?"),
        (["model.encoder.nmae=resnet18"], "did you mean 'model.encoder.name'"),
        (["model.encoder.name=crossvit_9_240"], "cannot take frames of 64 x 64 pixels"),
        (["model.encoder.stage=40"], "stage must lie between"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str],
    line: str,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["pretrain", "model=timm", f"data.path={video.parent}", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert line in said and "\n" not in said
    assert not Path("runs").exists()


@pytest.mark.slow
def test_actions_are_learnt_on_top(tmp_path: Path) -> None:
    words = ["env=worldmodel.envs:worldmodel/TwoRoom-v0", "episodes=4", "steps=24"]
    run_verb("collect", words, runs_dir=tmp_path, name="rooms")
    episodes = tmp_path / "collect/rooms/episodes"
    settings = [*SMALL, "data=episodes", f"data.path={episodes}"]
    run_verb("pretrain", settings, runs_dir=tmp_path, name="frames")
    results = run_verb(
        "train",
        [
            f"episodes={episodes}", f"encoder={tmp_path / 'pretrain/frames'}",
            "optimisation.steps=3", "batch=4", "device=cpu",
        ],
        runs_dir=tmp_path, name="actions",
    )  # fmt: skip
    assert results["steps"] == 3
    model = load(tmp_path / "train/actions")
    assert model.action_predictor is not None and model.encoder.spec["name"] == "resnet18"
