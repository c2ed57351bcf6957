"""FastGAN: a light GAN for a few hundred images (Liu et al. 2021), and Projected GAN's generator (Sauer et al. 2021).

Noise is projected to a 4x4 block of features, whose side every stage doubles by nearest-neighbour upsampling and
convolution with gated linear units. From 64x64 to 512x512, skip-layer excitation (SLE) weights the channels with
features of a sixteenth of the side, which shortens the path of the gradient. A stage with two convolutions adds noise
after each.

Projected GAN's generator differs by z of unit length, two convolutions in every stage (one in its "lite" version) and
no tanh. With classes, all batch norms in the stages are conditional.
"""

from collections.abc import Iterator
from itertools import count, takewhile

from ..architecture import Architecture, Shapes, has_tensors
from .config import SIDES, FastGANConfig, convolutions, design, widths
from .discriminator import FastGANDiscriminator
from .generator import FastGANGenerator

__all__ = [
    "ARCHITECTURE",
    "SIDES",
    "FastGANConfig",
    "FastGANDiscriminator",
    "FastGANGenerator",
    "convolutions",
    "design",
    "widths",
]


def _detect(shapes: Shapes) -> bool:
    required = {
        "project.weight": 4,
        "norm.running_mean": 1,
        "stages.0.layers.0.conv.weight": 4,
        "stages.3.excitation.squeeze.weight": 4,
        "to_image.weight": 4,
    }
    return has_tensors(shapes, required, optional={"embed.weight": 2})


def _config_from(shapes: Shapes) -> FastGANConfig:
    convolutions = list(takewhile(len, (list(_convolutions(shapes, stage)) for stage in count())))
    latent_size, doubled, *start = shapes["project.weight"]
    return FastGANConfig(
        side=start[0] * 2 ** len(convolutions),
        channels=shapes["to_image.weight"][0],
        widths=(doubled // 2, *(stage[0][0] // 2 for stage in convolutions)),
        convolutions=tuple(len(stage) for stage in convolutions),
        classes=shapes.get("embed.weight", (0, 0))[0],
        latent_size=latent_size,
        projected=int("to_image.bias" in shapes),
        start=(start[0], start[1]),
    )


def _convolutions(shapes: Shapes, stage: int) -> Iterator[tuple[int, ...]]:
    """Shapes of the convolutions in a stage."""
    for layer in count():
        shape = shapes.get(f"stages.{stage}.layers.{layer}.conv.weight", ())
        if len(shape) != 4:
            return
        yield shape


ARCHITECTURE = Architecture(
    name="fastgan",
    config=FastGANConfig,
    generator=FastGANGenerator,
    discriminator=FastGANDiscriminator,
    normalisations=FastGANDiscriminator.NORMALISATIONS,
    design=design,
    draws=True,
    self_supervised=True,
    detect=_detect,
    config_from=_config_from,
)
