"""GAN / directions: ways through latent space that mean something."""

from collections.abc import Iterator

from comfy_api.latest import io
from torch import Tensor

from ..gan_core import InputError, Latent
from ..gan_core.media import image as pictures
from ..gan_core.sampling import directions as steering
from .generate import ALL_STYLES
from .host import device, paths, previews, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .host.texts import say
from .types import GENERATOR, LATENT_DIRECTIONS, from_comfy, to_comfy

CATEGORY = "GAN/directions"

AS_FOUND = -1
"""The layer that leaves the choice to the directions."""

METHODS = ("sefa", "pca", "boundary")


class FindLatentDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FindLatentDirections",
            display_name="Find Latent Directions",
            category=CATEGORY,
            description="Finds ways through a generator's latent space along which its pictures change in one respect: "
            "from its weights, from its styles, or from two sets of latents that you chose.",
            search_aliases=["SeFa", "GANSpace", "PCA", "InterFaceGAN", "latent directions", "edit", "semantic"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Whose latent space is looked at."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="sefa: what the weights change most by, at once; pca: what the styles w differ by most; "
                    "boundary: from one set of latents to another.",
                ),
                io.Int.Input(
                    "count", default=8, min=1, max=512, tooltip="How many, the strongest first. For sefa and pca."
                ),
                io.Int.Input(
                    "first_layer",
                    default=0,
                    min=0,
                    max=100,
                    tooltip="For sefa of a style-based generator: the first layer whose weights are looked at and "
                    "that the directions move. Low numbers are coarse: pose and shape.",
                ),
                io.Int.Input(
                    "last_layer",
                    default=ALL_STYLES,
                    min=ALL_STYLES,
                    max=100,
                    tooltip="For sefa: the last such layer, that one too. -1: the very last.",
                ),
                io.Int.Input(
                    "samples",
                    default=4096,
                    min=2,
                    max=steering.MOST_SAMPLES,
                    tooltip="For pca: how many random styles are looked at.",
                ),
                io.String.Input(
                    "name", default="boundary", tooltip="For boundary: what to call the direction, such as smile."
                ),
                io.Latent.Input(
                    "positive",
                    optional=True,
                    tooltip="For boundary: latents that have what is looked for. Alone and with labels: a direction to "
                    "each class.",
                ),
                io.Latent.Input("negative", optional=True, tooltip="For boundary: latents that do not have it."),
            ],
            outputs=[
                LATENT_DIRECTIONS.Output(
                    display_name="directions",
                    tooltip="For Apply Latent Direction, Latent Direction Grid and Save Latent Directions.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(
        cls, generator, method, count, first_layer, last_layer, samples, name, positive=None, negative=None
    ) -> io.NodeOutput:
        last = None if last_layer == ALL_STYLES else last_layer
        if method == "sefa":
            found = steering.sefa(generator, count, first_layer, last)
        elif method == "pca":
            say(f"looking at {samples:,} styles")
            found = steering.pca(generator, count, samples)
        elif positive is None:
            raise InputError("A boundary needs latents: connect those that have what you look for to positive.")
        elif negative is None:
            found = steering.class_boundaries(generator, from_comfy(generator, positive))
        else:
            found = steering.boundary(generator, from_comfy(generator, positive), from_comfy(generator, negative), name)
        strengths = zip(found.names, found.strengths.tolist(), strict=True)
        lines = [f"{each}: {strength:.3g}" for each, strength in list(strengths)[:10]]
        NodeProgress(cls.hidden.unique_id).say("\n".join(lines))
        return io.NodeOutput(found)


class ApplyLatentDirection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyLatentDirection",
            display_name="Apply Latent Direction",
            category=CATEGORY,
            description="Moves latents along a direction, so that their pictures have more of what it means, or less. "
            "Several of these nodes can follow each other.",
            search_aliases=["edit latent", "move latent", "attribute", "slider", "semantic edit"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What the latent is for."),
                io.Latent.Input("latent", tooltip="What is moved: from Sample Noise, or any latent of the generator."),
                LATENT_DIRECTIONS.Input("directions", tooltip="From Find Latent Directions or Load Latent Directions."),
                io.String.Input("direction", default="1", tooltip="Which one: its name, or its number from 1."),
                io.Float.Input(
                    "strength",
                    default=2.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    tooltip="How far: 1 is as far as the generator's own latents mostly differ; below 0 the other way.",
                ),
                io.Int.Input(
                    "first_layer",
                    default=AS_FOUND,
                    min=AS_FOUND,
                    max=100,
                    tooltip="The first layer that is moved, in a style-based generator. -1: as it was found.",
                ),
                io.Int.Input(
                    "last_layer",
                    default=AS_FOUND,
                    min=AS_FOUND,
                    max=100,
                    tooltip="The last layer that is moved, that one too. -1: as it was found.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The moved points, for Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, directions, direction, strength, first_layer, last_layer) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        first, last = (None if layer == AS_FOUND else layer for layer in (first_layer, last_layer))
        moved = steering.move(generator, points, directions, direction, strength, first, last)
        _say_whose(cls, generator, directions)
        return io.NodeOutput(to_comfy(moved))


class LatentDirectionGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LatentDirectionGrid",
            display_name="Latent Direction Grid",
            category=CATEGORY,
            description="Shows what directions do: a row for each, from one way to the other, as one picture with "
            "names and strengths.",
            search_aliases=["direction sheet", "explore directions", "semantic grid", "GANSpace grid"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What makes the pictures."),
                io.Latent.Input("latent", tooltip="The latent that is moved: the first of a batch."),
                LATENT_DIRECTIONS.Input("directions", tooltip="From Find Latent Directions or Load Latent Directions."),
                io.Int.Input("rows", default=8, min=1, max=64, tooltip="How many directions, from the first on."),
                io.Int.Input("columns", default=7, min=2, max=33, tooltip="How many strengths, evenly spread."),
                io.Float.Input(
                    "strength",
                    default=3.0,
                    min=0.1,
                    max=100.0,
                    step=0.05,
                    tooltip="The greatest strength, at the right; at the left it is as far the other way.",
                ),
                io.Int.Input(
                    "cell_size", default=96, min=32, max=1024, tooltip="Side of each picture on the sheet, in pixels."
                ),
            ],
            outputs=[io.Image.Output(display_name="sheet", tooltip="All of it as one picture.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, directions, rows, columns, strength, cell_size) -> io.NodeOutput:
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
            sheet = pictures.table(drawn(), names, captions, cell_size)
        _say_whose(cls, generator, directions)
        return io.NodeOutput(device.to_intermediate(previews.as_image(sheet)))


class SaveLatentDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveLatentDirections",
            display_name="Save Latent Directions",
            category=CATEGORY,
            description="Saves directions as one small safetensors file in output/gan_directions, where Load "
            "Latent Directions finds it. It says which generator they belong to.",
            search_aliases=["export directions", "save edit", "share directions"],
            is_output_node=True,
            inputs=[
                LATENT_DIRECTIONS.Input("directions", tooltip="What to save: the vectors, their names and strengths."),
                io.String.Input(
                    "filename_prefix",
                    default="directions",
                    tooltip="Name in output/gan_directions; a number is added. May be folder/name.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None) -> bool | str:
        return refusal(saving.unusable_prefix(filename_prefix, paths.DIRECTIONS))

    @classmethod
    @says_errors
    def execute(cls, directions, filename_prefix) -> io.NodeOutput:
        shown = paths.shown_path(steering.save(directions, saving.directions_path(filename_prefix)))
        NodeProgress(cls.hidden.unique_id).say(f"saved as {shown}")
        return io.NodeOutput(ui={"text": [shown]})


class LoadLatentDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadLatentDirections",
            display_name="Load Latent Directions",
            category=CATEGORY,
            description="Opens directions from a safetensors file. Nothing in the file is executed.",
            search_aliases=["open directions", "import directions", "load edit"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.direction_names(),
                    tooltip="A file in models/gan_directions or output/gan_directions; press R after saving a new one.",
                ),
            ],
            outputs=[
                LATENT_DIRECTIONS.Output(
                    display_name="directions", tooltip="For Apply Latent Direction and Latent Direction Grid."
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return refusal(paths.not_there(paths.resolve_directions, name))

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str:
        """Loads again when the file was replaced."""
        return paths.fingerprint(paths.resolve_directions, name)

    @classmethod
    @says_errors
    def execute(cls, name) -> io.NodeOutput:
        directions = steering.load(paths.resolve_directions(name))
        NodeProgress(cls.hidden.unique_id).say(directions.summary)
        return io.NodeOutput(directions)


def _say_whose(node: type[io.ComfyNode], generator, directions) -> None:
    """Directions of another generator fit where the spaces are as large, but may mean nothing."""
    if not directions.belong_to(generator):
        NodeProgress(node.hidden.unique_id).say(f"these were found in another generator: {directions.generator}")


NODES = [FindLatentDirections, ApplyLatentDirection, LatentDirectionGrid, SaveLatentDirections, LoadLatentDirections]
