"""Question: what does augmentation do for 300 digits, at equal CPU time?"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import gan_core
from gan_core import ImageDataset, TrainConfig, Training
from gan_core.media.image import grid, save_png
from gan_core.training.augmentation import AUGMENTS

from . import reader
from .measure import Figures

IMAGES, SAMPLES = 300, 1_000
MARKS = 3
"""A run is measured after each third of its CPU time."""
LAST_RECORDS = 20


def run(minutes: float, seeds: tuple[int, ...], preset: str, sheets: Path | None) -> Figures:
    """Trains on digits that the reader never saw, with each augmentation and seed, and measures what is made."""
    torch.set_num_threads(1)
    data = reader.shipped_digits()
    reads, _ = reader.trained(data)
    dataset = ImageDataset.from_images(data.test_images[:IMAGES, :, :, None], name=f"{IMAGES} digits")
    judge = Judge(reads, reader.to_images(data.test_images[:IMAGES]), reader.to_images(data.test_images[IMAGES:]))
    found: Figures = {"real": judge.measured("real digits, not among these", judge.unseen[:SAMPLES])}
    for seed in seeds:
        for augment in AUGMENTS:
            with tempfile.TemporaryDirectory() as folder:
                settings = {"augment": augment}
                config = TrainConfig(Path(folder, "run"), preset, kimg=1e6, seed=seed, settings=settings)
                for mark, training in enumerate(_at_marks(dataset, config, 60 * minutes), 1):
                    name = f"{augment}, seed {seed}, {60 * minutes * mark / MARKS:.0f} CPU s"
                    generator = training.generator
                    made = generator.decode(gan_core.sample_noise(generator, range(SAMPLES)))
                    found[name] = {**_course(training), **judge.measured(name, made)}
                    if sheets is not None:
                        save_png(grid(made[:128], columns=16), sheets / f"{name}.png")
    return {"minutes": minutes, "preset": preset, "images": IMAGES, "samples": SAMPLES, **found}


def _at_marks(dataset: ImageDataset, config: TrainConfig, seconds: float) -> Iterator[Training]:
    """Trains for this many CPU seconds, those in which its caller looks at it not counted."""
    with gan_core.train(dataset, config, "cpu") as training:
        used, done = 0.0, 0
        start = time.process_time()
        for _ in training:
            if used + time.process_time() - start >= seconds * (done + 1) / MARKS:
                used += time.process_time() - start
                done += 1
                yield training
                if done == MARKS:
                    return
                start = time.process_time()


def _course(training: Training) -> Figures:
    """How far it is, and what its last records say."""
    last = [record.values for record in training.history[-LAST_RECORDS:]]
    means = {
        name: sum(values[name] for values in last) / len(last) for name in ("real_sign", "augment_p") if name in last[0]
    }
    return {"kimg": round(training.run.images / 1000, 1), **{name: round(mean, 3) for name, mean in means.items()}}


class Judge:
    """Says how good, how varied and how new digits are."""

    def __init__(self, reads: reader.Reader, shown: Tensor, unseen: Tensor):
        """shown, unseen: images [N, 1, 28, 28] in [-1, 1] that are trained on, and that are not."""
        self.reads, self.shown, self.unseen = reads, shown, unseen
        self.mean, self.covariance = self._moments(unseen)

    def measured(self, name: str, images: Tensor) -> Figures:
        sure, answers = self.reads.probabilities(images).max(dim=1)
        shares = torch.bincount(answers, minlength=10) / len(answers)
        # A pixel's difference, root mean square, to the nearest of the training images.
        nearest = torch.cdist(images.flatten(1), self.shown.flatten(1)).amin(dim=1) / math.sqrt(images[0].numel())
        figures: Figures = {
            "confidence": round(float(sure.mean()), 3),
            "smallest_class": round(float(shares.min()), 3),
            "frechet": round(self._frechet(images), 2),
            "nearest": round(float(nearest.mean()), 3),
        }
        print(f"{name}: " + "  ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
        return figures

    def _frechet(self, images: Tensor) -> float:
        """Of normal distributions of the reader's features, of these and of the unseen digits."""
        mean, covariance = self._moments(images)
        values, vectors = torch.linalg.eigh(self.covariance)
        root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
        shared = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
        return float((mean - self.mean).square().sum() + self.covariance.trace() + covariance.trace() - 2 * shared)

    @torch.no_grad()
    def _moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self.reads.layers[:-2](part) for part in images.split(500)]).double()
        return features.mean(dim=0), features.T.cov()
