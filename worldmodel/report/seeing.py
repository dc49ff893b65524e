"""The page's part on seeing: clips with their masks, tokens, errors of prediction, neighbours."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from einops import repeat
from PIL import Image
from safetensors import SafetensorError, safe_open

from worldmodel.errors import RunError
from worldmodel.objectives.masks import PREDICTED, SEEN
from worldmodel.report.charts import legend
from worldmodel.report.images import photo_uri, strip
from worldmodel.report.numbers import number
from worldmodel.report.run_folder import RunRecord
from worldmodel.training.seen import FILE

_SIDE, _GAP = 128, 4  # pixels of a drawn frame, at least, and between two
_HATCH = (200, 85, 61)
# Light is a large error: matplotlib's `inferno`, at five places.
_HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])
_HEAT_SHARE = 0.62  # of the colour, over the grey frame
_INTRODUCTION = (
    "Clips of a step that was not trained on, through the model as it is in the end. One frame of "
    "each time step is shown, its last."
)
_ROWS = {
    "masked": "What the objective hides. Hatched: has to be predicted; faint: neither seen nor "
    "predicted. Each clip shows one of its masks.",
    "tokens": "The first three principal components of the tokens, over all clips shown here, as "
    "red, green and blue. Look for things that keep their colour as they move; a colour of its "
    "own for each clip tells videos apart and not what moves, and one for all is a collapse.",
    "copying": "The error of saying that nothing changes: bright where something moved.",
    "predicting": "The error of the model's prediction, on the same scale. It should be darker "
    "than copying where things move.",
}
_STATES = (
    "The error of predicting the state of a time step (first bar), beside that of saying that "
    "nothing changes (second bar). Look for first bars that are lower where things move."
)
_NEAREST = (
    "In each group a clip, framed, and after it the nearest clips of other videos, one of each "
    "video, by the cosine (below) of their mean tokens, less the mean of all clips. Look for what "
    "they have in common: what moves, or only the colours of the background."
)
_ALONE = (
    "None: a clip's neighbours are sought among those of other videos in its batch, and it takes "
    "two of these or more."
)


@dataclass(frozen=True)
class Seen:
    """What `worldmodel.training.seen.look` kept; its docstring says what the arrays are."""

    arrays: dict[str, np.ndarray]
    videos: list[str]
    masks: list[str]


def section(runs: Sequence[RunRecord]) -> str:
    """Pictures of every run that kept some; the first is open."""
    found = [(run, seen) for run in runs if (seen := read_seen(run)) is not None]
    if not found:
        return ""
    parts = []
    for index, (run, seen) in enumerate(found):
        drawn = _clips(seen) + _nearest(seen)
        if len(found) > 1:
            drawn = (f"<details{'' if index else ' open'}><summary>{escape(run.name)}</summary>"
                     f"{drawn}</details>")  # fmt: skip
        parts.append(drawn)
    return f"<h2>Seeing</h2><p>{_INTRODUCTION}</p>{''.join(parts)}"


def read_seen(run: RunRecord) -> Seen | None:
    """What a pretraining looked at, if it kept it.

    Raises:
        RunError: the file is damaged.
    """
    path = run.folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            header = file.metadata() or {}
        names = {key: json.loads(header.get(key, "[]")) for key in ("videos", "masks")}
        if "frames" not in arrays or "components" not in arrays:
            raise ValueError("frames or components are missing")
    except (SafetensorError, ValueError, OSError) as cause:
        raise RunError(f"{path}: cannot be read ({cause}); delete it, or pretrain again") from cause
    return Seen(arrays, **names)


def _clips(seen: Seen) -> str:
    """A card for each clip, with what its rows mean above and the scale of errors below."""
    a = seen.arrays
    top = _top(a)
    as_states = top > 0 and a["error"].shape[2:] == (1, 1)
    kept = {"masked": "parts" in a, "copying": top > 0 and not as_states}
    kept["predicting"] = kept["copying"]
    words = {row: text for row, text in _ROWS.items() if kept.get(row, True)}
    words |= {"error": _STATES} if as_states else {}
    told = "".join(f"<dt>{row}</dt><dd>{text}</dd>" for row, text in words.items())
    colours = colours_of(a["components"])
    cards = [_clip(seen, index, colours[index], top) for index in range(len(a["frames"]))]
    below = ""
    if top > 0:
        below = (legend({"predicting": 2, "copying": 6}) if as_states else _scale(top)) + _means(a)
    columns = a["frames"].shape[1]
    return (f'<dl class="rows">{told}</dl><div class="views" '
            f'style="--least:{7 + 5.5 * columns:.1f}rem;--most:{7 + 10 * columns:.1f}rem">'
            f"{''.join(cards)}</div>{below}")  # fmt: skip


def _top(a: dict[str, np.ndarray]) -> float:
    """The end of the scale of errors, one for copying and prediction; 0 where there are none.

    The largest ones, such as at a cut, lie beyond it: they would leave all others without contrast.
    """
    if "error" not in a:
        return 0.0
    values = np.stack([a["error"], a["copying"]])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0
    return float(np.quantile(values, 0.9 if a["error"].shape[2:] == (1, 1) else 0.98))


def _clip(seen: Seen, index: int, colours: np.ndarray, top: float) -> str:
    a = seen.arrays
    frames = enlarged(a["frames"][index])
    size = frames.shape[1:3]
    rows = [_row("frames", frames)]
    if "parts" in a:
        rows.append(_row("masked", masked(frames, a["parts"][index])))
    rows.append(_row("tokens", on_frame(colours, size)))
    if top > 0 and a["error"].shape[2:] == (1, 1):
        rows.append(_bars(a["error"][index, :, 0, 0], a["copying"][index, :, 0, 0], top))
    elif top > 0:
        for name, row in (("copying", "copying"), ("error", "predicting")):
            rows.append(_row(row, heat(frames, a[name][index], top)))
    words = [_file_name(seen.videos[index])] if seen.videos else []
    if "parts" in a:
        hidden = (a["parts"][index] != SEEN).mean()
        words.append(f"mask: {escape(seen.masks[index])}, {hidden:.0%} hidden")
    return (f'<figure class="card view">{"".join(rows)}'
            f"<figcaption>{' · '.join(words)}</figcaption></figure>")  # fmt: skip


def enlarged(frames: np.ndarray) -> np.ndarray:
    """Frames t h w c, uint8, by a whole number so that the shorter side has at least `_SIDE`."""
    by = -(-_SIDE // min(frames.shape[1:3]))
    size = (frames.shape[2] * by, frames.shape[1] * by)
    images = [Image.fromarray(x).resize(size, Image.Resampling.BICUBIC) for x in frames]
    return np.stack([np.asarray(image) for image in images])


def on_frame(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of tokens t h w ... at each pixel of frames of this height and width: the nearest."""
    (height, width), (h, w) = size, values.shape[1:3]
    # The middle of pixel i lies at i + 1/2.
    rows = (2 * np.arange(height) + 1) * h // (2 * height)
    columns = (2 * np.arange(width) + 1) * w // (2 * width)
    return values[:, rows[:, None], columns]


def masked(frames: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Frames t h w 3 with what is hidden dimmed, and hatched where it is predicted: t h w 4.

    Dimmed is transparent, so that the page's own ground shows, be it light or dark.
    """
    kinds = on_frame(parts, frames.shape[1:3])
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    lines = (rows + columns) % 16 < 2
    alpha = np.where(kinds == SEEN, 255, np.where(kinds == PREDICTED, 46, 16)).astype(np.uint8)
    drawn = np.concatenate([frames, alpha[..., None]], axis=-1)
    drawn[(kinds == PREDICTED) & lines] = (*_HATCH, 200)
    return drawn


def colours_of(components: np.ndarray) -> np.ndarray:
    """Components ... 3 as colours, uint8: of each, what 96 % of the tokens have fills the range."""
    low, high = np.quantile(components.reshape(-1, 3), (0.02, 0.98), axis=0)
    span = np.where(high > low, high - low, 1)
    share = np.where(high > low, (components - low) / span, 0.5)
    return (share.clip(0, 1) * 255).round().astype(np.uint8)


def heat(frames: np.ndarray, errors: np.ndarray, top: float) -> np.ndarray:
    """Errors t h w over grey frames t h w 3, from 0 to `top`: t h w 4; faint where there are none.

    `inferno` colours, light for large.
    """
    grey = repeat(frames.astype(float).mean(-1), "t h w -> t h w c", c=3)
    share = on_frame(errors, frames.shape[1:3]) / top
    known = np.isfinite(share)
    share = np.where(known, share, 0).clip(0, 1)
    places = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(share, places, channel) for channel in _HEAT.T], axis=-1)
    drawn = np.where(known[..., None], _HEAT_SHARE * colour + (1 - _HEAT_SHARE) * grey, grey)
    alpha = np.where(known, 255, 60)[..., None]
    return np.concatenate([drawn, alpha], axis=-1).round().astype(np.uint8)


def _row(label: str, frames: np.ndarray) -> str:
    image = photo_uri(strip(frames, gap=_GAP))
    return f'<div class="row"><span>{label}</span><img alt="{label}" src="{image}"></div>'


def _bars(error: np.ndarray, copying: np.ndarray, top: float) -> str:
    """Two bars under each frame whose state was predicted, up to `top`."""
    step, height = 100, 46
    width = step * len(error) - _GAP
    base = height - 1
    drawn = [f'<svg viewBox="0 0 {width} {height}" role="img"><line class="axis" x1="0" '
             f'x2="{width}" y1="{base}" y2="{base}"/><line class="axis" x1="0" x2="{width}" '
             f'y1="1" y2="1"/><text x="0" y="12">{top:.2g}</text>']  # fmt: skip
    for name, values, colour, left, told, anchor in (
        ("predicting", error, 2, 31, 28, "end"), ("copying", copying, 6, 50, 70, "start"),
    ):  # fmt: skip
        for index, value in enumerate(values):
            if np.isfinite(value):
                tall = max((height - 2) * min(float(value) / top, 1), 0.5)
                drawn.append(f'<rect x="{index * step + left}" y="{base - tall:.1f}" '
                             f'width="17" height="{tall:.1f}" rx="2" style="fill:var(--c{colour})">'
                             f"<title>{name}: {number(float(value))}</title></rect>")  # fmt: skip
                if value > 1.005 * top:
                    drawn.append(f'<text x="{index * step + told}" y="12" text-anchor="{anchor}">'
                                 f"{value:.2g}</text>")  # fmt: skip
    return f'<div class="row"><span>error</span>{"".join([*drawn, "</svg>"])}</div>'


def _scale(top: float) -> str:
    """The colours of errors with numbers."""
    stops = ",".join(f"rgb({r},{g},{b})" for r, g, b in _HEAT)
    return (f'<div class="scale"><i style="background:linear-gradient(90deg,{stops})"></i>'
            f"<span>0</span><span>{number(top / 2)}</span><span>{number(top)} and more</span>"
            "</div>")  # fmt: skip


def _means(a: dict[str, np.ndarray]) -> str:
    error, copying = float(np.nanmean(a["error"])), float(np.nanmean(a["copying"]))
    return (f'<p class="soft">On the mean over these clips prediction errs by {number(error)} and '
            f"copying by {number(copying)}.</p>")  # fmt: skip


def _nearest(seen: Seen) -> str:
    a, title = seen.arrays, '<h3 class="part">Nearest clips</h3>'
    if "neighbours" not in a:
        return f"{title}<p>{_ALONE}</p>"
    images = [photo_uri(Image.fromarray(image)) for image in a["images"]]
    groups = []
    for rows, cosines in zip(a["neighbours"].tolist(), a["cosines"].tolist(), strict=True):
        words = ["", *(f"{cosine:.2f}" for cosine in cosines)]
        each = "".join(
            f'<figure><img alt="{"near" if word else "query"}" src="{images[row]}">'
            f"<figcaption>{word}</figcaption></figure>"
            for row, word in zip(rows, words, strict=True)
        )
        groups.append(f'<div class="card near">{each}</div>')
    return f'{title}<p>{_NEAREST}</p><div class="nears">{"".join(groups)}</div>'


def _file_name(video: str) -> str:
    """The last part of a path, as text that any page can hold."""
    return escape(video.replace("\\", "/").rstrip("/").rpartition("/")[2].encode(
        "utf-8", "replace").decode())  # fmt: skip
