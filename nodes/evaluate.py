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
            description="Measure how close generated images are to real ones: KID, coverage and density, recall and "
            "precision. Also shows possible memorisation.",
            is_output_node=True,
            search_aliases=["KID", "FID", "evaluate GAN", "precision recall", "coverage", "memorisation", "score"],
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator to measure, a GAN or a VAE. It is not changed."),
                IMAGE_DATASET.Input(
                    "dataset",
                    tooltip="Real images, in the size of the generator: its training images, or better held-out "
                    "images of the same kind.",
                ),
                io.Int.Input(
                    "count",
                    default=2000,
                    min=MIN_IMAGES,
                    max=MAX_IMAGES,
                    tooltip="Number of generated images, and maximum number of real ones. Compare only results of "
                    "the same count.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED + 1 - MAX_IMAGES,
                    # Results are compared, and therefore need the same images.
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the first image; the others use the seeds that follow.",
                ),
            ],
            outputs=[
                GENERATOR.Output(
                    display_name="generator",
                    tooltip="The same generator, with the metrics in its card: for Save Generator.",
                ),
                io.String.Output(display_name="report", tooltip="All metrics, and how they were measured."),
                io.Image.Output(
                    display_name="nearest",
                    tooltip="Above: generated images that are closest to a real one; below: these real images. If "
                    "they match, the generator has memorised them.",
                ),
                io.Float.Output(
                    display_name="kid", tooltip="Distance from the real images: lower is better, 0 is best."
                ),
                io.Float.Output(
                    display_name="coverage", tooltip="Fraction of real images with a generated neighbour; 1 is best."
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
            description="Measure the likelihood of images under a VAE: an upper bound on the negative "
            "log-likelihood, in nats per image and bits per dimension, and the number of active latent units.",
            is_output_node=True,
            search_aliases=["ELBO", "NLL", "evaluate VAE", "bits per dimension", "IWAE", "active units"],
            inputs=[
                GENERATOR.Input("generator", tooltip="A VAE. GANs have no likelihood."),
                IMAGE_DATASET.Input(
                    "dataset",
                    tooltip="Held-out images in its size. On training images the result is optimistic.",
                ),
                io.Combo.Input(
                    "likelihood",
                    options=list(LIKELIHOODS),
                    default=next(iter(LIKELIHOODS)),
                    tooltip="Likelihood of grey levels. bernoulli: probabilities of white pixels (conv_vae only); "
                    "gaussian and laplace: densities under such noise. Compare only results of the same one.",
                ),
                io.Int.Input(
                    "count", default=1000, min=1, max=MAX_IMAGES, tooltip="Number of images, chosen with the seed."
                ),
                io.Int.Input(
                    "samples",
                    default=0,
                    min=0,
                    max=5000,
                    tooltip="Samples per image for an importance-weighted (IWAE) estimate, which is closer than the "
                    "bound. Papers use 5000, which takes long. 0: only the bound.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Seed of the choice of images, and of the samples.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="All results as text."),
                io.Float.Output(
                    display_name="nats",
                    tooltip="Nats per image on average: the estimate, or without samples the bound.",
                ),
                io.Float.Output(display_name="bits_per_dimension", tooltip="The bound in bits per value of an image."),
                io.Int.Output(display_name="active_units", tooltip="Number of active latent dimensions."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator, dataset, likelihood, count, samples, seed) -> io.NodeOutput:
        shown = NodeProgress(cls.hidden.unique_id)
        chosen = np.sort(np.random.RandomState(seed).permutation(len(dataset))[:count])
        images = dataset.batch(chosen)
        shown.say(f"encoding {len(images):,} images")
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
