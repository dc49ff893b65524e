"""The contract of probes that classify, and what each of them knows by itself."""

from dataclasses import replace

import pytest
import torch

from tests.worldmodel.evaluation.labelled_videos import clusters, features
from tests.worldmodel.toys import seeded
from worldmodel.errors import ConfigError
from worldmodel.evaluation.probes.attentive import AttentiveProbe, default_heads
from worldmodel.evaluation.probes.linear import LinearProbe
from worldmodel.evaluation.probes.nearest import NearestProbe
from worldmodel.evaluation.probes.probe import Labelled, Task, mean_scores

TASK = Task(("a", "b", "c"), seed=3)
PROBES = {
    "attentive": AttentiveProbe(
        depth=1, heads=2, learning_rates=(1e-2, 1e-9), weight_decays=(0.01,), epochs=1, steps=30,
        batch=16,
    ),
    "linear": LinearProbe(),
    "knn": NearestProbe(),
}  # fmt: skip
every_probe = pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())


def accuracy(fitted, data):
    return float((fitted.scores(data.features).argmax(dim=1) == data.labels).float().mean())


@every_probe
def test_classes_that_lie_apart_are_told_apart(probe, tmp_path):
    fit, validation, test = (clusters(tmp_path / str(i), seed=i) for i in range(3))
    fitted = probe.fit(fit, validation, TASK)
    assert accuracy(fitted, test) == 1.0
    assert fitted.scores(test.features).shape == (24, 3)


@every_probe
def test_labels_that_the_features_do_not_hold_are_not_told(probe, tmp_path):
    noise = [clusters(tmp_path / str(i), each=20, spread=0, seed=i) for i in range(3)]
    shuffled = [
        replace(data, labels=data.labels[torch.randperm(60, generator=seeded(i))])
        for i, data in enumerate(noise)
    ]
    fitted = probe.fit(shuffled[0], shuffled[1], TASK)
    assert accuracy(fitted, shuffled[2]) < 0.6  # 1/3 by chance, of 60


@every_probe
def test_it_is_a_function_of_its_arguments_and_draws_from_nobody_s_random_numbers(probe, tmp_path):
    fit, validation = clusters(tmp_path / "a", spread=3), clusters(tmp_path / "b", spread=3, seed=1)
    before = torch.get_rng_state()
    first, second = (probe.fit(fit, validation, TASK) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.scores(fit.features), second.scores(fit.features))
    assert first.chosen == second.chosen


@every_probe
def test_the_order_of_videos_does_not_matter_to_what_is_said_of_each(probe, tmp_path):
    fit, validation = clusters(tmp_path / "a", spread=2), clusters(tmp_path / "b", spread=2, seed=1)
    fitted, order = probe.fit(fit, validation, TASK), torch.randperm(24, generator=seeded())
    scores = fitted.scores(validation.features)
    turned = fitted.scores(validation.features.take(order.tolist()))
    assert torch.allclose(turned, scores[order], atol=1e-5)


@every_probe
def test_a_class_without_a_video_to_fit_on_is_never_said(probe, tmp_path):
    data = clusters(tmp_path / "a")
    rows = (data.labels < 2).nonzero().flatten().tolist()
    if not isinstance(probe, AttentiveProbe):  # which has an output for every class
        said = probe.fit(data.take(rows), data.take(rows), TASK).scores(data.features)
        assert set(said.argmax(dim=1).tolist()) <= {0, 1}


def test_hyper_parameters_are_those_that_do_best_on_the_validation_videos(tmp_path):
    fit, validation = clusters(tmp_path / "a"), clusters(tmp_path / "b", seed=1)
    chosen = PROBES["attentive"].fit(fit, validation, TASK).chosen
    assert chosen == {
        "learning_rate": 1e-2,
        "weight_decay": 0.01,
    }  # not the one that learns nothing
    # One neighbour is right where each video has a twin, three where one of them is mislabelled.
    means = torch.eye(12)[:, None].repeat_interleave(1, dim=0)
    twins = Labelled(features(tmp_path / "c", means, means[:, :, None]), torch.arange(12) % 3)
    assert NearestProbe((1, 10)).fit(twins, twins, TASK).chosen == {"k": 1.0}
    blurred = clusters(tmp_path / "d", each=10, spread=0.01)
    wrong = blurred.labels.clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    mistaken = replace(blurred, labels=wrong)
    best = NearestProbe((1, 9)).fit(mistaken, clusters(tmp_path / "e", spread=0.01, seed=2), TASK)
    assert best.chosen == {"k": 9.0}


def test_scores_are_the_mean_over_the_views_of_a_video():
    scores = torch.tensor([[1.0, 0.0], [0.0, 3.0], [5.0, 0.0], [1.0, 2.0]])
    assert mean_scores(scores, 2).tolist() == [[0.5, 1.5], [3.0, 1.0]]


def test_tokens_are_read_from_the_files_in_the_order_that_is_asked_for(tmp_path):
    tokens = torch.arange(5 * 2 * 3 * 4, dtype=torch.float32).reshape(5, 2, 3, 4)
    found = features(tmp_path, tokens.mean(dim=2), tokens)
    assert torch.equal(found.tokens([4, 0, 3, 0], [1, 0, 0, 1]), tokens[[4, 0, 3, 0], [1, 0, 0, 1]])
    some = found.take([3, 1])
    assert torch.equal(some.tokens([1, 0], [0, 1]), tokens[[1, 3], [0, 1]])
    assert torch.equal(some.means, tokens[[3, 1]].mean(dim=2))


@pytest.mark.parametrize(
    ("width", "heads"), [(1024, 16), (1408, 16), (384, 16), (128, 8), (32, 2), (24, 1), (7, 1)]
)
def test_a_head_has_sixteen_dimensions_or_more(width, heads):
    assert default_heads(width) == heads


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"depth": -1}, {"learning_rates": ()}])
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="an attentive probe needs"):
        AttentiveProbe(**wrong)


def test_heads_that_do_not_share_an_encoder_s_tokens_are_refused_and_pixels_have_their_own(
    tmp_path,
):
    probe = replace(PROBES["attentive"], heads=3, steps=1)
    probe.check(24)
    with pytest.raises(ConfigError, match="of 3 heads cannot share the encoder's tokens of 32 dim"):
        probe.check(32)
    data = clusters(tmp_path)  # of 16 dimensions, as pixels may have
    assert probe.fit(data, data, TASK).classifier.spec["heads"] == 1
