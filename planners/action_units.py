"""The units in which actions are searched: a centre and a scale for each number of an action.

Worlds count their actions in units of their own: forces from -1 to 1, pixels from 0 to 512, joint
speeds without any bound. Planners and behaviours draw in these units, so that a spread of 0.7
means the same in all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HUGE = 1e6  # a bound from here on is none: nobody means to draw from all of it
WIDER = 100.0  # bounds so many times as wide as the data's deviation say nothing of the data


@dataclass(frozen=True)
class ActionUnits:
    """An action is `centre + scale * u`, with `u` of about 1; infinite bounds have units too."""

    centre: Tensor  # a, in the environment's units
    scale: Tensor  # a, >= 0; 0 where there is nothing to choose

    @staticmethod
    def of(
        low: Tensor, high: Tensor, *, mean: Tensor | None = None, std: Tensor | None = None
    ) -> "ActionUnits":
        """The middle and the half-width of the bounds; of the data where those mean nothing.

        They mean nothing where one of them is infinite or beyond a million, and where they are
        wider than a hundred deviations of the data. Without data the scale is then 1, around 0 or
        1 beside the one bound that there is.

        Args:
            low: Lower bounds (a); may be infinite.
            high: Upper bounds (a).
            mean: Of the actions in the data (a), where they are known.
            std: Their standard deviation (a).
        """
        no_low, no_high = low <= -HUGE, high >= HUGE
        bounded = ~no_low & ~no_high
        centre = torch.where(bounded, low / 2 + high / 2, torch.zeros_like(low))
        scale = torch.where(bounded, high / 2 - low / 2, torch.ones_like(low))
        if mean is not None and std is not None:
            from_data = ~bounded | (scale > WIDER * std)
            return ActionUnits(
                torch.where(from_data, mean, centre), torch.where(from_data, std, scale)
            )
        centre = torch.where(no_high & ~no_low, low + 1, centre)
        return ActionUnits(torch.where(no_low & ~no_high, high - 1, centre), scale)
