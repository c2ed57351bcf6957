"""Claim: a training step costs half the CPU time of PyTorch's example DCGAN on the same network."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import gan_core
from gan_core.training.run import Run

from .measure import Figures, interleaved, ratio, spread

SIDE, CHANNELS, BATCH, LATENT, WIDTH = 64, 3, 64, 100, 64
IMAGES = 2048
STEPS = 2
"""In a round, by each of the two."""
TARGET = 2.0


def run(rounds: int, threads: int) -> Figures:
    """Trains both, turn by turn. The CPU time of a step includes its batch of data, its noise and, for ours, the
    EMA, the records and the checkpoint of each minute."""
    torch.set_num_threads(threads)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    dataset = gan_core.ImageDataset.from_images(images, name="noise")
    with tempfile.TemporaryDirectory() as folder, gan_core.train(dataset, _config(folder), "cpu") as ours:
        example = ExampleDCGAN(images)
        next(ours)
        parameters = sum(module.numel() for module in _parameters(ours.run))
        print(f"ours    {parameters:,} parameters, objective log, precision auto")
        print(f"example {example.parameters:,} parameters, its loop written plainly: fp32, BCELoss, Adam")
        contenders = {"ours": lambda: next(ours), "example": example.step}
        interleaved(contenders, rounds=1, calls=STEPS)  # the first calls choose kernels and grow the heap
        seconds = interleaved(contenders, rounds, STEPS)
    for name, values in seconds.items():
        print(f"{name:8}{spread([BATCH / value for value in values])} images per CPU second")
    found = ratio(seconds["example"], seconds["ours"])
    print(f"ours does {found:.2f} times the images per CPU second; the aim is {TARGET}")
    return {
        "ours_images_per_cpu_second": round(BATCH / statistics.median(seconds["ours"]), 2),
        "example_images_per_cpu_second": round(BATCH / statistics.median(seconds["example"]), 2),
        "ratio": round(found, 3),
        "target": TARGET,
        "rounds": rounds,
        "batch": BATCH,
    }


def _config(folder: str) -> gan_core.TrainConfig:
    # This preset is the network of the 2016 paper, which is the example's too.
    settings = {"batch_size": BATCH, "objective": "log"}
    return gan_core.TrainConfig(folder, "dcgan_classic", kimg=1e6, settings=settings)


def _parameters(run: Run) -> list[Tensor]:
    return [parameter for network in run.method.networks.values() for parameter in network.module.parameters()]


class ExampleDCGAN:
    """What the example in github.com/pytorch/examples/dcgan does in a step, in the words of this project.

    Only its images come cheaper than there: as floats in memory, where the example decodes files.
    """

    def __init__(self, images: np.ndarray):
        torch.manual_seed(0)
        self.generator = nn.Sequential(
            *_up(LATENT, 8 * WIDTH, stride=1, padding=0),
            *_up(8 * WIDTH, 4 * WIDTH),
            *_up(4 * WIDTH, 2 * WIDTH),
            *_up(2 * WIDTH, WIDTH),
            nn.ConvTranspose2d(WIDTH, CHANNELS, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTH, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            *_down(WIDTH, 2 * WIDTH),
            *_down(2 * WIDTH, 4 * WIDTH),
            *_down(4 * WIDTH, 8 * WIDTH),
            nn.Conv2d(8 * WIDTH, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )
        for network in (self.generator, self.discriminator):
            network.apply(_initialise)
        self.criterion = nn.BCELoss()
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        )
        floats = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div(127.5).sub(1)
        self.loader = DataLoader(TensorDataset(floats), BATCH, shuffle=True, drop_last=True)
        self.batches: Iterator[list[Tensor]] = iter(())
        self.steps = 0

    @property
    def parameters(self) -> int:
        networks = (self.generator, self.discriminator)
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

    def step(self) -> None:
        """D on real images, D on generated ones, an update of D; then G through the new D, and a printed line."""
        real = self._next_batch()
        targets = torch.full((len(real),), 1.0)
        self.discriminator.zero_grad()
        score_real, loss_real = self._judge(real, targets)
        fake = self.generator(torch.randn(len(real), LATENT, 1, 1))
        score_fake, loss_fake = self._judge(fake.detach(), targets.fill_(0.0))
        self.discriminator_optimizer.step()

        self.generator.zero_grad()
        score_after, loss = self._judge(fake, targets.fill_(1.0))
        self.generator_optimizer.step()

        self.steps += 1
        line = (
            f"{self.steps} loss D {loss_real + loss_fake} G {loss} D(x) {score_real} D(G(z)) {score_fake}/{score_after}"
        )
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            print(line, file=nowhere)

    def _judge(self, images: Tensor, targets: Tensor) -> tuple[float, float]:
        """Runs D and the gradients of its error. Returns its mean score and the error."""
        scores = self.discriminator(images).view(-1)
        loss = self.criterion(scores, targets)
        loss.backward()
        return scores.mean().item(), loss.item()

    def _next_batch(self) -> Tensor:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return batch[0]


def _up(inputs: int, outputs: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
