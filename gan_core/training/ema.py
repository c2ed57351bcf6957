"""Exponential moving average (EMA) of a network's weights: what is sampled and saved (Yazici et al. 2019)."""

import torch
from torch import nn

RAMP = 0.1
"""Maximum half-life as a share of the images shown, so that the initial weights are soon forgotten."""


@torch.no_grad()
def update(ema: nn.Module, module: nn.Module, batch_size: int, images: int, half_life: float) -> None:
    """Updates the EMA of a module after a step.

    images: shown so far, with this batch. half_life: images after which a weight's share has halved; 0 copies.
    """
    half_life = min(half_life, RAMP * images)
    share = 1 - 0.5 ** (batch_size / half_life) if half_life else 1.0
    torch._foreach_lerp_(list(ema.parameters()), list(module.parameters()), share)
    # Batch norm's statistics belong to the weights they were measured with, so they are averaged in the same way.
    for kept, new in zip(ema.buffers(), module.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, share)
        else:
            kept.copy_(new)
