"""LeWorldModel's folders give what their equations give, key by key."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.worldmodel.interop.makers import normalised
from tests.worldmodel.toys import noise, seeded
from worldmodel.errors import CheckpointError
from worldmodel.interop.hints import Hints
from worldmodel.interop.load import load, load_with_report
from worldmodel.planners import CEM, Agent, GoalState
from worldmodel.types import Clip, History

WIDTH, STATE, PATCH, SIZE, DEPTH, HEADS = 64, 24, 8, 16, 2, 3
CONFIG = {
    "_target_": "stable_worldmodel.wm.lewm.LeWM",
    "predictor": {"_target_": "os.system", "heads": HEADS},
}


def linear(name, rows, columns, seed, *, bias=True):
    generator = seeded(seed)
    found = {f"{name}.weight": torch.randn(rows, columns, generator=generator) * 0.2}
    return found | ({f"{name}.bias": torch.randn(rows, generator=generator)} if bias else {})


def norm(name, width, seed):
    weight = 1 + 0.3 * torch.randn(width, generator=seeded(seed))
    return {
        f"{name}.weight": weight,
        f"{name}.bias": torch.randn(width, generator=seeded(seed + 1)),
    }


def projection(name, inputs, outputs, seed):
    found = linear(f"{name}.0", 40, inputs, seed) | norm(f"{name}.1", 40, seed + 2)
    found |= linear(f"{name}.3", outputs, 40, seed + 4)
    found[f"{name}.1.running_mean"] = torch.randn(40, generator=seeded(seed + 5))
    found[f"{name}.1.running_var"] = torch.rand(40, generator=seeded(seed + 6)) + 0.5
    return found | {f"{name}.1.num_batches_tracked": torch.tensor(7)}


def predictor():
    found = {"predictor.pos_embedding": torch.randn(1, 3, STATE, generator=seeded(1))}
    for i in range(DEPTH):
        stem = f"predictor.transformer.layers.{i}"
        found |= norm(f"{stem}.attn.norm", STATE, 10 + i) | norm(f"{stem}.mlp.net.0", STATE, 20 + i)
        found |= linear(f"{stem}.attn.to_qkv", 3 * HEADS * 16, STATE, 30 + i, bias=False)
        found |= linear(f"{stem}.attn.to_out.0", STATE, HEADS * 16, 40 + i)
        found |= linear(f"{stem}.mlp.net.1", 56, STATE, 50 + i)
        found |= linear(f"{stem}.mlp.net.4", STATE, 56, 60 + i)
        found |= linear(f"{stem}.adaLN_modulation.1", 6 * STATE, STATE, 70 + i)
    found |= norm("predictor.transformer.norm", STATE, 80)
    narrow = linear("action_encoder.patch_embed", 7, 10, 81)
    narrow["action_encoder.patch_embed.weight"] = narrow["action_encoder.patch_embed.weight"][
        ..., None
    ]
    found |= narrow | linear("action_encoder.embed.0", 28, 7, 82)
    return found | linear("action_encoder.embed.2", STATE, 28, 83)


def vit():
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    model = ViTModel(
        ViTConfig(
            hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=1, image_size=SIZE,
            intermediate_size=96, patch_size=PATCH,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn(weights.shape, generator=seeded(3)) * 0.1)
    return model.eval()


OLDER = {  # keys of transformers before version 5
    "layers": "encoder.layer", "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key", "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense", "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}  # fmt: skip


def older(key):
    for new, old in OLDER.items():
        key = key.replace(new, old)
    return key


def write(folder, encoder, *, name=lambda key: key, config=CONFIG, **more):
    folder.mkdir(exist_ok=True)
    held = {f"encoder.{name(k)}": v.clone() for k, v in encoder.state_dict().items()}
    held |= projection("projector.net", WIDTH, STATE, 90) | predictor()
    held |= projection("pred_proj.net", STATE, STATE, 95) | more
    torch.save(held, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return held


def project(held, name, x):
    x = F.linear(x, held[f"{name}.0.weight"], held[f"{name}.0.bias"])
    statistics = held[f"{name}.1.running_mean"], held[f"{name}.1.running_var"]
    x = F.batch_norm(x, *statistics, held[f"{name}.1.weight"], held[f"{name}.1.bias"])
    return F.linear(F.gelu(x), held[f"{name}.3.weight"], held[f"{name}.3.bias"])


def following(held, states, actions):
    """The paper's equations: the state after each of states t d and action blocks t a."""
    t = len(states)

    def affine(name, x):
        return F.linear(x, held[f"{name}.weight"], held.get(f"{name}.bias"))

    def normed(x, name=None, eps=1e-6):
        if name is None:
            return F.layer_norm(x, x.shape[-1:], eps=eps)
        return F.layer_norm(x, x.shape[-1:], held[f"{name}.weight"], held[f"{name}.bias"])

    narrow = held["action_encoder.patch_embed.weight"][..., 0]
    c = actions @ narrow.T + held["action_encoder.patch_embed.bias"]
    c = affine("action_encoder.embed.2", F.silu(affine("action_encoder.embed.0", c)))
    x = states + held["predictor.pos_embedding"][0, :t]
    for i in range(DEPTH):
        stem = f"predictor.transformer.layers.{i}"
        s1, k1, g1, s2, k2, g2 = affine(f"{stem}.adaLN_modulation.1", F.silu(c)).chunk(6, dim=-1)
        y = normed(normed(x) * (1 + k1) + s1, f"{stem}.attn.norm")
        q, k, v = (
            part.reshape(t, HEADS, 16).transpose(0, 1)
            for part in affine(f"{stem}.attn.to_qkv", y).chunk(3, dim=-1)
        )
        scores = q @ k.transpose(1, 2) / 4 + torch.full((t, t), -torch.inf).triu(1)
        y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(t, HEADS * 16)
        x = x + g1 * affine(f"{stem}.attn.to_out.0", y)
        y = normed(normed(x) * (1 + k2) + s2, f"{stem}.mlp.net.0")
        x = x + g2 * affine(f"{stem}.mlp.net.4", F.gelu(affine(f"{stem}.mlp.net.1", y)))
    return project(held, "pred_proj.net", normed(x, "predictor.transformer.norm"))


def clip(count, seed=0):
    frames = noise(1, count, 3, SIZE, SIZE, seed=seed)
    return Clip(frames, torch.arange(count, dtype=torch.float64)[None])


@pytest.mark.parametrize("name", [lambda key: key, older], ids=["now", "before transformers 5"])
@torch.inference_mode()
def test_states_are_those_of_transformers_and_the_projector(tmp_path, name):
    encoder = vit()
    held = write(tmp_path / "lewm", encoder, name=name)
    model = load(tmp_path / "lewm")
    shown = clip(3)
    tokens = encoder(normalised(shown.frames)[0]).last_hidden_state[:, 0]
    assert torch.allclose(model.states(shown)[0], project(held, "projector.net", tokens), atol=1e-4)
    assert (model.size, model.action_dim, model.action_block) == (SIZE, 2, 5)


@torch.inference_mode()
def test_rollouts_and_their_costs_are_those_of_the_equations(tmp_path):
    held = write(tmp_path / "lewm", vit())
    model = load(tmp_path / "lewm")
    start = model.states(clip(1))[0]
    actions = torch.randn(4, 5, 10, generator=seeded(7))
    found = model.rollout(History(start, start.new_zeros(0, 10)), actions)
    goal = model.states(clip(1, seed=9))[0, 0]
    cost = GoalState(goal, running=0)(found, actions)
    for row in range(4):
        path = [start[0]]
        for step in range(5):
            seen = range(max(0, step - 2), step + 1)
            states, taken = torch.stack([path[i] for i in seen]), actions[row, list(seen)]
            path.append(following(held, states, taken)[-1])
        assert torch.allclose(found[row], torch.stack(path[1:]), atol=1e-4)
        far = (path[-1] - goal).square().mean()
        assert float(cost[row]) == pytest.approx(float(far), abs=1e-4)


def test_an_agent_plans_with_it(tmp_path):
    write(tmp_path / "lewm", vit())
    model = load(tmp_path / "lewm" / "weights.pt")
    image = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    agent = Agent(
        model, CEM(2, iterations=2, candidates=8, elites=2), costs=[GoalState.from_image(image[1])]
    )
    actions = [agent.act(image[0]) for _ in range(6)]
    assert actions[0].shape == (2,) and agent.plans == 2


def test_every_key_has_a_place_or_a_reason(tmp_path):
    held = write(tmp_path / "lewm", vit(), **{"encoder.pooler.dense.bias": torch.zeros(WIDTH)})
    model, report = load_with_report(tmp_path / "lewm", Hints())
    assert {use.theirs for use in report.uses} == set(held)
    left = {use.theirs for use in report.uses if not use.ours}
    assert left == {
        "encoder.pooler.dense.bias", "projector.net.1.num_batches_tracked",
        "pred_proj.net.1.num_batches_tracked",
    }  # fmt: skip
    assert report.family == "LeWorldModel" and not model.action_mean.any()


def test_what_is_no_such_folder_is_said(tmp_path):
    encoder, folder = vit(), tmp_path / "lewm"
    write(folder, encoder)
    with pytest.raises(CheckpointError, match="its files say family and heads; leave them out"):
        load(folder, heads=3)
    with pytest.raises(CheckpointError, match="its positions are of frames of 16 pixels"):
        load(folder, size=32)
    (folder / "other.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds 2 .pt files beside its config.json; name one"):
        load(folder)
    (folder / "other.pt").unlink()
    write(folder, encoder, config=CONFIG | {"predictor": {"heads": 7}})
    with pytest.raises(CheckpointError, match="config.json says 7 heads for 48 channels"):
        load(folder)
    held = write(folder, encoder)
    del held["predictor.transformer.norm.weight"]
    torch.save(held, folder / "weights.pt")
    with pytest.raises(CheckpointError, match=r"1 keys missing \(predictor.transformer.norm.weig"):
        load(folder)
