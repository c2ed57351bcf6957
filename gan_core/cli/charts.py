"""Charts of a run as PNG files. They need matplotlib, which ComfyUI does not have."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from ..training.history import Charts, Record

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""What each line is called, and its points."""


def loss_chart(history: Sequence[Record], panels: Charts, path: Path, title: str) -> None:
    """Draws values over the images shown, as a PNG file: the panels of which some value was measured, at least the
    first. Raises InputError where it cannot be written."""
    measured = {name for record in history for name in record.values}
    panels = {axis: lines for i, (axis, lines) in enumerate(panels.items()) if not i or measured & lines.keys()}
    lines = {
        axis: {
            label: [(record.images / 1000, record.values[name]) for record in history if name in record.values]
            for name, label in names.items()
        }
        for axis, names in panels.items()
    }
    line_chart(lines, path, title, "real images shown (thousands)")


def line_chart(
    panels: Mapping[str, Lines], path: Path, title: str, across: str, by_factors: Collection[str] = ()
) -> None:
    """Draws lines in panels one below the other, as a PNG file.

    panels: what is measured upwards in each, and its lines; those without points are left out. across: what is
    measured to the right, in all. by_factors: the panels with a logarithmic axis, on which 0 and less are not drawn.
    Raises InputError where it cannot be written, or matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        if missing.name and not missing.name.startswith("matplotlib"):
            raise
        raise InputError("Charts need matplotlib. Install it with: python -m pip install matplotlib") from None

    figure = Figure(figsize=(9, 3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    charts = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    charts[0].set_title(title, parse_math=False)  # a dollar in a name is no formula
    charts[-1].set(xlabel=across)
    for chart, (axis, lines) in zip(charts, panels.items(), strict=True):
        chart.set(ylabel=axis, yscale="log" if axis in by_factors else "linear")
        for label, points in lines.items():
            if points:
                chart.plot(*zip(*points, strict=True), label=label, linewidth=1)
        chart.legend()
        chart.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
