"""StyleGAN2's discriminator (Karras et al. 2020a)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import constant, full_precision
from ..architecture import as_vectors
from ..layers.convolution import convolution
from ..layers.resampling import blurred
from ..layers.style import LEAK_GAIN, Linear
from ..layers.weights import computed_in, prepared
from .config import StyleGAN2Config

GROUP = 4
"""Group size of the minibatch standard deviation (Karras et al. 2020a, app. B)."""


class StyleGAN2Discriminator(nn.Module):
    """Residual discriminator (Karras et al. 2020a, sec. 4.1) with the minibatch standard deviation, which reveals mode
    collapse (Karras et al. 2018, sec. 3).

    A logit thus depends on other images of its group. The gradient of the sum of the logits in R1 and R2 includes the
    effect of an image on the logits of its group, as in the authors' program.
    """

    def __init__(self, config: StyleGAN2Config, normalisation: str = "none"):
        """normalisation: only "none", because of the equalised learning rate."""
        super().__init__()
        assert normalisation == "none", normalisation
        self.classes = config.classes
        widths = config.widths[::-1]
        first = config.sizes[0]
        self.from_image = EqualisedConv(config.channels, widths[0], 1)
        self.blocks = nn.ModuleList(
            HalveSide(narrow, wide, gain=1.0 if index else LEAK_GAIN)
            for index, (narrow, wide) in enumerate(pairwise(widths))
        )
        self.conv = EqualisedConv(widths[-1] + 1, widths[-1], 3, gain=LEAK_GAIN, bias_gain=LEAK_GAIN)
        self.dense = Linear(widths[-1] * first[0] * first[1], widths[-1], gain=LEAK_GAIN)
        self.head = Linear(widths[-1], 1)
        # Projection (Miyato & Koyama 2018), at unit scale.
        gain = math.sqrt(config.classes / widths[-1])
        self.embed = Linear(config.classes, widths[-1], gain=gain) if config.classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] in float32 of images [N, C, H, W] in [-1, 1]. labels: class numbers [N], or [N, classes]."""
        x = functional.leaky_relu_(self.from_image(images), 0.2)
        for block in self.blocks:
            x = block(x)
        with full_precision(x.device):
            x = x.to(self.head.weight.dtype)
            deviation = minibatch_deviation(x).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
            x = functional.leaky_relu_(self.conv(torch.cat([x, deviation], dim=1)), 0.2)
            x = functional.leaky_relu_(self.dense(x.flatten(1)), 0.2)  # [N, widths[-1]]
            logits = self.head(x).squeeze(1)
            if self.embed is not None:
                assert labels is not None
                logits = logits + (self.embed(as_vectors(labels, self.classes)) * x).sum(dim=1)
            return logits


class HalveSide(nn.Module):
    """Residual block with downsampling by 2, whose branches each contribute half of the output variance."""

    def __init__(self, inputs: int, outputs: int, gain: float):
        """gain: factor of the inputs that is still to be applied."""
        super().__init__()
        self.conv0 = EqualisedConv(inputs, inputs, 3, gain)
        # The gain of the leaky ReLU behind it is made up for by the sqrt 1/2 of the branch.
        self.conv1 = EqualisedConv(inputs, outputs, 3, gain=LEAK_GAIN)
        self.skip = EqualisedConv(inputs, outputs, 1, gain * math.sqrt(0.5), bias_gain=None)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, inputs, 2H, 2W] to [N, outputs, H, W]."""
        y = functional.leaky_relu_(self.conv0(x), 0.2)
        y = functional.leaky_relu_(self.conv1(blurred(y, padding=2), stride=2, padding=0), 0.2)
        return y + self.skip(blurred(x, padding=1, stride=2))


class EqualisedConv(nn.Module):
    """Convolution with an equalised learning rate: weights are kept at unit scale (Karras et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0, bias_gain: float | None = 1.0):
        """gain: factor of the inputs, such as that of the leaky ReLU before. bias_gain: factor of the bias; None for no
        bias."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = None if bias_gain is None else nn.Parameter(torch.zeros(outputs))
        self.gain, self.bias_gain = gain, bias_gain or 0.0

    def forward(self, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
        """Convolves x. padding: None to keep height and width, except for the stride."""
        inputs, kernel = self.weight.shape[1:3]
        padding = kernel // 2 if padding is None else padding
        dtype = computed_in(x)
        weight = prepared(self.weight, dtype, self.gain / math.sqrt(inputs * kernel**2))
        bias = None if self.bias is None else prepared(self.bias, dtype, self.bias_gain)
        return convolution(x, weight, bias, (stride, stride), (padding, padding))


def minibatch_deviation(x: Tensor) -> Tensor:
    """Minibatch standard deviation: that of the features within a group, averaged over features and positions.

    Groups have GROUP neighbours in the batch, or fewer if it cannot be divided so; a single image has almost 0.

    x: [N, C, H, W]. Returns [N], equal within a group.
    """
    values = x.movedim(1, 3).flatten(1)  # without a copy in channels-last memory
    mean = _group_means(x.device, x.dtype, len(x))
    centred = values - mean @ values
    variance = mean @ (centred * centred)
    return (variance + 1e-8).sqrt().mean(dim=1)


@constant
def _group_means(device: torch.device, dtype: torch.dtype, count: int) -> Tensor:
    """Matrix [count, count] that replaces the values of each image by their mean over its group."""
    groups = math.ceil(count / GROUP)
    group = torch.arange(count, device=device) * groups // count  # group sizes differ by 1 at most
    together = (group[:, None] == group).to(dtype)
    return together / together.sum(dim=1, keepdim=True)
