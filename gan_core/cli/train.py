"""Commands that train: train, and demo on the digits that ship with the project."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..data.images import CHANNELS, ImageDataset
from ..errors import InputError, ProcessLost, TrainingDiverged, cleaned
from ..examples import digits
from ..foreign.import_generator import importing
from ..generator import Generator, load
from ..latents import sample_noise
from ..locks import Owner, own, own_next_free
from ..losses.adversarial import OBJECTIVES
from ..losses.reconstruction import LOSSES
from ..media import image
from ..media.image_files import parse_size
from ..names import called
from ..training import PRESETS, Progress, TrainConfig, train
from ..training.augmentation import AUGMENTS
from ..training.distributed import World, asked_to_stop, joined
from ..training.presets import AUTO, ON_TROUBLE
from .charts import loss_chart
from .datasets import fit_option, read_dataset
from .paths import Place, check_folder
from .printing import say, say_where

DEFAULT_KIMG = 1000
"""Budget of a training that was given none."""

DEMO_KIMG = 500

A_RUNS_FOLDER = "--out is the folder of the run, in which its generator is kept as generator.safetensors"


@click.command()
@click.option("--out", type=Place(new=True), default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option(
    "--minutes", type=float, default=2.75, show_default=True, help="Stop after this many minutes of training."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another generator.")
def demo(out: Path, minutes: float, seed: int) -> None:
    """Learns handwritten digits from the 10,000 that ship with the project.

    Writes generator.safetensors, samples.png (128 new digits) and loss.png.
    """
    check_folder(out, A_RUNS_FOLDER)
    with own_next_free(out) if out.name not in ("", "..") else own(out) as owner:  # there is no second "."
        folder = owner.folder
        config = TrainConfig(folder, preset="digits", kimg=DEMO_KIMG, minutes=minutes, seed=seed, title="digits")
        _train_to_the_end(digits(), config, owner)
        generator = load(folder / "generator.safetensors")
        sheet = image.grid(generator.decode(sample_noise(generator, range(128))), columns=16)
        image.save_png(sheet, folder / "samples.png")
    say_where(folder, "generator.safetensors", "samples.png", "loss.png")


@click.command("train")
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
@fit_option
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
    check_folder(out, A_RUNS_FOLDER)
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
                dataset = read_dataset(data, quiet=not world.leads, exclude=[out], **options)
            _train_to_the_end(dataset, config, owner, opened, world)
        if world.leads:
            say_where(out, "generator.safetensors", "loss.png")


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
                say(f"\n{_stopped(folder, progress)}", err=True)
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
        loss_chart(progress.history, progress.panels, folder / "loss.png", called(folder))
    except InputError as error:  # without which all that was learned is kept
        say(f"There is no chart of the losses: {error}", err=True)


def _tell(progress: Progress, told: int) -> int:
    """Prints the run's remarks from that one on, above a bar. Returns how many there are."""
    for remark in progress.remarks[told:] if progress.run.world.leads else []:
        tqdm.write(cleaned(remark))
    return len(progress.remarks)
