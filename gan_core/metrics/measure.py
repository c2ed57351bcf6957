"""Measuring a generator against real images, as an iterator like training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..card import Metric
from ..data.images import ImageDataset
from ..errors import InputError
from ..generator import Generator
from ..latents import LAST_SEED
from ..media.image import to_pixels
from ..sampling.seeds import sample_noise
from .coverage import density_and_coverage, precision_and_recall
from .features import Extractor, efficientnet_lite0, on_white
from .frechet import frechet
from .kid import kid
from .neighbours import nearest

MIN_IMAGES, MAX_IMAGES = 10, 10_000
"""Range of the number of images. Fewer are not informative; the time of some metrics grows with the square."""

SHOWN = 8
"""Generated images that are shown beside their nearest real image."""

AT_ONCE = 64
PIXELS_AT_ONCE = 2**19
"""Maximum images, and their pixels, in one step; the stop button works between steps."""

STATISTICS = 4
"""Steps after the last image: KID, neighbour metrics, Fréchet distance, nearest images."""


@dataclass(frozen=True)
class Report:
    """Metrics of a generator, and the conditions under which they were measured."""

    kid: float
    """Kernel Inception Distance (Binkowski et al. 2018); 0 for equal distributions."""
    kid_standard_error: float
    """Standard error of kid."""
    density: float
    """Density of real images around the generated ones (Naeem et al. 2020): about 1 or more is good."""
    coverage: float
    """Fraction of real images with a generated neighbour (Naeem et al. 2020)."""
    precision: float
    """Fraction of generated images inside the manifold of the real ones (Kynkäänniemi et al. 2019)."""
    recall: float
    """Fraction of real images inside the manifold of the generated ones (Kynkäänniemi et al. 2019)."""
    frechet: float
    """Fréchet distance; biased, comparable only at equal numbers of images."""
    real: int
    """Number of real images."""
    fake: int
    """Number of generated images."""
    backbone: str
    """Name of the feature extractor."""
    side: int
    """Side of the images at the input of the feature extractor, in pixels."""
    data: str
    """Name of the data set."""

    def as_metrics(self) -> tuple[Metric, ...]:
        """Metrics in the form of a generator's card, under "metrics", and of its page on the Hub."""
        values = {
            "kid": self.kid,
            "kid_standard_error": self.kid_standard_error,
            "density": self.density,
            "coverage": self.coverage,
            "precision": self.precision,
            "recall": self.recall,
            f"fd_{self.backbone}": self.frechet,
        }
        return tuple(Metric(name, value, self.backbone, self.side, self.fake) for name, value in values.items())

    def on(self, generator: Generator) -> Generator:
        """The generator with these metrics in its card, in place of any earlier ones."""
        return replace(generator, card=replace(generator.card, metrics=self.as_metrics()))

    def __str__(self) -> str:
        return (
            f"KID {self.kid:.4f} ± {self.kid_standard_error:.4f}, Fréchet distance {self.frechet:.2f}\n"
            f"coverage {self.coverage:.3f}, density {self.density:.3f}\n"
            f"recall {self.recall:.3f}, precision {self.precision:.3f}\n"
            f"{self.fake:,} generated, {self.real:,} real of {self.data}; {self.backbone}@{self.side}"
        )


@dataclass(frozen=True)
class Measuring:
    """Progress of a measurement after one of its steps."""

    done: int
    total: int
    doing: str
    """Description of the current step."""
    images: Tensor
    """Generated images of the last step, RGB: [N, 3, H, W] in [-1, 1]; none at first."""
    report: Report | None = None
    """Metrics; set in the last value."""
    nearest: tuple[Tensor, Tensor] | None = None
    """Generated images closest to a real one, the closest first, and these real ones, RGB: both [N, 3, H, W] in
    [-1, 1]; set in the last value. If they match, the generator has memorised them."""
    real: Tensor | None = None
    """Features of the real images, [N, D]; set in the last value."""

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
    real_features: Tensor | None = None,
) -> Iterator[Measuring]:
    """Measures a generator against a data set, step by step, so that the caller can show progress or stop.

    dataset: the real images. On its training images a generator that has memorised them scores best; use held-out
    images to measure how well it generalises.
    count: number of generated images, and maximum number of real ones; a larger data set is sampled with the seed.
    seed: first seed of the generated images, which are generated without truncation and with the noise maps of the
    file. Class labels are sampled from the proportions of the data set if the generator knows its classes by name, or
    has as many unnamed ones; else from the seeds.
    device: device of the extractor; images are generated on the device of the generator.
    extractor: the feature extractor; None for features.efficientnet_lite0.
    real_features: those that a measurement with the same data set, count, seed and extractor has found.

    All images are rounded to 8 bits and composited on white first. Raises InputError for a count outside 10 to 10,000,
    for image sizes that differ, and if the extractor is not installed.
    """
    _check(generator, dataset, count, seed)
    extractor = extractor or efficientnet_lite0(torch.device(device))
    stream = np.random.RandomState(seed)
    real = np.sort(stream.permutation(len(dataset))[:count])
    labels = None
    numbers = _numbers_of_classes(generator, dataset)
    if dataset.labels is not None and numbers is not None:
        labels = numbers[dataset.labels[stream.randint(len(dataset), size=count)]]

    def generated(places: np.ndarray) -> Tensor:
        chosen = None if labels is None else [int(label) for label in labels[places]]
        latent = sample_noise(generator, [seed + int(place) for place in places], labels=chosen)
        # A VAE with spatial latents generates sides that are multiples of its stride; the excess is padding.
        images = generator.decode(latent)[..., : dataset.height, : dataset.width]
        return torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2)

    step = Measuring(0, len(real) + count + STATISTICS, "features of real images", torch.zeros(0, 3, 1, 1))
    yield step
    features: dict[str, list[Tensor]] = {"real": [] if real_features is None else [real_features], "fake": []}
    for indices in _parts(real, extractor.side_for(max(dataset.size))) if real_features is None else ():
        features["real"].append(extractor.features(dataset.batch(indices)))
        step = replace(step, done=step.done + len(indices))
        yield step
    for indices in _parts(np.arange(count), extractor.side_for(max(dataset.size))):
        pixels = generated(indices)
        features["fake"].append(extractor.features(pixels))
        step = replace(
            step, done=step.done + len(indices), doing="features of generated images", images=_shown(pixels[:16])
        )
        yield step

    ours, theirs = torch.cat(features["fake"]), torch.cat(features["real"])
    distance = kid(theirs, ours, seed)
    step = replace(step, done=step.done + 1, doing="comparing the features")
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
    panel = _shown(generated(suspects)), _shown(dataset.batch(real[partner[suspects].numpy()]))
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
    yield replace(step, done=step.total, report=report, nearest=panel, real=theirs)


def looked_at(extractor: Extractor, indices: np.ndarray, side: int, images: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Features of images in parts, [N, D]. side: their longer side. images: indices -> images, uint8 [n, C, H, W]."""
    return torch.cat([extractor.features(images(part)) for part in _parts(indices, extractor.side_for(side))])


def _numbers_of_classes(generator: Generator, dataset: ImageDataset) -> np.ndarray | None:
    """Number in the generator of each class of the data set, int64; None if it does not have them all."""
    names = list(generator.class_names)
    if set(dataset.class_names) <= set(names):
        return np.array([names.index(name) for name in dataset.class_names], np.int64)
    unnamed = not generator.card.class_names
    return np.arange(dataset.classes) if unnamed and generator.classes == dataset.classes else None


def _check(generator: Generator, dataset: ImageDataset, count: int, seed: int) -> None:
    if not MIN_IMAGES <= count <= MAX_IMAGES:
        raise InputError(f"The number of images must be {MIN_IMAGES} to {MAX_IMAGES:,} (got {count}).")
    if not 0 <= seed <= LAST_SEED + 1 - count:
        raise InputError(f"seed must be 0 to {LAST_SEED + 1 - count} for {count} images (got {seed}).")
    if len(dataset) < MIN_IMAGES:
        raise InputError(
            f"{dataset.name} has {len(dataset)} images: a measurement needs at least {MIN_IMAGES}, and a few hundred "
            "for a useful result."
        )
    if dataset.size != generator.size:
        raise InputError(
            f"{generator.title} generates images of {generator.size_in_words} pixels, but those of {dataset.name} have "
            f"{dataset.width}x{dataset.height}: load the images with a size of {generator.size_in_words}."
        )


def _parts(indices: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Splits indices into groups for one step each, for images of a side."""
    at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // side**2))
    for start in range(0, len(indices), at_once):
        yield indices[start : start + at_once]


def _shown(pixels: Tensor) -> Tensor:
    """Images uint8 [N, C, H, W] as RGB in [-1, 1]."""
    return on_white(pixels.float()) / 127.5 - 1
