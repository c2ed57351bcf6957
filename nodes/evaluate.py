"""GAN / evaluate: how good a generator is."""

import numpy as np
import torch
from comfy_api.latest import io

from ..gan_core.latents import LAST_SEED
from ..gan_core.losses.reconstruction import LIKELIHOODS
from ..gan_core.metrics import measuring
from ..gan_core.metrics.likelihood import elbo, weighing
from ..gan_core.metrics.measure import MAX_IMAGES, MIN_IMAGES
from .host import device, previews
from .host.errors import says_errors
from .host.progress import NodeProgress
from .types import GENERATOR, IMAGE_DATASET

CATEGORY = "GAN/evaluate"


class MeasureGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MeasureGenerator",
            display_name="Measure Generator",
            category=CATEGORY,
            description="Says in figures how near a generator's pictures come to real ones: KID, coverage and density, "
            "recall and precision. And shows whether it has learned some by heart.",
            is_output_node=True,
            search_aliases=["KID", "FID", "evaluate GAN", "precision recall", "coverage", "memorisation", "score"],
            inputs=[
                GENERATOR.Input("generator", tooltip="What to measure: a GAN or a VAE. It is not changed."),
                IMAGE_DATASET.Input(
                    "dataset",
                    tooltip="The real images, in the generator's size. Of the kind that it learned from, or better: "
                    "some that it never saw.",
                ),
                io.Int.Input(
                    "count",
                    default=2000,
                    min=MIN_IMAGES,
                    max=MAX_IMAGES,
                    tooltip="How many images it makes, and how many real ones are taken at most. Compare figures of "
                    "the same count.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED + 1 - MAX_IMAGES,
                    # Figures are compared, and for that have to be of the same pictures.
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Of the first image; the others have the seeds that follow.",
                ),
            ],
            outputs=[
                GENERATOR.Output(
                    display_name="generator", tooltip="The same, with the figures in its card: for Save Generator."
                ),
                io.String.Output(display_name="report", tooltip="All figures, and what they were measured with."),
                io.Image.Output(
                    display_name="nearest",
                    tooltip="Above, those of its pictures that come nearest to a real one; below, the real ones. Are "
                    "they the same, it has learned them by heart.",
                ),
                io.Float.Output(
                    display_name="kid", tooltip="Distance from the real images: the lower the better, 0 at best."
                ),
                io.Float.Output(
                    display_name="coverage", tooltip="Share of the real images that it makes something like, to 1."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, dataset, count, seed) -> io.NodeOutput:
        shown = NodeProgress(cls.hidden.unique_id)
        with device.on_device(generator):
            for step in measuring(generator, dataset, count, seed, device.current()):
                shown.measuring(step)
        assert step.report and step.nearest, "the last step has them"
        panel = device.to_intermediate(previews.sheet(torch.cat(step.nearest), columns=len(step.nearest[0])))
        report = step.report
        text = str(report)
        return io.NodeOutput(
            report.on(generator), text, panel, report.kid, report.coverage, ui={"text": text.splitlines()}
        )


class MeasureVAELikelihood(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MeasureVAELikelihood",
            display_name="Measure VAE Likelihood",
            category=CATEGORY,
            description="Says how likely a VAE finds images: a bound on their negative log-likelihood, in nats of an "
            "image and in bits of a value, and how many numbers of its latent say anything.",
            is_output_node=True,
            search_aliases=["ELBO", "NLL", "evaluate VAE", "bits per dimension", "IWAE", "active units"],
            inputs=[
                GENERATOR.Input("generator", tooltip="A VAE: only one can tell."),
                IMAGE_DATASET.Input(
                    "dataset",
                    tooltip="Images in its size, that it has not learned from: of those it knows, the figure is too "
                    "good.",
                ),
                io.Combo.Input(
                    "likelihood",
                    options=list(LIKELIHOODS),
                    default=next(iter(LIKELIHOODS)),
                    tooltip="How grey levels are counted: bernoulli as odds of black and white (conv_vae only), "
                    "gaussian and laplace as densities with that noise. Compare figures of the same one.",
                ),
                io.Int.Input(
                    "count", default=1000, min=1, max=MAX_IMAGES, tooltip="How many of the images, drawn by the seed."
                ),
                io.Int.Input(
                    "samples",
                    default=0,
                    min=0,
                    max=5000,
                    tooltip="Draws for each image of an importance-weighted estimate, which comes nearer to the truth "
                    "than the bound: papers take 5000, which takes long. 0: the bound alone.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Which images, and what is drawn for them.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="All figures in words."),
                io.Float.Output(
                    display_name="nats", tooltip="Of an image, on average: the estimate, or without samples the bound."
                ),
                io.Float.Output(
                    display_name="bits_per_dimension", tooltip="The bound for one value of an image, in bits."
                ),
                io.Int.Output(
                    display_name="active_units", tooltip="Numbers of the latent that say something of the images."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, dataset, likelihood, count, samples, seed) -> io.NodeOutput:
        shown = NodeProgress(cls.hidden.unique_id)
        chosen = np.sort(np.random.RandomState(seed).permutation(len(dataset))[:count])
        images = dataset.batch(chosen)
        shown.say(f"looking at {len(images):,} images")
        with device.on_device(generator):
            bound = elbo(generator, images, likelihood, seed)
            scale = None if LIKELIHOODS[likelihood].binary else bound.scale
            estimates = []
            for part in weighing(generator, images, samples, likelihood, seed, scale) if samples else ():
                estimates.append(part)
                shown.reading(sum(map(len, estimates)), len(images), "images weighed")
        text = str(bound)
        nats = bound.nats
        if estimates:
            nats = float(torch.cat(estimates).mean())
            text += f"\n{nats:.2f} nats importance-weighted, {samples} samples"
        text += f"\n{len(images):,} images of {dataset.name}, {likelihood}"
        shown.say(text)
        return io.NodeOutput(text, nats, bound.bits_per_dimension, bound.active_units, ui={"text": text.splitlines()})


NODES = [MeasureGenerator, MeasureVAELikelihood]
