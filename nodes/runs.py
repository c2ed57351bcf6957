"""GAN / train: what a run has left besides its generator."""

import numpy as np
import torch
from comfy_api.latest import io

from ..gan_core import InputError
from ..gan_core.training import film
from .host import runs
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .train import CATEGORY

MAX_FRAMES = 500
"""All that a film has."""


class LoadGANRunSheets(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadGANRunSheets",
            display_name="Load GAN Run Sheets",
            category=CATEGORY,
            description="Load the sheets of samples that a training has left as images, in their order: connect a node "
            "that saves an animation or a video, and watch it learn.",
            search_aliases=["training film", "training video", "time lapse", "progress animation", "load run"],
            inputs=[
                io.Combo.Input("run", options=runs.names(), tooltip="A run in output/gan/runs, the latest first."),
                io.Int.Input(
                    "frames",
                    default=120,
                    min=1,
                    max=MAX_FRAMES,
                    tooltip="Sheets at most, evenly spaced over the training. More of them need more memory.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The sheets, oldest first.")],
        )

    @classmethod
    def validate_inputs(cls, run=None) -> bool | str:
        return refusal(None if run is None else runs.not_there(run))

    @classmethod
    def fingerprint_inputs(cls, run=None, **inputs) -> str:
        return runs.state_of(run)

    @classmethod
    @says_errors
    def execute(cls, run, frames) -> io.NodeOutput:
        paths = runs.sheets_of(run)
        if not paths:
            raise InputError(f"{run} has no sheets of samples: it is older than films, or has just begun.")
        chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(frames, len(paths))).round().astype(int)]
        shown, images = NodeProgress(), list[np.ndarray]()
        for done, path in enumerate(chosen):
            shown.reading(done, len(chosen))
            sheet = film.opened(path)
            if images and sheet.size != images[0].shape[1::-1]:  # it was resumed with images of another size
                sheet = sheet.resize(images[0].shape[1::-1])
            images.append(np.asarray(sheet))
        return io.NodeOutput(torch.from_numpy(np.stack(images)).float() / 255)


NODES = [LoadGANRunSheets]
