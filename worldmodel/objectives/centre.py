"""What the regulariser sees of latents: all of them, or what changes in them alone.

What stands still in a clip and differs between clips, as the background of every real video does,
satisfies prediction and a regulariser of the batch together: to copy it is an exact prediction, and
over a batch it is as varied as can be. A model that learns it alone has healthy numbers and knows
nothing of what moves (docs/pretraining.md has numbers). With a centre, the regulariser sees
latents minus their mean over time, as in TC-SIGReg (arXiv:2607.26924): something must change, and
prediction makes of it what it can. Latents have a variance of one, by the head's normalisation; the
part that changes is asked for half of it, since one that had all would have to change as fast as
it can, and where things are, which changes slowly, would be lost.
"""

from typing import Literal, get_args

from einops import rearrange, reduce
from torch import Tensor

from worldmodel.errors import ConfigError, nearest
from worldmodel.objectives.epps_pulley import at_least_float32
from worldmodel.objectives.regularisers import Regularisation, Regulariser

Centre = Literal["none", "clip", "episode"]

MOVING_SHARE = 0.5
"""Of the variance of latents, how much is to lie within a clip or an episode."""


def check_centre(centre: str) -> None:
    """Refuse a centre that there is not.

    Raises:
        ConfigError: with those that there are.
    """
    if centre not in get_args(Centre):
        raise ConfigError(f"no centre '{centre}': {nearest(centre, get_args(Centre))}")


def moving_part(latents: Tensor, centre: Centre, *, clips_per_video: int = 1) -> Tensor:
    """Latents b t m d minus their mean over the time steps of a clip, or of a video's clips.

    Args:
        latents: b t m d; each `clips_per_video` in a row of the batch are of one video.
        centre: `clip`, or `episode` for all clips of a video in the batch.
        clips_per_video: see there.

    Raises:
        ConfigError: nothing changes, as there is one time step only.
    """
    k = clips_per_video if centre == "episode" else 1
    if latents.shape[1] < 2:
        raise ConfigError(
            f"centre={centre} looks at what changes in a clip, and these have one time step; say "
            "objective.centre=none data.clips_per_video=1, or take longer clips"
        )
    videos = rearrange(latents, "(v k) t m d -> v k t m d", k=k)
    still = reduce(videos, "v k t m d -> v 1 1 m d", "mean")
    return rearrange(videos - still, "v k t m d -> (v k) t m d")


def regularise(
    regulariser: Regulariser, latents: Tensor, *, step: int, centre: Centre,
    clips_per_video: int = 1,
) -> Regularisation:  # fmt: skip
    """The penalty of latents b t m d, the sample being the batch at one time step and position.

    Args:
        regulariser: of the latents or, unless `centre` is `none`, of their moving part.
        latents: b t m d.
        step: of the training.
        centre: see `moving_part`.
        clips_per_video: see `moving_part`.
    """
    if centre != "none" and regulariser.acts:
        moving = moving_part(at_least_float32(latents), centre, clips_per_video=clips_per_video)
        latents = moving / MOVING_SHARE**0.5
    return regulariser(rearrange(latents, "b t m d -> (t m) b d"), step=step)
