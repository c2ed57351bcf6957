"""GAN / latent and GAN / directions: contact sheets of many images."""

from collections.abc import Iterator

from comfy_api.latest import io
from torch import Tensor

from ..gan_core import InputError, Latent, sample_noise
from ..gan_core.media import image as media
from ..gan_core.sampling import directions as steering
from ..gan_core.sampling.seeds import parse_seeds
from .directions import CATEGORY as DIRECTIONS_CATEGORY
from .directions import say_whose
from .host import device, previews
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .latent import CATEGORY as LATENT_CATEGORY
from .optional import LABEL, OptionalInt
from .types import GENERATOR, LATENT_DIRECTIONS, from_comfy, to_comfy

MAX_ON_A_SHEET = 1024

AT_ONCE = 16
"""Images generated at a time: a thousand large ones would not fit into memory."""

COLUMNS = OptionalInt("columns", unset="auto", min=1, max=100)


class GANSeedGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GANSeedGrid",
            display_name="GAN Seed Grid",
            category=LATENT_CATEGORY,
            description="Contact sheet of seeds with their numbers, to choose from, and the latents of these seeds, "
            "in the order written.",
            search_aliases=["contact sheet", "seed list", "browse seeds", "seed browser", "choose seeds"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator of the images."),
                io.String.Input("seeds", default="0-63", tooltip="Seeds, such as 3, 17, 40-55."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Truncation psi. 1: no truncation; below 1: higher quality and less diversity, down to "
                    "the mean image at 0.",
                ),
                LABEL.input(
                    tooltip="Class by name or number, or a mixture such as cat:0.7, dog:0.3. Empty: random, from "
                    "each seed.",
                ),
                COLUMNS.input(tooltip="Images in a row of the sheet. auto: about as many as rows.", advanced=True),
                io.Int.Input(
                    "cell_size",
                    default=96,
                    min=32,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Side of each image on the sheet, in pixels.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All images on one sheet, each with its seed below."),
                io.Latent.Output(
                    display_name="latent", tooltip="Latents of the seeds as a batch, in the order written."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, columns=None) -> bool | str:
        return refusal(COLUMNS.reason(columns))

    @classmethod
    @says_errors
    def execute(cls, generator, seeds, truncation, label=None, columns=None, cell_size=96) -> io.NodeOutput:
        wanted = parse_seeds(seeds)
        if len(wanted) > MAX_ON_A_SHEET:
            raise InputError(f"A sheet must have at most {MAX_ON_A_SHEET} images (got {len(wanted)} seeds).")
        latent = sample_noise(generator, wanted, truncation, LABEL.read_mixture(generator, label))
        bar = NodeProgress(cls.hidden.unique_id)

        def drawn() -> Iterator[Tensor]:
            for start in range(0, len(latent), AT_ONCE):
                bar.reading(start, len(latent), "images generated")
                yield generator.decode(latent[start : start + AT_ONCE])

        with device.on_device(generator):
            sheet = media.contact_sheet(drawn(), [str(seed) for seed in wanted], COLUMNS.read(columns), cell_size)
        return io.NodeOutput(device.to_intermediate(previews.as_image(sheet)), to_comfy(latent))


class LatentDirectionGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentDirectionGrid",
            display_name="Latent Direction Grid",
            category=DIRECTIONS_CATEGORY,
            description="Show the effect of directions: one row for each, from one side to the other, as one image "
            "with names and strengths.",
            search_aliases=["direction sheet", "explore directions", "semantic grid", "GANSpace grid"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator of the images."),
                io.Latent.Input("latent", tooltip="Latent to move: the first one of a batch."),
                LATENT_DIRECTIONS.Input("directions", tooltip="From Find Latent Directions or Load Latent Directions."),
                io.Int.Input("rows", default=8, min=1, max=64, tooltip="Number of directions, from the first on."),
                io.Int.Input("columns", default=7, min=2, max=33, tooltip="Number of strengths, evenly spaced."),
                io.Float.Input(
                    "strength",
                    default=3.0,
                    min=0.1,
                    max=100.0,
                    step=0.05,
                    tooltip="Maximum strength, at the right; its negative is at the left.",
                ),
                io.Int.Input(
                    "cell_size",
                    default=96,
                    min=32,
                    max=1024,
                    optional=True,
                    advanced=True,
                    tooltip="Side of each image on the sheet, in pixels.",
                ),
            ],
            outputs=[io.Image.Output(display_name="sheet", tooltip="The grid as one image.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, directions, rows, columns, strength, cell_size=96) -> io.NodeOutput:
        steering.check_fit(generator, directions)
        point = from_comfy(generator, latent)[:1]
        labels = None if point.labels is None else point.labels.repeat_interleave(columns, 0)
        points = Latent(point.samples.expand(columns, -1, -1, -1), point.space, labels)
        strengths = [strength * (2 * i / (columns - 1) - 1) for i in range(columns)]
        names = directions.names[:rows]
        captions = [f"{each:+.3g}" if each else "0" for each in strengths]
        bar = NodeProgress(cls.hidden.unique_id)

        def drawn() -> Iterator[Tensor]:
            for place, _ in enumerate(names):
                bar.reading(place, len(names), "directions drawn")
                yield generator.decode(steering.move(generator, points, directions, str(place + 1), strengths))

        with device.on_device(generator):
            sheet = media.table(drawn(), names, captions, cell_size)
        say_whose(cls, generator, directions)
        return io.NodeOutput(device.to_intermediate(previews.as_image(sheet)))


NODES = [GANSeedGrid, LatentDirectionGrid]
