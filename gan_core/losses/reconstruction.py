"""What a variational autoencoder minimises (Kingma & Welling 2014), as pure functions of images and posteriors.

Likelihoods are summed over all values of an image and then averaged over the batch, and so is the KL divergence: only
then do the two add up to a bound in nats. A mean in the place of one of the sums is another model, mostly one whose
latents tell nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

ACTIVE = 0.01
"""A latent unit is active where the variance of its mean over the data is greater (Burda et al. 2016, sec. 5.2)."""

SMALLEST_SCALE = 1 / 255
"""Half a grey level of 8-bit images in [-1, 1]. A density with a finer scale would put more than all of the probability
of a level on it, and a likelihood without such a floor has no bound where images are reproduced exactly."""

MOST_ADAPTIVE_WEIGHT = 1e4
"""Where the adversarial gradient is next to nothing, so that it is not blown up."""


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's output stands for images: negative log likelihoods, which are affine in a mean error."""

    error: Callable[[Tensor, Tensor], Tensor]
    """output, images [N, C, H, W] -> the mean error over the values of each image, [N]."""
    best_scale: Callable[[Tensor], Tensor]
    """The mean error of any number of images -> the scale under which they are likeliest, at least SMALLEST_SCALE."""
    nats: Callable[[Tensor, float | Tensor], Tensor]
    """error, scale -> negative log likelihood of one value, in nats."""
    binary: bool = False
    """Whether it is a probability of black and white, from logits. The others are densities of grey levels in [-1, 1],
    from the output."""

    def of_each(self, output: Tensor, images: Tensor, scale: float | Tensor) -> Tensor:
        """Negative log likelihood of each image, [N]: summed over its values, in nats."""
        return output[0].numel() * self.nats(self.error(output, images), scale)


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Negative log likelihood of images whose values are coin tosses, in nats.

    A grey level x in [-1, 1] enters as the probability (x + 1) / 2 that its pixel is white. The cross-entropy is then
    the expectation over all black-and-white images that can be drawn from the greys so, and a bound that is made with
    it is one on the likelihood of the drawn image. It is not comparable with one on the grey levels themselves.

    logits: of being white, [N, C, H, W]: x where the decoder's output is tanh(x / 2). images: alike, in [-1, 1].
    """
    return LIKELIHOODS["bernoulli"].of_each(logits, images, 1.0).mean()


def gaussian(output: Tensor, images: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """Negative log likelihood, as a density, of images that are the output and normal noise, in nats.

    Without a scale the noise is as strong as is best for the batch, so that nobody has to weigh the reconstruction
    against the KL divergence: of D values it costs D/2 log(2 pi e MSE) (sigma-VAE: Rybkin et al. 2021).

    output, images: [N, C, H, W]. scale: the noise's standard deviation.
    """
    return _density(LIKELIHOODS["gaussian"], _squares(output, images).mean(), output[0].numel(), scale)


def laplace(output: Tensor, images: Tensor, scale: float | Tensor | None = None) -> Tensor:
    """Negative log likelihood, as a density, of images that are the output and Laplace noise, in nats: an L1 loss.

    Without a scale, as in `gaussian`, the best for the batch: of D values it costs D log(2 e MAE).

    output, images: [N, C, H, W]. scale: b, the noise's mean absolute value.
    """
    return _density(LIKELIHOODS["laplace"], _amounts(output, images).mean(), output[0].numel(), scale)


def multiscale(output: Tensor, images: Tensor) -> Tensor:
    """As `laplace`, with the error of `multiscale_l1` in the place of its own: D log(2 e error).

    No likelihood of images, but as large as one, so that it is weighed against the KL divergence alike.

    output, images: [N, C, H, W] in [-1, 1].
    """
    return _density(LIKELIHOODS["laplace"], multiscale_l1(output, images), output[0].numel(), None)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of normal distributions from the standard one, in nats (Kingma & Welling 2014, app. B).

    mean, log_variance: alike, [N, ...]. Returns [N, D], one for each of the D values; sum them for an image's.
    """
    mean, log_variance = _wide(mean).flatten(1), _wide(log_variance).flatten(1)
    # exp(v) - 1 - v: expm1 keeps its digits where a unit has collapsed, which is where v is near zero.
    return (mean.square() + log_variance.expm1() - log_variance) / 2


def free_bits(kl_of_each: Tensor, nats: float) -> Tensor:
    """The KL divergence, of which the first nats of each dimension are free (Kingma et al. 2016, app. C.8).

    A dimension that says no more than that, on the batch's average, costs the floor and has no gradient, so that it is
    not pressed into silence before it has learned to say something.

    kl_of_each: [N, D], as `kl` returns it. Returns a scalar, summed over dimensions.
    """
    return kl_of_each.mean(0).clamp_min(nats).sum()


def warm_up(images: int, length: int) -> float:
    """How much the KL divergence weighs after so many images: from 0 up to 1 over the length (Bowman et al. 2016)."""
    return 1.0 if images >= length else images / length


def multiscale_l1(output: Tensor, images: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the images, of their halves, quarters and so on, averaged over these scales.

    Coarse scales judge light and colour over an area, which single pixels hardly do. A side that is odd leaves a last
    pixel that is averaged with fewer others, and a picture of one pixel is not halved further.

    output, images: [N, C, H, W].
    """
    # Averaging is linear: the difference is pooled, not the two.
    difference = _wide(output) - images
    total = difference.abs().mean()
    for _ in range(scales - 1):
        difference = avg_pool2d(difference, 2, ceil_mode=True)
        total = total + difference.abs().mean()
    return total / scales


def adaptive_weight(reconstruction_gradient: Tensor, adversarial_gradient: Tensor) -> Tensor:
    """What an adversarial loss is weighed with to pull as hard as the reconstruction (Esser et al. 2021, eq. 7).

    Both gradients are those at the weights of the decoder's last layer, of any one shape. Returns a scalar from 0 to
    10,000 without a gradient.
    """
    weight = reconstruction_gradient.detach().norm() / (adversarial_gradient.detach().norm() + 1e-6)
    return weight.clamp_max(MOST_ADAPTIVE_WEIGHT)


def active_units(means: Tensor) -> Tensor:
    """Which units of the latent say something of the image (Burda et al. 2016, sec. 5.2).

    means: of the posteriors of M images, [M, ...]. Returns bool [D].
    """
    return _wide(means).flatten(1).var(0, correction=0) > ACTIVE


def _density(likelihood: Likelihood, error: Tensor, size: int, scale: float | Tensor | None) -> Tensor:
    if scale is None:
        # Without a gradient, and rightly: at the best scale the likelihood has no slope along the scale. At the floor,
        # where it has one, the error still gets its own.
        scale = likelihood.best_scale(error.detach())
    return size * likelihood.nats(error, scale)


def _cross_entropy(logits: Tensor, images: Tensor) -> Tensor:
    costs = binary_cross_entropy_with_logits(_wide(logits), (_wide(images) + 1) / 2, reduction="none")
    return costs.flatten(1).mean(1)


def _squares(output: Tensor, images: Tensor) -> Tensor:
    return (_wide(output) - images).square().flatten(1).mean(1)


def _amounts(output: Tensor, images: Tensor) -> Tensor:
    return (_wide(output) - images).abs().flatten(1).mean(1)


def _log(scale: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(scale, dtype=like.dtype).log()


def _wide(tensor: Tensor) -> Tensor:
    # Half precision has too few digits for sums over a whole image.
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


LIKELIHOODS = {
    "bernoulli": Likelihood(_cross_entropy, torch.ones_like, lambda error, scale: error, binary=True),
    "gaussian": Likelihood(
        _squares,
        lambda error: error.sqrt().clamp_min(SMALLEST_SCALE),
        lambda error, scale: error / (2 * scale**2) + _log(scale, error) + math.log(2 * math.pi) / 2,
    ),
    "laplace": Likelihood(
        _amounts,
        lambda error: error.clamp_min(SMALLEST_SCALE),
        lambda error, scale: error / scale + _log(2 * scale, error),
    ),
}

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bernoulli": bernoulli,
    "gaussian": gaussian,
    "laplace": laplace,
    "multiscale": multiscale,
}
"""What a decoder can learn by: (output, or logits for "bernoulli"; images) -> a scalar, in nats of an image."""
