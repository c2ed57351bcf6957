"""StyleGAN2: a generator whose every layer is told its style (Karras et al. 2020a, and 2020b for ADA).

A mapping network turns noise z into a style w, and the synthesis network grows a learned 4x4 block into an image. Each
of its convolutions is modulated by a style: input channels are scaled by it, and outputs rescaled to unit variance.
Small noise maps add what is random in a picture, such as where each hair lies; every resolution adds to the image
through a 1x1 convolution of its own. The discriminator walks back in residual blocks, and is told at its end how much
the images beside one another differ.

The generator's tensors have the names that NVIDIA's networks give them, since that is how they are known and shared.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ..platforms import full_precision, in_order, memory_format
from .architecture import Architecture, Shapes, check_channels, check_start, has_tensors, size_of
from .layers.resampling import doubled, smoothed
from .layers.style import Linear, Mapping
from .stylegan2_discriminator import StyleGAN2Discriminator

SMALLEST_SIDE, LARGEST_SIDE = 8, 4096
"""Of the height and width of an image."""

LARGEST = 2**16
"""Of every number in a config but the side, so that one from a file cannot ask for a network beyond all bounds."""

MIXING = 0.9
"""Of the images in training, the share that is made of two styles (Karras et al. 2019, sec. 3.1)."""


@dataclass(frozen=True)
class StyleGAN2Config:
    side: int
    """Height of the images, from 8 to 4096: that of the first block, doubled again and again."""
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    widths: tuple[int, ...]
    """Features of the first block, of that with twice its side and so on up to the image's."""
    classes: int = 0
    """Number of class labels; 0 for a generator without."""
    latent_size: int = 512
    """Length of z."""
    w_dim: int = 512
    """Length of a style w."""
    mapping_layers: int = 8
    clamp: int = 256
    """Features are kept within plus and minus this, for half precision's sake; 0 for no bounds."""
    start: tuple[int, int] = (4, 4)
    """Height and width of the first block."""

    def __post_init__(self) -> None:
        check_start("stylegan2", self.side, self.start)
        height, width = size_of(self)
        if not (min(height, width) >= SMALLEST_SIDE and max(height, width) <= LARGEST_SIDE):
            raise InputError(
                f"stylegan2 makes images of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels in height and width, not "
                f"{width}x{height}."
            )
        check_channels("stylegan2", self.channels)
        if len(self.widths) != len(self.sizes) or not all(1 <= width <= LARGEST for width in self.widths):
            raise InputError(
                f"stylegan2 needs a width of 1 to {LARGEST} for each of the {len(self.sizes)} heights from "
                f"{self.start[0]} to {self.side}, not {list(self.widths)[:65]}."
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
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the blocks, from the first to the image's."""
        height, width = self.start
        doublings = (self.side // height).bit_length()
        return [(height * 2**power, width * 2**power) for power in range(doublings)]

    @property
    def names(self) -> list[str]:
        """Of the blocks: b4, b8 and so on, after the sides that they have where the first is 4x4."""
        return [f"b{4 * 2**power}" for power in range(len(self.sizes))]

    @property
    def num_ws(self) -> int:
        """Number of styles: one for each convolution, and one for the last block's image."""
        return 2 * len(self.sizes)

    @property
    def noise_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each convolution's noise map, in order."""
        return [self.sizes[0], *(size for size in self.sizes[1:] for _ in range(2))]


def widths(side: int, base: int = 32768, largest: int = 512) -> tuple[int, ...]:
    """Features for each side as NVIDIA's tools count them: base / side, and no more than `largest`."""
    return tuple(min(base // 2**power, largest) for power in range(2, side.bit_length()))


def design(
    side: int,
    start: tuple[int, int],
    channels: int,
    classes: int,
    base: int = 32768,
    largest: int = 512,
    latent_size: int = 512,
    w_dim: int = 512,
    mapping_layers: int = 8,
) -> StyleGAN2Config:
    """The networks for images of some size. base, largest: as for `widths`; a first block of any shape counts as 4x4.

    Raises InputError for a size that a first block of that shape does not grow to.
    """
    check_start("stylegan2", side, start)
    features = widths(4 * side // start[0], base, largest)
    # No bounds: they are for float16, and training here computes in bfloat16, whose numbers go as far as float32's.
    return StyleGAN2Config(side, channels, features, classes, latent_size, w_dim, mapping_layers, clamp=0, start=start)


class StyleGAN2Generator(nn.Module):
    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        self.num_ws, self.noise_sizes = config.num_ws, config.noise_sizes
        self.mixing = MIXING
        self.mapping = Mapping(config.latent_size, config.w_dim, config.classes, config.mapping_layers)
        self.synthesis = Synthesis(config)

    def forward(self, z: Tensor, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """z: [N, latent_size], labels: [N] class numbers or [N, classes] weights. Returns images [N, C, H, W].

        random, on the device of z: while it trains, for fresh noise and for the mixing of styles; it moves w_avg then.
        """
        if random is None:
            return self.synthesis(self.mapping(z, labels).unsqueeze(1).expand(-1, self.num_ws, -1))
        return self.synthesis(self.mixed_styles(z, labels, random), self.fresh_noise(len(z), random))

    def mixed_styles(self, z: Tensor, labels: Tensor | None, random: torch.Generator) -> Tensor:
        """Styles to train with, of which w_avg takes note: from some layer on those of another z, for `mixing` of the
        images (Karras et al. 2019, sec. 3.1).

        z: [N, latent_size], labels: [N]. Returns [N, num_ws, w_dim].
        """
        w = self.mapping(z, labels)
        self.mapping.observe(w)
        other = self.mapping(torch.randn(z.shape, generator=random, device=random.device), labels)
        chance, place = torch.rand(2, len(z), 1, generator=random, device=random.device)
        # One style at least is the first z's, and one the other's.
        first = 1 + (place * (self.num_ws - 1)).floor()  # [N, 1]
        layers = torch.arange(self.num_ws, device=random.device)
        mixed = (chance < self.mixing) & (layers >= first)  # [N, num_ws]
        return torch.where(mixed[:, :, None], other[:, None], w[:, None])

    def fresh_noise(self, count: int, random: torch.Generator) -> list[Tensor]:
        """Noise maps for so many images, as the synthesis network takes them."""
        return [torch.randn(count, 1, *size, generator=random, device=random.device) for size in self.noise_sizes]


class Synthesis(nn.Module):
    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        self.names = config.names
        inputs = 0
        for name, size, outputs in zip(config.names, config.sizes, config.widths, strict=True):
            self.add_module(name, Block(inputs, outputs, size, config))
            inputs = outputs

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """styles: [N, num_ws, w_dim]. noise: a map [N or 1, 1, h, w] for each convolution, in the order of the config's
        noise_sizes, or one that broadcasts to it; None for those that are stored. Returns images [N, C, H, W]."""
        maps = iter(noise) if noise is not None else None
        x, image = None, None
        for i, name in enumerate(self.names):
            # The image of one block takes the style of the next one's first convolution.
            x, image = self.get_submodule(name)(x, image, styles[:, max(2 * i - 1, 0) : 2 * i + 2], maps)
        assert image is not None
        return image


class Block(nn.Module):
    """One resolution: twice the side of the last, two convolutions, and what they add to the image."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], config: StyleGAN2Config):
        super().__init__()
        if inputs:
            self.conv0 = Convolution(inputs, outputs, size, config, up=True)
        else:
            self.const = nn.Parameter(torch.randn(outputs, *size))
        self.conv1 = Convolution(outputs, outputs, size, config)
        self.torgb = ToRGB(outputs, config)
        self.first = not inputs

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: Tensor, noise: Iterator[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """styles: [N, 2 or 3, w_dim]. Returns features and image of the block's size."""
        if x is None:
            x = self.const.expand(len(styles), -1, -1, -1)
            x = x.contiguous(memory_format=memory_format(x.device))
        else:
            x = self.conv0(x, styles[:, 0], noise)
        x = self.conv1(x, styles[:, -2], noise)
        added = self.torgb(x, styles[:, -1])
        return x, added if image is None else doubled(image) + added


class Convolution(nn.Module):
    """A 3x3 convolution that its style modulates, noise, bias and leaky ReLU; with `up`, to twice the side."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], config: StyleGAN2Config, up: bool = False):
        super().__init__()
        self.up, self.clamp = up, config.clamp
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("noise_const", torch.randn(*size))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Iterator[Tensor] | None) -> Tensor:
        """x: [N, inputs, H, W], w: [N, w_dim]. Returns [N, outputs, H, W], or of twice the side."""
        style = self.affine(w)  # [N, inputs]
        # The leaky ReLU keeps positive factors, so its gain of sqrt 2 is applied where there is a factor already.
        scale = demodulation(self.weight, style) * math.sqrt(2)  # [N, outputs]
        bias = self.bias * math.sqrt(2)
        added = self.noise_const[None, None] if noise is None else next(noise)
        added = added * (self.noise_strength * math.sqrt(2))  # [N or 1, 1, h, w]
        if len(x) == 1 and x.numel() > self.weight.numel():
            # Scaled weights: fewer numbers to go through than features, where an image is large.
            weight = self.weight * (scale[0, :, None] * style[0])[:, :, None, None]
            x = self._convolved(x, weight, bias).add_(added)
        else:
            # One convolution for the whole batch: scaled features, and not a weight for every image.
            x = self._convolved(x * style[:, :, None, None].to(x.dtype), self.weight)
            # In the features' type, which is a shorter one where a training computes in it; and channels last in
            # memory, as they are: the sum would turn them round.
            added = in_order((added.to(x.dtype).movedim(1, 3) + bias.to(x.dtype)).movedim(3, 1))  # [N or 1, O, h, w]
            x = torch.addcmul(added, x, scale[:, :, None, None].to(x.dtype))
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
        # The image is added up in full precision, also where a training computes in a shorter one.
        image = (weight @ x.flatten(2)).to(weight.dtype).unflatten(2, x.shape[2:]) + self.bias[:, None, None]
        return image.clamp(-self.clamp, self.clamp) if self.clamp else image


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What keeps the outputs of a modulated convolution at unit variance (Karras et al. 2020a, eq. 3).

    weight: [O, I, k, k], style: [N, I]. Returns factors [N, O], in full precision under autocast too.
    """
    weight = weight.flatten(2)
    with full_precision(style.device):
        return (style.square() @ torch.einsum("oik,oik->io", weight, weight) + 1e-8).rsqrt()


_BLOCK = re.compile(r"synthesis\.b(\d{1,5})\.torgb\.weight")


def _sides(shapes: Shapes) -> list[int]:
    return sorted(int(found[1]) for found in map(_BLOCK.fullmatch, shapes) if found)


def _detect(shapes: Shapes) -> bool:
    required = {"mapping.fc0.weight": 2, "mapping.w_avg": 1, "synthesis.b4.const": 3, "synthesis.b4.conv1.weight": 4}
    return (
        not any(name.endswith("resample_filter") for name in shapes)
        and has_tensors(shapes, required, optional={"mapping.embed.weight": 2})
        and len(_sides(shapes)) > 1
    )


def _config_from(shapes: Shapes) -> StyleGAN2Config:
    sides = _sides(shapes)
    if sides != [4 * 2**power for power in range(len(sides))]:
        raise InputError("its blocks do not double their side from one to the next.")
    convolutions = [shapes.get(f"synthesis.b{side}.conv1.weight", ()) for side in sides]
    height, width = shapes["synthesis.b4.const"][1:]
    to_image = shapes[f"synthesis.b{sides[-1]}.torgb.weight"]
    if any(len(shape) != 4 for shape in (*convolutions, to_image)):
        raise InputError("its blocks are not those of a StyleGAN2 with images added up over the resolutions.")
    w_dim, inputs = shapes["mapping.fc0.weight"]
    embedding = shapes.get("mapping.embed.weight", (0, 0))
    return StyleGAN2Config(
        side=height * sides[-1] // 4,
        channels=to_image[0],
        widths=tuple(shape[0] for shape in convolutions),
        classes=embedding[1],
        latent_size=inputs - embedding[0],
        w_dim=w_dim,
        mapping_layers=sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in shapes),
        start=(height, width),
    )


ARCHITECTURE = Architecture(
    name="stylegan2",
    config=StyleGAN2Config,
    generator=StyleGAN2Generator,
    discriminator=StyleGAN2Discriminator,
    detect=_detect,
    config_from=_config_from,
    design=design,
    draws=True,
    styles=lambda config: (config.w_dim, config.num_ws),
    controls=frozenset({"noise"}),
)
