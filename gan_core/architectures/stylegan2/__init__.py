"""StyleGAN2: a generator with a style for every layer (Karras et al. 2020a, and 2020b for ADA).

A mapping network turns noise z into a style w, and the synthesis network grows a learned 4x4 block into an image. Each
convolution is modulated by a style: it scales the input channels, and outputs are rescaled to unit variance. Noise maps
add stochastic details, such as the positions of hairs; every resolution adds to the image through a 1x1 convolution.
The discriminator has residual blocks, and a minibatch standard deviation at its end.

The generator's tensors have the names of NVIDIA's networks, under which they are shared.
"""

import re

from ...errors import InputError
from ..architecture import Architecture, Shapes, has_tensors
from .config import StyleGAN2Config, design, widths
from .discriminator import StyleGAN2Discriminator
from .generator import StyleGAN2Generator

__all__ = ["ARCHITECTURE", "StyleGAN2Config", "StyleGAN2Discriminator", "StyleGAN2Generator", "design", "widths"]

_BLOCK = re.compile(r"synthesis\.b(\d{1,5})\.torgb\.weight")


def _sides(shapes: Shapes) -> list[int]:
    return sorted(int(found[1]) for found in map(_BLOCK.fullmatch, shapes) if found)


def _detect(shapes: Shapes) -> bool:
    required = {"mapping.fc0.weight": 2, "mapping.w_avg": 1, "synthesis.b4.const": 3, "synthesis.b4.conv1.weight": 4}
    return (
        not any(name.endswith("resample_filter") for name in shapes)
        and has_tensors(shapes, required, optional={"mapping.embed.weight": 2})
        and len(_sides(shapes)) > 1
    )


def _config_from(shapes: Shapes) -> StyleGAN2Config:
    sides = _sides(shapes)
    if sides != [4 * 2**power for power in range(len(sides))]:
        raise InputError("its blocks do not double their side from one to the next.")
    convolutions = [shapes.get(f"synthesis.b{side}.conv1.weight", ()) for side in sides]
    height, width = shapes["synthesis.b4.const"][1:]
    to_image = shapes[f"synthesis.b{sides[-1]}.torgb.weight"]
    if any(len(shape) != 4 for shape in (*convolutions, to_image)):
        raise InputError("its blocks are not those of a StyleGAN2 with skip connections to the image.")
    w_dim, inputs = shapes["mapping.fc0.weight"]
    embedding = shapes.get("mapping.embed.weight", (0, 0))
    return StyleGAN2Config(
        side=height * sides[-1] // 4,
        channels=to_image[0],
        widths=tuple(shape[0] for shape in convolutions),
        classes=embedding[1],
        latent_size=inputs - embedding[0],
        w_dim=w_dim,
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes),
        start=(height, width),
    )


ARCHITECTURE = Architecture(
    name="stylegan2",
    config=StyleGAN2Config,
    generator=StyleGAN2Generator,
    discriminator=StyleGAN2Discriminator,
    detect=_detect,
    config_from=_config_from,
    design=design,
    draws=True,
    styles=lambda config: (config.w_dim, config.num_ws),
    controls=frozenset({"noise"}),
)
