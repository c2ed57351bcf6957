"""GAN / latent: points in latent space, and where their pictures stand."""

from collections.abc import Iterator

from comfy_api.latest import io
from torch import Tensor

from ..gan_core import InputError, Transform, sample_noise
from ..gan_core.latents import parse_seeds, to_styles
from ..gan_core.media import image as pictures
from ..gan_core.sampling.mixing import drawn_towards, mix_grid, mix_styles
from ..gan_core.sampling.walks import INTERPOLATIONS, walk
from .generate import ALL_STYLES, ANY_CLASS, SPACES, class_of
from .host import device, previews
from .host.errors import says_errors
from .host.progress import NodeProgress
from .types import GENERATOR, TRANSFORM, from_comfy, to_comfy

CATEGORY = "GAN/latent"


class MapLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MapLatent",
            display_name="Map Latent",
            category=CATEGORY,
            description="Turns the noise z of a style-based generator such as StyleGAN into the styles w that its "
            "layers are told, where blending is smoother and truncation works.",
            search_aliases=["z to w", "mapping network", "w space", "truncate latent", "truncation trick"],
            inputs=[
                GENERATOR.Input("generator", tooltip="The style-based generator that the latent is for."),
                io.Latent.Input("latent", tooltip="Points in z, from Sample Noise or core's latent nodes; or in w."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="psi: 1 leaves the styles as they are, 0 makes all the average, below 0 the opposite.",
                ),
                io.Int.Input(
                    "cutoff",
                    default=ALL_STYLES,
                    min=ALL_STYLES,
                    max=100,
                    tooltip="How many of the first layers, the coarse ones, truncation draws to the average. -1: all.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The same points in w, a style for each layer.")],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, truncation, cutoff) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        return io.NodeOutput(
            to_comfy(to_styles(generator, points, truncation, None if cutoff == ALL_STYLES else cutoff))
        )


class TransformStyleGAN3(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TransformStyleGAN3",
            display_name="Transform (StyleGAN3)",
            category=CATEGORY,
            description="Moves, turns and scales the pictures of a StyleGAN3, which it draws anew in their new place: "
            "nothing is cut off or blurred. Connect it to Decode.",
            search_aliases=["StyleGAN3", "translate", "rotate", "zoom", "transform", "pan"],
            inputs=[
                io.Float.Input(
                    "translate_x",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="To the right, in widths of the picture; below 0 to the left.",
                ),
                io.Float.Input(
                    "translate_y",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Down, in heights of the picture; below 0 up.",
                ),
                io.Float.Input(
                    "rotation",
                    default=0.0,
                    min=-3600.0,
                    max=3600.0,
                    step=0.5,
                    tooltip="Anticlockwise, in degrees; below 0 clockwise.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.05,
                    tooltip="How many times as large; below 1 smaller, and more of what is around comes into view.",
                ),
                io.Boolean.Input(
                    "animate",
                    default=False,
                    tooltip="Spread the motion over the batch: image i of n goes i/n of the way, so that a turn of 360 "
                    "degrees becomes a loop.",
                ),
            ],
            outputs=[TRANSFORM.Output(display_name="transform", tooltip="For Decode's input of the same name.")],
        )

    @classmethod
    @says_errors
    def execute(cls, translate_x, translate_y, rotation, scale, animate) -> io.NodeOutput:
        return io.NodeOutput(Transform(translate_x, translate_y, rotation, scale, animate))


class GANLatentWalk(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GANLatentWalk",
            display_name="GAN Latent Walk",
            category=CATEGORY,
            description="Goes from seed to seed, or from latent to latent, in small steps: a latent for each frame of "
            "a video. A closed walk ends where it began, and loops without a jolt.",
            search_aliases=["interpolation", "latent interpolation", "animation", "morph", "loop video", "slerp"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What the walk is for."),
                io.String.Input(
                    "seeds",
                    default="0-7",
                    tooltip="Where it stops on its way, such as 3, 17, 40-55. Not used where a latent is connected.",
                ),
                io.Int.Input(
                    "frames", default=30, min=1, max=10_000, tooltip="How many frames from one stop to the next."
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(INTERPOLATIONS),
                    default=next(iter(INTERPOLATIONS)),
                    tooltip="spherical turns about the average and stays as far from it as the stops are; linear goes "
                    "straight, through more average pictures; spline takes no sharp turn at a stop.",
                ),
                io.Boolean.Input(
                    "closed", default=True, tooltip="Go on from the last stop to the first, so that a video loops."
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    tooltip="Where to walk: w is the smoother one and needs a style-based generator, z is the noise. "
                    "auto: w where there is one. A latent in w+ stays there.",
                ),
                io.Latent.Input(
                    "latent", optional=True, tooltip="Stops of your own, two or more in a batch, instead of seeds."
                ),
                io.Int.Input(
                    "label",
                    default=ANY_CLASS,
                    min=ANY_CLASS,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="Which class the seeds are of, for a generator with labels; -1 lets the seeds draw theirs.",
                ),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="psi of the seeds: below 1 more typical and less varied.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="A point for each frame, for Decode.")],
        )

    @classmethod
    @says_errors
    def execute(
        cls, generator, seeds, frames, interpolation, closed, space, latent=None, label=ANY_CLASS, truncation=1.0
    ) -> io.NodeOutput:
        if latent is None:
            stops = sample_noise(generator, parse_seeds(seeds), truncation, class_of(generator, label))
        else:
            stops = from_comfy(generator, latent)
        where = None if space == SPACES[0] else space
        return io.NodeOutput(to_comfy(walk(generator, stops, frames, interpolation, closed, where)))


MIXINGS = ("pairs", "grid", "grid with sources")


class MixGANStyles(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MixGANStyles",
            display_name="Mix GAN Styles",
            category=CATEGORY,
            description="Gives pictures of a style-based generator some layers of others: pose and shape from one, "
            "colours and details from another. In pairs, or each with each as a grid.",
            search_aliases=["style mixing", "StyleGAN mixing", "crossover", "layer swap", "w+"],
            inputs=[
                GENERATOR.Input("generator", tooltip="The style-based generator that both latents are for."),
                io.Latent.Input("latent", tooltip="What is mixed into: it keeps all layers but those that are chosen."),
                io.Latent.Input("styles", tooltip="Where the chosen layers come from."),
                io.Int.Input(
                    "first_layer",
                    default=4,
                    min=0,
                    max=100,
                    tooltip="The first layer that is taken from styles. Low numbers are coarse: pose and shape.",
                ),
                io.Int.Input(
                    "last_layer",
                    default=ALL_STYLES,
                    min=ALL_STYLES,
                    max=100,
                    tooltip="The last layer that is taken, that one too. -1: the very last.",
                ),
                io.Combo.Input(
                    "mixing",
                    options=list(MIXINGS),
                    default=MIXINGS[0],
                    tooltip="pairs: first with first, second with second; grid: each latent, a row, with all styles, "
                    "the columns; with sources: those too, in the first row and column.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The mixed points in w+, row after row."),
                io.Int.Output(display_name="columns", tooltip="How many there are in a row, for Image Grid."),
            ],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, styles, first_layer, last_layer, mixing) -> io.NodeOutput:
        points, sources = from_comfy(generator, latent), from_comfy(generator, styles)
        last = None if last_layer == ALL_STYLES else last_layer
        if mixing == "pairs":
            mixed = mix_styles(generator, points, sources, first_layer, last)
            return io.NodeOutput(to_comfy(mixed), len(mixed))
        mixed = mix_grid(generator, points, sources, first_layer, last, sources=mixing == "grid with sources")
        return io.NodeOutput(to_comfy(mixed), len(sources) + (mixing == "grid with sources"))


class TruncateLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TruncateLatent",
            display_name="Truncate Latent",
            category=CATEGORY,
            description="Draws latents towards the average picture, which makes them more typical, or towards a latent "
            "of your choice, which makes them all take after it.",
            search_aliases=["truncation trick", "psi", "character", "average face", "towards mean"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What the latent is for."),
                io.Latent.Input("latent", tooltip="What is drawn: from Sample Noise, or any latent of the generator."),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="psi: 1 leaves all as it is, 0 makes all the same, below 0 the opposite.",
                ),
                io.Int.Input(
                    "cutoff",
                    default=ALL_STYLES,
                    min=ALL_STYLES,
                    max=100,
                    tooltip="How many of the first layers, the coarse ones, are drawn, in a style-based generator. "
                    "-1: all.",
                ),
                io.Latent.Input(
                    "target",
                    optional=True,
                    tooltip="A character: a latent that all are drawn to, or one for each. Without it, the average.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The points that were drawn, for Decode.")],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, latent, truncation, cutoff, target=None) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        goal = None if target is None else from_comfy(generator, target)
        kept = None if cutoff == ALL_STYLES else cutoff
        return io.NodeOutput(to_comfy(drawn_towards(generator, points, truncation, kept, goal)))


MOST_ON_A_SHEET = 1024

AT_ONCE = 16
"""Pictures that a sheet is given at a time: of large ones a thousand would not fit into memory."""


class GANSeedGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GANSeedGrid",
            display_name="GAN Seed Grid",
            category=CATEGORY,
            description="A contact sheet of seeds with their numbers, to choose from; and the latents of just those "
            "seeds that you write down, in that order.",
            search_aliases=["contact sheet", "seed list", "browse seeds", "seed browser", "choose seeds"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What makes the pictures."),
                io.String.Input("seeds", default="0-63", tooltip="Which seeds, such as 3, 17, 40-55."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="psi: 1 as it was learned; below 1 more typical and less varied, down to the average.",
                ),
                io.Int.Input(
                    "label",
                    default=ANY_CLASS,
                    min=ANY_CLASS,
                    max=100_000,
                    tooltip="Which class, by the number that Load Generator shows, or by its name if that is a number; "
                    "-1 lets the seed draw it.",
                ),
                io.Int.Input(
                    "columns", default=0, min=0, max=100, tooltip="Pictures in a row of the sheet. 0: as many as rows."
                ),
                io.Int.Input(
                    "cell_size", default=96, min=32, max=1024, tooltip="Side of each picture on the sheet, in pixels."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All pictures on one, each with its seed below."),
                io.Latent.Output(display_name="latent", tooltip="The seeds' points as a batch, in the order written."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, seeds, truncation, label, columns, cell_size) -> io.NodeOutput:
        wanted = parse_seeds(seeds)
        if len(wanted) > MOST_ON_A_SHEET:
            raise InputError(f"A sheet has at most {MOST_ON_A_SHEET} pictures, and these seeds are {len(wanted)}.")
        latent = sample_noise(generator, wanted, truncation, class_of(generator, label))
        bar = NodeProgress(cls.hidden.unique_id)

        def drawn() -> Iterator[Tensor]:
            for start in range(0, len(latent), AT_ONCE):
                bar.reading(start, len(latent), "pictures made")
                yield generator.decode(latent[start : start + AT_ONCE])

        with device.on_device(generator):
            sheet = pictures.contact_sheet(drawn(), [str(seed) for seed in wanted], columns or None, cell_size)
        return io.NodeOutput(device.to_intermediate(previews.as_image(sheet)), to_comfy(latent))


NODES = [MapLatent, TransformStyleGAN3, GANLatentWalk, MixGANStyles, TruncateLatent, GANSeedGrid]
