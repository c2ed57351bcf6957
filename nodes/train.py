"""GAN / train: from images to a generator or a VAE."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..gan_core import Generator, ImageDataset, TrainConfig, Training, train
from ..gan_core.latents import LAST_SEED
from ..gan_core.training.config import ON_TROUBLE
from ..gan_core.training.history import columns
from ..gan_core.training.presets import AUTO, GAN_PRESETS, VAE_PRESETS
from ..gan_core.training.settings import settings_of
from .host import device, graphs, previews, saving
from .host.errors import refusal, says_errors
from .host.live import LiveRun
from .host.progress import NodeProgress
from .optional import OptionalFloat
from .types import GAN_SETTINGS, GENERATOR, IMAGE_DATASET, LOSS_MAP, VAE_SETTINGS, to_image

CATEGORY = "GAN/train"

SETTINGS = settings_of(TrainConfig)

KIMG = OptionalFloat("kimg", "no limit", SETTINGS["kimg"].minimum, SETTINGS["kimg"].maximum)
MINUTES = OptionalFloat("minutes", "no limit", SETTINGS["minutes"].minimum, SETTINGS["minutes"].maximum)

DEFAULT_MINUTES = "10"

RUN_NAME_WIDGET = "GAN_RUN_NAME"
"""The page's widget for a string that offers the names of runs (web/js/run_name.js)."""

NO_WORKFLOW = "00000000-0000-0000-0000-000000000000"
"""Id of a graph that the page has given none of its own yet."""

MAX_CHART_POINTS = 1000
"""No chart shows more points than this."""


def _run_inputs() -> list[io.Input]:
    """How long a run lasts, where it is kept and how it begins, for both nodes."""
    return [
        MINUTES.input(tooltip=SETTINGS["minutes"].help, default=DEFAULT_MINUTES, optional=False),
        KIMG.input(tooltip=SETTINGS["kimg"].help, optional=False),
        io.String.Input(
            "run_name",
            default="my_generator",
            tooltip="The folder in output/gan/runs where the run is kept: a new name, or that of a run to resume. A "
            "new run of a taken name gets a number.",
            extra_dict={"widgetType": RUN_NAME_WIDGET},
        ),
        io.Boolean.Input("resume", default=False, tooltip=SETTINGS["resume"].help),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LAST_SEED,
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip=SETTINGS["seed"].help,
        ),
    ]


class TrainGAN(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainGAN",
            display_name="Train GAN",
            category=CATEGORY,
            description="Train a generator on images, and show its samples on the node while it learns. Stop at any "
            "time without losing progress: the run is kept in output/gan/runs, and resume continues it.",
            search_aliases=["train", "learn", "DCGAN", "generative adversarial network", "fit", "train model"],
            is_output_node=True,
            inputs=[
                IMAGE_DATASET.Input(
                    "dataset", tooltip="Images to learn from: Load GAN Image Folder, or Images to GAN Dataset."
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTO, *GAN_PRESETS],
                    default=AUTO,
                    tooltip="Network and recipe. auto inspects the images, chooses one and says why; dcgan is the "
                    "all-round one, dcgan_small much faster, digits for small greyscale glyphs on a CPU, few and "
                    "fastgan for a few hundred images, stylegan2 and r3gan for the best images on a GPU.",
                ),
                *_run_inputs(),
                io.Combo.Input(
                    "on_trouble",
                    options=list(ON_TROUBLE),
                    default=ON_TROUBLE[0],
                    optional=True,
                    tooltip=SETTINGS["on_trouble"].help,
                ),
                GAN_SETTINGS.Input("settings", optional=True, tooltip="What differs from the preset: GAN Settings."),
            ],
            outputs=[
                GENERATOR.Output(display_name="generator", tooltip="The trained generator (EMA of its weights)."),
                LOSS_MAP.Output(display_name="loss_map", tooltip="The losses over time, for Plot Loss Graph."),
                io.Image.Output(display_name="samples", tooltip="64 generated images of fixed seeds."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, run_name=None) -> bool | str:
        return _run_refusal(run_name)

    @classmethod
    def fingerprint_inputs(cls, run_name=None, resume=False, **inputs) -> str:
        return _state_of_run(run_name, resume)

    @classmethod
    @says_errors
    def execute(
        cls,
        dataset,
        preset,
        minutes,
        kimg,
        run_name,
        resume,
        seed,
        on_trouble=ON_TROUBLE[0],
        settings=None,
    ) -> io.NodeOutput:
        config = _config(preset, minutes, kimg, run_name, resume, seed, settings, on_trouble=on_trouble)
        generator, loss_map, samples, _, run = _trained(cls, dataset, config, "generator_loss")
        return io.NodeOutput(
            generator,
            loss_map,
            device.to_intermediate(to_image(samples)),
            ui=_shown(cls, previews.sheet(samples), run),
        )


class TrainVAE(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainVAE",
            display_name="Train VAE",
            category=CATEGORY,
            description="Train an encoder and a decoder on images, or fine-tune the decoder of an existing VAE. "
            "Show originals and, below each, its reconstruction. Stop at any time without losing progress.",
            search_aliases=["train", "variational autoencoder", "TAESD", "autoencoder", "fine-tune VAE", "decoder"],
            is_output_node=True,
            inputs=[
                IMAGE_DATASET.Input(
                    "dataset", tooltip="Images to learn from: Load GAN Image Folder, or Images to GAN Dataset."
                ),
                io.Combo.Input(
                    "preset",
                    options=list(VAE_PRESETS),
                    tooltip="conv_vae encodes an image as a short vector and learns in minutes on a CPU. taesd_vae has "
                    "small latents with height and width, in files that core's Load VAE opens (RGB only). "
                    "finetune_decoder fine-tunes the decoder of the VAE at start; its latents stay the same.",
                ),
                *_run_inputs(),
                VAE_SETTINGS.Input("settings", optional=True, tooltip="What differs from the preset: VAE Settings."),
                GENERATOR.Input(
                    "start",
                    optional=True,
                    tooltip="For finetune_decoder: the VAE to fine-tune, from VAE to Generator or Load Generator.",
                ),
            ],
            outputs=[
                GENERATOR.Output(display_name="generator", tooltip="The trained VAE (EMA of its weights)."),
                LOSS_MAP.Output(display_name="loss_map", tooltip="The losses over time, for Plot Loss Graph."),
                io.Image.Output(display_name="reconstructions", tooltip="Reconstructions of held-out images."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, run_name=None) -> bool | str:
        return _run_refusal(run_name)

    @classmethod
    def fingerprint_inputs(cls, run_name=None, resume=False, **inputs) -> str:
        return _state_of_run(run_name, resume)

    @classmethod
    @says_errors
    def execute(
        cls, dataset, preset, minutes, kimg, run_name, resume, seed, settings=None, start=None
    ) -> io.NodeOutput:
        config = _config(preset, minutes, kimg, run_name, resume, seed, settings)
        trained = _trained(cls, dataset, config, "reconstruction", start)
        generator, loss_map, pairs, in_a_row, run = trained
        assert in_a_row is not None
        return io.NodeOutput(
            generator,
            loss_map,
            device.to_intermediate(to_image(_second_rows(pairs, in_a_row))),
            ui=_shown(cls, previews.sheet(pairs, in_a_row), run),
        )


def _run_refusal(run_name: str | None) -> bool | str:
    """The answer of validate_inputs: a name that cannot be is said before it is queued. From a link it is None."""
    return refusal(None if run_name is None else saving.bad_run_name(run_name))


def _state_of_run(run_name: str | None, resume: bool) -> str:
    """The fingerprint: a run that is resumed has gone on since the last time, and the same prompt asks for more."""
    return saving.state_of_run(run_name) if resume and run_name else ""


def _config(
    preset: str,
    minutes: Any,
    kimg: Any,
    run_name: str,
    resume: bool,
    seed: int,
    settings: Mapping[str, Any] | None,
    **more: Any,
) -> TrainConfig:
    return TrainConfig(
        saving.run_folder(run_name),
        preset,
        KIMG.read(kimg),
        MINUTES.read(minutes),
        seed,
        resume,
        run_name,
        settings=settings or {},
        **more,
    )


def _trained(
    node: type[io.ComfyNode], dataset: ImageDataset, config: TrainConfig, loss: str, start: Generator | None = None
) -> tuple[Generator, dict[str, list[float]], torch.Tensor, int | None, str]:
    """Trains to the end of the budget, and shows on the node how far it is.

    loss: the value that core's chart draws. Returns the generator, its losses, the last preview, how many images of
    that stand in a row, and the name of the run.
    """
    config.check()
    shown = NodeProgress(node.hidden.unique_id)
    with saving.own_run(str(config.title), config.resume) as owner, device.training():
        training = train(dataset, replace(config, folder=owner.folder), device.current(), start, owner=owner)
        live = LiveRun(training, owner.folder, node.hidden.unique_id, _workflow_id(node.hidden.extra_pnginfo))
        with live.shown(), shown.until_stopped(owner.folder), training:
            for steps, progress in enumerate(training):
                if steps == 1:  # not before: a run that learns nothing leaves nothing
                    graphs.keep(owner.folder, _workflow(node.hidden.extra_pnginfo), node.hidden.prompt)
                shown.training(live, progress)
            results = training.generator, _loss_map(training, loss), *training.preview()
    shown.ended(training, progress, owner.folder)
    return *results, owner.folder.name


def _shown(node: type[io.ComfyNode], sheet: torch.Tensor, run: str) -> dict[str, Any]:
    """What the page shows of a node that has trained, also where the result is from its cache: a sheet, and the panel
    of the run."""
    return {**ui.PreviewImage(sheet, cls=node).as_dict(), "gan_studio_run": [run]}


def _workflow_id(extra_pnginfo: Any) -> str | None:
    """Id of the workflow of a prompt that a page has queued; None of another prompt."""
    workflow = _workflow(extra_pnginfo)
    found = workflow.get("id") if workflow else None
    return found if isinstance(found, str) and found != NO_WORKFLOW else None


def _workflow(extra_pnginfo: Any) -> dict[str, Any] | None:
    """The workflow that a page has sent with a prompt; None of another prompt."""
    workflow = extra_pnginfo.get("workflow") if isinstance(extra_pnginfo, dict) else None
    return workflow if isinstance(workflow, dict) else None


def _second_rows(pairs: torch.Tensor, in_a_row: int) -> torch.Tensor:
    """The reconstructions, of rows of originals each with one of reconstructions below it."""
    return torch.cat(pairs.split(in_a_row)[1::2])


def _loss_map(training: Training, loss: str) -> dict[str, list[float]]:
    """One value under the name that core's chart draws, and what else every record has beside it."""
    records = training.history[:: 1 + len(training.history) // MAX_CHART_POINTS]
    names = [loss, *(name for name in columns(records) if name != loss)]
    return {
        "loss" if name == loss else name: [record.values[name] for record in records]
        for name in names
        if all(name in record.values for record in records)
    }


NODES = [TrainGAN, TrainVAE]
