"""`python -m benchmarks.peers.ours JOB`: gan_core's own training as one of the programs that take turns."""

from __future__ import annotations

import json
import math
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch

import gan_core
from gan_core.training.presets import AdversarialRecipe

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
    turns = Turns()
    dataset = gan_core.ImageDataset.from_folder(job["images"], size=job["side"], channels="RGB")
    changes = {"batch_size": job["batch"], "cpu_threads": job["threads"], **job["changes"]}
    # No measurement of its pictures, as the others' are left out too.
    config = Changed(job["folder"], job["preset"], kimg=1e9, measure_kimg=math.inf, changes=changes)
    with closing(gan_core.train(dataset, config, "cpu")) as steps:
        run = next(steps).run
        run.checkpointed = math.inf  # nor any checkpoint
        networks = {
            name: sum(part.numel() for part in player.module.parameters()) for name, player in run.players.items()
        }
        facts = {
            "parameters": sum(networks.values()),
            "networks": networks,
            "architecture": run.architecture.name,
            "versions": {"torch": torch.__version__},
        }
        turns.taken(lambda: next(steps), facts)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
