"""GAN / project: GAN inversion, from an image back to its latent."""

from contextlib import closing

from comfy_api.latest import io

from ..gan_core import Generator, InputError
from ..gan_core.latents import LAST_SEED
from ..gan_core.media.image_files import FITS
from ..gan_core.sampling.encoding import images_for
from ..gan_core.sampling.projection import MAX_CANDIDATES, MAX_STEPS, ProjectionConfig, projecting
from .host import device
from .host.errors import says_errors
from .host.progress import NodeProgress
from .optional import LABEL
from .types import GENERATOR, to_comfy, to_image

CATEGORY = "GAN/project"

SPACES = ("auto", "w+", "w", "z")


class ProjectImageToLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ProjectImageToLatent",
            display_name="Project Image to Latent",
            category=CATEGORY,
            description="GAN inversion: find the latent that best reconstructs an image, to walk, mix and edit it "
            "like any other. Shows the progress.",
            search_aliases=["GAN inversion", "invert image", "image to latent", "find latent", "PTI", "encode image"],
            inputs=[
                io.MultiType.Input(
                    "generator",
                    [GENERATOR, io.Vae],
                    tooltip="Generator that is to reconstruct the image. It is never changed. The encoder of a VAE "
                    "answers at once.",
                ),
                io.Image.Input("images", tooltip="Target images; a batch is projected one image after another."),
                io.Int.Input(
                    "steps",
                    default=300,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Optimisation steps for each image. More steps reconstruct a little better.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED + 1 - MAX_CANDIDATES,
                    control_after_generate=True,
                    tooltip="Seed of the start: the same seed finds the same latent.",
                ),
                io.Int.Input(
                    "tuning_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Steps of pivotal tuning (PTI) afterwards, which tunes a copy of the generator to the "
                    "target: a few hundred. 0: no tuning.",
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Latent space. w: one style for all layers, easiest to edit; w+: one for each layer, "
                    "which reconstructs better; z: for generators without styles. auto: w+, or z.",
                ),
                io.Int.Input(
                    "candidates",
                    default=256,
                    min=1,
                    max=MAX_CANDIDATES,
                    optional=True,
                    advanced=True,
                    tooltip="Number of random latents from which the start is chosen.",
                ),
                LABEL.input(
                    tooltip="Class of the images, by name or number, for a generator with classes. Empty: that of the "
                    "best random latent.",
                    advanced=True,
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    optional=True,
                    advanced=True,
                    tooltip="How images of another aspect ratio are fitted: crop cuts off the longer side, pad adds "
                    "bars, stretch changes the aspect ratio.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Latents of the images, one for each."),
                io.Image.Output(display_name="images", tooltip="Reconstructed images."),
                GENERATOR.Output(
                    display_name="generator", tooltip="The tuned generator; without tuning, the one that was given."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(
        cls,
        generator,
        images,
        steps,
        seed,
        tuning_steps,
        space=SPACES[0],
        candidates=256,
        label=None,
        fit="crop",
    ) -> io.NodeOutput:
        encoded = _encoded(generator, images, fit, tuning_steps)
        if encoded is not None:
            return encoded
        config = ProjectionConfig(
            None if space == SPACES[0] else space,
            steps,
            candidates,
            LABEL.read(generator, label),
            tuning_steps,
            seed,
        )
        shown = NodeProgress(cls.hidden.unique_id)
        shown.say(f"choosing a start among {candidates:,} random latents")
        with device.training():
            targets = images_for(generator, images, fit)
            with closing(projecting(generator, targets, config, device.current())) as search:
                for step in search:
                    shown.projecting(step)
        shown.say(str(step))
        return io.NodeOutput(to_comfy(step.latent), device.to_intermediate(to_image(step.images)), step.generator)


def _encoded(generator, images, fit: str, tuning_steps: int) -> io.NodeOutput | None:
    """Result of an encoder; None for a generator without one, whose latent must be optimised."""
    if not isinstance(generator, Generator):
        samples = generator.encode(images)
        return io.NodeOutput({"samples": samples}, generator.decode(samples), generator)
    if not generator.architecture.encodes:
        return None
    if tuning_steps:
        raise InputError(
            f"{generator.title} is a VAE, whose encoder answers at once; its decoder is tuned by Train VAE, with the "
            "preset finetune_decoder: set tuning_steps to 0."
        )
    with device.on_device(generator):
        latent = generator.encode(images_for(generator, images, fit))
        reconstructed = generator.decode(latent)
    return io.NodeOutput(to_comfy(latent), device.to_intermediate(to_image(reconstructed)), generator)


NODES = [ProjectImageToLatent]
