"""StyleGAN3: an alias-free generator whose images can be translated and rotated with all details (Karras et al. 2021).

Features are continuous signals, sampled on a grid. The input consists of plane waves, whose coordinates can be
translated and rotated. Each leaky ReLU acts on a finer grid between two low-pass filters, so that details do not stick
to pixels. Grids have a margin around the image, and the bands of the layers widen from two cycles per image to its full
resolution.

StyleGAN3-T is equivariant to translation, with 3x3 convolutions; StyleGAN3-R also to rotation, with 1x1 convolutions
and radially symmetric filters.

The tensors have the names of NVIDIA's networks, under which they are shared.
"""

import re

from ...errors import InputError
from ..architecture import Architecture, Shapes, has_tensors
from .config import SIDES, StyleGAN3Config, widths
from .generator import StyleGAN3Generator, transform

__all__ = ["ARCHITECTURE", "SIDES", "StyleGAN3Config", "StyleGAN3Generator", "transform", "widths"]

_LAYER = re.compile(r"synthesis\.L(\d{1,3})_(\d{1,5})_\d{1,6}\.weight")


def _layers(shapes: Shapes) -> list[tuple[int, int, tuple[int, ...]]]:
    """Number, size and weight shape of every layer, in order."""
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
