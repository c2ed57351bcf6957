"""GAN / convert: generators of other programs, and generators as core's VAEs."""

from pathlib import Path

from comfy_api.latest import io

from ..gan_core import Generator
from ..gan_core.foreign.import_generator import importing
from .as_vae import GeneratorAsVAE
from .host import paths, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .optional import LABEL
from .types import GENERATOR

CATEGORY = "GAN/convert"


class ImportGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImportGenerator",
            display_name="Import Generator",
            category=CATEGORY,
            description="Open a generator of another program: pickles of StyleGAN2-ADA, StyleGAN3 and R3GAN, and "
            "PyTorch files of FastGAN, Projected GAN, lightweight-gan and DCGAN. They are read as data: nothing in "
            "them is executed, and no compiler or CUDA is needed.",
            search_aliases=["StyleGAN", "pickle", "pkl", "open StyleGAN", "convert GAN", "load pkl", "NVIDIA GAN"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.foreign_names(),
                    tooltip="A .pkl, .pt, .pth, .bin or .safetensors file in models/gan; put yours there and press R.",
                ),
                io.Boolean.Input(
                    "save",
                    default=False,
                    tooltip="Also save it as safetensors beside the file, for Load Generator. An existing file of "
                    "that name is not changed.",
                ),
            ],
            outputs=[GENERATOR.Output(display_name="generator", tooltip="For Sample Noise and Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return refusal(paths.not_there(paths.resolve_foreign, name))

    @classmethod
    def fingerprint_inputs(cls, name=None, save=False) -> str:
        """Reads the file again after it was replaced."""
        return paths.fingerprint(paths.resolve_foreign, name)

    @classmethod
    @says_errors
    def execute(cls, name, save) -> io.NodeOutput:
        path = paths.resolve_foreign(name)
        bar = NodeProgress(cls.hidden.unique_id)
        generator = _read(path, bar)
        saved = [saving.save_beside(generator, path)] if save else []
        bar.say("\n".join([generator.summary, *generator.origin, *saved]))
        return io.NodeOutput(generator)


class VAEToGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VAEToGenerator",
            display_name="VAE to Generator",
            category=CATEGORY,
            description="Open a VAE of image models as a generator: TAESD, and the VAEs of Stable Diffusion 1 to 3 "
            "and Flux. Train VAE tunes its decoder; Encode with Generator, Decode and all latent nodes take it. The "
            "file is read as data: nothing in it is executed.",
            search_aliases=["load VAE", "fine-tune VAE", "AutoencoderKL", "TAESD", "import VAE", "Stable Diffusion"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.vae_names(),
                    tooltip="A .safetensors, .sft, .pt, .pth, .ckpt or .bin file in models/vae; put yours there "
                    "and press R.",
                ),
            ],
            outputs=[
                GENERATOR.Output(
                    display_name="generator",
                    tooltip="For start of Train VAE, Encode with Generator, Decode, and others.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return refusal(paths.not_there(paths.resolve_vae, name))

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str:
        """Reads the file again after it was replaced."""
        return paths.fingerprint(paths.resolve_vae, name)

    @classmethod
    @says_errors
    def execute(cls, name) -> io.NodeOutput:
        bar = NodeProgress(cls.hidden.unique_id)
        generator = _read(paths.resolve_vae(name), bar)
        bar.say("\n".join([generator.summary, *generator.origin]))
        return io.NodeOutput(generator)


class GeneratorToVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GeneratorToVAE",
            display_name="Generator to VAE",
            category=CATEGORY,
            description="Use a generator as a VAE in ComfyUI's own nodes: VAE Decode and VAE Encode, tiled too, VAE "
            "Encode (for Inpainting), Save VAE and others. A GAN can only be decoded, because it has no encoder.",
            search_aliases=["VAE", "adapter", "VAE decode", "VAE encode", "tiled decode", "use as VAE"],
            inputs=[
                GENERATOR.Input("generator", tooltip="A VAE that was trained here, or any other generator."),
                LABEL.input(
                    tooltip="Class of all decoded images, by name or number, for a generator with classes: core's "
                    "nodes do not pass on the labels of a latent.",
                ),
            ],
            outputs=[io.Vae.Output(display_name="vae", tooltip="For core's nodes that take a VAE.")],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, label=None) -> io.NodeOutput:
        return io.NodeOutput(GeneratorAsVAE(generator, LABEL.read_mixture(generator, label)))


def _read(path: Path, bar: NodeProgress) -> Generator:
    """Opens a file, with a progress bar and a working stop button."""
    for step in importing(path):
        bar.receiving(step.done, step.total, f"of {path.name} read")
    assert step.generator, "the last step has it"
    return step.generator


NODES = [ImportGenerator, VAEToGenerator, GeneratorToVAE]
