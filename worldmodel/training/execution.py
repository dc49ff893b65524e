"""How a step is computed, not what: precision, compilation, activation checkpointing."""

import torch
from torch import nn

from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import AdaLNBlock, Block
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.training.optimisation import Optimisation


def prepare(learner: nn.Module, o: Optimisation) -> None:
    """Make a learner's networks compute as is asked for; names of weights stay what they are.

    Raises:
        ConfigError: they, or this machine, cannot.
    """
    if o.precision == "bfloat16" and not _has_bfloat16(device_of(learner)):
        raise ConfigError(
            "optimisation.precision=bfloat16: this device does not compute in it; say float32"
        )
    if o.activation_checkpointing:
        for module in learner.modules():
            if isinstance(module, Encoder) and any(p.requires_grad for p in module.parameters()):
                module.checkpoint_activations()
    if o.compile:
        # One by one: blocks are alike, so that what is compiled for one serves all of them.
        for module in learner.modules():
            if isinstance(module, Block | AdaLNBlock):
                module.compile()
            elif isinstance(module, FrameEncoder):
                for block in module.blocks():
                    block.compile()


def autocast(device: torch.device, o: Optimisation) -> torch.autocast:
    """The context that a forward pass runs in."""
    # Its cache would keep weights that were cast where no gradient was asked for, and lose theirs.
    return torch.autocast(
        device.type, torch.bfloat16, enabled=o.precision == "bfloat16", cache_enabled=False
    )


def device_of(learner: nn.Module) -> torch.device:
    """The device that a learner's weights are on."""
    return next(learner.parameters()).device


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.amp.is_autocast_available(device.type)
