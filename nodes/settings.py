"""GAN / train: what a training may do differently from its preset, for those who want to say so.

The inputs are made from the settings that gan_core declares, each in one place: see gan_core/training/settings.py.
Their order is part of shared workflows, so a new setting is declared last.
"""

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..gan_core.training.config import check_settings
from ..gan_core.training.settings import AdversarialRecipe, Recipe, Setting, VariationalRecipe, settings_of
from .host.errors import says_errors
from .optional import OptionalFloat, OptionalInt
from .types import GAN_SETTINGS, VAE_SETTINGS

CATEGORY = "GAN/train"

PRESET = "preset"
"""What an input holds that leaves its setting as the preset has it."""


MAX_NUMBER = 1e6
"""Of settings whose range has no end."""


def _number(name: str, declared: Setting) -> OptionalInt | OptionalFloat:
    if declared.kind is int:
        return OptionalInt(name, PRESET, int(declared.minimum), int(declared.maximum))
    return OptionalFloat(name, PRESET, declared.minimum, min(declared.maximum, MAX_NUMBER))


def _input(name: str, declared: Setting) -> io.Input:
    """The input of a declared setting, which holds PRESET at first."""
    if declared.kind is bool:
        return io.Boolean.Input(name, default=False, optional=True, tooltip=declared.help)
    if declared.choices:
        options = [PRESET, *declared.choices]
        return io.Combo.Input(name, options=options, default=PRESET, optional=True, tooltip=declared.help)
    return _number(name, declared).input(tooltip=declared.help)


def _read(name: str, declared: Setting, value: Any) -> Any:
    """The value of a setting; None where its input leaves it to the preset."""
    if declared.kind is bool:
        return value or None
    if declared.choices:
        return None if value == PRESET else value
    return _number(name, declared).read(value)


def _settings(recipe: type[Recipe], before: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were set, over those of the node before."""
    declared = settings_of(recipe)
    read = {name: _read(name, declared[name], value) for name, value in values.items()}
    settings = {**(before or {}), **{name: value for name, value in read.items() if value is not None}}
    check_settings(recipe, settings, recipe.kind)
    return settings


class GANSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GANSettings",
            display_name="GAN Settings",
            category=CATEGORY,
            description="Settings of Train GAN that differ from the preset. What is left at preset stays as the preset "
            "has it.",
            search_aliases=["learning rate", "batch size", "hyperparameters", "R1 gamma", "ADA", "objective"],
            inputs=[
                GAN_SETTINGS.Input(
                    "settings", optional=True, tooltip="Other settings that these are added to. Those here win."
                ),
                *(_input(name, each) for name, each in settings_of(AdversarialRecipe).items()),
            ],
            outputs=[GAN_SETTINGS.Output(display_name="settings", tooltip="For Train GAN.")],
        )

    @classmethod
    @says_errors
    def execute(cls, settings=None, **values) -> io.NodeOutput:
        return io.NodeOutput(_settings(AdversarialRecipe, settings, values))


class VAESettings(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAESettings",
            display_name="VAE Settings",
            category=CATEGORY,
            description="Settings of Train VAE that differ from the preset. What is left at preset stays as the preset "
            "has it.",
            search_aliases=["learning rate", "batch size", "hyperparameters", "beta-VAE", "free bits", "latent size"],
            inputs=[
                VAE_SETTINGS.Input(
                    "settings", optional=True, tooltip="Other settings that these are added to. Those here win."
                ),
                *(_input(name, each) for name, each in settings_of(VariationalRecipe).items()),
            ],
            outputs=[VAE_SETTINGS.Output(display_name="settings", tooltip="For Train VAE.")],
        )

    @classmethod
    @says_errors
    def execute(cls, settings=None, **values) -> io.NodeOutput:
        return io.NodeOutput(_settings(VariationalRecipe, settings, values))


NODES = [GANSettings, VAESettings]
