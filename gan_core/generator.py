"""The value that everything passes around: a generator that is ready to make pictures."""

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
from .errors import InputError, shown, some
from .latents import LAST_SEED, Latent, noise_maps
from .platforms import placed

MOST_DECODED_AT_ONCE = 64
PIXELS_DECODED_AT_ONCE = 2**20
"""Images decoded in one pass, and their pixels, so that a batch of thousands costs no more working memory."""

NOISES = ("const", "random", "none")
"""What a style-based network's noise maps can be."""


@dataclass(frozen=True, repr=False, eq=False)
class Generator:
    """A network that turns latents into images, and what is known of it."""

    architecture: Architecture
    config: Any
    """The architecture's own config dataclass."""
    module: Any
    """The network, an nn.Module of the architecture's, with its averaged (EMA) weights, in evaluation mode."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Facts for people: title, data, training. Everything in it can be written as JSON."""

    def __repr__(self) -> str:
        return f"Generator({self.summary})"

    @property
    def summary(self) -> str:
        """One line for people."""
        text = f"{self.title}: {self.architecture.name}, {self.size_in_words}x{self.config.channels}"
        return text + (f", {self.classes} classes" if self.classes else "")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images, in pixels; for a spatial one, of those that it was trained on."""
        return architectures.size_of(self.config)

    @property
    def size_in_words(self) -> str:
        """Width x height, as people write it."""
        height, width = self.size
        return f"{width}x{height}"

    @property
    def title(self) -> str:
        """What to call it in a sentence."""
        return shown(self.card.get("title") or f"this {self.architecture.name} generator")

    @property
    def origin(self) -> list[str]:
        """Lines for people on where it was imported from; none for one that was trained here."""
        imported = self.card.get("imported")
        return [shown(imported.get("from"))] if isinstance(imported, dict) else []

    @property
    def classes(self) -> int:
        """Number of class labels; 0 for a generator without."""
        return self.config.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """What its classes are called, label 0 first; their numbers where the file does not say."""
        names = self.card.get("class_names")
        named = isinstance(names, (list, tuple)) and len(names) == self.classes
        return tuple(map(str, names if named and names else range(self.classes)))

    @property
    def classes_in_words(self) -> str:
        """Its classes, for a sentence."""
        names = self.class_names
        if names == tuple(map(str, range(self.classes))):
            return f"classes 0 to {self.classes - 1}"
        return f"the classes {some(names)}"

    @property
    def numbered_classes(self) -> str | None:
        """A line for people: its classes by number and name. None where there are none, or no names."""
        names = self.class_names
        if names == tuple(map(str, range(self.classes))):
            return None
        return f"classes: {some([f'{number} {name}' for number, name in enumerate(names)], 20)}"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, H, W of one latent z; for a spatial one, of a picture of its own side."""
        return self.config.latent_shape if self.architecture.spatial else (self.config.latent_size, 1, 1)

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether latents z of that shape, C, H, W, are of its kind."""
        if not self.architecture.spatial:
            return tuple(shape) == self.latent_shape
        return len(shape) == 3 and shape[0] == self.latent_shape[0] and min(shape[1:]) > 0

    @property
    def mixture(self) -> GaussianMixture | None:
        """Where in z a VAE has put the images it learned from; None where the file does not say."""
        return getattr(self.module, "mixture", None)

    @property
    def style_shape(self) -> tuple[int, int, int] | None:
        """C, H, W of one latent in w or w+: w_dim, num_ws, 1. None for a generator that has no styles."""
        return (*self.architecture.styles(self.config), 1) if self.architecture.styles else None

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @torch.no_grad()
    def decode(
        self, latent: Latent | Tensor, noise: str = "const", noise_seed: int = 0, transform: Tensor | None = None
    ) -> Tensor:
        """Makes the images that the latents stand for.

        latent: a Latent, or its samples alone as a tensor [B, C, H, W] (in z, for a generator without classes).
        noise: for StyleGAN2, what its noise maps are: "const" as stored in the file, "none", or "random", which image i
        draws by the seed noise_seed + i.
        transform: for StyleGAN3, how the picture is moved and turned: [3, 3] or one for each image [B, 3, 3], as
        gan_core.sampling.transform makes it.

        Returns images [B, C, H, W] in float32, nominally in [-1, 1] (a style-based network may overshoot a little), on
        the device of the weights.

        Raises InputError where the latent is not one of this generator's, or for a control that it does not have.
        """
        if not isinstance(latent, Latent):
            latent = Latent(latent)
        self.check(latent)
        controls = self._controls(len(latent), noise, noise_seed, transform)
        images: Tensor | None = None
        for part in self.passes(latent):
            decoded = self._decoded(latent[part], {name: value(part) for name, value in controls.items()})
            if images is None:
                # Once for all of them: joined at the end, thousands would take twice the memory.
                images = decoded if len(decoded) == len(latent) else decoded.new_empty(len(latent), *decoded.shape[1:])
            if images is not decoded:
                images[part] = decoded
        assert images is not None
        return images

    @torch.no_grad()
    def encode(self, images: Tensor) -> Latent:
        """The latents of pictures, for a VAE: where in z they most likely lie.

        images: [B, C, H, W] in [-1, 1]. Of its own size, or of any height and width where the latent is spatial.

        Returns a latent in z on the device of the weights. Raises InputError for a generator without an encoder, and
        for images that it cannot take.
        """
        if not self.architecture.encodes:
            raise InputError(
                f"{self.title} is a {self.architecture.name} generator: it has no encoder, only VAEs have."
            )
        channels, spatial = self.config.channels, self.architecture.spatial
        if images.ndim != 4 or images.shape[1] != channels or not (spatial or images.shape[2:] == self.size):
            raise InputError(
                f"{self.title} encodes images with {channels} channels"
                + (
                    f", not of shape {list(images.shape)}."
                    if spatial
                    else f" and a size of {self.size_in_words} pixels, not of shape {list(images.shape)}."
                )
            )
        at_once = max(1, PIXELS_DECODED_AT_ONCE // (images.shape[2] * images.shape[3]))
        parts = [self.module.posterior(placed(part, self.device).float())[0] for part in images.split(at_once)]
        means = torch.cat(parts)
        return Latent(means if spatial else means[:, :, None, None])

    def passes(self, latent: Latent) -> list[slice]:
        """The parts of a batch that `decode` decodes at once: all in one pass would not fit into memory."""
        pixels = math.prod(self.size)
        if self.architecture.spatial:
            pixels = pixels * math.prod(latent.samples.shape[2:4]) // math.prod(self.latent_shape[1:])
        at_once = max(1, min(MOST_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE // max(1, pixels)))
        return [slice(start, start + at_once) for start in range(0, len(latent), at_once)]

    def _decoded(self, latent: Latent, controls: dict[str, Any]) -> Tensor:
        samples = latent.samples.to(self.device, torch.float32)
        if self.architecture.styles is None:
            z = samples if self.architecture.spatial else samples.flatten(1)
            return self.module(z, self._on_device(latent.labels))
        if latent.space == "z":
            samples = self.mapped(latent).samples
        # [N, w_dim, num_ws, 1] to [N, num_ws, w_dim]; float32 again, which a map in half precision may have left
        styles = samples.squeeze(3).transpose(1, 2).float()
        return self.module.synthesis(styles, **controls)

    @torch.no_grad()
    def mapped(self, latent: Latent) -> Latent:
        """Latents z in w: [B, w_dim, num_ws, 1], the same style for each layer, on the device of the weights.

        Raises InputError for a generator that has no styles, and for latents that are not its own.
        """
        self.check(latent)
        shape = self._needs_styles()
        z = latent.samples.flatten(1).to(self.device, torch.float32)
        w = self.module.mapping(z, self._on_device(latent.labels))
        return Latent(w[:, :, None, None].expand(-1, *shape), "w")

    @property
    def average_style(self) -> Tensor:
        """The mean of w over training, [w_dim], which truncation draws towards.

        Raises InputError for a generator that has no styles.
        """
        self._needs_styles()
        return self.module.mapping.w_avg

    def _needs_styles(self) -> tuple[int, int, int]:
        if self.style_shape is None:
            raise InputError(f"{self.title} is a {self.architecture.name} generator: it has no space w of styles.")
        return self.style_shape

    def _on_device(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.device)

    def _controls(
        self, count: int, noise: str, noise_seed: int, transform: Tensor | None
    ) -> dict[str, Callable[[slice], Any]]:
        """What the synthesis network is told besides styles, for a part of the batch."""
        controls: dict[str, Callable[[slice], Any]] = {}
        if noise not in NOISES:
            raise InputError(f'The noise is "const", "random" or "none", not "{noise}".')
        if noise != "const":
            self._has("noise", "noise maps, so its noise cannot be changed")
            sizes = self.config.noise_sizes
            if noise == "random" and not 0 <= noise_seed <= noise_seed + count - 1 <= LAST_SEED:
                raise InputError(f"The noise seeds of {count} images from {noise_seed} on pass {LAST_SEED}.")
            controls["noise"] = lambda part: [
                maps.to(self.device)
                for maps in noise_maps(sizes, [] if noise == "none" else range(noise_seed, noise_seed + count)[part])
            ]
        if transform is not None:
            self._has("transform", "coordinates, so its pictures cannot be moved or turned: only StyleGAN3's can")
            if transform.shape not in ((3, 3), (1, 3, 3), (count, 3, 3)):
                raise InputError(
                    f"A transform is a matrix [3, 3], or one for each of the {count} images, not "
                    f"{list(transform.shape)}."
                )
            matrices = transform.to(self.device, torch.float32).expand(count, 3, 3)
            controls["transform"] = lambda part: matrices[part]
        return controls

    def _has(self, control: str, lacks: str) -> None:
        if control not in self.architecture.controls:
            raise InputError(f"{self.title} is a {self.architecture.name} generator, which has no {lacks}.")

    def check(self, latent: Latent) -> None:
        """Raises InputError, with what does not fit, for latents that are not this generator's."""
        shape = tuple(latent.samples.shape)
        if latent.space in ("w", "w+") and self.style_shape:
            return self._check_styles(shape, latent)
        if latent.space != "z":
            known = "z, w or w+ space" if self.style_shape else "z space"
            raise InputError(f"{self.title} takes latents in {known}, not in {latent.space}.")
        if len(shape) != 4 or not self.fits(shape[1:]) or not shape[0]:
            raise InputError(
                f"{self.title} takes latents of shape {list(self.latent_shape)}, as Sample Noise makes them for it, "
                f"not {list(shape[1:])}. Latents of another generator or of an image model do not fit."
            )
        if latent.labels is not None and not self.classes:
            raise InputError(f"{self.title} was trained without classes: it takes no label.")
        if self.classes and latent.labels is None:
            raise InputError(
                f"{self.title} has {self.classes} classes, and this latent says no class: give it a label from "
                f"{self.classes_in_words.removeprefix('classes ')}."
            )
        if latent.labels is None:
            return
        if len(latent.labels) != shape[0]:
            raise InputError(f"The latent holds {shape[0]} points but {len(latent.labels)} labels.")
        if latent.labels.ndim == 2:
            if latent.labels.shape[1] != self.classes:
                raise InputError(
                    f"{self.title} has {self.classes} classes; the latent has weights for {latent.labels.shape[1]}."
                )
        elif not 0 <= int(latent.labels.min()) <= int(latent.labels.max()) < self.classes:
            raise InputError(f"{self.title} has {self.classes_in_words}; the latent asks for another one.")

    def _check_styles(self, shape: tuple[int, ...], latent: Latent) -> None:
        expected = self._needs_styles()
        if len(shape) != 4 or shape[1:] != expected or not shape[0]:
            raise InputError(
                f"{self.title} takes latents in {latent.space} of shape {list(expected)}, one style for each of its "
                f"{expected[1]} layers, not {list(shape[1:])}. Latents of another generator do not fit."
            )
        if latent.labels is not None:
            raise InputError("A label takes part in the way from z to w, and this latent is in w already.")

    def save(self, path: str | Path) -> Path:
        """Writes the generator to one safetensors file, whole or not at all. Returns its path.

        Raises InputError where the path cannot be written.
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
            card=dict(self.card),
            resolution=self.size_in_words,
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
        architecture, config, card = _described(path, file)
        return assembled(path.name, architecture, config, file.shapes, file.tensors, {"title": path.stem, **card})


def architecture_of(path: str | Path) -> Architecture | None:
    """The family of the generator in a safetensors file, by its header alone; None where `load` would refuse it."""
    try:
        with weights.opened(Path(path)) as file:
            return _described(Path(path), file)[0]
    except InputError:
        return None


def _described(path: Path, file: weights.OpenedFile) -> tuple[Architecture, Any, Mapping[str, Any]]:
    """The family, the config and the card of the generator in a file. Raises InputError where there is none."""
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
    card: Mapping[str, Any],
) -> Generator:
    """A generator of the tensors in a file, which are read only once their names and shapes are known to be right.

    Raises InputError where they are not those of a network with that config, or not finite numbers.
    """
    # On the meta device a network has shapes but no memory: a config that lies costs nothing.
    with torch.device("meta"):
        module = architecture.generator(config)
    expected = module.state_dict()
    twins = {architecture.twin(name) for name in expected} if architecture.twin else set()
    shapes = {name: shape for name, shape in shapes.items() if name in expected or name not in twins}
    weights.check(file, shapes, {name: tuple(tensor.shape) for name, tensor in expected.items()})
    try:
        read = {name: _real(tensor).to(expected[name].dtype) for name, tensor in tensors().items() if name in expected}
    except NotImplementedError as error:
        raise InputError(f"{file} has tensors of a type that cannot be computed with ({error}).") from None
    weights.check_finite(file, read)
    module.load_state_dict(read, assign=True)
    module.requires_grad_(False).eval()
    return Generator(architecture, config, module, card)


def _real(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise NotImplementedError(f"{tensor.dtype}, of which a network has none")
    return tensor


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
        values = {name: tuple(value) if type(value) is list else value for name, value in values.items()}
        if not all(_whole(value) for value in values.values()):
            raise InputError("every value in it must be a whole number, or a list of them.")
        return architecture.config(**values)
    except (TypeError, InputError) as error:
        raise InputError(f"{path.name} has a config that {architecture.name} cannot be built from: {error}") from None


def _whole(value: Any) -> bool:
    return type(value) is int or (type(value) is tuple and all(type(item) is int for item in value))
