"""What a pretraining looked at, kept for its page: a few clips and what the model makes of them.

Numbers, not drawings: masks on the grid of tokens, principal components of tokens, errors of
prediction, nearest neighbours. `worldmodel/report/seeing.py` draws them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Generator, Tensor

from worldmodel.errors import ShapeError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.patches import Grid
from worldmodel.objectives.masks import MaskExample
from worldmodel.objectives.objective import Objective
from worldmodel.storage.tensors import save_tensors

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

FILE = "seen.safetensors"
_STEPS = 8  # time steps that are shown of a clip, at most
_CLIPS, _SHORT_CLIPS = 4, {1: 8, 2: 6, 3: 6}  # clips that are shown; more of few time steps
_QUERIES, _NEIGHBOURS = 8, 3
_SIDE, _SMALL_SIDE = 96, 64  # pixels of a kept frame, and of a neighbour's, at most


def keep_seen(
    run: "Run", objective: Objective, frames: Tensor, videos: Sequence[str], *, size: int
) -> None:
    """Write `seen.safetensors` into the run's folder; what hinders it is said and stops nothing.

    Args:
        run: the run.
        objective: what was trained.
        frames: b t c h w in [0, 1], not trained on.
        videos: the name of each clip's video; empty where they are not known.
        size: side of the model's frames in pixels.
    """
    try:
        tensors, names = look(objective, frames, videos or [""] * len(frames), size=size)
    except WorldModelError as cause:
        run.say(f"the page shows no clips: {cause}")
        return
    save_tensors(tensors, {k: json.dumps(v) for k, v in names.items()}, run.folder / FILE)


@torch.inference_mode()
def look(
    objective: Objective, frames: Tensor, videos: Sequence[str], *, size: int
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Look at clips through a model; clips of different videos come first.

    Args:
        objective: what was trained.
        frames: b t c h w in [0, 1].
        videos: the name of each clip's video.
        size: side of the model's frames in pixels.

    Returns:
        Tensors, with axes c shown clip, s shown time step, h w of the grid of tokens (of a frame in
        pixels where there are colours y):

        - `frames` c s h w y, uint8: the last frame of each time step;
        - `steps` s: which time steps of the clip these are;
        - `components` c s h w 3: the first principal components of the encoder's tokens;
        - `parts` c s h w: what is seen, predicted or neither, where the objective hides something;
        - `error`, `copying` c s h w, or c s 1 1 of states: of prediction, and of copying what was
          last seen; NaN where nothing is predicted; where the model predicts;
        - `images` n h w y, uint8, `neighbours` q k, `cosines` q k-1: rows of images, the query
          first, and how near; where there are three videos or more.

        And lists of names: `videos` of the shown clips, `masks` of their masks.

    Raises:
        WorldModelError: tokens are not finite, or no mask fits the grid.
    """
    model = objective.eval().world_model(size)
    grid = model.encoder.grid(frames)
    tokens = _tokens(model, frames, grid)  # b t h w d
    if not tokens.isfinite().all():
        raise WorldModelError("the encoder's tokens are not finite")
    shown = spread(videos, _SHORT_CLIPS.get(grid[0], _CLIPS))
    steps = torch.linspace(0, grid[0] - 1, min(grid[0], _STEPS)).round().long()
    last = (steps + 1) * (frames.shape[1] // grid[0]) - 1
    tensors = {
        "frames": _pixels(frames[shown][:, last], _SIDE),
        "steps": steps,
        "components": principal_components(tokens[shown][:, steps]),
    }
    names = {"videos": [videos[i] for i in shown]}
    masks = _masks(objective, grid, len(shown))
    if masks:
        tensors["parts"] = torch.stack([mask.parts[steps] for mask in masks])
        names["masks"] = [mask.name for mask in masks]
    errors = prediction_errors(model, frames[shown], grid)
    if errors is not None:
        tensors |= {k: v[:, steps] for k, v in zip(("error", "copying"), errors, strict=True)}
    found = neighbours(reduce(tokens, "b t h w d -> b d", "mean"), videos)
    if found is not None:
        rows, compact = found[0].unique(return_inverse=True)
        middle = frames[rows.to(frames.device), frames.shape[1] // 2]
        tensors |= {"images": _pixels(middle, _SMALL_SIDE), "neighbours": compact}
        tensors["cosines"] = found[1]
    return tensors, names


def _masks(objective: Objective, grid: Grid, clips: int) -> list[MaskExample]:
    """A mask for each clip: every kind in turn, drawn anew; evenly chosen where there are more."""
    # Nothing else is drawn from this generator, so that the page is the same each time.
    generator = Generator().manual_seed(0)
    masks = list(objective.mask_examples(grid, generator))
    if len(masks) > clips:
        return [masks[i * len(masks) // clips] for i in range(clips)]
    while 0 < len(masks) < clips:
        masks += objective.mask_examples(grid, generator)
    return masks[:clips]


def spread(videos: Sequence[str], count: int) -> list[int]:
    """At most `count` clips: the first of each video, then the second of each, ..."""
    met: Counter[str] = Counter()
    order = []
    for row, video in enumerate(videos):
        order.append((met[video], row))
        met[video] += 1
    return [row for _, row in sorted(order)[:count]]


def principal_components(tokens: Tensor) -> Tensor:
    """Tokens ... d -> their first three principal components ... 3, over all tokens together.

    Signs are fixed by scikit-learn's rule, and so is its random start. Zero where there are fewer
    components, or none because all tokens are equal.
    """
    # Imported late: it takes a while, and the page needs this file only for the name of another.
    from sklearn.decomposition import PCA

    rows = tokens.flatten(0, -2).double().cpu()
    rows = rows - rows.mean(0)
    kept, most = rows.new_zeros(len(rows), 3), min(3, *rows.shape)
    if rows.abs().max() > 0:
        pca = PCA(most, svd_solver="randomized", random_state=0)
        kept[:, :most] = torch.from_numpy(pca.fit_transform(rows.numpy()))
    return kept.float().reshape(*tokens.shape[:-1], 3)


def prediction_errors(
    model: WorldModel, frames: Tensor, grid: Grid
) -> tuple[Tensor, Tensor] | None:
    """The error of the masked predictor, and of copying, for each token of frames b t c h w.

    Returns:
        Twice b t h w, or b t 1 1 where states are predicted; NaN where nothing is. The mean where a
        time step is predicted more than once. None where the model predicts nothing.
    """
    if model.masked_predictor is None:
        return None
    try:
        found = model.masked_predictor.predictions(model.encoder, model.head, frames)
    except ShapeError:  # a single time step, or too few for the shortest horizon
        return None
    t, h, w = grid
    totals = counts = None
    for prediction in found:
        both = torch.stack([prediction.predicted, prediction.persistence])
        error = (both - prediction.observed).abs().pow(prediction.power).mean(-1).cpu()
        if error.shape[-1] % (h * w):  # latents that are not tokens: of the time step
            error = error.mean(-1, keepdim=True)
            height = width = 1
        else:
            height, width = h, w
        error = rearrange(error, "x b s (t h w) -> x b s t h w", h=height, w=width)
        if totals is None or counts is None:
            totals = error.new_zeros(2, len(frames), t, height, width)
            counts = error.new_zeros(t, 1, 1)
        for step, frame in enumerate(prediction.last_frames.tolist()):
            end = (frame + 1) * t // frames.shape[1]
            place = slice(end - error.shape[3], end)
            totals[:, :, place] += error[:, :, step]
            counts[place] += 1
    if totals is None or counts is None:
        return None
    predicted, copied = (totals / counts).float()  # 0 / 0 is NaN
    return predicted, copied


def neighbours(features: Tensor, videos: Sequence[str]) -> tuple[Tensor, Tensor] | None:
    """The nearest clips of other videos, one of each video, by the cosine of features b d.

    The mean over all clips is subtracted first: it is in every clip, and says nothing of any.

    Returns:
        Rows q 1+k, each a clip and its k nearest, the nearest first, and the cosines q k. None
        where there are fewer than three videos: nothing would be nearer than something else.
    """
    count = min(len(set(videos)) - 1, _NEIGHBOURS)
    if count < 2:
        return None
    unit = F.normalize(features.double() - features.double().mean(0), dim=-1).cpu()
    rows, cosines = [], []
    for query in spread(videos, _QUERIES):
        to_all = (unit @ unit[query]).tolist()
        best: dict[str, int] = {}
        for row in sorted(range(len(videos)), key=lambda row: -to_all[row]):
            if videos[row] != videos[query]:
                best.setdefault(videos[row], row)
        near = list(best.values())[:count]
        rows.append([query, *near])
        cosines.append([to_all[row] for row in near])
    return torch.tensor(rows), torch.tensor(cosines, dtype=torch.float32)


def _tokens(model: WorldModel, frames: Tensor, grid: Grid) -> Tensor:
    """The encoder's tokens of frames b t c h w on their grid, as in the training: b t h w d.

    Models whose latents are states have mostly seen each time step alone, others whole clips.
    """
    t, h, w = grid
    if model.head is not None and not model.head.per_token:
        frames = rearrange(frames, "b (t i) c h w -> (b t) i c h w", t=t)
    tokens = model.encoder(frames)
    return tokens.float().reshape(-1, t, h, w, tokens.shape[-1])


def _pixels(frames: Tensor, side: int) -> Tensor:
    """Frames ... c h w in [0, 1] -> ... h w c, uint8, their longer side at most `side`."""
    flat = frames.flatten(0, -4)
    scale = side / max(flat.shape[-2:])
    if scale < 1:
        flat = F.interpolate(flat, scale_factor=scale, mode="area")
    pixels = (flat.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return rearrange(pixels, "n c h w -> n h w c").unflatten(0, frames.shape[:-3])
