"""`python -m benchmarks.peers.nvidia JOB`: the training loops of stylegan2-ada-pytorch and, grown from it, of R3GAN.

Both are run as they stand, on a clone of their repository. They wait for their turn where they ask for the first image
of a batch; the images with which they begin are left out. On the CPU they use their operations' plain form; on a GPU
their plug-ins, which are compiled first (a minute, with nvcc and ninja).
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import cpp_extension
from torch.utils.data import Sampler

from .turns import Turns, all_in_memory
from .without_cuda import TorchOnCPU, stay_on_cpu

NEVER = 10**9
"""Thousands of images till something that does not happen."""


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns(job["device"])
    sys.path.insert(0, job["repository"])
    Sampler.__init__ = lambda self, *_: None  # type: ignore[method-assign] # torch's own took the data set once
    loop = importlib.import_module("training.training_loop")
    if job["device"] == "cpu":
        stay_on_cpu()
        loop.torch = TorchOnCPU()
    else:
        load_plugins()
    settings = _steps_alone(r3gan(job) if job["program"] == "r3gan" else stylegan2(job), job)
    made: list[nn.Module] = []
    construct = loop.dnnlib.util.construct_class_by_name

    def constructed(*parts: Any, **keywords: Any) -> Any:
        found = construct(*parts, **keywords)
        if isinstance(found, nn.Module):
            made.append(found)
        return found

    def facts() -> dict[str, Any]:
        networks = {
            name: sum(part.numel() for part in module.parameters()) for name, module in zip("GD", made, strict=True)
        }
        head = Path(job["repository"], ".git", "HEAD").read_text(encoding="utf-8").strip()
        return {
            "parameters": sum(networks.values()),
            "networks": networks,
            "versions": {"torch": torch.__version__, "git": head},
        }

    data = importlib.import_module("training.dataset").ImageFolderDataset
    read, served = data.__getitem__ if job["device"] == "cpu" else all_in_memory(data.__getitem__), 0

    def waited(self: Any, index: int) -> Any:
        nonlocal served
        # R3GAN takes a batch for each of the two networks.
        if served % (job["batch"] * (2 if job["program"] == "r3gan" else 1)) == 0 and len(made) == 2:
            turns.next_step(facts)
        served += 1
        return read(self, index)

    data.__getitem__ = waited
    loop.dnnlib.util.construct_class_by_name = constructed
    loop.setup_snapshot_image_grid = lambda training_set: ((1, 1), *(part[None] for part in read(training_set, 0)))
    Path(job["folder"]).mkdir(parents=True, exist_ok=True)
    loop.training_loop(**settings)


def load_plugins() -> None:
    """Compiles and loads what they have for CUDA. Raises RuntimeError where that fails: they would only warn, and use
    the plain form."""
    compiled = cpp_extension.load

    def load(name: str, *of: Any, **named: Any) -> Any:
        sys.modules[name] = compiled(name, *of, **named)  # where they look for it, and torch no longer puts it
        return sys.modules[name]

    cpp_extension.load = load
    for name in ("bias_act", "upfirdn2d"):
        if not importlib.import_module(f"torch_utils.ops.{name}")._init():
            raise RuntimeError(f"The plug-in {name} could not be compiled.")


def stylegan2(job: dict[str, Any]) -> dict[str, Any]:
    """What its command line makes of `--cfg auto`, without augmentation, and on a CPU in float32: in float16, which it
    takes otherwise, a step lasts minutes there."""
    train = importlib.import_module("train")
    words = {"gpus": 1, "data": job["images"], "cfg": "auto", "batch": job["batch"], "aug": "noaug"}
    return train.setup_training_loop_kwargs(**words, fp32=job["device"] == "cpu")[1]


def r3gan(job: dict[str, Any]) -> dict[str, Any]:
    """What its command line makes of a preset, without augmentation."""
    train = importlib.import_module("train")
    found: dict[str, Any] = {}
    train.launch_training = lambda c, **_: found.update(c)
    words = {"outdir": job["folder"], "data": job["images"], "gpus": 1, "batch": job["batch"], "preset": job["preset"]}
    options = [f"--{name}={word}" for name, word in {**words, "aug": False}.items()]
    train.main(options, standalone_mode=False)
    return found


def _steps_alone(settings: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """The same without images, files and other processes, and with betas as torch now wants them."""
    for name in ("G_opt_kwargs", "D_opt_kwargs"):
        settings[name]["betas"] = [float(beta) for beta in settings[name]["betas"]]
    return {
        **settings,
        "run_dir": job["folder"],
        "data_loader_kwargs": {"num_workers": 0, "pin_memory": job["device"] == "cuda"},
        "metrics": [],
        "total_kimg": NEVER,
        "kimg_per_tick": NEVER,
        "image_snapshot_ticks": None,
        "network_snapshot_ticks": None,
        "cudnn_benchmark": job["device"] == "cuda",
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
