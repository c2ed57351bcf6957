"""GAN / train: from images to a generator or a VAE."""

from contextlib import closing
from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..gan_core import Progress, TrainConfig, train
from ..gan_core.latents import LAST_SEED
from ..gan_core.losses.adversarial import OBJECTIVES
from ..gan_core.losses.reconstruction import LOSSES
from ..gan_core.training.augmentation import AUGMENTS
from ..gan_core.training.history import columns
from ..gan_core.training.presets import AUTO, GAN_PRESETS, ON_TROUBLE, VAE_PRESETS
from .host import device, previews, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .types import GENERATOR, IMAGE_DATASET, LOSS_MAP, to_image

CATEGORY = "GAN/train"

OF_PRESET = "preset"
"""The objective, augmentation or reconstruction that stands for the preset's own."""

PRESETS_OWN = -1.0
"""The number that does."""

HUNDREDTHS = 0.01
"""The step of a budget. ComfyUI's page shows and keeps as many digits of a number as its step has: with a step of 1 a
budget of 0.3 would read 0."""

CHART_POINTS = 1000
"""More points than this no chart shows."""


def _step_inputs() -> list[io.Input]:
    """When it stops, besides kimg, and what a step is."""
    return [
        io.Float.Input(
            "minutes",
            default=10.0,
            min=0.0,
            max=100_000.0,
            step=HUNDREDTHS,
            tooltip="Stop after so many minutes of this start, unless kimg ends it before. 0: no such limit.",
        ),
        io.Int.Input(
            "batch_size",
            default=0,
            min=0,
            max=4096,
            tooltip="Images in one step. 0: the preset's.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.000001,
            tooltip="Adam's step size. 0: the preset's. Lower it where training becomes unstable.",
        ),
    ]


def _run_inputs() -> list[io.Input]:
    """Where the run is kept, and how it begins."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LAST_SEED,
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Decides the first weights, the noise and the order of the images. "
            "A resumed run keeps the one that it began with.",
        ),
        io.String.Input(
            "run_name",
            default="my_generator",
            tooltip="The folder in output/gan/runs where it is kept. A new run of a taken name gets a number.",
        ),
        io.Boolean.Input(
            "resume",
            default=False,
            tooltip="Go on with the run of exactly that name, if there is one, instead of starting anew.",
        ),
        io.Combo.Input(
            "precision",
            options=["auto", "fp32"],
            default="auto",
            optional=True,
            advanced=True,
            tooltip="auto computes in bfloat16 where the device is faster with it; fp32 in full precision.",
        ),
    ]


def _run_refusal(run_name: str | None) -> bool | str:
    """The answer of validate_inputs: a name that cannot be is said before it is queued. From a link it is None."""
    return refusal(None if run_name is None else saving.bad_run_name(run_name))


class TrainGAN(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainGAN",
            display_name="Train GAN",
            category=CATEGORY,
            description="Trains a generator on images, and shows on the node what it can do so far. Stopping it loses "
            "nothing: the run is kept in output/gan/runs, and resume goes on with it.",
            search_aliases=["train", "learn", "DCGAN", "generative adversarial network", "fit", "train model"],
            is_output_node=True,
            inputs=[
                IMAGE_DATASET.Input(
                    "dataset", tooltip="What to learn from: Load GAN Image Folder, or Images to GAN Dataset."
                ),
                io.Combo.Input(
                    "preset",
                    options=[*GAN_PRESETS, AUTO],
                    tooltip="Network and recipe. dcgan is the all-round one, dcgan_small is much faster, digits learns "
                    "small grey signs in minutes on a CPU, dcgan_classic is the paper's of 2016, few and fastgan are "
                    "for some hundred images, stylegan2 and r3gan for the best pictures on a GPU. auto looks at the "
                    "images and says which it chose.",
                ),
                io.Float.Input(
                    "kimg",
                    default=1000.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=HUNDREDTHS,
                    tooltip="Stop when the run has been shown so many thousand images. 0: no such limit. "
                    "Digits need 200, photographs some thousands.",
                ),
                *_step_inputs(),
                io.Combo.Input(
                    "objective",
                    options=[OF_PRESET, *OBJECTIVES],
                    default=OF_PRESET,
                    tooltip="What the two networks play for: log is the loss of the first GAN paper, hinge goes with "
                    "spectral normalisation, relativistic with gradient penalties (steadier, and twice as slow), wgan "
                    "lets the discriminator learn five times as often (steady, and slowest).",
                ),
                *_run_inputs(),
                io.Combo.Input(
                    "augment",
                    options=[OF_PRESET, *AUGMENTS],
                    default=OF_PRESET,
                    optional=True,
                    advanced=True,
                    tooltip="Changes images at random before the discriminator sees them, so that it cannot learn a "
                    "few images by heart: diffaugment always, ada as much as it proves to be needed.",
                ),
                io.Combo.Input(
                    "on_trouble",
                    options=list(ON_TROUBLE),
                    default=ON_TROUBLE[0],
                    optional=True,
                    advanced=True,
                    tooltip="What to do where samples become all alike or fall apart: stop, with the best generator "
                    "there was; soften, which goes back and on with a lower learning rate; or ignore it.",
                ),
                io.Float.Input(
                    "patience_kimg",
                    default=0.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=HUNDREDTHS,
                    optional=True,
                    advanced=True,
                    tooltip="Stop when KID, the distance from real images, has not improved for so many thousand "
                    "images, and return the best. 0: no such end.",
                ),
                io.Float.Input(
                    "gamma",
                    default=PRESETS_OWN,
                    min=PRESETS_OWN,
                    max=10_000.0,
                    step=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Weight of the penalties R1 and R2, at 64x64 pixels: higher is steadier, lower learns "
                    "faster. For presets and objectives that have them. -1: the preset's.",
                ),
                io.Float.Input(
                    "lecam",
                    default=PRESETS_OWN,
                    min=PRESETS_OWN,
                    max=1000.0,
                    step=0.0001,
                    optional=True,
                    advanced=True,
                    tooltip="Weight of LeCam, which holds the discriminator's answers together where images are few; "
                    "0.1 is a start. -1: the preset's.",
                ),
            ],
            outputs=[
                GENERATOR.Output(display_name="generator", tooltip="The trained generator (its averaged weights)."),
                LOSS_MAP.Output(display_name="loss_map", tooltip="The losses over time, for Plot Loss Graph."),
                io.Image.Output(display_name="samples", tooltip="64 images that the generator makes of fixed seeds."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, run_name=None) -> bool | str:
        return _run_refusal(run_name)

    @classmethod
    def fingerprint_inputs(cls, run_name=None, resume=False, **settings) -> str:
        """A run that is resumed has gone on since the last time, and the same prompt asks for more of it."""
        return saving.state_of_run(run_name) if resume and run_name else ""

    @classmethod
    @says_errors
    def execute(
        cls,
        dataset,
        preset,
        kimg,
        minutes,
        batch_size,
        learning_rate,
        objective,
        seed,
        run_name,
        resume,
        precision="auto",
        augment=OF_PRESET,
        on_trouble=ON_TROUBLE[0],
        patience_kimg=0.0,
        gamma=PRESETS_OWN,
        lecam=PRESETS_OWN,
    ) -> io.NodeOutput:
        folder = saving.run_folder(run_name)
        config = TrainConfig(
            folder,
            preset,
            kimg or None,
            minutes or None,
            batch_size or None,
            learning_rate or None,
            None if objective == OF_PRESET else objective,
            seed,
            resume,
            precision,
            title=run_name,
            augment=None if augment == OF_PRESET else augment,
            on_trouble=on_trouble,
            patience_kimg=patience_kimg or None,
            gamma=None if gamma < 0 else gamma,
            lecam=None if lecam < 0 else lecam,
        )
        shown = NodeProgress(cls.hidden.unique_id)
        with saving.own_run(run_name, resume) as owner, device.training(), shown.until_stopped(owner.folder):
            config = replace(config, folder=owner.folder)
            with closing(train(dataset, config, device.current(), owner=owner)) as steps:
                for progress in steps:
                    shown.training(progress)
                generator, samples = progress.generator, progress.samples()
        shown.ended(progress, owner.folder)
        return io.NodeOutput(
            generator,
            _loss_map(progress, "generator_loss"),
            device.to_intermediate(to_image(samples)),
            ui=ui.PreviewImage(previews.sheet(samples), cls=cls),
        )


class TrainVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainVAE",
            display_name="Train VAE",
            category=CATEGORY,
            description="Trains an encoder and a decoder on images, or tunes the decoder of a VAE that there is. Shows "
            "originals and, below each, what it makes of them. Stopping it loses nothing.",
            search_aliases=["train", "variational autoencoder", "TAESD", "autoencoder", "fine-tune VAE", "decoder"],
            is_output_node=True,
            inputs=[
                IMAGE_DATASET.Input(
                    "dataset", tooltip="What to learn from: Load GAN Image Folder, or Images to GAN Dataset."
                ),
                io.Combo.Input(
                    "preset",
                    options=list(VAE_PRESETS),
                    tooltip="conv_vae turns a picture into a few numbers and learns in minutes on a CPU. taesd_vae "
                    "makes small latents with height and width, in files that core's Load VAE opens (RGB only). "
                    "finetune_decoder tunes the decoder of the VAE at start, and leaves its latents as they are.",
                ),
                io.Float.Input(
                    "kimg",
                    default=1000.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=HUNDREDTHS,
                    tooltip="Stop when the run has been shown so many thousand images. 0: no such limit. "
                    "conv_vae needs a thousand, taesd_vae some thousands.",
                ),
                *_step_inputs(),
                io.Combo.Input(
                    "reconstruction",
                    options=[OF_PRESET, *LOSSES],
                    default=OF_PRESET,
                    tooltip="What makes a picture like the original: bernoulli for black and white (conv_vae only), "
                    "gaussian for squared differences, laplace for absolute ones, multiscale for those of the "
                    "picture, its half, quarter and eighth.",
                ),
                io.Float.Input(
                    "beta",
                    default=PRESETS_OWN,
                    min=PRESETS_OWN,
                    max=1000.0,
                    step=0.000001,
                    tooltip="Weight of the KL divergence: above 1 plainer pictures of a tidier latent space, below 1 "
                    "sharper ones. -1: the preset's.",
                ),
                io.Int.Input(
                    "latent_channels",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Numbers in a latent of conv_vae, channels of taesd_vae's. 0: the preset's, 16 and 4.",
                ),
                *_run_inputs(),
                io.Float.Input(
                    "adversarial_kimg",
                    default=PRESETS_OWN,
                    min=PRESETS_OWN,
                    max=1_000_000.0,
                    step=HUNDREDTHS,
                    optional=True,
                    advanced=True,
                    tooltip="After so many thousand images a discriminator judges the reconstructions too, which makes "
                    "them sharper; too early it ruins them. -1: the preset's.",
                ),
                io.Float.Input(
                    "free_bits",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Nats that each number of a latent may take for nothing: where too few of them say "
                    "anything, 0.1 brings them back.",
                ),
                GENERATOR.Input(
                    "start",
                    optional=True,
                    tooltip="For finetune_decoder: the VAE that is tuned, from VAE to Generator or Load Generator.",
                ),
            ],
            outputs=[
                GENERATOR.Output(display_name="generator", tooltip="The trained VAE (its averaged weights)."),
                LOSS_MAP.Output(display_name="loss_map", tooltip="The losses over time, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="reconstructions", tooltip="Images that it did not learn from, as it makes them anew."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, run_name=None) -> bool | str:
        return _run_refusal(run_name)

    @classmethod
    def fingerprint_inputs(cls, run_name=None, resume=False, **settings) -> str:
        """As Train GAN's."""
        return saving.state_of_run(run_name) if resume and run_name else ""

    @classmethod
    @says_errors
    def execute(
        cls,
        dataset,
        preset,
        kimg,
        minutes,
        batch_size,
        learning_rate,
        reconstruction,
        beta,
        latent_channels,
        seed,
        run_name,
        resume,
        precision="auto",
        adversarial_kimg=PRESETS_OWN,
        free_bits=0.0,
        start=None,
    ) -> io.NodeOutput:
        folder = saving.run_folder(run_name)
        config = TrainConfig(
            folder,
            preset,
            kimg or None,
            minutes or None,
            batch_size or None,
            learning_rate or None,
            seed=seed,
            resume=resume,
            precision=precision,
            title=run_name,
            reconstruction=None if reconstruction == OF_PRESET else reconstruction,
            beta=None if beta < 0 else beta,
            latent_channels=latent_channels or None,
            adversarial_kimg=None if adversarial_kimg < 0 else adversarial_kimg,
            free_bits=free_bits or None,
        )
        shown = NodeProgress(cls.hidden.unique_id)
        with saving.own_run(run_name, resume) as owner, device.training(), shown.until_stopped(owner.folder):
            config = replace(config, folder=owner.folder)
            with closing(train(dataset, config, device.current(), start, owner=owner)) as steps:
                for progress in steps:
                    shown.training(progress)
                generator, (pairs, in_a_row) = progress.generator, progress.preview()
        shown.ended(progress, owner.folder)
        return io.NodeOutput(
            generator,
            _loss_map(progress, "reconstruction"),
            device.to_intermediate(to_image(_second_rows(pairs, in_a_row))),
            ui=ui.PreviewImage(previews.sheet(pairs, in_a_row), cls=cls),
        )


def _second_rows(pairs: torch.Tensor, in_a_row: int | None) -> torch.Tensor:
    """Of rows of originals, each with one of reconstructions below it, the reconstructions."""
    assert in_a_row, "a VAE's preview says it"
    return torch.cat(pairs.split(in_a_row)[1::2])


def _loss_map(progress: Progress, loss: str) -> dict[str, list[float]]:
    """One value under the name that core's chart draws, and what else every record has beside it."""
    records = progress.history[:: 1 + len(progress.history) // CHART_POINTS]
    names = [loss, *(name for name in columns(records) if name != loss)]
    return {
        "loss" if name == loss else name: [record.values[name] for record in records]
        for name in names
        if all(name in record.values for record in records)
    }


NODES = [TrainGAN, TrainVAE]
