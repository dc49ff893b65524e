"""The verb `pretrain`: encoder and masked predictor on video, without actions."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Generator, Tensor

from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.loading.in_memory import Clips
from worldmodel.loading.skipped import SkippedTable
from worldmodel.loading.sources import ClipSource
from worldmodel.loading.transforms import Plain, Transforms
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.training import collapse
from worldmodel.training.loop import Learner, Optimisation, fit
from worldmodel.training.seen import keep_seen
from worldmodel.training.static_shortcut import Stillness, stillness
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run


class VideoLearner(Learner):
    """Learns from clips whatever an objective asks for.

    Args:
        objective: what is minimised.
        clips: the training data.
        batch: clips in a batch.
        seed: of the batches.
        transforms: applied to batches on the device.
        size: side of the frames in pixels after that; by default they keep theirs.
    """

    def __init__(
        self, objective: Objective, clips: Clips, *, batch: int, seed: int,
        transforms: Transforms | None = None, size: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.objective, self.clips, self.batch, self.seed = objective, clips, batch, seed
        self.transforms, self.size = transforms or Plain(), size

    def frames(self, step: int) -> Tensor:
        """The frames of step `step`, `b t c h w`, on the model's device."""
        with self.waiting():
            clip = self.clips.sample(step, self.batch, seed=self.seed)
        self.sources = clip.sources
        frames = clip.frames.to(next(self.parameters()).device)
        # All clips of a video are changed alike: to the transforms they are one.
        k, size = self.clips.clips_per_video, self.size or frames.shape[-1]
        videos = rearrange(frames, "(v k) t c h w -> v (k t) c h w", k=k)
        videos = self.transforms(videos, size=size, seed=self.seed, step=step)
        return rearrange(videos, "v (k t) c h w -> (v k) t c h w", k=k)

    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of step `step`."""
        return self.objective(
            self.frames(step), step=step, generator=generator,
            clips_per_video=self.clips.clips_per_video,
        )  # fmt: skip

    def after_step(self, progress: float) -> None:
        """Tell the objective, which may have an EMA teacher to move."""
        self.objective.after_step(progress)


def pretrain(
    run: "Run", *, data: ClipSource, model: Architecture,
    objective: Callable[[Architecture], Objective], optimisation: Optimisation,
    video: Decoding | None = None, transforms: Transforms | None = None, num_frames: int = 4,
    batch: int = 48,
) -> dict[str, float]:  # fmt: skip
    """Learn from video; leaves the model in `run.model_folder`.

    Args:
        run: where log, checkpoints and model go; its seed decides batches and masks.
        data: the videos.
        model: sizes.
        objective: what a step minimises; makes an `Objective` of the sizes.
        optimisation: how the loss is descended.
        video: how files are decoded.
        transforms: applied to batches on the device; none by default.
        num_frames: frames of a clip.
        batch: clips in a batch.

    Returns:
        The numbers of `collapse.Diagnosis` and of `Stillness`, `collapsed` and `static_shortcut`
        (on clips of a step that was not trained on), `steps`, `videos`, `skipped`, `data_wait`.
    """
    if num_frames % (p := model.encoder.tubelet_frames):
        raise ConfigError(
            f"num_frames={num_frames} does not divide into tubelets of {p} frames; say a multiple "
            f"of {p}, or another model.encoder.tubelet_frames="
        )
    learned, transforms = objective(model), transforms or Plain()  # before hours of reading
    skipped = SkippedTable(run.folder / "skipped.csv", run.say)
    with run.progress(1, "read videos") as bar:
        clips = data.open(
            size=transforms.frame_size(model.size), num_frames=num_frames,
            progress=lambda done, total: bar.update(done / total), on_skip=skipped.add,
            video=video or Decoding(),
        )  # fmt: skip
    for bad in clips.skipped:
        skipped.add(bad)
    learner = VideoLearner(
        learned, clips, batch=batch, seed=run.seed, transforms=transforms, size=model.size
    ).to(run.device)
    try:
        steps = fit(learner, run, optimisation, description="pretrain")
        checkpoint.save(learner.objective.world_model(model.size).eval(), run.model_folder)
        frames = learner.frames(steps)
        diagnosis, still = health(learner.objective, frames, model.size)
        keep_seen(run, learner.objective, frames, learner.sources, size=model.size)
    finally:
        clips.close()
        skipped.write()
    shortcut = None if still is None else still.alarm
    for alarm in (diagnosis.alarm, shortcut):
        if alarm:
            run.say(f"ALARM: {alarm}")
    if not diagnosis.alarm and diagnosis.remark and learner.objective.wants_gaussian:
        run.say(diagnosis.remark)
    return {
        **diagnosis.numbers(), **({} if still is None else still.numbers()),
        "collapsed": float(diagnosis.alarm is not None),
        "static_shortcut": float(shortcut is not None),
        "steps": steps, "videos": clips.num_videos, "skipped": len(skipped),
        "data_wait": learner.data_wait,
    }  # fmt: skip


@torch.inference_mode()
def health(
    objective: Objective, frames: Tensor, size: int
) -> tuple[collapse.Diagnosis, Stillness | None]:
    """Signs of collapse, and of the static shortcut, in frames b t c h w not trained on."""
    latents = objective.eval().latents(frames)
    diagnosis = collapse.diagnose(latents, predicted=objective.predicted)
    still = stillness(objective.world_model(size), latents[..., : objective.predicted], frames)
    return diagnosis, still
