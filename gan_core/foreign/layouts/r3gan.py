"""R3GAN as its authors' code names the tensors (Huang et al. 2024), in its pickles and state dicts.

The tensors stay as they are. Each doubling stage has a filter besides, which has to be ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...architectures import Shapes
from ...architectures.layers.resampling import low_pass
from ...architectures.r3gan import ARCHITECTURE, MAX_BLOCKS, MAX_DOUBLINGS
from ...errors import InputError
from .layout import Attributes, Layout, check_attributes


def detect(shapes: Shapes) -> bool:
    """Whether a state dict has the names that the authors' code gives a generator's tensors."""
    renamed = {ours: shapes[name] for name, ours in _names() if name in shapes}
    return _BASIS in shapes and ARCHITECTURE.detect(renamed)


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the authors' generator under the names that its tensors have here; the tensors stay as they are.

    Raises InputError where something is missing or too many, or filtered by another filter than ours.
    """
    ours = dict(_names())
    theirs = {name: original for original, name in ours.items()}
    state = {ours[name]: tensor for name, tensor in tensors.items() if name in ours}
    config = ARCHITECTURE.config_from({name: tuple(tensor.shape) for name, tensor in state.items()})
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in ARCHITECTURE.generator(config).state_dict().items()}
    filters = [f"Model.MainLayers.{stage}.Layers.0.Resampler.Kernel" for stage in range(1, len(config.widths))]
    missing = [*(theirs[name] for name in expected if name not in state), *(f for f in filters if f not in tensors)]
    extra = tensors.keys() - filters - {theirs[name] for name in expected}
    wrong = [name for name in expected.keys() & state.keys() if state[name].shape != expected[name]]
    if missing:
        raise InputError(f"its {missing[0]} is missing.")
    if extra:
        raise InputError(f"it has {min(extra)}, which is not a part of an R3GAN generator.")
    if wrong:
        name = min(wrong)
        raise InputError(f"its {theirs[name]} must have shape {list(expected[name])} (got {list(state[name].shape)}).")
    for name in filters:
        if not _is_ours(tensors[name]):
            raise InputError(f"its {name} is not the filter [1, 3, 3, 1], and no other is known here.")
    return state


def _is_ours(kernel: Tensor) -> bool:
    """Whether a filter of the authors' is the one that the generator applies, but for its gain of 4."""
    usual = low_pass(gain=1.0)
    try:
        return kernel.shape == usual.shape and torch.allclose(kernel.cpu().float(), usual, rtol=0, atol=1e-6)
    except RuntimeError:  # a kind of tensor that has no such numbers
        return False


_BASIS = "Model.MainLayers.0.Layers.0.Basis"


def _names() -> Iterator[tuple[str, str]]:
    """What the authors' code calls each tensor of the largest network there can be, and what it is called here."""
    yield "Model.EmbeddingLayer.weight", "embed.weight"
    yield _BASIS, "basis"
    yield "Model.MainLayers.0.Layers.0.LinearLayer.weight", "project.weight"
    for stage in range(MAX_DOUBLINGS + 1):
        layers = f"Model.MainLayers.{stage}.Layers"
        yield f"{layers}.0.LinearLayer.Layer.weight", f"stages.{stage}.resize.weight"
        for block in range(MAX_BLOCKS):
            yield f"{layers}.{block + 1}.LinearLayer1.Layer.weight", f"stages.{stage}.blocks.{block}.expand.weight"
            yield f"{layers}.{block + 1}.NonLinearity1.Bias", f"stages.{stage}.blocks.{block}.expand.bias"
            yield f"{layers}.{block + 1}.LinearLayer2.Layer.weight", f"stages.{stage}.blocks.{block}.mix.weight"
            yield f"{layers}.{block + 1}.NonLinearity2.Bias", f"stages.{stage}.blocks.{block}.mix.bias"
            yield f"{layers}.{block + 1}.LinearLayer3.Layer.weight", f"stages.{stage}.blocks.{block}.contract.weight"
    yield "Model.AggregationLayer.Layer.weight", "to_image.weight"


def _config(config: Any, attributes: Attributes) -> Any:
    """Raises InputError if attributes of the network contradict its tensors."""
    check_attributes(
        attributes, {"z_dim": {config.latent_size}, "c_dim": {config.classes}, "img_resolution": {config.side}}
    )
    return config


LAYOUT = Layout(name="an R3GAN", architecture=ARCHITECTURE, detect=detect, convert=convert, config=_config)
