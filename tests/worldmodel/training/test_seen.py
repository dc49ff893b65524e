"""What a pretraining keeps for its page: known components, errors in their places, neighbours."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.worldmodel.toys import noise, seeded, small, small_model
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.model import WorldModel
from worldmodel.nn.predictor import Prediction
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import (
    PREDICTED,
    SEEN,
    UNUSED,
    AllButOne,
    Future,
    MaskMixture,
    RandomTokens,
    Tubes,
)
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.regularisers import NoRegulariser
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run
from worldmodel.storage.tensors import read_tensors_and_header
from worldmodel.training.seen import (
    FILE,
    keep_seen,
    look,
    neighbours,
    prediction_errors,
    principal_components,
    spread,
)

MASKS = MaskMixture([AllButOne(), Tubes(1, 0.25), Future()], [1, 1, 0], drop=0.3)
OBJECTIVES = {
    "time_steps": lambda: TimeSteps(small(), masks=MASKS, regulariser=NoRegulariser()),
    "masked_tokens": lambda: MaskedTokens(
        small(per_token=True), masks=MASKS, regulariser=NoRegulariser()
    ),
    "next_tokens": lambda: NextTokens(small(), regulariser=NoRegulariser(), horizons=(1, 2)),
    "masked_pixels": lambda: MaskedPixels(small(), masks=MASKS),
}


def test_components_are_the_directions_of_most_variance() -> None:
    axes = torch.linalg.qr(torch.randn(6, 6, generator=seeded())).Q
    noisy = torch.randn(400, 6, generator=seeded(1))
    parts = torch.linalg.qr(noisy - noisy.mean(0)).Q * torch.tensor([5.0, 3.0, 1.0, 0.1, 0.1, 0.1])
    tokens = (parts @ axes.T + 7).reshape(4, 100, 6)
    found = principal_components(tokens)
    assert found.shape == (4, 100, 3)
    torch.testing.assert_close(found.flatten(0, 1).abs(), parts[:, :3].abs(), atol=1e-4, rtol=0)
    assert torch.equal(found, principal_components(tokens))


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (50, 1), (50, 2)])
def test_components_that_there_are_not_are_zero(shape: tuple[int, int]) -> None:
    tokens = torch.randn(*shape, generator=seeded())
    found = principal_components(tokens)
    most = min(shape[0] - 1, shape[1])
    assert found.shape == (shape[0], 3) and not found[:, max(most, 1) :].abs().gt(1e-5).any()
    centred = tokens - tokens.mean(0)
    assert found.norm() == pytest.approx(float(centred.norm()), abs=1e-5)


def test_tokens_that_are_all_equal_have_no_components() -> None:
    assert not principal_components(torch.full((2, 3, 8), 0.1)).any()


def test_clips_of_different_videos_come_first() -> None:
    assert spread(["a", "a", "a", "b", "b", "c"], 5) == [0, 3, 5, 1, 4]
    assert spread(["a", "a"], 5) == [0, 1]


def test_neighbours_are_the_nearest_clip_of_each_other_video() -> None:
    angles = torch.tensor([0.0, 1.0, 90.0, 91.0, 180.0, 10.0, 20.0, 185.0]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], dim=-1)
    features = torch.cat([features, -features])  # so that their mean is zero
    videos = [*"aabbcdde", *"zzzzzzzz"]
    found = neighbours(features + 50, videos)
    assert found is not None
    rows, cosines = found
    assert rows[0].tolist() == [0, 12, 5, 2]  # z at 0 degrees, d at 10, b at 90
    assert cosines[0].tolist() == pytest.approx([1, 0.9848, 0], abs=1e-3)


def test_neighbours_never_are_of_the_same_video() -> None:
    videos = [*"aaaabbbbcc"]
    found = neighbours(torch.randn(10, 4, generator=seeded()), videos)
    assert found is not None
    rows, cosines = found
    assert rows.shape == (8, 3) and cosines.shape == (8, 2)
    for query, *near in rows.tolist():
        assert len({videos[row] for row in (query, *near)}) == 3
    assert (cosines.diff(dim=1) <= 0).all()
    for videos in ([*"aaaa"], [*"aabb"]):
        assert neighbours(torch.randn(4, 4, generator=seeded()), videos) is None


class Foretold(nn.Module):
    """Stands in for a predictor: says what it was given."""

    def __init__(self, *found: Prediction) -> None:
        super().__init__()
        self.found = found

    def predictions(self, encoder: object, head: object, frames: object) -> object:
        return iter(self.found)


def errors_of(*found: Prediction, clips: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    model = WorldModel(small().encoder, size=16, masked_predictor=Foretold(*found))  # type: ignore[arg-type]
    errors = prediction_errors(model, noise(clips, 8, 3, 16, 16), (4, 2, 2))
    assert errors is not None
    return errors


def test_errors_of_tokens_stand_where_the_tokens_are() -> None:
    """Windows of two hidden time steps, which overlap in one."""
    windows = []
    for start in (1, 2):
        off = torch.arange(8.0).reshape(1, 1, 8, 1) + 100 * start
        observed = torch.randn(2, 1, 8, 3, generator=seeded(start))
        end = torch.tensor([2 * (start + 2) - 1])
        windows.append(Prediction(observed + off, observed, observed - 1, end, power=1))
    error, copying = errors_of(*windows)
    assert error.shape == (2, 4, 2, 2) and error[:, 0].isnan().all()
    first, second = (torch.arange(8.0).reshape(2, 2, 2) + 100 * start for start in (1, 2))
    expected = torch.stack([first[0], (first[1] + second[0]) / 2, second[1]])
    torch.testing.assert_close(error[:, 1:], expected.expand(2, -1, -1, -1))
    torch.testing.assert_close(copying[:, 1:], torch.ones(2, 3, 2, 2))


def test_errors_of_states_are_those_of_their_time_steps() -> None:
    model, frames = small_model(), noise(3, 8, 3, 16, 16)
    found = prediction_errors(model, frames, (4, 2, 2))
    assert found is not None
    error, copying = found
    assert error.shape == (3, 4, 1, 1) and error[:, 0].isnan().all()
    (said,) = model.masked_predictor.predictions(model.encoder, model.head, frames)
    torch.testing.assert_close(error[:, 1:, 0, 0], said.errors())
    torch.testing.assert_close(copying[:, 1:, 0, 0], said.persistence_errors())


def test_one_time_step_has_no_errors() -> None:
    assert prediction_errors(small_model(), noise(3, 2, 3, 16, 16), (1, 2, 2)) is None
    model = small_model()
    model.masked_predictor = None
    assert prediction_errors(model, noise(3, 8, 3, 16, 16), (4, 2, 2)) is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_can_be_looked_at(name: str) -> None:
    objective, frames = OBJECTIVES[name](), noise(12, 8, 3, 16, 16)
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    videos = [f"video {i // 4}" for i in range(12)]
    tensors, names = look(objective, frames, videos, size=16)
    assert names["videos"] == ["video 0", "video 1", "video 2", "video 0"]
    pixels = (frames[[0, 4, 8, 1], 1::2] * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2)
    assert torch.equal(tensors["frames"], pixels)
    assert tensors["steps"].tolist() == [0, 1, 2, 3]
    assert tensors["parts"].shape == (4, 4, 2, 2) and len(names["masks"]) == 4
    assert all((mask == PREDICTED).any() and (mask == SEEN).any() for mask in tensors["parts"])
    assert tensors["components"].shape == (4, 4, 2, 2, 3)
    assert ("error" in tensors) == (name != "masked_pixels")
    assert tensors["neighbours"].shape == (8, 3)
    assert int(tensors["neighbours"].max()) == len(tensors["images"]) - 1
    drawn = torch.get_rng_state(), np.random.get_state()[1]
    again, _ = look(objective, frames, videos, size=16)
    # What comes after it, such as a quickstart's next stage, draws the same as without it.
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (np.random.get_state()[1] == drawn[1]).all()
    for key, value in tensors.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, equal_nan=True)
    for key, value in objective.state_dict().items():
        assert torch.equal(value, before[key])


def test_examples_of_masks_are_of_every_kind_that_is_drawn() -> None:
    grid = (4, 2, 2)
    time, tubes = MASKS.examples(grid, seeded())
    assert (time.name, tubes.name) == ("all but one", "tubes")
    assert int((time.parts == PREDICTED).sum()) == 12
    assert int((time.parts == SEEN).sum()) == 3 and int((time.parts == UNUSED).sum()) == 1
    assert (tubes.parts == PREDICTED).all(dim=0).sum() == 1  # one token at all times


def test_time_steps_that_are_seen_are_seen_whole() -> None:
    objective = OBJECTIVES["time_steps"]()
    time, tubes = objective.mask_examples((4, 2, 2), seeded())
    assert not (time.parts == UNUSED).any() and (tubes.parts == UNUSED).any()


def test_the_memory_sees_all_time_steps_so_far_and_predicts_at_its_horizons() -> None:
    examples = OBJECTIVES["next_tokens"]().mask_examples((4, 1, 1), seeded())
    assert [x.parts.flatten().tolist() for x in examples] == [
        [SEEN, PREDICTED, PREDICTED, UNUSED],
        [SEEN, SEEN, PREDICTED, PREDICTED],
        [SEEN, SEEN, SEEN, PREDICTED],
    ]


def test_each_clip_has_a_mask_of_its_own() -> None:
    masks = MaskMixture([RandomTokens(0.5), Tubes(1, 0.25)], [1, 1])
    objective = MaskedPixels(small(), masks=masks)
    tensors, names = look(objective, noise(6, 4, 3, 32, 32), [*"abcdef"], size=32)
    assert names["masks"] == ["random tokens", "tubes"] * 3
    assert len({tuple(parts.flatten().tolist()) for parts in tensors["parts"][::2]}) == 3
    memory = NextTokens(small(), regulariser=NoRegulariser(), horizons=(1,))
    _, names = look(memory, noise(4, 14, 3, 16, 16), [*"abcd"], size=16)
    assert names["masks"] == [f"from time step {step}" for step in (1, 2, 4, 5)]


def test_long_clips_and_large_frames_are_kept_small() -> None:
    objective = MaskedPixels(small(), masks=MaskMixture([RandomTokens(0.5)], [1]))
    tensors, _ = look(objective, noise(4, 20, 3, 32, 128), [*"abcd"], size=128)
    assert tensors["steps"].tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert tensors["frames"].shape == (4, 8, 24, 96, 3)
    assert tensors["images"].shape == (4, 16, 64, 3)
    assert tensors["parts"].shape == (4, 8, 4, 16)


def test_what_hinders_the_pictures_is_said_and_stops_nothing(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = Run.open(tmp_path / "run", verb="pretrain", config={}, seed=0), []
    monkeypatch.setattr(run, "say", said.append)
    objective = OBJECTIVES["time_steps"]()
    with pytest.raises(ConfigError, match="AllButOne hides nothing"):
        look(objective, noise(4, 2, 3, 16, 16), [*"aabb"], size=16)
    keep_seen(run, objective, noise(4, 2, 3, 16, 16), [*"aabb"], size=16)
    assert said == ["the page shows no clips: AllButOne hides nothing of a single time step: take "
                    "longer clips"]  # fmt: skip
    assert not (run.folder / FILE).exists()
    torch.nn.init.constant_(objective.encoder.norm.weight, torch.nan)
    keep_seen(run, objective, noise(4, 8, 3, 16, 16), [*"aabb"], size=16)
    assert said[-1] == "the page shows no clips: the encoder's tokens are not finite"
    keep_seen(run, OBJECTIVES["masked_pixels"](), noise(4, 8, 3, 16, 16), (), size=16)
    tensors, header = read_tensors_and_header(run.folder / FILE)
    assert header["videos"] == '["", "", "", ""]' and "neighbours" not in tensors
    run.close()


def test_frames_that_the_encoder_cannot_take_are_an_error() -> None:
    with pytest.raises(ShapeError):
        look(OBJECTIVES["time_steps"](), noise(4, 7, 3, 16, 16), [*"aabb"], size=16)
