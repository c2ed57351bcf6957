"""What happened during a run, as numbers."""

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from ..files import replacing


@dataclass(frozen=True)
class Record:
    """Means over the steps since the record before."""

    images: int
    """Real images shown so far."""
    discriminator_loss: float
    generator_loss: float
    real_score: float
    """The discriminator's mean logit for real images: above 0 says real."""
    fake_score: float
    """The same for generated ones."""


NAMES = tuple(field.name for field in fields(Record))


def to_tensor(history: list[Record]) -> Tensor:
    """float64 [len(history), 5], for a checkpoint."""
    return torch.tensor([astuple(record) for record in history], dtype=torch.float64).reshape(-1, len(NAMES))


def from_tensor(values: Tensor) -> list[Record]:
    """The inverse of to_tensor."""
    return [Record(int(images), *rest) for images, *rest in values.tolist()]


def write_csv(history: list[Record], path: Path) -> None:
    """Writes a table with a heading that any spreadsheet opens."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(NAMES)
    rows.writerows(astuple(record) for record in history)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
