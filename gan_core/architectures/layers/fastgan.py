"""Layers of FastGAN's networks (Liu et al. 2021)."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import average_pooled


class Layer(nn.Module):
    """A 3x3 convolution, noise, batch norm, and a gated linear unit."""

    def __init__(self, inputs: int, outputs: int, label_size: int, noise: nn.Module | None):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 2 * outputs, kernel_size=3, padding=1, bias=False)
        self.noise = noise
        self.norm = LabelledNorm(2 * outputs, label_size) if label_size else nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor, label: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """x: [N, inputs, H, W], label: [N, label_size]. Returns [N, outputs, H, W]."""
        x = self.conv(x)
        if self.noise is not None:
            x = self.noise(x, random)
        x = self.norm(x) if label is None else self.norm(x, label)
        return gated(x)


def gated(x: Tensor) -> Tensor:
    """Gated linear unit: [N, 2 C, H, W] -> [N, C, H, W].

    For channels-last features torch's own returns a gradient in another memory format, and batch norm is slow with two
    formats: backwards through both, [16, 64, 64, 64] in bfloat16 took 67 ms on a Zen 4 thread, and takes 6 ms this way.
    """
    values, gates = x.chunk(2, dim=1)
    return values * gates.sigmoid()


class Noise(nn.Module):
    """Adds one map of normal noise to all channels.

    With a random generator, as in training, the noise is drawn for every image, as in the paper. Without one it is
    always the same, on every device: an image then depends on z alone, and close z give similar images.
    """

    def __init__(self, position: int):
        """position: position of the convolution in its stage; with the size of the features it selects the noise."""
        super().__init__()
        self.position = position
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Returns x + noise. x: [N, C, H, W]. random: a generator on the device of x, or None for fixed noise."""
        height, width = x.shape[2:]
        if random is None:
            noise = torch.from_numpy(fixed_noise(height, width, self.position)).to(x)
        else:
            noise = torch.randn(len(x), 1, height, width, generator=random, device=x.device).to(x.dtype)
        return x + noise * self.strength


@cache
def fixed_noise(height: int, width: int, position: int) -> np.ndarray:
    """Normal noise [height, width] that never changes."""
    return np.random.RandomState(2 * height + position).randn(height, width).astype(np.float32)


class LabelledNorm(nn.Module):
    """Conditional batch norm: gain and bias depend on the label (de Vries et al. 2017)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, label_size: int):
        super().__init__()
        self.gain = nn.Linear(label_size, features)
        self.bias = nn.Linear(label_size, features)
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """x: [N, features, H, W], label: [N, label_size]."""
        x = functional.batch_norm(x, self.running_mean, self.running_var, training=self.training)
        return x * (1 + self.gain(label))[:, :, None, None] + self.bias(label)[:, :, None, None]


class Excitation(nn.Module):
    """Skip-layer excitation: features at low resolution [N, I, H, W] -> channel factors at a higher one [N, O, 1,
    1]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs, kernel_size=4, bias=False)
        self.excite = nn.Conv2d(outputs, outputs, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.squeeze(average_pooled(x, 4)))
        return self.excite(x).sigmoid()


def initialise(module: nn.Module) -> None:
    """Sets the initial weights of a layer as the authors do: N(0, 0.02), for batch norm N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
