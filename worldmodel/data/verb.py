"""The verb `data`: `inspect`, `check` or `convert` a data set.

Only hands over: what each does is in `inspect.py` and `convert.py`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worldmodel.data.catalogue import Limits
from worldmodel.data.convert import TARGETS, convert
from worldmodel.data.inspect import ACTIONS, examine
from worldmodel.data.transforms import Transforms
from worldmodel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from worldmodel.run import Run


def data(
    run: "Run", *, action: str = "inspect", path: str, format: str = "auto", rows: int = 16,
    size: int | None = None, num_frames: int = 6, stride: int | None = None,
    fps: float | None = None, flip: bool = True, transforms: Transforms | None = None,
    workers: int = 2, backend: str = "auto", limits: Limits | None = None, seed: int = 0,
    output: str | None = None, to: str | None = None, reading: Mapping[str, Any] | None = None,
    quality: int = 18, per_shard: int = 1000,
) -> dict[str, float]:  # fmt: skip
    """Look at a data set, or write it in another format.

    Args:
        run: Where files go and progress is shown.
        action: `inspect`, `check` or `convert`.
        path: What to look at or to convert: whatever `open_catalogue` knows.
        format: Its layout; `auto` looks.
        rows: Clips on the sheet; this and the next but `size` and `fps` are of `examine`.
        size: Side of the frames, in pixels; `inspect` takes 64 by default, `convert` leaves them.
        num_frames: Frames of a clip.
        stride: Frames from one frame of a clip to the next.
        fps: Frames per second, of clips or of what is written.
        flip: Mirror half of the clips.
        transforms: What is done to batches.
        workers: Processes that read.
        backend: The decoder.
        limits: What a file may claim.
        seed: Of the clips on the sheet.
        output: The folder to write; this and what follows is of `convert`.
        to: `folder`, `shards`, `episodes` or `lerobot`.
        reading: Options of the source's format.
        quality: Of H.264, where videos must be encoded.
        per_shard: Videos in each shard.

    Returns:
        Counts.

    Raises:
        ConfigError: no such action, or `convert` without `output` and `to`.
    """
    actions = (*ACTIONS, "convert")
    if action not in actions:
        raise ConfigError(f"no action '{action}' for data: {nearest(action, actions)}")
    if action != "convert":
        if output is not None or to is not None:
            raise ConfigError(f"output and to are for `data convert`; leave them out of {action}")
        return examine(
            run, action=action, path=path, format=format, rows=rows, num_frames=num_frames,
            stride=stride, fps=fps, flip=flip, transforms=transforms, workers=workers,
            backend=backend, limits=limits, seed=seed, **({} if size is None else {"size": size}),
        )  # fmt: skip
    if output is None or to is None:
        raise ConfigError(
            f"data convert needs output=my/folder and to= one of {', '.join(TARGETS)}"
        )
    return convert(
        run, source=path, output=output, to=to, format=format, reading=reading, size=size, fps=fps,
        quality=quality, per_shard=per_shard,
    )  # fmt: skip
