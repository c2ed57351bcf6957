"""The figures of two generators that ship with the project, by gan_core.metrics, and of real digits beside them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from .measure import Figures

NAMES = ("digits", "vae-digits")


def run(count: int, seed: int, threads: int) -> Figures:
    """Measures each against the digits that it learned from: count images of it, and as many of them."""
    from gan_core import load
    from gan_core.examples import FOLDER, digits
    from gan_core.metrics import measuring

    torch.set_num_threads(threads)
    figures: Figures = {"seed": seed, "real digits": _real(count, seed)}
    print(f"real digits against others: {figures['real digits']}")
    for name in NAMES:
        generator = load(FOLDER / f"{name}.safetensors")
        *_, last = measuring(generator, digits(), count, seed)
        assert last.report is not None
        print(f"{name}:\n{last.report}")
        figures[name] = asdict(last.report)
    return figures


def _real(count: int, seed: int) -> Figures:
    """What a generator would get whose images are real digits that are not among the others."""
    from gan_core.examples import digits
    from gan_core.metrics.coverage import density_and_coverage, precision_and_recall
    from gan_core.metrics.features import efficientnet_lite0
    from gan_core.metrics.frechet import frechet
    from gan_core.metrics.kid import kid

    dataset, extractor = digits(), efficientnet_lite0(torch.device("cpu"))
    order = np.random.RandomState(seed).permutation(len(dataset))[: 2 * count]
    features = torch.cat([extractor.features(dataset.batch(part)) for part in np.array_split(order, 2 * count // 50)])
    real, fake = features.chunk(2)
    distance = kid(real, fake, seed)
    density, coverage = density_and_coverage(real, fake)
    precision, recall = precision_and_recall(real, fake)
    return {
        "kid": distance.value,
        "kid_standard_error": distance.standard_error,
        "density": density,
        "coverage": coverage,
        "precision": precision,
        "recall": recall,
        "frechet": frechet(real, fake),
        "images": [len(real), len(fake)],
    }
