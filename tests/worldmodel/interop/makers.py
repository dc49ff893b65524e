"""Small random checkpoints with published keys: V-JEPA's `.pt` files, Hugging Face's folders."""

import torch
from torch import Tensor

from tests.worldmodel.toys import seeded
from worldmodel.interop import Hints

WIDTH, HEADS, DEPTH, PATCH = 48, 2, 2, 8
NARROW = 24  # the predictor's width
HINTS = Hints(heads=HEADS, predictor_heads=HEADS, size=32)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normalised(frames: Tensor) -> Tensor:
    """Frames b t c h w in units of ImageNet's mean and deviation."""
    return (frames - MEAN[:, None, None]) / STD[:, None, None]


# Hugging Face


def hf_config(**changes):
    from transformers import VJEPA2Config

    sizes = dict(
        patch_size=PATCH, crop_size=32, frames_per_clip=8, hidden_size=WIDTH, mlp_ratio=3.0,
        num_attention_heads=HEADS, num_hidden_layers=DEPTH, pred_hidden_size=NARROW,
        pred_num_attention_heads=HEADS, pred_num_hidden_layers=DEPTH, pred_num_mask_tokens=3,
        num_pooler_layers=1, num_labels=5,
    )  # fmt: skip
    return VJEPA2Config(**{**sizes, **changes})


def hf_model(*, classified=False, **changes):
    """A model of transformers whose weights are stirred, so that no part says nothing."""
    from transformers import VJEPA2ForVideoClassification, VJEPA2Model

    torch.manual_seed(0)
    model = (VJEPA2ForVideoClassification if classified else VJEPA2Model)(hf_config(**changes))
    generator = seeded(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator) * 0.1)
    return model.eval()


def as_vjepa(model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of a `VJEPA2Model` under V-JEPA's keys: encoder and predictor."""
    held = {k: v.detach().clone() for k, v in model.state_dict().items()}
    encoder = {f"patch_embed.proj.{w}": held[f"encoder.embeddings.patch_embeddings.proj.{w}"]
               for w in ("weight", "bias")}  # fmt: skip
    encoder |= _blocks(held, "encoder", "blocks")
    encoder |= {f"norm.{w}": held[f"encoder.layernorm.{w}"] for w in ("weight", "bias")}
    predictor = _blocks(held, "predictor", "predictor_blocks")
    for w in ("weight", "bias"):
        predictor |= {
            f"predictor_embed.{w}": held[f"predictor.embeddings.predictor_embeddings.{w}"],
            f"predictor_norm.{w}": held[f"predictor.layernorm.{w}"],
            f"predictor_proj.{w}": held[f"predictor.proj.{w}"],
        }
    for k, token in enumerate(held["predictor.embeddings.mask_tokens"]):
        predictor[f"mask_tokens.{k}"] = token
    return encoder, predictor


def _blocks(held: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    found = {}
    for i in range(DEPTH):
        a, b = f"{theirs}.layer.{i}", f"{ours}.{i}"
        for w in ("weight", "bias"):
            parts = [held[f"{a}.attention.{x}.{w}"] for x in ("query", "key", "value")]
            found[f"{b}.attn.qkv.{w}"] = torch.cat(parts)
            found[f"{b}.attn.proj.{w}"] = held[f"{a}.attention.proj.{w}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{b}.{name}.{w}"] = held[f"{a}.{name}.{w}"]
    return found


# V-JEPA


def layer(name: str, rows: int, columns: int, seed: int) -> dict[str, Tensor]:
    random = seeded(seed)
    weight = torch.randn(rows, columns, generator=random) / columns**0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(rows, generator=random) * 0.3}


def norm(name: str, width: int, seed: int) -> dict[str, Tensor]:
    random = seeded(seed)
    return {
        f"{name}.weight": 1 + 0.3 * torch.randn(width, generator=random),
        f"{name}.bias": 0.3 * torch.randn(width, generator=random),
    }


def blocks(stem: str, width: int, depth: int = DEPTH) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for i in range(depth):
        b = f"{stem}.{i}"
        found |= norm(f"{b}.norm1", width, 6 * i) | norm(f"{b}.norm2", width, 6 * i + 1)
        found |= layer(f"{b}.attn.qkv", 3 * width, width, 6 * i + 2)
        found |= layer(f"{b}.attn.proj", width, width, 6 * i + 3)
        found |= layer(f"{b}.mlp.fc1", 3 * width, width, 6 * i + 4)
        found |= layer(f"{b}.mlp.fc2", width, 3 * width, 6 * i + 5)
    return found


def patch_embed(name: str, frames: int, width: int, patch: int, seed: int = 90):
    made = layer(name, width, 3 * frames * patch * patch, seed)
    made[f"{name}.weight"] = made[f"{name}.weight"].reshape(width, 3, frames, patch, patch)
    return made


def encoder(width: int = WIDTH, patch: int = PATCH, depth: int = DEPTH) -> dict[str, Tensor]:
    made = patch_embed("patch_embed.proj", 2, width, patch)
    return made | blocks("blocks", width, depth) | norm("norm", width, 91)


def predictor(
    width: int = NARROW, token_width: int = WIDTH, masks: int = 10, depth: int = DEPTH
) -> dict[str, Tensor]:
    made = layer("predictor_embed", width, token_width, 92)
    made |= blocks("predictor_blocks", width, depth) | norm("predictor_norm", width, 93)
    made |= layer("predictor_proj", token_width, width, 94)
    tokens = torch.randn(masks, 1, 1, width, generator=seeded(95))
    return made | {f"mask_tokens.{k}": token for k, token in enumerate(tokens)}


def published_positions(width: int, t: int, side: int) -> Tensor:
    """V-JEPA 1's table, from its formula: an equal share an axis, sines, then cosines."""
    share = -(-width // 6) * 2
    table = torch.zeros(1, t * side * side, 3 * share, dtype=torch.float64)
    for place in range(t * side * side):
        where = (place // side**2, place // side % side, place % side)
        for axis, position in enumerate(where):
            for i in range(share // 2):
                angle = position / 10000 ** (i / (share / 2))
                column = axis * share + i
                table[0, place, column] = torch.sin(torch.tensor(angle, dtype=torch.float64))
                table[0, place, column + share // 2] = torch.cos(
                    torch.tensor(angle, dtype=torch.float64)
                )
    return table[..., :width].float()


def checkpoint(
    encoder: dict[str, Tensor], predictor: dict[str, Tensor], name: str = "target_encoder"
):
    """A checkpoint of a training: wrapped state dictionaries, a student, and the optimiser's."""
    wrapped = {f"module.backbone.{k}": v for k, v in encoder.items()}
    held = {name: wrapped, "predictor": {f"module.backbone.{k}": v for k, v in predictor.items()}}
    if name != "encoder":
        held["encoder"] = {k: torch.zeros_like(v) for k, v in wrapped.items()}
    training = {"opt": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}}
    return held | training | {"scaler": None, "epoch": 3, "loss": 0.5, "lr": 1e-3}


def checkpoint_1(t: int = 4, side: int = 4, *, width: int = WIDTH, narrow: int = NARROW):
    positions = {"pos_embed": published_positions(width, t, side)}
    small = {"predictor_pos_embed": published_positions(narrow, t, side)}
    return checkpoint(encoder(width) | positions, predictor(narrow, width, masks=2) | small)


def checkpoint_21(*, distilled: bool = False):
    made = {k: v for k, v in encoder().items() if not k.startswith("norm.")}
    made |= norm("norms_block.0", WIDTH, 96) | norm("norms_block.1", WIDTH, 97)
    made |= patch_embed("patch_embed_img.proj", 1, WIDTH, PATCH, 98)
    random = seeded(99)
    made |= {k: torch.randn(1, 1, WIDTH, generator=random)
             for k in ("video_mod_embed", "img_mod_embed")}  # fmt: skip
    head = predictor(masks=8)
    head |= {k: torch.randn(1, 1, NARROW, generator=random)
             for k in ("video_mod_embed", "img_mod_embed")}  # fmt: skip
    out = 2 * WIDTH if not distilled else WIDTH + 16
    head |= layer("predictor_proj", out, NARROW, 100)
    head |= layer("predictor_proj_context", out, NARROW, 101)
    if distilled:
        return checkpoint(made, head, "ema_encoder")
    for w in ("weight", "bias"):
        del head[f"predictor_embed.{w}"]
    head |= layer("predictor_embed.0", WIDTH, 2 * WIDTH, 102)
    head |= layer("predictor_embed.2", NARROW, WIDTH, 103)
    return checkpoint(made, head)


def checkpoint_ac(width: int = WIDTH, narrow: int = NARROW, *, patch: int = PATCH):
    head = {k: v for k, v in predictor(narrow, width).items() if not k.startswith("mask")}
    head |= layer("action_encoder", narrow, 7, 104)
    head |= layer("state_encoder", narrow, 7, 105)
    head |= layer("extrinsics_encoder", narrow, 6, 106)
    return checkpoint(encoder(width, patch), head, "encoder")


def probe(
    *, width: int = WIDTH, classes: int = 5, depth: int = DEPTH, queries: int = 1, seed: int = 200
) -> dict[str, Tensor]:
    """The state dictionary of an attentive probe, unwrapped."""
    found = {"pooler.query_tokens": torch.randn(1, queries, width, generator=seeded(seed))}
    wide = {k: v for k, v in blocks("pooler.blocks", width, depth).items() if ".mlp." not in k}
    for i in range(depth):
        wide |= layer(f"pooler.blocks.{i}.mlp.fc1", 4 * width, width, seed + 8 + i)
        wide |= layer(f"pooler.blocks.{i}.mlp.fc2", width, 4 * width, seed + 20 + i)
    stem = "pooler.cross_attention_block"
    found |= wide | norm(f"{stem}.norm1", width, seed + 1) | norm(f"{stem}.norm2", width, seed + 4)
    found |= layer(f"{stem}.xattn.q", width, width, seed + 2)
    found |= layer(f"{stem}.xattn.kv", 2 * width, width, seed + 3)
    found |= layer(f"{stem}.mlp.fc1", 4 * width, width, seed + 5)
    found |= layer(f"{stem}.mlp.fc2", width, 4 * width, seed + 6)
    return found | layer("linear", classes, width, seed + 7)


def probe_file(*probes: dict[str, Tensor]):
    """What V-JEPA 2's evaluation saves: several probes, wrapped, and their optimisers."""
    wrapped = [{f"module.{k}": v for k, v in made.items()} for made in probes]
    return {"classifiers": wrapped, "opt": [{"state": {}} for _ in probes], "epoch": 20}
