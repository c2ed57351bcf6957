"""`python -m benchmarks.peers.example JOB`: PyTorch's example DCGAN, its script as it stands, waits for its turns.

Its only part of ours is the place where it waits: before the first image of a batch.
"""

from __future__ import annotations

import gc
import json
import runpy
import sys
from typing import Any

import torch

from .turns import Turns, all_in_memory
from .without_cuda import torchvision


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns(job["device"])
    vision = torchvision()
    from torchvision.datasets import ImageFolder  # type: ignore[import-not-found]

    served = 0
    read = ImageFolder.__getitem__ if job["device"] == "cpu" else all_in_memory(ImageFolder.__getitem__)

    def waited(self: Any, index: int) -> Any:
        nonlocal served
        if served % job["batch"] == 0:
            turns.next_step(facts)
        served += 1
        return read(self, index)

    def facts() -> dict[str, Any]:
        parameters = sum(found.numel() for found in gc.get_objects() if isinstance(found, torch.nn.Parameter))
        return {"parameters": parameters, "versions": {"torch": torch.__version__, "torchvision": vision.__version__}}

    ImageFolder.__getitem__ = waited
    settings = {
        "--dataset": "folder",
        "--dataroot": job["images"],
        "--outf": job["folder"],
        "--imageSize": job["side"],
        "--batchSize": job["batch"],
        "--workers": 0,
        "--niter": 1_000_000,
    }
    script = job["repository"] + "/dcgan/main.py"
    sys.argv = [script, *(str(word) for setting in settings.items() for word in setting)]
    sys.argv += ["--accel"] if job["device"] == "cuda" else []
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
