"""Claim: sixteen images through the node Decode cost at most 10 % more than through the bare network."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from . import comfyui
from .measure import Figures, interleaved, ratio, spread

BATCH, CALLS = 16, 10
TARGET = 1.10


def run(rounds: int, threads: int) -> Figures:
    """Times Generator.decode here, and the node in ComfyUI's own Python where there is one."""
    import gan_core

    figures: Figures = {"target": TARGET, "batch": BATCH, "rounds": rounds}
    seconds = compared(gan_core, lambda generator, latent: partial(generator.decode, latent), rounds, threads)
    figures["core"] = _told("Generator.decode", seconds)

    comfy = comfyui.find()
    if comfy is None:
        print(f"SKIPPED the node: there is no ComfyUI here. {comfyui.ABSENT}")
        return figures
    script = Path(__file__).with_name("inside_comfyui.py")
    command = [comfy.python, str(script), str(rounds), str(threads)]
    done = subprocess.run(command, cwd=comfy.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"SKIPPED the node: it did not run in ComfyUI's Python. The end of its log:\n{done.stderr[-2000:]}")
        return figures
    return {**figures, "node": _told("the node Decode", json.loads(done.stdout.splitlines()[-1]))}


def compared(
    gan_core: ModuleType, decoding: Callable[[Any, Any], Callable[[], object]], rounds: int, threads: int
) -> dict[str, list[float]]:
    """CPU seconds of decoding the same latents by the bare network and by another way.

    gan_core: inside ComfyUI it is a part of the pack, and has another name.
    decoding: generator, latent -> what is timed against the network.
    """
    torch.set_num_threads(threads)
    architecture = gan_core.architectures.by_name("dcgan")
    config = architecture.config(side=64, channels=3)
    module = architecture.generator(config).eval().requires_grad_(False)
    generator = gan_core.Generator(architecture, config, module)
    latent = gan_core.sample_noise(generator, range(BATCH))
    z = latent.samples.flatten(1)

    @torch.no_grad()
    def bare() -> torch.Tensor:
        return module(z)

    contenders = {"bare": bare, "decode": decoding(generator, latent)}
    interleaved(contenders, rounds=1, calls=CALLS)
    return interleaved(contenders, rounds, CALLS)


def _told(name: str, seconds: dict[str, list[float]]) -> Figures:
    """Prints and returns what was measured."""
    found = ratio(seconds["decode"], seconds["bare"])
    milliseconds = {way: [1000 * value for value in values] for way, values in seconds.items()}
    print(f"bare network      {spread(milliseconds['bare'])} CPU milliseconds for {BATCH} images")
    print(f"{name:18}{spread(milliseconds['decode'])}: {found:.3f} times the bare network's; the aim is {TARGET:.2f}")
    return {
        "bare_cpu_ms": round(statistics.median(milliseconds["bare"]), 2),
        "decode_cpu_ms": round(statistics.median(milliseconds["decode"]), 2),
        "ratio": round(found, 3),
    }
