"""The VAE of Stable Diffusion in latent-diffusion's names, which most files carry, or in those of older diffusers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from ...architectures import Shapes
from ...architectures.autoencoder_kl import ARCHITECTURE, QUERY
from .layout import Layout

Value = TypeVar("Value")

PREFIXES = ("", "first_stage_model.", "vae.")
"""Prefixes of the VAE's names: in its own file, in a checkpoint of Stable Diffusion, among other models."""

_BESIDES = ("loss.", "model_ema.")
"""Prefixes of other networks in a training checkpoint of a VAE."""

_PLACES = (
    (r"encoder\.down\.([0-9]+)\.block\.([0-9]+)\.", r"encoder.down_blocks.\1.resnets.\2."),
    (r"encoder\.down\.([0-9]+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"decoder\.up\.([0-9]+)\.block\.([0-9]+)\.", r"decoder.up_blocks.\1.resnets.\2."),
    (r"decoder\.up\.([0-9]+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"(en|de)coder\.mid\.block_1\.", r"\1coder.mid_block.resnets.0."),
    (r"(en|de)coder\.mid\.block_2\.", r"\1coder.mid_block.resnets.1."),
    (r"(en|de)coder\.mid\.attn_1\.", r"\1coder.mid_block.attentions.0."),
    (r"(en|de)coder\.norm_out\.", r"\1coder.conv_norm_out."),
)
"""Beginnings of names in latent-diffusion's layout, and in ours."""

_LAYERS = {
    "nin_shortcut": "conv_shortcut",
    "norm": "group_norm",
    **dict.fromkeys(("q", "query"), "to_q"),
    **dict.fromkeys(("k", "key"), "to_k"),
    **dict.fromkeys(("v", "value"), "to_v"),
    **dict.fromkeys(("proj_out", "proj_attn"), "to_out.0"),
}
"""Last parts of names in latent-diffusion's layout and in older files of diffusers, and in ours."""


def detect(shapes: Shapes) -> bool:
    """Whether a state dict has such a VAE under latent-diffusion's names, which most files carry, or under those of
    older versions of diffusers; perhaps behind a prefix."""
    renamed = _renamed(shapes)
    query = renamed.get(QUERY, ())
    matrix = query[:2] if query[2:] in ((), (1, 1)) else query
    return not ARCHITECTURE.detect(shapes) and ARCHITECTURE.detect({**renamed, QUERY: matrix})


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the state dict of a VAE in latent-diffusion's layout, or in that of older versions of diffusers, to
    ours.

    Other content of a checkpoint is left out. The 1x1 convolutions of attention become matrices.
    """
    return {
        name: tensor.flatten(1) if ".attentions.0.to_" in name and tensor.shape[2:] == (1, 1) else tensor
        for name, tensor in _renamed(tensors).items()
    }


def _renamed(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Tensors of the VAE under our names, as far as they have one."""
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}decoder.conv_in.weight" in tensors), None)
    if prefix is None:
        return {}
    parts = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    parts = {name: tensor for name, tensor in parts.items() if not name.startswith(_BESIDES)}
    numbers = [int(found[1]) for found in map(_UP_BLOCK.match, parts) if found]
    return {_our_name(name, max(numbers, default=0)): tensor for name, tensor in parts.items()}


def _our_name(name: str, last_up_block: int) -> str:
    # latent-diffusion counts a decoder's blocks from the image, diffusers in the order in which they are passed.
    name = _UP_BLOCK.sub(lambda found: f"decoder.up.{last_up_block - int(found[1])}.", name)
    for theirs, ours in _PLACES:
        name = re.sub(f"^{theirs}", ours, name)
    return re.sub(r"(?<=\.)\w+(?=\.(weight|bias)$)", lambda layer: _LAYERS.get(layer[0], layer[0]), name)


_UP_BLOCK = re.compile(r"decoder\.up\.([0-9]|[1-9][0-9])\.")


def _prefix(shapes: Shapes) -> str:
    return next(prefix for prefix in PREFIXES if f"{prefix}decoder.conv_in.weight" in shapes)


LAYOUT = Layout(
    name="a VAE of Stable Diffusion", architecture=ARCHITECTURE, detect=detect, convert=convert, prefix=_prefix
)
