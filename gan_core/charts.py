"""Charts of a run, for people."""

from collections.abc import Sequence
from pathlib import Path

from .files import replacing
from .training.history import Record


def loss_chart(history: Sequence[Record], path: Path, title: str) -> None:
    """Draws losses and scores over the images shown, as a PNG file. Raises InputError where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(2, sharex=True)
    kimg = [record.images / 1000 for record in history]
    losses.plot(kimg, [record.discriminator_loss for record in history], label="discriminator", linewidth=1)
    losses.plot(kimg, [record.generator_loss for record in history], label="generator", linewidth=1)
    losses.set(title=title, ylabel="loss")
    scores.plot(kimg, [record.real_score for record in history], label="real images", linewidth=1)
    scores.plot(kimg, [record.fake_score for record in history], label="generated images", linewidth=1)
    scores.set(xlabel="real images shown (thousands)", ylabel="discriminator's mean logit")
    for axes in (losses, scores):
        axes.legend()
        axes.grid(alpha=0.3)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
