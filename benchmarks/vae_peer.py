"""`python -m benchmarks.vae_peer JOB`: pythae's side of the benchmark `vae`, run by a Python that has pythae.

The network is ours; the model around it, its loss and its loop are pythae's, with its defaults but for what the two
must have in common.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pythae.data.datasets import BaseDataset  # type: ignore[import-not-found]
from pythae.models import VAE, VAEConfig  # type: ignore[import-not-found]
from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
from pythae.models.nn import BaseDecoder, BaseEncoder  # type: ignore[import-not-found]
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # type: ignore[import-not-found]
from torch import Tensor, nn

from .vae import kept, network


class Encoder(BaseEncoder):
    """Ours takes images in [-1, 1], pythae has them in [0, 1]."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> ModelOutput:
        mean, log_variance = self.layers(2 * images - 1).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Ours gives logits, pythae takes probabilities."""

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z).sigmoid())


def _trained(job: dict) -> dict:
    torch.set_num_threads(job["threads"])
    pixels = np.load(job["data"])
    images = torch.from_numpy(pixels).movedim(-1, 1).float() / 255
    side, folder = images.shape[-1], Path(job["folder"])
    shared = network(job, side)
    latent_size = shared.decoder[0].in_features
    config = VAEConfig(input_dim=(1, side, side), latent_dim=latent_size, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(shared.encoder), decoder=Decoder(shared.decoder))
    settings = BaseTrainerConfig(
        output_dir=str(folder),
        num_epochs=job["epochs"],
        learning_rate=job["learning_rate"],
        optimizer_params={"betas": tuple(job["betas"])},
        per_device_train_batch_size=job["batch_size"],
        no_cuda=True,
        seed=job["seed"],
    )
    trainer = BaseTrainer(model, BaseDataset(images, torch.ones(len(images))), training_config=settings)
    start = time.process_time()
    trainer.train()
    seconds = time.process_time() - start
    weights = {"pythae": kept(shared, folder / "last.safetensors")}
    return {"cpu_s": seconds, "torch": torch.__version__, "weights": weights}


if __name__ == "__main__":
    print(json.dumps(_trained(json.loads(sys.argv[1]))))
