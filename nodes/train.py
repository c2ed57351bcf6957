"""GAN / train: from images to a generator."""

import math
from contextlib import closing

from comfy_api.latest import io, ui

from ..gan_core import Progress, TrainConfig, train
from ..gan_core.latents import LAST_SEED
from ..gan_core.objectives import OBJECTIVES
from ..gan_core.training import PRESETS
from . import host
from .types import GENERATOR, IMAGE_DATASET, LOSS_MAP, to_image

CATEGORY = f"{host.CATEGORY}/train"

OF_PRESET = "preset"
"""The objective that stands for the preset's own."""

CHART_POINTS = 1000
"""More points than this no chart shows."""


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
                IMAGE_DATASET.Input("dataset", tooltip="What to learn from: Load Image Folder, or Images to Dataset."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    tooltip="Network and recipe. dcgan is the all-round one, dcgan_small is much faster, digits learns "
                    "small grey signs in minutes on a CPU, dcgan_classic is the paper's of 2016.",
                ),
                io.Float.Input(
                    "kimg",
                    default=1000.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=10.0,
                    tooltip="Stop when the run has been shown so many thousand images. 0: no such limit. "
                    "Digits need 200, photographs some thousands.",
                ),
                io.Float.Input(
                    "minutes",
                    default=10.0,
                    min=0.0,
                    max=100_000.0,
                    step=1.0,
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
                    step=0.00001,
                    round=False,
                    tooltip="Adam's step size. 0: the preset's. Lower it where training becomes unstable.",
                ),
                io.Combo.Input(
                    "objective",
                    options=[OF_PRESET, *OBJECTIVES],
                    default=OF_PRESET,
                    tooltip="What the two networks play for: log is the loss of the first GAN paper, hinge goes with "
                    "spectral normalisation, relativistic with gradient penalties (steadier, and twice as slow).",
                ),
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
                    tooltip="Go on with the newest run of that name, if there is one, instead of starting anew.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", "fp32"],
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="auto computes in bfloat16 where the device is faster with it; fp32 in full precision.",
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
    def validate_inputs(cls, kimg=None, minutes=None, run_name=None) -> bool | str:
        if kimg == 0 and minutes == 0:
            return "Training needs an end: give a budget in kimg, in minutes, or both."
        if not all(0 <= budget < math.inf for budget in (kimg, minutes) if budget is not None):
            return "A budget is a number from 0 up, and 0 kimg or 0 minutes means no limit of that kind."
        return (run_name is not None and host.bad_run_name(run_name)) or True

    @classmethod
    def fingerprint_inputs(cls, run_name=None, resume=False, **settings) -> str:
        """A run that is resumed has gone on since the last time, and the same prompt asks for more of it."""
        return host.state_of_run(run_name) if resume and run_name else ""

    @classmethod
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
    ) -> io.NodeOutput:
        folder = host.run_folder(run_name, resume)
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
        )
        shown = host.NodeProgress(cls.hidden.unique_id)
        with host.training(), closing(train(dataset, config, host.device())) as steps:
            for progress in steps:
                shown.training(progress)
            generator, samples = progress.generator, progress.samples()
        shown.say(f"{progress}\nkept in {host.shown_path(folder)}")
        return io.NodeOutput(
            generator,
            _loss_map(progress),
            host.to_intermediate(to_image(samples)),
            ui=ui.PreviewImage(host.sheet(samples), cls=cls),
        )


def _loss_map(progress: Progress) -> dict[str, list[float]]:
    """The generator's loss under the name that core's chart draws, and the rest beside it."""
    records = progress.history[:: 1 + len(progress.history) // CHART_POINTS]
    return {
        "loss": [record.generator_loss for record in records],
        "discriminator_loss": [record.discriminator_loss for record in records],
        "real_score": [record.real_score for record in records],
        "fake_score": [record.fake_score for record in records],
    }


NODES = [TrainGAN]
