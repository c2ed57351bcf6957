"""From a recipe and the size of the images to networks."""

from typing import Any

from torch import nn

from .. import architectures
from ..architectures import Architecture
from .devices import seeded
from .settings import Recipe


def design(recipe: Recipe, height: int, width: int, channels: int, classes: int) -> tuple[Architecture, Any]:
    """The family of the recipe's networks, and their config for such images.

    Raises InputError where the family has no network for them.
    """
    assert recipe.architecture
    family = architectures.by_name(recipe.architecture)
    data: dict[str, Any] = {"side": height, "channels": channels}
    if family.discriminator:
        data["classes"] = classes
    proportioned = architectures.proportions if family.encodes else architectures.start_for
    data["start"] = proportioned(height, width)
    return family, (family.design or family.config)(**data, **recipe.network_settings())


def build(architecture: Architecture, config: Any, normalisation: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with initial weights that depend on the seed alone, on the CPU."""
    with seeded(seed):
        return built(architecture, config, normalisation)


def built(architecture: Architecture, config: Any, normalisation: str) -> tuple[nn.Module, nn.Module]:
    """The same, with initial weights of torch's global generator."""
    assert architecture.discriminator, f"{architecture.name} cannot be trained"
    fitting = normalisation if normalisation in architecture.normalisations else architecture.normalisations[0]
    return architecture.generator(config), architecture.discriminator(config, fitting)
