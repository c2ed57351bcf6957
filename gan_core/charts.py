"""Charts of a run, for people."""

from collections.abc import Sequence
from pathlib import Path

from .files import replacing
from .training.history import Panels, Record


def loss_chart(history: Sequence[Record], panels: Panels, path: Path, title: str) -> None:
    """Draws values over the images shown, as a PNG file: the panels of which some value was measured, at least the
    first. Raises InputError where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = {name for record in history for name in record.values}
    panels = {axis: lines for i, (axis, lines) in enumerate(panels.items()) if not i or measured & lines.keys()}
    figure = Figure(figsize=(9, 3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    charts = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    charts[0].set(title=title)
    charts[-1].set(xlabel="real images shown (thousands)")
    for chart, (axis, lines) in zip(charts, panels.items(), strict=True):
        chart.set(ylabel=axis)
        for name, label in lines.items():
            told = [record for record in history if name in record.values]
            if told:
                kimg = [record.images / 1000 for record in told]
                chart.plot(kimg, [record.values[name] for record in told], label=label, linewidth=1)
        chart.legend()
        chart.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
