"""The verb `data`: looks at a data set, checks it, or writes it in another format."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worldmodel.errors import ConfigError, nearest
from worldmodel.loading.transforms import Transforms
from worldmodel.tools.conversion.convert import TARGETS, convert
from worldmodel.tools.inspect import examine
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

ACTIONS = ("check", "convert", "inspect")


def data(
    run: "Run", *, action: str = "inspect", path: str, format: str = "auto",
    reading: Mapping[str, Any] | None = None, rows: int = 16, size: int | None = None,
    num_frames: int = 6, stride: int | None = None, fps: float | None = None, flip: bool = True,
    transforms: Transforms | None = None, workers: int = 2,
    video: Decoding | None = None, seed: int = 0, output: str | None = None, to: str | None = None,
    quality: int = 18, per_shard: int = 1000,
) -> dict[str, float]:  # fmt: skip
    """Do one of `inspect`, `check` and `convert`.

    Args:
        run: Where files go and progress is shown.
        action: Which.
        path: The data set: whatever `open_catalogue` knows.
        format: Its layout; `auto` looks.
        reading: Options of its format, for example `{camera: top}`.
        rows: At most so many clips on the sheet of `inspect`.
        size: Side of frames in pixels: of the clips on the sheet, 64 if None; of what is written,
            as they are if None.
        num_frames: Frames of a clip on the sheet.
        stride: Frames from one frame of it to the next. Give `stride` or `fps`.
        fps: Frames per second of the clips on the sheet, or of what is written.
        flip: Mirror half of the clips left to right.
        transforms: What is done to them, as in `pretrain`.
        workers: Processes that read, of `inspect` and `check`; 0 reads unguarded.
        video: How files are decoded.
        seed: Of the clips on the sheet.
        output: The folder that `convert` writes.
        to: What `convert` writes: `folder`, `shards`, `episodes` or `lerobot`.
        quality: Of H.264 that `convert` encodes; smaller is better.
        per_shard: Videos in each shard that it writes.

    Returns:
        Counts; with `problems` above 0 the command line says that something is wrong.

    Raises:
        WorldModelError: what the action raises.
    """
    if action not in ACTIONS:
        raise ConfigError(f"no action '{action}' for data: {nearest(action, ACTIONS)}")
    if action != "convert":
        if output is not None or to is not None:
            raise ConfigError(f"output and to are for `data convert`; leave them out of {action}")
        return examine(
            run, action=action, path=path, format=format, reading=reading, rows=rows,
            size=64 if size is None else size, num_frames=num_frames, stride=stride, fps=fps,
            flip=flip, transforms=transforms, workers=workers, video=video, seed=seed,
        )  # fmt: skip
    if output is None or to is None:
        raise ConfigError(
            f"data convert needs output=my/folder and to= one of {', '.join(TARGETS)}"
        )
    return convert(
        run, source=path, output=output, to=to, format=format, reading=reading, size=size,
        fps=fps, quality=quality, per_shard=per_shard, video=video,
    )  # fmt: skip
