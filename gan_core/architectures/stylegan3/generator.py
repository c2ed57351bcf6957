"""StyleGAN3's generator (Karras et al. 2021)."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ..layers.style import Linear, Mapping
from .config import MAX_NUMBER, StyleGAN3Config
from .signals import (
    CLAMP,
    CRITICAL_LAYERS,
    Band,
    bands,
    filtered_leaky_relu,
    low_pass,
    radial_low_pass,
)

FINER = 2
"""Factor by which the grid of the leaky ReLU is finer than the finer grid of a layer."""

TAPS = 6
"""Taps of a filter per resampling factor."""

BRIGHTNESS = 0.25
"""Factor of the last layer's output."""


def transform(translate_x: float = 0.0, translate_y: float = 0.0, rotation: float = 0.0, scale: float = 1.0) -> Tensor:
    """Transform matrix [3, 3] for the synthesis network, which moves the whole image.

    The image is scaled by `scale` and rotated anticlockwise by `rotation` degrees, both about its centre, and then
    translated to the right by `translate_x` image widths and down by `translate_y` image heights. With a scale of 1
    this equals --translate and --rotate of NVIDIA's gen_images.py. Raises InputError for values out of range.
    """
    in_range = all(abs(value) <= MAX_NUMBER for value in (translate_x, translate_y, rotation))
    if not (in_range and 1 / MAX_NUMBER <= scale <= MAX_NUMBER):
        raise InputError(
            f"A transform must have translations and a rotation of at most {MAX_NUMBER}, and a scale of 1/{MAX_NUMBER} "
            f"to {MAX_NUMBER} (got {translate_x}, {translate_y}, {rotation} and {scale})."
        )
    cosine, sine = math.cos(math.radians(rotation)) * scale, math.sin(math.radians(rotation)) * scale
    # Rows count downwards, so that this looks anticlockwise.
    placed = np.array([[cosine, sine, translate_x], [-sine, cosine, translate_y], [0, 0, 1]])
    # The network needs the inverse: from coordinates of the output to those of the input.
    return torch.from_numpy(np.linalg.inv(placed)).float()


class StyleGAN3Generator(nn.Module):
    def __init__(self, config: StyleGAN3Config):
        super().__init__()
        self.num_ws = config.num_ws
        self.mapping = Mapping(config.latent_size, config.w_dim, config.classes, config.mapping_layers)
        self.synthesis = Synthesis(config)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates images [N, C, side, side].

        z: [N, latent_size]. labels: class numbers [N] or class weights [N, classes].
        """
        return self.synthesis(self.mapping(z, labels).unsqueeze(1).expand(-1, self.num_ws, -1))


class Synthesis(nn.Module):
    def __init__(self, config: StyleGAN3Config):
        super().__init__()
        layers = len(config.widths)
        signals = bands(config.side, layers)
        self.input = PlaneWaves(config.widths[0], signals[0], config.w_dim)
        self.names = []
        inputs, before = config.widths[0], signals[0]
        for i, (outputs, after) in enumerate(zip((*config.widths, config.channels), signals, strict=True)):
            self.names.append(f"L{i}_{after.size}_{outputs}")
            if i == layers:
                layer: nn.Module = ToImage(inputs, outputs, config.w_dim)
            else:
                # Critically sampled layers fill the square of frequencies, whose corners a radial filter would remove.
                radial = config.conv_kernel == 1 and i < layers - CRITICAL_LAYERS
                layer = Layer(inputs, outputs, config.conv_kernel, before, after, radial, config.w_dim)
            self.add_module(self.names[-1], layer)
            inputs, before = outputs, after

    def forward(self, styles: Tensor, transform: Tensor | None = None) -> Tensor:
        """Generates images [N, C, side, side] from styles [N, num_ws, w_dim].

        transform: a matrix [3, 3] from the function `transform`, or one for each image [N or 1, 3, 3]; None for the
        stored one.
        """
        x = self.input(styles[:, 0], transform)
        for i, name in enumerate(self.names):
            x = self.get_submodule(name)(x, styles[:, i + 1])
        return x * BRIGHTNESS


class PlaneWaves(nn.Module):
    """Input of the first layer: plane waves of fixed frequencies and phases, mixed by a matrix (sec. 3.2)."""

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, features: int, band: Band, w_dim: int):
        super().__init__()
        self.band = band
        self.affine = Linear(w_dim, 4)
        self.weight = nn.Parameter(torch.randn(features, features))
        self.register_buffer("transform", torch.eye(3))
        # Frequencies are uniform over the disc of the band.
        angle, radius = 2 * math.pi * torch.rand(features), band.cutoff * torch.rand(features).sqrt()
        self.register_buffer("freqs", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
        self.register_buffer("phases", torch.rand(features) - 0.5)
        with torch.no_grad():  # initially the learned transform is the identity
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.eye(4)[0])

    def forward(self, w: Tensor, transform: Tensor | None) -> Tensor:
        """Features [N, features, size, size]. w: [N, w_dim]. transform: [3, 3], [1, 3, 3] or [N, 3, 3]."""
        motion = self._learned_motion(w) @ (self.transform if transform is None else transform)
        phases = self.phases + (self.freqs @ motion[:, :2, 2:]).squeeze(2)  # [N, features]
        freqs = self.freqs @ motion[:, :2, :2]  # [N, features, 2]
        # A smaller scale raises the frequencies, which fade out before the Nyquist limit of the grid.
        nyquist, cutoff = self.band.rate / 2, self.band.cutoff
        amplitudes = (1 - (freqs.norm(dim=2) - cutoff) / (nyquist - cutoff)).clamp(0, 1)
        size = self.band.size
        places = (torch.arange(size, device=w.device) - (size - 1) / 2) / self.band.rate
        across = places[:, None] * freqs[:, None, None, :, 0]  # [N, 1, size, features]
        down = places[:, None, None] * freqs[:, None, None, :, 1]  # [N, size, 1, features]
        waves = (2 * math.pi * (across + (down + phases[:, None, None]))).sin_() * amplitudes[:, None, None]
        return (waves @ (self.weight.T / math.sqrt(len(self.weight)))).movedim(3, 1)

    def _learned_motion(self, w: Tensor) -> Tensor:
        """Learned transform of each image, a translation followed by a rotation: [N, 3, 3]."""
        motion = self.affine(w)
        cosine, sine, x, y = (motion / motion[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rotation = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]]
        translation = [[one, zero, -x], [zero, one, -y], [zero, zero, one]]
        return _stacked(rotation) @ _stacked(translation)


class Layer(nn.Module):
    """Modulated convolution and filtered leaky ReLU, from one grid to the next."""

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, before: Band, after: Band, radial: bool, w_dim: int):
        super().__init__()
        rate = FINER * max(before.rate, after.rate)
        self.up, self.size = rate // before.rate, after.size
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # Running mean square of the input features in training, which normalises them.
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("up_filter", low_pass(TAPS * self.up, before, rate))
        design = radial_low_pass if radial else low_pass
        self.register_buffer("down_filter", design(TAPS * rate // after.rate, after, rate))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps x [N, inputs, H, H] and w [N, w_dim] to [N, outputs, size, size]."""
        # A leaky ReLU commutes with positive factors, so its gain of sqrt 2 is part of the weight.
        gain = math.sqrt(2)
        weight = modulated(self.weight, self.affine(w), self.magnitude_ema.rsqrt() * gain)
        x = convolved(x, weight, self.bias * gain)
        planes = filtered_leaky_relu(x.flatten(0, 1), self.up_filter, self.down_filter, self.up, self.size)
        return planes.unflatten(0, x.shape[:2])


class ToImage(nn.Module):
    """Features to image channels: a modulated 1x1 convolution without demodulation."""

    magnitude_ema: Tensor

    def __init__(self, inputs: int, channels: int, w_dim: int):
        super().__init__()
        self.affine = Linear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps x [N, inputs, H, W] and w [N, w_dim] to [N, channels, H, W]."""
        style = self.affine(w) * (self.magnitude_ema * self.weight.shape[1]).rsqrt()
        return convolved(x, self.weight * style[:, None, :, None, None], self.bias).clamp(-CLAMP, CLAMP)


def modulated(weight: Tensor, style: Tensor, gain: Tensor) -> Tensor:
    """Modulated and demodulated weights for each image, [N, O, I, k, k].

    They map features of unit variance to features with standard deviation `gain`. weight: [O, I, k, k]. style: [N, I].
    """
    energy = style.square() @ weight.square().sum(dim=(2, 3)).T  # [N, O]
    # Avoids 0 / 0 for a style or a feature of zeros.
    scale = energy.clamp_min(torch.finfo(weight.dtype).tiny).rsqrt() * gain
    return weight * (scale[:, :, None] * style[:, None, :])[:, :, :, None, None]


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution with separate weights for each image, and full padding.

    x: [N, I, H, W]. weight: [N, O, I, k, k]. bias: [O]. Returns [N, O, H + k - 1, W + k - 1].
    """
    count, outputs, _, kernel, _ = weight.shape
    planes = functional.conv2d(
        x.flatten(0, 1)[None], weight.flatten(0, 1), bias.repeat(count), padding=kernel - 1, groups=count
    )
    return planes[0].unflatten(0, (count, outputs))


def _stacked(rows: list[list[Tensor]]) -> Tensor:
    """A matrix of vectors [N] as N matrices, [N, rows, columns]."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
