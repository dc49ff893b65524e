import numpy as np
import pytest
import torch

from benchmarks import indomain
from benchmarks.indomain import Case, accuracies, learn, measure, rows
from benchmarks.readouts import Clips
from worldmodel.nn.encoder import VideoViT


def test_learning_finds_labels_and_frozen_means_frozen():
    generator = torch.Generator().manual_seed(0)
    labels = {
        name: torch.randint(count, (96,), generator=generator).numpy()
        for name, count in indomain.CLASSES.items()
    }
    frames = torch.zeros(96, 2, 3, 8, 8, dtype=torch.uint8)
    for i, (digit, direction) in enumerate(zip(*labels.values(), strict=True)):
        frames[i, :, 0], frames[i, :, 1] = 25 * int(digit), 30 * int(direction)
    clips, encoder = Clips(frames, labels), VideoViT(24, 1, heads=2, patch=4)
    before = [p.clone() for p in encoder.parameters()]
    tuned = learn(encoder, clips, share=1.0, frozen=False, seed=0)
    frozen = learn(encoder, clips, share=1.0, frozen=True, seed=0)
    assert np.mean(list(accuracies(tuned, clips).values())) > 0.4
    assert all(map(torch.equal, before, frozen.encoder.parameters()))
    assert not all(map(torch.equal, before, tuned.encoder.parameters()))
    assert all(map(torch.equal, before, encoder.parameters()))


@pytest.mark.slow
def test_it_runs_from_start_to_end(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    for name, value in {"VIDEOS": 16, "TEST": 8, "STEPS": 1, "TIMES_LONGER": 2, "BATCH": 8,
                        "LABELLED_STEPS": 1, "EPOCHS": 1}.items():  # fmt: skip
        monkeypatch.setattr(indomain, name, value)
    records = [measure(Case(start, 1, 1e-3), tmp_path) for start in indomain.STARTS]
    keys = {row["key"] for row in rows(records)}
    assert "digits.others.fine_tuned.10%.digit_accuracy" in keys
    assert len(keys) == 3 * 3 * 2 * 2
