"""The averaged generator: the one that is sampled and saved (Yazici et al. 2019)."""

import torch
from torch import nn

RAMP = 0.1
"""The half-life is at most this share of the images seen, so that the first, random weights are soon forgotten."""


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, batch_size: int, images: int, half_life: float) -> None:
    """Moves the average towards the module by one step.

    images: shown so far, with this batch. half_life: images after which a weight's share has halved; 0 copies.
    """
    half_life = min(half_life, RAMP * images)
    share = 1 - 0.5 ** (batch_size / half_life) if half_life else 1.0
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), share)
    # Batch norm's statistics belong to the weights they were measured with, so they are averaged alike.
    for kept, new in zip(average.buffers(), module.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, share)
        else:
            kept.copy_(new)
