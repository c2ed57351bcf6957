"""The ways to train. A new one is a file here and a line below."""

from __future__ import annotations

import torch

from ...data.images import ImageDataset
from ...generator import Generator
from ..settings import AdversarialRecipe, Recipe, VariationalRecipe
from .adversarial import Adversarial
from .method import Method
from .variational import Variational

METHODS = {AdversarialRecipe: Adversarial, VariationalRecipe: Variational}
"""Recipes, and the method that follows them."""


def method_for(
    recipe: Recipe, dataset: ImageDataset, preset: str, start: Generator | None, device: torch.device, seed: int
) -> Method:
    """A method with initial weights that the seed decides.

    Raises InputError where the recipe's networks do not fit the data, or the generator to start from.
    """
    return METHODS[type(recipe)](dataset, recipe, preset, start, device, seed)
