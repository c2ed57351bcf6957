"""What every network family says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]
"""The names and shapes of a state dict's tensors."""


@dataclass(frozen=True)
class Architecture:
    """A network family: how to recognise it in a file, and how to build its two networks from a config."""

    name: str
    config: type
    """A frozen dataclass of plain numbers with the fields `side`, `channels`, `classes` and `latent_size`. Its
    constructor refuses what the networks cannot be built for, with an InputError."""
    generator: Callable[[Any], nn.Module]
    """config -> module, called as module(z [N, latent_size], labels [N] or None) -> images [N, C, H, W] in [-1, 1]."""
    discriminator: Callable[[Any, str], nn.Module]
    """config, normalisation -> module, called as module(images, labels) -> logits [N]."""
    detect: Callable[[Shapes], bool]
    """Whether a state dict with these shapes is a generator of this family."""
    config_from: Callable[[Shapes], Any]
    """The config of a generator that `detect` recognised."""
