"""Generator: a network with its config and its card, ready to generate images. Loading and saving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import architectures, weights
from .architectures import Architecture, Shapes
from .architectures.layers.mixture import GaussianMixture
from .card import Card
from .errors import InputError, shown, some
from .latents import LAST_SEED, Latent, noise_maps
from .memory import exhausted, in_parts, is_out_of_memory
from .platforms import all_digits_of_float32, placed

MAX_DECODED_AT_ONCE = 64
PIXELS_DECODED_AT_ONCE = 2**20
"""Maximum images, and their pixels, that are decoded in one pass. They limit the working memory of a large batch."""

NOISES = ("const", "random", "none")
"""Choices for the noise maps of a style-based network."""


@dataclass(frozen=True, repr=False, eq=False)
class Generator:
    """A network that turns latents into images, with its config and its card.

    Latents, labels and images that it is given may lie on any device, and are moved to that of its weights. There it
    computes in float32 with all digits, so that a seed is one image on all devices and in a batch of any size.
    """

    architecture: Architecture
    config: Any
    """Config dataclass of the architecture."""
    module: Any
    """Network, an nn.Module of the architecture, with EMA weights, in evaluation mode."""
    card: Card = field(default_factory=Card)
    """Facts for people: title, data, training and so on."""

    def __repr__(self) -> str:
        return f"Generator({self.summary})"

    @property
    def summary(self) -> str:
        """One line on title, architecture, size and classes."""
        text = f"{self.title}: {self.architecture.name}, {self.size_in_words}x{self.config.channels}"
        return text + (f", {self.classes} classes" if self.classes else "")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images, in pixels; of its training images if its latents are spatial."""
        return architectures.size_of(self.config)

    @property
    def size_in_words(self) -> str:
        """Width x height as text, such as "96x64"."""
        height, width = self.size
        return f"{width}x{height}"

    @property
    def title(self) -> str:
        """Name of the generator for a sentence."""
        return shown(self.card.title or f"this {self.architecture.name} generator")

    @property
    def origin(self) -> list[str]:
        """Where it was imported from, as lines of text; empty if it was trained here."""
        source = self.card.imported and self.card.imported.source
        return [shown(source)] if source else []

    @property
    def classes(self) -> int:
        """Number of class labels; 0 if it is unconditional."""
        return self.config.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of its classes, label 0 first; their numbers if the file has no names."""
        names = self.card.class_names or ()
        return names if len(names) == self.classes else tuple(map(str, range(self.classes)))

    @property
    def classes_in_words(self) -> str:
        """List of its classes for a sentence."""
        names = self.class_names
        if names == tuple(map(str, range(self.classes))):
            return f"classes 0 to {self.classes - 1}"
        return f"the classes {some(names)}"

    @property
    def numbered_classes(self) -> str | None:
        """One line with its classes by number and name; None without classes or names."""
        names = self.class_names
        if names == tuple(map(str, range(self.classes))):
            return None
        return f"classes: {some([f'{number} {name}' for number, name in enumerate(names)], 20)}"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W of one latent z; for spatial latents, that of an image of its own size."""
        return self.config.latent_shape if self.architecture.spatial else (self.config.latent_size, 1, 1)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether it can decode latents z of a shape C, H, W."""
        if not self.architecture.spatial:
            return tuple(shape) == self.latent_shape
        return len(shape) == 3 and shape[0] == self.latent_shape[0] and min(shape[1:]) > 0

    @property
    def mixture(self) -> GaussianMixture | None:
        """Gaussian mixture fitted to a VAE's posteriors of its training images; None if the file has none."""
        return getattr(self.module, "mixture", None)

    @property
    def style_shape(self) -> tuple[int, int, int] | None:
        """C, H, W of one latent in w or w+: w_dim, num_ws, 1. None if it is not style-based."""
        return (*self.architecture.styles(self.config), 1) if self.architecture.styles else None

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def here(self, latent: Latent) -> Latent:
        """The latent on the device of the weights, its points in float32."""
        return Latent(latent.samples.to(self.device, torch.float32), latent.space, self._on_device(latent.labels))

    @torch.no_grad()
    @all_digits_of_float32()
    def decode(
        self, latent: Latent | Tensor, noise: str = "const", noise_seed: int = 0, transform: Tensor | None = None
    ) -> Tensor:
        """Decodes latents to images.

        latent: a Latent, or only its samples as a tensor [B, C, H, W] (in z, for a generator without classes).
        noise: noise maps of StyleGAN2: "const" as stored in the file, "none" for zeros, or "random", drawn for image i
        with the seed noise_seed + i.
        transform: translation, rotation and scale of StyleGAN3 images: [3, 3], or [B, 3, 3] for one per image, from
        gan_core.sampling.transform.

        Returns images [B, C, H, W] in float32 on the device of the weights, nominally in [-1, 1]; a style-based network
        may overshoot a little.

        Fewer images are decoded at once where memory does not suffice. Raises InputError for a latent of another
        generator, and for a control that this generator does not have; OutOfMemory where one image does not fit.
        """
        if not isinstance(latent, Latent):
            latent = Latent(latent)
        self.check(latent)
        controls = self._controls(len(latent), noise, noise_seed, transform)
        images: Tensor | None = None

        def decoded_part(part: slice) -> Tensor:
            return self._decoded(latent[part], {name: value(part) for name, value in controls.items()})

        for part, decoded in in_parts(self.passes(latent), decoded_part, self._in_words("Decoding"), self.device):
            if images is None:
                images = decoded if len(decoded) == len(latent) else _room_for(len(latent), decoded)
            if images is not decoded:
                images[part] = decoded
        assert images is not None
        return images

    @torch.no_grad()
    @all_digits_of_float32()
    def encode(self, images: Tensor) -> Latent:
        """Encodes images with the encoder of a VAE, to the means of their posteriors.

        images: [B, C, H, W] in [-1, 1], of its own size, or of any height and width if its latents are spatial.

        Returns a latent in z on the device of the weights. Raises InputError for a generator without an encoder, and
        for images of another shape; OutOfMemory where one image does not fit.
        """
        if not self.architecture.encodes:
            raise InputError(f"{self.title} is a {self.architecture.name} generator and has no encoder: choose a VAE.")
        channels, spatial = self.config.channels, self.architecture.spatial
        if images.ndim != 4 or images.shape[1] != channels or not (spatial or images.shape[2:] == self.size):
            raise InputError(
                f"{self.title} encodes images with {channels} channels"
                + ("" if spatial else f" and {self.size_in_words} pixels")
                + f" (got shape {list(images.shape)})."
            )
        at_once = max(1, PIXELS_DECODED_AT_ONCE // (images.shape[2] * images.shape[3]))

        def encoded_part(part: slice) -> Tensor:
            return self.module.posterior(placed(images[part], self.device).float())[0]

        parts = _slices(len(images), at_once)
        what = self._in_words("Encoding", images.shape[2:])
        means = torch.cat([mean for _, mean in in_parts(parts, encoded_part, what, self.device)])
        return Latent(means if spatial else means[:, :, None, None])

    def passes(self, latent: Latent) -> list[slice]:
        """Splits a batch into parts that `decode` decodes in one pass each, to limit the working memory."""
        pixels = math.prod(self.size)
        if self.architecture.spatial:
            pixels = pixels * math.prod(latent.samples.shape[2:4]) // math.prod(self.latent_shape[1:])
        at_once = max(1, min(MAX_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE // max(1, pixels)))
        return _slices(len(latent), at_once)

    def _decoded(self, latent: Latent, controls: dict[str, Any]) -> Tensor:
        latent = self.here(latent)
        samples = latent.samples
        if self.architecture.styles is None:
            return self.module(samples if self.architecture.spatial else samples.flatten(1), latent.labels)
        if latent.space == "z":
            samples = self.mapped(latent).samples
        # [N, w_dim, num_ws, 1] to [N, num_ws, w_dim]; float32 again, which a map in half precision may have left
        styles = samples.squeeze(3).transpose(1, 2).float()
        return self.module.synthesis(styles, **controls)

    @torch.no_grad()
    @all_digits_of_float32()
    def mapped(self, latent: Latent) -> Latent:
        """Maps latents z to w: [B, w_dim, num_ws, 1], the same style for each layer, on the device of the weights.

        Raises InputError for a generator that is not style-based, and for latents of another generator.
        """
        self.check(latent)
        shape = self._needs_styles()
        latent = self.here(latent)
        w = self.module.mapping(latent.samples.flatten(1), latent.labels)
        return Latent(w[:, :, None, None].expand(-1, *shape), "w")

    @property
    def average_style(self) -> Tensor:
        """Mean of w over training (w_avg), [w_dim] in float32, the centre of truncation.

        Raises InputError for a generator that is not style-based.
        """
        self._needs_styles()
        return self.module.mapping.w_avg.float()

    def _in_words(self, doing: str, size: Sequence[int] | None = None) -> str:
        """Work on one image for a sentence, such as "Decoding one image of 64x64 with faces". size: [height, width]."""
        height, width = size or self.size
        return f"{doing} one image of {width}x{height} with {self.title}"

    def _needs_styles(self) -> tuple[int, int, int]:
        if self.style_shape is None:
            raise InputError(f"{self.title} is a {self.architecture.name} generator and has no style space w.")
        return self.style_shape

    def _on_device(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.device)

    def _controls(
        self, count: int, noise: str, noise_seed: int, transform: Tensor | None
    ) -> dict[str, Callable[[slice], Any]]:
        """Inputs of the synthesis network besides styles, each as a function of a part of the batch."""
        controls: dict[str, Callable[[slice], Any]] = {}
        if noise not in NOISES:
            raise InputError(f'noise must be "const", "random" or "none" (got "{noise}").')
        if noise != "const":
            self._has("noise", "no noise maps: leave noise at const")
            sizes = self.config.noise_sizes
            if noise == "random" and not 0 <= noise_seed <= noise_seed + count - 1 <= LAST_SEED:
                raise InputError(
                    f"noise_seed must be 0 to {LAST_SEED + 1 - count} for {count} images (got {noise_seed})."
                )
            controls["noise"] = lambda part: [
                maps.to(self.device)
                for maps in noise_maps(sizes, [] if noise == "none" else range(noise_seed, noise_seed + count)[part])
            ]
        if transform is not None:
            self._has("transform", "no input coordinates: only images of StyleGAN3 can be translated or rotated")
            if transform.shape not in ((3, 3), (1, 3, 3), (count, 3, 3)):
                raise InputError(
                    f"transform must be one matrix [3, 3], or one for each of the {count} images "
                    f"(got {list(transform.shape)})."
                )
            matrices = transform.to(self.device, torch.float32).expand(count, 3, 3)
            controls["transform"] = lambda part: matrices[part]
        return controls

    def _has(self, control: str, lacks: str) -> None:
        if control not in self.architecture.controls:
            raise InputError(f"{self.title} is a {self.architecture.name} generator and has {lacks}.")

    def check(self, latent: Latent) -> None:
        """Raises InputError, naming the difference, for latents that this generator cannot decode."""
        shape = tuple(latent.samples.shape)
        if latent.space in ("w", "w+") and self.style_shape:
            return self._check_styles(shape, latent)
        if latent.space != "z":
            known = "z, w or w+ space" if self.style_shape else "z space"
            raise InputError(f"{self.title} takes latents in {known} (got {latent.space}).")
        if len(shape) != 4 or not self.fits(shape[1:]) or not shape[0]:
            raise InputError(
                f"{self.title} takes latents of shape {list(self.latent_shape)} (got {list(shape[1:])}): use Sample "
                "Noise with this generator. Latents of another generator or of an image model do not fit."
            )
        if latent.labels is not None and not self.classes:
            raise InputError(f"{self.title} was trained without classes and takes no label.")
        if self.classes and latent.labels is None:
            raise InputError(
                f"{self.title} has {self.classes} classes, and this latent has no class label: choose one of "
                f"{self.classes_in_words.removeprefix('classes ')}."
            )
        if latent.labels is None:
            return
        if len(latent.labels) != shape[0]:
            raise InputError(f"The latent has {shape[0]} points but {len(latent.labels)} labels: give one for each.")
        if latent.labels.ndim == 2:
            if latent.labels.shape[1] != self.classes:
                raise InputError(
                    f"{self.title} has {self.classes} classes, but the latent has weights for {latent.labels.shape[1]}."
                )
        elif not 0 <= int(latent.labels.min()) <= int(latent.labels.max()) < self.classes:
            raise InputError(f"{self.title} has {self.classes_in_words}, but the latent has a label beyond these.")

    def _check_styles(self, shape: tuple[int, ...], latent: Latent) -> None:
        expected = self._needs_styles()
        if len(shape) != 4 or shape[1:] != expected or not shape[0]:
            raise InputError(
                f"{self.title} takes latents in {latent.space} of shape {list(expected)}, one style for each of its "
                f"{expected[1]} layers (got {list(shape[1:])}). Latents of another generator do not fit."
            )
        if latent.labels is not None:
            raise InputError("A label is an input of the mapping from z to w, but this latent is in w already.")

    def save(self, path: str | Path) -> Path:
        """Writes the generator to one safetensors file, atomically. Returns its path.

        Raises InputError if the path cannot be written.
        """
        path = Path(path)
        tensors = self.module.state_dict()
        if self.architecture.twin:
            twins = {self.architecture.twin(name): tensor.clone() for name, tensor in tensors.items()}
            tensors |= {name: tensor for name, tensor in twins.items() if name is not None}
        weights.write(
            path,
            tensors,
            architecture=self.architecture.name,
            config=asdict(self.config),
            card=self.card.to_json(),
            resolution=self.size_in_words,
        )
        return path


def load(path: str | Path) -> Generator:
    """Loads a generator from a safetensors file, on the CPU. Nothing in the file is executed.

    A file without our header opens too if an architecture recognises its keys and shapes.

    Raises InputError, which names the file and the cause, for anything but a complete and valid generator.
    """
    path = Path(path)
    with weights.opened(path) as file:
        architecture, config, said = _described(path, file)
        card = Card.from_json({"title": path.stem, **said})
        return assembled(path.name, architecture, config, file.shapes, file.tensors, card)


def _room_for(count: int, images: Tensor) -> Tensor:
    """One buffer for a batch of images like these: concatenating them at the end would take twice the memory."""
    try:
        return images.new_empty(count, *images.shape[1:])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    height, width = images.shape[2:]
    raise exhausted(f"A batch of {count} images of {width}x{height}", images.device, "decode fewer at a time")


def _slices(count: int, at_once: int) -> list[slice]:
    return [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]


def architecture_of(path: str | Path) -> Architecture | None:
    """Architecture of the generator in a safetensors file, from its header alone; None if `load` would reject it."""
    try:
        with weights.opened(Path(path)) as file:
            return _described(Path(path), file)[0]
    except InputError:
        return None


def _described(path: Path, file: weights.OpenedFile) -> tuple[Architecture, Any, Mapping[str, Any]]:
    """Architecture, config and card of the generator in a file. Raises InputError if it is not a generator."""
    described = file.description
    if described is not None:
        architecture = _named(path, described.architecture)
        return architecture, _config(path, architecture, described.config), described.card
    detected = architectures.detect(file.shapes)
    if detected is None:
        raise InputError(f"{path.name} is {file.kind}, not a generator. {weights.WHERE_GENERATORS_COME_FROM}")
    return detected, _recognised(path, detected, file.shapes), {}


def assembled(
    file: str,
    architecture: Architecture,
    config: Any,
    shapes: Shapes,
    tensors: Callable[[], dict[str, Tensor]],
    card: Card,
) -> Generator:
    """Builds a generator from the tensors of a file, which are read only after their names and shapes are checked.

    Raises InputError if they are not those of a network with that config, or not finite.
    """
    # On the meta device a network has shapes but no memory: a malicious config cannot exhaust it.
    with torch.device("meta"):
        module = architecture.generator(config)
    expected = module.state_dict()
    twins = {architecture.twin(name) for name in expected} if architecture.twin else set()
    shapes = {name: shape for name, shape in shapes.items() if name in expected or name not in twins}
    weights.check(file, shapes, {name: tuple(tensor.shape) for name, tensor in expected.items()})
    try:
        read = {name: _real(tensor).to(expected[name].dtype) for name, tensor in tensors().items() if name in expected}
    except NotImplementedError as error:
        raise InputError(f"{file} has tensors of an unsupported type ({error}).") from None
    weights.check_finite(file, read)
    module.load_state_dict(read, assign=True)
    module.requires_grad_(False).eval()
    return Generator(architecture, config, module, card)


def _real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise NotImplementedError(f"{tensor.dtype}, which no network uses")
    return tensor


def _named(path: Path, name: str) -> Architecture:
    try:
        return architectures.by_name(name)
    except InputError as error:
        raise InputError(f"{path.name} cannot be opened: {error} A newer version may open it.") from None


def _recognised(path: Path, architecture: Architecture, shapes: Shapes) -> Any:
    try:
        return architecture.config_from(shapes)
    except InputError as error:
        raise InputError(f"{path.name} looks like a generator, but its shapes are not valid: {error}") from None


def _config(path: Path, architecture: Architecture, values: dict[str, Any]) -> Any:
    try:
        values = {name: tuple(value) if type(value) is list else value for name, value in values.items()}
        if not all(_whole(value) for value in values.values()):
            raise InputError("every value must be a whole number, or a list of whole numbers.")
        return architecture.config(**values)
    except (TypeError, InputError) as error:
        raise InputError(f"{path.name} has a config that is not valid for {architecture.name}: {error}") from None


def _whole(value: Any) -> bool:
    return type(value) is int or (type(value) is tuple and all(type(item) is int for item in value))
