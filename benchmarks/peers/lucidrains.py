"""`python -m benchmarks.peers.lucidrains JOB`: stylegan2-pytorch and lightweight-gan, whose trainers share a form.

A step is their trainer's own. Its images and files of every 100 or 1,000 steps are left out, in their favour.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import version
from typing import Any

import torch

from .turns import Turns
from .without_cuda import TorchOnCPU, claimed, missing, stay_on_cpu, torchvision

LOADERS = 4
"""Processes that read images for a GPU, which would wait for one."""


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns(job["device"])
    on_cpu = job["device"] == "cpu"
    if on_cpu:
        stay_on_cpu()
    missing("aim")  # where one of them would keep its log
    torchvision()
    with claimed():
        program = importlib.import_module(f"{job['program']}.{job['program']}")
    if on_cpu:
        program.torch = TorchOnCPU()
    settings = {"use_aim": False} if job["program"] == "lightweight_gan" else {}
    trainer = program.Trainer(
        base_dir=job["folder"],
        image_size=job["side"],
        batch_size=job["batch"],
        num_workers=0 if on_cpu else LOADERS,
        rank=1,  # of several processes the first alone draws images and writes files
        aug_prob=0.0,
        **settings,
    )
    trainer.set_data_src(job["images"])
    trainer.init_GAN()
    networks = [getattr(trainer.GAN, name) for name in ("S", "G", "D") if hasattr(trainer.GAN, name)]
    facts = {
        "parameters": sum(parameter.numel() for network in networks for parameter in network.parameters()),
        "versions": {"torch": torch.__version__, job["program"]: version(job["program"])},
    }
    turns.taken(trainer.train, facts)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
