import pytest
import torch

from worldmodel.errors import ShapeError, WorldModelError, nearest
from worldmodel.types import Clip, History, Latents, Surprise

F64 = torch.float64


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_a_clip_from_bytes():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    clip = Clip.from_uint8(images, fps=4)
    assert clip.frames.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert clip.times.tolist() == [[0, 0.25, 0.5]]
    times = torch.tensor([[3.0, 4.0, 6.0]])
    assert Clip.from_uint8(images, times).times.tolist() == [[3, 4, 6]]
    assert Clip.from_uint8(images, times, sources=("a.mp4",)).sources == ("a.mp4",)
    with pytest.raises(ShapeError, match="expected uint8"):
        Clip.from_uint8(images.float())


@pytest.mark.parametrize("scale", [1, 255])
def test_a_still_image_is_held(scale):
    images = frames(2, 3, 4, 4)
    images = images if scale == 1 else (images * 255).to(torch.uint8)
    clip = Clip.from_images(images, 3)
    assert len(clip) == 2 and clip.frames.shape == (2, 3, 3, 4, 4)
    for t in range(3):
        assert torch.allclose(clip.frames[:, t], images.float() / scale)


def test_a_clip_moves_and_its_times_stay():
    clip = Clip.from_images(frames(1, 3, 4, 4), 2).to("cpu")
    assert clip.times.dtype == F64


GOOD = frames(1, 2, 3, 4, 4)
TIMES = torch.tensor([[0.0, 1.0]], dtype=F64)


@pytest.mark.parametrize(
    "values, words",
    [
        ((GOOD[0], TIMES), "b t c h w"),
        ((GOOD.double(), TIMES), "float32, got torch.float64"),
        ((GOOD[:, :, :, :0], TIMES), "not be empty"),
        ((GOOD * 2 + 1, TIMES), r"lie in \[0, 1\]"),
        ((GOOD - 1, TIMES), r"lie in \[0, 1\]"),
        ((GOOD * float("nan"), TIMES), r"lie in \[0, 1\]"),
        ((GOOD, TIMES[:, :1]), "times must be b t"),
        ((GOOD, TIMES.flip(1)), "increase"),
        ((GOOD, TIMES, ("a", "b")), "name each of 1 clips"),
    ],
)
def test_clips_check_themselves(values, words):
    with pytest.raises(ShapeError, match=words):
        Clip(*values)


def test_latents_fill_their_grid():
    assert Latents(torch.zeros(1, 12, 5), (3, 2, 2), torch.zeros(1, 3)).grid == (3, 2, 2)
    with pytest.raises(ShapeError, match="12 tokens do not fill"):
        Latents(torch.zeros(1, 12, 5), (3, 2, 3), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="Latents.times"):
        Latents(torch.zeros(1, 12, 5), (3, 2, 2), torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="b n d"):
        Latents(torch.zeros(12, 5), (3, 2, 2), torch.zeros(1, 3))


def test_a_history_has_an_action_between_each_two_states():
    assert len(History(torch.zeros(3, 5), torch.zeros(2, 4)).actions) == 2
    for states, actions in [(3, 3), (1, 1)]:
        with pytest.raises(ShapeError, match=f"for {states} states"):
            History(torch.zeros(states, 5), torch.zeros(actions, 4))
    with pytest.raises(ShapeError, match="states must be t d"):
        History(torch.zeros(0, 5), torch.zeros(0, 4))


def test_surprise_has_a_time_for_each_score():
    with pytest.raises(ShapeError, match="both be b t"):
        Surprise(torch.zeros(1, 3), torch.zeros(1, 4))


def test_values_cannot_be_changed():
    clip = Clip(GOOD, TIMES)
    with pytest.raises(AttributeError):
        clip.frames = GOOD


def test_hints_name_the_closest_choice_or_all():
    assert nearest("cosin", ["constant", "cosine"]) == "did you mean 'cosine'?"
    assert nearest("xyz", {"b", "a"}) == "choose from: a, b"


def test_a_shape_error_is_a_value_error_and_ours():
    assert issubclass(ShapeError, ValueError) and issubclass(ShapeError, WorldModelError)
