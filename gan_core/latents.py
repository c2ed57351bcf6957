"""Points in latent space: how they are drawn, and what they are made of."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import InputError

if TYPE_CHECKING:
    from .architectures.layers.mixture import GaussianMixture
    from .generator import Generator

LAST_SEED = 2**32 - 1
"""The greatest seed: where numpy's RandomState ends."""

MOST_SAMPLES = 100_000
"""Pictures that are asked for at once, at most: beyond it a range of seeds is more likely a slip than a wish."""


PRIORS = ("normal", "mixture")
"""What the latents of a VAE can be drawn from."""


@dataclass(frozen=True)
class Latent:
    """A batch of points that a generator can decode."""

    samples: Tensor
    """[B, C, H, W], float32. A vector z of size n is [B, n, 1, 1]."""
    space: str = "z"
    """Which space the points lie in: "z", the noise that the generator was trained on; for a style-based generator also
    "w", the same style for all its layers, and "w+", a style for each. In both, samples are [B, w_dim, num_ws, 1]."""
    labels: Tensor | None = None
    """For a generator with classes, those of the images in z: [B], int64, or weights of the classes [B, classes]."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, part: slice) -> Latent:
        return Latent(self.samples[part], self.space, None if self.labels is None else self.labels[part])


def sample_noise(
    generator: Generator,
    seeds: Iterable[int],
    truncation: float = 1.0,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    space: str | None = None,
    cutoff: int | None = None,
    prior: str | None = None,
) -> Latent:
    """Draws one latent for each seed.

    Image i depends on seed i alone: z is `numpy.random.RandomState(seed).randn(n)`, a stream that numpy has frozen
    (NEP 19), so that a seed means one picture on every machine, in every version and in a batch of any size.

    seeds: whole numbers from 0 to 2^32 - 1.
    truncation: psi. Draws towards the average picture: below 1 trades variety for typicality. It scales z, or in a
    style-based generator draws w towards its mean (Karras et al. 2019, app. B).
    labels: for a generator with classes, one label for all images or one for each, by number or, as a text, by name
    (see find_class), or weights of the classes as a float tensor [classes] or [B, classes]; None draws them, by the
    seeds too.
    space: "z", or "w" for a style-based generator. None is z, unless a truncation needs w.
    cutoff: how many of the first styles are truncated; None for all. Others than all make a latent in w+.
    prior: of a VAE, what is drawn from: "normal", the distribution that z was drawn towards in training, or "mixture",
    where the images it learned from really lie. None is the mixture where the file has one.

    Raises InputError for seeds or labels out of range, for a truncation that is no finite number, for labels that do
    not fit the seeds, and for a space, a cutoff or a prior that the generator does not have.
    """
    seeds = list(seeds)
    if not seeds:
        raise InputError("No seeds were given: one picture is drawn for each.")
    check_truncation(generator, truncation, cutoff)
    if space not in (None, "z", "w"):
        raise InputError(f'Noise is drawn in the space z or w, not "{space}".')
    styled = generator.style_shape is not None
    if space == "z" and styled and truncation != 1:
        raise InputError(
            f"{generator.title} is style-based, and truncation belongs to its space w: choose w, or a truncation of 1."
        )
    bad = next((seed for seed in seeds if not 0 <= seed <= LAST_SEED), None)
    if bad is not None:
        raise InputError(f"Seed {bad} is out of range: seeds are whole numbers from 0 to {LAST_SEED}.")

    streams = [np.random.RandomState(seed) for seed in seeds]
    z = np.stack([stream.randn(generator.config.latent_size) for stream in streams]).astype(np.float32)
    # The labels' draw follows that of z in the same stream, and so never changes z.
    drawn = [int(stream.randint(generator.classes)) for stream in streams] if generator.classes else None
    samples = torch.from_numpy(z) * (1 if styled else truncation)
    mixture = _mixture(generator, prior)
    if mixture:
        component = mixture.component(torch.tensor([stream.random_sample() for stream in streams]))
        samples = mixture.points(torch.from_numpy(z), component, truncation)
    latent = Latent(
        samples=samples.reshape(-1, *generator.latent_shape),
        labels=_labels(generator, len(seeds), drawn if labels is None else labels),
    )
    if space == "w" or (styled and truncation != 1):
        return to_styles(generator, latent, truncation, cutoff)
    return latent


def _mixture(generator: Generator, prior: str | None) -> GaussianMixture | None:
    """The mixture that latents are drawn from, if it is one."""
    if prior not in (None, *PRIORS):
        raise InputError(f'Latents are drawn from the prior {" or ".join(PRIORS)}, not "{prior}".')
    if prior == "mixture" and generator.mixture is None:
        raise InputError(
            f"{generator.title} has no mixture to draw from, only VAEs that were trained here have: choose normal."
        )
    return None if prior == "normal" else generator.mixture


def parse_seeds(text: str) -> list[int]:
    """ "3,8,20-22" -> [3, 8, 20, 21, 22]. Raises InputError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise InputError(f'Seeds are written like 0-127 or 3,8,20-30, not "{text}".')
        # Longer numbers are too large whatever they are, and int() refuses those of thousands of digits.
        span = range(int(first[:20]), int((last or first)[:20]) + 1)
        if not span or span[-1] > LAST_SEED:
            raise InputError(f'"{part.strip()}" is no range of seeds: they run upwards, from 0 to at most {LAST_SEED}.')
        if len(seeds) + len(span) > MOST_SAMPLES:
            raise InputError(f"At most {MOST_SAMPLES:,} pictures are made at a time; {text} are more.")
        seeds.extend(span)
    return seeds


def find_class(generator: Generator, label: str) -> int:
    """The number of a class, by what it is called.

    A name counts for more than a number: "10" is the class of that name, wherever it stands. By its number, from 0, a
    class can be asked for only where none is called by a number. Raises InputError where there is no such class.
    """
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes: it takes no label.")
    names = [_comparable(name) for name in generator.class_names]
    wanted = _comparable(label)
    if wanted in names:
        return names.index(wanted)
    alike = [i for i, name in enumerate(names) if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch(r"[0-9]{1,9}", wanted) and not any(re.fullmatch(r"[0-9]+", name) for name in names):
        return _in_range(generator, int(wanted))
    raise InputError(f"{generator.title} has {generator.classes_in_words}, and no class {_quoted(label)}.")


def _comparable(name: str) -> str:
    # The same letter may be written as one sign or as two: by a Mac's file names, for one.
    return unicodedata.normalize("NFC", name.strip())


def _quoted(label: str) -> str:
    return label.strip() if re.fullmatch(r"-?[0-9]{1,20}", label.strip()) else f'"{label}"'


def _in_range(generator: Generator, label: int) -> int:
    if not 0 <= label < generator.classes:
        raise InputError(f"{generator.title} has {generator.classes_in_words}, and no class {label}.")
    return label


def parse_class_weights(generator: Generator, text: str) -> Tensor:
    """ "cat:0.7, dog:0.3", by names as find_class takes them, "cat", or a number for every class -> [classes], float32.

    Raises InputError for anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes: it takes no weights of classes.")
    if _comparable(text) in map(_comparable, generator.class_names):
        return torch.eye(generator.classes)[find_class(generator, text)]
    try:
        if parts and all(":" in part for part in parts):
            pairs = [part.rpartition(":") for part in parts]
            given = {find_class(generator, name): float(weight) for name, _, weight in pairs}
            if len(given) == len(parts):
                return torch.tensor([given.get(label, 0.0) for label in range(generator.classes)])
        elif not any(":" in part for part in parts) and len(parts) == generator.classes:
            return torch.tensor([float(part) for part in parts])
    except InputError as error:
        reason = f" {error}"
    except ValueError:
        reason = ""
    else:
        reason = ""
    first, last = generator.class_names[0], generator.class_names[-1]
    raise InputError(
        f'"{text[:100]}" does not weigh the classes of {generator.title}: write pairs such as {first}:0.7, {last}:0.3, '
        f"each class once, or {generator.classes} numbers with commas between.{reason}"
    )


def to_styles(generator: Generator, latent: Latent, truncation: float = 1.0, cutoff: int | None = None) -> Latent:
    """The latents of a style-based generator in w, drawn towards the mean style.

    latent: in z, w or w+. truncation: psi, w becomes mean + psi (w - mean). cutoff: how many of the first styles, the
    coarse ones, are drawn; None for all. Returns a latent in w, or in w+ where its styles differ.

    Raises InputError for a generator that has no styles, for latents that are not its own, for a truncation that is no
    finite number and for a cutoff beyond the number of styles.
    """
    check_truncation(generator, truncation, cutoff)
    if latent.space == "z":
        latent = generator.mapped(latent)
    mean = generator.average_style.to(latent.samples)[:, None, None]
    count = latent.samples.shape[2] if cutoff is None else cutoff
    samples = latent.samples.clone()
    samples[:, :, :count] = mean.lerp(samples[:, :, :count], truncation)
    space = latent.space if truncation == 1 or count in (0, samples.shape[2]) else "w+"
    return Latent(samples.to(generator.device), space)


def to_space(generator: Generator, latent: Latent, space: str | None = None) -> Latent:
    """The latents where they are to be steered: "z" or "w"; None for w in a style-based generator, z in others.

    What is in w+ already stays there. Raises InputError where there is no way into that space, and for latents that
    are not the generator's.
    """
    if space not in (None, "z", "w"):
        raise InputError(f'Latents are steered in the space z or w, not "{space}".')
    generator.check(latent)
    if (space or ("w" if generator.style_shape else "z")) == "w":
        return to_styles(generator, latent)
    if latent.space != "z":
        raise InputError(f"This latent is in {latent.space}, from where no way leads back to z: choose w.")
    return latent


def noise_maps(sizes: Sequence[tuple[int, int]], seeds: Sequence[int]) -> list[Tensor]:
    """Noise for the layers of a style-based generator: for each height and width maps [N, 1, h, w] of normal numbers.

    Those of an image depend on its seed alone. Without seeds, maps of zero that broadcast to any number of images.
    """
    if not seeds:
        return [torch.zeros(1, 1, 1, 1) for _ in sizes]
    streams = [np.random.RandomState(seed) for seed in seeds]
    drawn = [[stream.randn(1, *size).astype(np.float32) for size in sizes] for stream in streams]
    return [torch.from_numpy(np.stack(maps)) for maps in zip(*drawn, strict=True)]


def check_truncation(generator: Generator, truncation: float, cutoff: int | None) -> None:
    """Raises InputError for a truncation that is no finite number, and a cutoff that the generator does not have."""
    if not math.isfinite(truncation):
        raise InputError(f"The truncation psi is an ordinary number, mostly from 0 to 1, not {truncation}.")
    if cutoff is None:
        return
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator: it has no styles, and so no cutoff."
        )
    if not 0 <= cutoff <= generator.style_shape[1]:
        raise InputError(f"{generator.title} has {generator.style_shape[1]} styles; a cutoff after {cutoff} is none.")


def _labels(generator: Generator, count: int, labels: int | str | Sequence[int | str] | Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes: it takes no label.")
    if isinstance(labels, Tensor) and labels.is_floating_point():
        return _class_weights(generator, count, labels)
    given = [labels] * count if isinstance(labels, (int, str)) else list(labels)
    chosen = [find_class(generator, label) if isinstance(label, str) else label for label in given]
    if len(chosen) != count:
        raise InputError(f"{len(chosen)} labels were given for {count} images: give one label, or one for each.")
    return torch.tensor([_in_range(generator, label) for label in chosen], dtype=torch.int64)


def _class_weights(generator: Generator, count: int, given: Tensor) -> Tensor:
    if given.shape not in ((generator.classes,), (count, generator.classes)) or not bool(given.isfinite().all()):
        raise InputError(
            f"{generator.title} has {generator.classes} classes: give a finite weight for each of them, for all images "
            f"or for each of the {count}."
        )
    return given.float().expand(count, -1)
