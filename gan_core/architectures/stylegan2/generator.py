"""StyleGAN2's generator (Karras et al. 2020a)."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import constant, full_precision, memory_format
from ..layers.convolution import convolution, transposed_convolution
from ..layers.resampling import doubled, smoothed
from ..layers.style import LEAK_GAIN, Linear, Mapping
from ..layers.weights import scaled
from .config import StyleGAN2Config

MIXING = 0.9
"""Probability of style mixing in training (Karras et al. 2019, sec. 3.1)."""


class StyleGAN2Generator(nn.Module):
    def __init__(self, config: StyleGAN2Config):
        super().__init__()
        self.num_ws, self.noise_sizes = config.num_ws, config.noise_sizes
        self.mixing = MIXING
        self.mapping = Mapping(config.latent_size, config.w_dim, config.classes, config.mapping_layers)
        self.synthesis = Synthesis(config)

    def forward(self, z: Tensor, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """Generates images [N, C, H, W].

        z: [N, latent_size]. labels: class numbers [N] or class weights [N, classes]. random: in training, a generator
        on the device of z for noise and style mixing; w_avg is updated then. None otherwise.
        """
        if random is None:
            return self.synthesis(self.mapping(z, labels).unsqueeze(1).expand(-1, self.num_ws, -1))
        return self.synthesis(self.mixed_styles(z, labels, random), self.fresh_noise(len(z), random))

    def mixed_styles(self, z: Tensor, labels: Tensor | None, random: torch.Generator) -> Tensor:
        """Styles [N, num_ws, w_dim] for training, with style mixing (Karras et al. 2019, sec. 3.1). Updates w_avg.

        z: [N, latent_size]. labels: class numbers [N].
        """
        other = torch.randn(z.shape, generator=random, device=random.device)
        both = None if labels is None else torch.cat([labels, labels])
        w, other = self.mapping(torch.cat([z, other]), both).chunk(2)
        self.mapping.observe(w)
        chance, place = torch.rand(2, len(z), 1, generator=random, device=random.device)
        # At least one style comes from each of the two z.
        first = 1 + (place * (self.num_ws - 1)).floor()  # [N, 1]
        layers = torch.arange(self.num_ws, device=random.device)
        mixed = (chance < self.mixing) & (layers >= first)  # [N, num_ws]
        return torch.where(mixed[:, :, None], other[:, None], w[:, None])

    def fresh_noise(self, count: int, random: torch.Generator) -> list[Tensor]:
        """Random noise maps for a number of images, as an input of the synthesis network."""
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
        """Generates images [N, C, H, W] from styles [N, num_ws, w_dim].

        noise: a map [N or 1, 1, h, w] for each convolution, in the order of the config's noise_sizes, or one that
        broadcasts to it; None for the stored maps.
        """
        maps = iter(noise) if noise is not None else None
        x, image = None, None
        layers = styles.unbind(dim=1)
        for i, name in enumerate(self.names):
            # The image of a block and the first convolution of the next one share a style.
            x, image = self.get_submodule(name)(x, image, layers[max(2 * i - 1, 0) : 2 * i + 2], maps)
        assert image is not None
        return image


class Block(nn.Module):
    """Block of one resolution: upsampling, two convolutions, and their contribution to the image."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], config: StyleGAN2Config):
        super().__init__()
        if inputs:
            self.conv0 = Convolution(inputs, outputs, size, config, up=True)
        else:
            self.const = nn.Parameter(torch.randn(outputs, *size))
        self.conv1 = Convolution(outputs, outputs, size, config, constant_input=not inputs)
        self.torgb = ToRGB(outputs, config)
        self.first = not inputs

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: Sequence[Tensor], noise: Iterator[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Returns features and image at the resolution of the block. styles: 2 or 3 of [N, w_dim]."""
        if x is None:
            x = self.const.expand(len(styles[0]), -1, -1, -1)
            x = x.contiguous(memory_format=memory_format(x.device))
        else:
            x = self.conv0(x, styles[0], noise)
        x = self.conv1(x, styles[-2], noise)
        added = self.torgb(x, styles[-1])
        if image is None:
            return x, added
        with full_precision(image.device):
            return x, doubled(image) + added


class Convolution(nn.Module):
    """Modulated 3x3 convolution with noise, bias and leaky ReLU; with `up`, upsampling by 2.

    A leaky ReLU has a gain of sqrt 2 (LEAK_GAIN). It is applied where its features are scaled next.
    """

    noise_const: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        config: StyleGAN2Config,
        up: bool = False,
        constant_input: bool = False,
    ):
        """constant_input: whether the input is the learned constant, and of no leaky ReLU."""
        super().__init__()
        self.up, self.clamp = up, config.clamp / LEAK_GAIN
        self.input_gain = 1.0 if constant_input else LEAK_GAIN
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("noise_const", torch.randn(*size))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor, noise: Iterator[Tensor] | None) -> Tensor:
        """Maps x [N, inputs, H, W] and w [N, w_dim] to [N, outputs, H, W], or twice the side."""
        style = self.affine(w)  # [N, inputs]
        scale = demodulation(self.weight, style, self.input_gain)  # [N, outputs]
        added = (self.noise_const[None, None] if noise is None else next(noise)) * self.noise_strength
        if len(x) == 1 and x.numel() > self.weight.numel():
            # Scaled weights: fewer numbers to go through than features, where an image is large.
            weight = self.weight * (scale.view(-1, 1) * style).view(*self.weight.shape[:2], 1, 1)
            x = self._convolved(x, weight, self.bias).add_(added)
        else:
            # One convolution for the whole batch, of scaled features, instead of a weight for every image.
            x = self._convolved(x * per_feature(style, x.dtype), self.weight)
            # Noise and bias are added to each other with features last, as in channels-last memory.
            added = added.to(x.dtype).view(len(added), *added.shape[2:], 1) + self.bias.to(x.dtype)
            added = added.movedim(3, 1)  # [N or 1, O, h, w]
            x = (x * per_feature(scale, x.dtype)).add_(added)
        x = functional.leaky_relu_(x, 0.2)
        if not self.clamp:
            return x
        return x.clamp(-self.clamp, self.clamp) if x.requires_grad else x.clamp_(-self.clamp, self.clamp)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self.up:
            return convolution(x, weight, bias, padding=(1, 1))
        size = 2 * x.shape[2] + 1, 2 * x.shape[3] + 1
        x = transposed_convolution(x, weight.transpose(0, 1), size, stride=(2, 2))
        return smoothed(x, bias)


class ToRGB(nn.Module):
    """Features to image channels: a modulated 1x1 convolution without demodulation."""

    def __init__(self, inputs: int, config: StyleGAN2Config):
        super().__init__()
        self.clamp = config.clamp
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps x [N, inputs, H, W] and w [N, w_dim] to [N, channels, H, W]."""
        # With so few outputs a weight for each image is cheaper than scaled features.
        channels, inputs = self.weight.shape[:2]
        style = scaled(self.affine(w), LEAK_GAIN / math.sqrt(inputs))
        weight = self.weight.view(channels, inputs) * style.view(-1, 1, inputs)  # [N, channels, inputs]
        # The image is summed in full precision, also in training with reduced precision.
        image = torch.bmm(weight, x.flatten(2)).to(weight.dtype).view(len(x), channels, *x.shape[2:])
        image = image + self.bias.view(-1, 1, 1)
        return image.clamp(-self.clamp, self.clamp) if self.clamp else image


def demodulation(weight: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
    """Demodulation factors [N, O], which give outputs of a deviation of `gain` (Karras et al. 2020a, eq. 3).

    weight: [O, I, k, k]. style: [N, I]. Computed in full precision, also under autocast.
    """
    share = 1 / gain**2
    with full_precision(style.device):
        energy = (weight * weight).sum(dim=(2, 3))  # whose gradient takes fewer operations than that of a square
        epsilon = _epsilon(style.device, style.dtype)
        return torch.addmm(epsilon, style * style, energy.t(), beta=share, alpha=share).rsqrt()


@constant
def _epsilon(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.full((1,), 1e-8, device=device, dtype=dtype)


def per_feature(factors: Tensor, dtype: torch.dtype) -> Tensor:
    """Factors [N, C], in a dtype, as they are broadcast to features [N, C, H, W]."""
    return factors.to(dtype).view(*factors.shape, 1, 1)
