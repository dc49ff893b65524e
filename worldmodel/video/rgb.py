"""From a decoded frame to an image: RGB, upright, at the size that is asked for.

Knows frames of PyAV and nothing of files.
"""

import math

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
    """The image `h w c`, uint8, upright; resized to `short_side`, keeping the proportions.

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
        threads=1,  # one image is small work, and workers share the cores
    )
    mirrored, turns = orientation(frame)
    image = small.to_ndarray()
    return np.rot90(image[:, ::-1] if mirrored else image, -turns)


def orientation(frame: av.VideoFrame) -> tuple[bool, int]:
    """Says how to put a stored image upright: mirror it left to right or not, then turn it.

    Turns are quarters, clockwise, 0 to 3.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 0
    # A phone held upright stores its images lying, some cameras mirrored, and how to show them:
    # x, to the right, and y, down, become a x + c y and b x + d y.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    mirrored = a * d < b * c
    if mirrored:  # what is left to do once x runs to the left
        a, b = -a, -b
    return mirrored, round(math.degrees(math.atan2(b, a)) / 90) % 4
