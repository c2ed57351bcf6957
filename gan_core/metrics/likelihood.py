"""Likelihood of images under a VAE: bounds and estimates of -log p(x), in nats per image.

Every random draw depends only on the seed and the index of the image, as numpy.random.RandomState([seed, index]), so
that results agree between machines and batch sizes.

There are two kinds of likelihood, which are not comparable. "bernoulli" is a probability of black-and-white images; a
grey level is the probability of a white pixel. "gaussian" and "laplace" are densities of grey levels in [-1, 1], which
can exceed 1 and then have negative nats. Bits per dimension refer to levels of 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..generator import Generator
from ..latents import LAST_SEED
from ..losses.reconstruction import LIKELIHOODS, Likelihood, active_units, kl
from ..memory import in_parts
from ..platforms import all_digits_of_float32, placed

PIXELS_AT_ONCE = 2**20
"""Maximum number of pixels decoded in one pass, whatever the batch."""

MAX_SAMPLES = 100_000
"""Maximum number of samples from the posterior of one image."""


@dataclass(frozen=True)
class Bound:
    """Upper bound of -log p(x): the negative evidence lower bound (Kingma & Welling 2014, eq. 3)."""

    nats: float
    """Bound in nats, the mean over images of reconstruction + kl."""
    reconstruction: float
    """Negative log likelihood of an image given its latent, in nats per image."""
    kl: float
    """KL divergence of the posterior from the prior, in nats per image."""
    bits_per_dimension: float
    """Bound in bits per value of an image: a black-and-white value, or one of 8 bits."""
    active_units: int
    """Number of active latent dimensions; 0 for a collapsed posterior."""
    units: int
    """Number of latent dimensions."""
    scale: float
    """Scale of the noise in "gaussian" and "laplace"; 1 for "bernoulli", which has none."""
    of_each: Tensor
    """Bound of each image, [N] in float64."""

    def __str__(self) -> str:
        return (
            f"{self.nats:.2f} nats, a bound: reconstruction {self.reconstruction:.2f}, KL {self.kl:.2f}\n"
            f"{self.bits_per_dimension:.3f} bits per dimension, {self.active_units} of {self.units} units active"
        )


@torch.no_grad()
@all_digits_of_float32()
def elbo(
    generator: Generator,
    images: Tensor | np.ndarray,
    likelihood: str = "bernoulli",
    seed: int = 0,
    scale: float | None = None,
    batch: int = 256,
) -> Bound:
    """Negative ELBO of images, with one sample from each posterior.

    images: uint8, as a tensor [N, C, H, W], or as an array [N, H, W, C] such as ImageDataset.images.
    likelihood: "bernoulli", "gaussian" or "laplace".
    scale: scale of the noise; None for the best one for these images, which is then the one number fitted to them.
    batch: maximum number of images in one pass; the result depends on it only by rounding.

    Raises InputError for a generator without an encoder or, for "bernoulli", without logits, and for images, a seed, a
    likelihood or a scale out of range.
    """
    images = _checked(generator, images, likelihood, seed, scale)
    counted = LIKELIHOODS[likelihood]

    def measured(places: slice) -> tuple[Tensor, Tensor, Tensor]:
        real, (mean, log_variance) = _encoded(generator, images[places])
        noise = np.stack([_stream(seed, place).randn(mean[0].numel()) for place in range(len(images))[places]])
        z = mean + (log_variance / 2).exp() * torch.from_numpy(noise).to(mean).view_as(mean)
        error = counted.error(_decoded(generator, z, real, counted.binary), real)
        return error.cpu().double(), kl(mean, log_variance).cpu().double().sum(1), mean.flatten(1).cpu()

    parts = in_parts(list(_parts(len(images), _at_once(images, batch))), measured, _ONE_IMAGE, generator.device)
    error, latent_cost, means = map(torch.cat, zip(*(found for _, found in parts), strict=True))
    active = active_units(means)
    best = float(counted.best_scale(error.mean())) if scale is None else scale
    reconstruction = images[0].numel() * counted.nats(error, best)
    of_each = reconstruction + latent_cost
    return Bound(
        nats=float(of_each.mean()),
        reconstruction=float(reconstruction.mean()),
        kl=float(latent_cost.mean()),
        bits_per_dimension=bits_per_dimension(float(of_each.mean()), images[0].numel(), likelihood),
        active_units=int(active.sum()),
        units=len(active),
        scale=best,
        of_each=of_each,
    )


def importance_weighted(
    generator: Generator,
    images: Tensor | np.ndarray,
    samples: int,
    likelihood: str = "bernoulli",
    seed: int = 0,
    scale: float | None = None,
    batch: int = 256,
) -> Tensor:
    """Importance-weighted (IWAE) estimate of -log p of each image (Burda et al. 2016, eq. 8): [N], float64.

    With one sample its mean is the negative ELBO; with more it approaches -log p from above, on average. For
    "bernoulli" the images are binarised: each pixel is drawn once from its grey level, with the stream
    RandomState([seed, index, 1]). The latents are sampled from the posterior of the grey image, as in training, so that
    the estimate is comparable with `elbo`.

    samples: samples per image; papers use 5,000. scale: scale of the noise, required for "gaussian" and "laplace", from
    Bound.scale of `elbo`. batch: maximum number of latents in one pass. Other arguments as in `elbo`.

    Raises InputError as `elbo` does, for a number of samples out of range, and for a missing scale.
    """
    return torch.cat(list(weighing(generator, images, samples, likelihood, seed, scale, batch)))


@torch.no_grad()
def weighing(
    generator: Generator,
    images: Tensor | np.ndarray,
    samples: int,
    likelihood: str = "bernoulli",
    seed: int = 0,
    scale: float | None = None,
    batch: int = 256,
) -> Iterator[Tensor]:
    """Yields the result of importance_weighted in parts, so that the caller can show progress or stop."""
    images = _checked(generator, images, likelihood, seed, scale)
    counted = LIKELIHOODS[likelihood]
    if not 1 <= samples <= MAX_SAMPLES:
        raise InputError(f"samples must be 1 to {MAX_SAMPLES:,} for each image (got {samples}).")
    if scale is None and not counted.binary:
        raise InputError(f"{likelihood} needs a scale of the noise: pass Bound.scale of elbo.")
    at_once = _at_once(images, batch)

    def weighed(places: slice) -> Tensor:
        return _weighed(generator, images[places], places, samples, counted, seed, scale, at_once)

    # Many images with a few samples each, or one image with many samples, part by part.
    parts = list(_parts(len(images), max(1, at_once // samples)))
    for _, estimates in in_parts(parts, weighed, _ONE_IMAGE, generator.device):
        yield estimates


@all_digits_of_float32()
def _weighed(
    generator: Generator,
    pixels: Tensor,
    places: slice,
    samples: int,
    counted: Likelihood,
    seed: int,
    scale: float | None,
    at_once: int,
) -> Tensor:
    """Estimates for a part of the images. places: the part. at_once: maximum number of latents in one pass."""
    real, (mean, log_variance) = _encoded(generator, pixels)
    streams = [_stream(seed, place) for place in range(places.start, places.stop)]
    target = _black_and_white(pixels, seed, places.start).to(real) if counted.binary else real

    def log_weights(noise: np.ndarray, part: slice) -> Tensor:
        """Logarithms of the importance weights of a part of the noise [N, samples, D], [N, samples] in float64."""
        count = part.stop - part.start
        e = torch.from_numpy(noise[:, part]).to(mean).view(len(mean), count, *mean.shape[1:])
        z = mean[:, None] + (log_variance / 2).exp()[:, None] * e
        # log p(z) - log q(z | x), in which the constants cancel
        latent = (e.square() - z.square() + log_variance[:, None]).flatten(2).sum(2) / 2
        repeated = target.repeat_interleave(count, 0)
        output = _decoded(generator, z.flatten(0, 1), repeated, counted.binary)
        costs = counted.of_each(output, repeated, 1.0 if scale is None else scale)
        return (latent - costs.view(len(mean), count)).cpu().double()

    found = []
    for part in _parts(samples, at_once):
        noise = np.stack([stream.randn(part.stop - part.start, mean[0].numel()) for stream in streams])
        halves = in_parts([slice(0, noise.shape[1])], partial(log_weights, noise), _ONE_IMAGE, mean.device)
        found += [weights for _, weights in halves]
    return math.log(samples) - torch.cat(found, 1).logsumexp(1)


_ONE_IMAGE = "Measuring the likelihood of one image"


def bits_per_dimension(nats: float, dimensions: int, likelihood: str) -> float:
    """Converts nats per image to bits per value of an image.

    A density on [-1, 1] is first transformed to 8-bit levels y = 127.5 (x + 1), which adds log2(127.5) bits. The
    density then approximates the probability of a level, which is 1 wide. This is close if the noise is wider than a
    level; at half a level, the minimum scale, it can be a third of a bit too optimistic.

    nats: per image. dimensions: number of values in an image.
    """
    bits = nats / (dimensions * math.log(2))
    return bits if LIKELIHOODS[likelihood].binary else bits + math.log2(127.5)


def _checked(
    generator: Generator, images: Tensor | np.ndarray, likelihood: str, seed: int, scale: float | None
) -> Tensor:
    """Checks the arguments. Returns the images as uint8 [N, C, H, W]. Raises InputError for invalid arguments."""
    if not generator.architecture.encodes:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator without an encoder: choose a VAE to "
            "measure a likelihood."
        )
    if likelihood not in LIKELIHOODS:
        raise InputError(f'likelihood must be {", ".join(LIKELIHOODS)} (got "{likelihood}").')
    if LIKELIHOODS[likelihood].binary and not hasattr(generator.module, "logits"):
        raise InputError(
            f"{generator.title} is a {generator.architecture.name}, which produces colours, not Bernoulli "
            'probabilities: set likelihood to "gaussian" or "laplace".'
        )
    if not 0 <= seed <= LAST_SEED:
        raise InputError(f"seed must be a whole number from 0 to {LAST_SEED} (got {seed}).")
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"scale must be greater than 0 (got {scale}).")
    if isinstance(images, np.ndarray):
        # A copy: a data set mapped from disk is read-only, and a tensor must be writable.
        images = torch.from_numpy(np.array(images)).movedim(-1, 1) if images.ndim == 4 else torch.empty(0)
    if images.ndim != 4 or images.dtype != torch.uint8 or not images.numel():
        raise InputError("images must be uint8, at least one.")
    channels = generator.config.channels
    fits = generator.architecture.spatial or images.shape[2:] == generator.size
    if images.shape[1] != channels or not fits:
        given = "x".join(map(str, (images.shape[3], images.shape[2], images.shape[1])))
        raise InputError(f"{generator.title} needs images of {generator.size_in_words}x{channels} (got {given}).")
    return images


def _encoded(generator: Generator, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Images in [-1, 1] and their posteriors, on the device of the weights."""
    real = placed(pixels, generator.device).float().div_(127.5).sub_(1)
    return real, generator.module.posterior(real)


def _decoded(generator: Generator, z: Tensor, real: Tensor, binary: bool) -> Tensor:
    output = generator.module.logits(z) if binary else generator.module(z)
    # A spatial VAE pads images whose sides are not multiples of its stride; the padding is cut off.
    return output[..., : real.shape[2], : real.shape[3]]


def _black_and_white(pixels: Tensor, seed: int, first: int) -> Tensor:
    """Binarises images: each value is 1 with the probability given by its grey level, else -1."""
    uniform = np.stack(
        [_stream(seed, first + i, 1).random_sample(tuple(one.shape)) for i, one in enumerate(pixels)],
    )
    return 2.0 * (torch.from_numpy(uniform) < pixels.cpu().double() / 255) - 1


def _stream(*numbers: int) -> np.random.RandomState:
    return np.random.RandomState(numbers)


def _at_once(images: Tensor, batch: int) -> int:
    return max(1, min(batch, PIXELS_AT_ONCE // images[0, 0].numel()))


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
