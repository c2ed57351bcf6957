"""GANs that train on a folder of images, on the CPU too, and stay with you as one safetensors file.

import gan_core
dataset = gan_core.ImageDataset.from_folder("photos", size=64)
training = gan_core.train(dataset, gan_core.TrainConfig("runs/photos", kimg=500))
for progress in training:
    print(progress)
generator = training.generator
generator.save("photos.safetensors")
images = generator.decode(gan_core.sample_noise(generator, seeds=range(16)))
"""

from .card import Card
from .data.images import ImageDataset
from .errors import InputError, TrainingDiverged
from .foreign.import_generator import importing
from .generator import Generator, load
from .latents import Latent
from .sampling.seeds import sample_noise
from .sampling.transform import Transform
from .training import Progress, TrainConfig, Training, train

__version__ = "0.1.0"

__all__ = [
    "Card",
    "Generator",
    "ImageDataset",
    "InputError",
    "Latent",
    "Progress",
    "TrainConfig",
    "Training",
    "TrainingDiverged",
    "Transform",
    "importing",
    "load",
    "sample_noise",
    "train",
]
