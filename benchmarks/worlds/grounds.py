"""Grounds that stand still behind what moves: blocks of random colours, another in each video."""

import numpy as np

BLOCK = 8  # pixels


def blocks(size: int, random: np.random.Generator, *, darkest: int, brightest: int) -> np.ndarray:
    """A ground of random blocks: h w c, uint8.

    Args:
        size: side in pixels.
        random: where the colours and the place of the first block come from.
        darkest, brightest: of a channel; leave out the colours of what has to be seen.
    """
    cells = -(-size // BLOCK) + 1
    colours = random.integers(darkest, brightest + 1, (cells, cells, 3)).astype(np.uint8)
    wide = colours.repeat(BLOCK, 0).repeat(BLOCK, 1)
    y, x = random.integers(0, BLOCK, 2)
    return wide[y : y + size, x : x + size]
