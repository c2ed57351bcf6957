"""Adversarial losses and regularisers, as pure functions of logits and images.

Logits are what the discriminator says before any sigmoid: positive for "real". Every loss is a mean over the batch, in
nats for the logarithmic ones. Written with softplus, because log(sigmoid(x)) = -softplus(-x) and
log(1 - sigmoid(x)) = -softplus(x) hold for logits of any size, where the logarithm of a rounded probability does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class AdversarialLoss:
    """What each of the two players minimises. Scalars."""

    discriminator: Tensor
    generator: Tensor


def log_loss(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """The game of the first GAN paper, with its non-saturating generator (Goodfellow et al. 2014, sec. 3).

    L_D = -E[log D(x)] - E[log(1 - D(G(z)))] and L_G = -E[log D(G(z))], with D = sigmoid of the logits.

    real, fake: logits, [N].
    """
    return AdversarialLoss(
        discriminator=softplus(-real).mean() + softplus(fake).mean(),
        generator=softplus(-fake).mean(),
    )


def hinge(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """The hinge version of the game (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17).

    real, fake: logits, [N].
    """
    return AdversarialLoss(
        discriminator=relu(1 - real).mean() + relu(1 + fake).mean(),
        generator=-fake.mean(),
    )


def relativistic(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """RpGAN: each real logit is judged against a fake one (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2).

    real, fake: logits, [N]; real i is paired with fake i.
    """
    margin = real - fake
    return AdversarialLoss(discriminator=softplus(-margin).mean(), generator=softplus(margin).mean())


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Squared length of the discriminator's gradient at the images (Mescheder et al. 2018, eq. 9).

    R1 at real images, R2 at generated ones. Summed over pixels, averaged over the batch; weigh it with gamma / 2.

    logits: [N], computed from images: [N, C, H, W], which must require a gradient. Returns a scalar that can itself be
    differentiated.
    """
    # The sum over the batch gives every image its own gradient, as no logit depends on another image.
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


@dataclass(frozen=True)
class Objective:
    """A loss and the conditions under which it trains well."""

    loss: Callable[[Tensor, Tensor], AdversarialLoss]
    relativistic: bool
    """Whether the generator's loss needs logits of real images too."""
    normalisation: str
    """What the discriminator's layers are normalised with: "batch", "spectral" or "none"."""
    penalised: bool
    """Whether R1 and R2 are added. They need a discriminator whose logits each depend on one image only."""


OBJECTIVES = {
    "log": Objective(log_loss, relativistic=False, normalisation="batch", penalised=False),
    "hinge": Objective(hinge, relativistic=False, normalisation="spectral", penalised=False),
    "relativistic": Objective(relativistic, relativistic=True, normalisation="none", penalised=True),
}
