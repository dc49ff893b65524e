"""Damaged models of every format, in thousands of ways: refused in a line, or read.

No code runs, no other exception comes out, and memory stays bounded.
"""

import json
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import worldmodel as wm
from tests.worldmodel.interop import makers
from tests.worldmodel.toys import small_model
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.interop import vjepa
from worldmodel.interop.load import load

# PyTorch warns of layers without numbers, which are refused a time step later.
pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")

GROWTH_MIB = 600  # of a process that has read small files thousands of times

CASES = [
    pytest.param(500, id="500"),
    pytest.param(10_000, id="10000", marks=[pytest.mark.slow, pytest.mark.exhaustive]),
]


@st.composite
def damages(draw):
    """What is done to bytes: cut, overwritten, taken out, or with more put in; or several."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "overwrite", "remove", "insert"]),
                # Headers are at the beginning, and the list of a zip archive at the end.
                st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.floats(0.98, 1)),
                st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(NASTY)),
            ),
            min_size=1,
            max_size=3,
        )
    )


def damaged(whole, damage):
    for kind, share, some in damage:
        at = int(share * len(whole))
        after = {"cut": None, "overwrite": at + len(some), "remove": at + 7, "insert": at}[kind]
        put = some if kind in ("overwrite", "insert") else b""
        whole = whole[:at] + put + (b"" if after is None else whole[after:])
    return whole


class Canary:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (Path.touch, (Path(self.trace),))


TRACE = Path("/tmp") / f"worldmodel-canary-{id(object())}"
NASTY = [
    pickle.dumps(Canary(TRACE), protocol=2)[2:-1],
    b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R",
    b"\xff" * 8,
    b"1" * 30,
    b"999999999999",
    b"-1",
    b"null",
    b"NaN",
    b'":{"',
]

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def check(path, *, reads=load):
    """Reading ends well or in one line, and leaves no trace of having run code."""
    try:
        reads(path)
    except (CheckpointError, ConfigError) as error:
        assert "\n" not in str(error) and str(path) in str(error)
    assert not TRACE.exists()


@pytest.fixture
def bounded():
    """Memory at its highest must not be much higher than before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) / 1024 < GROWTH_MIB


def many(cases):
    return settings(
        max_examples=cases, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def hf_folder(folder):
    pytest.importorskip("transformers")
    makers.hf_model(num_hidden_layers=1, pred_num_hidden_layers=1).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("zipped", [True, False])
def test_pt_files(tmp_path, bounded, cases, zipped):
    path = tmp_path / "c.pt"
    held = makers.checkpoint(makers.encoder(depth=1), makers.predictor(depth=1))
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()

    @many(cases // 2)
    @given(damages())
    def run(damage):
        path.write_bytes(damaged(whole, damage))
        check(path, reads=lambda p: vjepa.read(p, makers.HINTS))

    run()


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("name", ["config.json", "model.json"])
def test_descriptions(tmp_path, bounded, cases, name):
    ours = name == "model.json"
    folder = wm.save(small_model(), tmp_path) if ours else hf_folder(tmp_path)
    path = folder / name
    whole = path.read_bytes()
    description = json.loads(whole)
    keys = sorted(_paths(description))

    @many(cases // 2)
    @given(damages())
    def run_bytes(damage):
        path.write_bytes(damaged(whole, damage))
        check(folder)

    @many(cases // 2)
    @given(st.sampled_from(keys), plain | st.integers(0, 2**70) | st.sampled_from([0, 1, 1e9, -1]))
    def run_values(key, value):
        changed = json.loads(whole)
        inner = changed
        for word in key[:-1]:
            inner = inner[word]
        inner[key[-1]] = value
        path.write_text(json.dumps(changed))
        check(folder)

    run_bytes()
    run_values()


def _paths(value, before=()):
    for key, inner in value.items():
        yield (*before, key)
        if isinstance(inner, dict):
            yield from _paths(inner, (*before, key))


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("ours", [True, False])
def test_safetensors(tmp_path, bounded, cases, ours):
    folder = wm.save(small_model(), tmp_path) if ours else hf_folder(tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header, rest = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    names = sorted(key for key in header if key != "__metadata__")
    numbers = st.lists(st.integers(-1, 10**13), max_size=4)

    @many(cases // 4)
    @given(damages())
    def run_bytes(damage):
        path.write_bytes(damaged(whole, damage))
        check(folder)

    @many(cases // 4)
    @given(st.sampled_from(names), st.sampled_from(["shape", "data_offsets", "dtype"]),
           numbers | plain | st.sampled_from(["F64", "BF16", "I8", "F8_E4M3", "BOOL"]))  # fmt: skip
    def run_headers(name, what, value):
        changed = {**header, name: {**header[name], what: value}}
        text = json.dumps(changed).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + rest)
        check(folder)

    run_bytes()
    run_headers()


@pytest.mark.parametrize("cases", CASES)
def test_pickles_made_of_anything(tmp_path, bounded, cases):
    """Whole files that hold what nobody expects in the places that are looked at."""
    path = tmp_path / "c.pt"
    tensors = st.sampled_from([
        torch.ones(2), torch.ones(0), torch.ones(1).expand(10**9), torch.full((3,), torch.nan),
        torch.ones(2, 3, 2, 8, 8), torch.ones(1, 64, 48), torch.ones(3, dtype=torch.bool),
    ])  # fmt: skip
    keys = st.sampled_from([
        "encoder", "target_encoder", "ema_encoder", "predictor", "opt", "classifiers",
        "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "pos_embed", "norms_block.0.weight",
        "mask_tokens.0", "predictor_embed.weight", "predictor_embed.0.weight", "blocks.7.x",
        "action_encoder.weight", "predictor_proj.weight", "module.backbone.norm.weight",
    ])  # fmt: skip
    held = st.recursive(tensors | plain, lambda inner: st.dictionaries(keys, inner, max_size=6))

    @many(cases // 4)
    @given(held, st.sampled_from([None, *vjepa.FAMILIES]))
    def run(value, family):
        torch.save(value, path)
        hints = replace(makers.HINTS, family=family)
        check(path, reads=lambda p: vjepa.read(p, hints))

    run()


def test_the_canary_sings_where_pickles_are_executed(tmp_path):
    pickle.loads(b"\x80\x02" + NASTY[0] + b".")
    assert TRACE.exists()
    TRACE.unlink()
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")  # and safetensors have no code
    check(tmp_path)
