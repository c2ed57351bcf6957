"""`python -m benchmarks.peers.nvidia JOB`: the training loops of stylegan2-ada-pytorch and, grown from it, of R3GAN.

Both are run as they stand, on a clone of their repository. They wait for their turn where they ask for the first image
of a batch; the images with which they begin are left out. Without CUDA they use their operations' plain form.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler

from .turns import Turns
from .without_cuda import TorchOnCPU, stay_on_cpu

NEVER = 10**9
"""Thousands of images till something that does not happen."""


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns()
    sys.path.insert(0, job["repository"])
    stay_on_cpu()
    Sampler.__init__ = lambda self, *_: None  # type: ignore[method-assign] # torch's own took the data set once
    loop = importlib.import_module("training.training_loop")
    loop.torch = TorchOnCPU()
    settings = _for_cpu(r3gan(job) if job["program"] == "r3gan" else stylegan2(job), job["folder"])
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
    read, served = data.__getitem__, 0

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


def stylegan2(job: dict[str, Any]) -> dict[str, Any]:
    """What its command line makes of `--cfg auto`, without augmentation, and in float32: in float16, which it takes
    otherwise, a step lasts minutes on a CPU."""
    train = importlib.import_module("train")
    words = {"gpus": 1, "data": job["images"], "cfg": "auto", "batch": job["batch"], "aug": "noaug", "fp32": True}
    return train.setup_training_loop_kwargs(**words)[1]


def r3gan(job: dict[str, Any]) -> dict[str, Any]:
    """What its command line makes of a preset, without augmentation."""
    train = importlib.import_module("train")
    found: dict[str, Any] = {}
    train.launch_training = lambda c, **_: found.update(c)
    words = {"outdir": job["folder"], "data": job["images"], "gpus": 1, "batch": job["batch"], "preset": job["preset"]}
    options = [f"--{name}={word}" for name, word in {**words, "aug": False}.items()]
    train.main(options, standalone_mode=False)
    return found


def _for_cpu(settings: dict[str, Any], folder: str) -> dict[str, Any]:
    """The same without images, files and other processes, and with betas as torch now wants them."""
    for name in ("G_opt_kwargs", "D_opt_kwargs"):
        settings[name]["betas"] = [float(beta) for beta in settings[name]["betas"]]
    return {
        **settings,
        "run_dir": folder,
        "data_loader_kwargs": {"num_workers": 0},
        "metrics": [],
        "total_kimg": NEVER,
        "kimg_per_tick": NEVER,
        "image_snapshot_ticks": None,
        "network_snapshot_ticks": None,
        "cudnn_benchmark": False,
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
