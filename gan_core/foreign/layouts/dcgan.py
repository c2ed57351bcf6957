"""The DCGAN of PyTorch's own example and tutorial, and of the HugGAN sprint, as a generator of our dcgan family.

Theirs is one nn.Sequential: transposed convolutions, each but the last followed by batch norm and a ReLU, which have
no tensors. A state dict therefore has the names "main.0.weight", "main.1.weight", "main.3.weight" and so on, with
"model" in place of "main" for huggan/dcgan-mnist, and whatever else others have called it. It is taken for a DCGAN if
its shapes leave nothing open: z becomes 4x4, every further layer doubles the side (from 4 to 7 for MNIST's 28), and
features halve as they do here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...architectures import Shapes
from ...architectures.dcgan import ARCHITECTURE, SIDES, DCGANConfig, kernel_size
from ...errors import InputError
from .layout import Layout

MAX_LAYERS = 11
"""Maximum layers with tensors: six transposed convolutions for 128x128 pixels, and batch norm after five."""


def detect(shapes: Shapes) -> bool:
    """Whether a state dict is a DCGAN generator that our architecture can represent exactly."""
    return _layers(shapes) is not None


def convert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts the state dict of such a DCGAN generator to ours.

    Raises InputError for anything but what `detect` recognises.
    """
    layers = _layers({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if layers is None:
        raise InputError("It is not a DCGAN generator with the layers of PyTorch's example.")
    first, *stages, last = layers.convolutions
    # On a 1x1 image a transposed convolution is a matrix product.
    project = tensors[f"{first}.weight"].permute(1, 2, 3, 0).flatten(0, 2)  # [widths[0] * 16, latent_size]
    to_image = tensors[f"{last}.weight"]
    ours = {
        "project.weight": project.contiguous(),
        "to_image.weight": to_image,
        "to_image.bias": tensors.get(f"{last}.bias", torch.zeros(to_image.shape[1])),
    }
    for index, stage in enumerate(stages):
        ours[f"stages.{index}.conv.weight"] = tensors[f"{stage}.weight"]
    places = ["norm", *(f"stages.{index}.norm" for index in range(len(stages)))]
    for place, norm, convolution in zip(places, layers.norms, layers.convolutions, strict=False):
        ours |= {f"{place}.{part}": tensors[f"{norm}.{part}"] for part in ("weight", "bias", "running_var")}
        mean, bias = tensors[f"{norm}.running_mean"].float(), tensors.get(f"{convolution}.bias")
        # What is added before a batch norm only moves the mean that it takes away.
        ours[f"{place}.running_mean"] = mean if bias is None else mean - bias.float()
        # Files from before PyTorch 0.4.1 do not have it, and no image depends on it.
        ours[f"{place}.num_batches_tracked"] = tensors.get(f"{norm}.num_batches_tracked", torch.tensor(0))
    return ours


@dataclass(frozen=True)
class _Layers:
    """Prefixes of the names of a DCGAN's layers, in order."""

    convolutions: list[str]
    norms: list[str]


_NAME = re.compile(r"((?:\w+\.){0,4}\d{1,3})\.(weight|bias|running_mean|running_var|num_batches_tracked)", re.ASCII)


def _layers(shapes: Shapes) -> _Layers | None:
    """Layers of a DCGAN; None if it is not one."""
    names = filter(None, map(_NAME.fullmatch, shapes))
    found = {match[1]: int(match[1].rpartition(".")[2]) for match in names}
    sequences = {layer.rpartition(".")[0] for layer in found}
    if len(sequences) != 1 or len(found) > MAX_LAYERS or len(found) % 2 == 0:
        return None
    order = sorted(found, key=found.__getitem__)
    layers = _Layers(convolutions=order[::2], norms=order[1::2])
    return layers if any(_fits(shapes, layers, side) for side in SIDES) else None


def _fits(shapes: Shapes, layers: _Layers, side: int) -> bool:
    """Whether the tensors are those of a DCGAN for images of a side."""
    first, last = (shapes.get(f"{layers.convolutions[end]}.weight", ()) for end in (0, -1))
    if len(first) != 4 or len(last) != 4:
        return False
    try:
        config = DCGANConfig(side, channels=last[1], latent_size=first[0], width=last[0])
    except InputError:
        return False
    if len(config.widths) != len(layers.norms):
        return False
    features = [config.latent_size, *config.widths, config.channels]
    kernels = [4, *(kernel_size(inner) for inner in config.sides[1:]), 4]
    required: dict[str, tuple[int, ...]] = {}
    optional: dict[str, tuple[int, ...]] = {}
    for convolution, (inputs, outputs), kernel in zip(layers.convolutions, pairwise(features), kernels, strict=True):
        required[f"{convolution}.weight"] = (inputs, outputs, kernel, kernel)
        optional[f"{convolution}.bias"] = (outputs,)
    for norm, width in zip(layers.norms, config.widths, strict=True):
        required |= {f"{norm}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        optional[f"{norm}.num_batches_tracked"] = ()
    return required.items() <= shapes.items() <= (required | optional).items()


LAYOUT = Layout(name="a DCGAN", architecture=ARCHITECTURE, detect=detect, convert=convert)
