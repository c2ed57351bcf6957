"""What happened during a run, as numbers."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..files import replacing

Charts = Mapping[str, Mapping[str, str]]
"""Charts of a run: title of the axis -> names of the values in it, and their labels."""

MAX_POINTS = 2000
"""Points of a line in a chart: more cannot be told apart."""


@dataclass(frozen=True)
class Record:
    """Losses and measurements of a run at one moment."""

    images: int
    """Real images shown so far."""
    values: Mapping[str, float]
    """Means over the steps since the record before, by name; what is measured more rarely is only in some records."""


class Pending:
    """Values that the steps since the last record returned. They are read once, as a GPU has to wait for that."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.values: list[Tensor] = []

    def add(self, names: list[str], values: Tensor) -> None:
        """Notes a step's scalars, [len(names)]. The names must be those of the steps before, unless it is empty."""
        self.names = names
        self.values.append(values)

    def take(self) -> dict[str, float]:
        """The means by name, of which it keeps nothing."""
        means = torch.stack(self.values).mean(dim=0).tolist()
        self.values.clear()
        return dict(zip(self.names, means, strict=True))


def columns(history: Iterable[Record]) -> list[str]:
    """The names of all values, in the order in which they first came."""
    return list(dict.fromkeys(name for record in history for name in record.values))


def to_tensor(history: Sequence[Record], names: Sequence[str]) -> Tensor:
    """float64 [len(history), 1 + len(names)], for a checkpoint: images, then the values, NaN where there is none."""
    rows = [[record.images, *(record.values.get(name, math.nan) for name in names)] for record in history]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 1 + len(names))


def from_tensor(table: Tensor, names: Sequence[str]) -> list[Record]:
    """The inverse of to_tensor. Raises ValueError where the names are not those of the table."""
    return [
        Record(int(images), {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)})
        for images, *values in table.tolist()
    ]


@dataclass(frozen=True)
class Series:
    """Records as columns, of which several may have become one."""

    images: list[int]
    """Real images shown at each point, ascending."""
    values: dict[str, list[float | None]]
    """Values by name, as many as points; None where nothing was measured."""


def series(history: Sequence[Record], limit: int = MAX_POINTS) -> Series:
    """At most that many points of a history. Where there are more records, a point is the mean of several in a row, so
    that what is measured now and then is in it too. Numbers that are not finite are left out."""
    size = math.ceil(len(history) / limit) if history else 1
    groups = [history[at : at + size] for at in range(0, len(history), size)]
    return Series(
        [group[-1].images for group in groups],
        {name: [_mean(group, name) for group in groups] for name in columns(history)},
    )


def _mean(group: Sequence[Record], name: str) -> float | None:
    values = [record.values[name] for record in group if math.isfinite(record.values.get(name, math.nan))]
    return math.fsum(values) / len(values) if values else None


def read_csv(path: Path) -> list[Record]:
    """The inverse of write_csv; rows that are not whole are left out. Raises OSError where it cannot be read."""
    records = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                values = {name: float(value) for name, value in row.items() if name != "images" and value}
                records.append(Record(int(row["images"]), values))
            except (KeyError, TypeError, ValueError):
                continue
    return records


def write_csv(history: Sequence[Record], path: Path) -> None:
    """Writes a table with a heading that any spreadsheet opens."""
    text = io.StringIO(newline="")
    names = columns(history)
    rows = csv.writer(text)
    rows.writerow(["images", *names])
    rows.writerows([record.images, *(record.values.get(name, "") for name in names)] for record in history)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
