"""FastGAN's generator (Liu et al. 2021), and Projected GAN's (Sauer et al. 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..architecture import as_vectors, label_embedding
from ..layers.fastgan import Excitation, Layer, Noise, gated, initialise
from .config import FastGANConfig

EXCITED = range(3, 7)
"""Stages with skip-layer excitation from features of a sixteenth of their side: at 64 to 512 in square images."""


class FastGANGenerator(nn.Module):
    def __init__(self, config: FastGANConfig):
        super().__init__()
        self.classes = config.classes
        self.normalises = config.projected == 1
        self.bounded = config.projected == 0 and len(config.convolutions) == 8
        self.embed = label_embedding(config.classes, config.latent_size) if config.classes else None
        self.project = nn.ConvTranspose2d(config.latent_size, 2 * config.widths[0], config.start, bias=False)
        self.norm = nn.BatchNorm2d(2 * config.widths[0])
        self.stages = nn.ModuleList(Stage(index, config) for index in range(len(config.convolutions)))
        bias = config.projected == 1
        self.to_image = nn.Conv2d(config.widths[-1], config.channels, kernel_size=3, padding=1, bias=bias)
        self.apply(initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None, random: torch.Generator | None = None) -> Tensor:
        """Generates images [N, C, H, W], nominally in [-1, 1].

        z: [N, latent_size]. labels: class numbers [N] or class weights [N, classes]. random: generator for the noise,
        on the device of z; None for fixed noise.
        """
        label = None
        if self.embed is not None:
            assert labels is not None
            label = as_vectors(labels, self.classes) @ self.embed.weight  # [N, latent_size]
        if self.normalises:
            z = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        x = gated(self.norm(self.project(z[:, :, None, None])))  # [N, widths[0], *start]
        small = [x]  # at sides of 4, 8, 16 and 32
        for stage in self.stages:
            x = stage(x, label, small, random)
            if len(small) < 4:
                small.append(x)
        image = self.to_image(x)
        return image.tanh() if self.bounded else image


class Stage(nn.Module):
    """Doubles the side: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, index: int, config: FastGANConfig):
        super().__init__()
        self.index = index
        inputs, outputs = config.widths[index : index + 2]
        depth = config.convolutions[index]
        label_size = config.latent_size if config.classes else 0
        self.layers = nn.ModuleList(
            Layer(outputs if position else inputs, outputs, label_size, Noise(position) if depth == 2 else None)
            for position in range(depth)
        )
        self.excitation = Excitation(config.widths[index - 3], outputs) if index in EXCITED else None

    def forward(self, x: Tensor, label: Tensor | None, small: list[Tensor], random: torch.Generator | None) -> Tensor:
        """label: embedding [N, latent_size]. small: outputs of the first stages, for the skip-layer excitation."""
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        for layer in self.layers:
            x = layer(x, label, random)
        return x if self.excitation is None else x * self.excitation(small[self.index - 3])
