"""GAN / directions: semantic directions in latent space."""

from comfy_api.latest import io

from ..gan_core import InputError
from ..gan_core.sampling import directions as steering
from .host import paths, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .host.texts import say
from .optional import OptionalLayers
from .types import GENERATOR, LATENT_DIRECTIONS, from_comfy, to_comfy

CATEGORY = "GAN/directions"

LAYERS = OptionalLayers("layers", unset="all")

MOVED_LAYERS = OptionalLayers("layers", unset="as found")

METHODS = ("sefa", "pca", "boundary")


class FindLatentDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FindLatentDirections",
            display_name="Find Latent Directions",
            category=CATEGORY,
            description="Find directions in the latent space along which images change in one attribute: from the "
            "weights, from the styles, or from two sets of latents.",
            search_aliases=["SeFa", "GANSpace", "PCA", "InterFaceGAN", "latent directions", "edit", "semantic"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator whose latent space is analysed."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="sefa: closed-form eigenvectors of the weights, no sampling; pca: principal components "
                    "of the styles w; boundary: from one set of latents to another.",
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    min=1,
                    max=512,
                    tooltip="Number of directions, the strongest first. For sefa and pca.",
                ),
                io.Int.Input(
                    "samples",
                    default=4096,
                    min=2,
                    max=steering.MAX_SAMPLES,
                    optional=True,
                    advanced=True,
                    tooltip="Number of random styles for pca.",
                ),
                LAYERS.input(
                    tooltip="For sefa of a style-based generator: layers whose weights are used, and that the "
                    "directions move, such as 2-5 or 4-last. Low numbers are coarse: pose and shape.",
                    advanced=True,
                ),
                io.String.Input(
                    "name", default="boundary", tooltip="Name of the direction of boundary, such as smile."
                ),
                io.Latent.Input(
                    "positive",
                    optional=True,
                    tooltip="For boundary: positive examples, latents with the attribute. Alone and with labels: one "
                    "direction for each class.",
                ),
                io.Latent.Input(
                    "negative", optional=True, tooltip="For boundary: negative examples, latents without the attribute."
                ),
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
    def validate_inputs(cls, layers=None) -> bool | str:
        return refusal(LAYERS.reason(layers))

    @classmethod
    @says_errors
    def execute(
        cls, generator, method, count, name, positive=None, negative=None, samples=4096, layers=None
    ) -> io.NodeOutput:
        if method == "sefa":
            first, last = LAYERS.read(layers)
            found = steering.sefa(generator, count, first or 0, last)
        elif method == "pca":
            say(f"sampling {samples:,} styles")
            found = steering.pca(generator, count, samples)
        elif positive is None:
            raise InputError("A boundary needs latents: connect positive examples, with the attribute, to positive.")
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
            description="Move latents along a direction, so that the images have more or less of its attribute. "
            "Several of these nodes can follow each other.",
            search_aliases=["edit latent", "move latent", "attribute", "slider", "semantic edit"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator that the latent is for."),
                io.Latent.Input(
                    "latent", tooltip="Latents to move, from Sample Noise or any other latents of the generator."
                ),
                LATENT_DIRECTIONS.Input("directions", tooltip="From Find Latent Directions or Load Latent Directions."),
                io.String.Input("direction", default="1", tooltip="Name of the direction, or its number from 1."),
                io.Float.Input(
                    "strength",
                    default=2.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    tooltip="Distance in standard deviations of the generator's latents; negative for the opposite "
                    "way.",
                ),
                MOVED_LAYERS.input(
                    tooltip="Layers that are moved in a style-based generator, such as 2-5, 4-last or 3. as found: "
                    "the layers in which the direction was found.",
                    advanced=True,
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Moved latents, for Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, layers=None) -> bool | str:
        return refusal(MOVED_LAYERS.reason(layers))

    @classmethod
    @says_errors
    def execute(cls, generator, latent, directions, direction, strength, layers=None) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        moved = steering.move(generator, points, directions, direction, strength, *MOVED_LAYERS.read(layers))
        say_whose(cls, generator, directions)
        return io.NodeOutput(to_comfy(moved))


class SaveLatentDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveLatentDirections",
            display_name="Save Latent Directions",
            category=CATEGORY,
            description="Save directions as one small safetensors file in output/gan_directions, for Load Latent "
            "Directions. The file names the generator that they belong to.",
            search_aliases=["export directions", "save edit", "share directions"],
            is_output_node=True,
            inputs=[
                LATENT_DIRECTIONS.Input("directions", tooltip="Directions to save: vectors, names and strengths."),
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
            description="Load directions from a safetensors file. Nothing in the file is executed.",
            search_aliases=["open directions", "import directions", "load edit"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.direction_names(),
                    tooltip="A file in models/gan_directions or output/gan_directions; press R after saving a new one. "
                    "Those of the bundled critters come with the pack.",
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


def say_whose(node: type[io.ComfyNode], generator, directions) -> None:
    """Says if directions come from another generator: they fit if the latent spaces have the same size, but may have no
    meaning."""
    if not directions.belong_to(generator):
        NodeProgress(node.hidden.unique_id).say(f"these were found in another generator: {directions.generator}")


NODES = [FindLatentDirections, ApplyLatentDirection, SaveLatentDirections, LoadLatentDirections]
