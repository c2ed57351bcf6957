"""Claim: a training step keeps a GPU busy, and CUDA graphs are why.

Each case is a preset at one size. Its steps are timed without a profiler, then a few more are taken under one, which
says what the kernels of a step are and how long they take. What belongs to a run besides its steps (looking at samples,
KID, checkpoints) is left out; costs.py says what that takes.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from gan_core import ImageDataset, TrainConfig
from gan_core.training.graphs import EAGER_STEPS
from gan_core.training.methods.adversarial import PATH_LENGTH_EVERY
from gan_core.training.run import Run
from gan_core.training.settings import AdversarialRecipe, Recipe

from .measure import Figures

IMAGES = 2000
"""Images in the data set of each size."""

PROFILED_STEPS = 12
"""Minimum number of steps under the profiler; the number taken is of whole cycles."""

MIN_WARM_UP = 8
"""Minimum number of steps before the clock starts: kernels are chosen, memory is taken and graphs are captured."""

TRIAL_STEPS = 4
"""Minimum number of steps from whose speed it follows how many fill the seconds."""

SLOWEST = 8
"""Kernels named in the JSON, those with the largest share of a step's time."""


@dataclass(frozen=True)
class Case:
    """A preset at one size."""

    preset: str
    side: int
    channels: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the preset."""


CASES = {
    "dcgan_classic": Case("dcgan_classic", 64, settings={"batch_size": 64}),
    "few": Case("few", 64),
    "digits": Case("digits", 28, channels=1),
    "r3gan_small": Case("r3gan_small", 64),
    "stylegan2_small": Case("stylegan2_small", 64),
    "conv_vae_28": Case("conv_vae", 28, channels=1),
    "conv_vae_64": Case("conv_vae", 64),
    "r3gan": Case("r3gan", 64),
    "r3gan_large": Case("r3gan_large", 32, settings={"batch_size": 64}),
    "stylegan2_64": Case("stylegan2", 64),
    "stylegan2_256": Case("stylegan2", 256),
    "fastgan": Case("fastgan", 256),
    "taesd_vae": Case("taesd_vae", 256),
}
"""What is measured, by the names that --only takes."""


def run(only: Sequence[str], seconds: float, device: str) -> Figures:
    """only: names of cases; none for all. seconds: of timed steps in each mode."""
    if device == "cuda" and not torch.cuda.is_available():
        print("SKIPPED: there is no GPU that this torch can use.")
        return {"skipped": "no GPU"}
    place = torch.device(device)
    figures: Figures = {"device": _name(place)}
    if place.type == "cuda":
        figures |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        prepare_profiler()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("gan_core").setLevel(logging.INFO)  # which says why steps could not be captured
    print(f"{_name(place)}, torch {torch.__version__}, {seconds:g} s of steps each")
    for name in only or CASES:
        found: dict[str, Figures] = {}
        for mode in ("eager", "graphed") if place.type == "cuda" else ("eager",):
            try:
                found[mode] = measured(CASES[name], mode == "eager", seconds, place)
            except Exception as error:  # noqa: BLE001 # the other cases are still worth having
                found[mode] = {"failed": f"{type(error).__name__}: {_first_line(error)}"}
            _free(place)
            print(f"{name:16}{mode:8}{_in_words(found[mode])}", flush=True)
        figures[name] = found
    return figures


def prepare_profiler() -> None:
    """Starts what the profiler of CUDA needs. It has to be there before a graph is captured, and stay, for the graph's
    kernels to be seen."""
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    with profile(activities=[ProfilerActivity.CUDA]):
        pass


def measured(case: Case, eager: bool, seconds: float, device: torch.device) -> Figures:
    """The figures of one case. eager: whether without CUDA graphs. seconds: of timed steps."""
    with tempfile.TemporaryDirectory() as folder:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        began = time.perf_counter()
        config = TrainConfig(Path(folder, "run"), case.preset, kimg=1e6, eager=eager, settings=case.settings)
        steps = Steps(Run(images(case.side, case.channels), config, device))
        cycle = cycle_of(steps.run.recipe)
        # A kind of step that comes once a cycle is captured in the first cycle after its eager steps.
        steps.take(max(MIN_WARM_UP, cycle if eager else (EAGER_STEPS + 1) * cycle))
        started = time.perf_counter() - began
        trial = cycle * math.ceil(TRIAL_STEPS / cycle)
        count = cycle * math.ceil(seconds * trial / steps.take(trial) / cycle)
        step = steps.take(count) / count
        found: dict[str, Any] = {
            "side": case.side,
            "batch": steps.run.recipe.batch_size,
            "parameters": sum(_parameters(network.module) for network in steps.run.method.networks.values()),
            "images_per_second": round(steps.run.images_per_step / step, 1),
            "ms": round(1e3 * step, 3),
            "steps": count,
            "start_s": round(started, 2),
        }
        if device.type == "cuda":
            found |= _memory(device) | _kernels(steps, cycle * math.ceil(PROFILED_STEPS / cycle))
            found["busy"] = round(found["kernel_ms"] / found["ms"], 3)
        return found


class Steps:
    """A run's training steps alone, with the losses that it reads every few of them."""

    def __init__(self, run: Run):
        self.run = run

    def take(self, count: int) -> float:
        """Takes this many steps and waits till the device has done them. Returns seconds."""
        began = time.perf_counter()
        for _ in range(count):
            self.run.step()
            if self.run.record_is_due:
                self.run.record({})
        if self.run.device.type == "cuda":
            torch.cuda.synchronize(self.run.device)
        return time.perf_counter() - began


def cycle_of(recipe: Recipe) -> int:
    """Steps after which all that is done only now and then has been done once."""
    if not isinstance(recipe, AdversarialRecipe):
        return 1
    penalty = recipe.penalty_every if recipe.gradient_penalty != "none" else 1
    return math.lcm(penalty, PATH_LENGTH_EVERY if recipe.path_length else 1)


@cache
def images(side: int, channels: int) -> ImageDataset:
    """IMAGES images of smooth spots in all colours, the same at each call."""
    random = np.random.default_rng(0)
    pixels = np.empty((IMAGES, side, side, channels), np.uint8)
    for part in np.array_split(pixels, IMAGES // 100):
        coarse = torch.from_numpy(random.standard_normal((len(part), channels, 6, 6), dtype=np.float32))
        smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").sigmoid()
        part[:] = (smooth * 255).round().permute(0, 2, 3, 1).numpy()
    return ImageDataset.from_images(pixels, channels="grey" if channels == 1 else "RGB", name="spots")


@dataclass(frozen=True)
class Span:
    """What the GPU was given to do at one time."""

    name: str
    start: int
    end: int
    """In nanoseconds."""


def busy_time(spans: Iterable[Span]) -> int:
    """Nanoseconds in which at least one of the spans lasts: kernels may run side by side."""
    total = until = 0
    for span in sorted(spans, key=lambda span: span.start):
        total += max(0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def _kernels(steps: Steps, count: int) -> Figures:
    """Takes this many steps under the profiler. Returns a step's kernels, their time, and its launches of graphs."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        steps.take(count)
    kernels: list[Span] = []
    graphs = 0
    # The profiler's own list of events takes twenty seconds for those of a few steps of StyleGAN2.
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    for event in profiler.profiler.kineto_results.events():
        name = event.name()
        if event.device_type() != torch.autograd.DeviceType.CUDA:
            graphs += name == "cudaGraphLaunch"
        elif not event.is_user_annotation() and not name.startswith(("Memcpy", "Memset")):
            kernels.append(Span(name, event.start_ns(), event.start_ns() + event.duration_ns()))
    spent: dict[str, int] = {}
    for kernel in kernels:
        spent[kernel.name] = spent.get(kernel.name, 0) + kernel.end - kernel.start
    slowest = sorted(spent, key=lambda name: -spent[name])[:SLOWEST]
    return {
        "kernels": round(len(kernels) / count, 1),
        "kernel_ms": _milliseconds(busy_time(kernels) / count),
        "graph_launches": round(graphs / count, 2),
        "slowest": [{"kernel": name[:120], "ms": _milliseconds(spent[name] / count)} for name in slowest],
    }


def _memory(device: torch.device) -> Figures:
    return {
        "peak_mb": round(torch.cuda.max_memory_allocated(device) / 1e6),
        "reserved_mb": round(torch.cuda.max_memory_reserved(device) / 1e6),
    }


def _free(device: torch.device) -> None:
    """Frees what a run has left, so that the next one's memory is its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _in_words(found: Figures) -> str:
    if "failed" in found:
        return f"FAILED: {found['failed']}"
    text = f"{found['images_per_second']:9,.0f} images/s {found['ms']:8.2f} ms a step"
    if "busy" in found:
        text += (
            f"{found['kernels']:8,.0f} kernels {found['kernel_ms']:8.2f} ms of them, busy {found['busy']:4.0%}, "
            f"{found['graph_launches']:g} graphs, peak {found['peak_mb']:,} MB, reserved {found['reserved_mb']:,} MB"
        )
    return text


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _milliseconds(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 3)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
