"""What every network family says of itself."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
"""The names and shapes of a state dict's tensors."""


@dataclass(frozen=True)
class Architecture:
    """A network family: how to recognise it in a file, and how to build its networks from a config.

    The generator is called as module(z [N, latent_size], labels) -> images [N, C, H, W], nominally in [-1, 1]; labels
    are None, class numbers [N], or one weight for each class [N, classes].

    A VAE's generator is its decoder and carries its encoder with it: `module.posterior(images [N, C, H, W])` -> mean
    and log variance, each shaped as the z that it is called with. One whose output stands for a probability of white
    has `module.logits(z)` too. A spatial one is called with z [N, C, h, w] of any height and width, and encodes
    pictures of any size.

    A style-based one has two parts, and calling it calls both: `module.mapping(z, labels)` -> w [N, w_dim], with the
    buffer `module.mapping.w_avg` [w_dim], and `module.synthesis(styles [N, num_ws, w_dim], **controls)` -> images.
    """

    name: str
    config: type
    """A frozen dataclass of whole numbers, and tuples of them, with `side`, `channels`, `classes` and `latent_size`,
    the number of values in a latent; that of a spatial family also has `latent_shape`, C, h, w of a picture of that
    side. Its constructor refuses what the networks cannot be built for, with an InputError."""
    generator: Callable[[Any], nn.Module]
    """config -> module, as above."""
    detect: Callable[[Shapes], bool]
    """Whether a state dict with these shapes is a generator of this family."""
    config_from: Callable[[Shapes], Any]
    """The config of a generator that `detect` recognised."""
    discriminator: Callable[[Any, str], nn.Module] | None = None
    """config, normalisation -> module, called as module(images, labels) -> logits [N]. None for a family that is opened
    and sampled here, but not trained."""
    normalisations: tuple[str, ...] = ("none",)
    """What the discriminator's layers can be normalised with: "batch", "spectral", "none". The first is its own, which
    it has where an objective asks for one that it cannot have."""
    piecewise_linear: bool = False
    """Whether the discriminator, where nothing is normalised, is one for which piecewise_linear.py is made."""
    design: Callable[..., Any] | None = None
    """What a recipe's network becomes for images of some size: keyword arguments side, start, channels, classes and the
    recipe's own -> config. None for the config itself, for a family that has no `start`."""
    draws: bool = False
    """Whether the generator draws something of its own while it trains, such as noise maps: it is then called as
    module(z, labels, random), with a torch.Generator on the device of z. Without one it draws nothing."""
    self_supervised: bool = False
    """Whether the discriminator can be taught what it sees besides what it says: module.self_supervision(images
    [N, C, H, W], random) -> a loss, a scalar, for real images; random is a torch.Generator on their device."""
    styles: Callable[[Any], tuple[int, int]] | None = None
    """config -> w_dim, num_ws: length and number of the styles, for a style-based family."""
    encodes: bool = False
    """Whether the module has an encoder: that of a VAE."""
    spatial: bool = False
    """Whether latents have a height and a width."""
    twin: Callable[[str], str | None] | None = None
    """A tensor's name -> the name that other programs look for the same tensor by, for a family whose files open there
    too; they are written under both, and read under ours."""
    controls: frozenset[str] = frozenset()
    """What its synthesis takes besides styles: "noise", "transform"."""


def has_tensors(shapes: Shapes, required: Mapping[str, int], optional: Mapping[str, int] | None = None) -> bool:
    """Whether a state dict has all the required tensors, each with that number of dimensions.

    Those of the optional ones that it has need theirs too.
    """
    present = {name: number for name, number in (optional or {}).items() if name in shapes}
    return all(len(shapes.get(name, ())) == number for name, number in {**required, **present}.items())


SMALLEST_START, LARGEST_START = 2, 16
"""Of the height and width of the first block of features."""


def size_of(config: Any) -> tuple[int, int]:
    """Height and width of the images that a config's networks make, in pixels."""
    height, width = getattr(config, "start", (1, 1))
    return config.side, config.side * width // height


def start_for(height: int, width: int) -> tuple[int, int]:
    """Height and width of the first block, which doubles until it is an image of that size: the shorter is 4 to 7.

    Raises InputError where no such block exists.
    """
    doublings = max(0, min(height, width).bit_length() - 3)
    step = 2**doublings
    start = height // step, width // step
    if min(height, width) < 8 or height % step or width % step or max(start) > LARGEST_START:
        near = tuple(max(8, min(round(side / step) * step, LARGEST_START * step)) for side in (height, width))
        raise InputError(
            f"Images of {width}x{height} pixels cannot be grown by doubling a small block: the shorter side is 8 or "
            f"more, both are multiples of {step}, and the longer is at most {LARGEST_START * step}, as with "
            f"{near[1]}x{near[0]}."
        )
    return start


def check_start(family: str, side: int, start: tuple[int, int]) -> None:
    """Raises InputError unless a first block of that height and width becomes an image of that height by doubling."""
    two = len(start) == 2
    doublings, rest = divmod(side, start[0]) if two and start[0] else (0, 1)
    if (
        not (two and all(SMALLEST_START <= length <= LARGEST_START for length in start))
        or rest
        or doublings < 2
        or doublings & (doublings - 1)
    ):
        raise InputError(
            f"{family} doubles a first block of {SMALLEST_START} to {LARGEST_START} pixels in height and width until "
            f"it is an image; one of {'x'.join(map(str, start))} never has a height of {side}."
        )


def proportions(height: int, width: int) -> tuple[int, int]:
    """What `start` is in the config of a VAE, whose size needs no doubling: as height is to width, in whole numbers as
    small as can be; (4, 4) for a square."""
    common = math.gcd(height, width)
    return (4, 4) if height == width else (height // common, width // common)


def check_proportions(family: str, side: int, start: tuple[int, int], most: int) -> None:
    """Raises InputError unless those proportions give a height of `side` a width in whole pixels, and both are 8 or
    more, and no more than `most`."""
    if len(start) != 2 or min(start) < 1 or max(start) > most or side * start[1] % start[0]:
        raise InputError(
            f"{family} makes pictures whose width is whole pixels: with a height of {side}, proportions of "
            f"{list(start)} give none."
        )
    bad = next((length for length in (side, side * start[1] // start[0]) if not 8 <= length <= most), None)
    if bad is not None:
        raise InputError(f"{family} makes images with a side of 8 to {most} pixels, not {bad}.")


def check_channels(family: str, channels: int) -> None:
    """Raises InputError unless the channels are 1 grey, 3 RGB or 4 RGBA."""
    if channels not in (1, 3, 4):
        raise InputError(f"{family} makes images with 1, 3 or 4 channels, not {channels}.")


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images [N, C, H, W] whose height and width are multiples of `multiple`, by repeating the pixels at the bottom and
    right edges."""
    height, width = images.shape[2:]
    if height % multiple == width % multiple == 0:
        return images
    return nn.functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def as_vectors(labels: Tensor, classes: int) -> Tensor:
    """Class numbers [N] as one-hot vectors [N, classes] in float32; vectors as they are."""
    return labels if labels.is_floating_point() else nn.functional.one_hot(labels, classes).float()


LABEL_DEVIATION = 0.1
"""Standard deviation of a label's initial embedding in a generator, whose noise has 1. One as large as the noise says
so much that the generator learns one image for each class, and no longer listens to the noise; at 0.3 sets with classes
that look alike still learned less well than without labels."""


def label_embedding(classes: int, size: int) -> nn.Embedding:
    """What a generator makes of a label beside its noise: [N] -> [N, size], drawn by torch's generator."""
    embedding = nn.Embedding(classes, size)
    nn.init.normal_(embedding.weight, 0.0, LABEL_DEVIATION)
    return embedding


def label_weights(classes: int, features: int) -> nn.Embedding:
    """Weights of a discriminator's features for each class, [N] -> [N, features] (projection: Miyato & Koyama 2018).

    They begin next to zero, so that a discriminator with labels begins as one without: of N(0, 1), as torch draws them,
    times hundreds of features, they make logits of 40 to 100 before anything is learned.
    """
    embedding = nn.Embedding(classes, features)
    nn.init.normal_(embedding.weight, 0.0, 0.02 / math.sqrt(features))
    return embedding
