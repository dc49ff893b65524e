"""Images for the page, as base64 text: strips of frames and looping clips of episodes.

Goals are drawn from the goal image alone: where it differs from what the episodes mostly show.
Nothing here knows a world's coordinates.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

GOAL, TRAIL, HALO, ALARM = (46, 178, 112), (30, 36, 48), (250, 250, 246), (222, 58, 46)
_DIFFERS = 30  # grey levels, of the channel that differs most
_COMPACT = 0.5  # of its circle that a thing fills at least, to be marked by a ring
_LARGEST_SHARE = 0.15  # a goal that changes more of the image than this is not one thing in it


def data_uri(image: Image.Image) -> str:
    """An image as the text of an `img`'s `src`."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def photo_uri(image: Image.Image) -> str:
    """The same, as a WebP that is a tenth as large for frames of real video."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def looping_uri(images: Sequence[Image.Image], *, frame_ms: int, hold_ms: int = 900) -> str:
    """Images as a looping WebP that rests on the last one."""
    buffer = io.BytesIO()
    durations = [frame_ms] * (len(images) - 1) + [hold_ms]
    images[0].save(buffer, "WEBP", save_all=True, append_images=list(images[1:]), loop=0,
                   duration=durations, quality=78, method=4)  # fmt: skip
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def strip(frames: np.ndarray, *, gap: int = 2) -> Image.Image:
    """Frames `t h w c` (uint8, RGB or RGBA) side by side, with `gap` transparent pixels between."""
    t, h, w, _ = frames.shape
    sheet = Image.new("RGBA", (t * (w + gap) - gap, h), (0, 0, 0, 0))
    for index, frame in enumerate(frames):
        sheet.paste(Image.fromarray(frame), (index * (w + gap), 0))
    return sheet


def background(episodes: Sequence[np.ndarray]) -> np.ndarray:
    """The median of the frames `t h w c` of the episodes at each pixel: `h w c`, uint8."""
    frames = np.concatenate([episode[:: max(len(episode) // 16, 1)] for episode in episodes])
    return np.median(frames, axis=0).astype(np.uint8)


def difference(image: np.ndarray, still: np.ndarray) -> np.ndarray | None:
    """Where `image` differs from the background: `h w` bool, or None if all over it."""
    change = np.abs(image.astype(np.int16) - still.astype(np.int16)).max(axis=-1)
    mask = change > _DIFFERS
    return mask if 0 < mask.mean() <= _LARGEST_SHARE else None


def episode_images(
    frames: np.ndarray,
    still: np.ndarray,
    *,
    goal: np.ndarray | None,
    violated: np.ndarray,
    size: int = 256,
) -> list[Image.Image]:
    """An episode's frames enlarged, with goal, trail and violations drawn.

    Args:
        frames: `t h w c`, uint8.
        still: the background, `h w c`.
        goal: the goal image, `h w c`, or None.
        violated: `t` bool: frames that get a red border.
        size: of the result, in pixels.
    """
    scale = size / frames.shape[1]
    wanted = None if goal is None else difference(goal, still)
    shape = _outline(wanted, size) if wanted is not None and not _is_compact(wanted) else None
    ring = _ring(wanted, scale) if shape is None else None
    path: list[tuple[float, float]] = []
    images = []
    for frame, is_violated in zip(frames, violated, strict=True):
        image = Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC)
        seen = difference(frame, still)
        # The middle of an arm goes a way that nothing in it goes.
        centre = _centre(seen, scale) if seen is not None and _is_compact(seen) else None
        path += [centre] if centre else []
        draw = ImageDraw.Draw(image)
        if len(path) > 1:
            # Light around dark: visible on any background.
            draw.line(path, fill=HALO, width=size // 50, joint="curve")
            draw.line(path, fill=TRAIL, width=size // 110, joint="curve")
        if shape is not None:
            image.paste(GOAL, mask=shape)
        if ring is not None:
            draw.ellipse(ring, outline=GOAL, width=size // 64)
        if is_violated:
            draw.rectangle((0, 0, size - 1, size - 1), outline=ALARM, width=size // 40)
        images.append(image)
    return images


def _is_compact(mask: np.ndarray) -> bool:
    """True if what is marked fills much of the circle around it, as a disc or a block does."""
    rows, columns = np.nonzero(mask)
    apart = np.hypot(rows - rows.mean(), columns - columns.mean()).max() + 0.5
    return bool(mask.sum() > _COMPACT * np.pi * apart**2)


def _outline(mask: np.ndarray, size: int) -> Image.Image:
    """The edge of what is marked, enlarged, as a mask of an image."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    large = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))
    filled = Image.fromarray((large > 127).astype(np.uint8) * 255)
    width = size // 64 * 2 + 1
    return ImageChops.subtract(filled, filled.filter(ImageFilter.MinFilter(width)))


def _ring(mask: np.ndarray | None, scale: float) -> tuple[float, float, float, float] | None:
    """The box of a circle around what the mask marks, in pixels of the enlarged image."""
    centre = _centre(mask, scale)
    if mask is None or centre is None:
        return None
    radius = 1.3 * scale * float(np.sqrt(mask.sum() / np.pi)) + 2
    (x, y) = centre
    return x - radius, y - radius, x + radius, y + radius


def _centre(mask: np.ndarray | None, scale: float) -> tuple[float, float] | None:
    if mask is None:
        return None
    rows, columns = np.nonzero(mask)
    return float((columns.mean() + 0.5) * scale), float((rows.mean() + 0.5) * scale)
