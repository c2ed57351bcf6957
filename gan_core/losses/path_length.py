"""Path length: how far an image moves for a step of its style, which StyleGAN2 holds the same wherever the style is, so
that directions in w mean the same everywhere (Karras et al. 2020a, sec. 3.2)."""

import math

import torch
from torch import Tensor

SHARE = 0.01
"""What each batch adds to the running mean of the lengths, which is 0 at first (app. B there)."""


def path_lengths(images: Tensor, styles: Tensor, random: torch.Generator) -> Tensor:
    """An estimate of how far each image moves: the length of J^T y, for y a random direction in the space of images.

    J is the Jacobian of the image by its styles. y is normal, with a mean square of 1 / (H W): over draws of y the mean
    square of the length is that of the columns of J, summed over channels, averaged over pixels and over layers.

    images: [N, C, H, W], made of styles: [N, num_ws, w_dim], which must require a gradient. random: on their device.
    Returns [N], in float32 or finer, which can itself be differentiated.
    """
    height, width = images.shape[2:]
    direction = torch.randn(images.shape, generator=random, device=images.device, dtype=images.dtype)
    (moved,) = torch.autograd.grad((images * direction).sum() / math.sqrt(height * width), styles, create_graph=True)
    return moved.square().sum(dim=2).mean(dim=1).sqrt()


def penalty(lengths: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """What differing lengths cost (eq. 4 there), and the running mean moved on by them.

    lengths: [N]. mean: the running mean of the batches before, a scalar. Returns two scalars; the penalty can be
    differentiated, and grows with how far the lengths are from the new mean.
    """
    mean = mean.lerp(lengths.detach().mean(), SHARE)
    return (lengths - mean).square().mean(), mean
