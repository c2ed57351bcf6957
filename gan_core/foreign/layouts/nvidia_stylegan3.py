"""StyleGAN3 as NVIDIA's stylegan3 saves it (Karras et al. 2021), whose names for its tensors are the family's own."""

from __future__ import annotations

from typing import Any

from ...architectures.stylegan3 import ARCHITECTURE
from .layout import Attributes, Layout, check_attributes


def _config(config: Any, attributes: Attributes) -> Any:
    check_attributes(
        attributes,
        {
            "activation": {"lrelu", "linear"},
            "output_scale": {0.25},
            "num_critical": {2},
            "margin_size": {10},
            "lrelu_upsampling": {2},
            "first_cutoff": {2},
            "first_stopband": {2**2.1},
            "last_stopband_rel": {2**0.3},
            "conv_clamp": {256},
            "lr_multiplier": {0.01, 1},
        },
    )
    return config


LAYOUT = Layout(
    name="a StyleGAN3 of NVIDIA's",
    architecture=ARCHITECTURE,
    detect=ARCHITECTURE.detect,
    config=_config,
)
