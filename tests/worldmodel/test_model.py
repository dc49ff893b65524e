import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small, small_model, stirred
from worldmodel.checkpoint import load_own, save
from worldmodel.errors import ConfigError, ShapeError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.action_predictor import ActionTransformer
from worldmodel.types import Clip, History


@pytest.fixture(scope="module")
def model():
    model = small_model(window=2)
    model.action_mean.copy_(torch.tensor([0.5, -0.5, 0.5, -0.5]))
    model.action_std.copy_(torch.tensor([2.0, 0.5, 2.0, 0.5]))
    return model


def clip_of(frames):
    times = torch.arange(frames.shape[1], dtype=torch.float64) / 10
    return Clip(frames, times.expand(len(frames), -1))


CLIP = clip_of(noise(2, 8, 3, 16, 16))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def history(t, d=16):
    return History(normal(t, d, seed=1), normal(t - 1, 4, seed=2))


def test_a_model_says_what_it_takes(model):
    assert (model.state_dim, model.action_dim, model.size) == (16, 2, 16)
    assert model.tubelet_frames == model.action_block == 2
    assert model.device == torch.device("cpu")


def test_encode_gives_tokens_on_their_grid_with_the_time_of_their_last_frame(model):
    latents = model.encode(CLIP)
    assert latents.tokens.shape == (2, 4 * 2 * 2, 24)
    assert latents.grid == (4, 2, 2)
    assert torch.equal(latents.times, CLIP.times[:, 1::2])
    with pytest.raises(ShapeError, match="do not divide into tubelets"):
        model.encode(clip_of(noise(1, 3, 3, 16, 16)))


def test_a_state_knows_its_own_time_step_only(model):
    states = model.states(CLIP)
    assert states.shape == (2, 4, 16)
    changed = CLIP.frames.clone()
    changed[0, 4:6] = 0
    other = model.states(clip_of(changed))
    differs = ~torch.isclose(states, other, atol=1e-5).all(2)
    assert differs.nonzero().tolist() == [[0, 2]]
    alone = model.states(clip_of(CLIP.frames[:, 4:6]))
    assert torch.allclose(alone[:, 0], states[:, 2], atol=1e-5)
    assert torch.allclose(model.latents(CLIP)[:, :, 0], states[..., :12])


@pytest.mark.parametrize("shape", [(1, 3, 3, 16, 16), (1, 2, 3, 16, 24), (1, 2, 3, 32, 32)])
def test_states_refuse_other_sizes(model, shape):
    with pytest.raises(ShapeError, match="clips of 16 x 16 pixels and a multiple of 2 frames, got"):
        model.states(clip_of(noise(*shape)))


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("past", [1, 2, 5])
def test_a_rollout_is_predict_step_by_step(window, past):
    model = small_model(window=window)
    start, plans = history(past), normal(3, 4, 4, seed=5)
    imagined = model.rollout(start, plans)
    assert imagined.shape == (3, 4, 16)
    for k in range(3):
        states, actions = start.states, start.actions
        for step in range(4):
            actions = torch.cat([actions, plans[k, step : step + 1]])
            seen = states[-window:], actions[-len(states[-window:]) :]
            following = model.predict(seen[0][None], seen[1][None])[0, -1:]
            assert torch.allclose(following[0], imagined[k, step], rtol=1e-3, atol=1e-3)
            states = torch.cat([states, following])


def test_a_rollout_looks_no_further_back_than_its_window(model):
    long = history(5)
    short = History(long.states[-2:], long.actions[-1:])
    plans = normal(3, 2, 4)
    assert torch.equal(model.rollout(long, plans), model.rollout(short, plans))
    shorter = History(long.states[-1:], long.actions[:0])
    assert not torch.allclose(model.rollout(long, plans), model.rollout(shorter, plans), atol=1e-3)


def test_a_rollout_can_be_differentiated_and_is_causal(model):
    plans = normal(2, 3, 4).requires_grad_()
    imagined = model.rollout(history(2), plans)
    (gradient,) = torch.autograd.grad(imagined[0, 1].sum(), plans)
    assert gradient[0, :2].abs().min() > 0  # each number of both blocks
    assert not gradient[0, 2].any() and not gradient[1].any()  # neither later ones nor other plans

    direction = normal(2, 3, 4, seed=8)
    with torch.no_grad():
        double = [x.double() for x in (plans, direction)]
        precise = small_model().double()
        past = History(*(x.double() for x in (history(2).states, history(2).actions)))
        up, down = (
            precise.rollout(past, double[0] + s * double[1])[:, -1].sum() for s in (1e-5, -1e-5)
        )
    plans = plans.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(precise.rollout(past, plans)[:, -1].sum(), plans)
    slope = (gradient * double[1]).sum().item()
    assert slope == pytest.approx((up - down).item() / 2e-5, rel=1e-5)


def test_actions_are_taken_in_the_units_of_the_world(model):
    states, actions = normal(1, 2, 16), normal(1, 2, 4)
    normalised = (actions - model.action_mean) / model.action_std
    assert torch.equal(model.predict(states, actions), model.action_predictor(states, normalised))
    assert not torch.allclose(
        model.predict(states, actions), model.action_predictor(states, actions), atol=1e-3
    )


@pytest.mark.parametrize("per_token", [False, True])
def test_prediction_knows_the_time_step_before_and_a_target_its_own(per_token):
    model = small_model(per_token=per_token)
    (prediction,) = model.predictions(CLIP)
    predicted, observed = prediction.predicted, prediction.observed
    steps = CLIP.frames.shape[1] // 2 - 1
    assert predicted.shape == observed.shape == (2, steps, 4 if per_token else 1, 12)
    assert torch.allclose(observed, model.latents(CLIP)[:, 1:], atol=1e-5)
    frames = CLIP.frames.clone()
    frames[:, 2] = 0  # in the second time step: what comes first, and what is seen next
    (prediction,) = model.predictions(clip_of(frames))
    again, other = prediction.predicted, prediction.observed
    assert torch.allclose(predicted[:, 0], again[:, 0], atol=1e-5)
    assert not torch.allclose(observed[:, 0], other[:, 0], atol=1e-3)
    assert not torch.allclose(predicted[:, 1], again[:, 1], atol=1e-3)
    assert torch.allclose(observed[:, 1:], other[:, 1:], atol=1e-5)


def test_prediction_needs_something_to_predict(model):
    with pytest.raises(ShapeError, match="nothing to predict"):
        model.predictions(clip_of(CLIP.frames[:, :2]))


@pytest.mark.parametrize(
    "use, words",
    [
        (lambda m: m.states(CLIP), "no head: `worldmodel train encoder=...` learns one"),
        (lambda m: m.state_dim, "no head: `worldmodel train"),
        (
            lambda m: m.predictions(CLIP),
            "no masked predictor: none can be added to these weights; take",
        ),
        (
            lambda m: m.rollout(history(1), torch.zeros(1, 1, 4)),
            "no action predictor: `worldmodel train encoder=...` learns one",
        ),
        (
            lambda m: m.classify(CLIP),
            "no classifier: `worldmodel probe task=classify` fits one; or .*VJEPA2For",
        ),
        (
            lambda m: m.next_frames(CLIP, torch.zeros(2, 8, 7), torch.zeros(2, 8, 7)),
            "no action predictor: `worldmodel train encoder",
        ),
    ],
)
def test_missing_parts_say_what_has_them(use, words):
    with pytest.raises(WorldModelError, match=words):
        use(WorldModel(small().encoder, size=16))


def test_latents_are_those_of_whole_time_steps(model):
    with pytest.raises(ShapeError, match="3 frames do not divide into time steps of 2 frames"):
        model.latents(clip_of(noise(1, 3, 3, 16, 16)))


def test_latents_of_tokens_are_no_states():
    with pytest.raises(WorldModelError, match="model.latent_per_token=false"):
        small_model(per_token=True).states(CLIP)


def test_a_history_that_is_too_short_began_at_rest():
    torch.manual_seed(0)
    predictor = stirred(ActionTransformer(16, 4, width=16, depth=1, window=2, least=2))
    model = small_model(window=2)
    model.action_predictor = predictor
    model.action_mean.fill_(0.3)
    states, actions = normal(3, 1, 16), normal(3, 1, 4, seed=1)
    twice = torch.cat([states, states], dim=1)
    still = torch.cat([torch.zeros_like(actions), actions], dim=1)
    expected = model.predict(twice, still)[:, 1:]
    assert torch.equal(model.predict(states, actions), expected)
    assert not torch.allclose(predictor(states, model.normalise(actions)), expected)
    plans = normal(5, 3, 4, seed=2)
    short, long = History(states[0], actions[0, :0]), History(twice[0], still[0, :1])
    assert torch.allclose(model.rollout(short, plans), model.rollout(long, plans))
    for least in (0, 3):
        with pytest.raises(ConfigError, match="least must lie between 1 and window=2"):
            ActionTransformer(16, 4, width=16, window=2, least=least)


def test_a_model_may_act_for_longer_than_a_state_shows(tmp_path):
    made = small_model(window=2)
    model = WorldModel(made.encoder, size=16, head=made.head, action_dim=2, action_block=5)
    assert model.action_mean.shape == (10,) and model.spec()["action_block"] == 5
    again = load_own(save(model, tmp_path))
    assert again.action_block == 5 and again.tubelet_frames == 2
    assert "action_block" not in made.spec()
