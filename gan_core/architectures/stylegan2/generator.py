"""StyleGAN2's generator (Karras et al. 2020a)."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import full_precision, in_order, memory_format
from ..layers.resampling import doubled, smoothed
from ..layers.style import Linear, Mapping
from .config import StyleGAN2Config

MIXING = 0.9
"""Of the images in training, the share that is made of two styles (Karras et al. 2019, sec. 3.1)."""


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
