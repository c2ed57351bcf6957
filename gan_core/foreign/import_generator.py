"""Import of generators of other programs, read as data, in any of their file formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .. import weights
from ..architectures import Architecture
from ..card import Card, Imported
from ..errors import InputError
from ..generator import Generator, architecture_of, assembled, load
from .layouts import LAYOUTS, Layout, layout_of, stranger
from .layouts.layout import Attributes
from .state_dicts import Candidate, discriminator_in, names_of_candidates, searching
from .torch_files import TorchFile, opened

ENDINGS = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt")
"""Extensions of files that are opened here, besides those of safetensors."""

SAFETENSORS = (".safetensors", ".sft")
"""Extensions of safetensors files; Flux's VAE has the short one."""

PICKLES = (b"\x80", b"PK\x03\x04")
"""First bytes of a pickle, and of a file of torch.save."""


@dataclass(frozen=True)
class Reading:
    """Progress of reading a file."""

    done: int
    """Bytes of weights read."""
    total: int
    """Bytes in all."""
    generator: Generator | None = None
    """The generator; set in the last value."""


def importing(path: str | Path) -> Iterator[Reading]:
    """Opens a generator of another program, on the CPU. Nothing in the file is executed.

    Pickles of NVIDIA's networks, files of torch.save and safetensors files are read as data; the architecture is
    recognised by names and shapes of the tensors. Yields while it searches the file and after every tensor; the last
    value has the generator.

    Raises InputError, which names the kind of file, for anything that is not a known generator.
    """
    path = Path(path)
    if path.suffix.lower() in SAFETENSORS or weights.is_safetensors(path):
        yield from _from_safetensors(path)
    else:
        yield from _from_pickle(path)


def importable(path: Path) -> Architecture | None:
    """Architecture that `importing` finds in a safetensors file, from its header alone; None if it would reject it."""
    try:
        with weights.opened(path) as file:
            layout = None if file.description else layout_of(file.shapes)
    except InputError:
        return None
    return layout.architecture if layout else architecture_of(path)


def may_be_weights(path: Path) -> bool:
    """Whether a file begins like the pickles that `importing` reads. More is known only after reading it."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(PICKLES)
    except OSError:
        return False


def _from_pickle(path: Path) -> Iterator[Reading]:
    """Imports from a pickle or a file of torch.save."""
    with opened(path) as file:
        for _ in file.reading():
            yield Reading(0, file.size)
        first = None
        for candidate in searching(file):
            layout = layout_of(candidate.shapes) if candidate else None
            if candidate and layout:
                yield from _read(file, candidate, layout)
                return
            first = first or candidate
            yield Reading(0, file.size)
        raise InputError(f"{path.name} is {_unknown(first) if first else _without_generator(file)}.")


def _read(file: TorchFile, candidate: Candidate, layout: Layout) -> Iterator[Reading]:
    prefix = layout.prefix(candidate.shapes)
    wanted = {name: tensor for name, tensor in candidate.tensors.items() if name.startswith(prefix)}
    total, done = sum(tensor.nbytes for tensor in wanted.values()), 0
    tensors = {}
    for name, stored in wanted.items():
        tensors[name] = file.tensor(stored)
        done += stored.nbytes
        yield Reading(done, total)
    yield Reading(total, total, _converted(Path(file.name), layout, tensors, candidate.attributes, candidate.kind))


def _from_safetensors(path: Path) -> Iterator[Reading]:
    """Imports from a safetensors file in our format, or one with the tensor names of another program."""
    with weights.opened(path) as file:
        found = None if file.description else _in_safetensors(file)
        if found is None:
            generator = load(path)
        else:
            layout, names = found
            tensors: dict[str, Tensor] = {}
            done = 0
            for theirs, name in names.items():
                tensors[theirs] = file.tensor(name)
                done += tensors[theirs].nbytes
                yield Reading(done, file.size)
            generator = _converted(path, layout, tensors, {}, "a safetensors file")
        yield Reading(file.size, file.size, generator)


def _in_safetensors(file: weights.OpenedFile) -> tuple[Layout, dict[str, str]] | None:
    """Layout of the generator in a file, and its tensor names -> names in the file; None if it has no generator."""
    for names in names_of_candidates(file.name, file.shapes):
        shapes = {theirs: file.shapes[name] for theirs, name in names.items()}
        layout = layout_of(shapes)
        if layout is not None:
            prefix = layout.prefix(shapes)
            return layout, {theirs: name for theirs, name in names.items() if theirs.startswith(prefix)}
    return None


def _converted(path: Path, layout: Layout, tensors: dict[str, Tensor], attributes: Attributes, kind: str) -> Generator:
    weights.check_finite(path.name, tensors)
    try:
        ours = layout.convert(tensors)
        shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
        config = layout.config(layout.architecture.config_from(shapes), attributes)
    except InputError as error:
        raise InputError(f"{path.name} looks like {layout.name}, but cannot be opened: {error}") from None
    card = Card(title=path.stem, imported=Imported(path.name, f"{layout.name}, in {kind}"))
    return assembled(path.name, layout.architecture, config, shapes, lambda: ours, card)


def _unknown(candidate: Candidate) -> str:
    """Description of a file with an unknown state dict, for a sentence."""
    name, tensor = next(iter(candidate.tensors.items()))
    return stranger(candidate.tensors) or (
        f"{candidate.kind} of {len(candidate.tensors)} tensors, the first {name} of shape {list(tensor.shape)}, and "
        f"not a known generator. Known are {', '.join(layout.name for layout in LAYOUTS)}"
    )


def _without_generator(file: TorchFile) -> str:
    """Description of a file without weights of a generator, for a sentence."""
    other = discriminator_in(file)
    if other is None:
        return "a pickle without weights"
    return f'a file with the weights of a discriminator, under "{other}", but no generator'
