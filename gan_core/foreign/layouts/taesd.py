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
"""Log variance of the posterior of a TAESD, whose encoder has none: the minimum of Stable Diffusion's VAE."""

_DIFFUSERS = re.compile(r"(encoder|decoder)\.layers\.([0-9]|[1-9][0-9])\.(.+)")

Value = TypeVar("Value")


def detect(shapes: Shapes) -> bool:
    """Whether a state dict is a TAESD, under ComfyUI's names or those of diffusers' AutoencoderTiny, without what only
    ours have."""
    return "log_variance" not in shapes and is_complete(_renamed(shapes))


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the state dict of a TAESD to ours.

    Its encoder is deterministic, so that the posterior gets almost no variance. Scale and shift of latents, which
    ComfyUI's files may have, are kept.

    Raises InputError for unexpected tensors, and for an invalid scale or shift.
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
        raise InputError("its vae_scale must not be 0.")
    return {
        **{name: renamed[name] for name in expected},
        **numbers,
        "log_variance": torch.full((channels,), LOG_VARIANCE_OF_A_POINT),
    }


def _renamed(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Values under ComfyUI's names; if a file has both names, ComfyUI's count."""
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
