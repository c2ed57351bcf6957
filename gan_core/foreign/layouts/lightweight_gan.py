"""lightweight-gan (lucidrains) as its releases save it: the generator alone, or beside its EMA and its discriminator.

Known are the releases 0.16 to 0.20, of which Hugging Face has a copy, 0.21.4 to 0.23, and from 1.1 on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

from ...architectures import Shapes, has_tensors
from ...architectures.lightweight_gan import ARCHITECTURE
from ...errors import InputError
from .layout import Layout, check_complete


def detect(shapes: Shapes) -> bool:
    """Whether a state dict has a generator of lightweight-gan's, alone or beside its EMA and its discriminator."""
    names = _ema(shapes)
    required = {
        "initial_conv.0.weight": 4,
        "initial_conv.0.bias": 1,
        "initial_conv.1.running_mean": 1,
        "out_conv.weight": 4,
        "out_conv.bias": 1,
    }
    return has_tensors(names, required)


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the state dict of lightweight-gan's generator to ours; that of its EMA (GE) if there are two.

    Raises InputError for a generator of another release, for a tensor that does not belong and where one is missing.
    """
    theirs = _ema(tensors)
    _check_release(theirs)
    late = "layers.0.0.4.running_mean" in theirs
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        found = _our_name(name, late)
        if found is None:
            raise InputError(f"It is like a lightweight-gan, but has {name}, which no known release has.")
        # Their norm over channels keeps its gains as [1, C, 1, 1].
        flat = found.endswith((".attention.norm.gain", ".attention.norm.bias"))
        ours[found] = tensor.flatten() if flat else tensor
    check_complete(ours, ARCHITECTURE, "a lightweight-gan")
    return ours


Value = TypeVar("Value")


def _ema(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """The generator's part of a whole lightweight-gan, its names without their beginning."""
    for beginning in ("GE.", "G."):
        part = {name.removeprefix(beginning): value for name, value in values.items() if name.startswith(beginning)}
        if part:
            return part
    return values


def _check_release(theirs: Mapping[str, Tensor]) -> None:
    noise, conv = theirs.get("layers.0.0.3.weight"), theirs.get("layers.0.0.2.weight")
    if noise is not None and noise.shape == (1,) and conv is not None:
        raise InputError("It is from a release of lightweight-gan from 0.21.0 to 0.21.2, which is not supported.")
    double, middle = theirs.get("layers.0.0.0.net.0.weight"), theirs.get("layers.0.0.2.1.weight")
    if double is not None and middle is not None and double.shape[:2] != (4 * middle.shape[1], middle.shape[1]):
        raise InputError("It is from release 1.0 of lightweight-gan, which is not supported.")


_OUTSIDE_STAGES = {"initial_conv.0.": "project.", "initial_conv.1.": "norm.", "out_conv.": "to_image."}

_STAGE = {
    **{"0.0.net.0.": "enlarge.", "0.1.f": "blur"},
    **{"1.to_k.": "excitation.attend.", "1.dct_weights": "excitation.frequencies"},
    **{"1.net.0.": "excitation.squeeze.", "1.net.2.": "excitation.excite."},
    **{"2.norm.g": "attention.norm.gain", "2.norm.b": "attention.norm.bias", "2.fn.to_out.": "attention.out."},
}

_EARLY_STAGE = {
    **{"0.2.": "conv.", "0.3.": "norm.", "2.fn.to_q.": "attention.queries."},
    **{"2.fn.to_kv.net.0.": "attention.around.", "2.fn.to_kv.net.1.": "attention.keys_and_values."},
}

_LATE_STAGE = {
    **{"0.2.1.": "conv.", "0.3.weight": "noise.strength", "0.4.": "norm.", "2.fn.to_lin_q.": "attention.queries."},
    **{"2.fn.to_lin_kv.net.0.": "attention.around.", "2.fn.to_lin_kv.net.1.": "attention.keys_and_values."},
    **{"2.fn.to_q.": "attention.near_queries.", "2.fn.to_kv.": "attention.near_keys_and_values."},
}


def _our_name(name: str, late: bool) -> str | None:
    """What one of their tensors is called here; None for one that is not known. late: of a release from 0.21 on."""
    for theirs, ours in _OUTSIDE_STAGES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    found = re.fullmatch(r"layers\.(\d)\.(.+)", name, re.ASCII)
    if not found:
        return None
    stage, rest = found.groups()
    for theirs, ours in {**_STAGE, **(_LATE_STAGE if late else _EARLY_STAGE)}.items():
        if rest.startswith(theirs):
            return f"stages.{stage}.{ours}{rest.removeprefix(theirs)}"
    return None


LAYOUT = Layout(name="a lightweight-gan", architecture=ARCHITECTURE, detect=detect, convert=convert)
