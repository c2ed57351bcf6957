"""Interface of a layout, and helpers that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...architectures import Architecture, Shapes
from ...errors import InputError

Attributes = Mapping[str, frozenset[Any]]
"""Numbers and texts among the attributes of a pickled network's modules, by name."""


def as_they_are(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The conversion of a state dict whose names are ours."""
    return tensors


@dataclass(frozen=True)
class Layout:
    """How another program names the tensors of a generator whose family is one of ours.

    A layout leaves nothing open: one that takes a generator for its own which computes otherwise makes wrong images in
    silence.
    """

    name: str
    """Kind of file for a sentence, such as "a FastGAN"."""
    architecture: Architecture
    """The family that computes the same."""
    detect: Callable[[Shapes], bool]
    """Whether a state dict with these shapes is such a generator."""
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] = as_they_are
    """Their state dict -> ours. Raises InputError for missing or unexpected tensors, and for other filters."""
    config: Callable[[Any, Attributes], Any] = lambda config, attributes: config
    """The config from the shapes -> the config with what only the modules' attributes tell. Raises InputError for a
    network that computes in another way."""
    prefix: Callable[[Shapes], str] = lambda shapes: ""
    """What all names of its tensors begin with. Others, of a file with several networks, are not even read."""


def check_attributes(attributes: Attributes, known: Mapping[str, Set[Any]]) -> None:
    """Raises InputError if an attribute has another value than the known ones."""
    for name, values in known.items():
        other = attributes.get(name, frozenset()) - values
        if other:
            raise InputError(f"its {name} is {listed(other)}, and only {', '.join(map(str, values))} is known.")


def listed(values: Iterable[Any]) -> str:
    """Lists at most three values of a file, each cut to 40 characters, for a sentence."""
    return ", ".join(sorted(str(value)[:40] for value in values)[:3])


def check_complete(tensors: Mapping[str, Tensor], architecture: Architecture, like: str) -> None:
    """Raises InputError unless a converted state dict has exactly the tensors of one of the family's generators.

    like: what the state dict is like, for a sentence.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if not architecture.detect(shapes):
        raise InputError(f"It is like {like}, but its first or last layers are missing.")
    try:
        config = architecture.config_from(shapes)
    except InputError as error:
        raise InputError(f"It is like {like}, but of a shape that cannot be: {error}") from None
    with torch.device("meta"):
        expected = architecture.generator(config).state_dict()
    for name in expected:
        if name not in tensors:
            raise InputError(f"It is like {like}, but a tensor for {name} is missing.")
    for name in tensors:
        if name not in expected:
            raise InputError(f"It is like {like}, but has a tensor for {name}, which no such generator has.")
