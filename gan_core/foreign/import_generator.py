"""Generators that other programs made: opened as data, whatever they are wrapped in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import weights
from ..architectures import (
    ARCHITECTURES,
    Architecture,
    Shapes,
    autoencoder_kl,
    dcgan,
    fastgan,
    lightweight_gan,
    r3gan,
    stylegan2,
    stylegan3,
    taesd_vae,
)
from ..errors import InputError
from ..generator import Generator, architecture_of, assembled, load
from . import state_dicts as foreign
from . import torch_files
from .layouts import dcgan as dcgan_layouts
from .pickles import Work
from .state_dicts import ITEMS_OF_A_CANDIDATE, ITEMS_OF_A_TENSOR, MOST_SEARCHED, Rank, prefixes

ENDINGS = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt")
"""Of the files that are opened here, besides those of safetensors."""

SAFETENSORS = (".safetensors", ".sft")
"""The endings of these, of which Flux's VAE has the short one."""


@dataclass(frozen=True)
class Layout:
    """How somebody else names the tensors of a network that is one of ours."""

    name: str
    """For people."""
    architecture: Architecture
    matches: Callable[[Shapes], bool]
    translate: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    """Their state dict to ours. Raises InputError for one that cannot be."""
    config: Callable[[Any, Mapping[str, frozenset[Any]]], Any] = lambda config, attributes: config
    """The config, changed by what only the modules' attributes tell."""
    prefix: Callable[[Shapes], str] = lambda shapes: ""
    """What all names of its tensors begin with. Others, of a file with several networks, are not even read."""


@dataclass(frozen=True)
class Reading:
    """How far a file has been read."""

    done: int
    """Bytes of weights."""
    total: int
    generator: Generator | None = None
    """The generator, once all is read."""


def importing(path: str | Path) -> Iterator[Reading]:
    """Opens a generator that another program made, on the CPU. Nothing in the file is executed.

    Pickles of NVIDIA's networks, files of torch.save and safetensors files are read as data; the network family is
    recognised by the names and shapes of the tensors. Yields while it finds its way in the file and after every
    tensor; the last value has the generator.

    Raises InputError, in a sentence that says what the file is, for anything that is no generator known here.
    """
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS or weights.is_safetensors(path):
        yield from _from_safetensors(path)
        return
    with torch_files.opened(path) as file:
        for _ in file.reading():
            yield Reading(0, file.size)
        first = None
        for state in foreign.searching(file):
            layout = _layout(state.shapes) if state else None
            if state and layout:
                yield from _read(file, state, layout)
                return
            first = first or state
            yield Reading(0, file.size)
        raise InputError(f"{path.name} is {_stranger(first) if first else _nothing(file)}.")


PICKLES = (b"\x80", b"PK\x03\x04")
"""What a pickle and a file of torch.save begin with."""


def may_be_weights(path: Path) -> bool:
    """Whether a file begins as those do that `importing` reads as pickles. More is only known when it is read."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(PICKLES)
    except OSError:
        return False


def importable(path: Path) -> Architecture | None:
    """The family that `importing` finds in a safetensors file, by its header alone; None where it would refuse it."""
    try:
        with weights.opened(path) as file:
            layout = None if file.description else _layout(file.shapes)
    except InputError:
        return None
    return layout.architecture if layout else architecture_of(path)


def _read(file: torch_files.TorchFile, state: foreign.Weights, layout: Layout) -> Iterator[Reading]:
    prefix = layout.prefix(state.shapes)
    wanted = {name: tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
    total, done = sum(tensor.nbytes for tensor in wanted.values()), 0
    tensors = {}
    for name, stored in wanted.items():
        tensors[name] = file.tensor(stored)
        done += stored.nbytes
        yield Reading(done, total)
    yield Reading(total, total, _translated(Path(file.name), layout, tensors, state.attributes, state.kind))


def _from_safetensors(path: Path) -> Iterator[Reading]:
    """A file of ours, or one that somebody converted and left the names as they were."""
    with weights.opened(path) as file:
        found = None if file.description else _in_safetensors(file)
        if found is None:
            generator = load(path)
        else:
            layout, names = found
            tensors: dict[str, Tensor] = {}
            done = 0
            for name, theirs in names.items():
                tensors[theirs] = file.tensor(name)
                done += tensors[theirs].nbytes
                yield Reading(done, file.size)
            generator = _translated(path, layout, tensors, {}, "a safetensors file")
        yield Reading(file.size, file.size, generator)


def _in_safetensors(file: weights.OpenedFile) -> tuple[Layout, dict[str, str]] | None:
    """The layout of the generator in a file, and its tensors by their names in the file; None where there is none."""
    work = Work(file.name, MOST_SEARCHED)
    for part in prefixes(file.shapes, Rank.UNKNOWN, work):
        work.charge(ITEMS_OF_A_CANDIDATE + ITEMS_OF_A_TENSOR * len(part.names))
        names = {name.removeprefix(part.text): name for name in part.names}
        shapes = {theirs: file.shapes[name] for theirs, name in names.items()}
        layout = _layout(shapes)
        if layout is not None:
            begin = layout.prefix(shapes)
            return layout, {name: theirs for theirs, name in names.items() if theirs.startswith(begin)}
    return None


def _nothing(file: torch_files.TorchFile) -> str:
    """What a file without a generator's weights is, for a sentence."""
    other = foreign.discriminator_in(file)
    if other is None:
        return "a pickle without weights in it"
    return f'a file with the weights of a discriminator, under "{other}", and none of a generator'


def _translated(
    path: Path,
    layout: Layout,
    tensors: dict[str, Tensor],
    attributes: Mapping[str, frozenset[Any]],
    kind: str,
) -> Generator:
    weights.check_finite(path.name, tensors)
    try:
        ours = layout.translate(tensors)
        shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
        config = layout.config(layout.architecture.config_from(shapes), attributes)
    except InputError as error:
        raise InputError(f"{path.name} looks like {layout.name}, but cannot be opened: {error}") from None
    card = {"title": path.stem, "imported": {"file": path.name, "from": f"{layout.name}, in {kind}"}}
    return assembled(path.name, layout.architecture, config, shapes, lambda: ours, card)


def _layout(shapes: Shapes) -> Layout | None:
    return next((layout for layout in (*LAYOUTS, *_OURS) if layout.matches(shapes)), None)


def _stranger(state: foreign.Weights) -> str:
    """What a file with an unknown state dict is, for a sentence."""
    for name in state.tensors:
        for pattern, what in _STRANGERS.items():
            if re.search(pattern, name):
                return f"{what} (it has {name}), which cannot be opened here"
    name, tensor = next(iter(state.tensors.items()))
    return (
        f"{state.kind} of {len(state.tensors)} tensors, the first {name} of shape {list(tensor.shape)}: no generator "
        f"that is known here. Known are {', '.join(layout.name for layout in LAYOUTS)}"
    )


def _stylegan2_config(config: Any, attributes: Mapping[str, frozenset[Any]]) -> Any:
    """What only the modules' attributes tell. Raises InputError for a network that computes in another way."""
    _only(attributes, "activation", {"lrelu", "linear"})
    _only(attributes, "architecture", {"skip"})
    _only(attributes, "use_noise", {True})
    _only(attributes, "lr_multiplier", {0.01, 1})
    bounds = {value for value in attributes.get("conv_clamp", ()) if value is not None}
    if len(bounds) > 1 or not all(type(value) in (int, float) and value == value // 1 for value in bounds):
        raise InputError(f"its layers are clamped at other values than one whole number: {_listed(bounds)}.")
    return replace(config, clamp=int(next(iter(bounds), 0))) if "conv_clamp" in attributes else config


def _stylegan3_config(config: Any, attributes: Mapping[str, frozenset[Any]]) -> Any:
    """Raises InputError for a network that computes in another way."""
    _only(attributes, "activation", {"lrelu", "linear"})
    _only(attributes, "output_scale", {0.25})
    _only(attributes, "num_critical", {2})
    _only(attributes, "margin_size", {10})
    _only(attributes, "lrelu_upsampling", {2})
    _only(attributes, "first_cutoff", {2})
    _only(attributes, "first_stopband", {2**2.1})
    _only(attributes, "last_stopband_rel", {2**0.3})
    _only(attributes, "conv_clamp", {256})
    _only(attributes, "lr_multiplier", {0.01, 1})
    return config


def _r3gan_config(config: Any, attributes: Mapping[str, frozenset[Any]]) -> Any:
    """Raises InputError where the file says another thing of its network than its tensors do."""
    _only(attributes, "z_dim", {config.latent_size})
    _only(attributes, "c_dim", {config.classes})
    _only(attributes, "img_resolution", {config.side})
    return config


def _only(attributes: Mapping[str, frozenset[Any]], name: str, known: set[Any]) -> None:
    other = attributes.get(name, frozenset()) - known
    if other:
        raise InputError(f"its {name} is {_listed(other)}, and only {', '.join(map(str, known))} is known.")


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(sorted(str(value)[:40] for value in values)[:3])


LAYOUTS = (
    Layout(
        "a StyleGAN2 of NVIDIA's",
        stylegan2.ARCHITECTURE,
        stylegan2.is_original,
        stylegan2.from_original,
        _stylegan2_config,
    ),
    Layout(
        "a StyleGAN3 of NVIDIA's",
        stylegan3.ARCHITECTURE,
        stylegan3.ARCHITECTURE.detect,
        lambda tensors: tensors,
        _stylegan3_config,
    ),
    Layout("an R3GAN", r3gan.ARCHITECTURE, r3gan.is_original, r3gan.from_original, _r3gan_config),
    Layout("a FastGAN or Projected GAN", fastgan.ARCHITECTURE, fastgan.is_original, fastgan.from_original),
    Layout(
        "a lightweight-gan", lightweight_gan.ARCHITECTURE, lightweight_gan.is_original, lightweight_gan.from_original
    ),
    Layout("a DCGAN", dcgan.ARCHITECTURE, dcgan_layouts.is_original, dcgan_layouts.from_original),
    Layout("a TAESD", taesd_vae.ARCHITECTURE, taesd_vae.is_original, taesd_vae.from_original),
    Layout(
        "an AutoencoderKL of diffusers",
        autoencoder_kl.ARCHITECTURE,
        autoencoder_kl.ARCHITECTURE.detect,
        lambda tensors: tensors,
    ),
    Layout(
        "a VAE of Stable Diffusion",
        autoencoder_kl.ARCHITECTURE,
        autoencoder_kl.is_original,
        autoencoder_kl.from_original,
        prefix=lambda shapes: next(
            prefix for prefix in autoencoder_kl.PREFIXES if f"{prefix}decoder.conv_in.weight" in shapes
        ),
    ),
)
"""What can be imported, the first that matches first."""

_OURS = [
    Layout(f"a {architecture.name}", architecture, architecture.detect, lambda tensors: tensors)
    for architecture in ARCHITECTURES
]
"""State dicts that have our names already."""

_STRANGERS = {
    r"conv\.modulation\.weight": "a StyleGAN2 of rosinality's code",
    r"style\.\d+\.weight": "a StyleGAN of rosinality's code",
    r"lora_(up|down|A|B)\b": "a LoRA",
    r"model\.diffusion_model\.": "a checkpoint of a diffusion model",
    r"first_stage_model\.|(de|en)coder\.conv_in\.weight": "a VAE of another kind",
    r"text_model\.|transformer_blocks\.": "a part of a diffusion model",
    r"^embed_tokens|\.self_attn\.": "a language model",
    r"synthesis\.(superres|early_layers)|mapping\.embed_proj": "a StyleGAN-XL",
    r"^params|body\.\d+\.(rdb|conv)|conv_first\.weight": "an upscaler",
    r"^(layer1|features)\.0\.": "a classifier",
}
"""Other files that people have, by the names of their tensors."""
