"""Advice on a data set: what is wrong with it as something to learn from, and what to do."""

from __future__ import annotations

from .images import ImageDataset

FEW = 100
"""With fewer different images a person is told what to expect."""

WORTH_TELLING = 0.01
"""Share of duplicates from which they are spoken of."""


def advice_on(dataset: ImageDataset) -> list[str]:
    """Sentences of advice on a data set, each with what to do; empty where there is none."""
    found = dataset.duplicates
    different = found.looked_at - found.count
    said = []
    if different < FEW:
        said.append(
            f"There are only {different} different images, and a few hundred are a start: so few are soon memorised, "
            "and samples repeat them. Add images, cut several out of each, or turn mirror on where they "
            "may be flipped."
        )
    if found.count >= max(1, WORTH_TELLING * found.looked_at):
        said.append(f"Duplicates: {found}. The generator memorises them first: keep one of each.")
    return [*said, *dataset.advice]
