"""The health of a GAN by its history, as a word and a sentence: a pure function of the history.

It goes by medians of several looks, so that one bad moment does not count, and by what the run itself has reached
before, as networks and data differ in how fast they learn. `python -m benchmarks stability` shows what it finds, and
what it does not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..history import Record

FIRST_IMAGES = 20_000
"""Images before which nothing is judged: every run begins with identical samples and a certain discriminator."""

LOOKS = 3
"""Diagnoses in a row that are judged by their median."""

FALLEN, ALIKE = 0.5, 0.5
"""Mode collapse: diversity below this share of the greatest so far, and below this value."""

STUCK, GROWN = 0.3, 1.2
"""Mode collapse from the start: diversity that never passed the first value, and that twice the images do not multiply
by the second."""

FAR, PARTED = 0.35, 3.0
"""Divergence: distance from the real images above the first value, and this many times the least so far."""

LOST = 0.6
"""Divergence from the start: distance that was never below this, and that twice the images do not lower by a tenth."""

OVERFIT_R_T, OVERFIT_R_V = 0.8, 0.5
"""The discriminator overfits from this r_t on; where images are held out, from this r_v."""

PASSES = 10
"""Epochs before a discriminator is judged to overfit."""

MARGIN = 0.5
"""Minimum difference of mean logits, real minus generated, of overfitting by r_t: with hinge, all logits may drift."""

WON = 1e-3
"""Discriminator loss below which the generator has no gradient to learn from: divergence."""

CERTAIN, APART = 15.0, 0.1
"""The same for mean logits that are this far apart while the samples are at that distance or more. A Wasserstein
critic, whose logits have no scale, is recognised by its loss below 0 and left out."""

LATELY = 12_000
"""Images over which the values of steps are averaged, as a single record is noisy."""

WORSE_LOOKS, WORSE, ERRORS = 3, 1.3, 2
"""KID has become worse if this many measurements in a row are all this many times the best before, and above it by this
many standard errors of the difference."""

AS_VARIED, AS_NEAR, NEAR = 0.8, 1.5, FAR / 2
"""A healthy state has at least this share of the greatest diversity so far, and at most this many times the least
distance, or that distance."""


VARIED = 0.7
"""KID counts where samples are at least as varied as this, and nearer to the real images than NEAR. Measured: of digits
on a CPU, samples of 6 kimg (diversity 0.43, distance 0.50) had a KID of 6.6 that no later ones reached, which were
legible and had 14 to 17."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a run."""

    kind: str
    """"collapse", "divergence" or "overfitting"."""
    sentence: str
    """What was seen and what to do, for people."""

    def __str__(self) -> str:
        return self.sentence


def verdict(history: Sequence[Record], shown: int) -> Verdict | None:
    """What is wrong; None where nothing is, or too little is known.

    history: all records, oldest first. shown: how many images it learns from.
    """
    if not history or history[-1].images < FIRST_IMAGES:
        return None
    return _collapse(history) or _divergence(history) or _overfitting(history, shown)


@dataclass(frozen=True)
class Health:
    """The health of a run for people."""

    word: str
    """"early", "healthy", or the kind of a verdict."""
    sentence: str


def health(history: Sequence[Record], verdict: Verdict | None) -> Health | None:
    """The health of a run with a verdict; None where its samples are not looked at, as those of a VAE."""
    if verdict is not None:
        return Health(verdict.kind, verdict.sentence)
    looks = _looks(history)
    if not looks:
        return None
    if history[-1].images < FIRST_IMAGES:
        return Health("early", f"A run is judged from {FIRST_IMAGES / 1000:g} kimg on.")
    values = looks[-1].values
    return Health(
        "healthy",
        f"Samples vary {values['diversity']:.0%} as much as real images, at a distance of "
        f"{max(0.0, values['distance']):.2f} from them (0 is equal, noise has about 1).",
    )


def healthy(history: Sequence[Record]) -> bool:
    """Whether the last look at the samples shows a generator worth going back to: as varied and as near to the real
    images, or nearly, as it ever was."""
    looks = _looks(history)
    if not looks or history[-1].images < FIRST_IMAGES:
        return False
    diversities = [look.values["diversity"] for look in looks]
    distances = [look.values["distance"] for look in looks]
    varied = diversities[-1] > max(STUCK, AS_VARIED * max(diversities))
    return varied and distances[-1] < max(NEAR, AS_NEAR * min(distances))


def worsened(history: Sequence[Record]) -> bool:
    """Whether KID is clearly worse than it was: in each of the last WORSE_LOOKS measurements that count."""
    measured = [record.values for record in counted(history)]
    before, last = measured[:-WORSE_LOOKS], measured[-WORSE_LOOKS:]
    if not before:
        return False
    best = min(before, key=lambda values: values["kid"])
    return all(
        values["kid"] - best["kid"] > max((WORSE - 1) * best["kid"], ERRORS * _error(best, values)) for values in last
    )


def counted(history: Sequence[Record]) -> list[Record]:
    """The records whose KID is that of a generator, by the look at its samples before it: they are varied, and near to
    the real images. What comes earlier does not count: the KID of mush against a few hundred images may be lower than
    any that follows."""
    found = []
    look: Mapping[str, float] | None = None
    for record in history:
        look = record.values if "diversity" in record.values else look
        if "kid" in record.values and look and look["diversity"] >= VARIED and look["distance"] < NEAR:
            found.append(record)
    return found


def better(values: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether one KID is lower than another by more than their standard errors leave open."""
    return best["kid"] - values["kid"] > _error(values, best)


def _error(values: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Standard error of the difference of two KIDs, 0 where none was kept."""
    return math.hypot(values.get("kid_standard_error", 0.0), other.get("kid_standard_error", 0.0))


def _collapse(history: Sequence[Record]) -> Verdict | None:
    looks = _looks(history)
    now = _median(looks[-LOOKS:], "diversity")
    if now is None:
        return None
    had = max(_medians(looks, "diversity"))
    if now < ALIKE and now < FALLEN * had:
        seen = f"samples vary {now:.1%} as much as real images, after {had:.1%} before"
    elif (before := _half_way(looks, "diversity")) is not None and had < STUCK and now <= GROWN * before:
        seen = f"samples vary only {now:.1%} as much as real images, and no more than half the images ago"
    else:
        return None
    return Verdict(
        "collapse",
        f"Mode collapse: {seen}. Lower the learning rate, take larger batches, or hold the discriminator with gradient "
        "penalties, as relativistic does.",
    )


def _divergence(history: Sequence[Record]) -> Verdict | None:
    looks = _looks(history)
    now = _median(looks[-LOOKS:], "distance")
    if now is None:
        return None
    had = min(_medians(looks, "distance"))
    if now > FAR and now > PARTED * had:
        seen = f"samples have moved away from the real images, to a distance of {now:.2f} after {had:.2f} before"
    elif (before := _half_way(looks, "distance")) is not None and had > LOST and now > 0.9 * before:
        seen = f"samples stay at a distance of {now:.2f} from the real images, where 0 is equal and noise has about 1"
    elif before is not None and _lately(history, "discriminator_loss", abs) < WON and now > 0.9 * before:
        seen = "the discriminator has won: its loss is 0, and samples come no nearer to the real images"
    elif now > APART and _lately(history, "discriminator_loss") >= 0 and (margin := _margin(history)) > CERTAIN:
        seen = (
            f"the discriminator has won: it scores real images {margin:.0f} higher than samples, which look unlike them"
        )
    else:
        return None
    return Verdict("divergence", f"Divergence: {seen}. Lower the learning rate, or choose another objective.")


def _overfitting(history: Sequence[Record], shown: int) -> Verdict | None:
    """By r_v where images are held out, else by r_t (Karras et al. 2020, sec. 3)."""
    images = history[-1].images
    if images < PASSES * shown:
        return None
    sign = _lately(history, "real_sign")
    looks = [record.values["overfitting"] for record in history if "overfitting" in record.values][-2 * LOOKS :]
    held_out = any("held_out_score" in record.values for record in history)
    if held_out:
        known = len(looks) == 2 * LOOKS and statistics.median(looks) > OVERFIT_R_V
    else:
        known = sign > OVERFIT_R_T and _margin(history) > MARGIN
    if not known:
        return None
    told = f"r_v {statistics.median(looks):.2f}" if held_out else f"r_t {sign:.2f}"
    return Verdict(
        "overfitting",
        f"The discriminator is overfitting ({told}): add images, and turn on mirror and ada if they are off.",
    )


def _lately(history: Sequence[Record], name: str, of: Callable[[float], float] = float) -> float:
    """The mean of a value, or of what `of` makes of it, over the last LATELY images. A record weighs as much as the
    images in it, so that it does not matter where one was cut in two by a checkpoint."""
    total = weight = 0.0
    for i in range(len(history) - 1, -1, -1):
        if history[-1].images - history[i].images >= LATELY:
            break
        images = history[i].images - (history[i - 1].images if i else 0)
        total += images * of(history[i].values.get(name, 0.0))
        weight += images
    return total / weight if weight else 0.0


def _margin(history: Sequence[Record]) -> float:
    """How much higher real images scored than generated ones."""
    return _lately(history, "real_score") - _lately(history, "fake_score")


def _looks(history: Sequence[Record]) -> list[Record]:
    """The records in which samples were looked at."""
    return [record for record in history if "diversity" in record.values]


def _medians(looks: Sequence[Record], name: str) -> list[float]:
    """Of every LOOKS in a row."""
    return [
        statistics.median(look.values[name] for look in looks[end - LOOKS : end])
        for end in range(LOOKS, len(looks) + 1)
    ]


def _median(looks: Sequence[Record], name: str) -> float | None:
    """Of the last looks; None where there are too few."""
    return statistics.median(look.values[name] for look in looks) if len(looks) == LOOKS else None


def _half_way(looks: Sequence[Record], name: str) -> float | None:
    """What the median was when half the images had been shown; None where that was too early to have one."""
    early = [look for look in looks if look.images <= looks[-1].images / 2]
    return _median(early[-LOOKS:], name)
