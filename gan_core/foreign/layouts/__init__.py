"""Layouts of other programs. A new one is a new file, and one line here."""

from ...architectures import ARCHITECTURES, Shapes
from .dcgan import LAYOUT as DCGAN
from .diffusers_vae import LAYOUT as DIFFUSERS_VAE
from .fastgan import LAYOUT as FASTGAN
from .latent_diffusion import LAYOUT as LATENT_DIFFUSION
from .layout import Layout
from .lightweight_gan import LAYOUT as LIGHTWEIGHT_GAN
from .nvidia_stylegan2 import LAYOUT as NVIDIA_STYLEGAN2
from .nvidia_stylegan3 import LAYOUT as NVIDIA_STYLEGAN3
from .r3gan import LAYOUT as R3GAN
from .strangers import stranger
from .taesd import LAYOUT as TAESD

__all__ = ["LAYOUTS", "Layout", "layout_of", "stranger"]

LAYOUTS = (
    NVIDIA_STYLEGAN2,
    NVIDIA_STYLEGAN3,
    R3GAN,
    FASTGAN,
    LIGHTWEIGHT_GAN,
    DCGAN,
    TAESD,
    DIFFUSERS_VAE,
    LATENT_DIFFUSION,
)
"""Layouts that can be imported. The first one that recognises a state dict converts it."""

_OURS = tuple(Layout(f"a {family.name}", family, family.detect) for family in ARCHITECTURES)
"""State dicts that already have our names."""


def layout_of(shapes: Shapes) -> Layout | None:
    """Layout of a state dict with tensors of these names and shapes; None if it is unknown."""
    return next((layout for layout in (*LAYOUTS, *_OURS) if layout.detect(shapes)), None)
