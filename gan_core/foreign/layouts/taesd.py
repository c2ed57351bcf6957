"""TAESD (madebyollin), the tiny autoencoder: under ComfyUI's names or those of diffusers' AutoencoderTiny.

Our taesd_vae is in TAESD's layout by design. It adds what a VAE of ours is sampled by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from ...architectures import Shapes
from ...architectures.taesd_vae import ARCHITECTURE, is_complete, network_shapes
from ...errors import InputError
from .layout import Layout

LOG_VARIANCE_OF_A_POINT = -30.0
"""Of the posterior, as a TAESD's encoder knows no variance: the smallest that Stable Diffusion's VAE can say."""

_DIFFUSERS = re.compile(r"(encoder|decoder)\.layers\.([0-9]|[1-9][0-9])\.(.+)")

Value = TypeVar("Value")


def detect(shapes: Shapes) -> bool:
    """Whether a state dict is a TAESD, under ComfyUI's names or those of diffusers' AutoencoderTiny, without what only
    ours have."""
    return "log_variance" not in shapes and is_complete(_renamed(shapes))


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a TAESD as ours.

    Its encoder says one point for a picture, and so the posterior gets next to no variance. A scale and shift of
    latents, which ComfyUI's files may have, are kept.

    Raises InputError for a tensor that does not belong, and for a scale or shift that cannot be computed with.
    """
    renamed = _renamed(tensors)
    expected = network_shapes(renamed["taesd_decoder.1.weight"].shape[1])
    channels = expected["taesd_decoder.1.weight"][1]
    numbers = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    extra = sorted(renamed.keys() - expected.keys() - numbers.keys())
    if extra:
        raise InputError(f"it has {extra[0]}, which a TAESD does not.")
    for name in numbers:
        if name in renamed:
            if renamed[name].numel() != 1 or not torch.isfinite(renamed[name].float()).all():
                raise InputError(f"its {name} is not a number.")
            numbers[name] = renamed[name].reshape(()).float()
    if numbers["vae_scale"] == 0:
        raise InputError("its vae_scale is 0, by which no latent can be divided.")
    return {
        **{name: renamed[name] for name in expected},
        **numbers,
        "log_variance": torch.full((channels,), LOG_VARIANCE_OF_A_POINT),
    }


def _renamed(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Under ComfyUI's names; where a file has both, those count."""
    renamed = {}
    for name, tensor in tensors.items():
        found = _DIFFUSERS.fullmatch(name)
        if found is None:
            renamed[name] = tensor
        else:
            part, number, rest = found.groups()
            ours = f"taesd_{part}.{int(number) + (part == 'decoder')}.{rest}"
            renamed[ours] = tensors.get(ours, tensor)
    return renamed


LAYOUT = Layout(name="a TAESD", architecture=ARCHITECTURE, detect=detect, convert=convert)
