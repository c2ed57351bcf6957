"""StyleGAN3: a generator whose pictures can be moved and turned, details and all (Karras et al. 2021).

Every block of features is treated as a continuous signal that happens to be sampled on a grid. It begins as plane
waves, whose coordinates can be shifted and rotated at will. Each layer's leaky ReLU acts on a finer grid, between two
low-pass filters, so that no detail can cling to the pixels. Grids are a margin wider than the picture, and the layers'
bands widen step by step from two cycles a picture to its full resolution.

Of its two kinds, T follows translations, with 3x3 convolutions, and R rotations too, with 1x1 convolutions and filters
that are the same in every direction.

The tensors have the names that NVIDIA's networks give them, since that is how such generators are known and shared.
"""

import re

from ...errors import InputError
from ..architecture import Architecture, Shapes, has_tensors
from .config import SIDES, StyleGAN3Config, widths
from .generator import StyleGAN3Generator, transform

__all__ = ["ARCHITECTURE", "SIDES", "StyleGAN3Config", "StyleGAN3Generator", "transform", "widths"]

_LAYER = re.compile(r"synthesis\.L(\d{1,3})_(\d{1,5})_\d{1,6}\.weight")


def _layers(shapes: Shapes) -> list[tuple[int, int, tuple[int, ...]]]:
    """Number, size and weight's shape of every layer, in order."""
    found = ((_LAYER.fullmatch(name), shape) for name, shape in shapes.items())
    return sorted((int(name[1]), int(name[2]), shape) for name, shape in found if name)


def _detect(shapes: Shapes) -> bool:
    required = {"mapping.fc0.weight": 2, "mapping.w_avg": 1, "synthesis.input.weight": 2, "synthesis.input.freqs": 2}
    return has_tensors(shapes, required, optional={"mapping.embed.weight": 2}) and len(_layers(shapes)) > 1


def _config_from(shapes: Shapes) -> StyleGAN3Config:
    layers = _layers(shapes)
    if any(len(shape) != 4 for _, _, shape in layers):
        raise InputError("its layers are not those of a StyleGAN3.")
    w_dim, inputs = shapes["mapping.fc0.weight"]
    embedding = shapes.get("mapping.embed.weight", (0, 0))
    *hidden, (_, side, to_image) = layers
    return StyleGAN3Config(
        side=side,
        channels=to_image[0],
        widths=tuple(shape[0] for _, _, shape in hidden),
        classes=embedding[1],
        latent_size=inputs - embedding[0],
        w_dim=w_dim,
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes),
        conv_kernel=hidden[0][2][3],
    )


ARCHITECTURE = Architecture(
    name="stylegan3",
    config=StyleGAN3Config,
    generator=StyleGAN3Generator,
    detect=_detect,
    config_from=_config_from,
    styles=lambda config: (config.w_dim, config.num_ws),
    controls=frozenset({"transform"}),
)
