"""GAN / latent: points in latent space."""

from comfy_api.latest import io

from ..gan_core import sample_noise
from ..gan_core.sampling.mixing import mix_grid, mix_styles, truncate
from ..gan_core.sampling.seeds import parse_seeds
from ..gan_core.sampling.spaces import to_styles
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
            description="Map the noise z of a style-based generator such as StyleGAN to its styles w, where "
            "interpolation is smoother and truncation works.",
            search_aliases=["z to w", "mapping network", "w space", "truncate latent", "truncation trick"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Style-based generator that the latent is for."),
                io.Latent.Input("latent", tooltip="Latents in z, from Sample Noise or core's latent nodes; or in w."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Truncation psi. 1: no truncation; 0: the mean style; below 0: the opposite side.",
                ),
                CUTOFF.input(
                    tooltip="Number of layers to truncate, counted from the first (coarse) one.", advanced=True
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The same latents in w, with a style for each layer.")
            ],
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
            description="Interpolate from seed to seed, or from latent to latent: one latent for each frame of a "
            "video. A closed walk ends where it began, so that the video loops.",
            search_aliases=["interpolation", "latent interpolation", "animation", "morph", "loop video", "slerp"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator that the walk is for."),
                io.String.Input(
                    "seeds",
                    default="0-7",
                    tooltip="Seeds at which the walk stops, such as 3, 17, 40-55. Not used if a latent is connected.",
                ),
                io.Int.Input(
                    "frames", default=30, min=1, max=10_000, tooltip="Number of frames from one stop to the next."
                ),
                io.Combo.Input(
                    "interpolation",
                    options=list(INTERPOLATIONS),
                    default=next(iter(INTERPOLATIONS)),
                    tooltip="spherical: slerp, keeps the distance from the mean; linear: straight lines, closer to "
                    "the mean image in the middle; spline: smooth at the stops.",
                ),
                io.Boolean.Input(
                    "closed", default=True, tooltip="Continue from the last stop to the first, so that a video loops."
                ),
                io.Latent.Input(
                    "latent", optional=True, tooltip="Stops from other nodes, two or more in a batch, instead of seeds."
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Latent space of the walk: w is smoother and needs a style-based generator, z is the "
                    "noise. auto: w if there is one. Latents in w+ stay in w+.",
                ),
                LABEL.input(
                    tooltip="Class of the seeds by name or number, or a mixture such as cat:0.7, dog:0.3. Empty: "
                    "random, from each seed.",
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
                    tooltip="Truncation psi of the seeds. Below 1: higher quality and less diversity.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="One latent for each frame, for Decode.")],
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
            description="Mix the styles of a style-based generator: pose and shape from one image, colours and "
            "details from another. In pairs, or all combinations as a grid.",
            search_aliases=["style mixing", "StyleGAN mixing", "crossover", "layer swap", "w+"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Style-based generator that both latents are for."),
                io.Latent.Input("latent", tooltip="Base latents. They keep all layers except the chosen ones."),
                io.Latent.Input("styles", tooltip="Latents that the chosen layers are taken from."),
                LAYERS.input(
                    tooltip="Layers that are taken from styles, such as 4-last, 2-5 or 3. Low numbers are coarse: pose "
                    "and shape.",
                    default="4-last",
                ),
                io.Combo.Input(
                    "mixing",
                    options=list(MIXINGS),
                    default=MIXINGS[0],
                    tooltip="pairs: first with first, second with second; grid: each latent (row) with each of "
                    "styles (column); with sources: also those, in the first row and column.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Mixed latents in w+, row by row."),
                io.Int.Output(display_name="columns", tooltip="Number of images in a row, for Image Grid."),
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
            description="Truncate latents towards the mean, for higher quality and less diversity, or towards a "
            "latent of your choice, so that the images resemble it.",
            search_aliases=["truncation trick", "psi", "character", "average face", "towards mean"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator that the latent is for."),
                io.Latent.Input(
                    "latent", tooltip="Latents to truncate, from Sample Noise or any other latents of the generator."
                ),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Truncation psi. 1: no truncation; 0: all equal to the target; below 0: the opposite side.",
                ),
                CUTOFF.input(
                    tooltip="Number of layers to truncate in a style-based generator, counted from the first "
                    "(coarse) one.",
                    advanced=True,
                ),
                io.Latent.Input(
                    "target",
                    optional=True,
                    tooltip="Target latent for all latents, or one for each. Without it, the mean.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Truncated latents, for Decode.")],
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
