"""GAN / latent: translation, rotation and scale of StyleGAN3 images."""

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
            description="Translate, rotate and scale the images of a StyleGAN3, which are generated in their new "
            "place: nothing is cut off or blurred. Connect it to Decode.",
            search_aliases=["StyleGAN3", "translate", "rotate", "zoom", "transform", "pan"],
            inputs=[
                io.Float.Input(
                    "translate_x",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Translation to the right, in image widths; negative to the left.",
                ),
                io.Float.Input(
                    "translate_y",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Translation downwards, in image heights; negative upwards.",
                ),
                io.Float.Input(
                    "rotation",
                    default=0.0,
                    min=-3600.0,
                    max=3600.0,
                    step=0.5,
                    tooltip="Rotation anticlockwise, in degrees; negative clockwise.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.05,
                    tooltip="Scale factor; below 1 smaller, with more of the surroundings.",
                ),
                io.Boolean.Input(
                    "animate",
                    default=False,
                    tooltip="Spread the transform over the batch: image i of n gets i/n of it, so that a rotation of "
                    "360 degrees becomes a loop.",
                ),
            ],
            outputs=[TRANSFORM.Output(display_name="transform", tooltip="For the input of the same name of Decode.")],
        )

    @classmethod
    @says_errors
    def execute(cls, translate_x, translate_y, rotation, scale, animate) -> io.NodeOutput:
        return io.NodeOutput(Transform(translate_x, translate_y, rotation, scale, animate))


NODES = [TransformStyleGAN3]
