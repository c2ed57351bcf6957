"""Claim: the critters' generator has learned what critters are, not the critters, and its directions do what they say.

Its data set is drawn, so there are as many unseen critters as are wanted, and the factors of each are known. A reader
learns to tell them from images; it then says what a direction changes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import gan_core
from gan_core import ImageDataset, Latent, sample_noise
from gan_core.examples import critters
from gan_core.examples.drawing import KINDS, RANGES, factors
from gan_core.generator import Generator
from gan_core.media.image import to_pixels
from gan_core.metrics import measuring
from gan_core.metrics.features import efficientnet_lite0
from gan_core.metrics.neighbours import nearest
from gan_core.sampling import directions as steering
from gan_core.sampling.directions import Directions

from .measure import Figures

HELD_OUT_SEED = 1
"""Seed of critters that no generator was trained on."""

EPOCHS, BATCH, LEARNING_RATE = 4, 64, 3e-3
"""Of the reader's training."""

CIRCULAR = ("hue", "background")
READ = tuple(name for name in RANGES if name not in CIRCULAR)
COLOURS = ("warm", "background warm")
"""Cosines of the hues, and so from green and blue to red and orange."""

STYLES = 4000
"""Styles that a direction is found from, and the share of them that is taken as an example of each end."""
SHARE = 0.15

MOVED, STRENGTH = 64, 2.0
"""Critters that a direction is tried on, and how far it moves them, either way, in standard deviations."""

DIRECTIONS = ("warm", "size", "height", "tilt", "smile", "mouth", "eye_size", "gaze_x", "background warm")
"""Factors that a direction is found for, besides the kinds."""


def run(file: Path, count: int, threads: int, save: Path | None) -> Figures:
    """Measures the generator in a file. count: images of each side. save: a file for the directions."""
    torch.set_num_threads(threads)
    generator = gan_core.load(file)
    held_out = critters(count=len(critters()), seed=HELD_OUT_SEED)
    *_, last = measuring(generator, held_out, count)
    assert last.report is not None
    print(f"against critters that it has not seen:\n{last.report}", flush=True)
    figures: Figures = {
        "held out": asdict(last.report),
        "nearer to trained ones": _memorised(generator, held_out, count),
    }
    print(f"nearer to one it was trained on than to any other: {figures['nearer to trained ones']:.1%}", flush=True)
    reader = trained_reader(critters())
    figures["reader"] = read_well(reader, held_out)
    print(f"R2 of the reader: {figures['reader']}", flush=True)
    directions = found(generator, reader)
    figures["directions"] = told = tried(generator, reader, directions)
    for name, effect in told.items():
        print(f"  {name:16} " + "  ".join(f"{other} {far:+.2f}" for other, far in effect.items()))
    if save is not None:
        steering.save(_chosen(directions, [name for name, effect in told.items() if _keeps_its_word(effect)]), save)
    return figures


def _memorised(generator: Generator, held_out: ImageDataset, count: int) -> float:
    """Share of generated critters whose nearest one, by features, is in the training set and not in a set as large that
    was not trained on: a half for a generator that remembers none."""
    extractor = efficientnet_lite0(torch.device("cpu"))

    def features(images: Tensor) -> Tensor:
        return torch.cat([extractor.features(part) for part in images.split(64)])

    generated = features(torch.cat([_bytes(generator, range(i, i + 50)) for i in range(0, count, 50)]))
    sides = [features(each.batch(np.arange(len(each)))) for each in (critters(), held_out)]
    trained, other = (nearest(generated, side)[1] for side in sides)
    return round(float((trained < other).double().mean()), 4)


def _bytes(generator: Generator, seeds: range) -> Tensor:
    """Generated images, uint8 [N, 3, H, W]."""
    return torch.from_numpy(to_pixels(generator.decode(sample_noise(generator, seeds)))).permute(0, 3, 1, 2)


# Reading the factors of images.


class Reader(nn.Module):
    """Factors of critters in their images: READ and COLOURS in [-1, 1], and logits of the kinds."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 16, 256), nn.ReLU(inplace=True))
        self.factors = nn.Linear(256, len(READ) + 2 * len(COLOURS))
        self.kinds = nn.Linear(256, len(KINDS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: uint8 or in [0, 255], [N, 3, 64, 64]."""
        features = self.layers(images.float() / 127.5 - 1)
        return self.factors(features), self.kinds(features)

    @torch.no_grad()
    def read(self, images: Tensor) -> dict[str, np.ndarray]:
        """Factors of images uint8 [N, 3, 64, 64] by name, [N]: READ and COLOURS from -1 to 1, kinds by probability."""
        parts = [self(part) for part in images.split(100)]
        values = torch.cat([factor for factor, _ in parts])
        kinds = torch.cat([logits for _, logits in parts]).softmax(1)
        table = {name: values[:, i].numpy() for i, name in enumerate((*READ, *COLOURS))}
        return table | {kind: kinds[:, i].numpy() for i, kind in enumerate(KINDS)}


def trained_reader(dataset: ImageDataset) -> Reader:
    """A reader that has learned from the critters of seed 0."""
    table = factors(len(dataset))
    target, kinds = torch.from_numpy(_targets(table)), torch.from_numpy(table["kind"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = Reader()
    steps = EPOCHS * (len(dataset) // BATCH)
    optimizer = torch.optim.Adam(reader.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    stream = np.random.RandomState(0)
    for _ in range(steps):
        places = stream.randint(len(dataset), size=BATCH)
        values, logits = reader(dataset.batch(places))
        loss = mse_loss(values, target[places]) + 0.1 * cross_entropy(logits, kinds[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader.eval()


def _targets(table: dict[str, np.ndarray]) -> np.ndarray:
    """READ over its range, cosines of the hues from their warmest, and their sines: float32 [N, factors] in [-1, 1]."""
    linear = [2 * (table[name] - RANGES[name][0]) / (RANGES[name][1] - RANGES[name][0]) - 1 for name in READ]
    turns = [2 * math.pi * (table[name] - 0.08) for name in CIRCULAR]
    return np.stack([*linear, *map(np.cos, turns), *map(np.sin, turns)], axis=1).astype(np.float32)


def read_well(reader: Reader, dataset: ImageDataset) -> dict[str, float]:
    """Coefficient of determination of each factor as the reader has it from held-out critters; for the kinds, the
    share that is right."""
    table = factors(len(dataset), HELD_OUT_SEED)
    target = _targets(table)
    said = reader.read(dataset.batch(np.arange(len(dataset))))
    found = {
        name: round(1 - float(((said[name] - target[:, i]) ** 2).mean() / target[:, i].var()), 3)
        for i, name in enumerate((*READ, *COLOURS))
    }
    kinds = np.stack([said[kind] for kind in KINDS]).argmax(0)
    return found | {"kind": round(float((kinds == table["kind"]).mean()), 3)}


# Directions.


def found(generator: Generator, reader: Reader) -> Directions:
    """Boundaries between the styles whose images have the most and the least of a factor (InterFaceGAN)."""
    z = sample_noise(generator, range(STYLES))
    w = generator.mapped(z)
    said = reader.read(torch.cat([_bytes(generator, range(i, i + 50)) for i in range(0, STYLES, 50)]))

    def some(places: np.ndarray) -> Latent:
        return Latent(w.samples[torch.from_numpy(places.copy())], w.space)

    several = []
    for name in DIRECTIONS:
        order, few = said[name].argsort(), int(SHARE * STYLES)
        several.append(steering.boundary(generator, some(order[-few:]), some(order[:few]), name.replace("_", " ")))
    likeliest = np.stack([said[kind] for kind in KINDS]).argmax(0)
    for i, kind in enumerate(KINDS):
        (of_kind,), (others,) = np.nonzero(likeliest == i), np.nonzero(likeliest != i)
        if len(of_kind):
            several.append(steering.boundary(generator, some(of_kind), some(others), kind))
    return _together(several)


def _together(several: list[Directions]) -> Directions:
    first = several[0]
    return Directions(
        tuple(name for each in several for name in each.names),
        torch.cat([each.vectors for each in several]),
        first.space,
        torch.cat([each.deviations for each in several]),
        torch.cat([each.strengths for each in several]),
        first.method,
        first.layers,
        first.generator,
        first.fingerprint,
    )


def _keeps_its_word(effect: dict[str, float]) -> bool:
    """Whether a direction raises its factor, the first of its effects, by a deviation, and in nine of ten critters."""
    return next(iter(effect.values())) >= 1 and effect["rises in"] >= 0.9


def _chosen(directions: Directions, names: list[str]) -> Directions:
    places = [directions.names.index(name) for name in names]
    return replace(
        directions,
        names=tuple(names),
        vectors=directions.vectors[places],
        deviations=directions.deviations[places],
        strengths=directions.strengths[places],
    )


def tried(generator: Generator, reader: Reader, directions: Directions) -> dict[str, dict[str, float]]:
    """What each direction changes from one end to the other: the mean difference of its factor, and of the factor that
    changes most beside it, in standard deviations over critters."""
    z = sample_noise(generator, range(MOVED))
    still = reader.read(_decoded(generator, z))
    # A kind that few of them have would change by many of its deviations at the slightest.
    deviations = {name: max(float(values.std()), 0.1) for name, values in still.items()}
    effects = {}
    for name in directions.names:
        ends = [
            reader.read(_decoded(generator, steering.move(generator, z, directions, name, strength)))
            for strength in (-STRENGTH, STRENGTH)
        ]
        own = next(factor for factor in still if factor.replace("_", " ") == name)
        change = {factor: float((ends[1][factor] - ends[0][factor]).mean()) / deviations[factor] for factor in still}
        other = max((factor for factor in still if factor != own), key=lambda factor: abs(change[factor]))
        rose = float((ends[1][own] > ends[0][own]).mean())
        effects[name] = {own: round(change[own], 2), "rises in": round(rose, 2), other: round(change[other], 2)}
    return effects


def _decoded(generator: Generator, latent: Latent) -> Tensor:
    return torch.from_numpy(to_pixels(generator.decode(latent))).permute(0, 3, 1, 2)
