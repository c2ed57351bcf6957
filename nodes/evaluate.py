"""GAN / evaluate: how good a generator is."""

import torch
from comfy_api.latest import io

from ..gan_core.latents import LAST_SEED
from ..gan_core.metrics import measuring
from ..gan_core.metrics.measure import FEWEST_IMAGES, MOST_IMAGES
from . import host
from .types import GENERATOR, IMAGE_DATASET

CATEGORY = f"{host.CATEGORY}/evaluate"


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
                    min=FEWEST_IMAGES,
                    max=MOST_IMAGES,
                    tooltip="How many images it makes, and how many real ones are taken at most. Compare figures of "
                    "the same count.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LAST_SEED + 1 - MOST_IMAGES,
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
    def execute(cls, generator, dataset, count, seed) -> io.NodeOutput:
        shown = host.NodeProgress(cls.hidden.unique_id)
        with host.on_device(generator):
            for step in measuring(generator, dataset, count, seed, host.device()):
                shown.measuring(step)
        panel = host.to_intermediate(host.sheet(torch.cat(step.nearest), columns=len(step.nearest[0])))
        report = step.report
        text = str(report)
        return io.NodeOutput(
            report.on(generator), text, panel, report.kid, report.coverage, ui={"text": text.splitlines()}
        )


NODES = [MeasureGenerator]
