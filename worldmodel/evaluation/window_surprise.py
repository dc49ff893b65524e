"""Surprise over windows: how badly the end of each fits what was predicted from its beginning.

The same for every predictor of the package, and for the baselines that need no model.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.evaluation.baselines import pixel_change
from worldmodel.evaluation.surprise_protocol import SurpriseProtocol
from worldmodel.model import WorldModel
from worldmodel.nn.causal_predictor import CausalPredictor
from worldmodel.nn.predictor import Predictor

AT_ONCE = 8  # windows
_POWERS = {"l1": 1, "l2": 2}


def predictor_for(model: WorldModel, protocol: SurpriseProtocol) -> Predictor:
    """The model's predictor, if it can be asked what the protocol asks.

    Raises:
        WorldModelError: the model has none.
        ConfigError: it has no memory, and the protocol wants one.
    """
    predictor = model.masked_predictor
    if predictor is None:
        raise WorldModelError(
            "this model has no masked predictor, so nothing surprises it: take a model of "
            "`worldmodel pretrain`, before tune=all, or a V-JEPA checkpoint with its predictor"
        )
    if protocol.memory == "long" and not isinstance(predictor, CausalPredictor):
        raise ConfigError(
            f"protocol.memory=long: {type(predictor).__name__} looks at no more than a window; say "
            "protocol.memory=short, or take a model with a memory (objective=next_tokens)"
        )
    return predictor


def starts(steps: int, primed: int, protocol: SurpriseProtocol) -> list[int]:
    """The first time step of each window that is scored; none where the clip is too short."""
    return list(range(primed, steps - protocol.window + 1, protocol.stride))


@torch.inference_mode()
def window_surprise(
    model: WorldModel, frames: Tensor, begins: list[int], protocol: SurpriseProtocol
) -> tuple[Tensor, Tensor]:
    """Surprise in each window, and that of persistence: that all stays as it was last seen.

    Args:
        model: with a masked predictor.
        frames: 1 t c h w in [0, 1], whole time steps.
        begins: the first time step of each window.
        protocol: the settings.

    Returns:
        n each, one number for each window: the mean distance over its hidden time steps, all their
        latents and dimensions.

    Raises:
        ShapeError: the frames are not of the model's size, or it cannot look so far ahead.
    """
    predictor = predictor_for(model, protocol)
    power = _POWERS.get(protocol.distance, predictor.power)
    read = _with_memory if protocol.memory == "long" else _by_themselves
    hidden, found = protocol.window - protocol.seen, []
    for whole, said in read(model, predictor, frames.to(model.device), begins, protocol):
        came, last = whole[:, -hidden:], whole[:, -hidden - 1 : -hidden]
        found.append(
            torch.stack([(x - came).abs().pow(power).mean((1, 2, 3)).cpu() for x in (said, last)])
        )
    surprise, persistence = torch.cat(found, dim=1)
    return surprise, persistence


def _by_themselves(
    model: WorldModel, predictor: Predictor, frames: Tensor, begins: list[int],
    protocol: SurpriseProtocol,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """What came in windows, and what was said of their hidden parts: b t m d both."""
    window, seen = (x * model.tubelet_frames for x in (protocol.window, protocol.seen))
    for first in range(0, len(begins), AT_ONCE):
        places = [i * model.tubelet_frames for i in begins[first : first + AT_ONCE]]
        windows = torch.cat([frames[:, place : place + window] for place in places])
        whole = predictor.observed(model.encoder, model.head, windows)
        hidden = protocol.window - protocol.seen
        yield whole, predictor.ahead(model.encoder, model.head, windows[:, :seen], hidden)


def _with_memory(
    model: WorldModel, predictor: Predictor, frames: Tensor, begins: list[int],
    protocol: SurpriseProtocol,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """The same, of a model that is shown all that came before; each frame is encoded once."""
    assert isinstance(predictor, CausalPredictor)  # see `predictor_for`
    came = predictor.observed(model.encoder, model.head, frames)
    seen = [begin + protocol.seen for begin in begins]
    hidden = protocol.window - protocol.seen
    said = predictor.ahead_of_each(model.encoder, model.head, frames, seen, hidden)
    yield torch.cat([came[:, i : i + protocol.window] for i in begins]), said[:, 0]


def window_change(
    frames: Tensor, begins: list[int], tubelet: int, protocol: SurpriseProtocol
) -> Tensor:
    """The baseline that knows only pixels: how much frames change in the hidden part of a window.

    Args:
        frames: 1 t c h w in [0, 1].
        begins: the first time step of each window.
        tubelet: frames of a time step.
        protocol: the settings.

    Returns:
        n, the mean over the hidden frames of their difference from the frame before.
    """
    changes = pixel_change(frames[0])  # entry t is from frame t to t + 1
    spans = [((i + protocol.seen) * tubelet, (i + protocol.window) * tubelet) for i in begins]
    return torch.stack([changes[first - 1 : end - 1].mean() for first, end in spans])
