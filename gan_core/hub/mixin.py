"""A generator as those know models who use huggingface_hub's PyTorchModelHubMixin. Importing this imports the client.

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
from ..errors import InputError
from ..generator import Generator, load
from ..weights.native import FORMAT_VERSION
from .card import HOME, LIBRARY, network_shape, public
from .fetch import CONFIG, OURS
from .publish import config_of


class HubGenerator(nn.Module, PyTorchModelHubMixin, library_name=LIBRARY, repo_url=HOME):
    """A generator as a module. Files are read and written in our own format, and opened strictly: a weight that is
    missing, too many or of another shape is refused, where the mixin itself would pass over it."""

    def __init__(self, architecture: str, format_version: int = FORMAT_VERSION, **config: Any):
        """architecture, config: as in config.json. The weights are fresh.

        Raises InputError for what cannot be built.
        """
        super().__init__()
        if format_version > FORMAT_VERSION:
            raise InputError(f"Format version {format_version} is newer than this package: update it.")
        family = by_name(architecture)
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
        try:
            built = family.config(**settings)
        except TypeError as error:
            raise InputError(f"A {architecture} cannot be built from this config: {error}.") from None
        self.generator = Generator(family, built, family.generator(built).eval())
        self.module = self.generator.module

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one z: its length, or channels, height and width for a VAE whose latents have these."""
        return network_shape(self.generator)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: [N, *latent_shape]. labels: class numbers [N], where there are classes. Returns images [N, C, H, W]."""
        return self.module(z, labels)

    def _save_pretrained(self, save_directory: Path) -> None:
        # As push_to_hub does: so it has nothing that is called after the person's files.
        facts, _ = public(self.generator, "", class_names=False)
        replace(self.generator, card={name: fact for name, fact in facts.items() if fact != ""}).save(
            save_directory / OURS
        )
        (save_directory / CONFIG).write_text(json.dumps(config_of(self.generator), indent=2), encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: str | torch.device = "cpu", strict: bool = True, **other: Any
    ) -> HubGenerator:
        """strict: always so, whatever is asked. other: the client's settings, and what config.json says, which the
        file says too."""
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
"""Settings that from_pretrained hands on to the client."""
