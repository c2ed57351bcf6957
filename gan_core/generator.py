"""The value that everything passes around: a generator that is ready to make pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import architectures, weights
from .architectures import Architecture, Shapes
from .errors import InputError
from .latents import Latent

DECODED_AT_ONCE = 64
"""Images decoded in one pass, so that a batch of thousands costs no more working memory than this many."""


@dataclass(frozen=True, repr=False, eq=False)
class Generator:
    """A network that turns latents into images, and what is known of it."""

    architecture: Architecture
    config: Any
    """The architecture's own config dataclass."""
    module: nn.Module
    """The network with its averaged (EMA) weights, in evaluation mode."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Facts for people: title, data, training. Everything in it can be written as JSON."""

    def __repr__(self) -> str:
        return f"Generator({self.summary})"

    @property
    def summary(self) -> str:
        """One line for people."""
        text = f"{self.title}: {self.architecture.name}, {self.config.side}x{self.config.side}x{self.config.channels}"
        return text + (f", {self.classes} classes" if self.classes else "")

    @property
    def title(self) -> str:
        """What to call it in a sentence."""
        return str(self.card.get("title") or f"this {self.architecture.name} generator")

    @property
    def classes(self) -> int:
        """Number of class labels; 0 for a generator without."""
        return self.config.classes

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W of one latent."""
        return self.config.latent_size, 1, 1

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @torch.no_grad()
    def decode(self, latent: Latent | Tensor) -> Tensor:
        """Makes the images that the latents stand for.

        latent: a Latent, or its samples alone as a tensor [B, C, H, W] (for a generator without classes).
        Returns images [B, C, H, W], float32 in [-1, 1], on the device of the weights.

        Raises InputError where the latent is not one of this generator's.
        """
        if not isinstance(latent, Latent):
            latent = Latent(latent)
        self._check(latent)
        z = latent.samples.flatten(1).to(self.device, torch.float32)
        labels = None if latent.labels is None else latent.labels.to(self.device)
        parts = [slice(start, start + DECODED_AT_ONCE) for start in range(0, len(z), DECODED_AT_ONCE)]
        return torch.cat([self.module(z[part], None if labels is None else labels[part]) for part in parts])

    def _check(self, latent: Latent) -> None:
        shape = tuple(latent.samples.shape)
        if len(shape) != 4 or shape[1:] != self.latent_shape or not shape[0]:
            raise InputError(
                f"{self.title} takes latents of shape {list(self.latent_shape)}, as Sample Noise makes them for it, "
                f"not {list(shape[1:])}. Latents of another generator or of an image model do not fit."
            )
        if latent.space != "z":
            raise InputError(f"{self.title} takes latents in z space, not in {latent.space}.")
        if latent.labels is not None and not self.classes:
            raise InputError(f"{self.title} was trained without classes: it takes no label.")
        if self.classes and latent.labels is None:
            raise InputError(
                f"{self.title} has {self.classes} classes, and this latent says no class: give it a label from 0 to "
                f"{self.classes - 1}."
            )
        if latent.labels is None:
            return
        if len(latent.labels) != shape[0]:
            raise InputError(f"The latent holds {shape[0]} points but {len(latent.labels)} labels.")
        if not 0 <= int(latent.labels.min()) <= int(latent.labels.max()) < self.classes:
            raise InputError(f"{self.title} has classes 0 to {self.classes - 1}; the latent asks for another one.")

    def save(self, path: str | Path) -> Path:
        """Writes the generator to one safetensors file, whole or not at all. Returns its path.

        Raises InputError where the path cannot be written.
        """
        path = Path(path)
        weights.write(
            path,
            self.module.state_dict(),
            architecture=self.architecture.name,
            config=asdict(self.config),
            card=dict(self.card),
        )
        return path


def load(path: str | Path) -> Generator:
    """Opens a generator from a safetensors file, on the CPU. Nothing in the file is executed.

    A file without our header opens too, where a network family recognises its keys and shapes.

    Raises InputError, with a sentence that names the file and the cause, for anything but a whole and well-formed
    generator.
    """
    path = Path(path)
    with weights.opened(path) as file:
        described = file.description
        if described is None:
            architecture = architectures.detect(file.shapes)
            if architecture is None:
                raise InputError(f"{path.name} is {file.kind}, not a generator. {weights.WHERE_GENERATORS_COME_FROM}")
            config, card = _recognised(path, architecture, file.shapes), {}
        else:
            architecture = _named(path, described.architecture)
            config, card = _config(path, architecture, described.config), described.card
        # On the meta device a network has shapes but no memory: a config that lies costs nothing.
        with torch.device("meta"):
            module = architecture.generator(config)
        expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        dtypes = {name: tensor.dtype for name, tensor in module.state_dict().items()}
        file.check(expected)
        try:
            tensors = {name: tensor.to(dtypes[name]) for name, tensor in file.tensors().items()}
        except NotImplementedError as error:
            raise InputError(f"{path.name} has tensors of a type that cannot be computed with ({error}).") from None
    module.load_state_dict(tensors, assign=True)
    module.requires_grad_(False).eval()
    return Generator(architecture, config, module, {"title": path.stem, **card})


def _named(path: Path, name: str) -> Architecture:
    try:
        return architectures.by_name(name)
    except InputError as error:
        raise InputError(f"{path.name} cannot be opened: {error} A newer version may.") from None


def _recognised(path: Path, architecture: Architecture, shapes: Shapes) -> Any:
    try:
        return architecture.config_from(shapes)
    except InputError as error:
        raise InputError(f"{path.name} is like a generator, but of a shape that cannot be: {error}") from None


def _config(path: Path, architecture: Architecture, values: dict[str, Any]) -> Any:
    try:
        if not all(type(value) is int for value in values.values()):
            raise InputError("every value in it must be a whole number.")
        return architecture.config(**values)
    except (TypeError, InputError) as error:
        raise InputError(f"{path.name} has a config that {architecture.name} cannot be built from: {error}") from None
