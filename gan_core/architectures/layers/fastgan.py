"""The layers that FastGAN's networks are made of (Liu et al. 2021)."""

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
    """The gated linear unit: [N, 2 C, H, W] -> [N, C, H, W].

    torch's own hands back a gradient whose axes stand in another order in memory than those of x, if these are channels
    last, and batch norm is slow with two orders at once: backwards through both, [16, 64, 64, 64] in bfloat16 took a
    Zen 4 thread 67 ms, and takes 6 ms this way.
    """
    values, gates = x.chunk(2, dim=1)
    return values * gates.sigmoid()


class Noise(nn.Module):
    """Adds one map of normal numbers to all channels.

    The paper draws it anew for every image, and so does this for one who hands it a generator of random numbers, as
    training does. Without one it adds the same numbers always, on every device: z alone says what an image is, whatever
    its batch, and neighbouring z make neighbouring images.
    """

    def __init__(self, position: int):
        """position: of the convolution in its stage. It and the size of the features say which numbers they are."""
        super().__init__()
        self.position = position
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, random: torch.Generator | None = None) -> Tensor:
        """x: [N, C, H, W]. random: on the device of x."""
        height, width = x.shape[2:]
        if random is None:
            noise = torch.from_numpy(fixed_noise(height, width, self.position)).to(x)
        else:
            noise = torch.randn(len(x), 1, height, width, generator=random, device=x.device).to(x.dtype)
        return x + noise * self.strength


@cache
def fixed_noise(height: int, width: int, position: int) -> np.ndarray:
    """Normal numbers [height, width], the same ones forever."""
    return np.random.RandomState(2 * height + position).randn(height, width).astype(np.float32)


class LabelledNorm(nn.Module):
    """Batch norm whose gain and bias follow from the label (de Vries et al. 2017)."""

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
    """Features of a small side [N, I, H, W] to factors for the channels of a large one [N, O, 1, 1]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs, kernel_size=4, bias=False)
        self.excite = nn.Conv2d(outputs, outputs, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.squeeze(average_pooled(x, 4)))
        return self.excite(x).sigmoid()


def initialise(module: nn.Module) -> None:
    """Draws one layer's weights as the authors do, N(0, 0.02) or for batch norm N(1, 0.02), by torch's generator."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
