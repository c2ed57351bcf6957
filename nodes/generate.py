"""GAN / generate: from a generator to pictures."""

import torch
from comfy_api.latest import io

from ..gan_core import Generator, InputError, load, sample_noise
from ..gan_core.generator import NOISES
from ..gan_core.latents import LAST_SEED, PRIORS, find_class, parse_class_weights
from ..gan_core.media.image_files import FITS
from ..gan_core.sampling.encoding import pictures_for
from .as_vae import GeneratorAsVAE
from .host import device, paths, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress, decoded
from .types import GENERATOR, TRANSFORM, from_comfy, to_comfy, to_image

CATEGORY = "GAN/generate"

ANY_CLASS = -1
"""The label that leaves the class to the seed, or to the latent."""


SPACES = ("auto", "z", "w")

OWN_PRIOR = "auto"

ALL_STYLES = -1
"""The cutoff that leaves none out."""


def class_of(generator: Generator, label: int) -> int | None:
    """The number of the class that a label asks for: where classes are called by numbers, of the one that is called so.

    Raises InputError where there is no such class.
    """
    return None if label == ANY_CLASS else find_class(generator, str(label))


class LoadGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadGenerator",
            display_name="Load Generator",
            category=CATEGORY,
            description="Opens a generator from a safetensors file. Nothing in the file is executed.",
            search_aliases=["open GAN", "GAN loader", "load model", "load GAN"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.generator_names(),
                    default=paths.EXAMPLE_GENERATORS[0],
                    tooltip="A file in models/gan or output/gan; press R after saving a new one. Every run's generator "
                    "so far is there too, under runs. example/digits.safetensors comes with the pack.",
                ),
            ],
            outputs=[GENERATOR.Output(display_name="generator", tooltip="Ready for Sample Noise and Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return refusal(paths.not_there(paths.resolve_generator, name))

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str:
        """Loads again when the file was replaced."""
        return paths.fingerprint(paths.resolve_generator, name)

    @classmethod
    @says_errors
    def execute(cls, name) -> io.NodeOutput:
        generator = load(paths.resolve_generator(name))
        NodeProgress(cls.hidden.unique_id).say("\n".join(filter(None, [generator.summary, generator.numbered_classes])))
        return io.NodeOutput(generator)


class SaveGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveGenerator",
            display_name="Save Generator",
            category=CATEGORY,
            description="Saves a generator as one safetensors file in output/gan, where Load Generator finds it.",
            search_aliases=["save GAN", "export generator", "save model", "safetensors"],
            is_output_node=True,
            inputs=[
                GENERATOR.Input("generator", tooltip="What to save: the weights, and what is known of them."),
                io.String.Input(
                    "filename_prefix",
                    default="generator",
                    tooltip="Name in output/gan; a number is added. May be folder/name and hold %year%-%month%-%day%.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None) -> bool | str:
        """A prefix that cannot be is said before an hour of training, not after."""
        return refusal(saving.unusable_prefix(filename_prefix))

    @classmethod
    @says_errors
    def execute(cls, generator, filename_prefix) -> io.NodeOutput:
        path = generator.save(saving.generator_path(filename_prefix))
        shown = paths.shown_path(path)
        NodeProgress(cls.hidden.unique_id).say(f"saved as {shown}")
        return io.NodeOutput(ui={"text": [shown]})


class SampleNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SampleNoise",
            display_name="Sample Noise",
            category=CATEGORY,
            description="Draws starting points for a generator. The same seed gives the same picture on every machine, "
            "and a batch takes the seeds that follow.",
            search_aliases=["random latent", "noise", "empty latent", "GAN seed", "sample z", "latent z"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What the points are for."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED,
                    control_after_generate=True,
                    tooltip="Image i of the batch has seed + i, and looks as it does alone.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="How many images."),
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
                    optional=True,
                    tooltip="Which class, by the number that Load Generator shows, or by its name if that is a number; "
                    "-1 lets the seed draw it.",
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="For a style-based generator such as StyleGAN: z is the noise itself, w the style that it "
                    "stands for. auto: z, or w where a truncation needs it.",
                ),
                io.Int.Input(
                    "cutoff",
                    default=ALL_STYLES,
                    min=ALL_STYLES,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="For a style-based generator: how many of the first layers, the coarse ones, truncation "
                    "draws to the average. -1: all.",
                ),
                io.String.Input(
                    "class_weights",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="A class by its name, such as cat, or a mixture of classes: pairs such as cat:0.7, "
                    "dog:0.3, or a number for every class. Instead of a label.",
                ),
                io.Combo.Input(
                    "prior",
                    options=[OWN_PRIOR, *PRIORS],
                    default=OWN_PRIOR,
                    optional=True,
                    advanced=True,
                    tooltip="For a VAE, where points are drawn: mixture where its training images lie, normal anywhere "
                    "that z may be. auto: mixture, if the file has one.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The points, for Decode and core's latent nodes.")
            ],
        )

    @classmethod
    @says_errors
    def execute(
        cls,
        generator,
        seed,
        batch_size,
        truncation,
        label=ANY_CLASS,
        space=SPACES[0],
        cutoff=ALL_STYLES,
        class_weights="",
        prior=OWN_PRIOR,
    ) -> io.NodeOutput:
        labels: int | torch.Tensor | None = class_of(generator, label)
        if class_weights.strip():
            labels = parse_class_weights(generator, class_weights)
        latent = sample_noise(
            generator,
            range(seed, seed + batch_size),
            truncation,
            labels,
            None if space == SPACES[0] else space,
            None if cutoff == ALL_STYLES else cutoff,
            None if prior == OWN_PRIOR else prior,
        )
        return io.NodeOutput(to_comfy(latent))


class Decode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Decode",
            display_name="Decode",
            category=CATEGORY,
            description="Makes pictures of latents, with a generator or with any VAE of ComfyUI.",
            search_aliases=["GAN decode", "latent to image", "generate images", "VAE decode", "render latent"],
            inputs=[
                io.MultiType.Input(
                    "generator", [GENERATOR, io.Vae], tooltip="A generator, or a VAE from any of core's loaders."
                ),
                io.Latent.Input("latent", tooltip="Points of the same generator's latent space: from Sample Noise."),
                io.Int.Input(
                    "label",
                    default=ANY_CLASS,
                    min=ANY_CLASS,
                    max=100_000,
                    optional=True,
                    advanced=True,
                    tooltip="A class for all images, instead of what the latent carries; -1 leaves it to the latent.",
                ),
                io.Combo.Input(
                    "noise",
                    options=list(NOISES),
                    default=NOISES[0],
                    optional=True,
                    advanced=True,
                    tooltip="For StyleGAN2, what decides fine details such as single hairs: const as stored in the "
                    "file, random by the noise seed, or none.",
                ),
                io.Int.Input(
                    "noise_seed",
                    default=0,
                    min=0,
                    max=LAST_SEED,
                    # The page gives any input of this name such a control, and would set it to randomize.
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    optional=True,
                    advanced=True,
                    tooltip="For random noise: image i of the batch has noise_seed + i.",
                ),
                TRANSFORM.Input(
                    "transform",
                    optional=True,
                    tooltip="For StyleGAN3, where its pictures are moved and turned to: from Transform (StyleGAN3).",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The pictures, as a batch.")],
        )

    @classmethod
    @says_errors
    def execute(
        cls, generator, latent, label=ANY_CLASS, noise=NOISES[0], noise_seed=0, transform=None
    ) -> io.NodeOutput:
        if not isinstance(generator, Generator):
            return io.NodeOutput(_decoded_by_vae(generator, latent))
        points = from_comfy(generator, latent, class_of(generator, label))
        matrices = None if transform is None else transform.matrices(len(points))
        with device.on_device(generator):
            images = decoded(generator, points, noise, noise_seed, matrices)
        return io.NodeOutput(device.to_intermediate(to_image(images)))


class EncodeWithGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeWithGenerator",
            display_name="Encode with Generator",
            category=CATEGORY,
            description="Makes latents of pictures, with a VAE that was trained here or with any of ComfyUI's: to be "
            "decoded again, walked between, mixed and added up.",
            search_aliases=["VAE encode", "image to latent", "reconstruct", "autoencoder"],
            inputs=[
                io.MultiType.Input(
                    "generator",
                    [GENERATOR, io.Vae],
                    tooltip="A VAE: from Train VAE or Load Generator, or from any of core's loaders. A GAN has no "
                    "encoder; for one there is Project Image to Latent.",
                ),
                io.Image.Input("images", tooltip="The pictures, as a batch."),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default=next(iter(FITS)),
                    tooltip="How pictures get the size and proportions of a conv_vae's: crop cuts off what is too "
                    "long, pad adds bars, stretch changes proportions. Other VAEs take any size.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Where in latent space the pictures lie.")],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, images, fit) -> io.NodeOutput:
        if not isinstance(generator, Generator):
            return io.NodeOutput({"samples": generator.encode(images)})
        with device.on_device(generator):
            latent = generator.encode(pictures_for(generator, images, fit))
        return io.NodeOutput(to_comfy(latent))


def _decoded_by_vae(vae, latent: dict) -> torch.Tensor:
    """What core's VAE Decode makes."""
    vector = "space" in latent and latent["samples"].shape[-1] == 1
    if vector and not isinstance(vae, GeneratorAsVAE):
        raise InputError(
            "This latent was drawn for a generator, and a VAE is connected: connect the generator to Decode, "
            "or give it a latent of the VAE's own image model."
        )
    samples = latent["samples"]
    images = vae.decode(samples.unbind()[0] if samples.is_nested else samples)  # of pictures with sound, the pictures
    return images.flatten(0, -4) if images.ndim > 4 else images  # a video VAE's [B, T, H, W, C]


NODES = [LoadGenerator, SaveGenerator, SampleNoise, Decode, EncodeWithGenerator]
