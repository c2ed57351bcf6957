"""GAN / evaluate: how good a generator is."""

import contextlib

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..gan_core import InputError, sample_noise
from ..gan_core.latents import LAST_SEED
from ..gan_core.losses.reconstruction import LIKELIHOODS
from ..gan_core.metrics import Report, compare, measuring
from ..gan_core.metrics.likelihood import elbo, weighing
from ..gan_core.metrics.measure import MAX_IMAGES, MIN_IMAGES
from ..gan_core.sampling.seeds import parse_seeds
from .host import device, previews
from .host.errors import says_errors
from .host.progress import NodeProgress, decoded
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


MAX_SEEDS = 32
"""Rows of a comparison."""


def _columns() -> list[io.Input]:
    """The generators that are compared."""
    return [
        GENERATOR.Input(
            "generator_1",
            tooltip="Generator of column 1. They may differ in network and size.",
        ),
        GENERATOR.Input(
            "generator_2",
            tooltip="Generator of column 2. They may differ in network and size.",
        ),
        GENERATOR.Input(
            "generator_3",
            optional=True,
            tooltip="Generator of column 3. They may differ in network and size.",
        ),
        GENERATOR.Input(
            "generator_4",
            optional=True,
            tooltip="Generator of column 4. They may differ in network and size.",
        ),
        GENERATOR.Input(
            "generator_5",
            optional=True,
            tooltip="Generator of column 5. They may differ in network and size.",
        ),
        GENERATOR.Input(
            "generator_6",
            optional=True,
            tooltip="Generator of column 6. They may differ in network and size.",
        ),
    ]


class CompareGenerators(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CompareGenerators",
            display_name="Compare Generators",
            category=CATEGORY,
            description="Show two to six generators side by side: a column for each, a row for each seed, and with a "
            "data set KID and coverage with their errors.",
            is_output_node=True,
            search_aliases=["compare GANs", "side by side", "which generator is better", "KID table", "XY plot"],
            inputs=[
                *_columns(),
                io.String.Input("seeds", default="0-7", tooltip="Seeds of the rows, such as 3, 17, 40-45."),
                IMAGE_DATASET.Input(
                    "dataset",
                    optional=True,
                    tooltip="Real images to measure all of them against, best held-out ones. Without: no figures.",
                ),
                io.Int.Input(
                    "count",
                    default=2000,
                    min=MIN_IMAGES,
                    max=MAX_IMAGES,
                    optional=True,
                    advanced=True,
                    tooltip="Number of images generated by each, and maximum number of real ones, for the figures.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="All images on one sheet, with titles above."),
                io.String.Output(display_name="table", tooltip="The generators and figures as a Markdown table."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @says_errors
    def execute(cls, generator_1, generator_2, seeds, dataset=None, count=2000, **further) -> io.NodeOutput:
        generators = [generator_1, generator_2, *(further[name] for name in sorted(further) if further[name])]
        rows = parse_seeds(seeds)
        if len(rows) > MAX_SEEDS:
            raise InputError(f"A comparison must have at most {MAX_SEEDS} seeds (got {len(rows)}).")
        shown = NodeProgress(cls.hidden.unique_id)
        images = []
        for generator in generators:
            with device.on_device(generator):
                images.append(decoded(generator, sample_noise(generator, rows)))
        sheet = device.to_intermediate(previews.as_image(compare.sheet(images, generators, rows)))
        reports: tuple[Report | None, ...] = ()
        if dataset is not None:
            with contextlib.ExitStack() as lent:
                for generator in generators:
                    lent.enter_context(device.on_device(generator))
                for step in compare.comparing(generators, dataset, count, device.current()):
                    shown.comparing(step)
                reports = step.reports
        table = compare.as_markdown(generators, reports)
        shown.say("\n".join(compare.in_words(generators, reports)))
        return io.NodeOutput(sheet, table, ui=ui.PreviewImage(sheet, cls=cls))


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


NODES = [MeasureGenerator, CompareGenerators, MeasureVAELikelihood]
