"""StyleGAN2's discriminator (Karras et al. 2020a)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import full_precision
from ..architecture import as_vectors
from ..layers.resampling import blurred
from ..layers.style import Linear
from .config import StyleGAN2Config

GROUP = 4
"""Images whose differences the discriminator is told (Karras et al. 2020a, app. B)."""


class StyleGAN2Discriminator(nn.Module):
    """Residual blocks that halve the image (Karras et al. 2020a, sec. 4.1), and the deviation within small groups of
    images, which shows where a generator makes them all alike (Karras et al. 2018, sec. 3).

    So a logit depends on the images beside its own. The gradient of the sum of the logits, by which R1 and R2 measure
    an image, then holds what the image does to its neighbours' logits too: that is what the authors penalise.
    """

    def __init__(self, config: StyleGAN2Config, normalisation: str = "none"):
        """normalisation: "none", as the equalised learning rate stands in for it."""
        super().__init__()
        assert normalisation == "none", normalisation
        self.classes = config.classes
        widths = config.widths[::-1]
        first = config.sizes[0]
        self.from_image = EqualisedConv(config.channels, widths[0], 1, gain=math.sqrt(2))
        self.blocks = nn.ModuleList(HalveSide(narrow, wide) for narrow, wide in pairwise(widths))
        self.conv = EqualisedConv(widths[-1] + 1, widths[-1], 3, gain=math.sqrt(2))
        self.dense = Linear(widths[-1] * first[0] * first[1], widths[-1])
        self.head = Linear(widths[-1], 1)
        self.embed = Linear(config.classes, widths[-1]) if config.classes else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """images: [N, C, H, W] in [-1, 1], labels: [N] class numbers or [N, classes]. Returns logits [N] in float32."""
        x = functional.leaky_relu_(self.from_image(images), 0.2)
        for block in self.blocks:
            x = block(x)
        with full_precision(x.device):
            x = x.to(self.head.weight.dtype)
            deviation = minibatch_deviation(x)[:, None, None, None].expand(-1, 1, *x.shape[2:])
            x = functional.leaky_relu_(self.conv(torch.cat([x, deviation], dim=1)), 0.2)
            x = functional.leaky_relu_(self.dense(x.flatten(1)), 0.2) * math.sqrt(2)  # [N, widths[-1]]
            logits = self.head(x).squeeze(1)
            if self.embed is not None:
                assert labels is not None
                # How well its features agree with the label (projection: Miyato & Koyama 2018), at unit scale.
                agreement = self.embed(as_vectors(labels, self.classes).to(x.dtype)) * math.sqrt(self.classes) * x
                logits = logits + agreement.sum(dim=1) / math.sqrt(x.shape[1])
            return logits


class HalveSide(nn.Module):
    """A residual block to half the height and width, each of whose branches adds half of the output's variance."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv0 = EqualisedConv(inputs, inputs, 3, gain=math.sqrt(2))
        self.conv1 = EqualisedConv(inputs, outputs, 3, gain=1.0)  # sqrt 2 of the leaky ReLU, sqrt 1/2 of the sum
        self.skip = EqualisedConv(inputs, outputs, 1, gain=math.sqrt(0.5), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, inputs, 2H, 2W]. Returns [N, outputs, H, W]."""
        y = functional.leaky_relu_(self.conv0(x), 0.2)
        y = functional.leaky_relu_(self.conv1(blurred(y, padding=2), stride=2, padding=0), 0.2)
        return y + self.skip(blurred(x, padding=1, stride=2))


class EqualisedConv(nn.Module):
    """A convolution with an equalised learning rate: weights are kept at unit scale (Karras et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float, bias: bool = True):
        """gain: of all that comes out, such as a leaky ReLU's behind it."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain = gain

    def forward(self, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
        """padding: None keeps height and width, but for the stride."""
        kernel = self.weight.shape[2]
        weight = self.weight * (self.gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * self.gain
        return functional.conv2d(x, weight, bias, stride, kernel // 2 if padding is None else padding)


def minibatch_deviation(x: Tensor) -> Tensor:
    """How far the features of the images in a group lie apart: their standard deviation, averaged over all places.

    Groups are of GROUP neighbours in the batch, or fewer where it cannot be divided so; an image alone has next to 0.

    x: [N, C, H, W]. Returns [N], the same number for all of a group.
    """
    count = len(x)
    groups = math.ceil(count / GROUP)
    group = torch.arange(count, device=x.device) * groups // count  # of sizes that differ by 1 at most
    together = (group[:, None] == group).to(x.dtype)
    mean = together / together.sum(dim=1, keepdim=True)  # [N, N], times values: their group's mean
    values = x.flatten(1)
    variance = mean @ (values - mean @ values).square()
    return (variance + 1e-8).sqrt().mean(dim=1)
