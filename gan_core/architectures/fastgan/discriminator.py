"""FastGAN's discriminator with self-supervision (Liu et al. 2021, sec. 3.2).

It halves the image down to twice the side of the generator's first block, 8x8 for square images. Each halving has two
branches, convolutions and average pooling, and skip-layer excitation weights the channels with features of eight times
the side. There is one logit per patch; their mean is the logit of the image. Labels enter by projection (Miyato &
Koyama 2018), with a weight for each feature of a patch.

On a few hundred images it would overfit. Small decoders therefore reconstruct real images from its features
(self-supervision): the whole image at low resolution from the last block, and a quarter of it from the block before, to
keep positions as well as content. The paper uses a perceptual distance, whose weights are not included here: instead
the loss is the mean absolute error at several scales.

The paper has batch norm everywhere, and spectral norm (Miyato et al. 2018) of all weights. With batch norm a logit
depends on the other images of the batch, and its gradient at one image cannot be penalised. With a gradient penalty
layer norm (Ba et al. 2016) over all features of an image replaces both, as Gulrajani et al. (2017) recommend: without
any norm the features would vanish within a few halvings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from ..architecture import label_weights
from ..layers.fastgan import Excitation, Layer, initialise
from .config import FastGANConfig

SKIPPED = 3
"""Halvings between the source and the target of a skip-layer excitation."""

PATCH = 4
"""Height and width, in features, of the patch of a logit."""

MAX_DECODER_DOUBLINGS = 4
"""Maximum doublings of a decoder: from 8x8 to images of 128x128, as in the paper."""

SCALES = 3
"""Number of resolutions at which reconstructions are compared, each half of the one before."""

Wrap = Callable[[nn.Module], nn.Module]


class FastGANDiscriminator(nn.Module):
    NORMALISATIONS: ClassVar = ("batch", "none")

    def __init__(self, config: FastGANConfig, normalisation: str = "batch"):
        """normalisation: "batch" for batch and spectral norm as in the paper, "none" for layer norm only."""
        super().__init__()
        batch = normalisation == "batch"
        wrap: Wrap = spectral_norm if batch else _as_it_is
        norm = nn.BatchNorm2d if batch else partial(nn.GroupNorm, 1)
        conv = partial(Convolution, wrap=wrap, norm=norm)
        widths = config.widths[-2:0:-1]  # at half the image's side, at a quarter, and so on
        # No norm after the first convolution, which would remove brightness and contrast of the image.
        self.from_image = wrap(nn.Conv2d(config.channels, widths[0], kernel_size=4, stride=2, padding=1))
        self.stages = nn.ModuleList(HalveSide(wide, narrow, conv) for wide, narrow in pairwise(widths))
        self.excitations = nn.ModuleList(
            Excitation(*pair) for pair in zip(widths[:-SKIPPED], widths[SKIPPED:], strict=True)
        )
        self.gather = conv(widths[-1], config.widths[0], kernel_size=1)
        self.judge = wrap(nn.Conv2d(config.widths[0], 1, kernel_size=PATCH, bias=False))
        weights = config.widths[0] * PATCH**2
        self.embed = wrap(label_weights(config.classes, weights)) if config.classes else None
        self.draw_whole = decoder(widths[-1], config.channels, min(MAX_DECODER_DOUBLINGS, len(widths)))
        self.draw_quarter = decoder(widths[-2], config.channels, min(MAX_DECODER_DOUBLINGS, len(widths) - 1))
        self.apply(initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N] in float32 of images [N, C, H, W] in [-1, 1]. labels: class numbers [N]."""
        x = self.gather(self.features(images)[-1])
        logits = self.judge(x).mean(dim=(1, 2, 3))
        if self.embed is not None:
            # The projection is linear: its mean over the patches is that of the mean patch.
            patch = functional.avg_pool2d(x, (x.shape[2] - PATCH + 1, x.shape[3] - PATCH + 1), stride=1)
            logits = logits + (self.embed(labels) * patch.flatten(1)).sum(dim=1)
        return logits.float()

    def features(self, images: Tensor) -> list[Tensor]:
        """Features at half the side of the images, at a quarter, and so on."""
        seen = [functional.leaky_relu(self.from_image(images), 0.2)]
        for index, stage in enumerate(self.stages, start=1):
            x = stage(seen[-1])
            if index >= SKIPPED:
                x = x * self.excitations[index - SKIPPED](seen[index - SKIPPED])
            seen.append(x)
        return seen

    def self_supervision(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Reconstruction loss of real images from their features, a scalar.

        images: [N, C, H, W], after augmentation. random: generator on their device, which selects the quarters.
        """
        *_, near, far = self.features(images)
        which = torch.randint(4, (len(images),), generator=random, device=images.device)
        return (
            distance(self.draw_whole(far), images)
            + distance(self.draw_quarter(quarter(near, which)), quarter(images, which))
        ) / 2


class Convolution(nn.Module):
    """Convolution, norm and leaky ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        wrap: Wrap,
        norm: Callable[[int], nn.Module],
    ):
        """wrap: wrapper of the convolution, such as spectral norm. norm: number of features -> norm layer."""
        super().__init__()
        self.conv = wrap(nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=False))
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(x)), 0.2)


class HalveSide(nn.Module):
    """Downsampling by 2, [N, I, H, W] -> [N, O, H/2, W/2]: the mean of two branches."""

    def __init__(self, inputs: int, outputs: int, conv: Callable[..., nn.Module]):
        super().__init__()
        self.direct = nn.Sequential(
            conv(inputs, outputs, kernel_size=4, stride=2, padding=1),
            conv(outputs, outputs, kernel_size=3, padding=1),
        )
        self.averaged = conv(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.direct(x) + self.averaged(functional.avg_pool2d(x, 2))) / 2


def decoder(inputs: int, channels: int, doublings: int) -> nn.Sequential:
    """Decoder of features [N, inputs, h, w] to images [N, channels, H, W], with a number of doublings."""
    widths = [max(8, inputs // 2 ** (doubling + 1)) for doubling in range(doublings + 1)]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise([inputs, *widths[1:]]):
        layers += [nn.Upsample(scale_factor=2, mode="nearest"), Layer(wide, narrow, label_size=0, noise=None)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, kernel_size=3, padding=1))


def quarter(x: Tensor, which: Tensor) -> Tensor:
    """One quarter of each image: [N, C, H, W] -> [N, C, H/2, W/2].

    which: [N], on the same device. 0 and 1 are the upper quarters, 0 and 2 the left ones.
    """
    height, width = (side // 2 for side in x.shape[2:])
    quarters = torch.stack(
        [x[:, :, top : top + height, left : left + width] for top in (0, height) for left in (0, width)]
    )
    return quarters[which, torch.arange(len(x), device=x.device)]


def distance(drawn: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error, averaged over SCALES: at the resolution of the reconstructions, at half of it, and so on.

    drawn: reconstructions [N, C, h, w]. images: [N, C, H, W], larger by the same power of two in both sides.
    """
    images = functional.avg_pool2d(images, images.shape[2] // drawn.shape[2])
    error = drawn - images
    errors = [functional.avg_pool2d(error, 2**scale).abs().mean() for scale in range(SCALES)]
    return torch.stack(errors).mean()


def _as_it_is(module: nn.Module) -> nn.Module:
    return module
