"""Path length regularisation of StyleGAN2 (Karras et al. 2020a, sec. 3.2): a step of fixed size in w changes the image
by the same amount everywhere, so that directions in w mean the same everywhere."""

import math

import torch
from torch import Tensor

MEAN_UPDATE = 0.01
"""Weight of each batch in the running mean of the lengths, which starts at 0 (app. B there)."""


def path_lengths(images: Tensor, styles: Tensor, random: torch.Generator) -> Tensor:
    """Norm of J^T y for each image, with J the Jacobian of the image by its styles and y a random image.

    y is normal with mean square 1 / (H W). The mean square of the norm over draws of y is that of the columns of J,
    summed over channels and averaged over pixels and layers.

    images: [N, C, H, W], computed from styles: [N, num_ws, w_dim], which must require a gradient. random: a generator
    on their device. Returns [N] in float32 or wider; can itself be differentiated.
    """
    height, width = images.shape[2:]
    noise = torch.randn(images.shape, generator=random, device=images.device, dtype=images.dtype)
    (gradient,) = torch.autograd.grad((images * noise).sum() / math.sqrt(height * width), styles, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def penalty(lengths: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance of the path lengths from their running mean (eq. 4 there), and the updated mean.

    lengths: [N]. mean: the running mean over earlier batches, a scalar. Returns two scalars; only the penalty has a
    gradient.
    """
    mean = mean.lerp(lengths.detach().mean(), MEAN_UPDATE)
    return (lengths - mean).square().mean(), mean
