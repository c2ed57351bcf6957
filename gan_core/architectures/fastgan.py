"""FastGAN: a light generator for a few hundred images (Liu et al. 2021), and Projected GAN's (Sauer et al. 2021).

Noise becomes a 4x4 block of features, whose side every stage doubles by repeating pixels and convolving them. Gated
linear units are its nonlinearity: one half of the features says how much of the other half passes. From 64x64 to
512x512, channels are weighed by what the stage of a sixteenth of the side saw, which shortens the way of the gradient
(skip-layer excitation). Where a stage has two convolutions, some noise is added after each.

Projected GAN's generator is the same with z at unit length, two convolutions in every stage (its "lite" one: one) and
no tanh. With classes, the label's embedding sets the gain and bias of every batch norm in the stages.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import count, takewhile
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .architecture import Architecture, Shapes, as_vectors, check_channels, check_start, label_embedding
from .fastgan_discriminator import FastGANDiscriminator
from .fastgan_layers import Excitation, Layer, Noise, gated, initialise

SIDES = (64, 128, 256, 512, 1024)
"""Of square images from a first block of 4x4, which is doubled four to eight times. With fewer doublings, no stage
would have another whose side is a sixteenth of its own."""

LARGEST = 2**16
"""Of every number of features, so that a config from a file cannot ask for a network beyond all bounds."""

EXCITED = range(3, 7)
"""The stages whose channels are weighed by the block of features that is doubled four times to theirs: in square
images, those with sides of 64 to 512."""


@dataclass(frozen=True)
class FastGANConfig:
    side: int
    """Height of the images: 64, 128, 256, 512 or 1024, and their width too, for a first block of 4x4."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features in the first block, in that of twice its side, and so on up to the image's side."""
    convolutions: tuple[int, ...]
    """1 or 2 for each of those sides but the first. A stage of 2 adds noise."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 256
    """Length of z."""
    projected: int = 0
    """1 for Projected GAN's generator: z is normalised, and the image has a bias but no tanh.

    FastGAN itself has a tanh after eight doublings only, at a side of 1024; at smaller ones, images are in [-1, 1] by
    training alone.
    """
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block of features."""

    def __post_init__(self) -> None:
        if len(self.start) != 2:
            raise InputError(f"fastgan needs a height and a width of its first block, not {list(self.start)}.")
        heights = [side // SIDES[0] * 16 * self.start[0] for side in SIDES]
        if self.side not in heights:
            raise InputError(
                f"fastgan makes images with a height of {', '.join(map(str, heights[:-1]))} or {heights[-1]} pixels, "
                f"not {self.side}."
            )
        check_start("fastgan", self.side, self.start)
        check_channels("fastgan", self.channels)
        if len(self.widths) != len(self.sides) or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(
                f"fastgan needs a width of 1 to {LARGEST} for each of the {len(self.sides)} sides from "
                f"{self.sides[0]} to {self.side}, not {list(self.widths)}."
            )
        if len(self.convolutions) != len(self.sides) - 1 or not all(number in (1, 2) for number in self.convolutions):
            raise InputError(
                f"fastgan needs 1 or 2 convolutions for each of the {len(self.sides) - 1} sides from {self.sides[1]} "
                f"to {self.side}, not {list(self.convolutions)}."
            )
        if not (1 <= self.latent_size <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"fastgan needs a latent size of 1 to {LARGEST} and at most {LARGEST} classes, not {self.latent_size} "
                f"and {self.classes}."
            )
        if self.projected not in (0, 1):
            raise InputError(f"fastgan is projected, 1, or not, 0; {self.projected} is neither.")

    @property
    def sides(self) -> list[int]:
        """Heights of the blocks of features, from the first one's to the image's."""
        return [self.start[0] * 2**doublings for doublings in range((self.side // self.start[0]).bit_length())]


def widths(side: int, base: int = 64) -> tuple[int, ...]:
    """Features for each side from 4 to that of a square image, as the paper counts them: base at 128x128. Projected GAN
    has a base of 128."""
    multiples = (16, 8, 4, 2, 2, 1, 1 / 2, 1 / 4, 1 / 8)
    return tuple(int(base * multiple) for multiple in multiples[: side.bit_length() - 2])


def convolutions(side: int) -> tuple[int, ...]:
    """Convolutions for each side from 8 on as the paper has them: two and one, by turns."""
    return tuple(2 - stage % 2 for stage in range(side.bit_length() - 3))


def design(
    side: int, start: tuple[int, int], channels: int, classes: int, base: int = 64, latent_size: int = 256
) -> FastGANConfig:
    """The paper's network for images of that height.

    base: features where the first block has been doubled five times, at 128x128.

    Raises InputError for images that it cannot make.
    """
    square = 4 * side // start[0]  # of a first block of 4x4 that is doubled as often
    return FastGANConfig(
        side=side,
        channels=channels,
        widths=widths(square, base),
        convolutions=convolutions(square),
        classes=classes,
        latent_size=latent_size,
        start=start,
    )


class FastGANGenerator(nn.Module):
    def __init__(self, config: FastGANConfig):
        super().__init__()
        self.classes = config.classes
        self.normalises = config.projected == 1
        self.bounded = config.projected == 0 and len(config.convolutions) == 8
        self.embed = label_embedding(config.classes, config.latent_size) if config.classes else None
        self.project = nn.ConvTranspose2d(config.latent_size, 2 * config.widths[0], config.start, bias=False)
        self.norm = nn.BatchNorm2d(2 * config.widths[0])
        self.stages = nn.ModuleList(Stage(index, config) for index in range(len(config.convolutions)))
        bias = config.projected == 1
        self.to_image = nn.Conv2d(config.widths[-1], config.channels, kernel_size=3, padding=1, bias=bias)
        self.apply(initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] class numbers or [N, classes] weights. random: what noise is drawn with, on
        the device of z; the same noise always without. Returns images [N, C, H, W], nominally in [-1, 1]."""
        label = None
        if self.embed is not None:
            assert labels is not None
            label = as_vectors(labels, self.classes) @ self.embed.weight  # [N, latent_size]
        if self.normalises:
            z = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        x = gated(self.norm(self.project(z[:, :, None, None])))  # [N, widths[0], *start]
        small = [x]  # at sides of 4, 8, 16 and 32
        for stage in self.stages:
            x = stage(x, label, small, random)
            if len(small) < 4:
                small.append(x)
        image = self.to_image(x)
        return image.tanh() if self.bounded else image


class Stage(nn.Module):
    """Doubles the side: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, index: int, config: FastGANConfig):
        super().__init__()
        self.index = index
        inputs, outputs = config.widths[index : index + 2]
        depth = config.convolutions[index]
        label_size = config.latent_size if config.classes else 0
        self.layers = nn.ModuleList(
            Layer(outputs if position else inputs, outputs, label_size, Noise(position) if depth == 2 else None)
            for position in range(depth)
        )
        self.excitation = Excitation(config.widths[index - 3], outputs) if index in EXCITED else None

    def forward(self, x: Tensor, label: Tensor | None, small: list[Tensor], random: torch.Generator | None) -> Tensor:
        """label: [N, latent_size]. small: what the first stages made, one of which weighs this one's channels."""
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        for layer in self.layers:
            x = layer(x, label, random)
        return x if self.excitation is None else x * self.excitation(small[self.index - 3])


def is_original(shapes: Shapes) -> bool:
    """Whether a state dict has the tensors of one of the public FastGAN or Projected GAN generators."""
    names = {name.removesuffix("_orig"): shape for name, shape in _plainly_named(shapes).items()}
    dimensions = {"init.init.0.weight": 4, "init.init.1.running_mean": 1, "se_64.main.1.weight": 4, "to_big.weight": 4}
    return all(len(names.get(name, ())) == number for name, number in dimensions.items())


def from_original(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a public FastGAN or Projected GAN generator as ours.

    Theirs divide each weight by its spectral norm (Miyato et al. 2018) whenever it is used; ours hold the quotient.
    What no image depends on is left out: the picture of 128x128 pixels that FastGAN makes besides, for its
    discriminator, and the stage that a Projected GAN of 128x128 has but does not use.

    Raises InputError for a tensor that does not belong, and where one is missing.
    """
    weights = _without_spectral_norm(_plainly_named(tensors))
    unused = _unused(weights)
    ours: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(unused):
            continue
        found = _our_names(name, two=f"{name.split('.')[0]}.5.weight" in weights)
        if not found or not ours.keys().isdisjoint(found):
            raise InputError(f"It is like a FastGAN, but has {name}, which belongs to none that is known here.")
        ours |= {place: tensor.clone() for place in found} if len(found) > 1 else {found[0]: tensor}
    check_complete(ours, ARCHITECTURE, "a FastGAN")
    return ours


# Three spellings are known: that of FastGAN's authors (odegeasslbc/FastGAN-pytorch), which Projected GAN's repeat
# (autonomousvision/projected-gan), and that of another implementation (by silentz), from which the fastgan-few-shot
# models of the HugGAN sprint come; all of the last make 1024x1024 pixels.
_SPELLINGS = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"^synthesis\."), ""),
    (re.compile(r"^_init\._layers\."), "init.init."),
    (re.compile(r"^_upsample_(\d{1,4})\._layers\."), r"feat_\1."),
    (re.compile(r"^_sle_(\d{1,4})\._layers\."), r"se_\1.main."),
    (re.compile(r"^_out_1024\.0\."), "to_big."),
    (re.compile(r"^_out_128\.0\."), "to_128."),
    (re.compile(r"\._conv\."), "."),
    (re.compile(r"\._weight$"), ".weight"),
)

Value = TypeVar("Value")


def _plainly_named(values: Mapping[str, Value]) -> dict[str, Value]:
    """By the names that FastGAN's authors give."""
    return {
        reduce(lambda name, spelling: spelling[0].sub(spelling[1], name), _SPELLINGS, name): value
        for name, value in values.items()
    }


def _without_spectral_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded = {}
    for name, tensor in tensors.items():
        if name.endswith("weight_orig"):
            plain = name.removesuffix("_orig")
            u, v = tensors.get(f"{plain}_u"), tensors.get(f"{plain}_v")
            if u is None or v is None:
                raise InputError(f"It has {name} but no {plain}_u or {plain}_v, so that its spectral norm is unknown.")
            # A transposed convolution has its outputs second.
            folded[plain] = over_spectral_norm(name, tensor, u, v, outputs=1 if name.startswith("init.") else 0)
        elif not (name.endswith(("weight_u", "weight_v")) and f"{name[:-2]}_orig" in tensors):
            folded[name] = tensor
    return folded


def over_spectral_norm(name: str, weight: Tensor, u: Tensor, v: Tensor, outputs: int) -> Tensor:
    """weight / (u^T W v), as torch computes it in evaluation. W is the weight as a matrix with a row for each output.

    weight: of any shape, its outputs in the dimension `outputs`; u, v: as torch.nn.utils.spectral_norm keeps them.

    Raises InputError where they do not fit together.
    """
    fits = weight.ndim >= 2 and u.ndim == v.ndim == 1 and len(u) == weight.shape[outputs]
    if not fits or len(u) * len(v) != weight.numel():
        raise InputError(
            f"Its {name} of shape {list(weight.shape)} does not fit the vectors of its spectral norm, of shapes "
            f"{list(u.shape)} and {list(v.shape)}."
        )
    try:
        matrix = weight.float().transpose(0, outputs).flatten(1)
        norm = torch.dot(u.float(), torch.mv(matrix, v.float()))
        if not norm.isfinite() or norm == 0:
            raise InputError(f"Its {name} has a spectral norm of {norm.item()}, by which nothing can be divided.")
        return weight.float() / norm
    except RuntimeError as error:
        raise InputError(f"Its {name} cannot be computed with ({error}).") from None


def _unused(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Beginnings of the names that no image depends on."""
    inputs = weights["to_big.weight"].shape[1:2] if "to_big.weight" in weights else ()
    excited = {
        side: weights[f"se_{side}.main.3.weight"].shape[:1] for side in SIDES if f"se_{side}.main.3.weight" in weights
    }
    if 512 not in excited and inputs == excited.get(128) != excited.get(256):
        return "to_128.", "feat_256.", "se_256."
    return ("to_128.",)


_OUTSIDE_STAGES = {"init.init.0.": "project.", "init.init.1.": "norm.", "to_big.": "to_image.", "embed.": "embed."}
_EXCITATION = {"main.1.weight": "squeeze.weight", "main.3.weight": "excite.weight"}
_STAGE_OF_ONE = {"1.": "0.conv.", "2.": "0.norm."}
_STAGE_OF_TWO = {
    **{"1.": "0.conv.", "2.weight": "0.noise.strength", "3.": "0.norm."},
    **{"5.": "1.conv.", "6.weight": "1.noise.strength", "7.": "1.norm."},
}
_LABELLED_STAGE = {
    **{"conv.": "0.conv.", "bn.stored_": "0.norm.running_", "bn.": "0.norm."},
    **{"conv1.": "0.conv.", "bn1.stored_": "0.norm.running_", "bn1.": "0.norm."},
    **{"conv2.": "1.conv.", "bn2.stored_": "1.norm.running_", "bn2.": "1.norm."},
}


def _our_names(name: str, two: bool) -> list[str]:
    """What one of their tensors is called here; nothing for one that is not known. two: of a stage of two convolutions
    in a row."""
    for theirs, ours in _OUTSIDE_STAGES.items():
        if name.startswith(theirs):
            return [ours + name.removeprefix(theirs)]
    found = re.fullmatch(r"(feat|se)_(8|16|32|64|128|256|512|1024)\.(.+)", name)
    if not found:
        return []
    kind, side, rest = found.groups()
    stage = f"stages.{int(side).bit_length() - 4}."
    if kind == "se":
        return [f"{stage}excitation.{_EXCITATION[rest]}"] if rest in _EXCITATION else []
    if rest == "noise.weight":
        return [f"{stage}layers.{layer}.noise.strength" for layer in (0, 1)]  # which share it
    for theirs, ours in {**(_STAGE_OF_TWO if two else _STAGE_OF_ONE), **_LABELLED_STAGE}.items():
        if rest.startswith(theirs):
            return [f"{stage}layers.{ours}{rest.removeprefix(theirs)}"]
    return []


def check_complete(tensors: Mapping[str, Tensor], architecture: Architecture, like: str) -> None:
    """Raises InputError unless a translated state dict has just the tensors of one of the family's generators.

    like: what the state dict is like, for people.
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
            raise InputError(f"It is like {like}, but what would be {name} here is missing.")
    for name in tensors:
        if name not in expected:
            raise InputError(f"It is like {like}, but has what would be {name} here, and none has that.")


def _detect(shapes: Shapes) -> bool:
    dimensions = {
        "project.weight": 4,
        "norm.running_mean": 1,
        "stages.0.layers.0.conv.weight": 4,
        "stages.3.excitation.squeeze.weight": 4,
        "to_image.weight": 4,
    }
    return all(len(shapes.get(name, ())) == number for name, number in dimensions.items()) and (
        len(shapes.get("embed.weight", (0, 0))) == 2
    )


def _config_from(shapes: Shapes) -> FastGANConfig:
    convolutions = list(takewhile(len, (list(_convolutions(shapes, stage)) for stage in count())))
    latent_size, doubled, *start = shapes["project.weight"]
    return FastGANConfig(
        side=start[0] * 2 ** len(convolutions),
        channels=shapes["to_image.weight"][0],
        widths=(doubled // 2, *(stage[0][0] // 2 for stage in convolutions)),
        convolutions=tuple(len(stage) for stage in convolutions),
        classes=shapes.get("embed.weight", (0, 0))[0],
        latent_size=latent_size,
        projected=int("to_image.bias" in shapes),
        start=(start[0], start[1]),
    )


def _convolutions(shapes: Shapes, stage: int) -> Iterator[tuple[int, ...]]:
    """Shapes of a stage's weights."""
    for layer in count():
        shape = shapes.get(f"stages.{stage}.layers.{layer}.conv.weight", ())
        if len(shape) != 4:
            return
        yield shape


ARCHITECTURE = Architecture(
    name="fastgan",
    config=FastGANConfig,
    generator=FastGANGenerator,
    discriminator=FastGANDiscriminator,
    normalisations=FastGANDiscriminator.NORMALISATIONS,
    design=design,
    draws=True,
    self_supervised=True,
    detect=_detect,
    config_from=_config_from,
)
