"""What actions do, learnt from a dot whose dynamics are known: p' = p + 2 a, in pixels."""

from dataclasses import replace

import pytest
import torch
from torch import Generator

from tests.worldmodel.datasets.layouts import lerobot_v3
from tests.worldmodel.toys import small, small_model, stirred, write_dots
from worldmodel import checkpoint
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.episodes.windows import EpisodeDataset, load_arrays
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.classifier import AttentiveClassifier
from worldmodel.nn.flow import FlowHead
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.runs.run import Run, read_log
from worldmodel.training.begin import begin
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.train import (
    ActionLearner,
    Rollouts,
    all_states,
    one_step,
    train,
)
from worldmodel.types import History


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    top = tmp_path_factory.mktemp("dots")
    return (
        write_dots(top / "some", episodes=30, seed=0, labelled=25),
        write_dots(top / "others", episodes=6, seed=1),
    )


@pytest.fixture(scope="module")
def data(folders):
    return EpisodeDataset(load_arrays(Episodes(folders[0]).labelled))


@pytest.fixture
def open_run(tmp_path):
    runs = []

    def open_run(name="run"):
        runs.append(Run.open(tmp_path / name, verb="train", config={}, seed=0))
        return runs[-1]

    yield open_run
    for run in runs:
        run.close()


def settings(steps, **changed):
    return Optimisation(steps, learning_rate=3e-3, log_every=20, **changed)


def learn(run, folder, steps, **changed):
    rollouts = Rollouts(changed.pop("length", 4))
    chosen = {"model": small(), "batch": 32, "rollouts": rollouts, **changed}
    return train(
        run,
        episodes=str(folder),
        regulariser=SIGReg(num_slices=64),
        optimisation=settings(steps),
        **chosen,
    )


def errors(model, folder):
    """Mean squared errors of rollouts of four blocks, with right, no and other actions."""
    segments = EpisodeDataset(load_arrays(Episodes(folder))).sweep(length=5, stride=4)
    with torch.no_grad():
        states = model.states(segments.clip())
        found = {}
        for name, actions in {
            "right": segments.actions,
            "other": segments.actions.roll(1, 0),
        }.items():
            rolled = [
                model.rollout(History(s[:1], a[:0]), a[None])[0]
                for s, a in zip(states, actions, strict=True)
            ]
            found[name] = (torch.stack(rolled) - states[:, 1:]).square().mean().item()
    found["copy"] = (states[:, :1] - states[:, 1:]).square().mean().item()
    return found


def test_rollouts_learn_what_actions_do(open_run, folders):
    run = open_run()
    results = learn(run, folders[0], 250)
    model = load(run.folder)
    found = errors(model, folders[1])
    assert found["copy"] > 0.2  # states tell where the dot is: this is not collapse
    assert found["right"] < 0.35 * found["copy"]
    assert found["right"] < 0.35 * found["other"]
    assert model.action_dim == 2 and model.masked_predictor is None
    assert results["steps"] == 250 and results["episodes"] == 25
    assert results["frames"] == 25 * 24


def with_everything(model):
    width = model.encoder.width
    model.classifier = AttentiveClassifier(width, 3, heads=2, depth=1)
    model.flow_head = FlowHead(width, levels=2, width=4, hidden=8, reach=1)
    return model


def test_frozen_parts_stay_as_they_are_to_the_bit(open_run, folders, tmp_path):
    before = with_everything(small_model(action_dim=3))
    checkpoint.save(before, tmp_path / "pretrained")
    run = open_run()
    learn(run, folders[0], 30, encoder=str(tmp_path / "pretrained"), tune="none")
    after = load(run.folder)
    kept = {"encoder", "head", "masked_predictor", "classifier", "flow_head"}
    assert kept <= {name.split(".")[0] for name in before.state_dict()}
    for name, value in before.state_dict().items():
        if name.split(".")[0] in kept:
            assert torch.equal(value, after.state_dict()[name]), name
    new = begin(small(), load_arrays(Episodes(folders[0]).labelled), pretrained=None)
    weight = "action_predictor.out.weight"
    assert not torch.equal(after.state_dict()[weight], new.state_dict()[weight])
    assert after.action_dim == 2  # of the episodes


def test_tuned_parts_change_and_what_was_made_for_the_encoder_is_let_go(
    open_run, folders, tmp_path
):
    before = with_everything(small_model())
    checkpoint.save(before, tmp_path / "pretrained")
    run = open_run()
    learn(run, folders[0], 5, encoder=str(tmp_path / "pretrained"), tune="all")
    after = load(run.folder)
    weight = "encoder.tubelets.embed.weight"
    assert not torch.equal(before.state_dict()[weight], after.state_dict()[weight])
    assert torch.allclose(before.state_dict()[weight], after.state_dict()[weight], atol=0.05)
    assert after.masked_predictor is after.classifier is after.flow_head is None


def learner(data, *, frozen, **rollouts):
    model = begin(small(), data.arrays, pretrained=None)
    return ActionLearner(
        model,
        data,
        regulariser=SIGReg(num_slices=32),
        rollouts=Rollouts(4, **rollouts),
        batch=8,
        seed=0,
        frozen=frozen,
    ).eval()


def test_kept_states_are_those_of_the_frames(data):
    frozen = learner(data, frozen=True)
    for step in range(5):  # with segments that begin at rest among them
        segments = data.sample(step, 8, seed=0, length=4)
        states = frozen.model.states(segments.clip())
        assert torch.allclose(frozen._states(segments), states, atol=1e-5)
    assert bool((data.sample(0, 200, seed=0, length=4).starts < 0).any())
    assert len(all_states(frozen.model, data)) == len(data.arrays.frames)


def test_frozen_parts_stay_in_evaluation_while_the_rest_trains(data):
    frozen = learner(data, frozen=True).train()
    assert not frozen.model.head.training and not frozen.model.encoder.training
    assert frozen.model.action_predictor.training
    losses = frozen.losses(0, torch.Generator().manual_seed(0))
    assert set(losses.terms) == {"prediction", "rollout"}
    assert not any(p.requires_grad for p in frozen.model.head.parameters())


def test_the_terms_of_a_learner_that_tunes(data):
    generator = torch.Generator().manual_seed(0)
    with_inverse = learner(data, frozen=False).losses(0, generator)
    tuned = learner(data, frozen=False, inverse_weight=0.0)
    losses = tuned.losses(0, torch.Generator().manual_seed(0))
    assert set(losses.terms) == {"prediction", "rollout", "regulariser"}
    assert set(with_inverse.terms) == {*losses.terms, "inverse"}
    segments = data.sample(0, 8, seed=0, length=4)
    states = tuned.model.states(segments.clip())
    # A new predictor copies: the one-step error is the change, the rollout's the way from the start
    first = tuned.model.action_predictor.window
    change = (states[:, first:] - states[:, first - 1 : -1]).square().mean()
    way = (states[:, 1:] - states[:, :1]).square().mean()
    assert torch.allclose(losses.terms["prediction"], change, rtol=1e-4)
    assert torch.allclose(losses.terms["rollout"], way, rtol=1e-4)
    noisy = learner(data, frozen=False, noise=0.5)
    generators = [torch.Generator().manual_seed(s) for s in (0, 0, 1)]
    a, b, c = (noisy.losses(0, g).terms["prediction"].item() for g in generators)
    assert a == b != c


@pytest.mark.parametrize("window", [1, 2, 3])
def test_one_step_and_imagined_states_are_those_of_the_model(window):
    model = small_model(window=window)
    states, actions = torch.randn(3, 5, 16), torch.randn(3, 4, 4)
    with torch.no_grad():
        steps, imagined = (
            one_step(model, states, actions)[0],
            model.imagine(states[:, :1], actions[:, :0], actions),
        )
        for b in range(3):
            for t in range(window - 1, 4):  # before, there is no whole window to look at
                past = History(states[b, : t + 1], actions[b, :t])
                following = model.rollout(past, actions[b : b + 1, t : t + 1])[0, 0]
                assert torch.allclose(steps[b, t - window + 1], following, atol=1e-4)
            whole = model.rollout(History(states[b, :1], actions[b, :0]), actions[b][None])[0]
            assert torch.allclose(imagined[b], whole, atol=1e-4)
    assert steps.shape == (3, 5 - window, 16) and imagined.shape == (3, 4, 16)


def test_actions_are_normalised_by_those_of_the_episodes(data):
    model = begin(small(), data.arrays, pretrained=None)
    ends = data.arrays.offsets[1:] - 1  # no action follows those frames
    taken = [i for i in range(len(data.arrays.actions)) if i not in set(ends.tolist())]
    actions = data.arrays.actions[taken]
    assert torch.allclose(model.action_mean, actions.mean(0).repeat(2), atol=1e-6)
    assert torch.allclose(model.action_std, actions.std(0).repeat(2), atol=1e-5)


def test_the_end_of_an_episode_is_no_action(folders):
    arrays = load_arrays(Episodes(folders[0]).labelled)
    arrays.actions.add_(100.0)
    arrays.actions[arrays.offsets[1:] - 1] = 0.0
    model = begin(small(), arrays, pretrained=None)
    assert (model.action_mean - 100).abs().max() < 0.2
    assert model.action_std.max() < 2


def test_episodes_without_actions_are_refused(open_run, tmp_path):
    folder = write_dots(tmp_path / "videos", episodes=2, labelled=0)
    with pytest.raises(ConfigError, match="no episode has actions; collect with labelled_fraction"):
        learn(open_run(), folder, 2)


def test_an_encoder_of_latents_of_tokens_is_refused(open_run, folders, tmp_path):
    checkpoint.save(small_model(per_token=True), tmp_path / "tokens")
    with pytest.raises(ConfigError, match="model.latent_per_token=false"):
        learn(open_run(), folders[0], 2, encoder=str(tmp_path / "tokens"))


def test_an_unknown_tune_is_refused(open_run, folders):
    with pytest.raises(ConfigError, match="no tune 'al': did you mean 'all'"):
        learn(open_run(), folders[0], 2, tune="al")


@pytest.mark.parametrize("encoder", ["ours", "timm", None])
def test_frames_of_another_size_than_the_model_s_are_refused(open_run, folders, tmp_path, encoder):
    large = replace(small(), size=32)
    ours = WorldModel(large.encoder, size=32, head=large.head())
    checkpoint.save(ours, tmp_path / "ours")
    timm = WorldModel(FrameEncoder("vit_tiny_patch16_224", size=32), size=32)
    checkpoint.save(timm, tmp_path / "timm")
    chosen = {"model": large} if encoder is None else {"encoder": str(tmp_path / encoder)}
    with pytest.raises(
        ConfigError, match="some: its frames have 16 x 16 .* takes 32 x 32; collect"
    ):
        learn(open_run(), folders[0], 2, **chosen)


def test_segments_of_one_time_step_are_refused(open_run, folders):
    with pytest.raises(
        ConfigError, match="length=1: an action leads from one time step to the next"
    ):
        learn(open_run(), folders[0], 2, length=1)


def test_two_folders_are_learned_from_as_one_is(open_run, tmp_path):
    whole = write_dots(tmp_path / "whole", episodes=12, seed=0)
    parts = []
    for name, kept in (("a", slice(0, 7)), ("b", slice(7, 12))):
        with EpisodeWriter(tmp_path / name, Episodes(whole).info) as writer:
            for episode in Episodes(whole)[kept]:
                writer.write(episode)
        parts.append(str(tmp_path / name))
    learned = []
    for name, folders in (("one", str(whole)), ("two", parts)):
        torch.manual_seed(0)
        results = train(
            open_run(name), episodes=folders, regulariser=SIGReg(num_slices=64), model=small(),
            optimisation=settings(3), rollouts=Rollouts(3), batch=8,
        )  # fmt: skip
        assert results["episodes"] == 12
        learned.append(load(tmp_path / name).state_dict())
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())
    mute = [write_dots(tmp_path / name, episodes=2, labelled=0) for name in ("c", "d")]
    with pytest.raises(ConfigError, match="/c, .*/d: no episode has actions"):
        train(
            open_run("none"), episodes=[*map(str, mute)], regulariser=SIGReg(), model=small(),
            optimisation=settings(3), rollouts=Rollouts(3),
        )  # fmt: skip


def test_only_so_many_labelled_episodes_are_used(open_run, folders):
    results = learn(open_run(), folders[0], 2, labelled=3)
    assert results["episodes"] == 3
    with pytest.raises(ConfigError, match="labelled must lie between 1 and 25, got 26"):
        learn(open_run(), folders[0], 2, labelled=26)


@pytest.mark.parametrize("tune", ["none", "all"])
def test_an_interrupted_training_on_a_pretrained_encoder_goes_on(
    open_run, folders, tmp_path, monkeypatch, tune
):
    """Some of its parameters are in no loss, so the optimiser has no time steps of them."""
    checkpoint.save(small_model(), tmp_path / "pretrained")
    chosen = {"encoder": str(tmp_path / "pretrained"), "tune": tune, "batch": 8}
    torch.manual_seed(0)
    learn(open_run("whole"), folders[0], 6, **chosen)
    sample = EpisodeDataset.sample

    def interrupted(self, step, *words, **settings):
        if step == 3:
            raise KeyboardInterrupt
        return sample(self, step, *words, **settings)

    torch.manual_seed(0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpisodeDataset, "sample", interrupted)
        patch.setattr("time.monotonic", iter(range(0, 100_000, 60)).__next__)  # saves each step
        learn(open_run("cut"), folders[0], 6, **chosen)
    torch.manual_seed(0)
    assert learn(open_run("cut"), folders[0], 6, **chosen)["steps"] == 6
    whole, cut = (load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    for name, value in whole.items():
        assert torch.equal(value, cut[name]), name


def test_a_frozen_encoder_raises_no_alarm(open_run, folders, tmp_path, capsys):
    checkpoint.save(small_model(), tmp_path / "pretrained")
    run = open_run()
    learn(run, folders[0], 80, encoder=str(tmp_path / "pretrained"), labelled=1, batch=8)
    assert "ALARM" not in capsys.readouterr().err
    assert "effective_rank" not in read_log(run.folder)[-1]


def test_learning_from_third_party_episodes(open_run, tmp_path):
    """LeRobot's frames are cut to the size of the model; the camera is named where asked."""
    (tmp_path / "arm").mkdir()
    lerobot_v3(tmp_path / "arm", tmp_path)
    results = learn(open_run(), tmp_path / "arm", 2, batch=4, length=2, reading={"camera": "top"})
    assert (results["episodes"], results["frames"]) == (3, 19)
    with pytest.raises(ConfigError, match=r"have 32 x 32 .* takes 16 x 16; .*reading=\{size:16\}"):
        learn(open_run("c"), tmp_path / "arm", 2, reading={"camera": "top", "size": 32})
    with pytest.raises(ConfigError, match="no camera 'side'"):
        learn(open_run("b"), tmp_path / "arm", 2, reading={"camera": "side"})


def test_members_of_an_ensemble_learn_by_their_own_errors_alone(data):
    def slopes(moved):
        model = begin(replace(small(), action="Ensemble"), data.arrays, pretrained=None)
        stirred(model.action_predictor, scale=0.05)
        with torch.no_grad():
            for weights in model.action_predictor.members[1].parameters():
                weights.add_(moved)
        learner = ActionLearner(
            model, EpisodeDataset(data.arrays, least=2), regulariser=SIGReg(num_slices=16),
            rollouts=Rollouts(5), batch=8, seed=0, frozen=True,
        )  # fmt: skip
        terms = learner.losses(0, Generator().manual_seed(0)).terms
        first = list(model.action_predictor.members[0].parameters())
        return [torch.autograd.grad(terms[name], first, retain_graph=True) for name in terms]

    for before, after in zip(slopes(0.0), slopes(0.1), strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.abs().sum() > 0 and torch.allclose(one, other, atol=1e-6)
