"""Batches of frames on the device of a model: they travel as uint8 and become float there."""

import torch
from torch import Tensor

from worldmodel.loading.in_memory import Clips


class FramesOnDevice:
    """The frames of each step, on a device.

    On CUDA they go through page-locked memory, on a stream of their own: what `prefetch` has begun
    is copied while the device works on something else.

    Args:
        clips: where they come from.
        batch: clips in a batch.
        seed: of the batches.
    """

    def __init__(self, clips: Clips, batch: int, *, seed: int) -> None:
        self._clips, self._batch, self._seed = clips, batch, seed
        self._stream: torch.cuda.Stream | None = None
        self._begun: tuple[tuple[int, int | None], Tensor, tuple[str, ...]] | None = None

    def take(
        self, step: int, device: torch.device, *, num_frames: int | None = None
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Frames b t c h w, float32 in [0, 1], and the name of the source of each clip.

        Args:
            step: its number, which with the seed decides the batch.
            device: where to.
            num_frames: the first so many of each clip; all if None.
        """
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == (step, num_frames):
            _, frames, names = begun
            assert self._stream is not None
            torch.cuda.current_stream(device).wait_stream(self._stream)
            frames.record_stream(torch.cuda.current_stream(device))
        else:
            frames, names = self._read(step, num_frames)
            frames = frames.to(device)
        return frames.float() / 255, names

    def prefetch(self, step: int, device: torch.device, *, num_frames: int | None = None) -> None:
        """On CUDA, begin to copy the frames of a step; elsewhere there is nothing to begin."""
        if device.type != "cuda":
            return
        frames, names = self._read(step, num_frames)
        pinned = frames.pin_memory()
        self._stream = self._stream or torch.cuda.Stream(device)
        with torch.cuda.stream(self._stream):
            self._begun = ((step, num_frames), pinned.to(device, non_blocking=True), names)

    def _read(self, step: int, num_frames: int | None) -> tuple[Tensor, tuple[str, ...]]:
        frames, _, origins = self._clips.sample_uint8(step, self._batch, seed=self._seed)
        return frames[:, :num_frames], tuple(origin.name for origin in origins)
