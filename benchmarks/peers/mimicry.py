"""`python -m benchmarks.peers.mimicry JOB`: torch-mimicry's SNGAN of 32x32, by its own trainer."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from .turns import Turns, all_in_memory
from .without_cuda import missing, torchvision


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    turns = Turns(job["device"])
    # Its metrics need TensorFlow, and its ImageNet a part of torch that is gone. A step needs neither.
    for name in ("metrics", "datasets"):
        missing(f"torch_mimicry.{name}")
    torchvision()
    from torch_mimicry.nets import sngan  # type: ignore[import-not-found]
    from torch_mimicry.training import Trainer  # type: ignore[import-not-found]
    from torchvision import transforms  # type: ignore[import-not-found]
    from torchvision.datasets import ImageFolder  # type: ignore[import-not-found]

    generator = sngan.SNGANGenerator32().to(job["device"])
    discriminator = sngan.SNGANDiscriminator32().to(job["device"])
    facts = {
        "parameters": sum(part.numel() for network in (generator, discriminator) for part in network.parameters()),
        "versions": {"torch": torch.__version__, "torch_mimicry": version("torch_mimicry")},
    }

    read = ImageFolder.__getitem__ if job["device"] == "cpu" else all_in_memory(ImageFolder.__getitem__)

    class Waiting(ImageFolder):
        served = 0

        def __getitem__(self, index: int) -> Any:
            # A step of its trainer is `critic` updates of D and one of G.
            if self.served % (job["batch"] * job["critic"]) == 0:
                turns.next_step(lambda: facts)
            self.served += 1
            return read(self, index)

    to_images = transforms.Compose(
        [transforms.Resize(job["side"]), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    )
    images = DataLoader(Waiting(job["images"], to_images), job["batch"], shuffle=True, drop_last=True)
    adam = {"lr": 2e-4, "betas": (0.0, 0.9)}
    trainer = Trainer(
        netD=discriminator,
        netG=generator,
        optD=torch.optim.Adam(discriminator.parameters(), **adam),
        optG=torch.optim.Adam(generator.parameters(), **adam),
        n_dis=job["critic"],
        num_steps=100_000,
        lr_decay="linear",
        dataloader=images,
        log_dir=str(Path(job["folder"], "log")),
        device=torch.device(job["device"]),
    )
    trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
