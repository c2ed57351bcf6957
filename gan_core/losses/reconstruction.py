"""Losses of a variational autoencoder (Kingma & Welling 2014), as pure functions of images and posteriors.

Likelihoods and the KL divergence are summed over all values of an image and averaged over the batch: only then do the
two add up to a bound in nats. With a mean in place of one sum the balance changes, and the posterior often collapses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

ACTIVE = 0.01
"""Minimum variance over the data of the posterior mean of an active latent unit (Burda et al. 2016, sec. 5.2)."""

MIN_SCALE = 1 / 255
"""Minimum scale of the noise: half a grey level of 8-bit images in [-1, 1]. A density with a smaller scale would put
more than probability 1 on one level, and without a floor the likelihood of an exact reconstruction is unbounded."""

MAX_ADAPTIVE_WEIGHT = 1e4
"""Maximum of `adaptive_weight`, reached where the adversarial gradient is close to 0."""


@dataclass(frozen=True)
class Likelihood:
    """Observation model of a decoder: a negative log likelihood that is affine in a mean error."""

    error: Callable[[Tensor, Tensor], Tensor]
    """output, images [N, C, H, W] -> mean error over the values of each image, [N]."""
    best_scale: Callable[[Tensor], Tensor]
    """Mean error over any number of images -> scale with the greatest likelihood, at least MIN_SCALE."""
    nats: Callable[[Tensor, float | Tensor], Tensor]
    """error, scale -> negative log likelihood of one value, in nats."""
    binary: bool = False
    """Whether it is a probability of black and white pixels, computed from logits. The others are densities of grey
    levels in [-1, 1], computed from the output."""

    def of_each(self, output: Tensor, images: Tensor, scale: float | Tensor) -> Tensor:
        """Negative log likelihood of each image, summed over its values, in nats: [N]."""
        return output[0].numel() * self.nats(self.error(output, images), scale)


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Negative log likelihood of binary images, in nats (cross-entropy).

    A grey level x in [-1, 1] is the probability (x + 1) / 2 that its pixel is white. The cross-entropy is then an
    expectation over the black-and-white images drawn with these probabilities, and its bound one on their likelihood.
    It is not comparable with a bound on the grey levels themselves.

    logits: of a white pixel, [N, C, H, W]; the decoder's output is tanh(logits / 2). images: [N, C, H, W] in [-1, 1].
    Returns a scalar.
    """
    return LIKELIHOODS["bernoulli"].of_each(logits, images, 1.0).mean()


def gaussian(output: Tensor, images: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """Negative log density of images under normal noise around the output, in nats.

    Without a scale the best one for the batch is used, which balances reconstruction and KL divergence without a
    weight: D values cost D/2 log(2 pi e MSE) (sigma-VAE: Rybkin et al. 2021).

    output, images: [N, C, H, W]. scale: standard deviation of the noise. Returns a scalar.
    """
    return _density(LIKELIHOODS["gaussian"], _squares(output, images).mean(), output[0].numel(), scale)


def laplace(output: Tensor, images: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """Negative log density of images under Laplace noise around the output, in nats: an L1 loss.

    Without a scale the best one for the batch is used, as in `gaussian`: D values cost D log(2 e MAE).

    output, images: [N, C, H, W]. scale: b, the mean absolute value of the noise. Returns a scalar.
    """
    return _density(LIKELIHOODS["laplace"], _amounts(output, images).mean(), output[0].numel(), scale)


def multiscale(output: Tensor, images: Tensor) -> Tensor:
    """`laplace` with the error of `multiscale_l1` in place of the mean absolute error: D log(2 e error), in nats.

    It is not a likelihood, but of the same magnitude, so that the KL divergence needs no other weight.

    output, images: [N, C, H, W] in [-1, 1]. Returns a scalar.
    """
    return _density(LIKELIHOODS["laplace"], multiscale_l1(output, images), output[0].numel(), None)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of normal distributions from the standard normal, in nats (Kingma & Welling 2014, app. B).

    mean, log_variance: of equal shape, [N, ...]. Returns [N, D], one value per latent dimension.
    """
    mean, log_variance = _wide(mean).flatten(1), _wide(log_variance).flatten(1)
    # exp(v) - 1 - v: expm1 is exact near v = 0, where collapsed units are.
    return (mean.square() + log_variance.expm1() - log_variance) / 2


def free_bits(kl_of_each: Tensor, nats: float) -> Tensor:
    """KL divergence with free bits: a floor for each latent dimension (Kingma et al. 2016, app. C.8).

    A dimension whose mean over the batch is below the floor costs the floor and has no gradient. The KL term thus
    cannot collapse a dimension before the decoder has learned to use it.

    kl_of_each: [N, D], from `kl`. nats: the floor. Returns a scalar, averaged over the batch, summed over dimensions.
    """
    return kl_of_each.mean(0).clamp_min(nats).sum()


def warm_up(images: int, length: int) -> float:
    """Weight of the KL divergence, from 0 up to 1 over the first `length` images (Bowman et al. 2016)."""
    return 1.0 if images >= length else images / length


def multiscale_l1(output: Tensor, images: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference at full, half, quarter, ... resolution, averaged over these scales.

    Coarse scales compare light and colour over areas, to which single pixels contribute little. The last pixel of an
    odd side is averaged with fewer others; an image of one pixel is not halved further.

    output, images: [N, C, H, W]. scales: number of resolutions. Returns a scalar.
    """
    # Pooling is linear: one pooling of the difference equals the difference of two.
    difference = _wide(output) - images
    total = difference.abs().mean()
    for _ in range(scales - 1):
        difference = avg_pool2d(difference, 2, ceil_mode=True)
        total = total + difference.abs().mean()
    return total / scales


def adaptive_weight(reconstruction_gradient: Tensor, adversarial_gradient: Tensor) -> Tensor:
    """Weight of the adversarial loss that equalises its gradient norm with the reconstruction's (Esser et al. 2021, eq.
    7).

    reconstruction_gradient, adversarial_gradient: gradients at the weights of the decoder's last layer, of equal shape.
    Returns a scalar from 0 to MAX_ADAPTIVE_WEIGHT, without a gradient.
    """
    weight = reconstruction_gradient.detach().norm() / (adversarial_gradient.detach().norm() + 1e-6)
    return weight.clamp_max(MAX_ADAPTIVE_WEIGHT)


def active_units(means: Tensor) -> Tensor:
    """Active units: latent dimensions whose posterior mean varies over the data (Burda et al. 2016, sec. 5.2).

    means: posterior means of M images, [M, ...]. Returns bool [D].
    """
    return _wide(means).flatten(1).var(0, correction=0) > ACTIVE


def _density(likelihood: Likelihood, error: Tensor, size: int, scale: float | Tensor | None) -> Tensor:
    if scale is None:
        # No gradient is needed: at the best scale the derivative by the scale is 0. At the floor it is not, but there
        # the scale is a constant.
        scale = likelihood.best_scale(error.detach())
    return size * likelihood.nats(error, scale)


def _cross_entropy(logits: Tensor, images: Tensor) -> Tensor:
    costs = binary_cross_entropy_with_logits(_wide(logits), (_wide(images) + 1) / 2, reduction="none")
    return costs.flatten(1).mean(1)


def _squares(output: Tensor, images: Tensor) -> Tensor:
    return (_wide(output) - images).square().flatten(1).mean(1)


def _amounts(output: Tensor, images: Tensor) -> Tensor:
    return (_wide(output) - images).abs().flatten(1).mean(1)


def _log(scale: float | Tensor) -> float | Tensor:
    return scale.log() if isinstance(scale, Tensor) else math.log(scale)


def _wide(tensor: Tensor) -> Tensor:
    # Half precision is too coarse for sums over a whole image.
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


LIKELIHOODS = {
    "bernoulli": Likelihood(_cross_entropy, torch.ones_like, lambda error, scale: error, binary=True),
    "gaussian": Likelihood(
        _squares,
        lambda error: error.sqrt().clamp_min(MIN_SCALE),
        lambda error, scale: error / (2 * scale**2) + _log(scale) + math.log(2 * math.pi) / 2,
    ),
    "laplace": Likelihood(
        _amounts,
        lambda error: error.clamp_min(MIN_SCALE),
        lambda error, scale: error / scale + _log(2 * scale),
    ),
}

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "laplace": laplace,
    "multiscale": multiscale,
}
"""Reconstruction losses by name: (output, or logits for "bernoulli"; images) -> a scalar, in nats per image."""
