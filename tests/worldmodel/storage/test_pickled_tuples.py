import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodel.storage.pickled_tuples import largest_tuple

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.lists(inner, max_size=5).map(tuple),
        inner.map(lambda value: (value, value)),  # said once, named twice
    ),
    max_leaves=20,
)


def parts(value) -> int:
    """Of a tuple itself; what is not one is one part of it."""
    return 1 + sum(map(parts, value)) if isinstance(value, tuple) else 1


def largest(value) -> int:
    if isinstance(value, dict):
        return max(map(largest, value.values()), default=0)
    if isinstance(value, list | tuple):
        inside = max(map(largest, value), default=0)
        return max(inside, parts(value)) if isinstance(value, tuple) else inside
    return 0


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(value=VALUES)
def test_tuples_are_as_large_as_they_are_built(protocol, value):
    file = io.BytesIO(pickle.dumps(value, protocol) + b"behind")
    assert largest_tuple(file, most=10**9) == largest(value)
    assert file.read() == b"behind"


def test_a_tower_of_doubles_is_measured_and_not_built():
    tower = (1,)
    for _ in range(100):
        tower = (tower, tower)
    data = pickle.dumps({"a": tower}, 2)
    assert len(data) < 1000
    assert largest_tuple(io.BytesIO(data), most=2**200) == 3 * 2**100 - 1
    assert 2**20 < largest_tuple(io.BytesIO(data), most=2**20) < 2**22


def test_what_torch_saves_has_small_tuples(tmp_path):
    model = torch.nn.TransformerEncoderLayer(8, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(3, 1, 8)).sum().backward()
    optimiser.step()
    held = {"model": model.state_dict(), "opt": optimiser.state_dict(), "epoch": 3}
    torch.save(held, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with (tmp_path / "a.pt").open("rb") as file:
        assert max(largest_tuple(file, most=10**6) for _ in range(5)) < 40
