"""How likely a VAE finds images that it has not seen: bounds and estimates of -log p(x), in nats of an image.

Every draw depends on the seed and on the place of the image alone, as in numpy.random.RandomState([seed, place]), so
that two machines draw alike, in batches of any size.

There are two kinds of figures, and one says nothing of the other. "bernoulli" is a probability of black-and-white
images, of which a grey one says how often each pixel is white. "gaussian" and "laplace" are densities of grey levels in
[-1, 1]. They can pass 1, and then their nats are negative; bits per dimension count them in whole levels of 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..generator import Generator
from ..latents import LAST_SEED
from ..losses.reconstruction import LIKELIHOODS, active_units, kl
from ..platforms import placed

PIXELS_AT_ONCE = 2**20
"""Pixels that are decoded in one pass at most, whatever the batch."""

MOST_SAMPLES = 100_000
"""Of the posterior for one image."""


@dataclass(frozen=True)
class Bound:
    """What a VAE says of images at most: the negative evidence lower bound (Kingma & Welling 2014, eq. 3)."""

    nats: float
    """Of an image, on average: no less than -log p(x) is. The sum of the two that follow."""
    reconstruction: float
    """Nats that the image costs once its latent is known."""
    kl: float
    """Nats that the latent costs."""
    bits_per_dimension: float
    """The bound for one value of an image in bits: of a black-and-white value, or of one in 8 bits."""
    active_units: int
    """Units of the latent that say something of the images; 0 is a collapsed posterior."""
    units: int
    """Values in a latent."""
    scale: float
    """Of the noise in "gaussian" and "laplace"; 1 for "bernoulli", which has none."""
    of_each: Tensor
    """The bound of each image, [N] in float64."""

    def __str__(self) -> str:
        return (
            f"{self.nats:.2f} nats, a bound: reconstruction {self.reconstruction:.2f}, KL {self.kl:.2f}\n"
            f"{self.bits_per_dimension:.3f} bits per dimension, {self.active_units} of {self.units} units active"
        )


@torch.no_grad()
def elbo(
    generator: Generator,
    images: Tensor | np.ndarray,
    likelihood: str = "bernoulli",
    seed: int = 0,
    scale: float | None = None,
    batch: int = 256,
) -> Bound:
    """The bound on these images, with one draw of each one's posterior.

    images: uint8, as a tensor [N, C, H, W], or as an array [N, H, W, C] such as ImageDataset.images.
    likelihood: "bernoulli", "gaussian" or "laplace".
    scale: of the noise; None for the one that is best for all these images together. It is the one number that is then
    taken from the images that are measured.
    batch: images in one pass, at most; no more than rounding depends on it.

    Raises InputError for a generator without an encoder or, for "bernoulli", without logits, and for images, a seed, a
    likelihood or a scale that it cannot be asked about.
    """
    images = _checked(generator, images, likelihood, seed, scale)
    counted = LIKELIHOODS[likelihood]
    errors, latent_costs, means = [], [], []
    for places in _parts(len(images), _at_once(images, batch)):
        real, (mean, log_variance) = _encoded(generator, images[places])
        noise = np.stack([_stream(seed, place).randn(mean[0].numel()) for place in range(len(images))[places]])
        z = mean + (log_variance / 2).exp() * torch.from_numpy(noise).to(mean).view_as(mean)
        errors.append(counted.error(_decoded(generator, z, real, counted.binary), real).cpu().double())
        latent_costs.append(kl(mean, log_variance).cpu().double().sum(1))
        means.append(mean.flatten(1).cpu())
    error, latent_cost = torch.cat(errors), torch.cat(latent_costs)
    active = active_units(torch.cat(means))
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
    """-log p of each image, estimated with many draws of its posterior (Burda et al. 2016, eq. 8): [N], float64.

    With one draw it is the ELBO on average; with more it comes down to the truth, from above but for chance. For
    "bernoulli" it is that of black-and-white images: each pixel is drawn once, white as often as its grey level says,
    by the stream RandomState([seed, place, 1]). The latents are drawn from the posterior of the grey image, as in
    training, so that the figure can be held against that of `elbo`.

    samples: draws for each image; papers take 5,000. scale: of the noise, which "gaussian" and "laplace" need:
    Bound.scale of `elbo`. batch: latents in one pass, at most. The others as in `elbo`.

    Raises InputError as `elbo` does, for a number of samples out of range, and where a scale is missing.
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
    """What importance_weighted returns, part by part, so that the caller can show progress or stop."""
    images = _checked(generator, images, likelihood, seed, scale)
    counted = LIKELIHOODS[likelihood]
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"1 to {MOST_SAMPLES:,} samples are drawn for each image, not {samples}.")
    if scale is None and not counted.binary:
        raise InputError(f"{likelihood} needs the scale of its noise here: the one that the ELBO was best with.")
    at_once = _at_once(images, batch)
    # Many images with a few samples each, or one image with many samples, part by part.
    for places in _parts(len(images), max(1, at_once // samples)):
        real, (mean, log_variance) = _encoded(generator, images[places])
        streams = [_stream(seed, place) for place in range(len(images))[places]]
        target = _black_and_white(images[places], seed, places.start).to(real) if counted.binary else real
        log_weights = []
        for part in _parts(samples, at_once):
            count = part.stop - part.start
            noise = np.stack([stream.randn(count, mean[0].numel()) for stream in streams])
            e = torch.from_numpy(noise).to(mean).view(len(mean), count, *mean.shape[1:])
            z = mean[:, None] + (log_variance / 2).exp()[:, None] * e
            # log p(z) - log q(z | x), in which the constants are the same
            latent = (e.square() - z.square() + log_variance[:, None]).flatten(2).sum(2) / 2
            repeated = target.repeat_interleave(count, 0)
            output = _decoded(generator, z.flatten(0, 1), repeated, counted.binary)
            costs = counted.of_each(output, repeated, 1.0 if scale is None else scale)
            log_weights.append((latent - costs.view(len(mean), count)).cpu().double())
        yield math.log(samples) - torch.cat(log_weights, 1).logsumexp(1)


def bits_per_dimension(nats: float, dimensions: int, likelihood: str) -> float:
    """Nats of an image as bits of one of its values.

    A density on [-1, 1] is first made one of 8-bit levels, y = 127.5 (x + 1): it is 127.5 times thinner there, and so
    log2(127.5) bits are added. A level, which is 1 wide, then has about the probability that its density says. That is
    close where the noise is wider than a level; at half a level, the least that is fitted, it can be a third of a bit
    too good.

    nats: of an image with so many dimensions.
    """
    bits = nats / (dimensions * math.log(2))
    return bits if LIKELIHOODS[likelihood].binary else bits + math.log2(127.5)


def _checked(
    generator: Generator, images: Tensor | np.ndarray, likelihood: str, seed: int, scale: float | None
) -> Tensor:
    """The images as uint8 [N, C, H, W]. Raises InputError for what the generator cannot be asked about."""
    if not generator.architecture.encodes:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator without an encoder: only a VAE can say "
            "how likely an image is."
        )
    if likelihood not in LIKELIHOODS:
        raise InputError(f'There is no likelihood "{likelihood}"; there are {", ".join(LIKELIHOODS)}.')
    if LIKELIHOODS[likelihood].binary and not hasattr(generator.module, "logits"):
        raise InputError(
            f"{generator.title} is a {generator.architecture.name}, which makes colours and no odds of black and "
            'white: its likelihood is "gaussian" or "laplace".'
        )
    if not 0 <= seed <= LAST_SEED:
        raise InputError(f"Seed {seed} is out of range: seeds are whole numbers from 0 to {LAST_SEED}.")
    if scale is not None and not 0 < scale < math.inf:
        raise InputError(f"The scale of the noise is more than 0, not {scale}.")
    if isinstance(images, np.ndarray):
        # A copy, as a data set that is mapped from disk cannot be written to, which a tensor must.
        images = torch.from_numpy(np.array(images)).movedim(-1, 1) if images.ndim == 4 else torch.empty(0)
    if images.ndim != 4 or images.dtype != torch.uint8 or not images.numel():
        raise InputError("Likelihoods are those of images in 8 bits, one or more.")
    channels = generator.config.channels
    fits = generator.architecture.spatial or images.shape[2:] == generator.size
    if images.shape[1] != channels or not fits:
        given = "x".join(map(str, (images.shape[3], images.shape[2], images.shape[1])))
        raise InputError(f"{generator.title} is for images of {generator.size_in_words}x{channels}, not of {given}.")
    return images


def _encoded(generator: Generator, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Images in [-1, 1] and their posteriors, on the device of the weights."""
    real = placed(pixels, generator.device).float().div_(127.5).sub_(1)
    return real, generator.module.posterior(real)


def _decoded(generator: Generator, z: Tensor, real: Tensor, binary: bool) -> Tensor:
    output = generator.module.logits(z) if binary else generator.module(z)
    # What a spatial VAE has added to a picture so that its side can be halved is not part of the picture.
    return output[..., : real.shape[2], : real.shape[3]]


def _black_and_white(pixels: Tensor, seed: int, first: int) -> Tensor:
    """Images of -1 and 1, each of whose values is 1 as often as its grey level says."""
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
