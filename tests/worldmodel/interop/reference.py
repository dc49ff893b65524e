"""V-JEPA's networks once more, from their equations and slowly: one clip, loops, published keys."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Positions = list[tuple[float, float, float]]  # t h w of each token


def positions_of(grid, ids=None, *, side=0) -> Positions:
    """Where tokens stand, rows and columns spread as over `side` of them if it is given."""
    t, h, w = grid
    every = [(i, j, k) for i in range(t) for j in range(h) for k in range(w)]
    if side:
        every = [(i, j * (side - 1) / (h - 1), k * (side - 1) / (w - 1)) for i, j, k in every]
    return every if ids is None else [every[i] for i in ids]


def rotated(x: Tensor, positions: Positions, *, tiled: bool) -> Tensor:
    """One head's queries or keys n d, rotated: an equal even part of the channels an axis."""
    part = 2 * ((x.shape[1] // 3) // 2)
    out = x.clone()
    for n, place in enumerate(positions):
        for axis, position in enumerate(place):
            for c in range(0, part, 2):
                first = axis * part + c
                a, b = x[n, first], x[n, first + 1]
                # The published tiling gives the channels of a pair different frequencies.
                i, j = (c % (part // 2), (c + 1) % (part // 2)) if tiled else (c // 2, c // 2)
                angles = [position / 10000 ** (2 * f / part) for f in (i, j)]
                out[n, first] = a * math.cos(angles[0]) - b * math.sin(angles[0])
                out[n, first + 1] = b * math.cos(angles[1]) + a * math.sin(angles[1])
    return out


def linear(x, held, name):
    return F.linear(x, held[f"{name}.weight"], held[f"{name}.bias"])


def normed(x, held, name):
    return F.layer_norm(x, x.shape[-1:], held[f"{name}.weight"], held[f"{name}.bias"], eps=1e-6)


def block(x, held, name, *, heads, turn, sees=None):
    """A pre-norm block over tokens n d; `turn` rotates a head's queries and keys."""
    q, k, v = linear(normed(x, held, f"{name}.norm1"), held, f"{name}.attn.qkv").chunk(3, dim=1)
    width = x.shape[1] // heads
    seen = []
    for a in range(heads):
        columns = slice(a * width, (a + 1) * width)
        score = turn(q[:, columns]) @ turn(k[:, columns]).T / math.sqrt(width)
        if sees is not None:
            score = score.masked_fill(~sees, -math.inf)
        seen.append(score.softmax(dim=1) @ v[:, columns])
    x = x + linear(torch.cat(seen, dim=1), held, f"{name}.attn.proj")
    middle = F.gelu(linear(normed(x, held, f"{name}.norm2"), held, f"{name}.mlp.fc1"))
    return x + linear(middle, held, f"{name}.mlp.fc2")


def embedded(frames, held, name="patch_embed.proj"):
    """Normalised frames t c h w -> tokens n d and their grid."""
    weight = held[f"{name}.weight"]
    pixels = frames.transpose(0, 1)[None]
    made = F.conv3d(pixels, weight, held[f"{name}.bias"], stride=weight.shape[2:])[0]
    return made.flatten(1).T, made.shape[1:]


def run(x, held, stem, *, depth, heads, turn, sees=None):
    """The outputs of all blocks."""
    outputs = []
    for i in range(depth):
        x = block(x, held, f"{stem}.{i}", heads=heads, turn=turn, sees=sees)
        outputs.append(x)
    return outputs


def encoder_2(held, frames, *, depth, heads, keep=None):
    """V-JEPA 2: tokens of normalised frames t c h w, of the positions in `keep` alone."""
    x, grid = embedded(frames, held)
    positions = positions_of(grid, keep)
    x = x if keep is None else x[keep]
    last = run(x, held, "blocks", depth=depth, heads=heads,
               turn=lambda q: rotated(q, positions, tiled=True))[-1]  # fmt: skip
    return normed(last, held, "norm")


def resampled(table, trained, grid):
    """V-JEPA 1's positions on another grid: an axis at a time, between the positions in training.

    Both grids cover the same clip, place i of m standing at (i + 1/2) / m of its length.
    """
    x = table.unflatten(0, trained)
    for axis, (n, m) in enumerate(zip(trained, grid, strict=True)):
        rows = []
        for i in range(m):
            at = min(max((i + 0.5) * n / m - 0.5, 0), n - 1)
            low = min(int(at), n - 1)
            high = min(low + 1, n - 1)
            rows.append(x.select(axis, low) * (1 - at + low) + x.select(axis, high) * (at - low))
        x = torch.stack(rows, dim=axis)
    return x.flatten(0, 2)


def encoder_1(held, frames, *, depth, heads, added):
    """V-JEPA 1: positions `added` (n d) to the tokens, nothing rotated."""
    x, _ = embedded(frames, held)
    last = run(x + added, held, "blocks", depth=depth, heads=heads, turn=lambda q: q)[-1]
    return normed(last, held, "norm")


def encoder_21(held, frames, *, depth, heads, kind="video"):
    """V-JEPA 2.1: the normed outputs of all blocks (each a level), n d each."""
    name, kind = {
        "video": ("patch_embed.proj", "video_mod_embed"),
        "image": ("patch_embed_img.proj", "img_mod_embed"),
    }[kind]
    x, grid = embedded(frames, held, name)
    positions = positions_of(grid, side=16)
    outputs = run(x + held[kind][0], held, "blocks", depth=depth, heads=heads,
                  turn=lambda q: rotated(q, positions, tiled=False))  # fmt: skip
    return [normed(y, held, f"norms_block.{i}") for i, y in enumerate(outputs)]


def predictor(
    held, seen, context, targets, grid, *, depth, heads, family="vjepa2", added=None, kind="video"
):
    """Tokens at the positions `targets` from those `seen` at `context`: q d."""
    if "predictor_embed.weight" in held:
        x = linear(seen, held, "predictor_embed")
    else:
        x = linear(F.gelu(linear(seen, held, "predictor_embed.0")), held, "predictor_embed.2")
    count = sum(key.startswith("mask_tokens") for key in held)
    mask = held[f"mask_tokens.{1 % count}"][0]
    ids = [*context, *targets]
    x = torch.cat([x, mask.expand(len(targets), -1)])
    if family == "vjepa2.1":
        x = x + held[{"video": "video_mod_embed", "image": "img_mod_embed"}[kind]][0]
    positions = positions_of(grid, ids, side=16 if family == "vjepa2.1" else 0)

    def turn(q):
        return q if added is not None else rotated(q, positions, tiled=family == "vjepa2")

    x = x if added is None else x + added[ids]
    last = run(x, held, "predictor_blocks", depth=depth, heads=heads, turn=turn)[-1]
    return linear(normed(last, held, "predictor_norm")[len(context) :], held, "predictor_proj")


def frame_predictor(held, tokens, states, actions, grid, *, depth, heads):
    """V-JEPA 2-AC: the tokens after each frame, from tokens n d, states t s, actions t a."""
    t, h, w = grid
    seen = linear(tokens, held, "predictor_embed").unflatten(0, (t, h * w))
    x, positions, times = [], [], []
    for i in range(t):
        x += [linear(actions[i], held, "action_encoder"), linear(states[i], held, "state_encoder")]
        x += list(seen[i])
        # Columns are spread over as many steps as there are rows.
        positions += [(i, 0, 0)] * 2 + [(i, j, k * h / w) for j in range(h) for k in range(w)]
        times += [i] * (h * w + 2)
    sees = torch.tensor([[later >= earlier for earlier in times] for later in times])
    last = run(torch.stack(x), held, "predictor_blocks", depth=depth, heads=heads, sees=sees,
               turn=lambda q: rotated(q, positions, tiled=True))[-1]  # fmt: skip
    patches = last.unflatten(0, (t, h * w + 2))[:, 2:].flatten(0, 1)
    return linear(normed(patches, held, "predictor_norm"), held, "predictor_proj")
