"""Policies from files: their layers, their bounds, and what is refused."""

import json
import zipfile

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from safetensors.torch import save_file
from torch import nn

from tests.planners.test_behaviours import draws
from worldmodel.cli.runner import run_verb
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import CheckpointError, ConfigError, EnvError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.saved_policy import SavedPolicy

TORQUE = Box(np.float32(-1), np.float32(3), (2,))


def network(*, activation=nn.Tanh, inputs=3, outputs=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 5), activation(), nn.Linear(5, outputs))


def layers(made, *names):
    linear = [layer for layer in made if isinstance(layer, nn.Linear)]
    return {
        f"{name}.{kind}": getattr(layer, kind).detach()
        for name, layer in zip(names, linear, strict=True)
        for kind in ("weight", "bias")
    }


def plain(path, made, **header):
    save_file(layers(made, "0", "1"), path, {"activation": "tanh", **header})
    return path


def archive(path, made, names, data=None, extra=None):
    """As Stable-Baselines3 writes it."""
    weights = layers(made, *names) | (extra or {})
    torch.save(weights, path.with_suffix(".pth"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", json.dumps({"policy_kwargs": {}, **(data or {})}))
        file.write(path.with_suffix(".pth"), "policy.pth")
    return path


def acts(policy, numbers, space=TORQUE):
    policy.reset(ActionSpace.of(space), {}, seed=0)
    return policy(np.zeros((2, 2, 3), np.uint8), {"observation": np.asarray(numbers)})


NUMBERS = [0.3, -1.0, 2.0]


def output(made):
    return made(torch.tensor(NUMBERS)).detach().numpy()


def test_it_does_what_the_network_says_within_bounds(tmp_path):
    made = network()
    wanted = np.clip(output(made), -1, 3)
    assert np.allclose(acts(SavedPolicy(plain(tmp_path / "p.safetensors", made)), NUMBERS), wanted)
    squashed = SavedPolicy(plain(tmp_path / "q.safetensors", made, output="tanh"))
    assert np.allclose(acts(squashed, NUMBERS), 1 + 2 * np.tanh(output(made)), atol=1e-6)


@pytest.mark.parametrize(
    ("names", "activation", "squashed"),
    [
        (("mlp_extractor.policy_net.0", "action_net"), nn.Tanh, False),
        (("actor.latent_pi.0", "actor.mu"), nn.ReLU, True),
        (("actor.mu.0", "actor.mu.2"), nn.ReLU, True),
        (("actor.latent_pi.0", "actor.mu.0"), nn.ReLU, True),
        (("q_net.q_net.0", "q_net.q_net.2"), nn.ReLU, False),
    ],
    ids=["ppo", "sac", "td3", "sac with gSDE", "dqn"],
)
def test_policies_of_stable_baselines_act_as_there(tmp_path, names, activation, squashed):
    made = network(activation=activation)
    others = {"critic.qf0.0.weight": torch.ones(1, 1), "value_net.weight": torch.ones(1, 1)}
    policy = SavedPolicy(archive(tmp_path / "p.zip", made, names, extra=others))
    wanted = 1 + 2 * np.tanh(output(made)) if squashed else np.clip(output(made), -1, 3)
    assert np.allclose(acts(policy, NUMBERS), wanted, atol=1e-6)


def test_another_activation_is_the_one_that_was_said(tmp_path):
    made, names = network(activation=nn.ELU), ("actor.mu.0", "actor.mu.2")
    said = {"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.ELU'>"}}
    policy = SavedPolicy(archive(tmp_path / "p.zip", made, names, said))
    assert np.allclose(acts(policy, NUMBERS), 1 + 2 * np.tanh(output(made)), atol=1e-6)


def test_of_choices_the_best_is_taken_and_some_at_random(tmp_path):
    path = plain(tmp_path / "p.safetensors", network(outputs=4))
    space = ActionSpace.of(Discrete(4))
    best = int(output(network(outputs=4)).argmax())
    assert space.given(acts(SavedPolicy(path), NUMBERS, Discrete(4))) == best
    often = SavedPolicy(path, random_share=0.5)
    often.reset(space, {}, seed=0)
    info = {"observation": np.asarray(NUMBERS)}
    taken = [space.given(often(None, info)) for _ in range(400)]
    assert np.mean(np.equal(taken, best)) == pytest.approx(0.5 + 0.5 / 4, abs=0.08)


def test_random_actions_are_drawn_from_all_of_the_space_however_rare(tmp_path):
    policy = SavedPolicy(plain(tmp_path / "p.safetensors", network()), random_share=0.1)
    info, space = {"observation": np.asarray(NUMBERS)}, ActionSpace.of(TORQUE)
    best, first = acts(SavedPolicy(tmp_path / "p.safetensors"), NUMBERS), []
    for seed in range(2000):
        policy.reset(space, {}, seed=seed)
        action = policy(None, info)
        first += [] if np.allclose(action, best) else [action]
    assert len(first) == pytest.approx(200, abs=50)
    assert np.mean(first, axis=0) == pytest.approx([1, 1], abs=0.3)


def test_noise_is_as_wide_as_it_says(tmp_path):
    path = plain(tmp_path / "p.safetensors", network())
    space = ActionSpace.of(Box(-50.0, 50.0, (2,), np.float32))
    policy = SavedPolicy(path, noise=0.1)
    policy.reset(space, {}, seed=0)
    drawn = np.stack([policy(None, {"observation": np.asarray(NUMBERS)}) for _ in range(2000)])
    assert drawn.std(0) == pytest.approx([5, 5], rel=0.1)
    assert drawn.mean(0) == pytest.approx(output(network()), abs=0.5)


def test_what_does_not_fit_is_one_line(tmp_path):
    path = plain(tmp_path / "p.safetensors", network())
    with pytest.raises(EnvError, match="gives 2 numbers, an action of this environment has 7"):
        draws(SavedPolicy(path), 1, space=Box(-1.0, 1.0, (7,), np.float32))
    with pytest.raises(EnvError, match="the environment tells none; say behaviour.info="):
        draws(SavedPolicy(path), 1)
    with pytest.raises(EnvError, match="looks at 3 numbers, the info 'observation' has 2"):
        acts(SavedPolicy(path), [1.0, 2.0])
    endless = plain(tmp_path / "q.safetensors", network(), output="tanh")
    with pytest.raises(EnvError, match="between bounds"):
        draws(SavedPolicy(endless), 1, space=Box(-np.inf, np.inf, (2,), np.float32))
    policy = SavedPolicy(path)
    policy.reset(ActionSpace.of(TORQUE), {}, seed=0)
    with pytest.raises(EnvError, match="the info 'observation' is no numbers"):
        policy(None, {"observation": "text"})
    for words in ({"noise": -1.0}, {"noise": float("nan")}, {"random_share": 2.0}):
        with pytest.raises(ConfigError, match="random_share in"):
            SavedPolicy(path, **words)


def test_files_of_other_kinds_are_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no such file; check behaviour.path="):
        SavedPolicy(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(CheckpointError, match="is no policy: neither"):
        SavedPolicy(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("data", "{")
    with pytest.raises(CheckpointError, match="no policy that Stable-Baselines3 saved"):
        SavedPolicy(tmp_path / "other.zip")
    images = archive(tmp_path / "cnn.zip", network(), ("features.cnn.0", "features.linear"))
    with pytest.raises(CheckpointError, match="none of the layers of an MlpPolicy"):
        SavedPolicy(images)
    with pytest.raises(CheckpointError, match="activation 'sin' is none of tanh, relu"):
        SavedPolicy(plain(tmp_path / "sin.safetensors", network(), activation="sin"))
    save_file(layers(network(), "a", "b"), tmp_path / "names.safetensors")
    with pytest.raises(CheckpointError, match=r"layers are 0.weight"):
        SavedPolicy(tmp_path / "names.safetensors")
    turned = layers(network(), "1", "0")
    save_file(turned, tmp_path / "turned.safetensors", {"activation": "tanh"})
    with pytest.raises(CheckpointError, match="do not follow"):
        SavedPolicy(tmp_path / "turned.safetensors")


def test_nothing_in_an_archive_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = tmp_path / "trap.zip"
    torch.save({"actor.mu.0.weight": Trap()}, tmp_path / "trap.pth")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", "{}")
        file.write(tmp_path / "trap.pth", "policy.pth")
    with pytest.raises(CheckpointError, match="was not executed"):
        SavedPolicy(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("tensors", "header", "match"),
    [
        ({"2.weight": torch.ones(2, 2)}, {}, "has 0.bias, .*2.weight; layers are"),
        ({"1.bias": torch.ones(1)}, {}, r"layer 1 has a weight \(2, 5\) and a bias \(1,\)"),
        ({"0.weight": torch.ones(3)}, {}, r"layer 0 has a weight \(3,\)"),
        ({}, {"output": "Tanh"}, "output 'Tanh' in its header is no tanh"),
    ],
    ids=["an extra layer", "a bias that would spread", "a vector", "another output"],
)
def test_a_network_that_is_not_plain_is_one_line(tmp_path, tensors, header, match):
    path = tmp_path / "p.safetensors"
    held = layers(network(), "0", "1") | tensors
    save_file(held, path, {"activation": "tanh", **header})
    with pytest.raises(CheckpointError, match=match):
        SavedPolicy(path)


@pytest.mark.parametrize("data", ["[]", "null", '{"policy_kwargs": [1]}', '{"policy_kwargs": "x"}'])
def test_other_contents_of_an_archive_are_one_line(tmp_path, data):
    path = tmp_path / "p.zip"
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    for text, match in ((data, "that Stable-Baselines3 saved"), ("{}", "no named tensors")):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("data", text)
            file.write(tmp_path / "list.pth", "policy.pth")
        with pytest.raises(CheckpointError, match=match):
            SavedPolicy(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", "{}")
        file.writestr("policy.pth", b"nothing of the kind")
    with pytest.raises(CheckpointError, match=f"^{path}/policy.pth"):
        SavedPolicy(path)


def test_it_collects(tmp_path):
    made = network(inputs=2, outputs=1)
    path = plain(tmp_path / "p.safetensors", made)
    words = ["env=MountainCarContinuous-v0", "episodes=2", "steps=3", "behaviour=policy"]
    run_verb("collect", [*words, f"behaviour.path={path}"], runs_dir=tmp_path, name="own")
    episode = Episodes(tmp_path / "collect/own/episodes")[0]
    seen = episode.info["observation"][:-1].float()
    wanted = made(seen).clamp(-1, 1)
    assert torch.allclose(episode.actions, wanted, atol=1e-5)
