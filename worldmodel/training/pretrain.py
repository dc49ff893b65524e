"""The verb `pretrain`: encoder and masked predictor on video, without actions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import resize

from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.datasets.catalogue import LeftOut
from worldmodel.errors import ConfigError
from worldmodel.loading.in_memory import Clips
from worldmodel.loading.on_device import FramesOnDevice
from worldmodel.loading.skipped import SkippedTable
from worldmodel.loading.sources import ClipSource
from worldmodel.loading.transforms import Plain, Transforms
from worldmodel.model import WorldModel
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.runs.processes import from_all, is_first, rank, world
from worldmodel.training import collapse
from worldmodel.training.execution import device_of
from worldmodel.training.loop import Learner, Watcher, fit
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.seen import keep_seen
from worldmodel.training.sharing import Parallel, check_parallel, of_all
from worldmodel.training.stages import Stage, Stages
from worldmodel.training.static_shortcut import Stillness, stillness
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

MakeWatchers = Callable[[WorldModel, "Run", Decoding], Sequence[Watcher]]
"""Makes watchers of the model that is trained, which shares its weights."""


class VideoLearner(Learner):
    """Learns from clips whatever an objective asks for.

    Args:
        objective: what is minimised.
        clips: the training data.
        batch: clips in a batch.
        seed: of the batches.
        transforms: applied to batches on the device.
        stages: the size and length of the clips after that; by default they keep theirs.
    """

    def __init__(
        self, objective: Objective, clips: Clips, *, batch: int, seed: int,
        transforms: Transforms | None = None, stages: Stages | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.objective, self.clips, self.batch, self.seed = objective, clips, batch, seed
        self.transforms, self.stages = transforms or Plain(), stages
        self._on_device = FramesOnDevice(clips, batch // world(), seed=seed)

    def frames(self, step: int, *, shape: tuple[int, int] | None = None) -> Tensor:
        """The frames of batch `step` that this process has, b t c h w, on the model's device.

        Args:
            step: its number.
            shape: their size and number; by default those of the stage.
        """
        size, num_frames = shape or self._shape(step)
        with self.waiting():
            frames, self.sources = self._on_device.take(
                step, device_of(self), num_frames=num_frames
            )
        # All clips of a video are changed alike: to the transforms they are one.
        k, size = self.clips.clips_per_video, size or frames.shape[-1]
        videos = rearrange(frames, "(v k) t c h w -> v (k t) c h w", k=k)
        videos = self.transforms(
            videos, size=size, seed=self.seed, step=step, before=rank() * len(videos)
        )
        if videos.shape[-1] != size:
            videos = resize(videos, [size, size], antialias=True)
        return rearrange(videos, "v (k t) c h w -> (v k) t c h w", k=k)

    def prefetch(self, step: int) -> None:
        """Begin to bring the frames of batch `step` to the device, where it is a GPU."""
        with self.waiting():
            self._on_device.prefetch(step, device_of(self), num_frames=self._shape(step)[1])

    def _shape(self, step: int) -> tuple[int | None, int | None]:
        return (None, None) if self.stages is None else self.stages.at(step)

    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of batch `step`."""
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
    batch: int = 48, stages: Sequence[Stage | dict[str, Any]] = (), parallel: Parallel = "ddp",
    probe: MakeWatchers | None = None,
) -> dict[str, float]:  # fmt: skip
    """Learn from video; leaves the model in `run.model_folder`.

    Several processes, started by torchrun, share each batch.

    Args:
        run: where log, checkpoints and model go; its seed decides batches and masks.
        data: the videos.
        model: sizes.
        objective: what a step minimises; makes an `Objective` of the sizes.
        optimisation: how the loss is descended.
        video: how files are decoded.
        transforms: applied to batches on the device; none by default.
        num_frames: frames of a clip.
        batch: clips in a batch, of all processes together.
        stages: smaller frames or shorter clips for the first steps, as
            `[{steps: 500, size: 48}]`.
        parallel: how several processes share the training: `ddp` (each has whole weights) or
            `fsdp` (each has a part of them).
        probe: makes watchers that read labels out of the model while it is trained.

    Returns:
        The numbers of `collapse.Diagnosis` and of `Stillness`, `collapsed` and `static_shortcut`
        (on clips of a step that was not trained on), `steps`, `skipped_steps`, `videos`, `skipped`,
        `data_wait`.
    """
    shapes = Stages(
        stages, size=model.size, num_frames=num_frames, accumulate=optimisation.accumulate
    )
    shapes.check_tubelets(model.encoder.tubelet_frames)
    check_parallel(parallel, compiled=optimisation.compile)
    _check_shares(batch, data.clips_per_video)
    learned, transforms = objective(model), transforms or Plain()  # before hours of reading
    shapes.check(learned)
    watchers = _watchers(probe, learned.world_model(model.size), run, video or Decoding())
    size, longest = shapes.largest
    learned.check(num_frames)
    skipped = SkippedTable(run.folder / "skipped.csv", run.say)
    with run.progress(1, "read videos") as bar:
        clips = data.open(
            size=transforms.frame_size(size), num_frames=longest,
            progress=lambda done, total: bar.update(done / total), on_skip=skipped.add,
            video=video or Decoding(),
        )  # fmt: skip
    for bad in clips.skipped:
        skipped.add(bad)
    learner = VideoLearner(
        learned, clips, batch=batch, seed=run.seed, transforms=transforms, stages=shapes
    ).to(run.device)
    try:
        steps = fit(
            learner, run, optimisation, description="pretrain", watchers=watchers,
            parallel=parallel,
        )  # fmt: skip
        if is_first():
            checkpoint.save(learner.objective.world_model(model.size).eval(), run.model_folder)
        unseen = learner.frames(steps * optimisation.accumulate, shape=shapes.last)
        diagnosis, still = health(learner.objective, unseen, model.size)
        _gather(skipped, clips)
        if is_first():
            keep_seen(run, learner.objective, unseen, learner.sources, size=model.size)
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
        "steps": steps, "skipped_steps": learner.skipped_steps, "videos": clips.num_videos,
        "skipped": len(skipped), "data_wait": learner.data_wait,
    }  # fmt: skip


def _check_shares(batch: int, clips_per_video: int) -> None:
    """Refuse a batch that is not of whole videos, or that the processes cannot share evenly.

    Raises:
        ConfigError: it names batches that are and that they can.
    """
    each = world() * clips_per_video
    below, above = batch // each * each, (batch // each + 1) * each
    if batch % each and world() == 1:
        raise ConfigError(
            f"batch={batch} is no multiple of data.clips_per_video={clips_per_video}; say "
            f"batch={f'{below} or ' if below else ''}{above}, or data.clips_per_video=1"
        )
    if batch % each:
        raise ConfigError(
            f"batch={batch}: {world()} processes share a batch evenly, all {clips_per_video} clips "
            f"of a video in one of them; say batch={f'{below} or ' if below else ''}{above}"
        )


def _gather(skipped: SkippedTable, clips: Clips) -> None:
    """List in the first process, which writes, what the others have left out."""
    words = [json.dumps(asdict(bad)) for bad in clips.skipped]
    for word in from_all(words):
        skipped.add(LeftOut(**json.loads(word)))


def _watchers(
    probe: MakeWatchers | None, model: WorldModel, run: "Run", video: Decoding
) -> Sequence[Watcher]:
    """What looks at the training; the training's own random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        return () if probe is None else probe(model, run, video)


@torch.inference_mode()
def health(
    objective: Objective, frames: Tensor, size: int
) -> tuple[collapse.Diagnosis, Stillness | None]:
    """Signs of collapse, and of the static shortcut, in frames b t c h w not trained on."""
    latents = of_all(objective.eval().latents(frames))
    diagnosis = collapse.diagnose(latents, predicted=objective.predicted)
    still = stillness(objective.world_model(size), latents[..., : objective.predicted], frames)
    return diagnosis, still
