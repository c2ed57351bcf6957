"""GAN / generate: from a generator to images, and back."""

import torch
from comfy_api.latest import io

from ..gan_core import Generator, InputError, sample_noise
from ..gan_core.generator import NOISES
from ..gan_core.latents import LAST_SEED, PRIORS
from ..gan_core.media.image_files import FITS
from ..gan_core.sampling.encoding import images_for
from .as_vae import GeneratorAsVAE
from .host import device
from .host.errors import says_errors
from .host.progress import decoded
from .optional import LABEL
from .types import GENERATOR, TRANSFORM, from_comfy, to_comfy, to_image

CATEGORY = "GAN/generate"

OWN_PRIOR = "auto"


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
                LABEL.input(
                    tooltip="Class by its name or number, as Load Generator shows them, or a mixture such as "
                    "cat:0.7, dog:0.3. Empty: drawn by the seed.",
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
    def execute(cls, generator, seed, batch_size, truncation, label=None, prior=OWN_PRIOR) -> io.NodeOutput:
        latent = sample_noise(
            generator,
            range(seed, seed + batch_size),
            truncation,
            LABEL.read_mixture(generator, label),
            prior=None if prior == OWN_PRIOR else prior,
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
                LABEL.input(
                    tooltip="Class of all images, by name or number, instead of those that the latent carries. Empty: "
                    "the latent's own.",
                    advanced=True,
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
    def execute(cls, generator, latent, label=None, noise=NOISES[0], noise_seed=0, transform=None) -> io.NodeOutput:
        if not isinstance(generator, Generator):
            return io.NodeOutput(_decoded_by_vae(generator, latent))
        points = from_comfy(generator, latent, LABEL.read_mixture(generator, label))
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
            latent = generator.encode(images_for(generator, images, fit))
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


NODES = [SampleNoise, Decode, EncodeWithGenerator]
