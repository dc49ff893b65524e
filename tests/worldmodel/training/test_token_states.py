"""States that are all tokens of a time step: learned, moved, and planned with."""

from dataclasses import replace

import pytest
import torch

from tests.worldmodel.interop import makers
from tests.worldmodel.toys import SIZE, small, small_model, write_dots
from worldmodel import checkpoint
from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.nn.frame_predictor import FrameActionPredictor
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.runs.run import Run, read_log
from worldmodel.training.begin import begin
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.train import Rollouts, train
from worldmodel.types import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dots(tmp_path_factory.mktemp("dots") / "some", episodes=30, seed=0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return checkpoint.save(small_model(), tmp_path_factory.mktemp("pretrained"))


def tokens(**changed):
    return replace(small(), state="tokens", action="FrameActionPredictor", **changed)


def learn(folder, tmp_path, steps, *, rate=3e-3, rollouts=None, **words):
    run = Run.open(tmp_path / "run", verb="train", config={}, seed=0)
    train(
        run, episodes=str(folder), regulariser=SIGReg(num_slices=64), batch=32,
        optimisation=Optimisation(steps, learning_rate=rate, log_every=5),
        rollouts=rollouts or Rollouts(4), **words,
    )  # fmt: skip
    run.close()
    return run


def test_the_tokens_of_a_frozen_encoder_are_predicted(folder, encoder, tmp_path):
    run = learn(folder, tmp_path, 60, model=tokens(), encoder=str(encoder))
    before, after = load(encoder), load(run.folder)
    assert isinstance(after.head, FrameTokens) and after.masked_predictor is None
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(value, after.encoder.state_dict()[name])
    lines = [line["loss.prediction"] for line in read_log(run.folder)]
    assert lines[-1] < 0.7 * lines[0]
    clip = Clip.from_uint8(load_arrays(Episodes(folder)).frames[None, :2])
    normed = torch.nn.functional.layer_norm(before.encode(clip).tokens, (24,))
    assert torch.allclose(after.states(clip), normed.flatten(1)[:, None], atol=1e-5)


def test_a_frame_that_stands_still_is_a_state_of_one_frame(folder, encoder, tmp_path):
    model = tokens(still=True)
    run = learn(folder, tmp_path, 3, model=model, encoder=str(encoder))
    after = load(run.folder)
    assert (after.state_frames, after.action_block) == (1, 1)
    clip = Clip.from_uint8(load_arrays(Episodes(folder)).frames[None, :3])
    states = after.states(clip)
    assert states.shape == (1, 3, 4 * 24)
    assert torch.allclose(states.flatten(), after.frame_tokens(clip).flatten(), atol=1e-5)


def test_proprioception_is_learned_beside_the_tokens(folder, encoder, tmp_path):
    learned = learn(
        folder,
        tmp_path,
        150,
        rate=1e-2,
        model=tokens(),
        encoder=str(encoder),
        proprioception="position",
    )
    model, arrays = load(learned.folder), load_arrays(Episodes(folder))
    assert model.proprioception == "position" and model.state_dim - model.image_dim == 2
    known = arrays.info["position"].float()
    clip = Clip.from_uint8(arrays.frames[None, :4])
    states = model.states(clip, known[None, [1, 3]])
    normed = (known - known.mean(0)) / known.std(0)
    assert torch.allclose(states[0, :, model.image_dim :], normed[[1, 3]], atol=1e-5)
    assert not model.states(clip)[..., model.image_dim :].any()
    first = torch.cat([torch.arange(at.start + 1, at.stop - 2) for at in arrays.slices])
    frames = torch.stack([arrays.frames[first - 1], arrays.frames[first]], dim=1)
    now = model.states(Clip.from_uint8(frames), known[first, None])
    blocks = torch.cat([arrays.actions[first], arrays.actions[first + 1]], dim=1)[:, None]
    foreseen = model.predict(now, blocks)[:, -1, model.image_dim :]
    far, wrong = (normed[first + 2] - x for x in (normed[first], foreseen))
    assert wrong.square().mean() < 0.1 * far.square().mean()


def test_proprioception_needs_states_of_tokens_and_an_info(folder, encoder, tmp_path):
    with pytest.raises(ConfigError, match="does not take; it goes into new states of tokens"):
        learn(folder, tmp_path, 1, encoder=str(encoder), model=small(), proprioception="position")
    with pytest.raises(ConfigError, match="proprioception: .*position"):
        learn(folder, tmp_path, 1, encoder=str(encoder), model=tokens(), proprioception="positon")


def test_v_jepa_2_ac_trains_on_with_actions_of_another_width(folder, tmp_path):
    torch.save(makers.checkpoint_ac(), tmp_path / "ac.pt")
    hints = {"heads": makers.HEADS, "predictor_heads": makers.HEADS, "size": SIZE}
    published = load(tmp_path / "ac.pt", **hints)
    checkpoint.save(published, tmp_path / "ac")
    arrays = load_arrays(Episodes(folder))
    begun = begin(small(), arrays, pretrained=published, predictor="kept")
    assert begun.action_dim == begun.action_block * 2 == 2
    theirs, ours = published.action_predictor.state_dict(), begun.action_predictor.state_dict()
    fresh = {"embed_action.weight", "embed_action.bias"}
    for name in theirs.keys() - fresh:
        assert torch.equal(theirs[name], ours[name]), name
    assert ours["embed_action.weight"].shape[1] == 2
    run = learn(
        folder, tmp_path, 40, encoder=str(tmp_path / "ac"), predictor="kept",
        rollouts=Rollouts(5, steps=2, distance="l1"),
    )  # fmt: skip
    lines = [line["loss.rollout"] for line in read_log(run.folder)]
    assert lines[-1] < 0.8 * lines[0]
    assert isinstance(load(run.folder).action_predictor, FrameActionPredictor)


def test_what_cannot_be_kept_is_said(folder, encoder, tmp_path):
    with pytest.raises(ConfigError, match="tune=none freezes an encoder that has learned nothing"):
        learn(folder, tmp_path, 1, model=tokens(), tune="none")
    with pytest.raises(ConfigError, match="predictor=kept: encoder=None has no action predictor"):
        learn(folder, tmp_path, 1, model=tokens(), predictor="kept")
    other = checkpoint.save(small_model(action_dim=3), tmp_path / "three")
    with pytest.raises(ConfigError, match="a ActionTransformer of actions of another width"):
        learn(folder, tmp_path, 1, model=small(), encoder=str(other), predictor="kept")
    numbers = small_model()
    assert begin(small(), load_arrays(Episodes(folder)), pretrained=numbers).action_choices == ()
    numbers.action_choices = (2,)
    other = checkpoint.save(numbers, tmp_path / "two")
    with pytest.raises(ConfigError, match="ActionTransformer of actions of another width or kind"):
        learn(folder, tmp_path, 1, model=small(), encoder=str(other), predictor="kept")
    with pytest.raises(ConfigError, match="FrameActionPredictor predicts tokens: say model.state"):
        learn(folder, tmp_path, 1, model=replace(tokens(), state="vector"))
    with pytest.raises(ConfigError, match="model.still=true needs model.state=tokens"):
        replace(small(), still=True)
    with pytest.raises(ConfigError, match="model.state=token: .*tokens"):
        replace(small(), state="token")


def test_token_states_of_another_kind_are_made_anew(folder, encoder, tmp_path):
    arrays = load_arrays(Episodes(folder))
    pretrained = load(encoder)
    first = begin(tokens(), arrays, pretrained=pretrained)
    again = begin(tokens(still=True), arrays, pretrained=first)
    assert (first.state_frames, again.state_frames) == (2, 1)
    assert begin(tokens(), arrays, pretrained=first).head is first.head
    with pytest.raises(ConfigError, match="model.action_block=4: the predictor that is kept acts"):
        begin(tokens(action_block=4), arrays, pretrained=first, predictor="kept")


def test_proprioception_that_is_not_told_everywhere_is_refused(folder, encoder):
    arrays = load_arrays(Episodes(folder))
    arrays.info["position"][3] = float("nan")
    with pytest.raises(ConfigError, match="position is not told, or no number, at 1 of 720 frames"):
        begin(tokens(), arrays, pretrained=load(encoder), proprioception="position")


def test_a_transformer_that_unrolls_practises_what_it_will_do(folder, tmp_path):
    model = replace(small(), action="RolloutTransformer", action_window=3)
    with pytest.raises(ConfigError, match="rollouts.length=4: a RolloutTransformer looks further"):
        learn(folder, tmp_path, 1, model=model, rollouts=Rollouts(4))
    with pytest.raises(ConfigError, match="straight_weight compares two changes in a row"):
        Rollouts(2, straight_weight=1.0)


def test_the_next_frames_are_those_of_the_states_with_what_a_body_knows(folder, encoder, tmp_path):
    learned = learn(
        folder, tmp_path, 3, model=tokens(still=True), encoder=str(encoder),
        proprioception="position",
    )  # fmt: skip
    model, arrays = load(learned.folder), load_arrays(Episodes(folder))
    clip, known = (
        Clip.from_uint8(arrays.frames[None, :3]),
        arrays.info["position"][None, :3].float(),
    )
    actions = arrays.actions[None, :3]
    after = model.predict(model.states(clip, known), actions)[..., : model.image_dim]
    frames = model.next_frames(clip, known, actions)
    assert torch.allclose(after.flatten(), frames.flatten(), atol=1e-4)


def test_the_pose_of_v_jepa_2_ac_can_be_told_by_an_info_in_its_own_units(folder, tmp_path):
    torch.save(makers.checkpoint_ac(), tmp_path / "ac.pt")
    hints = {"heads": makers.HEADS, "predictor_heads": makers.HEADS, "size": SIZE}
    published, arrays = load(tmp_path / "ac.pt", **hints), load_arrays(Episodes(folder))
    poses = {"pose": torch.rand(len(arrays.frames), 7)}
    told = replace(arrays, info={**arrays.info, **poses})
    model = begin(small(), told, pretrained=published, predictor="kept", proprioception="pose")
    assert model.proprioception == "pose"
    states = model.states(Clip.from_uint8(arrays.frames[None, :2]), poses["pose"][None, :2])
    assert torch.equal(states[0, :, -7:], poses["pose"][:2])
    with pytest.raises(ConfigError, match="position is 2 numbers, which this model does not take"):
        begin(small(), arrays, pretrained=published, proprioception="position")
