"""Network architectures. A new one is a new file, and one line here."""

from ..errors import InputError
from .architecture import Architecture, Shapes, has_tensors, proportions, size_of, start_for
from .autoencoder_kl import ARCHITECTURE as AUTOENCODER_KL
from .conv_vae import ARCHITECTURE as CONV_VAE
from .dcgan import ARCHITECTURE as DCGAN
from .fastgan import ARCHITECTURE as FASTGAN
from .lightweight_gan import ARCHITECTURE as LIGHTWEIGHT_GAN
from .r3gan import ARCHITECTURE as R3GAN
from .stylegan2 import ARCHITECTURE as STYLEGAN2
from .stylegan3 import ARCHITECTURE as STYLEGAN3
from .taesd_vae import ARCHITECTURE as TAESD_VAE

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Shapes",
    "by_name",
    "detect",
    "has_tensors",
    "proportions",
    "size_of",
    "start_for",
]

ARCHITECTURES = (DCGAN, STYLEGAN2, STYLEGAN3, R3GAN, FASTGAN, LIGHTWEIGHT_GAN, CONV_VAE, TAESD_VAE, AUTOENCODER_KL)


def by_name(name: str) -> Architecture:
    """Architecture of a name. Raises InputError if it is unknown."""
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    known = ", ".join(architecture.name for architecture in ARCHITECTURES)
    raise InputError(f'This version has no architecture "{name}", only {known}.')


def detect(shapes: Shapes) -> Architecture | None:
    """Architecture whose generator has a state dict of these shapes; None if there is none."""
    return next((architecture for architecture in ARCHITECTURES if architecture.detect(shapes)), None)
