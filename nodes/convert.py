"""GAN / convert: generators that other programs made."""

from comfy_api.latest import io

from ..gan_core.importing import importing
from . import host
from .types import GENERATOR

CATEGORY = f"{host.CATEGORY}/convert"


class ImportGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImportGenerator",
            display_name="Import Generator",
            category=CATEGORY,
            description="Opens a generator that another program made: pickles of StyleGAN2-ADA, StyleGAN3 and R3GAN, "
            "and PyTorch files of FastGAN, Projected GAN, lightweight-gan and DCGAN. They are read as data: nothing "
            "in them is run, and no compiler or CUDA is needed.",
            search_aliases=["StyleGAN", "pickle", "pkl", "open StyleGAN", "convert GAN", "load pkl", "NVIDIA GAN"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=host.foreign_names(),
                    tooltip="A .pkl, .pt, .pth, .bin or .safetensors file in models/gan; put yours there and press R.",
                ),
                io.Boolean.Input(
                    "save",
                    default=False,
                    tooltip="Also write it as safetensors beside the file, for Load Generator. A file of that name "
                    "is left as it is.",
                ),
            ],
            outputs=[GENERATOR.Output(display_name="generator", tooltip="Ready for Sample Noise and Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, name=None, save=False) -> str:
        """Reads again when the file was replaced."""
        return host.fingerprint(host.resolve_foreign, name)

    @classmethod
    def execute(cls, name, save) -> io.NodeOutput:
        path = host.resolve_foreign(name)
        bar = host.NodeProgress(cls.hidden.unique_id)
        for step in importing(path):
            bar.reading(step.done, step.total)
        generator = step.generator
        saved = [host.save_beside(generator, path)] if save else []
        bar.say("\n".join([generator.summary, *generator.origin, *saved]))
        return io.NodeOutput(generator)


NODES = [ImportGenerator]
