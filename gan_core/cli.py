"""The command line: `python -m gan_core`."""

from __future__ import annotations

import errno
import io
import json
import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from . import charts, generator, hub
from .data.images import CHANNELS, ImageDataset, reading
from .errors import LINE, InputError, ProcessLost, TrainingDiverged, cleaned, sentence, shown
from .examples import digits
from .foreign.import_generator import ENDINGS, SAFETENSORS, importing
from .generator import Generator
from .latents import find_class, parse_class_weights, parse_seeds, sample_noise
from .locks import Owner, own, own_next_free
from .losses.adversarial import OBJECTIVES
from .losses.reconstruction import LIKELIHOODS, LOSSES
from .media import image as pictures
from .media.image_files import FITS, FORMATS, parse_size
from .metrics import measuring
from .metrics.likelihood import elbo, importance_weighted
from .names import bad_name, called, place
from .sampling.transform import Transform
from .training import PRESETS, Progress, TrainConfig, train
from .training.augmentation import AUGMENTS
from .training.devices import best_device
from .training.distributed import World, asked_to_stop, joined
from .training.presets import AUTO, ON_TROUBLE

DEFAULT_KIMG = 1000
"""How long a training goes on that was given no budget."""


class OneLineErrors(click.Group):
    """Answers what a person can get wrong, wrong options too, in one line and with exit code 2."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        _replace_what_cannot_be_printed()
        given = list(args)  # of which click takes away what it has read
        with _in_one_line(given):
            context = super().make_context(info_name, args, *more, **extra)
            context.meta[GIVEN] = given
            return context

    def invoke(self, context: click.Context) -> Any:
        with _in_one_line(context.meta[GIVEN]), asked_to_stop(_interrupt):
            return super().invoke(context)


GIVEN = "gan_core.given"
"""Where a context keeps the words of the command."""


@contextmanager
def _in_one_line(given: Sequence[str]) -> Iterator[None]:
    """given: the words of the command, which no sentence repeats at length."""

    def ends(code: int, message: str) -> click.exceptions.Exit:
        for word in given:
            for repeated in (word, repr(word)[1:-1]):  # click quotes what was given as Python does
                if len(repeated) > LINE:
                    message = message.replace(repeated, shown(word))
        _say(sentence(message), err=True)
        return click.exceptions.Exit(code)

    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            raise
        command = error.ctx.command_path if error.ctx else "python -m gan_core"
        raise ends(2, f"Error: {error.format_message()} ({command} --help explains.)") from None
    except InputError as error:
        raise ends(2, f"Error: {error}") from None
    except (TrainingDiverged, ProcessLost) as error:
        raise ends(1, f"Stopped: {error}") from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read what is printed has gone, as head does
            raise
        where = "" if error.filename is None else f"{shown(error.filename)}: "
        raise ends(2, f"Error: {where}{error.strerror or error}.") from None
    except MemoryError:
        raise ends(2, "Error: This takes more memory than there is: ask for less at a time.") from None


def _interrupt(*_: object) -> None:
    """Ends whatever asks for it as Ctrl-C ends it, so that what is half done is cleaned up."""
    raise KeyboardInterrupt


def _replace_what_cannot_be_printed() -> None:
    """A name that the terminal has no characters for is printed with others in their place, and ends nothing: what is
    redirected on Windows knows few."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _say(text: str, err: bool = False) -> None:
    """Prints lines, without what in a file's title or a name would command the terminal."""
    click.echo("\n".join(map(cleaned, text.split("\n"))), err=err)


def _say_json(facts: object) -> None:
    """Prints a value as JSON, with escapes for what should not or cannot be printed."""
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(facts, indent=2)
    click.echo("".join(sign if sign == "\n" or cleaned(sign) == sign else f"\\u{ord(sign):04x}" for sign in text))


class Place(click.ParamType):
    """A path, of which nothing need be there. Raises InputError for one that cannot be."""

    name = "path"

    def __init__(self, new: bool = False):
        """new: for what is written, whose name has to be one that every system can keep, unless it is there already."""
        self.new = new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = place(value)
        reason = bad_name(path.name) if self.new and path.name not in ("", "..") and not path.exists() else None
        if reason:
            raise InputError(f'"{shown(path.name)}" cannot be the name of what is written: it {reason}.')
        return path


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Trains a small image generator (a GAN or a VAE) on a folder of images, and makes pictures with it.

    \b
    Start here:
      python -m gan_core demo                              learn handwritten digits, in about 3 minutes
      python -m gan_core train photos --out runs/photos    learn from the images in a folder
      python -m gan_core sample runs/photos/generator.safetensors --out new.png
      python -m gan_core convert stylegan2-ada.pkl         open a generator of another program
      python -m gan_core fetch owner/name                  open one from the Hugging Face Hub
      python -m gan_core publish mine.safetensors me/mine --license cc-by-4.0
    """


@main.command()
@click.option("--out", type=Place(new=True), default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option(
    "--minutes", type=float, default=2.75, show_default=True, help="Stop after this many minutes of training."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another generator.")
def demo(out: Path, minutes: float, seed: int) -> None:
    """Learns handwritten digits from the 10,000 that ship with the project.

    Writes generator.safetensors, samples.png (128 new digits) and loss.png.
    """
    _check_folder(out, A_RUNS_FOLDER)
    with own_next_free(out) if out.name not in ("", "..") else own(out) as owner:  # there is no second "."
        folder = owner.folder
        config = TrainConfig(folder, preset="digits", kimg=DEMO_KIMG, minutes=minutes, seed=seed, title="digits")
        _train_to_the_end(digits(), config, owner)
        made = generator.load(folder / "generator.safetensors")
        sheet = pictures.grid(made.decode(sample_noise(made, range(128))), columns=16)
        pictures.save_png(sheet, folder / "samples.png")
    _say_where(folder, "generator.safetensors", "samples.png", "loss.png")


DEMO_KIMG = 500

A_RUNS_FOLDER = "--out is the folder of the run, in which its generator is kept as generator.safetensors"


@main.command("train")
@click.argument("data", type=Place())
@click.option("--out", type=Place(new=True), required=True, help="The run's folder; the generator is kept in it.")
@click.option(
    "--preset",
    type=click.Choice([*PRESETS, AUTO]),
    default=next(iter(PRESETS)),
    show_default=True,
    help="Network and recipe; auto chooses a GAN's by a look at the images.",
)
@click.option(
    "--size",
    default="64",
    show_default=True,
    callback=lambda context, option, text: parse_size(text),
    help="Side of the images in pixels, such as 64, or their width and height, such as 96x64.",
)
@click.option(
    "--kimg",
    type=float,
    help=f"Stop after so many thousand images shown.  [default: {DEFAULT_KIMG}, unless --minutes is given]",
)
@click.option("--minutes", type=float, help="Stop after so many minutes. With --kimg, whichever comes first.")
@click.option("--batch", type=int, help="Images in a step.  [default: the preset's]")
@click.option("--learning-rate", type=float, help="Adam's step size.  [default: the preset's]")
@click.option(
    "--objective", type=click.Choice(list(OBJECTIVES)), help="What the two networks play for.  [default: the preset's]"
)
@click.option(
    "--augment",
    type=click.Choice(AUGMENTS),
    help="How images are changed before the discriminator sees them.  [default: the preset's]",
)
@click.option("--gamma", type=float, help="Weight of R1 and R2 at 64x64 pixels.  [default: the preset's]")
@click.option("--lecam", type=float, help="Weight of LeCam, which helps with few images.  [default: the preset's]")
@click.option(
    "--reconstruction",
    type=click.Choice(list(LOSSES)),
    help="What a VAE's pictures are held to.  [default: the preset's]",
)
@click.option("--beta", type=float, help="Weight of a VAE's KL divergence.  [default: the preset's]")
@click.option("--latent-channels", type=int, help="Length of a VAE's latent, or its channels.  [default: the preset's]")
@click.option(
    "--adversarial-kimg", type=float, help="When a discriminator begins to judge a VAE.  [default: the preset's]"
)
@click.option("--free-bits", type=float, help="Nats that each dimension of a VAE's latent has for nothing.")
@click.option(
    "--start",
    type=Place(),
    help="The VAE that finetune_decoder goes on from: of ours, a TAESD or an AutoencoderKL.",
)
@click.option(
    "--on-trouble",
    type=click.Choice(ON_TROUBLE),
    default=ON_TROUBLE[0],
    show_default=True,
    help="Where a GAN collapses or diverges: stop at the best it made, soften (go back, on more gently), or ignore it.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile a GAN's networks with torch.compile: needs a compiler, and minutes at the start.",
)
@click.option("--patience-kimg", type=float, help="Stop when a GAN's KID has not improved for so many thousand images.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides first weights, noise and order.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--channels", type=click.Choice(list(CHANNELS)), default="auto", show_default=True, help="Colours of the images."
)
@click.option(
    "--fit",
    type=click.Choice(list(FITS)),
    default="crop",
    show_default=True,
    help="How images of other proportions are fitted.",
)
@click.option("--mirror", is_flag=True, help="Also show every image left-right reversed.")
@click.option(
    "--labels", is_flag=True, help="Learn classes: those of StyleGAN's dataset.json, else the folder's sub-folders."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32"]),
    default="auto",
    show_default=True,
    help="auto uses bfloat16 where it is faster.",
)
@click.option("--device", help="Such as cpu, cuda or cuda:1.  [default: the fastest there is]")
def train_command(data: Path, out: Path, **options: Any) -> None:
    """Learns to make images like those in DATA, a folder or a .zip file.

    Ctrl-C stops it and keeps what was learned; --resume goes on from there. The folder --out then holds
    generator.safetensors, samples as they became, history.csv and loss.png.
    """
    if options["kimg"] is None and options["minutes"] is None:
        options["kimg"] = DEFAULT_KIMG
    _check_folder(out, A_RUNS_FOLDER)
    config = TrainConfig(
        out,
        batch_size=options.pop("batch"),
        **{
            name: options.pop(name)
            for name in (
                "preset",
                "kimg",
                "minutes",
                "learning_rate",
                "objective",
                "seed",
                "resume",
                "precision",
                "reconstruction",
                "beta",
                "latent_channels",
                "adversarial_kimg",
                "free_bits",
                "augment",
                "gamma",
                "lecam",
                "on_trouble",
                "patience_kimg",
                "compiled",
            )
        },
    )
    device, start = options.pop("device"), options.pop("start")
    with _together(device) as world:
        config.check()
        with own(out) if world.leads else nullcontext() as owner:
            opened = None if start is None else _opened(start)
            with world.in_turn():
                dataset = _read(data, quiet=not world.leads, exclude=[out], **options)
            _train_to_the_end(dataset, config, owner, opened, world)
        if world.leads:
            _say_where(out, "generator.safetensors", "loss.png")


@main.command()
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
    type=click.Choice(generator.NOISES),
    default=generator.NOISES[0],
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
        _check_file(out)
    else:
        _check_folder(out, "pictures are written as PNG: one sheet to a .png file, or a file each to a folder")
    if not 0 < scale < math.inf:
        raise InputError(f"The scale is more than 0, not {scale:g}.")
    made = generator.load(weights)
    chosen = None if label is None else find_class(made, label)
    labels = chosen if class_weights is None else parse_class_weights(made, class_weights)
    latent = sample_noise(made, wanted, truncation, labels, cutoff=cutoff)
    motion = Transform(*(translate or (0.0, 0.0)), rotate, scale)
    matrices = None if motion == Transform() else motion.matrices(len(latent))
    images = made.decode(latent, noise, noise_seed, matrices)
    if as_sheet:
        pictures.save_png(pictures.grid(images, columns), out)
    else:
        for seed, picture in zip(wanted, pictures.to_pictures(images), strict=True):
            pictures.save_png(picture, out / f"seed{seed:06d}.png")
    of_class = "" if chosen is None else f" of the class {made.class_names[chosen]}"
    _say(f"{len(wanted)} pictures{of_class} in {out}")


@main.command()
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
    _check_file(target)
    with tqdm(desc=f"reading {called(file)}", unit="B", unit_scale=True, leave=False, delay=1) as bar:
        for step in importing(file):
            bar.total = step.total
            bar.update(step.done - bar.n)
    assert step.generator is not None
    for line in (step.generator.summary, *step.generator.origin):
        _say(line)
    _say_where(step.generator.save(target).parent, target.name)


@main.command()
@click.argument("name", metavar="ID[@REVISION]")
@click.option("--out", type=Place(new=True), help="Where to.  [default: the repository's name, here]")
def fetch(name: str, out: Path | None) -> None:
    """Fetches a generator from the Hugging Face Hub as one safetensors file.

    ID is owner/name, as it stands at the top of its page; REVISION a branch, a tag or a commit. The download is kept in
    the cache of the Hub's own client. Log in for private repositories with the command hf auth login.
    """
    hub_id = hub.HubId.parse(name)
    target = out or Path(hub_id.repo.partition("/")[2] + ".safetensors")
    if out is None and target.exists():
        raise InputError(f"{target} is there already: give another place with --out.")
    _check_file(target)
    with closing(hub.fetching(name)) as steps:
        *_, last = steps
    made = last.generator
    assert made is not None
    for line in (
        made.summary,
        *made.origin,
        f"{hub_id.repo}@{made.card['hub']['commit']}",
        *filter(None, [last.remark]),
    ):
        _say(line)
    _say_where(made.save(target).parent, target.name)


@main.command()
@click.argument("weights", type=Place())
@click.argument("repo", metavar="ID")
@click.option(
    "--license",
    "--licence",
    "license",
    type=click.Choice(list(hub.LICENSES)),
    required=True,
    help="What others may do with it; yours to say.",
)
@click.option("--title", default="", help="What it is called.  [default: the name in ID]")
@click.option("--description", default="", help="More about it, in Markdown.")
@click.option("--class-names", is_flag=True, help="Publish the names of its classes. Otherwise they have numbers.")
@click.option("--public", is_flag=True, help="For everybody to see. Otherwise a new repository is private.")
@click.option("--pull-request", is_flag=True, help="Propose it to a repository that is there.")
@click.option("--workflow", type=Place(), help="A ComfyUI workflow to publish with it.")
@click.option("--dry-run", is_flag=True, help="Only show what would be sent.")
def publish(
    weights: Path,
    repo: str,
    license: str,
    title: str,
    description: str,
    class_names: bool,
    public: bool,
    pull_request: bool,
    workflow: Path | None,
    dry_run: bool,
) -> None:
    """Publishes the generator in the file WEIGHTS on the Hugging Face Hub.

    ID is owner/name. Sent are the weights, a config, a page about it, sample pictures, and the workflow if you give
    one, without the names of your files and folders: --dry-run shows what is sent, and what is left out. Log in before,
    with the command hf auth login.
    """
    made = generator.load(weights)
    drawn_by = None if workflow is None else _workflow(workflow)
    with hub.prepared(made, repo, license, title, description, drawn_by, class_names) as publication:
        if dry_run:
            _say(str(publication))
            return
        with closing(hub.publishing(publication, not public, pull_request)) as steps:
            *_, last = steps
    _say(str(last))


def _check_file(path: Path) -> None:
    """Raises InputError where a folder, or a link to one, stands in place of a file, before the work for it is done."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file in it.")


def _check_folder(path: Path, wanted: str) -> None:
    """Raises InputError where a file stands in place of a folder, and for a name that was meant for a file.

    wanted: what the person is told instead.
    """
    if path.is_dir():
        return
    if path.exists() or path.suffix.lower() in _OF_FILES:
        raise InputError(f"{path} is {'a file' if path.exists() else 'no name for a folder'}: {wanted}.")


_OF_FILES = {*FORMATS, *ENDINGS, *SAFETENSORS, ".gif", ".mp4", ".webm", ".svg", ".pdf", ".csv", ".json", ".txt", ".zip"}
"""Endings of files, which nobody calls a folder by."""


def _workflow(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path.name} is no workflow: save one in ComfyUI with Export, and give that file.")
    return value


@main.command()
@click.argument("weights", type=Place())
def info(weights: Path) -> None:
    """Says what the generator in the file WEIGHTS is, as JSON."""
    made = generator.load(weights)
    facts = {
        "architecture": made.architecture.name,
        "config": asdict(made.config),
        "latent_shape": list(made.latent_shape),
        "parameters": sum(parameter.numel() for parameter in made.module.parameters()),
        "bytes": weights.stat().st_size,
        "card": dict(made.card),
    }
    _say_json(facts)


@main.command("likelihood")
@click.argument("weights", type=Place())
@click.argument("data", type=Place())
@click.option(
    "--likelihood",
    type=click.Choice(list(LIKELIHOODS)),
    default=next(iter(LIKELIHOODS)),
    show_default=True,
    help="How grey levels are counted: as odds of black and white, or with normal or Laplace noise.",
)
@click.option(
    "--samples", type=int, default=0, show_default=True, help="Draws for each image of a tighter estimate; 0: none."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the draws.")
@click.option(
    "--fit",
    type=click.Choice(list(FITS)),
    default="crop",
    show_default=True,
    help="How images of other proportions are fitted.",
)
def likelihood_command(weights: Path, data: Path, likelihood: str, samples: int, seed: int, fit: str) -> None:
    """Says how likely the VAE in the file WEIGHTS finds the images in the folder DATA, as JSON.

    nats is a bound on -log p of an image, which training brings down; importance_weighted_nats comes nearer to it with
    every sample. Images that it has not learned from are the ones to ask about.
    """
    made = generator.load(weights)
    channels = {count: name for name, count in CHANNELS.items()}[made.config.channels]
    images = _read(data, size=made.size, channels=channels, fit=fit).images
    bound = elbo(made, images, likelihood, seed)
    facts = asdict(bound)
    del facts["of_each"]
    if samples:
        scale = None if LIKELIHOODS[likelihood].binary else bound.scale
        estimate = importance_weighted(made, images, samples, likelihood, seed, scale)
        facts |= {"importance_weighted_nats": float(estimate.mean()), "samples": samples}
    _say_json({"images": len(images), "likelihood": likelihood, **facts})


@main.command("measure")
@click.argument("weights", type=Place())
@click.argument("data", type=Place())
@click.option(
    "--count", type=int, default=2000, show_default=True, help="Images made, and read at most: 10 to 10,000 of each."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first picture; the others follow.")
@click.option("--labels", is_flag=True, help="Read classes, as train does, and make them in their proportions.")
@click.option(
    "--fit",
    type=click.Choice(list(FITS)),
    default="crop",
    show_default=True,
    help="How images of other proportions are fitted.",
)
@click.option("--save", is_flag=True, help="Write the figures into the card of the file WEIGHTS too.")
def measure_command(weights: Path, data: Path, count: int, seed: int, labels: bool, fit: str, save: bool) -> None:
    """Says how near the pictures of the generator in the file WEIGHTS come to the images in the folder DATA, as JSON.

    kid is a distance, 0 at best; coverage and recall say how much of the images it makes, precision and density how
    good its pictures are. They count by the features of a network, which a sentence says how to install. Images that it
    has not learned from are the ones to ask about.
    """
    made = generator.load(weights)
    channels = {count: name for name, count in CHANNELS.items()}[made.config.channels]
    dataset = _read(data, size=made.size, channels=channels, fit=fit, labels=labels)
    device = best_device()
    made.module.to(device)
    steps = measuring(made, dataset, count, seed, device)
    step = next(steps)  # what cannot begin is said before a bar is drawn
    with tqdm(total=step.total, desc=f"measuring {called(weights)}", unit="image", leave=False, delay=1) as bar:
        for step in steps:
            bar.update(step.done - bar.n)
    report = step.report
    assert report is not None
    if save:
        made.module.to("cpu")
        report.on(made).save(weights)
    _say_json(asdict(report))


def _opened(path: Path) -> Generator:
    """A generator of ours, or of another program."""
    *_, last = importing(path)
    assert last.generator is not None
    return last.generator


@contextmanager
def _together(device: str | None) -> Iterator[World]:
    """The processes that torchrun has started. What ends them all is said by one."""
    with joined(device) as world:
        try:
            yield world
        except (InputError, TrainingDiverged, ProcessLost) as error:
            if world.speaks():
                raise
            raise click.exceptions.Exit(2 if isinstance(error, InputError) else 1) from None


def _read(folder: Path, quiet: bool = False, **settings: Any) -> ImageDataset:
    with tqdm(desc="reading images", unit="image", leave=False, delay=1, disable=quiet) as bar:
        for step in reading(folder, **settings):
            bar.total = step.total
            bar.update(step.done - bar.n)
    dataset = step.dataset
    assert dataset is not None
    if quiet:
        return dataset
    _say(repr(dataset))
    for file, reason in list(dataset.skipped.items())[:10]:
        _say(f"  skipped {file}: {reason}", err=True)
    if len(dataset.skipped) > 10:
        _say(f"  and {len(dataset.skipped) - 10} more", err=True)
    for remark in dataset.remarks:
        _say(f"  {remark}")
    return dataset


def _train_to_the_end(
    dataset: ImageDataset,
    config: TrainConfig,
    owner: Owner | None,
    start: Generator | None = None,
    world: World | None = None,
) -> None:
    """Trains with a bar, and draws the chart of losses, however it ends."""
    folder, world = Path(config.folder), world or World()
    bar_format = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"
    progress: Progress | None = None
    told = 0
    asked = False

    def stop(number: int, _: object) -> None:
        """Waits for the end of a step, as a run that is left in its midst is not the one that it would have become;
        but not for a second Ctrl-C."""
        nonlocal asked
        if progress is None or (asked and number == signal.SIGINT):
            raise KeyboardInterrupt
        asked = True

    with asked_to_stop(stop):  # to the very end, as a launcher may ask twice
        try:
            with closing(train(dataset, config, start=start, world=world, owner=owner)) as steps:
                progress = next(steps)  # what cannot begin is said before a bar is drawn
                told = _tell(progress, told)
                with tqdm(total=1.0, bar_format=bar_format, desc=called(folder), disable=not world.leads) as bar:
                    for progress in steps:
                        bar.set_postfix_str(str(progress), refresh=False)
                        bar.update(progress.fraction - bar.n)
                        told = _tell(progress, told)
                        if asked:
                            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if world.leads:
                _say(f"\n{_stopped(folder, progress)}", err=True)
            raise click.exceptions.Exit(130) from None
        finally:
            if world.leads and progress:
                _tell(progress, told)
                if progress.history:
                    _draw_losses(progress, folder)


def _stopped(folder: Path, progress: Progress | None) -> str:
    if progress is None or not progress.run.images_kept:
        return "Stopped before anything was learned."
    return f"Stopped; what was learned is kept in {folder}, and --resume goes on with it."


def _draw_losses(progress: Progress, folder: Path) -> None:
    try:
        charts.loss_chart(progress.history, progress.panels, folder / "loss.png", called(folder))
    except InputError as error:  # without which all that was learned is kept
        _say(f"There is no chart of the losses: {error}", err=True)


def _tell(progress: Progress, told: int) -> int:
    """Prints the run's remarks from that one on, above a bar. Returns how many there are."""
    for remark in progress.remarks[told:] if progress.run.world.leads else []:
        tqdm.write(cleaned(remark))
    return len(progress.remarks)


def _say_where(folder: Path, *names: str) -> None:
    """Says where files are; of what could not be written, that has been said."""
    for name in filter(lambda name: (folder / name).exists(), names):
        _say(f"{name:24} {folder / name}")
