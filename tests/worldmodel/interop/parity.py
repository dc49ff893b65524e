"""How far our tokens are from the references', written as a table of the documentation.

    python -m tests.worldmodel.interop.parity

The suite asserts the same bounds, in test_huggingface.py and test_vjepa.py.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

import worldmodel as wm
from benchmarks.table import Row, Table
from tests.worldmodel.interop import makers, reference
from tests.worldmodel.interop.makers import DEPTH, HEADS, HINTS, hf_model, normalised
from tests.worldmodel.toys import noise
from worldmodel.interop import vjepa
from worldmodel.types import Clip, Mask

BAR = 1e-4
SIZES = dict(depth=DEPTH, heads=HEADS)


def clip_of(frames: int, height: int, width: int) -> Clip:
    pixels = noise(1, frames, 3, height, width)
    return Clip(pixels, torch.arange(frames, dtype=torch.float64)[None])


def row(key: str, ours: Tensor, theirs: Tensor) -> Row:
    return Row.exact(key, (ours - theirs).abs().max().item(), at_most=BAR)


def read(held) -> tuple[wm.WorldModel, dict[str, Tensor], dict[str, Tensor]]:
    """Our model, and the encoder and predictor that the reference takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.pt"
        torch.save(held, path)
        model, _ = vjepa.read(path, HINTS)
    name = "target_encoder" if "target_encoder" in held else "encoder"
    parts = [{k.removeprefix("module.backbone."): v for k, v in held[x].items()}
             for x in (name, "predictor")]  # fmt: skip
    return model, *parts


def transformers_rows() -> list[Row]:
    theirs = hf_model(classified=True)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = wm.load(folder)
    clip = clip_of(8, 32, 32)
    pixels, ids = normalised(clip.frames), torch.arange(64)[None]
    context, targets = ids[:, :30], ids[:, 30:]
    expected = theirs.vjepa2(pixels, context_mask=[context], target_mask=[targets])
    filled = ours.fill_in(clip, Mask(context, targets), context="masked_after")
    return [
        row("transformers.tokens", ours.encode(clip).tokens, expected.last_hidden_state),
        row("transformers.predictions", filled, expected.predictor_output.last_hidden_state),
        row("transformers.logits", ours.classify(clip), theirs(pixels).logits),
    ]


def equation_rows() -> list[Row]:
    rows = []
    made = {
        "vjepa1": makers.checkpoint_1(),
        "vjepa2": makers.checkpoint(makers.encoder(), makers.predictor()),
        "vjepa2.1": makers.checkpoint_21(),
    }
    shapes = {"": (8, 32, 32), ".not_square": (4, 16, 48)}
    for family, held in made.items():
        model, encoder, predictor = read(held)
        for name, shape in shapes.items():
            if family == "vjepa1" and name:
                continue  # its table is of a square
            clip = clip_of(*shape)
            grid = model.encoder.grid(clip.frames)
            n = grid[0] * grid[1] * grid[2]
            pixels, context = normalised(clip.frames)[0], list(range(0, n, 3))
            targets, added = list(range(1, n, 3)), None
            if family == "vjepa1":
                added = predictor["predictor_pos_embed"][0]
                levels = [reference.encoder_1(encoder, pixels, **SIZES,
                                              added=encoder["pos_embed"][0])]  # fmt: skip
            elif family == "vjepa2":
                levels = [reference.encoder_2(encoder, pixels, **SIZES)]
            else:
                levels = reference.encoder_21(encoder, pixels, **SIZES)
            seen = torch.cat(levels, dim=1)[context]
            expected = reference.predictor(predictor, seen, context, targets, grid, **SIZES,
                                           family=family, added=added)  # fmt: skip
            mask = Mask(torch.tensor([context]), torch.tensor([targets]))
            filled = model.fill_in(clip, mask, context="masked_after")[0]
            rows.append(row(f"{family}{name}.tokens", model.encode(clip).tokens[0], levels[-1]))
            rows.append(row(f"{family}{name}.predictions", filled, expected))
    return rows


def frame_row() -> Row:
    model, _, predictor = read(makers.checkpoint_ac())
    tokens = torch.randn(1, 24, makers.WIDTH, generator=torch.Generator().manual_seed(5))
    states, actions = torch.randn(2, 1, 3, 7, generator=torch.Generator().manual_seed(6))
    grid = (3, 2, 4)
    found = model.action_predictor.next_tokens(tokens, states, actions, grid)[0]
    expected = reference.frame_predictor(predictor, tokens[0], states[0], actions[0], grid, **SIZES)
    return row("vjepa2-ac.next_frame", found, expected)


@torch.inference_mode()
def main(path: Path) -> None:
    rows = [*transformers_rows(), *equation_rows(), frame_row()]
    protocol = {
        "measured": "largest absolute difference of a number, float32, random small models",
        "references": "transformers; V-JEPA's equations, tests/worldmodel/interop/reference.py",
    }
    command = "python -m tests.worldmodel.interop.parity"
    Table("parity", command, protocol, rows).write(path, device="cpu")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/parity.json"))
