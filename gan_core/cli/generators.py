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
from ..latents import find_class, parse_class_weights, parse_seeds, sample_noise
from ..media import image
from ..names import called
from ..sampling.transform import Transform
from .paths import Place, check_file, check_folder
from .printing import say, say_json, say_where


@click.command()
@click.argument("weights", type=Place())
@click.option(
    "--out",
    type=Place(new=True),
    required=True,
    help="A .png file for one sheet, or a folder for a file each.",
)
@click.option("--seeds", default="0-127", show_default=True, help="Such as 0-127 or 3,8,20-30: one picture each.")
@click.option(
    "--truncation", type=float, default=1.0, show_default=True, help="psi: below 1 more typical, less varied."
)
@click.option("--cutoff", type=int, help="How many of a StyleGAN's first layers psi acts on.  [default: all]")
@click.option(
    "--label",
    help="The class to draw, by its name; by its number from 0 if none is called by a number.  [default: drawn by the "
    "seed]",
)
@click.option("--class-weights", help="A mixture of classes instead, such as cat:0.7,dog:0.3.")
@click.option(
    "--noise",
    type=click.Choice(NOISES),
    default=NOISES[0],
    show_default=True,
    help="What decides the fine details of a StyleGAN2.",
)
@click.option("--noise-seed", type=int, default=0, show_default=True, help="Of the first picture's random noise.")
@click.option("--translate", type=float, nargs=2, help="X Y: move the pictures of a StyleGAN3, in widths and heights.")
@click.option("--rotate", type=float, default=0.0, help="Turn them anticlockwise, in degrees.")
@click.option("--scale", type=float, default=1.0, help="Make them so many times as large.")
@click.option(
    "--columns", type=click.IntRange(min=1), help="Pictures in a row of the sheet.  [default: as many as rows]"
)
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
    """Makes pictures with the generator in the file WEIGHTS. The same seed always gives the same picture."""
    wanted = parse_seeds(seeds)
    as_sheet = out.suffix.lower() == ".png"
    if as_sheet:
        check_file(out)
    else:
        check_folder(out, "pictures are written as PNG: one sheet to a .png file, or a file each to a folder")
    if not 0 < scale < math.inf:
        raise InputError(f"The scale is more than 0, not {scale:g}.")
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
        for seed, picture in zip(wanted, image.to_pil(images), strict=True):
            image.save_png(picture, out / f"seed{seed:06d}.png")
    of_class = "" if chosen is None else f" of the class {generator.class_names[chosen]}"
    say(f"{len(wanted)} pictures{of_class} in {out}")


@click.command()
@click.argument("file", type=Place())
@click.option("--out", type=Place(new=True), help="Where to.  [default: beside FILE, as .safetensors]")
def convert(file: Path, out: Path | None) -> None:
    """Turns a generator that another program made into one safetensors file.

    FILE is a pickle of StyleGAN2-ADA, StyleGAN3 or R3GAN, a PyTorch file of FastGAN, Projected GAN, lightweight-gan or
    DCGAN, or a VAE: a TAESD, or an AutoencoderKL such as Stable Diffusion's. It is read as data: nothing in it is run.
    """
    if file.is_dir():
        raise InputError(f"{file} is a folder: give the file in it that has the weights.")
    target = out or file.with_suffix(".safetensors")
    if out is None and target.exists():
        raise InputError(f"{target} is there already: give another place with --out.")
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
    """Says what the generator in the file WEIGHTS is, as JSON."""
    generator = load(weights)
    facts = {
        "architecture": generator.architecture.name,
        "config": asdict(generator.config),
        "latent_shape": list(generator.latent_shape),
        "parameters": sum(parameter.numel() for parameter in generator.module.parameters()),
        "bytes": weights.stat().st_size,
        "card": dict(generator.card),
    }
    say_json(facts)
