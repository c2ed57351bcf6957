"""Exponential moving average (EMA) of a network's weights: what is sampled and saved (Yazici et al. 2019)."""

import torch
from torch import Tensor, nn

RAMP = 0.1
"""Maximum half-life as a share of the images shown, so that the initial weights are soon forgotten."""


def share_of(batch_size: int, images: int, half_life: float) -> float:
    """Share of the new weights in the EMA after a step, 0 to 1.

    images: shown so far, with this batch. half_life: images after which a weight's share has halved; 0 copies.
    """
    half_life = min(half_life, RAMP * images)
    return 1 - 0.5 ** (batch_size / half_life) if half_life else 1.0


@torch.no_grad()
def update(ema: nn.Module, module: nn.Module, share: float | Tensor) -> None:
    """Moves the EMA of a module towards its weights by that share, a number or a scalar on the device."""
    kept_weights: list[Tensor] = list(ema.parameters())
    new_weights: list[Tensor] = list(module.parameters())
    if isinstance(share, Tensor):  # which torch's own lerp of many takes as a number only
        differences = torch._foreach_sub(new_weights, kept_weights)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(kept_weights, differences)
    else:
        torch._foreach_lerp_(kept_weights, new_weights, share)
    # Batch norm's statistics belong to the weights they were measured with, so they are averaged in the same way.
    for kept, new in zip(ema.buffers(), module.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, share)
        else:
            kept.copy_(new)
