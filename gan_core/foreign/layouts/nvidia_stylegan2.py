"""StyleGAN2 as NVIDIA's stylegan2-ada-pytorch and stylegan3 save it (Karras et al. 2020a, 2020b).

The family's tensors have NVIDIA's names already. Besides them a file has the filters that its layers resample with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...architectures import Shapes
from ...architectures.layers.resampling import low_pass
from ...architectures.stylegan2 import ARCHITECTURE
from ...errors import InputError
from .layout import Attributes, Layout, check_attributes, listed

FILTER = "resample_filter"
"""How the names of the filters end."""


def detect(shapes: Shapes) -> bool:
    """Whether a state dict is the family's, but for filters."""
    return not ARCHITECTURE.detect(shapes) and ARCHITECTURE.detect(_without_filters(shapes))


def convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """NVIDIA's state dict -> ours. Raises InputError where a layer has another filter than ours."""
    for name, tensor in tensors.items():
        if name.endswith(FILTER):
            usual = low_pass(gain=1.0)
            if tensor.shape != usual.shape or not torch.allclose(tensor.float(), usual, atol=1e-4):
                raise InputError(f"Its {name} is not the filter [1, 3, 3, 1], and no other is known here.")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(FILTER)}


def _without_filters(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.endswith(FILTER)}


def _config(config: Any, attributes: Attributes) -> Any:
    """The bounds of the features, which no tensor tells."""
    check_attributes(
        attributes,
        {
            "activation": {"lrelu", "linear"},
            "architecture": {"skip"},
            "use_noise": {True},
            "lr_multiplier": {0.01, 1},
        },
    )
    bounds = {value for value in attributes.get("conv_clamp", ()) if value is not None}
    if len(bounds) > 1 or not all(type(value) in (int, float) and value == value // 1 for value in bounds):
        raise InputError(f"its layers are clamped at other values than one whole number: {listed(bounds)}.")
    return replace(config, clamp=int(next(iter(bounds), 0))) if "conv_clamp" in attributes else config


LAYOUT = Layout(
    name="a StyleGAN2 of NVIDIA's",
    architecture=ARCHITECTURE,
    detect=detect,
    convert=convert,
    config=_config,
)
