"""FastGAN: a light generator for a few hundred images (Liu et al. 2021), and Projected GAN's (Sauer et al. 2021).

Noise becomes a 4x4 block of features, whose side every stage doubles by repeating pixels and convolving them. Gated
linear units are its nonlinearity: one half of the features says how much of the other half passes. From 64x64 to
512x512, channels are weighed by what the stage of a sixteenth of the side saw, which shortens the way of the gradient
(skip-layer excitation). Where a stage has two convolutions, some noise is added after each.

Projected GAN's generator is the same with z at unit length, two convolutions in every stage (its "lite" one: one) and
no tanh. With classes, the label's embedding sets the gain and bias of every batch norm in the stages.
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
    """Shapes of a stage's weights."""
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
