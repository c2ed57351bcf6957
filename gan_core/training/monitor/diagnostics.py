"""Diagnostics of a GAN's health: numbers that cost little and need no network but its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...data.dataset import Batch
from ...metrics.features import on_white
from ...platforms import average_pooled, known
from ..batches import Batches

MAX_JUDGED = 64
"""Real images whose logits are compared with those of samples when overfitting is measured."""

SIDE = 16
"""Images are compared by their colours at this height and width, whatever they show: it is always at hand."""


@dataclass(frozen=True)
class Likeness:
    """How generated images lie beside real ones, in units of the mean distance of two real ones."""

    diversity: float
    """The mean distance of two generated images: about 1 where they vary as real ones do, 0 where all are one."""
    distance: float
    """The energy distance of the two sets (Székely & Rizzo 2013), about 0 where they are alike: that of one and the
    same image again and again is 0.4 or more, that of noise or of blank images 1 or more. Unbiased, so that it may lie
    a little below 0."""


def diagnose(
    samples: Tensor, labels: Tensor | None, batches: Batches, logits: Callable[[Batch], Tensor]
) -> dict[str, float]:
    """Diversity and distance of samples, and where images are held out the overfitting of the discriminator.

    samples: generated images [N, C, H, W] in [-1, 1]. labels: their classes; None without. logits: the discriminator's
    of a batch, [N].
    """
    values: dict[str, float] = {}
    alike = likeness(features(samples), features(batches.at(batches.compared).target))
    if alike:
        values |= {"diversity": alike.diversity, "distance": alike.distance}
    if len(batches.held_out):
        held_out, shown = (logits(_whole_groups(batches, part)) for part in (batches.held_out, batches.compared))
        values["held_out_score"] = float(held_out.mean())
        overfit = overfitting(shown, held_out, logits(Batch(samples, labels)))
        if overfit is not None:
            values["overfitting"] = overfit
    return values


def likeness(generated: Tensor, real: Tensor) -> Likeness | None:
    """Compares features of generated images, [N, D], with those of real ones, [M, D], N and M at least 2.

    None where all real ones are the same, as diversity is undefined then.
    """
    within_real = _mean_distance(real)
    if within_real < 1e-6:
        return None
    within_generated = _mean_distance(generated)
    between = float(torch.cdist(generated, real).mean())
    return Likeness(within_generated / within_real, (2 * between - within_generated - within_real) / within_real)


def features(images: Tensor) -> Tensor:
    """Colours at SIDE x SIDE pixels, float32 [N, D], of images [N, C, H, W] in [-1, 1]; transparent ones on white."""
    pixels = on_white(images.float().clamp(-1, 1) * 127.5 + 127.5) / 255
    return average_pooled(pixels, SIDE).flatten(1)


def overfitting(shown: Tensor, held_out: Tensor, generated: Tensor) -> float | None:
    """Overfitting of the discriminator: r_v of Karras et al. 2020, eq. 1.

    shown, held_out, generated: logits [N] of training images, of held-out real ones, and of samples. Returns about 0
    without overfitting, 1 if held-out images are judged as samples are; None where training images are hardly told from
    samples, so that the ratio means nothing.
    """
    apart = float(shown.mean() - generated.mean())
    return float(shown.mean() - held_out.mean()) / apart if apart > float(shown.std()) else None


def gradient_norm(module: nn.Module) -> float:
    """Norm of the gradient of the module's last update; 0 where there was none."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return float(torch.stack(torch._foreach_norm(gradients)).norm()) if gradients else 0.0


@contextmanager
def unmoved(module: nn.Module) -> Iterator[None]:
    """Evaluates a network in training mode without a trace: batch norm's statistics and the vectors of spectral norm,
    which move with every batch, are restored."""
    before = [buffer.clone() for buffer in module.buffers()]
    with torch.no_grad():
        yield
        for buffer, kept in zip(module.buffers(), before, strict=True):
            buffer.copy_(kept)


def _whole_groups(batches: Batches, indices: np.ndarray) -> Batch:
    """At most MAX_JUDGED examples, a multiple of 8 of them: the groups of a minibatch standard deviation stay whole."""
    return batches.at(indices[: min(MAX_JUDGED, len(indices) // 8 * 8)])


def _mean_distance(points: Tensor) -> float:
    """Of two different ones of [N, D]."""
    # Not by cdist: by way of products of matrices a point would have some distance from itself, and by any other it
    # takes 15 times as long.
    return float(torch.pdist(known(points)).mean())
