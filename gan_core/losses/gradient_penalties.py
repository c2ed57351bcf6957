"""Penalties of the discriminator's gradient at its images: R1, R2, WGAN-GP, and an estimate by finite differences."""

import torch
from torch import Tensor

from ..platforms import full_precision

PENALTIES = ("none", "r1", "r1_r2", "wgan_gp")
"""Penalties of the discriminator's gradient: none, at real images (R1), at real and generated images (R1 and R2, both
`gradient_penalty`), at interpolated images (`wgan_gp_penalty`)."""

ESTIMATES = ("exact", "finite")
"""How R1 and R2 are computed: by `gradient_penalty`, or by `finite_difference_penalty`."""


def image_gradients(logits: Tensor, images: Tensor) -> Tensor:
    """Gradient of each logit with respect to its image, [N, C, H, W]; can itself be differentiated.

    logits: [N], computed from images: [N, C, H, W], which must require a gradient.
    """
    # The sum over the batch gives each image its own gradient if no logit depends on another image. A minibatch
    # standard deviation adds a small dependence; StyleGAN2 too penalises the gradient of that sum.
    with full_precision(images.device):  # a gradient has the precision of the layer it passes
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0]


def gradient_penalty(gradients: Tensor) -> Tensor:
    """Squared norm of the discriminator's gradient at its images (Mescheder et al. 2018, eq. 9).

    R1 at real images, R2 at generated ones. Summed over pixels, averaged over the batch; its usual weight is gamma / 2.

    gradients: [N, C, H, W], from `image_gradients`. Returns a scalar.
    """
    return (gradients * gradients).sum(dim=(1, 2, 3)).mean()


def finite_difference_penalty(logits: Tensor, moved_logits: Tensor, step: float) -> Tensor:
    """Estimate of `gradient_penalty` without a second derivative: the squared derivative along a random direction.

    For a direction v of independent +1 and -1, E[(v . gradient)^2] is the squared norm of the gradient (Hutchinson
    1990). (D(x + step v) - D(x)) / step is v . gradient plus an error of order step, whose sign is random. The bias is
    therefore of order step^2. Over N images with gradients of equal norm the standard deviation is at most
    sqrt(2 / N) of the value. Lin et al. 2025 (Diffusion adversarial post-training) train with a similar term, with
    normal v and without the division.

    logits: [N], of the images; moved_logits: [N], of the images + step v. Both must come from the same function: no
    batch norm, no power iteration in between. Compute them in float32: in bfloat16 their difference is noise.
    """
    return ((moved_logits - logits) / step).square().mean()


def wgan_gp_penalty(gradients: Tensor) -> Tensor:
    """Squared distance of the critic's gradient norm from 1 (WGAN-GP: Gulrajani et al. 2017, eq. 3).

    gradients: [N, C, H, W], from `image_gradients` at images of `interpolate`. Returns a scalar; its usual weight is
    10.
    """
    return (torch.linalg.vector_norm(gradients, dim=(1, 2, 3)) - 1).square().mean()


def interpolate(real: Tensor, fake: Tensor, weights: Tensor) -> Tensor:
    """Linear interpolations between fake and real images, where WGAN-GP evaluates the gradient. [N, C, H, W].

    weights: [N], from 0 for the fake image to 1 for the real one.
    """
    return torch.lerp(fake, real, weights[:, None, None, None])
