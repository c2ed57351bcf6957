"""A generator's pictures held against real ones, as an iterator like training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.images import ImageDataset
from ..errors import InputError
from ..generator import Generator
from ..latents import LAST_SEED, sample_noise
from ..media.image import to_pixels
from .coverage import density_and_coverage, precision_and_recall
from .features import Extractor, efficientnet_lite0, on_white
from .frechet import frechet
from .kid import kid
from .neighbours import nearest

FEWEST_IMAGES, MOST_IMAGES = 10, 10_000
"""Fewer say nothing; with more, what grows with the square of their number takes minutes."""

SHOWN = 8
"""Generated images that are shown with the real image nearest to each."""

AT_ONCE = 64
PIXELS_AT_ONCE = 2**19
"""Images that are made and looked at in one go, and their pixels: the stop button works in between."""

STATISTICS = 4
"""Steps after the last image: KID, neighbours, Fréchet distance, the nearest images."""


@dataclass(frozen=True)
class Report:
    """What was measured, and how: no figure means anything without the latter."""

    kid: float
    """Distance of the generated images from the real ones (Binkowski et al. 2018); 0 is none."""
    kid_standard_error: float
    density: float
    """How much the generated images lie where many real ones do (Naeem et al. 2020): 1 as real ones, or above."""
    coverage: float
    """The share of real images with a generated one near them (Naeem et al. 2020)."""
    precision: float
    """The share of generated images that lie among real ones (Kynkäänniemi et al. 2019)."""
    recall: float
    """The share of real images that lie among generated ones (Kynkäänniemi et al. 2019)."""
    frechet: float
    """Fréchet distance; biased, comparable only at the same numbers of images."""
    real: int
    """Number of real images."""
    fake: int
    """Number of generated images."""
    backbone: str
    """The network that the features are of."""
    side: int
    """The side at which it was shown the images."""
    data: str
    """The name of the data set."""

    def as_metrics(self) -> list[dict[str, Any]]:
        """The figures as a generator's card keeps them under "metrics", and as a page on the Hub tells them."""
        values = {
            "kid": self.kid,
            "kid_standard_error": self.kid_standard_error,
            "density": self.density,
            "coverage": self.coverage,
            "precision": self.precision,
            "recall": self.recall,
            f"fd_{self.backbone}": self.frechet,
        }
        how = {"extractor": self.backbone, "resolution": self.side, "n": self.fake}
        return [{"name": name, "value": value, **how} for name, value in values.items()]

    def on(self, generator: Generator) -> Generator:
        """The same generator with a card that has these figures, in place of any earlier ones."""
        return replace(generator, card={**generator.card, "metrics": self.as_metrics()})

    def __str__(self) -> str:
        return (
            f"KID {self.kid:.4f} ± {self.kid_standard_error:.4f}, Fréchet distance {self.frechet:.2f}\n"
            f"coverage {self.coverage:.3f}, density {self.density:.3f}\n"
            f"recall {self.recall:.3f}, precision {self.precision:.3f}\n"
            f"{self.fake:,} generated, {self.real:,} real of {self.data}; {self.backbone}@{self.side}"
        )


@dataclass(frozen=True)
class Measuring:
    """How far a measurement is, after each of its steps."""

    done: int
    total: int
    doing: str
    """What it is doing, for people."""
    images: Tensor
    """Generated images that were looked at last, RGB: [N, 3, H, W] in [-1, 1]; none at first."""
    report: Report | None = None
    """Set in the last value."""
    nearest: tuple[Tensor, Tensor] | None = None
    """Set in the last value: the generated images that come nearest to a real one, the nearest first, and those real
    ones, RGB: both [N, 3, H, W] in [-1, 1]. Where they are the same, the generator has learned by heart."""

    @property
    def fraction(self) -> float:
        return self.done / self.total

    def __str__(self) -> str:
        return str(self.report) if self.report else f"{self.doing}: {self.fraction:.0%}"


def measuring(
    generator: Generator,
    dataset: ImageDataset,
    count: int = 2000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    extractor: Extractor | None = None,
) -> Iterator[Measuring]:
    """Measures a generator against a data set, step by step, so that the caller can show progress or stop.

    dataset: the real images are those of this set, and the figures say how near the generator comes to them. Where it
    learned from the very same, one that has learned them by heart is the best of all: to see what it makes of the
    kind of images as such, give images that were held out.
    count: of generated images, and of real ones at most: of a larger set so many are drawn, by the seed.
    seed: the generated images have the seeds from this one on, without truncation, with the noise maps of the file. A
    generator that has the classes of the set, by their names, gets labels in the set's own proportions, as does one
    whose file has no names, but as many classes; others are drawn by the seeds.
    device: where the extractor computes; the generator's pictures are made where its weights are.
    extractor: the network that looks at the images; None is features.efficientnet_lite0.

    All images are rounded to 8 bits and laid on white before they are looked at. Raises InputError for fewer than 10
    images or more than 10,000, for sizes that differ, and where the extractor is not installed.
    """
    _check(generator, dataset, count, seed)
    extractor = extractor or efficientnet_lite0(torch.device(device))
    stream = np.random.RandomState(seed)
    real = np.sort(stream.permutation(len(dataset))[:count])
    labels = None
    numbers = _numbers_of_classes(generator, dataset)
    if dataset.labels is not None and numbers is not None:
        labels = numbers[dataset.labels[stream.randint(len(dataset), size=count)]]

    def made(places: np.ndarray) -> Tensor:
        chosen = None if labels is None else [int(label) for label in labels[places]]
        latent = sample_noise(generator, [seed + int(place) for place in places], labels=chosen)
        # A VAE whose latents have a height and a width makes sides that its steps divide; what is beyond is padding.
        images = generator.decode(latent)[..., : dataset.height, : dataset.width]
        return torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2)

    step = Measuring(0, len(real) + count + STATISTICS, "looking at real images", torch.zeros(0, 3, 1, 1))
    yield step
    features: dict[str, list[Tensor]] = {"real": [], "fake": []}
    for indices in _parts(real, extractor.side_for(max(dataset.size))):
        features["real"].append(extractor.features(dataset.batch(indices)))
        step = replace(step, done=step.done + len(indices))
        yield step
    for indices in _parts(np.arange(count), extractor.side_for(max(dataset.size))):
        pixels = made(indices)
        features["fake"].append(extractor.features(pixels))
        step = replace(
            step, done=step.done + len(indices), doing="looking at generated images", images=_shown(pixels[:16])
        )
        yield step

    ours, theirs = torch.cat(features["fake"]), torch.cat(features["real"])
    distance = kid(theirs, ours, seed)
    step = replace(step, done=step.done + 1, doing="comparing them")
    yield step
    density, coverage = density_and_coverage(theirs, ours)
    precision, recall = precision_and_recall(theirs, ours)
    step = replace(step, done=step.done + 1)
    yield step
    apart = frechet(theirs, ours)
    step = replace(step, done=step.done + 1)
    yield step
    partner, far = nearest(ours, theirs)
    suspects = far.argsort(stable=True)[:SHOWN].numpy()
    panel = _shown(made(suspects)), _shown(dataset.batch(real[partner[suspects].numpy()]))
    report = Report(
        distance.value,
        distance.standard_error,
        density,
        coverage,
        precision,
        recall,
        apart,
        len(real),
        count,
        extractor.name,
        extractor.side_for(max(dataset.size)),
        dataset.name,
    )
    yield replace(step, done=step.total, report=report, nearest=panel)


def looked_at(extractor: Extractor, indices: np.ndarray, side: int, images: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Features [N, D] of pictures of that side, in parts: `images` gives those of some indices, uint8 [n, C, H, W]."""
    return torch.cat([extractor.features(images(part)) for part in _parts(indices, extractor.side_for(side))])


def _numbers_of_classes(generator: Generator, dataset: ImageDataset) -> np.ndarray | None:
    """The generator's number for each class of the set, int64; None where it does not know them all."""
    names = list(generator.class_names)
    if set(dataset.class_names) <= set(names):
        return np.array([names.index(name) for name in dataset.class_names], np.int64)
    unnamed = not generator.card.get("class_names")
    return np.arange(dataset.classes) if unnamed and generator.classes == dataset.classes else None


def _check(generator: Generator, dataset: ImageDataset, count: int, seed: int) -> None:
    if not FEWEST_IMAGES <= count <= MOST_IMAGES:
        raise InputError(f"{FEWEST_IMAGES} to {MOST_IMAGES:,} images can be measured, not {count}.")
    if not 0 <= seed <= LAST_SEED + 1 - count:
        raise InputError(f"The seeds of {count} images from {seed} on pass {LAST_SEED}.")
    if len(dataset) < FEWEST_IMAGES:
        raise InputError(
            f"{dataset.name} has {len(dataset)} images: a measurement needs {FEWEST_IMAGES} or more, and some hundreds "
            "to say much."
        )
    if dataset.size != generator.size:
        raise InputError(
            f"{generator.title} makes images of {generator.size_in_words} pixels, and those of {dataset.name} have "
            f"{dataset.width}x{dataset.height}: read the images with a size of {generator.size_in_words}."
        )


def _parts(indices: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Indices in groups that are looked at in one go, at that side."""
    at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // side**2))
    for start in range(0, len(indices), at_once):
        yield indices[start : start + at_once]


def _shown(pixels: Tensor) -> Tensor:
    """uint8 [N, C, H, W] as RGB in [-1, 1]."""
    return on_white(pixels.float()) / 127.5 - 1
