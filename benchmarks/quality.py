"""Claim: in the same CPU time, a better generator than the recipes that people use make.

All learn in one process with one thread, a few CPU seconds each in turn, and what they make at the same marks of their
own clocks is held against images that none of them has seen.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

import gan_core
from gan_core import ImageDataset, TrainConfig
from gan_core.cli.charts import line_chart
from gan_core.media.image import to_pixels
from gan_core.metrics.coverage import density_and_coverage
from gan_core.metrics.features import Extractor, efficientnet_lite0
from gan_core.metrics.kid import kid

from . import reader
from .measure import Figures
from .others import RECIPES, Plain

MARKS = (0.1, 0.3, 0.6, 1.0)
"""Of the CPU time, when all are measured."""

TURN_SECONDS = 5.0
"""Of CPU time, that one learns before it is the next one's turn: so all share what else the machine is doing."""

SAMPLES, MAX_REAL, AT_ONCE = 1000, 1000, 50

PRESETS = {"mnist": ("digits",), "emoji": ("few",)}
"""Ours, where nothing else is asked for."""


def run(
    data: str, source: Path | None, minutes: float, seeds: Sequence[int], presets: Sequence[str], chart: Path | None
) -> Figures:
    """data: "mnist" or "emoji". source: where it is; None for the digits that ship. presets: ours; none for the usual.
    chart: the PNG file to draw."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shown, unseen = digits_of(source) if data == "mnist" else _emoji(source, Path(folder, "emoji"))
        judge = Judge(unseen)
        print(f"{len(shown):,} images to learn from, {len(judge.real):,} others to compare with. KID and coverage:")
        real = judge.measured(_some(shown, SAMPLES))
        print(f"  {'as many real images that were learned from':42} {real['kid']:.4f}  {real['coverage']:.3f}")
        curves: dict[str, list[list[Figures]]] = {}
        for seed in seeds:
            with ExitStack() as stack:
                learners: dict[str, Learner] = {
                    name: stack.enter_context(closing(Ours(name, shown, seed, Path(folder, f"{name}-{seed}"))))
                    for name in presets or PRESETS[data]
                }
                learners |= {name: Other(name, shown, seed) for name in RECIPES}
                for name, marks in _raced(learners, judge, 60 * minutes).items():
                    curves.setdefault(name, []).append(marks)
    figures: Figures = {
        "data": data,
        "minutes": minutes,
        "seeds": [*seeds],
        "samples": SAMPLES,
        "real": real,
        "curves": curves,
    }
    figures |= _verdict(curves, [*(presets or PRESETS[data])])
    if chart is not None:
        line_chart(_lines(curves), chart, f"{data}, {minutes:g} minutes of one thread", "CPU seconds", ["KID"])
        print(f"Drawn: {chart}")
    return figures


class Learner(Protocol):
    """Something that trains."""

    title: str

    @property
    def images(self) -> int:
        """Real images shown so far."""

    def step(self) -> None: ...

    def samples(self) -> Tensor:
        """Images [SAMPLES, C, H, W] in [-1, 1]."""


class Ours:
    """A preset, as it is trained by anyone: with its own files and measurements, which count as its time."""

    def __init__(self, preset: str, shown: ImageDataset, seed: int, folder: Path):
        self.title = f"ours, {preset}"
        self.training = gan_core.train(shown, TrainConfig(folder, preset, kimg=1e6, seed=seed), "cpu")
        self.progress = next(self.training)

    @property
    def images(self) -> int:
        return self.progress.images

    def step(self) -> None:
        # One that has been stopped for its trouble stays as it is.
        self.progress = next(self.training, self.progress)

    def samples(self) -> Tensor:
        return drawn(self.training.generator)

    def close(self) -> None:
        self.training.close()


class Other:
    """One of the recipes in `others`."""

    def __init__(self, name: str, shown: ImageDataset, seed: int):
        self.title = RECIPES[name].title
        images = shown.batch(np.arange(len(shown))).float().div_(127.5).sub_(1)
        self.plain = Plain(RECIPES[name], images, seed)

    @property
    def images(self) -> int:
        return self.plain.images

    def step(self) -> None:
        self.plain.step()

    def samples(self) -> Tensor:
        return self.plain.samples(SAMPLES)


def drawn(generator: gan_core.Generator) -> Tensor:
    """Its first SAMPLES images."""
    parts = [range(first, first + AT_ONCE) for first in range(0, SAMPLES, AT_ONCE)]
    return torch.cat([generator.decode(gan_core.sample_noise(generator, part)) for part in parts])


class Judge:
    """Says how near images come to real ones that nobody learned from."""

    def __init__(self, unseen: ImageDataset):
        self.extractor: Extractor = efficientnet_lite0(torch.device("cpu"))
        self.real = self._features(_some(unseen, MAX_REAL))

    def measured(self, pixels: Tensor) -> dict[str, float]:
        """pixels: uint8 [N, C, side, side]."""
        features = self._features(pixels)
        distance = kid(self.real, features)
        _, coverage = density_and_coverage(self.real, features)
        return {
            "kid": round(distance.value, 5),
            "kid_standard_error": round(distance.standard_error, 5),
            "coverage": round(coverage, 4),
        }

    def measured_made(self, images: Tensor) -> dict[str, float]:
        """images: [N, C, side, side] in [-1, 1]."""
        return self.measured(torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2))

    def _features(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.extractor.features(part) for part in pixels.split(AT_ONCE)])


def _raced(learners: Mapping[str, Learner], judge: Judge, seconds: float) -> dict[str, list[Figures]]:
    """Lets all learn for this many CPU seconds each. Returns what was measured of each at the marks."""
    used = dict.fromkeys(learners, 0.0)
    found: dict[str, list[Figures]] = {name: [] for name in learners}
    for mark in MARKS:
        while any(spent < seconds * mark for spent in used.values()):
            for name, learner in learners.items():
                end = min(used[name] + TURN_SECONDS, seconds * mark)
                start = time.process_time() - used[name]
                while used[name] < end:
                    learner.step()
                    used[name] = time.process_time() - start
        for name, learner in learners.items():
            measured = judge.measured_made(learner.samples())
            found[name].append({"cpu_s": round(used[name], 1), "kimg": round(learner.images / 1000, 1), **measured})
            print(
                f"  {used[name]:5.0f} CPU s  {learner.title:28} {learner.images / 1000:7.1f} kimg  "
                f"{measured['kid']:.4f} ± {measured['kid_standard_error']:.4f}  {measured['coverage']:.3f}",
                flush=True,
            )
    return found


def _verdict(curves: Mapping[str, Sequence[Sequence[Figures]]], ours: Sequence[str]) -> Figures:
    """Prints and returns how ours stands beside the others at the end, and when it was as near as the best of them."""
    kids = {name: _course(runs, "kid") for name, runs in curves.items()}
    coverages = {name: _course(runs, "coverage") for name, runs in curves.items()}
    others = [name for name in curves if name not in ours]
    # The best that any had at any mark, as one that is trained further may become worse again.
    nearest = min(others, key=lambda name: _best(kids[name], min)[1])
    widest = max(others, key=lambda name: _best(coverages[name], max)[1])
    (_, their_kid), (_, their_coverage) = _best(kids[nearest], min), _best(coverages[widest], max)
    found: Figures = {"best_other_kid": nearest, "best_other_coverage": widest, "ours": {}}
    for name in ours:
        end, our_kid = kids[name][-1]
        our_coverage = coverages[name][-1][1]
        reached = _reached(kids[name], their_kid)
        share = None if reached is None else round(reached / end, 3)
        print(
            f"{name}: KID {our_kid:.4f}, the others at best {their_kid:.4f} ({nearest}); coverage {our_coverage:.3f}, "
            f"the others at best {their_coverage:.3f} ({widest}). "
            + ("It never had that KID." if share is None else f"It had that KID in {share:.0%} of the time; aim 50 %.")
        )
        found["ours"][name] = {
            "kid_is_better": our_kid < their_kid,
            "coverage_is_better": our_coverage > their_coverage,
            "share_of_the_time": share,
        }
    return found


def _best(course: Sequence[tuple[float, float]], of: Callable[..., tuple[float, float]]) -> tuple[float, float]:
    return of(course, key=lambda mark: mark[1])


def _course(runs: Sequence[Sequence[Figures]], name: str) -> list[tuple[float, float]]:
    """CPU seconds and the mean of a figure over the seeds, at each mark."""
    return [
        (statistics.mean(mark["cpu_s"] for mark in marks), statistics.mean(mark[name] for mark in marks))
        for marks in zip(*runs, strict=True)
    ]


def _reached(course: Sequence[tuple[float, float]], kid: float) -> float | None:
    """When a course of falling figures comes to one, on the line between two marks; None if it never does."""
    for i, (seconds, value) in enumerate(course):
        if value <= kid:
            if i == 0:
                return seconds
            before, higher = course[i - 1]
            return before + (seconds - before) * (higher - kid) / (higher - value)
    return None


def _lines(curves: Mapping[str, Sequence[Sequence[Figures]]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    titles = {name: RECIPES[name].title if name in RECIPES else f"ours, {name}" for name in curves}
    return {
        axis: {titles[name]: _course(runs, axis.lower()) for name, runs in curves.items()}
        for axis in ("KID", "coverage")
    }


def digits_of(source: Path | None) -> tuple[ImageDataset, ImageDataset]:
    """To learn from, and to compare with: MNIST's own halves, or 8,000 and 2,000 of the digits that ship."""
    data = reader.full_mnist(source) if source else reader.shipped_digits()
    shown, unseen = (
        ImageDataset.from_images(digits[..., None], name="mnist") for digits in (data.train_images, data.test_images)
    )
    return shown, unseen


def _emoji(source: Path | None, folder: Path) -> tuple[ImageDataset, ImageDataset]:
    """Of the images in a zip file, every fifth to compare with."""
    if source is None:
        raise SystemExit("The emoji do not ship with the project: give --source, a zip file of 64x64 images.")
    with zipfile.ZipFile(source) as archive:
        archive.extractall(folder)
    everything = ImageDataset.from_folder(folder, size=64, channels="RGB")
    places = np.random.RandomState(0).permutation(len(everything))
    count = len(places) // 5
    chosen = (np.sort(places[count:]), np.sort(places[:count]))
    shown, unseen = (ImageDataset.from_images(everything.images[part], name="emoji") for part in chosen)
    return shown, unseen


def _some(dataset: ImageDataset, count: int) -> Tensor:
    """At most this many of its images, uint8 [N, C, H, W]."""
    return dataset.batch(np.sort(np.random.RandomState(0).permutation(len(dataset))[:count]))
