"""Adversarial losses and the LeCam regulariser, as pure functions of discriminator logits.

A logit is the discriminator's output before any sigmoid, positive for "real". Every loss is a mean over the batch, in
nats for the logarithmic ones. Softplus is used because log(sigmoid(x)) = -softplus(-x) and
log(1 - sigmoid(x)) = -softplus(x) hold for logits of any size; the logarithm of a rounded probability does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class AdversarialLoss:
    """Losses that the discriminator and the generator minimise. Scalars."""

    discriminator: Tensor
    generator: Tensor


def log_loss(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """Original GAN loss with the non-saturating generator (Goodfellow et al. 2014, sec. 3).

    L_D = -E[log D(x)] - E[log(1 - D(G(z)))] and L_G = -E[log D(G(z))], with D = sigmoid of the logits.

    real, fake: logits, [N].
    """
    return AdversarialLoss(
        discriminator=softplus(-real).mean() + softplus(fake).mean(),
        generator=softplus(-fake).mean(),
    )


def hinge(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """Hinge loss (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17).

    real, fake: logits, [N].
    """
    return AdversarialLoss(
        discriminator=relu(1 - real).mean() + relu(1 + fake).mean(),
        generator=-fake.mean(),
    )


def relativistic(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """RpGAN loss: real and fake logits are compared in pairs (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2).

    real, fake: logits, [N]; real i is paired with fake i.
    """
    margin = real - fake
    return AdversarialLoss(discriminator=softplus(-margin).mean(), generator=softplus(margin).mean())


def wasserstein(real: Tensor, fake: Tensor) -> AdversarialLoss:
    """Wasserstein loss: the critic estimates the distance of the two distributions (Arjovsky et al. 2017, sec. 3).

    The estimate holds only for a 1-Lipschitz critic: see `gradient_penalties.wgan_gp_penalty`.

    real, fake: logits, [N].
    """
    return AdversarialLoss(discriminator=fake.mean() - real.mean(), generator=-fake.mean())


def lecam(real: Tensor, fake: Tensor, real_mean: Tensor, fake_mean: Tensor) -> Tensor:
    """LeCam regulariser against overfitting on limited data (Tseng et al. 2021).

    Pulls the logits of real images towards the running mean of the fake ones, and the reverse. One-sided as in the
    authors' program: a logit beyond the other mean costs nothing.

    real, fake: logits, [N]. real_mean, fake_mean: their running means, scalars. Returns a scalar.
    """
    return relu(real - fake_mean).square().mean() + relu(real_mean - fake).square().mean()


@dataclass(frozen=True)
class Objective:
    """Adversarial loss, and the conditions under which it trains well."""

    loss: Callable[[Tensor, Tensor], AdversarialLoss]
    normalisation: str
    """Normalisation of the discriminator's layers: "batch", "spectral" or "none"."""
    penalty: str = "none"
    """One of gradient_penalties.PENALTIES. All but "none" need a discriminator without batch norm."""
    relativistic: bool = False
    """Whether the generator's loss depends on the logits of real images too."""
    anchored: bool = True
    """Whether the sign of a logit has a meaning: adding a constant to all logits changes the loss."""
    discriminator_steps: int = 1
    """Discriminator steps per generator step, each with its own batch."""


OBJECTIVES = {
    "log": Objective(log_loss, normalisation="batch"),
    "hinge": Objective(hinge, normalisation="spectral"),
    "relativistic": Objective(relativistic, normalisation="none", penalty="r1_r2", relativistic=True, anchored=False),
    "wgan": Objective(wasserstein, normalisation="none", penalty="wgan_gp", anchored=False, discriminator_steps=5),
}
