"""GAN / project: from a picture back to its latent."""

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
            description="Finds the latent of a picture: what makes a generator come nearest to it. Then it can be "
            "walked from, mixed and moved like any other. It shows how it gets nearer.",
            search_aliases=["GAN inversion", "invert image", "image to latent", "find latent", "PTI", "encode image"],
            inputs=[
                io.MultiType.Input(
                    "generator",
                    [GENERATOR, io.Vae],
                    tooltip="What is to make the picture. It is never changed. A VAE's encoder answers at once.",
                ),
                io.Image.Input("images", tooltip="The picture looked for; of a batch, one after another."),
                io.Int.Input(
                    "steps", default=300, min=0, max=MAX_STEPS, tooltip="For each picture; more come a little nearer."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED + 1 - MAX_CANDIDATES,
                    control_after_generate=True,
                    tooltip="Where it starts: the same seed finds the same latent.",
                ),
                io.Int.Input(
                    "tuning_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="Afterwards, tune a copy of the generator to what is still missing (pivotal tuning): some "
                    "hundred steps. 0: leave it.",
                ),
                io.Combo.Input(
                    "space",
                    options=list(SPACES),
                    default=SPACES[0],
                    optional=True,
                    advanced=True,
                    tooltip="w: one style for all layers, easiest to steer; w+: one for each, which comes nearer; z "
                    "where there are no styles. auto: w+, or z.",
                ),
                io.Int.Input(
                    "candidates",
                    default=256,
                    min=1,
                    max=MAX_CANDIDATES,
                    optional=True,
                    advanced=True,
                    tooltip="The start is the best of so many random latents.",
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
                    tooltip="How a picture of other proportions is fitted: crop cuts off what is too long, pad adds "
                    "bars, stretch changes its proportions.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The latents that were found, one for each picture."),
                io.Image.Output(display_name="images", tooltip="What the generator makes of them."),
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
        shown.say(f"looking for a start among {candidates:,} random latents")
        with device.training():
            targets = images_for(generator, images, fit)
            with closing(projecting(generator, targets, config, device.current())) as search:
                for step in search:
                    shown.projecting(step)
        shown.say(str(step))
        return io.NodeOutput(to_comfy(step.latent), device.to_intermediate(to_image(step.images)), step.generator)


def _encoded(generator, images, fit: str, tuning_steps: int) -> io.NodeOutput | None:
    """What an encoder answers; None where there is none, and the latent has to be searched for."""
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
        made = generator.decode(latent)
    return io.NodeOutput(to_comfy(latent), device.to_intermediate(to_image(made)), generator)


NODES = [ProjectImageToLatent]
