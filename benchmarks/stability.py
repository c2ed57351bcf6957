"""Question: are runs that go wrong noticed, and those that do not left in peace?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import gan_core
from gan_core import ImageDataset, TrainConfig, TrainingDiverged
from gan_core.examples import digits
from gan_core.training.settings import AdversarialRecipe

from .measure import Figures

SIDE, IMAGES, FEW = 16, 4_000, 40
FOLDER_SIDE = 32
KIMG = 48.0
HEALTHY, NONE = "healthy", "none"
SMALL = {"width": 8, "latent_size": 8, "refine": 0}
PLAIN = AdversarialRecipe(
    "dcgan", SMALL, betas=(0.5, 0.99), batch_size=32, ema_kimg=10.0, cpu_threads=1, measure_kimg=float("inf")
)


@dataclass(frozen=True)
class Built(TrainConfig):
    """A run of a recipe that is not a preset."""

    built: AdversarialRecipe = PLAIN

    @property
    def recipe(self) -> AdversarialRecipe:
        return self.built


RECIPES = {
    "log": PLAIN,
    "hinge": replace(PLAIN, objective="hinge"),
    "relativistic": replace(PLAIN, objective="relativistic", learning_rate=1e-3),
}
"""That are healthy."""

BROKEN = {
    "huge learning rate": replace(PLAIN, learning_rate=0.5),
    "huge learning rate, hinge": replace(PLAIN, objective="hinge", learning_rate=0.5),
    "no regulariser": replace(PLAIN, objective="relativistic", penalty="none", learning_rate=0.2),
    "no regulariser, momentum": replace(
        PLAIN, objective="relativistic", penalty="none", betas=(0.9, 0.999), learning_rate=0.01
    ),
    "tiny data": PLAIN,
}
"""That are built to go wrong. The last learns from FEW images alone."""


def run(folder: Path | None, seeds: tuple[int, ...]) -> Figures:
    """Trains every recipe on every data set with every seed, stopped at the first verdict, and counts the verdicts."""
    torch.set_num_threads(1)
    table: dict[str, dict[str, int]] = {}
    start, runs = time.process_time(), 0
    for dataset in datasets(folder):
        for seed in seeds:
            for name, config, images in _runs(dataset, seed):
                found, kimg = told(images, config)
                kind = HEALTHY if name in RECIPES else name
                row = table.setdefault(kind, {})
                row[found] = row.get(found, 0) + 1
                runs += 1
                print(f"{dataset.name}, {name}, seed {seed}: {found} at {kimg:.1f} kimg", flush=True)
    _show(table)
    alarms = sum(count for found, count in table[HEALTHY].items() if found != NONE)
    missed = sum(row.get(NONE, 0) for kind, row in table.items() if kind != HEALTHY)
    return {
        "runs": runs,
        "verdicts": table,
        "healthy": sum(table[HEALTHY].values()),
        "false_alarms": alarms,
        "built_to_break": runs - sum(table[HEALTHY].values()),
        "missed": missed,
        "cpu_seconds": round(time.process_time() - start),
    }


def _runs(dataset: ImageDataset, seed: int) -> Iterator[tuple[str, Built, ImageDataset]]:
    for name, recipe in {**RECIPES, **BROKEN}.items():
        few = replace(dataset, images=dataset.images[:FEW], name=f"{FEW} of {dataset.name}")
        tiny = name == "tiny data"  # which is memorised in many passes
        settings = Built("", "dcgan_small", kimg=KIMG * (2 if tiny else 1), seed=seed, built=recipe)
        yield name, settings, few if tiny else dataset


def told(dataset: ImageDataset, config: Built) -> tuple[str, float]:
    """The first verdict on a run, and after how many thousand images it fell."""
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, folder=Path(folder, "run"), on_trouble="ignore")
        with gan_core.train(dataset, config, "cpu") as training:
            try:
                for progress in training:
                    if progress.verdict:
                        return progress.verdict.kind, progress.images / 1000
            except TrainingDiverged:
                return "divergence", progress.images / 1000
    return NONE, progress.images / 1000


def _show(table: dict[str, dict[str, int]]) -> None:
    """The confusion table."""
    columns = [NONE, "overfitting", "collapse", "divergence"]
    width = max(map(len, table))
    print(" " * width, *columns, sep="  ")
    for kind, row in table.items():
        print(kind.ljust(width), *(str(row.get(name, 0)).rjust(len(name)) for name in columns), sep="  ")


def datasets(folder: Path | None) -> list[ImageDataset]:
    """Digits, drawn letters, drawn shapes in colour, and what is in the folder."""
    given = [] if folder is None else [ImageDataset.from_folder(folder, FOLDER_SIDE)]
    return [digits(SIDE), letters(), shapes(), *given]


def letters() -> ImageDataset:
    """A to Z in grey, of many sizes, a little turned and moved."""
    random = np.random.RandomState(0)
    images = []
    for _ in range(IMAGES):
        sheet = Image.new("L", (64, 64))
        font = ImageFont.load_default(random.uniform(30, 44))
        place = (32 + random.uniform(-4, 4), 32 + random.uniform(-4, 4))
        ImageDraw.Draw(sheet).text(place, chr(65 + random.randint(26)), 255, font, anchor="mm")
        sheet = sheet.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR)
        images.append(np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return ImageDataset.from_images(np.stack(images)[..., None], name="letters")


def shapes() -> ImageDataset:
    """An ellipse or a rectangle on a ground, each of any colour."""
    random = np.random.RandomState(0)
    images = []
    for _ in range(IMAGES):
        ground, colour = (tuple(int(value) for value in random.randint(0, 256, 3)) for _ in range(2))
        sheet = Image.new("RGB", (64, 64), ground)
        (x, y), (wide, high) = random.uniform(20, 44, 2), random.uniform(8, 20, 2)
        pen = ImageDraw.Draw(sheet)
        draw = pen.ellipse if random.rand() < 0.5 else pen.rectangle
        draw((x - wide, y - high, x + wide, y + high), fill=colour)
        images.append(np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return ImageDataset.from_images(np.stack(images), name="shapes")
