"""What a person is shown of a data set before it is learned from: a sheet of its images, and what is known of them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import some
from ..media.image import grid, table
from .advice import advice_on
from .images import ImageDataset

SHEET_SIDE = 1024
"""Approximate maximum side of a sheet, in pixels."""

MAX_IN_A_ROW = 8

LEGIBLE_SIDE = 96
"""Side to which small images are enlarged, by a whole factor, beside the names of classes."""

MAX_CLASSES = 16
"""Classes that are shown, the first ones."""

SKIPPED_SHOWN = 3
"""Files of which it is said why they were skipped."""


def sheet(dataset: ImageDataset) -> Image.Image:
    """Some images of a data set as a network is shown them, always the same: with classes a row for each."""
    in_a_row = max(2, min(MAX_IN_A_ROW, SHEET_SIDE // max(dataset.size)))
    if not dataset.classes:
        return grid(_images(dataset, _spread(np.arange(len(dataset)), in_a_row**2)), in_a_row)
    assert dataset.labels is not None
    counts = np.bincount(dataset.labels, minlength=dataset.classes)
    shown = range(min(dataset.classes, MAX_CLASSES))
    names = [f"{dataset.class_names[label]} ({counts[label]:,})" for label in shown]
    rows = [_images(dataset, _spread(np.flatnonzero(dataset.labels == label), in_a_row)) for label in shown]
    filled = [torch.cat([row, row.new_ones(in_a_row - len(row), *row.shape[1:])]) for row in rows]
    side = max(dataset.size)
    return table(filled, names, [""] * in_a_row, side * max(1, LEGIBLE_SIDE // side))


def in_words(dataset: ImageDataset) -> list[str]:
    """Lines on a data set: how many images, what was skipped and why, duplicates, and advice."""
    lines = [dataset.summary]
    if dataset.skipped:
        reasons = [f"{file} ({reason})" for file, reason in dataset.skipped.items()]
        lines.append(f"Skipped: {some(reasons, SKIPPED_SHOWN)}.")
    advice = advice_on(dataset)
    if dataset.duplicates.count and not any(str(dataset.duplicates) in sentence for sentence in advice):
        lines.append(f"Duplicates: {dataset.duplicates}.")
    return [*lines, *dataset.remarks, *advice]


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    """Some of these places, evenly spread: at most as many as there are."""
    return places[np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]


def _images(dataset: ImageDataset, places: np.ndarray) -> Tensor:
    return dataset.medium.normalise(dataset.batch(places))
