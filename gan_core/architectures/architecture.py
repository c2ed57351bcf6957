"""Interface of a network architecture, and helpers that several of them share."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of the tensors of a state dict, by name."""


@dataclass(frozen=True)
class Architecture:
    """Network architecture: how it is recognised in a file, and how its networks are built from a config.

    The generator is called as module(z [N, latent_size], labels) -> images [N, C, H, W], nominally in [-1, 1]; labels
    are None, class numbers [N], or class weights [N, classes].

    The generator of a VAE is its decoder, and contains its encoder: `module.posterior(images [N, C, H, W])` -> mean and
    log variance, each with the shape of z. If its output is a probability of white, it also has `module.logits(z)`. A
    spatial VAE takes z [N, C, h, w] of any height and width, and encodes images of any size.

    A style-based generator has two parts, which it calls in turn: `module.mapping(z, labels)` -> w [N, w_dim], with the
    buffer `module.mapping.w_avg` [w_dim], and `module.synthesis(styles [N, num_ws, w_dim], **controls)` -> images.
    """

    name: str
    config: type
    """Frozen dataclass of whole numbers, and tuples of them, with `side`, `channels`, `classes` and `latent_size`, the
    number of values in a latent. A spatial architecture also has `latent_shape`, C, h, w for an image of that side. Its
    constructor raises InputError for values that the networks cannot be built with."""
    generator: Callable[[Any], nn.Module]
    """config -> generator module, as described above."""
    detect: Callable[[Shapes], bool]
    """Whether a state dict with these shapes is a generator of this architecture."""
    config_from: Callable[[Shapes], Any]
    """Shapes that `detect` recognised -> config. Raises InputError if they are not valid."""
    discriminator: Callable[[Any, str], nn.Module] | None = None
    """config, normalisation -> discriminator module, called as module(images, labels) -> logits [N]. None for an
    architecture that is only opened and sampled here."""
    normalisations: tuple[str, ...] = ("none",)
    """Supported normalisations of the discriminator: "batch", "spectral", "none". The first one is used if an objective
    needs one that is not supported."""
    piecewise_linear: bool = False
    """Whether the discriminator without normalisation meets the conditions of layers/piecewise_linear.py."""
    design: Callable[..., Any] | None = None
    """Designs the network of a recipe for an image size: keyword arguments side, start, channels, classes and those of
    the recipe -> config. None for the config itself, for an architecture without `start`."""
    draws: bool = False
    """Whether the generator draws random numbers in training, such as noise maps. It is then called as module(z,
    labels, random), with a torch.Generator on the device of z. Without one it draws nothing."""
    self_supervised: bool = False
    """Whether the discriminator has a self-supervised loss: module.self_supervision(images [N, C, H, W], random) -> a
    scalar, for real images; random is a torch.Generator on their device."""
    styles: Callable[[Any], tuple[int, int]] | None = None
    """config -> w_dim, num_ws: length and number of the styles, for a style-based architecture."""
    encodes: bool = False
    """Whether the module is a VAE, with an encoder."""
    spatial: bool = False
    """Whether latents have a height and a width."""
    twin: Callable[[str], str | None] | None = None
    """Name of a tensor -> its name in other programs, for an architecture whose files open there too. Tensors are
    written under both names, and read under ours."""
    controls: frozenset[str] = frozenset()
    """Inputs of the synthesis network besides styles: "noise", "transform"."""


def has_tensors(shapes: Shapes, required: Mapping[str, int], optional: Mapping[str, int] | None = None) -> bool:
    """Whether a state dict has all required tensors with the given numbers of dimensions, and no optional tensor with
    another number."""
    present = {name: number for name, number in (optional or {}).items() if name in shapes}
    return all(len(shapes.get(name, ())) == number for name, number in {**required, **present}.items())


MIN_START, MAX_START = 2, 16
"""Range of height and width of the first block of features."""


def size_of(config: Any) -> tuple[int, int]:
    """Height and width of the images of a config, in pixels."""
    height, width = getattr(config, "start", (1, 1))
    return config.side, config.side * width // height


def start_for(height: int, width: int) -> tuple[int, int]:
    """Height and width of the first block of features for an image size, which repeated doubling gives.

    The shorter of them is 4 to 7. Raises InputError if there is no such block.
    """
    doublings = max(0, min(height, width).bit_length() - 3)
    step = 2**doublings
    start = height // step, width // step
    if min(height, width) < 8 or height % step or width % step or max(start) > MAX_START:
        near = tuple(max(8, min(round(side / step) * step, MAX_START * step)) for side in (height, width))
        raise InputError(
            f"The image size must have sides of at least 8 pixels, multiples of {step}, at most {MAX_START * step} "
            f"(got {width}x{height}): use {near[1]}x{near[0]}, for example."
        )
    return start


def check_start(family: str, side: int, start: tuple[int, int]) -> None:
    """Raises InputError unless repeated doubling of the first block gives an image with the height `side`."""
    two = len(start) == 2
    doublings, rest = divmod(side, start[0]) if two and start[0] else (0, 1)
    if (
        not (two and all(MIN_START <= length <= MAX_START for length in start))
        or rest
        or doublings < 2
        or doublings & (doublings - 1)
    ):
        raise InputError(
            f"{family} doubles a first block of {MIN_START} to {MAX_START} pixels in height and width until it is an "
            f"image: start {'x'.join(map(str, start))} does not give a height of {side}."
        )


def proportions(height: int, width: int) -> tuple[int, int]:
    """Aspect ratio height : width in lowest terms, (4, 4) for square images: `start` in the config of a VAE, whose size
    needs no doubling."""
    common = math.gcd(height, width)
    return (4, 4) if height == width else (height // common, width // common)


def check_proportions(family: str, side: int, start: tuple[int, int], max_side: int) -> None:
    """Raises InputError unless height `side` and aspect ratio `start` give a whole width, and both are 8 to
    max_side."""
    if len(start) != 2 or min(start) < 1 or max(start) > max_side or side * start[1] % start[0]:
        raise InputError(
            f"{family} needs an aspect ratio that gives a whole number of pixels: {list(start)} does not, with a "
            f"height of {side}."
        )
    bad = next((length for length in (side, side * start[1] // start[0]) if not 8 <= length <= max_side), None)
    if bad is not None:
        raise InputError(f"Height and width of {family} images must be 8 to {max_side} pixels (got {bad}).")


def check_channels(family: str, channels: int) -> None:
    """Raises InputError unless the channels are 1 grey, 3 RGB or 4 RGBA."""
    if channels not in (1, 3, 4):
        raise InputError(f"channels of {family} must be 1, 3 or 4 (got {channels}).")


def padded(images: Tensor, multiple: int) -> Tensor:
    """Pads images [N, C, H, W] to multiples of `multiple`, by repeating the pixels at the bottom and right edges."""
    height, width = images.shape[2:]
    if height % multiple == width % multiple == 0:
        return images
    return nn.functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def as_vectors(labels: Tensor, classes: int) -> Tensor:
    """Converts class numbers [N] to one-hot vectors [N, classes] in float32; leaves vectors unchanged."""
    return labels if labels.is_floating_point() else nn.functional.one_hot(labels, classes).float()


LABEL_DEVIATION = 0.1
"""Standard deviation of the initial label embedding of a generator, whose noise has 1. With a standard deviation of 1
the generator learns one image per class and ignores the noise. At 0.3, data sets with similar classes were still
learned less well than without labels."""


def label_embedding(classes: int, size: int) -> nn.Embedding:
    """Label embedding of a generator, [N] -> [N, size], with initial weights from torch's generator."""
    embedding = nn.Embedding(classes, size)
    nn.init.normal_(embedding.weight, 0.0, LABEL_DEVIATION)
    return embedding


def label_weights(classes: int, features: int) -> nn.Embedding:
    """Label embedding of a projection discriminator, [N] -> [N, features] (Miyato & Koyama 2018).

    Its initial weights are close to zero, so that a discriminator with labels starts like one without. With torch's
    default N(0, 1) and hundreds of features, initial logits would be 40 to 100.
    """
    embedding = nn.Embedding(classes, features)
    nn.init.normal_(embedding.weight, 0.0, 0.02 / math.sqrt(features))
    return embedding
