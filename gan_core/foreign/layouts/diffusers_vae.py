"""The AutoencoderKL of diffusers, whose names for its tensors are the family's own."""

from ...architectures.autoencoder_kl import ARCHITECTURE
from .layout import Layout

LAYOUT = Layout(name="an AutoencoderKL of diffusers", architecture=ARCHITECTURE, detect=ARCHITECTURE.detect)
