"""Adversarial losses and regularisers, as pure functions of logits, of images and of slopes.

Logits are what the discriminator says before any sigmoid: positive for "real". Every loss is a mean over the batch, in
nats for the logarithmic ones. Written with softplus, because log(sigmoid(x)) = -softplus(-x) and
log(1 - sigmoid(x)) = -softplus(x) hold for logits of any size, where the logarithm of a rounded probability does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from ..platforms import full_precision


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


def wasserstein(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """The game of WGAN: the critic's logits estimate how far apart the two kinds of images are (Arjovsky et al. 2017,
    sec. 3). It means something only while the critic is nowhere steeper than 1: see `unit_slope_penalty`.

    real, fake: logits, [N].
    """
    return AdversarialLoss(discriminator=fake.mean() - real.mean(), generator=-fake.mean())


def slopes_of(logits: Tensor, images: Tensor) -> Tensor:
    """Each logit's gradient at its image, [N, C, H, W], which can itself be differentiated.

    logits: [N], computed from images: [N, C, H, W], which must require a gradient.
    """
    # The sum over the batch gives every image its own gradient where no logit depends on another image; where one does
    # a little, by a minibatch's standard deviation, it is the sum that StyleGAN2 penalises too.
    with full_precision(images.device):  # gradients have the precision of what they are of
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0]


def gradient_penalty(slopes: Tensor) -> Tensor:
    """Squared length of the discriminator's gradient at the images (Mescheder et al. 2018, eq. 9).

    R1 at real images, R2 at generated ones. Summed over pixels, averaged over the batch; weigh it with gamma / 2.

    slopes: [N, C, H, W], of `slopes_of`. Returns a scalar.
    """
    return slopes.square().sum(dim=(1, 2, 3)).mean()


def difference_penalty(logits: Tensor, moved_logits: Tensor, step: float) -> Tensor:
    """An estimate of `gradient_penalty` that needs no second derivative: the squared slope along one random direction.

    For a direction v of independent +1 and -1, E[(v . gradient)^2] is the squared length of the gradient (Hutchinson
    1990), and (D(x + step v) - D(x)) / step is v . gradient but for a part in step, which is as often positive as
    negative: the estimate is unbiased but for a part in step^2. Over N images with equally long gradients its standard
    deviation is at most sqrt(2 / N) of its value. Lin et al. 2025 (Diffusion adversarial post-training) train with the
    like, of normal v and without the division.

    logits: [N], of the images; moved_logits: [N], of the images + step v. The discriminator must be the same function
    in both: no batch norm, no power iteration in between; and it must be computed in float32, as the difference of two
    logits in bfloat16 is noise.
    """
    return ((moved_logits - logits) / step).square().mean()


def unit_slope_penalty(slopes: Tensor) -> Tensor:
    """How far the length of the critic's gradient is from 1 (WGAN-GP: Gulrajani et al. 2017, eq. 3); weigh it with 10.

    slopes: [N, C, H, W], of `slopes_of` at images `between` real and generated ones. Returns a scalar.
    """
    return (torch.linalg.vector_norm(slopes, dim=(1, 2, 3)) - 1).square().mean()


def between(real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Images on the straight lines from fake to real ones, where WGAN-GP looks at the gradient. [N, C, H, W].

    shares: [N], from 0 for the fake image to 1 for the real one.
    """
    return torch.lerp(fake, real, shares[:, None, None, None])


def lecam(real: Tensor, fake: Tensor, real_mean: Tensor, fake_mean: Tensor) -> Tensor:
    """Holds logits of either kind near the other kind's of late, against overfitting to few images (LeCam: Tseng et al.
    2021; in the one-sided form of its authors' program, which leaves logits alone that lie beyond the other mean).

    real, fake: logits, [N]. real_mean, fake_mean: their running means, scalars. Returns a scalar.
    """
    return relu(real - fake_mean).square().mean() + relu(real_mean - fake).square().mean()


PENALTIES = ("none", "r1", "r1_r2", "wgan_gp")
"""Of the discriminator's gradient: at no images, at real ones, at real and generated ones (`gradient_penalty`), and in
between (`unit_slope_penalty`)."""

ESTIMATES = ("exact", "finite")
"""How the first two are computed: `gradient_penalty`, or `difference_penalty`."""


@dataclass(frozen=True)
class Objective:
    """A loss and the conditions under which it trains well."""

    loss: Callable[[Tensor, Tensor], AdversarialLoss]
    normalisation: str
    """What the discriminator's layers are normalised with: "batch", "spectral" or "none"."""
    penalty: str = "none"
    """One of PENALTIES. They need a discriminator without batch norm."""
    relativistic: bool = False
    """Whether the generator's loss needs logits of real images too."""
    anchored: bool = True
    """Whether the sign of a logit means something: a number added to all of them changes the loss."""
    discriminator_steps: int = 1
    """Batches from which the discriminator learns for each from which the generator does."""


OBJECTIVES = {
    "log": Objective(log_loss, normalisation="batch"),
    "hinge": Objective(hinge, normalisation="spectral"),
    "relativistic": Objective(relativistic, normalisation="none", penalty="r1_r2", relativistic=True, anchored=False),
    "wgan": Objective(wasserstein, normalisation="none", penalty="wgan_gp", anchored=False, discriminator_steps=5),
}
