"""Comparing generators: the images of the same seeds side by side, and their metrics on the same real images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..data.images import ImageDataset
from ..errors import InputError, shown
from ..generator import Generator
from ..media.image import table
from .features import Extractor, efficientnet_lite0
from .measure import Report, measuring

LEGIBLE_SIDE, MAX_SIDE = 128, 512
"""Longer side of an image on the sheet, in pixels: about the first for small ones, enlarged by a whole factor,
and at most the second."""


TITLE_LINE = 14
"""Characters that fit above a column."""


@dataclass(frozen=True)
class Comparing:
    """Progress of a comparison after one of its steps."""

    fraction: float
    doing: str
    """Description of the current step."""
    reports: tuple[Report | None, ...]
    """Metrics of the generators that were measured so far; None for one whose images have another size."""

    def __str__(self) -> str:
        return f"{self.doing}: {self.fraction:.0%}"


def comparing(
    generators: Sequence[Generator],
    dataset: ImageDataset,
    count: int = 2000,
    device: torch.device | str = "cpu",
    extractor: Extractor | None = None,
) -> Iterator[Comparing]:
    """Measures generators one after another against the same images of a data set, with the same seeds.

    count, device, extractor: as in `measuring`. Raises its errors, but for the size of a generator, and InputError if
    none has the size of the data set.
    """
    if all(generator.size != dataset.size for generator in generators):
        raise InputError(
            f"None of the generators makes images of {dataset.width}x{dataset.height} pixels, as those of "
            f"{dataset.name} are: load the images with the size of the generators."
        )
    extractor = extractor or efficientnet_lite0(torch.device(device))
    reports: list[Report | None] = []
    real: Tensor | None = None
    for place, generator in enumerate(generators):
        if generator.size != dataset.size:
            reports.append(None)
            continue
        for step in measuring(generator, dataset, count, 0, device, extractor, real):
            doing = f"{generator.title}: {step.doing}"
            yield Comparing((place + step.fraction) / len(generators), doing, tuple(reports))
        reports.append(step.report)
        real = step.real
    yield Comparing(1.0, "compared", tuple(reports))


def sheet(images: Sequence[Tensor], generators: Sequence[Generator], seeds: Sequence[int]) -> Image.Image:
    """The images side by side: a column for each generator, below its title, and a row for each seed.

    images: of each generator, [seeds, C, H, W] in [-1, 1]. They may differ in size and colours: smaller ones are
    enlarged to the largest.
    """
    side = max(max(each.shape[-2:]) for each in images)
    cells = [each[row : row + 1] for row in range(len(seeds)) for each in images]
    cell = min(side * max(1, round(LEGIBLE_SIDE / side)), MAX_SIDE)
    return table(cells, list(map(str, seeds)), list(map(heading, generators)), cell)


def heading(generator: Generator) -> str:
    """Title of a generator, and below it for how long it was trained, where it says so."""
    kimg = _kimg(generator)
    first, *more = textwrap.wrap(generator.title, TITLE_LINE)
    title = [first, *(line + "..." * (len(more) > 1) for line in more[:1])]
    return "\n".join([*title, *([] if kimg is None else [f"{kimg:,.1f} kimg"])])


def as_markdown(generators: Sequence[Generator], reports: Sequence[Report | None]) -> str:
    """A table of the generators, a row for each. reports: their metrics; empty where they were not measured."""
    head = ["generator", "network", "size", "kimg", *(["KID", "coverage"] if reports else [])]
    rows = [head, ["---"] * len(head)]
    for place, generator in enumerate(generators):
        kimg = _kimg(generator)
        row = [_cell(generator.title), generator.architecture.name, generator.size_in_words]
        row.append("" if kimg is None else f"{kimg:,.1f}")
        rows.append([*row, *(_figures(reports[place]) if reports else [])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    conditions = _conditions(reports)
    lines += ["", *conditions] if conditions else []
    return "\n".join(lines)


def in_words(generators: Sequence[Generator], reports: Sequence[Report | None]) -> list[str]:
    """A line for each generator, with its figures if it was measured, and one on how. The rest as in as_markdown."""
    lines = []
    for place, generator in enumerate(generators):
        kimg = _kimg(generator)
        line = generator.title if kimg is None else f"{generator.title}, {kimg:,.1f} kimg"
        if reports:
            kid, coverage = _figures(reports[place])
            line += f": KID {kid}, coverage {coverage}" if coverage else f": {kid}"
        lines.append(line)
    return [*lines, *_conditions(reports)]


def _conditions(reports: Sequence[Report | None]) -> list[str]:
    """How the figures were measured, in a line; empty if none was."""
    measured = next(filter(None, reports), None)
    if measured is None:
        return []
    return [
        f"{measured.fake:,} generated, {measured.real:,} real of {measured.data}; {measured.backbone}@{measured.side}. "
        "Lower KID and higher coverage are better; ± is one standard error."
    ]


def _figures(report: Report | None) -> list[str]:
    if report is None:
        return ["another size", ""]
    # That of a fraction of the real images, as if each were covered or not by itself.
    error = math.sqrt(report.coverage * (1 - report.coverage) / report.real)
    return [f"{report.kid:.4f} ± {report.kid_standard_error:.4f}", f"{report.coverage:.3f} ± {error:.3f}"]


def _kimg(generator: Generator) -> float | None:
    kimg = (generator.card.training or {}).get("kimg")
    return float(kimg) if isinstance(kimg, int | float) and math.isfinite(kimg) else None


def _cell(text: str) -> str:
    """A text in a cell of a Markdown table."""
    return shown(text).replace("|", "\\|")
