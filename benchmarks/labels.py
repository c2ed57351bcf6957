"""Claim: a labelled run goes at least as well as its unlabelled one, and what is made for a label shows that label.

Each preset trains on the same images with and without their labels, for as many images. What it makes is held against
images that it has not seen, and a reader says which class each image made for a label shows.
"""

from __future__ import annotations

import statistics
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

import gan_core
from gan_core import ImageDataset, TrainConfig
from gan_core.media.image import grid, save_png

from . import reader
from .measure import Figures
from .quality import SAMPLES, Judge

PRESETS = {"mnist": ("digits", "r3gan_small", "stylegan2_small", "fastgan_small")}
PRESETS["emoji"] = ("few", *PRESETS["mnist"][1:])
"""One for each family that is trained with labels."""

SIDES, SIDE = {"digits": 28, "fastgan_small": 64}, 32
"""Height and width of the images in pixels, by preset, and for all others."""

ATTEMPTS, AT_ONCE = 1000, 50
"""Images made for labels, as many for each, that the reader is shown."""

HUES = ("red", "yellow", "green", "blue", "grey")
"""Classes of emoji, by the colour of what is on white."""


@dataclass(frozen=True)
class Labelled:
    """A labelled set in two halves, and who tells its classes apart."""

    shown: ImageDataset
    unseen: ImageDataset
    read: Callable[[Tensor], Tensor]
    """Images [N, C, H, W] in [-1, 1] to the classes that they show, [N]."""


def run(
    data: str, source: Path | None, kimg: float, seeds: Sequence[int], presets: Sequence[str], sheets: Path | None
) -> Figures:
    """data: "mnist" or "emoji". source: where it is; None for the digits that ship. presets: none for one of each
    family. sheets: a folder for images of what was made, a column for each class."""
    torch.set_num_threads(1)
    found: dict[str, Figures] = {}
    for preset in presets or PRESETS[data]:
        side = SIDES.get(preset, SIDE)
        everything = _digits(source, side) if data == "mnist" else _emoji(source, side)
        judge = Judge(everything.unseen)
        rows: dict[str, list[Figures]] = {"labelled": [], "unlabelled": []}
        for seed in seeds:
            for kind, of_kind in rows.items():
                with tempfile.TemporaryDirectory() as folder:
                    row = _trained(everything, judge, kind == "labelled", preset, kimg, seed, Path(folder), sheets)
                of_kind.append(row)
                print(
                    f"  {preset:16} seed {seed} {kind:10} " + "  ".join(f"{k} {v}" for k, v in row.items()), flush=True
                )
        kids = {kind: statistics.mean(float(str(row["kid"])) for row in of) for kind, of in rows.items()}
        read = min(float(str(row["read"])) for row in rows["labelled"])
        print(
            f"{preset}: KID {kids['labelled']:.4f} with labels, {kids['unlabelled']:.4f} without; "
            f"{read:.1%} read as their label at least"
        )
        found[preset] = {**rows, "mean_kid": kids, "read_at_least": read}
    return {"data": data, "kimg": kimg, "seeds": [*seeds], "samples": SAMPLES, **found}


def _trained(
    data: Labelled,
    judge: Judge,
    with_labels: bool,
    preset: str,
    kimg: float,
    seed: int,
    folder: Path,
    sheets: Path | None,
) -> Figures:
    """Trains once, and measures what came of it."""
    shown = data.shown if with_labels else replace(data.shown, labels=None, class_names=())
    # In full, whatever the verdict: the two are compared at the same number of images.
    settings = {"measure_kimg": float("inf")}
    config = TrainConfig(folder, preset, kimg=kimg, seed=seed, on_trouble="ignore", settings=settings)
    training = gan_core.train(shown, config, "cpu")
    *_, progress = training
    generator = training.generator
    labels = None
    if with_labels:
        assert shown.labels is not None
        labels = np.random.RandomState(seed).choice(shown.labels, SAMPLES).tolist()
    figures: Figures = {**judge.measured_made(_made(generator, SAMPLES, labels))}
    figures["verdict"] = progress.verdict.kind if progress.verdict else "healthy"
    if with_labels:
        asked = [i % shown.classes for i in range(ATTEMPTS)]
        made = _made(generator, ATTEMPTS, asked)
        figures["read"] = round(float((data.read(made) == torch.tensor(asked)).float().mean()), 4)
        if sheets is not None:
            sheet = grid(made[: 8 * shown.classes], columns=shown.classes)
            save_png(sheet, sheets / f"{preset}-{seed}.png")
    return figures


def _made(generator: gan_core.Generator, count: int, labels: Sequence[int] | None) -> Tensor:
    parts = [range(first, min(first + AT_ONCE, count)) for first in range(0, count, AT_ONCE)]
    return torch.cat(
        [
            generator.decode(gan_core.sample_noise(generator, part, labels=labels and [labels[i] for i in part]))
            for part in parts
        ]
    )


def _digits(source: Path | None, side: int) -> Labelled:
    data = reader.full_mnist(source) if source else reader.shipped_digits()
    reads, _ = reader.trained(data)
    scale = side // 28
    shown, unseen = (
        _labelled(_enlarged(digits, side, scale), labels, [str(digit) for digit in range(10)], "mnist")
        for digits, labels in (
            (data.train_images, data.train_labels),
            (data.test_images, data.test_labels),
        )
    )

    def read(images: Tensor) -> Tensor:
        small = avg_pool2d(images, scale)
        edge = (small.shape[2] - 28) // 2
        return reads.probabilities(small[:, :, edge : edge + 28, edge : edge + 28].contiguous()).argmax(dim=1)

    return Labelled(shown, unseen, read)


def _enlarged(digits: np.ndarray, side: int, scale: int) -> np.ndarray:
    """[N, 28, 28] -> [N, side, side, 1], enlarged by scale, on black."""
    digits = digits.repeat(scale, axis=1).repeat(scale, axis=2)
    edge = (side - digits.shape[1]) // 2
    return np.pad(digits, ((0, 0), (edge, edge), (edge, edge)))[..., None]


def _emoji(source: Path | None, side: int) -> Labelled:
    """Emoji by their colour; every fifth to compare with."""
    if source is None:
        raise SystemExit("The emoji do not ship with the project: give --source, a zip file of 64x64 images.")
    with zipfile.ZipFile(source) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        images = np.stack(
            [
                np.asarray(
                    Image.open(archive.open(name), formats=["PNG"])
                    .convert("RGB")
                    .resize((side, side), Image.Resampling.BOX)
                )
                for name in names
            ]
        )
    labels = _hues(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).numpy()
    places = np.random.RandomState(0).permutation(len(images))
    count = len(places) // 5
    shown, unseen = (
        _labelled(images[part], labels[part], HUES, "emoji")
        for part in (np.sort(places[count:]), np.sort(places[:count]))
    )
    return Labelled(shown, unseen, _hues)


def _hues(images: Tensor) -> Tensor:
    """Which of HUES each image [N, 3, H, W] in [-1, 1] has: that of the mean colour, weighted by its distance from
    grey."""
    pixels = (images.float() + 1) / 2
    red, green, blue = pixels.unbind(dim=1)
    colourful = pixels.amax(dim=1) - pixels.amin(dim=1)  # [N, H, W]
    x = (red - (green + blue) / 2).sum(dim=(1, 2))
    y = ((green - blue) * 3**0.5 / 2).sum(dim=(1, 2))
    degrees = torch.rad2deg(torch.atan2(y, x)) % 360
    edges = torch.tensor([25.0, 75.0, 165.0, 290.0])
    named = torch.bucketize(degrees, edges) % 4  # from 290 degrees on it is red again
    return torch.where(colourful.mean(dim=(1, 2)) < 0.04, torch.full_like(named, 4), named)


def _labelled(images: np.ndarray, labels: np.ndarray, names: Sequence[str], name: str) -> ImageDataset:
    return replace(
        ImageDataset.from_images(images, name=name), labels=labels.astype(np.int64), class_names=tuple(names)
    )
