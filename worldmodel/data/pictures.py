"""From a decoded frame to a picture: RGB, upright, at the size that is asked for.

Knows frames of PyAV and nothing of files.
"""

import av
import numpy as np
from av.video.reformatter import VideoReformatter


def scaled(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width with this short side, proportions kept; unchanged for None."""
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def to_rgb(
    frame: av.VideoFrame,
    short_side: int | None = None,
    reformatter: VideoReformatter | None = None,
) -> np.ndarray:
    """The picture `h w c`, uint8, upright; resized to `short_side`, keeping the proportions.

    Args:
        frame: As it was decoded.
        short_side: In pixels; None leaves the size as it is.
        reformatter: Keeps the tables of a scaling from one frame to the next of the same size.
    """
    height, width = scaled(frame.height, frame.width, short_side)
    shrinks = height <= frame.height
    small = (reformatter or VideoReformatter()).reformat(
        frame,
        width,
        height,
        format="rgb24",
        interpolation="AREA" if shrinks else "BILINEAR",
        threads=1,  # one picture is small work, and workers share the cores
    )
    picture = small.to_ndarray()
    # A phone held upright stores its pictures lying, and how to turn them.
    return np.rot90(picture, round(frame.rotation / 90)) if frame.rotation else picture
