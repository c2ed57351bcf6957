"""Commands that use a generator: sample, convert, info."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from ..errors import InputError
from ..foreign.import_generator import importing
from ..generator import NOISES, load
from ..media import image
from ..names import called
from ..sampling.labels import find_class, parse_class_weights
from ..sampling.seeds import parse_seeds, sample_noise
from ..sampling.transform import Transform
from .paths import Place, check_file, check_folder
from .printing import say, say_json, say_where


@click.command()
@click.argument("weights", type=Place())
@click.option(
    "--out",
    type=Place(new=True),
    required=True,
    help="A .png file for one grid, or a folder for one file per image.",
)
@click.option("--seeds", default="0-127", show_default=True, help="Seeds, such as 0-127 or 3,8,20-30: one per image.")
@click.option(
    "--truncation",
    type=float,
    default=1.0,
    show_default=True,
    help="Truncation psi: below 1 higher quality, less diversity.",
)
@click.option("--cutoff", type=int, help="Number of a StyleGAN's first layers that are truncated.  [default: all]")
@click.option(
    "--label",
    help="Class label: a name, or a number from 0 if no class has a number as its name.  [default: random, from the "
    "seed]",
)
@click.option("--class-weights", help="Mixture of classes, such as cat:0.7,dog:0.3.")
@click.option(
    "--noise",
    type=click.Choice(NOISES),
    default=NOISES[0],
    show_default=True,
    help="Noise maps of a StyleGAN2, which decide its fine details.",
)
@click.option("--noise-seed", type=int, default=0, show_default=True, help="Seed of the first image's random noise.")
@click.option("--translate", type=float, nargs=2, help="X Y: translate StyleGAN3 images, in image widths and heights.")
@click.option("--rotate", type=float, default=0.0, help="Rotate StyleGAN3 images anticlockwise, in degrees.")
@click.option("--scale", type=float, default=1.0, help="Scale factor of StyleGAN3 images.")
@click.option("--columns", type=click.IntRange(min=1), help="Images in a row of the grid.  [default: as many as rows]")
def sample(
    weights: Path,
    out: Path,
    seeds: str,
    truncation: float,
    cutoff: int | None,
    label: str | None,
    class_weights: str | None,
    noise: str,
    noise_seed: int,
    translate: tuple[float, float] | None,
    rotate: float,
    scale: float,
    columns: int | None,
) -> None:
    """Generate images with the generator in the file WEIGHTS. The same seed always gives the same image."""
    wanted = parse_seeds(seeds)
    as_sheet = out.suffix.lower() == ".png"
    if as_sheet:
        check_file(out)
    else:
        check_folder(out, "images are written as PNG: one grid to a .png file, or one file per image to a folder")
    if not 0 < scale < math.inf:
        raise InputError(f"scale must be greater than 0 (got {scale:g}).")
    generator = load(weights)
    chosen = None if label is None else find_class(generator, label)
    labels = chosen if class_weights is None else parse_class_weights(generator, class_weights)
    latent = sample_noise(generator, wanted, truncation, labels, cutoff=cutoff)
    motion = Transform(*(translate or (0.0, 0.0)), rotate, scale)
    matrices = None if motion == Transform() else motion.matrices(len(latent))
    images = generator.decode(latent, noise, noise_seed, matrices)
    if as_sheet:
        image.save_png(image.grid(images, columns), out)
    else:
        for seed, generated in zip(wanted, image.to_pil(images), strict=True):
            image.save_png(generated, out / f"seed{seed:06d}.png")
    of_class = "" if chosen is None else f" of the class {generator.class_names[chosen]}"
    say(f"{len(wanted)} images{of_class} in {out}")


@click.command()
@click.argument("file", type=Place())
@click.option("--out", type=Place(new=True), help="Output file.  [default: beside FILE, as .safetensors]")
def convert(file: Path, out: Path | None) -> None:
    """Convert a generator of another program to one safetensors file.

    FILE is a pickle of StyleGAN2-ADA, StyleGAN3 or R3GAN, a PyTorch file of FastGAN, Projected GAN, lightweight-gan or
    DCGAN, or a VAE: a TAESD, or an AutoencoderKL such as Stable Diffusion's. It is read as data, and nothing in it is
    executed.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder: give the file of weights in it.")
    target = out or file.with_suffix(".safetensors")
    if out is None and target.exists():
        raise InputError(f"{target} exists already: choose another file with --out.")
    check_file(target)
    with tqdm(desc=f"reading {called(file)}", unit="B", unit_scale=True, leave=False, delay=1) as bar:
        for step in importing(file):
            bar.total = step.total
            bar.update(step.done - bar.n)
    assert step.generator is not None
    for line in (step.generator.summary, *step.generator.origin):
        say(line)
    say_where(step.generator.save(target).parent, target.name)


@click.command()
@click.argument("weights", type=Place())
def info(weights: Path) -> None:
    """Print facts about the generator in the file WEIGHTS, as JSON."""
    generator = load(weights)
    facts = {
        "architecture": generator.architecture.name,
        "config": asdict(generator.config),
        "latent_shape": list(generator.latent_shape),
        "parameters": sum(parameter.numel() for parameter in generator.module.parameters()),
        "bytes": weights.stat().st_size,
        "card": generator.card.to_json(),
    }
    say_json(facts)
