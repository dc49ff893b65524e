"""The verb `pretrain`: encoder and masked predictor on video, without actions."""

from typing import TYPE_CHECKING

import torch
from torch import Generator

from worldmodel import checkpoint, diagnostics
from worldmodel.architecture import Architecture
from worldmodel.data.clips import ClipDataset
from worldmodel.data.files import write_table
from worldmodel.data.folder import Skipped
from worldmodel.data.footage import Footage
from worldmodel.masks import Mixture
from worldmodel.model import WorldModel
from worldmodel.objectives import Losses, MaskedPrediction, Targets, moment_latents
from worldmodel.regularisers import Regulariser
from worldmodel.train import Learner, Optimisation, fit

if TYPE_CHECKING:
    from worldmodel.run import Run


class VideoLearner(Learner):
    """Learns from clips by masked prediction.

    Args:
        objective: what is minimised.
        clips: what is seen.
        batch: clips in a batch.
        seed: of the batches.
    """

    def __init__(
        self, objective: MaskedPrediction, clips: ClipDataset, *, batch: int, seed: int
    ) -> None:
        super().__init__()
        self.objective, self.clips, self.batch, self.seed = objective, clips, batch, seed

    def losses(self, step: int, generator: Generator) -> Losses:
        """The losses of step `step`."""
        frames = self.clips.sample(step, self.batch, seed=self.seed).frames
        device = next(self.parameters()).device
        return self.objective(frames.to(device), step=step, generator=generator)

    def after_step(self) -> None:
        """Move the teacher, if there is one."""
        self.objective.after_step()


def pretrain(
    run: "Run", *, data: Footage, model: Architecture, masks: Mixture, regulariser: Regulariser,
    optimisation: Optimisation, targets: Targets = "live", num_frames: int = 6, batch: int = 96,
    seed: int = 0, device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Learn from video; leaves the model in `run.model_folder`.

    Args:
        run: where log, checkpoints and model go.
        data: what to read.
        model: sizes.
        masks: what is hidden.
        regulariser: what keeps latents from collapsing.
        optimisation: how to descend.
        targets: `live`, `stopgrad` or `ema`.
        num_frames: frames of a clip.
        batch: clips in a batch.
        seed: of batches and masks.
        device: where to compute.

    Returns:
        `feature_std`, `effective_rank`, `sigreg_over_floor`, `collapsed` (on clips of a step that
        was not trained on), `steps`, `videos`, `skipped`.
    """
    with run.progress(1, "read videos") as bar:
        clips, skipped = data.open(
            size=model.size, num_frames=num_frames,
            progress=lambda done, total: bar.update(done / total),
        )  # fmt: skip
    for bad in skipped:
        run.say(f"skipped {bad.path}: {bad.reason}")
    if skipped:
        write_table(run.folder / "skipped.csv", Skipped, skipped)
    objective = MaskedPrediction(
        model.encoder, model.masked_predictor(), model.head(), masks=masks,
        regulariser=regulariser, targets=targets,
    )  # fmt: skip
    learner = VideoLearner(objective, clips, batch=batch, seed=seed).to(device)
    steps = fit(learner, run, optimisation, description="pretrain")
    learned = WorldModel(
        objective.encoder, size=model.size, head=objective.head,
        masked_predictor=objective.predictor,
    )  # fmt: skip
    checkpoint.save(learned.eval(), run.model_folder)
    diagnosis = health(learned, clips, batch=batch, step=steps, seed=seed)
    if diagnosis.alarm:
        run.say(f"ALARM: {diagnosis.alarm}")
    return {
        **diagnosis.numbers(), "collapsed": float(diagnosis.alarm is not None), "steps": steps,
        "videos": len(clips.sources), "skipped": len(skipped),
    }  # fmt: skip


@torch.inference_mode()
def health(
    model: WorldModel, clips: ClipDataset, *, batch: int, step: int, seed: int
) -> diagnostics.Diagnosis:
    """Signs of collapse in the latents of the batch of a step that was not trained on."""
    frames = clips.sample(step, batch, seed=seed).frames.to(model.device)
    assert model.head is not None
    latents = moment_latents(model.encoder, model.head, frames)  # b t m d
    return diagnostics.diagnose(latents.permute(1, 2, 0, 3))
