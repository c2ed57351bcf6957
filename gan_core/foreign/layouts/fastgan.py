"""FastGAN and Projected GAN, whose generators share their names (Liu et al. 2021; Sauer et al. 2021).

Three spellings are known: that of FastGAN's authors (odegeasslbc/FastGAN-pytorch), which Projected GAN's repeat
(autonomousvision/projected-gan), and that of another implementation (by silentz), from which the fastgan-few-shot
models of the HugGAN sprint come; all of the last make 1024x1024 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor

from ...architectures import Shapes, has_tensors
from ...architectures.fastgan import ARCHITECTURE, SIDES
from ...errors import InputError
from .layout import Layout, check_complete


def detect(shapes: Shapes) -> bool:
    """Whether a state dict has the tensors of one of the public FastGAN or Projected GAN generators."""
    names = {name.removesuffix("_orig"): shape for name, shape in _plainly_named(shapes).items()}
    required = {"init.init.0.weight": 4, "init.init.1.running_mean": 1, "se_64.main.1.weight": 4, "to_big.weight": 4}
    return has_tensors(names, required)


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the state dict of a public FastGAN or Projected GAN generator to ours.

    Theirs divide each weight by its spectral norm (Miyato et al. 2018) when it is used; ours store the quotient.
    Tensors without effect on the image are left out: those of the additional 128x128 image for FastGAN's discriminator,
    and the unused stage of a Projected GAN of 128x128.

    Raises InputError for unexpected and missing tensors.
    """
    weights = _without_spectral_norm(_plainly_named(tensors))
    unused = _unused(weights)
    ours: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(unused):
            continue
        found = _our_names(name, two=f"{name.split('.')[0]}.5.weight" in weights)
        if not found or not ours.keys().isdisjoint(found):
            raise InputError(f"It is like a FastGAN, but has {name}, which no known FastGAN has.")
        ours |= {place: tensor.clone() for place in found} if len(found) > 1 else {found[0]: tensor}
    check_complete(ours, ARCHITECTURE, "a FastGAN")
    return ours


_SPELLINGS = (
    (re.compile(r"^module\."), ""),
    (re.compile(r"^synthesis\."), ""),
    (re.compile(r"^_init\._layers\."), "init.init."),
    (re.compile(r"^_upsample_(\d{1,4})\._layers\."), r"feat_\1."),
    (re.compile(r"^_sle_(\d{1,4})\._layers\."), r"se_\1.main."),
    (re.compile(r"^_out_1024\.0\."), "to_big."),
    (re.compile(r"^_out_128\.0\."), "to_128."),
    (re.compile(r"\._conv\."), "."),
    (re.compile(r"\._weight$"), ".weight"),
)

Value = TypeVar("Value")


def _plainly_named(values: Mapping[str, Value]) -> dict[str, Value]:
    """Tensors under the names of FastGAN's authors."""
    return {
        reduce(lambda name, spelling: spelling[0].sub(spelling[1], name), _SPELLINGS, name): value
        for name, value in values.items()
    }


def _without_spectral_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded = {}
    for name, tensor in tensors.items():
        if name.endswith("weight_orig"):
            plain = name.removesuffix("_orig")
            u, v = tensors.get(f"{plain}_u"), tensors.get(f"{plain}_v")
            if u is None or v is None:
                raise InputError(f"It has {name} but no {plain}_u or {plain}_v, so that its spectral norm is unknown.")
            # A transposed convolution has its outputs second.
            folded[plain] = over_spectral_norm(name, tensor, u, v, outputs=1 if name.startswith("init.") else 0)
        elif not (name.endswith(("weight_u", "weight_v")) and f"{name[:-2]}_orig" in tensors):
            folded[name] = tensor
    return folded


def over_spectral_norm(name: str, weight: Tensor, u: Tensor, v: Tensor, outputs: int) -> Tensor:
    """weight / (u^T W v), as torch computes it in evaluation. W is the weight as a matrix with a row for each output.

    weight: of any shape, its outputs in the dimension `outputs`; u, v: as torch.nn.utils.spectral_norm keeps them.

    Raises InputError where they do not fit together.
    """
    fits = weight.ndim >= 2 and u.ndim == v.ndim == 1 and len(u) == weight.shape[outputs]
    if not fits or len(u) * len(v) != weight.numel():
        raise InputError(
            f"Its {name} of shape {list(weight.shape)} does not fit the vectors of its spectral norm, of shapes "
            f"{list(u.shape)} and {list(v.shape)}."
        )
    try:
        matrix = weight.float().transpose(0, outputs).flatten(1)
        norm = torch.dot(u.float(), torch.mv(matrix, v.float()))
        if not norm.isfinite() or norm == 0:
            raise InputError(f"Its {name} has a spectral norm of {norm.item()}, by which nothing can be divided.")
        return weight.float() / norm
    except RuntimeError as error:
        raise InputError(f"Its {name} cannot be computed with ({error}).") from None


def _unused(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Prefixes of the names without effect on the image."""
    inputs = weights["to_big.weight"].shape[1:2] if "to_big.weight" in weights else ()
    excited = {
        side: weights[f"se_{side}.main.3.weight"].shape[:1] for side in SIDES if f"se_{side}.main.3.weight" in weights
    }
    if 512 not in excited and inputs == excited.get(128) != excited.get(256):
        return "to_128.", "feat_256.", "se_256."
    return ("to_128.",)


_OUTSIDE_STAGES = {"init.init.0.": "project.", "init.init.1.": "norm.", "to_big.": "to_image.", "embed.": "embed."}

_EXCITATION = {"main.1.weight": "squeeze.weight", "main.3.weight": "excite.weight"}

_STAGE_OF_ONE = {"1.": "0.conv.", "2.": "0.norm."}

_STAGE_OF_TWO = {
    **{"1.": "0.conv.", "2.weight": "0.noise.strength", "3.": "0.norm."},
    **{"5.": "1.conv.", "6.weight": "1.noise.strength", "7.": "1.norm."},
}

_LABELLED_STAGE = {
    **{"conv.": "0.conv.", "bn.stored_": "0.norm.running_", "bn.": "0.norm."},
    **{"conv1.": "0.conv.", "bn1.stored_": "0.norm.running_", "bn1.": "0.norm."},
    **{"conv2.": "1.conv.", "bn2.stored_": "1.norm.running_", "bn2.": "1.norm."},
}


def _our_names(name: str, two: bool) -> list[str]:
    """What one of their tensors is called here; nothing for one that is not known. two: of a stage of two convolutions
    in a row."""
    for theirs, ours in _OUTSIDE_STAGES.items():
        if name.startswith(theirs):
            return [ours + name.removeprefix(theirs)]
    found = re.fullmatch(r"(feat|se)_(8|16|32|64|128|256|512|1024)\.(.+)", name)
    if not found:
        return []
    kind, side, rest = found.groups()
    stage = f"stages.{int(side).bit_length() - 4}."
    if kind == "se":
        return [f"{stage}excitation.{_EXCITATION[rest]}"] if rest in _EXCITATION else []
    if rest == "noise.weight":
        return [f"{stage}layers.{layer}.noise.strength" for layer in (0, 1)]  # which share it
    for theirs, ours in {**(_STAGE_OF_TWO if two else _STAGE_OF_ONE), **_LABELLED_STAGE}.items():
        if rest.startswith(theirs):
            return [f"{stage}layers.{ours}{rest.removeprefix(theirs)}"]
    return []


LAYOUT = Layout(name="a FastGAN or Projected GAN", architecture=ARCHITECTURE, detect=detect, convert=convert)
