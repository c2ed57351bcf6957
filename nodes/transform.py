"""GAN / latent: where a StyleGAN3 draws its images."""

from comfy_api.latest import io

from ..gan_core import Transform
from .host.errors import says_errors
from .latent import CATEGORY
from .types import TRANSFORM


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


NODES = [TransformStyleGAN3]
