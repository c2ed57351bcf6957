"""`python -m benchmarks.peers.ours JOB`: gan_core's own training as one of the programs that take turns."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import torch

import gan_core
from gan_core.training import run_files
from gan_core.training.settings import AdversarialRecipe

from .turns import Turns


@dataclass(frozen=True)
class Changed(gan_core.TrainConfig):
    """A preset whose recipe is changed, such as to a network of the size that it is held against."""

    changes: Any = None

    @property
    def recipe(self) -> AdversarialRecipe:
        recipe = super().recipe
        assert isinstance(recipe, AdversarialRecipe)
        return replace(recipe, **self.changes)


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns(job["device"])
    dataset = gan_core.ImageDataset.from_folder(job["images"], size=job["side"], channels="RGB")
    # No measurement of its images, as the others' are left out too, nor any checkpoint.
    changes = {"batch_size": job["batch"], "cpu_threads": job["threads"], "measure_kimg": math.inf, **job["changes"]}
    run_files.CHECKPOINT_SECONDS = run_files.FIRST_CHECKPOINT_SECONDS = math.inf
    config = Changed(job["folder"], job["preset"], kimg=1e6, changes=changes)
    with gan_core.train(dataset, config, job["device"]) as training:
        next(training)
        method = training.run.method
        networks = {
            name: sum(part.numel() for part in network.module.parameters()) for name, network in method.networks.items()
        }
        facts = {
            "parameters": sum(networks.values()),
            "networks": networks,
            "architecture": method.architecture.name,
            "versions": {"torch": torch.__version__},
        }
        turns.taken(lambda: next(training), facts)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
