"""GAN / generate: from a generator to images, and back."""

import torch
from comfy_api.latest import io

from ..gan_core import Generator, InputError, sample_noise
from ..gan_core.generator import NOISES
from ..gan_core.latents import LAST_SEED
from ..gan_core.media.image_files import FITS
from ..gan_core.sampling.encoding import images_for
from ..gan_core.sampling.seeds import PRIORS
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
            description="Sample latents for a generator. The same seed gives the same image on every machine; a "
            "batch uses the seeds that follow.",
            search_aliases=["random latent", "noise", "empty latent", "GAN seed", "sample z", "latent z"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator that the latents are for."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the first image. Image i of the batch uses seed + i and is identical to "
                    "generating it alone.",
                ),
                io.Int.Input("batch_size", default=1, min=1, max=4096, tooltip="Number of images."),
                io.Float.Input(
                    "truncation",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="Truncation psi. 1: no truncation; below 1: higher quality and less diversity, down to "
                    "the mean image at 0.",
                ),
                LABEL.input(
                    tooltip="Class by name or number, as Load Generator shows them, or a mixture such as cat:0.7, "
                    "dog:0.3. Empty: random, from the seed.",
                ),
                io.Combo.Input(
                    "prior",
                    options=[OWN_PRIOR, *PRIORS],
                    default=OWN_PRIOR,
                    optional=True,
                    advanced=True,
                    tooltip="Prior of a VAE's latents. mixture: Gaussian mixture fitted to its training images; "
                    "normal: standard normal. auto: mixture, if the file has one.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Latents, for Decode and core's latent nodes.")],
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
            description="Decode latents to images, with a generator or with any VAE of ComfyUI.",
            search_aliases=["GAN decode", "latent to image", "generate images", "VAE decode", "render latent"],
            inputs=[
                io.MultiType.Input(
                    "generator", [GENERATOR, io.Vae], tooltip="A generator, or a VAE from any of core's loaders."
                ),
                io.Latent.Input("latent", tooltip="Latents of the same generator, for example from Sample Noise."),
                LABEL.input(
                    tooltip="Class of all images, by name or number, instead of the labels of the latent. Empty: "
                    "those of the latent.",
                    advanced=True,
                ),
                io.Combo.Input(
                    "noise",
                    options=list(NOISES),
                    default=NOISES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Noise maps of StyleGAN2, which decide fine details such as single hairs. const: as "
                    "stored in the file; random: from noise_seed; none: zeros.",
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
                    tooltip="Seed of random noise maps. Image i of the batch uses noise_seed + i.",
                ),
                TRANSFORM.Input(
                    "transform",
                    optional=True,
                    tooltip="Translation, rotation and scale of StyleGAN3 images, from Transform (StyleGAN3).",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="Images, as a batch.")],
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
            description="Encode images to latents, with a VAE that was trained here or with any of ComfyUI's: to "
            "reconstruct, interpolate, mix and add them.",
            search_aliases=["VAE encode", "image to latent", "reconstruct", "autoencoder"],
            inputs=[
                io.MultiType.Input(
                    "generator",
                    [GENERATOR, io.Vae],
                    tooltip="A VAE, from Train VAE or Load Generator, or from any of core's loaders. A GAN has no "
                    "encoder: use Project Image to Latent.",
                ),
                io.Image.Input("images", tooltip="Images to encode, as a batch."),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default=next(iter(FITS)),
                    tooltip="How images are fitted to the size of a conv_vae: crop cuts off the longer side, pad "
                    "adds bars, stretch changes the aspect ratio. Other VAEs take any size.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Latents of the images.")],
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
    """Decodes as core's VAE Decode does."""
    vector = "space" in latent and latent["samples"].shape[-1] == 1
    if vector and not isinstance(vae, GeneratorAsVAE):
        raise InputError(
            "This latent belongs to a generator, but a VAE is connected: connect the generator to Decode, or use a "
            "latent of the VAE's own image model."
        )
    samples = latent["samples"]
    images = vae.decode(samples.unbind()[0] if samples.is_nested else samples)  # of images with sound, the images
    return images.flatten(0, -4) if images.ndim > 4 else images  # a video VAE's [B, T, H, W, C]


NODES = [SampleNoise, Decode, EncodeWithGenerator]
