"""Generators as modules with huggingface_hub's PyTorchModelHubMixin. Importing this module imports the Hub's client.

network = HubGenerator.from_pretrained("owner/name")
images = network(torch.randn(16, *network.latent_shape))    # [16, C, H, W], nominally in [-1, 1]
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import Tensor, nn

from ..architectures import by_name
from ..card import Card
from ..errors import InputError
from ..generator import Generator, load
from ..weights.native import FORMAT_VERSION
from .card import HOME, LIBRARY, network_shape, public
from .fetch import CONFIG, OURS
from .publish import config_of


class HubGenerator(nn.Module, PyTorchModelHubMixin, library_name=LIBRARY, repo_url=HOME):
    """A generator as a module. Files are read and written in our own format.

    Loading is strict: missing, unexpected or misshapen weights raise an error, where the mixin itself ignores them.
    """

    def __init__(self, architecture: str, format_version: int = FORMAT_VERSION, **config: Any):
        """Builds the network with new random weights.

        architecture, config: as in config.json. Raises InputError for an unknown architecture or an invalid config.
        """
        super().__init__()
        if format_version > FORMAT_VERSION:
            raise InputError(
                f"format_version must be at most {FORMAT_VERSION} (got {format_version}): update this package."
            )
        family = by_name(architecture)
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
        try:
            built = family.config(**settings)
        except TypeError as error:
            raise InputError(f"This config is not valid for {architecture}: {error}.") from None
        self.generator = Generator(family, built, family.generator(built).eval())
        self.module = self.generator.module

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z: its length, or channels, height and width for a VAE with spatial latents."""
        return network_shape(self.generator)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] of z: [N, *latent_shape]. labels: class numbers [N], for a generator with classes."""
        return self.module(z, labels)

    def _save_pretrained(self, save_directory: Path) -> None:
        # push_to_hub uploads this, so that nothing in it may be named after local files.
        facts, _ = public(self.generator, "", class_names=False)
        card = Card.from_json({name: fact for name, fact in facts.items() if fact != ""})
        replace(self.generator, card=card).save(save_directory / OURS)
        (save_directory / CONFIG).write_text(json.dumps(config_of(self.generator), indent=2), encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str | torch.device = "cpu", strict: bool = True, **other: Any
    ) -> HubGenerator:
        """Loads a generator. strict: ignored, loading is always strict. other: settings of the client, and the content
        of config.json, which the file itself has too."""
        if Path(model_id).is_dir():
            path = Path(model_id) / OURS
        else:
            settings = {name: other[name] for name in _CLIENTS & other.keys()}
            path = Path(hf_hub_download(model_id, OURS, **settings))
        opened = load(path)
        model = cls(**config_of(opened))
        model.generator, model.module = opened, opened.module
        return model.to(map_location)


_CLIENTS = frozenset(["revision", "cache_dir", "force_download", "token", "local_files_only"])
"""Settings that from_pretrained passes on to the client."""
