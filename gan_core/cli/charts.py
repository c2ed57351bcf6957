"""Charts of a training run as PNG files. They need matplotlib, which ComfyUI does not have."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from ..training.history import Charts, Record

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) of each line, by the label of the line."""


def loss_chart(history: Sequence[Record], panels: Charts, path: Path, title: str) -> None:
    """Draws the values of a run over the images shown, as a PNG file.

    A panel is drawn if one of its values was measured; the first one always. Raises InputError if the file cannot be
    written.
    """
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

    panels: the lines of each panel, by the label of its vertical axis; lines without points are left out. across: label
    of the common horizontal axis. by_factors: panels with a logarithmic axis, which omits values of 0 or less.

    Raises InputError if the file cannot be written, or matplotlib is missing.
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
    charts[0].set_title(title, parse_math=False)  # a dollar in a name does not start a formula
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
