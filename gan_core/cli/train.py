"""Commands that train: train, and demo with the bundled digits."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..data.images import CHANNELS, ImageDataset
from ..errors import InputError, ProcessLost, TrainingDiverged, cleaned
from ..examples import digits
from ..foreign.import_generator import importing
from ..generator import Generator, load
from ..locks import Owner, own, own_next_free
from ..media import image
from ..media.image_files import parse_size
from ..names import called
from ..sampling.seeds import sample_noise
from ..training import PRESETS, Progress, TrainConfig, Training, train
from ..training.distributed import World, asked_to_stop, joined
from ..training.presets import AUTO
from ..training.settings import AdversarialRecipe, Setting, VariationalRecipe, settings_of
from .charts import loss_chart
from .datasets import fit_option, read_dataset
from .paths import Place, check_folder
from .printing import say, say_where

DEFAULT_KIMG = 1000
"""Default budget of a training, in thousands of images."""

DEMO_KIMG = 500

A_RUNS_FOLDER = "--out must be the folder of the run, which will contain generator.safetensors"


@click.command()
@click.option("--out", type=Place(new=True), default=Path("demo"), show_default=True, help="Folder for the results.")
@click.option(
    "--minutes", type=float, default=2.75, show_default=True, help="Stop after this many minutes of training."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of initial weights, noise and order.")
def demo(out: Path, minutes: float, seed: int) -> None:
    """Train on 10,000 bundled handwritten digits.

    Writes generator.safetensors, samples.png (128 generated digits) and loss.png.
    """
    check_folder(out, A_RUNS_FOLDER)
    with own_next_free(out) if out.name not in ("", "..") else own(out) as owner:  # "." has no next free name
        folder = owner.folder
        config = TrainConfig(folder, preset="digits", kimg=DEMO_KIMG, minutes=minutes, seed=seed, title="digits")
        _train_to_the_end(digits(), config, owner)
        generator = load(folder / "generator.safetensors")
        sheet = image.grid(generator.decode(sample_noise(generator, range(128))), columns=16)
        image.save_png(sheet, folder / "samples.png")
    say_where(folder, "generator.safetensors", "samples.png", "loss.png")


def _setting_option(name: str, declared: Setting, default: Any) -> Callable[[Any], Any]:
    """An option of the command line for a declared setting."""
    option = "--" + (declared.option or name).replace("_", "-")
    if declared.kind is bool:
        return click.option(option, name, is_flag=True, help=declared.help)
    kind = click.Choice(declared.choices) if declared.choices else declared.kind
    return click.option(option, name, type=kind, default=default, show_default=default is not None, help=declared.help)


def setting_options(command: Any) -> Any:
    """The options of all declared settings: those of every run, then those of a GAN and of a VAE."""
    own = {name: _setting_option(name, each, getattr(TrainConfig, name)) for name, each in RUN_SETTINGS.items()}
    recipes = {name: _setting_option(name, each, None) for name, each in RECIPE_SETTINGS.items()}
    for option in reversed([*own.values(), *recipes.values()]):
        command = option(command)
    return command


RUN_SETTINGS = settings_of(TrainConfig)
RECIPE_SETTINGS = {**settings_of(AdversarialRecipe), **settings_of(VariationalRecipe)}


@click.command("train")
@click.argument("data", type=Place())
@click.option("--out", type=Place(new=True), required=True, help="Folder of the run and of its generator.")
@click.option(
    "--preset",
    type=click.Choice([*PRESETS, AUTO]),
    default=AUTO,
    show_default=True,
    help="Network and recipe; auto inspects the images and chooses one of a GAN. What is left unset is the preset's.",
)
@click.option(
    "--size",
    default="64",
    show_default=True,
    callback=lambda context, option, text: parse_size(text),
    help="Side of the images in pixels, such as 64, or their width and height, such as 96x64.",
)
@setting_options
@click.option(
    "--start",
    type=Place(),
    help="VAE to fine-tune, for finetune_decoder: one trained here, a TAESD or an AutoencoderKL.",
)
@click.option(
    "--channels", type=click.Choice(list(CHANNELS)), default="auto", show_default=True, help="Colours of the images."
)
@fit_option
@click.option("--mirror", is_flag=True, help="Also train on horizontally flipped images.")
@click.option(
    "--labels", is_flag=True, help="Use class labels: those of StyleGAN's dataset.json, else the sub-folders."
)
@click.option("--device", help="Device, such as cpu, cuda or cuda:1.  [default: the fastest available]")
def train_command(data: Path, out: Path, **options: Any) -> None:
    """Train a generator on the images in DATA, a folder or a .zip file.

    Without a budget it trains for 1000 kimg (thousand images). Ctrl-C stops it and keeps what was learned; --resume
    continues from there. The folder --out then has generator.safetensors, samples over time, history.csv and loss.png.
    """
    if options["kimg"] is None and options["minutes"] is None:
        options["kimg"] = DEFAULT_KIMG
    check_folder(out, A_RUNS_FOLDER)
    # A flag that is not given leaves its setting unset.
    given = {name: options.pop(name) for name in ("preset", *RUN_SETTINGS, *RECIPE_SETTINGS)}
    given = {name: None if value is False else value for name, value in given.items()}
    config = TrainConfig.of(out, **given)
    device, start = options.pop("device"), options.pop("start")
    with _together(device) as world:
        config.check()
        with own(out) if world.is_main else nullcontext() as owner:
            opened = None if start is None else _opened(start)
            with world.in_turn():
                dataset = read_dataset(data, quiet=not world.is_main, exclude=[out], **options)
            _train_to_the_end(dataset, config, owner, opened, world)
        if world.is_main:
            say_where(out, "generator.safetensors", "loss.png")


def _opened(path: Path) -> Generator:
    """Opens a generator in our format, or of another program."""
    *_, last = importing(path)
    assert last.generator is not None
    return last.generator


@contextmanager
def _together(device: str | None) -> Iterator[World]:
    """Joins the processes that torchrun has started. An error that ends all of them is printed by one."""
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
    """Trains with a progress bar, and draws the chart of losses, however the training ends."""
    folder, world = Path(config.folder), world or World()
    bar_format = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"
    progress: Progress | None = None
    training = train(dataset, config, start=start, world=world, owner=owner)
    told = 0
    asked = False

    def stop(number: int, _: object) -> None:
        """Stops at the end of the step, so that the run can be resumed exactly; at once on a second Ctrl-C."""
        nonlocal asked
        if progress is None or (asked and number == signal.SIGINT):
            raise KeyboardInterrupt
        asked = True

    with asked_to_stop(stop):  # to the very end, because a launcher may send two signals
        try:
            with training:
                progress = next(training)  # errors come before the bar is drawn
                told = _tell(training, told, world)
                with tqdm(total=1.0, bar_format=bar_format, desc=called(folder), disable=not world.is_main) as bar:
                    for progress in training:
                        bar.set_postfix_str(str(progress), refresh=False)
                        bar.update(progress.fraction - bar.n)
                        told = _tell(training, told, world)
                        if asked:
                            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if world.is_main:
                say(f"\n{_stopped(folder, training)}", err=True)
            raise click.exceptions.Exit(130) from None
        finally:
            if world.is_main and progress:
                _tell(training, told, world)
                if training.history:
                    _draw_losses(training, folder)


def _stopped(folder: Path, training: Training) -> str:
    if not training.keeps_something:
        return "Stopped before the first checkpoint."
    return f"Stopped; the progress is saved in {folder}, and --resume continues from there."


def _draw_losses(training: Training, folder: Path) -> None:
    try:
        loss_chart(training.history, training.charts, folder / "loss.png", called(folder))
    except InputError as error:  # the training itself is saved
        say(f"There is no chart of the losses: {error}", err=True)


def _tell(training: Training, told: int, world: World) -> int:
    """Prints the remarks of the run from number `told` on, above the bar. Returns the number of remarks."""
    for remark in training.remarks[told:] if world.is_main else []:
        tqdm.write(cleaned(remark))
    return len(training.remarks)
