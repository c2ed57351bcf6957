"""StyleGAN2: a generator whose every layer is told its style (Karras et al. 2020a, and 2020b for ADA).

A mapping network turns noise z into a style w, and the synthesis network grows a learned 4x4 block into an image. Each
of its convolutions is modulated by a style: input channels are scaled by it, and outputs rescaled to unit variance.
Small noise maps add what is random in a picture, such as where each hair lies; every resolution adds to the image
through a 1x1 convolution of its own.

The tensors have the names that NVIDIA's networks give them, since that is how such generators are known and shared.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .architecture import Architecture, Shapes, as_vectors, check_channels

SIDES = tuple(2**power for power in range(3, 13))

LARGEST = 2**16
"""Of every number in a config but the side, so that one from a file cannot ask for a network beyond all bounds."""

MAPPING_RATE = 0.01
"""Learning rate of the mapping network relative to the rest, built into its weights (Karras et al. 2019, app. C)."""


@dataclass(frozen=True)
class StyleGAN2Config:
    side: int
    """Height and width of the images: a power of two from 8 to 4096."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features at 4x4, 8x8 and so on up to the image's side."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 512
    """Length of z."""
    w_dim: int = 512
    """Length of a style w."""
    mapping_layers: int = 8
    clamp: int = 256
    """Features are kept within plus and minus this, for half precision's sake; 0 for no bounds."""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise InputError(
                f"stylegan2 makes images whose side is a power of two from {SIDES[0]} to {SIDES[-1]} pixels, "
                f"not {self.side}."
            )
        check_channels("stylegan2", self.channels)
        if len(self.widths) != len(self.sides) or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(
                f"stylegan2 needs a width of 1 to {LARGEST} for each of the {len(self.sides)} sides from 4 to "
                f"{self.side}, not {list(self.widths)}."
            )
        if not (1 <= self.latent_size <= LARGEST and 1 <= self.w_dim <= LARGEST and 0 <= self.classes <= LARGEST):
            raise InputError(
                f"stylegan2 needs a latent size and a w_dim of 1 to {LARGEST} and at most {LARGEST} classes, not "
                f"{self.latent_size}, {self.w_dim} and {self.classes}."
            )
        if not (1 <= self.mapping_layers <= 32 and 0 <= self.clamp <= LARGEST):
            raise InputError(
                f"stylegan2 needs 1 to 32 mapping layers and a clamp of 0 to {LARGEST}, not {self.mapping_layers} "
                f"and {self.clamp}."
            )

    @property
    def sides(self) -> list[int]:
        """Sides of the blocks, from 4 to the image's."""
        return [2**power for power in range(2, self.side.bit_length())]

    @property
    def num_ws(self) -> int:
        """Number of styles: one for each convolution, and one for the last block's image."""
        return 2 * len(self.sides)

    @property
    def noise_sides(self) -> list[int]:
        """Side of each convolution's noise map, in order."""
        return [4, *(side for side in self.sides[1:] for _ in range(2))]


def widths(side: int, base: int = 32768, largest: int = 512) -> tuple[int, ...]:
    """Features for each side as NVIDIA's tools count them: base / side, and no more than `largest`."""
    return tuple(min(base // 2**power, largest) for power in range(2, side.bit_length()))


class StyleGAN2Generator(nn.Module):
    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        self.num_ws = config.num_ws
        self.mapping = Mapping(config.latent_size, config.w_dim, config.classes, config.mapping_layers)
        self.synthesis = Synthesis(config)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] class numbers or [N, classes] weights. Returns images [N, C, side, side]."""
        return self.synthesis(self.mapping(z, labels).unsqueeze(1).expand(-1, self.num_ws, -1))


class Mapping(nn.Module):
    """z, and the label, to w. StyleGAN3's is the same."""

    w_avg: Tensor

    def __init__(self, latent_size: int, w_dim: int, classes: int, layers: int):
        super().__init__()
        self.classes, self.layers = classes, layers
        self.embed = Linear(classes, w_dim) if classes else None
        inputs = latent_size + (w_dim if classes else 0)
        for i in range(layers):
            self.add_module(f"fc{i}", Linear(inputs if i == 0 else w_dim, w_dim, rate=MAPPING_RATE))
        # The running mean of w over training, which truncation draws towards.
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] or [N, classes]. Returns w, [N, w_dim]."""
        x = normalised(z)
        if self.embed is not None:
            assert labels is not None
            x = torch.cat([x, normalised(self.embed(as_vectors(labels, self.classes)))], dim=1)
        for i in range(self.layers):
            x = functional.leaky_relu(self.get_submodule(f"fc{i}")(x), 0.2) * math.sqrt(2)
        return x


class Synthesis(nn.Module):
    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        self.sides = config.sides
        inputs = 0
        for side, outputs in zip(config.sides, config.widths, strict=True):
            self.add_module(f"b{side}", Block(inputs, outputs, side, config))
            inputs = outputs

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """styles: [N, num_ws, w_dim]. noise: a map [N or 1, 1, r, r] for each convolution, in the order of the config's
        noise_sides, or one that broadcasts to it; None for those that are stored. Returns images [N, C, side, side]."""
        maps = iter(noise) if noise is not None else None
        x, image = None, None
        for i, side in enumerate(self.sides):
            # The image of one block takes the style of the next one's first convolution.
            x, image = self.get_submodule(f"b{side}")(x, image, styles[:, max(2 * i - 1, 0) : 2 * i + 2], maps)
        assert image is not None
        return image


class Block(nn.Module):
    """One resolution: twice the side of the last, two convolutions, and what they add to the image."""

    def __init__(self, inputs: int, outputs: int, side: int, config: StyleGAN2Config):
        super().__init__()
        if inputs:
            self.conv0 = Convolution(inputs, outputs, side, config, up=True)
        else:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        self.conv1 = Convolution(outputs, outputs, side, config)
        self.torgb = ToRGB(outputs, config)
        self.first = not inputs

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: Tensor, noise: Iterator[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """styles: [N, 2 or 3, w_dim]. Returns features and image of the block's side."""
        if x is None:
            x = self.const.expand(len(styles), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        else:
            x = self.conv0(x, styles[:, 0], noise)
        x = self.conv1(x, styles[:, -2], noise)
        added = self.torgb(x, styles[:, -1])
        return x, added if image is None else doubled(image) + added


class Convolution(nn.Module):
    """A 3x3 convolution that its style modulates, noise, bias and leaky ReLU; with `up`, to twice the side."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, config: StyleGAN2Config, up: bool = False):
        super().__init__()
        self.up, self.clamp = up, config.clamp
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Iterator[Tensor] | None) -> Tensor:
        """x: [N, inputs, H, W], w: [N, w_dim]. Returns [N, outputs, H, W], or of twice the side."""
        style = self.affine(w)  # [N, inputs]
        # The leaky ReLU keeps positive factors, so its gain of sqrt 2 is applied where there is a factor already.
        scale = demodulation(self.weight, style) * math.sqrt(2)  # [N, outputs]
        bias = self.bias * math.sqrt(2)
        added = self.noise_const[None, None] if noise is None else next(noise)
        added = added * (self.noise_strength * math.sqrt(2))  # [N or 1, 1, r, r]
        if len(x) == 1 and x.numel() > self.weight.numel():
            # Scaled weights: fewer numbers to go through than features, where an image is large.
            weight = self.weight * (scale[0, :, None] * style[0])[:, :, None, None]
            x = self._convolved(x, weight, bias).add_(added)
        else:
            # One convolution for the whole batch: scaled features, and not a weight for every image.
            x = self._convolved(x * style[:, :, None, None], self.weight)
            # Channels last in memory, as the features are: the sum would turn them round.
            added = (added.movedim(1, 3) + bias).movedim(3, 1)  # [N or 1, O, r, r]
            x = torch.addcmul(added, x, scale[:, :, None, None])
        x = functional.leaky_relu_(x, 0.2)
        if not self.clamp:
            return x
        return x.clamp(-self.clamp, self.clamp) if x.requires_grad else x.clamp_(-self.clamp, self.clamp)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self.up:
            return functional.conv2d(x, weight, bias, padding=1)
        x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, O, 2H + 1, 2W + 1]
        return smoothed(x, bias)


class ToRGB(nn.Module):
    """Features to image channels: a modulated 1x1 convolution that is not demodulated."""

    def __init__(self, inputs: int, config: StyleGAN2Config):
        super().__init__()
        self.clamp = config.clamp
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x: [N, inputs, H, W], w: [N, w_dim]. Returns [N, channels, H, W]."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        # So few outputs that a weight for each image is cheaper than scaled features.
        weight = self.weight.flatten(1) * style[:, None, :]  # [N, channels, inputs]
        image = (weight @ x.flatten(2)).unflatten(2, x.shape[2:]) + self.bias[:, None, None]
        return image.clamp(-self.clamp, self.clamp) if self.clamp else image


class Linear(nn.Module):
    """A dense layer with an equalised learning rate: weights are kept at unit scale (Karras et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full([outputs], bias / rate))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.rate / math.sqrt(self.weight.shape[1]))
        return functional.linear(x, weight, self.bias * self.rate)


def normalised(x: Tensor) -> Tensor:
    """Rows of [N, C] with a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What keeps the outputs of a modulated convolution at unit variance (Karras et al. 2020a, eq. 3).

    weight: [O, I, k, k], style: [N, I]. Returns factors [N, O].
    """
    weight = weight.flatten(2)
    return (style.square() @ torch.einsum("oik,oik->io", weight, weight) + 1e-8).rsqrt()


# The filter [1, 3, 3, 1] / 4 along one side: what zeros between samples become is twice the neighbours' mean.
_SMOOTH = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4


def smoothed(x: Tensor, bias: Tensor | None) -> Tensor:
    """The filter [1, 3, 3, 1] along both sides, with a gain of 4. x: [N, C, H + 1, W + 1]. Returns [N, C, H, W]."""
    channels = x.shape[1]
    kernel = torch.outer(_SMOOTH, _SMOOTH).to(x)
    return functional.conv2d(x, kernel.expand(channels, 1, 4, 4), bias, padding=1, groups=channels)


def doubled(image: Tensor) -> Tensor:
    """An image at twice the side. [N, C, H, W] -> [N, C, 2H, 2W]."""
    channels = image.shape[1]
    kernel = torch.outer(_SMOOTH, _SMOOTH).to(image)
    return functional.conv_transpose2d(image, kernel.expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def is_original(shapes: Shapes) -> bool:
    """Whether a state dict has the tensors of NVIDIA's own, which are ours and constant filters."""
    return not _detect(shapes) and _detect(_without_filters(shapes))


def _without_filters(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith("resample_filter")}


def from_original(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of NVIDIA's as ours. Raises InputError where a layer is filtered by another filter than ours."""
    for name, tensor in tensors.items():
        if name.endswith("resample_filter"):
            usual = torch.outer(_SMOOTH, _SMOOTH) / 4
            if tensor.shape != usual.shape or not torch.allclose(tensor.float(), usual, atol=1e-4):
                raise InputError(f"Its {name} is not the filter [1, 3, 3, 1], and no other is known here.")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("resample_filter")}


_BLOCK = re.compile(r"synthesis\.b(\d{1,5})\.torgb\.weight")


def _sides(shapes: Shapes) -> list[int]:
    return sorted(int(found[1]) for found in map(_BLOCK.fullmatch, shapes) if found)


def _detect(shapes: Shapes) -> bool:
    dimensions = {"mapping.fc0.weight": 2, "mapping.w_avg": 1, "synthesis.b4.const": 3, "synthesis.b4.conv1.weight": 4}
    return (
        not any(name.endswith("resample_filter") for name in shapes)
        and all(len(shapes.get(name, ())) == count for name, count in dimensions.items())
        and len(shapes.get("mapping.embed.weight", (0, 0))) == 2
        and len(_sides(shapes)) > 1
    )


def _config_from(shapes: Shapes) -> StyleGAN2Config:
    sides = _sides(shapes)
    convolutions = [shapes.get(f"synthesis.b{side}.conv1.weight", ()) for side in sides]
    to_image = shapes[f"synthesis.b{sides[-1]}.torgb.weight"]
    if any(len(shape) != 4 for shape in (*convolutions, to_image)):
        raise InputError("its blocks are not those of a StyleGAN2 with images added up over the resolutions.")
    w_dim, inputs = shapes["mapping.fc0.weight"]
    embedding = shapes.get("mapping.embed.weight", (0, 0))
    return StyleGAN2Config(
        side=sides[-1],
        channels=to_image[0],
        widths=tuple(shape[0] for shape in convolutions),
        classes=embedding[1],
        latent_size=inputs - embedding[0],
        w_dim=w_dim,
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes),
    )


ARCHITECTURE = Architecture(
    name="stylegan2",
    config=StyleGAN2Config,
    generator=StyleGAN2Generator,
    detect=_detect,
    config_from=_config_from,
    styles=lambda config: (config.w_dim, config.num_ws),
    controls=frozenset({"noise"}),
)
