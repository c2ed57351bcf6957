"""What every network family says of itself."""

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
