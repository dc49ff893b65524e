"""The model that `train` begins with: which parts are new, and which go on.

The encoder is pretrained or new; the head is its own or made for the states that are asked for; the
action predictor is new, or goes on with actions of any width where its class can.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from worldmodel.architecture import Architecture
from worldmodel.episodes.windows import EpisodeArrays
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.action_predictor import ActionPredictor
from worldmodel.nn.frame_predictor import FrameActionPredictor
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import Head, state_frames
from worldmodel.nn.token_predictor import TokenPredictor

Begin = Literal["new", "kept"]


def keeps_head(architecture: Architecture, pretrained: WorldModel | None) -> bool:
    """True if a pretrained model has a head that makes states of the kind that is asked for."""
    if pretrained is None or pretrained.head is None:
        return False
    if architecture.state == "vector":
        return True
    return isinstance(pretrained.head, FrameTokens) and pretrained.head.still == architecture.still


def begin(
    architecture: Architecture, arrays: EpisodeArrays, *, pretrained: WorldModel | None,
    predictor: Begin = "new", proprioception: str | None = None,
) -> WorldModel:  # fmt: skip
    """A model whose action predictor is new or goes on, around a pretrained or a new encoder.

    A pretrained encoder without a head, or with one for other states, gets a new one, for frames of
    the data's size. It keeps its masked predictor, classifier and flow head, as long as they fit.
    """
    assert arrays.actions is not None
    base = pretrained or WorldModel(architecture.encoder, size=architecture.size)
    head, size, masked, block = base.head, base.size, base.masked_predictor, base.action_block
    if not keeps_head(architecture, pretrained):
        if pretrained is not None:
            size = arrays.frames.shape[-1]
        sizes = replace(architecture, encoder=base.encoder, size=size, latent_per_token=False)
        head = _new_head(sizes, arrays, proprioception)
        if base.head is not None and not isinstance(masked, TokenPredictor):
            masked = None
    elif proprioception is not None:
        head = _named(head, arrays, proprioception)
    if predictor == "kept" and architecture.action_block not in (None, block):
        raise ConfigError(
            f"model.action_block={architecture.action_block}: the predictor that is kept acts for "
            f"{block} steps; leave it out, or say predictor=new"
        )
    assert head is not None
    if predictor == "new":
        block = architecture.action_block or state_frames(base.encoder, head)
    width = block * arrays.actions.shape[1]
    kept = base.action_predictor
    if predictor == "new" or kept is None:
        sizes = replace(architecture, encoder=base.encoder)
        acting = sizes.action_predictor(head, width)
    else:
        same = width == len(base.action_mean) and base.action_choices in (
            None, arrays.action_choices
        )  # fmt: skip
        acting = kept if same else _with_actions(kept, width)
    model = WorldModel(
        base.encoder, size=size, head=head, masked_predictor=masked, action_predictor=acting,
        action_dim=arrays.actions.shape[1], action_choices=arrays.action_choices,
        action_block=block, classifier=base.classifier, flow_head=base.flow_head,
    )  # fmt: skip
    if acting is kept:
        model.action_mean.copy_(base.action_mean)
        model.action_std.copy_(base.action_std)
        return model
    taken = torch.ones(len(arrays.actions), dtype=torch.bool)
    taken[arrays.offsets[1:] - 1] = False  # no action follows the last frame of an episode
    std, mean = torch.std_mean(arrays.actions[taken], dim=0)
    model.action_mean.copy_(mean.repeat(block))
    model.action_std.copy_(std.clamp_min(1e-6).repeat(block))
    return model


def _new_head(sizes: Architecture, arrays: EpisodeArrays, proprioception: str | None) -> Head:
    """A head of these sizes, with the mean and deviation of what a body knows, if it is told."""
    if proprioception is None:
        return sizes.head()
    told = _told(arrays, proprioception)
    head = sizes.head(proprioception=told.shape[1], told=proprioception)
    assert isinstance(head, FrameTokens)
    std, mean = torch.std_mean(told, dim=0)
    head.known_mean.copy_(mean)
    head.known_std.copy_(std.clamp_min(1e-6))
    return head


def _told(arrays: EpisodeArrays, name: str) -> Tensor:
    """What a body knows of itself at each frame: t s.

    Raises:
        ConfigError: it is not told of some.
    """
    told = arrays.info[name].float().reshape(len(arrays.frames), -1)
    if missing := int((~told.isfinite()).any(dim=1).sum()):
        raise ConfigError(
            f"proprioception={name} is not told, or no number, at {missing} of {len(told)} frames"
        )
    return told


def _named(head: Head | None, arrays: EpisodeArrays, name: str) -> FrameTokens:
    """A head that goes on, whose proprioception an info tells from now on, in its own units.

    Raises:
        ConfigError: it takes none of this width.
    """
    width = _told(arrays, name).shape[1]
    if not isinstance(head, FrameTokens) or head.extra != width:
        raise ConfigError(
            f"proprioception={name} is {width} numbers, which this model does not take; it goes "
            "into new states of tokens: say model.state=tokens, with an encoder that has no head "
            "of its own for such states"
        )
    named = FrameTokens(**(head.spec | {"told": name}))
    named.load_state_dict(head.state_dict())
    return named


def _with_actions(predictor: ActionPredictor, width: int) -> ActionPredictor:
    if not isinstance(predictor, FrameActionPredictor):
        raise ConfigError(
            f"predictor=kept: a {type(predictor).__name__} of actions of another width or kind "
            "cannot go on with these; say predictor=new"
        )
    return predictor.with_actions(width)
