"""GAN / latent: points in latent space, and where their pictures stand."""

from comfy_api.latest import io

from ..gan_core import Transform
from ..gan_core.latents import to_styles
from . import host
from .generate import ALL_STYLES
from .types import GENERATOR, TRANSFORM, from_comfy, to_comfy

CATEGORY = f"{host.CATEGORY}/latent"


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
    def execute(cls, generator, latent, truncation, cutoff) -> io.NodeOutput:
        points = from_comfy(generator, latent)
        return io.NodeOutput(
            to_comfy(to_styles(generator, points, truncation, None if cutoff == ALL_STYLES else cutoff))
        )


class MoveAndTurn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MoveAndTurn",
            display_name="Move and Turn",
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
                    step=1.0,
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
    def execute(cls, translate_x, translate_y, rotation, scale, animate) -> io.NodeOutput:
        return io.NodeOutput(Transform(translate_x, translate_y, rotation, scale, animate))


NODES = [MapLatent, MoveAndTurn]
