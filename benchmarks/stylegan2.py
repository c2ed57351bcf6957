"""Claim: StyleGAN2 makes images on a CPU at least as fast as NVIDIA's own code does, from the same weights."""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_core.architectures import stylegan2
from gan_core.foreign.layouts import nvidia_stylegan2

from .measure import Figures, interleaved, ratio, spread

NETWORKS = {256: 16384, 512: 32768}
"""Side, and what NVIDIA's presets call channel_base: those for faces at 256 and 512 pixels."""

BATCHES = (1, 4)
TARGET = 1.5
TOLERANCE = 1e-4
"""Of a pixel: what our images may differ by from the reference's."""


def run(rounds: int, threads: int, reference: Path | None) -> Figures:
    """Times the synthesis network, in float32, on random weights.

    reference: a clone of NVlabs/stylegan2-ada-pytorch; without one, our own times are all there is.
    """
    torch.set_num_threads(threads)
    if reference is None:
        print("SKIPPED the comparison: give --reference, the folder of a clone of NVlabs/stylegan2-ada-pytorch.")
    figures: Figures = {"target": TARGET, "rounds": rounds, "compared": reference is not None}
    with torch.inference_mode(), _references(reference) as make:
        for side, base in NETWORKS.items():
            theirs = make(side, base) if make else None
            ours = _ours(side, base, theirs)
            for batch in BATCHES:
                figures[f"{side}x{batch}"] = _measured(ours, theirs, side, batch, rounds)
    return figures


def _measured(ours: Any, theirs: Any, side: int, batch: int, rounds: int) -> Figures:
    styles = torch.randn(batch, ours.num_ws, 512, generator=torch.Generator().manual_seed(0))
    contenders: dict[str, Callable[[], Tensor]] = {"ours": lambda: ours.synthesis(styles)}
    figures: Figures = {}
    if theirs is not None:
        contenders["reference"] = lambda: theirs.synthesis(styles, noise_mode="const", force_fp32=True)
        difference = (contenders["ours"]() - contenders["reference"]()).abs().max().item()
        assert difference < TOLERANCE, f"the images differ by {difference}"
        figures["difference"] = difference
    interleaved(contenders, rounds=1, calls=1)
    seconds = interleaved(contenders, rounds, calls=1)
    print(f"{side}x{side}, {batch} at a time: ours {spread(seconds['ours'])} CPU s", end="")
    figures["ours_cpu_s"] = round(statistics.median(seconds["ours"]), 4)
    if theirs is not None:
        figures["reference_cpu_s"] = round(statistics.median(seconds["reference"]), 4)
        figures["ratio"] = round(ratio(seconds["reference"], seconds["ours"]), 3)
        print(
            f", reference {spread(seconds['reference'])}: {figures['ratio']} times as fast; the aim is {TARGET}", end=""
        )
    print(flush=True)
    return figures


def _ours(side: int, base: int, theirs: Any) -> Any:
    """Our network, with the weights of theirs where there is one."""
    torch.manual_seed(0)
    config = stylegan2.StyleGAN2Config(side, 3, stylegan2.widths(side, base))
    network = stylegan2.StyleGAN2Generator(config).eval().requires_grad_(False)
    if theirs is not None:
        network.load_state_dict(nvidia_stylegan2.LAYOUT.convert(theirs.state_dict()))
    return network


@contextlib.contextmanager
def _references(folder: Path | None) -> Any:
    """Gives what makes a network of NVIDIA's, from the person's own copy of their code."""
    if folder is None:
        yield None
        return
    sys.path.insert(0, str(folder))
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from training.networks import Generator  # type: ignore[import-not-found]

        def make(side: int, base: int) -> Any:
            torch.manual_seed(0)
            settings = {"channel_base": base, "channel_max": 512, "conv_clamp": 256, "num_fp16_res": 0}
            mapping = {"num_layers": 8}
            network = Generator(512, 0, 512, side, 3, mapping_kwargs=mapping, synthesis_kwargs=settings)
            return network.eval().requires_grad_(False)

        yield make
    sys.path.remove(str(folder))
