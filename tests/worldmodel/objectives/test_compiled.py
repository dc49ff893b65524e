import pickle
import shutil

import pytest
import torch

from worldmodel.errors import ConfigError
from worldmodel.objectives import compiled as module
from worldmodel.objectives.compiled import compiled
from worldmodel.objectives.epps_pulley import EAGER
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.sigreg import sigreg

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


def value_and_gradient(powers, features, **settings):
    features = features.clone().requires_grad_()
    value = sigreg(features, step=3, powers=powers, **settings)
    value.backward()
    return value.detach(), features.grad


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("shape", "slices", "knots", "scale"),
    [
        ((128, 192), 1024, 17, 1.0), ((3, 5, 7), 37, 17, 0.1), ((2, 1, 3, 8), 1, 2, 1.0),
        ((4, 33, 16), 65, 64, 30.0),
    ],
)  # fmt: skip
def test_it_computes_the_same(shape, slices, knots, scale, threads, monkeypatch):
    before = torch.get_num_threads()
    module._threads.cache_clear()
    torch.set_num_threads(threads)
    try:
        features = scale * torch.randn(*shape, generator=torch.Generator().manual_seed(7)) + 0.2
        settings = {"num_slices": slices, "knots": knots}
        value, gradient = value_and_gradient(compiled(knots), features, **settings)
        expected, expected_gradient = value_and_gradient(EAGER, features.double(), **settings)
    finally:
        torch.set_num_threads(before)
        module._threads.cache_clear()
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    torch.testing.assert_close(
        gradient.double(), expected_gradient,
        rtol=1e-3, atol=1e-5 * scale * float(expected_gradient.abs().max()),
    )  # fmt: skip


@needs_compiler
def test_a_number_that_is_none_is_not_lost():
    features = torch.randn(8, 4)
    features[2, 1] = torch.nan
    value, gradient = value_and_gradient(compiled(17), features)
    assert value.isnan() and gradient[2].isnan().all()


@needs_compiler
def test_what_it_is_not_for_is_refused():
    with pytest.raises(ConfigError, match="float32 on a CPU.*float64"):
        sigreg(torch.randn(8, 4).double(), step=0, powers=compiled(17))
    with pytest.raises(ConfigError, match="at most 64 knots, got 65"):
        SIGReg(kernel="compiled", knots=65)
    with pytest.raises(ConfigError, match="knots must be at least 2, got 0"):
        SIGReg(kernel="compiled", knots=0)
    with pytest.raises(ConfigError, match="no kernel 'compild'"):
        SIGReg(kernel="compild")


@pytest.mark.parametrize(
    ("which", "message"), [(None, "there is none"), (shutil.which("false"), "false fails")]
)
def test_without_a_compiler_one_line_says_so(monkeypatch, which, message):
    monkeypatch.setattr(module.shutil, "which", lambda name: which)
    with pytest.raises(ConfigError, match=f"{message}.*kernel=eager|kernel=compiled.*{message}"):
        module._library.__wrapped__()


@needs_compiler
def test_sigreg_takes_it_and_can_be_sent_to_another_process():
    features = torch.randn(2, 16, 8)
    eager, kernel = SIGReg(3), pickle.loads(pickle.dumps(SIGReg(3, kernel="compiled")))
    torch.testing.assert_close(eager(features, step=1).loss, kernel(features, step=1).loss)


@needs_compiler
def test_the_smallest_numbers_of_the_process_stay_what_they_are():
    module._library.__wrapped__()  # loads it in this thread
    assert float(torch.tensor([1e-40]) * 1) > 0 and 1e-310 * 1.0 > 0
