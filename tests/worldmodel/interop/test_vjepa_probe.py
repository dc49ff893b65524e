"""V-JEPA's attentive probes, by their published keys, become classifiers; others are refused."""

import pytest
import torch

import worldmodel as wm
from tests.worldmodel.interop import makers, reference
from tests.worldmodel.toys import noise
from worldmodel.cli import app
from worldmodel.errors import CheckpointError
from worldmodel.interop.vjepa_probe import read
from worldmodel.types import Clip

WIDTH, CLASSES = makers.WIDTH, 5
weights = makers.probe


def written(path, *several):
    torch.save(makers.probe_file(*several), path)
    return str(path)


def normed(x, held, name):
    """As `reference.normed`, with PyTorch's epsilon, which probes have."""
    weight, bias = held[f"{name}.weight"], held[f"{name}.bias"]
    centred = x - x.mean(-1, keepdim=True)
    return centred / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * weight + bias


def attended(q, k, v, heads):
    width = q.shape[1] // heads
    seen = []
    for a in range(heads):
        columns = slice(a * width, (a + 1) * width)
        score = q[:, columns] @ k[:, columns].T / width**0.5
        seen.append(score.softmax(dim=1) @ v[:, columns])
    return torch.cat(seen, dim=1)


def scores(held, tokens, *, heads=16):
    """The scores of the tokens n d of one clip, from the equations."""
    linear, x = reference.linear, tokens
    for i in range(sum(key.endswith("norm2.weight") for key in held) - 1):
        name = f"pooler.blocks.{i}"
        q, k, v = linear(normed(x, held, f"{name}.norm1"), held, f"{name}.attn.qkv").chunk(3, dim=1)
        x = x + linear(attended(q, k, v, heads), held, f"{name}.attn.proj")
        middle = linear(normed(x, held, f"{name}.norm2"), held, f"{name}.mlp.fc1")
        x = x + linear(torch.nn.functional.gelu(middle), held, f"{name}.mlp.fc2")
    stem, query = "pooler.cross_attention_block", held["pooler.query_tokens"][0]
    k, v = linear(normed(x, held, f"{stem}.norm1"), held, f"{stem}.xattn.kv").chunk(2, dim=1)
    query = query + attended(linear(query, held, f"{stem}.xattn.q"), k, v, heads)
    middle = linear(normed(query, held, f"{stem}.norm2"), held, f"{stem}.mlp.fc1")
    query = query + linear(torch.nn.functional.gelu(middle), held, f"{stem}.mlp.fc2")
    return linear(query, held, "linear")[0]


@pytest.fixture
def encoder(tmp_path):
    torch.save(makers.checkpoint(makers.encoder(), makers.predictor()), tmp_path / "vit.pt")
    return str(tmp_path / "vit.pt")


def loaded(encoder, classifier):
    hints = {"heads": 2, "predictor_heads": 2, "size": 32}
    return wm.load(encoder, classifier=classifier, **hints)


def clip_of(frames):
    times = torch.arange(frames.shape[1], dtype=torch.float64)
    return Clip(frames, times.expand(len(frames), -1))


@pytest.mark.parametrize("depth", [0, 2])
def test_a_model_with_a_probe_classifies_as_its_equations_say(encoder, tmp_path, depth):
    held = weights(depth=depth)
    model = loaded(encoder, written(tmp_path / "probe.pt", held))
    clip = clip_of(noise(2, 4, 3, 32, 32))
    with torch.inference_mode():
        found, tokens = model.classify(clip), model.encode(clip).tokens
    expected = torch.stack([scores(held, one) for one in tokens])
    assert found.shape == (2, CLASSES)
    assert torch.allclose(found, expected, atol=1e-4)


def test_one_of_several_probes_is_chosen_by_its_number(tmp_path):
    path = written(tmp_path / "several.pt", *(weights(seed=s) for s in (200, 300, 400)))
    third, _ = read(f"{path}::2")
    assert torch.equal(third.query, weights(seed=400)["pooler.query_tokens"][0, 0])
    with pytest.raises(CheckpointError, match=r"holds 3 probes, .* from .*several.pt::0 to .*::2"):
        read(path)
    for wrong in ("3", "-1", "one", "99999999"):
        with pytest.raises(CheckpointError, match="has no probe number"):
            read(f"{path}::{wrong}")


def test_a_probe_of_v_jepa_1_has_a_projection_that_is_left_out(tmp_path):
    held = weights(depth=0)
    held |= makers.layer("pooler.cross_attention_block.xattn.proj", WIDTH, WIDTH, 500)
    torch.save({"classifier": {f"module.{k}": v for k, v in held.items()}, "epoch": 1},
               tmp_path / "k400.pth.tar")  # fmt: skip
    classifier, report = read(str(tmp_path / "k400.pth.tar"))
    assert report.family == "attentive probe of V-JEPA 1"
    assert sorted(use.theirs for use in report.uses if not use.ours) == [
        "pooler.cross_attention_block.xattn.proj.bias",
        "pooler.cross_attention_block.xattn.proj.weight",
    ]
    tokens = noise(1, 6, WIDTH)
    assert torch.allclose(classifier(tokens)[0], scores(held, tokens[0]), atol=1e-4)
    deep = weights(depth=1)
    torch.save({"classifier": deep}, tmp_path / "deep.pt")
    with pytest.raises(CheckpointError, match="V-JEPA 1 with 1 block after the query"):
        read(str(tmp_path / "deep.pt"))


def without(held, key):
    return {k: v for k, v in held.items() if k != key}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (weights(queries=3), "asks 3 queries, as probes of action anticipation do"),
        (without(weights(), "linear.weight"), "has no linear.weight of axes classes d"),
        (without(weights(), "pooler.blocks.0.norm1.bias"), "1 keys missing"),
        (weights() | {"verb_classifier.weight": torch.zeros(2, 2)}, "1 keys left over"),
        (weights() | {"linear.bias": torch.full((CLASSES,), torch.nan)}, "NaN or infinite weights"),
        (weights() | {"linear.bias": torch.zeros(3)}, "has shape"),
        (weights(width=40), "its width of 40 does not divide into the 16 heads"),
    ],
)
def test_what_is_no_such_probe_is_refused_in_one_line(tmp_path, held, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        read(written(tmp_path / "probe.pt", held))
    assert "\n" not in str(caught.value) and "probe.pt" in str(caught.value)


def test_other_files_and_other_encoders_are_refused(encoder, tmp_path):
    with pytest.raises(CheckpointError, match="holds no attentive probe"):
        read(encoder)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read(str(tmp_path / "gone.pt"))
    torch.save({"classifiers": [{"linear.weight": 3}]}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="not a dense tensor"):
        read(str(tmp_path / "odd.pt"))
    other = written(tmp_path / "wide.pt", weights(width=64))
    with pytest.raises(CheckpointError, match="tokens of 64 dimensions, the encoder gives 48"):
        loaded(encoder, other)
    with pytest.raises(CheckpointError, match="no encoder; load the encoder's checkpoint with cla"):
        wm.load(other)


def test_export_joins_the_two_and_lists_the_keys_of_both(encoder, tmp_path, capsys):
    probe = written(tmp_path / "probe.pt", weights())
    words = [f"model={encoder}", f"classifier={probe}", f"output={tmp_path / 'both'}", "heads=2"]
    assert app.main(["export", *words, "predictor_heads=2", "size=32"]) == 0
    assert "attentive probe of V-JEPA 2" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / "both").iterdir()} >= {
        "model.json", "model.safetensors", "keys.csv", "classifier_keys.csv",
    }  # fmt: skip
    clip = clip_of(noise(1, 4, 3, 32, 32))
    assert torch.equal(
        wm.load(tmp_path / "both").classify(clip), loaded(encoder, probe).classify(clip)
    )
