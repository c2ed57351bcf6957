"""Commands that measure a generator against a folder of images: measure, likelihood."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from ..data.images import CHANNELS
from ..generator import load
from ..losses.reconstruction import LIKELIHOODS
from ..metrics import measuring
from ..metrics.likelihood import elbo, importance_weighted
from ..names import called
from ..training.devices import best_device
from .datasets import fit_option, read_dataset
from .paths import Place
from .printing import say_json


@click.command("measure")
@click.argument("weights", type=Place())
@click.argument("data", type=Place())
@click.option(
    "--count",
    type=int,
    default=2000,
    show_default=True,
    help="Generated images, and maximum of real ones: 10 to 10,000.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first image; the others follow.")
@click.option("--labels", is_flag=True, help="Read class labels, as train does, and generate them in proportion.")
@fit_option
@click.option("--save", is_flag=True, help="Also write the metrics into the card of the file WEIGHTS.")
def measure_command(weights: Path, data: Path, count: int, seed: int, labels: bool, fit: str, save: bool) -> None:
    """Measure how close images of the generator in the file WEIGHTS are to those in the folder DATA, as JSON.

    kid is a distance, 0 is best; coverage and recall measure diversity, precision and density quality. They need a
    feature extractor; the error message says how to install it. Use images that it was not trained on.
    """
    generator = load(weights)
    channels = {count: name for name, count in CHANNELS.items()}[generator.config.channels]
    dataset = read_dataset(data, size=generator.size, channels=channels, fit=fit, labels=labels)
    device = best_device()
    generator.module.to(device)
    steps = measuring(generator, dataset, count, seed, device)
    step = next(steps)  # errors come before the bar is drawn
    with tqdm(total=step.total, desc=f"measuring {called(weights)}", unit="image", leave=False, delay=1) as bar:
        for step in steps:
            bar.update(step.done - bar.n)
    report = step.report
    assert report is not None
    if save:
        generator.module.to("cpu")
        report.on(generator).save(weights)
    say_json(asdict(report))


@click.command("likelihood")
@click.argument("weights", type=Place())
@click.argument("data", type=Place())
@click.option(
    "--likelihood",
    type=click.Choice(list(LIKELIHOODS)),
    default=next(iter(LIKELIHOODS)),
    show_default=True,
    help="Likelihood of grey levels: as Bernoulli probabilities, or under normal or Laplace noise.",
)
@click.option(
    "--samples",
    type=int,
    default=0,
    show_default=True,
    help="Samples per image for an importance-weighted estimate; 0: none.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the samples.")
@fit_option
def likelihood_command(weights: Path, data: Path, likelihood: str, samples: int, seed: int, fit: str) -> None:
    """Measure the likelihood of the images in the folder DATA under the VAE in the file WEIGHTS, as JSON.

    nats is an upper bound on -log p of an image, which training minimises; importance_weighted_nats is a closer
    estimate with every sample. Use images that it was not trained on.
    """
    generator = load(weights)
    channels = {count: name for name, count in CHANNELS.items()}[generator.config.channels]
    images = read_dataset(data, size=generator.size, channels=channels, fit=fit).images
    bound = elbo(generator, images, likelihood, seed)
    facts = asdict(bound)
    del facts["of_each"]
    if samples:
        scale = None if LIKELIHOODS[likelihood].binary else bound.scale
        estimate = importance_weighted(generator, images, samples, likelihood, seed, scale)
        facts |= {"importance_weighted_nats": float(estimate.mean()), "samples": samples}
    say_json({"images": len(images), "likelihood": likelihood, **facts})
