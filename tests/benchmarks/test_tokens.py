"""The ablation of `tube_sigreg`: what is changed by hand can be trained, and is what it says."""

import json
from functools import cache

import pytest
import torch
from torch import nn

from benchmarks import tokens
from benchmarks.recipes import Case, settings
from benchmarks.worlds import WORLDS
from worldmodel.architecture import Architecture
from worldmodel.cli.runner import build
from worldmodel.nn.encoder import VideoViT
from worldmodel.report import results

NORMS = {"linear": 1, "without_norms": 0, "l1_without_norms": 0}


def objective_of(name):
    torch.manual_seed(0)
    line, world = tokens.LINES[name], WORLDS["digits"]
    chosen = settings(world, Case("digits", tokens.RECIPE, 21, 1e-3, 3), line.words)
    encoder = VideoViT(8, 1, heads=1, patch=4, tubelet_frames=2)
    sizes = Architecture(encoder, size=16, latent_width=8, latent_per_token=True)
    objective = build("objective", chosen["objective"])(sizes)
    if line.change is not None:
        line.change(objective)
    return objective


def losses_of(objective):
    frames = torch.rand(8, 8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return objective(frames, step=0, generator=torch.Generator().manual_seed(2),
                     clips_per_video=tokens.CLIPS_PER_VIDEO)  # fmt: skip


@cache
def loss_of_recipe():
    return losses_of(objective_of("base")).total.item()


@pytest.mark.parametrize("name", [name for name, line in tokens.LINES.items() if line.change])
def test_what_no_configuration_says_learns_and_differs_from_the_recipe(name):
    objective = objective_of(name)
    losses = losses_of(objective)
    losses.total.backward()
    slopes = [p.grad for p in objective.encoder.parameters() if p.grad is not None]
    assert torch.isfinite(losses.total) and any(slope.abs().sum() > 0 for slope in slopes)
    norms = [m for m in objective.head.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == NORMS.get(name, 2)
    assert losses.total.item() != loss_of_recipe()


def test_a_cell_is_of_the_seeds_in_order_and_of_the_tables_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "write", lambda table, path: path.write_text(json.dumps(table)))
    measured = {
        tokens.key(("digits", "l1", 21)): 0.25,
        tokens.key(("digits", "l1", 20)): 0.5,
        tokens.key(("digits", "l1", 21), 10, 7): 0.75,
    }
    known = {key: {"read": {"position_r2": value}} for key, value in measured.items()}
    tokens.write_table(known)
    table = json.loads((tmp_path / "tokens.json").read_text())
    assert table["columns"] == ["", "digits position_r2"]
    assert table["rows"] == [["distance: L1", "0.250 / 0.500"]]
