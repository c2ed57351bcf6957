"""GAN / latent: points in latent space."""

from comfy_api.latest import io

from ..gan_core import sample_noise
from ..gan_core.latents import to_styles
from ..gan_core.sampling.mixing import mix_grid, mix_styles, truncate
from ..gan_core.sampling.seeds import parse_seeds
from ..gan_core.sampling.walks import INTERPOLATIONS, walk
from .host.errors import refusal, says_errors
from .optional import LABEL, OptionalInt, OptionalLayers
from .types import GENERATOR, from_comfy, to_comfy

CATEGORY = "GAN/latent"

SPACES = ("auto", "z", "w")

CUTOFF = OptionalInt("cutoff", unset="all", min=0, max=100)

LAYERS = OptionalLayers("layers", unset="all")


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
                CUTOFF.input(
                    tooltip="Number of layers to truncate, counted from the first, the coarse ones.", advanced=True
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The same points in w, a style for each layer.")],
        )

    @classmethod
    def validate_inputs(cls, cutoff=None) -> bool | str:
        return refusal(CUTOFF.reason(cutoff))

    @classmethod
    @says_errors
    def execute(cls, generator, latent, truncation, cutoff=None) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        return io.NodeOutput(to_comfy(to_styles(generator, points, truncation, CUTOFF.read(cutoff))))


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
                io.Latent.Input(
                    "latent", optional=True, tooltip="Stops of your own, two or more in a batch, instead of seeds."
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Where to walk: w is the smoother one and needs a style-based generator, z is the noise. "
                    "auto: w where there is one. A latent in w+ stays there.",
                ),
                LABEL.input(
                    tooltip="Class of the seeds by name or number, or a mixture such as cat:0.7, dog:0.3. Empty: drawn "
                    "by each seed.",
                    advanced=True,
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
        cls, generator, seeds, frames, interpolation, closed, latent=None, space=SPACES[0], label=None, truncation=1.0
    ) -> io.NodeOutput:
        if latent is None:
            stops = sample_noise(generator, parse_seeds(seeds), truncation, LABEL.read_mixture(generator, label))
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
                LAYERS.input(
                    tooltip="Layers that are taken from styles, such as 4-last, 2-5 or 3. Low numbers are coarse: pose "
                    "and shape.",
                    default="4-last",
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
    def validate_inputs(cls, layers=None) -> bool | str:
        return refusal(LAYERS.reason(layers))

    @classmethod
    @says_errors
    def execute(cls, generator, latent, styles, mixing, layers="4-last") -> io.NodeOutput:
        points, sources = from_comfy(generator, latent), from_comfy(generator, styles)
        first, last = LAYERS.read(layers)
        if mixing == "pairs":
            mixed = mix_styles(generator, points, sources, first or 0, last)
            return io.NodeOutput(to_comfy(mixed), len(mixed))
        mixed = mix_grid(generator, points, sources, first or 0, last, sources=mixing == "grid with sources")
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
                CUTOFF.input(
                    tooltip="Number of layers to truncate in a style-based generator, counted from the first, the "
                    "coarse ones.",
                    advanced=True,
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
    def validate_inputs(cls, cutoff=None) -> bool | str:
        return refusal(CUTOFF.reason(cutoff))

    @classmethod
    @says_errors
    def execute(cls, generator, latent, truncation, target=None, cutoff=None) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        goal = None if target is None else from_comfy(generator, target)
        return io.NodeOutput(to_comfy(truncate(generator, points, truncation, CUTOFF.read(cutoff), goal)))


NODES = [MapLatent, GANLatentWalk, MixGANStyles, TruncateLatent]
