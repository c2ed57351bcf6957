"""Class labels of latents: by name, by number, or as weights of several classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..generator import Generator


def find_class(generator: Generator, label: str) -> int:
    """Number of a class, from its name or its number.

    A name has priority over a number: "10" is the class of that name, at any position. A number, from 0, is accepted
    only if no class has a number as its name. Raises InputError if there is no such class.
    """
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no label.")
    names = [_comparable(name) for name in generator.class_names]
    wanted = _comparable(label)
    if wanted in names:
        return names.index(wanted)
    alike = [i for i, name in enumerate(names) if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    if re.fullmatch(r"[0-9]{1,9}", wanted) and not any(re.fullmatch(r"[0-9]+", name) for name in names):
        return _in_range(generator, int(wanted))
    raise InputError(f"{generator.title} has {generator.classes_in_words}, but no class {_quoted(label)}.")


def parse_class_weights(generator: Generator, text: str) -> Tensor:
    """Parses class weights, to float32 [classes]: "cat:0.7, dog:0.3", "cat", or one number for each class.

    Names as in find_class. Raises InputError for anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no class weights.")
    if _comparable(text) in map(_comparable, generator.class_names):
        return torch.eye(generator.classes)[find_class(generator, text)]
    try:
        if parts and all(":" in part for part in parts):
            pairs = [part.rpartition(":") for part in parts]
            given = {find_class(generator, name): float(weight) for name, _, weight in pairs}
            if len(given) == len(parts):
                return torch.tensor([given.get(label, 0.0) for label in range(generator.classes)])
        elif not any(":" in part for part in parts) and len(parts) == generator.classes:
            return torch.tensor([float(part) for part in parts])
    except InputError as error:
        reason = f" {error}"
    except ValueError:
        reason = ""
    else:
        reason = ""
    first, last = generator.class_names[0], generator.class_names[-1]
    raise InputError(
        f'"{text[:100]}" are not class weights of {generator.title}: write pairs such as {first}:0.7, {last}:0.3, '
        f"each class once, or {generator.classes} numbers separated by commas.{reason}"
    )


def labels_for(
    generator: Generator, count: int, labels: int | str | Sequence[int | str] | Tensor | None
) -> Tensor | None:
    """Labels of a batch of latents, int64 [count], or class weights [count, classes], on the device of the generator;
    None for no labels.

    labels: as in sample_noise. Raises InputError for labels that do not fit the generator or the count.
    """
    if labels is None:
        return None
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no label.")
    if isinstance(labels, Tensor):
        if labels.is_floating_point():
            return _class_weights(generator, count, labels.to(generator.device))
        labels = labels.tolist()
    given = [labels] * count if isinstance(labels, (int, str)) else list(labels)
    chosen = [find_class(generator, label) if isinstance(label, str) else label for label in given]
    if len(chosen) != count:
        raise InputError(f"{len(chosen)} labels were given for {count} images: give one label, or one for each.")
    return torch.tensor([_in_range(generator, label) for label in chosen], dtype=torch.int64, device=generator.device)


def _class_weights(generator: Generator, count: int, given: Tensor) -> Tensor:
    if given.shape not in ((generator.classes,), (count, generator.classes)) or not bool(given.isfinite().all()):
        raise InputError(
            f"{generator.title} has {generator.classes} classes: give one finite weight for each class, for all images "
            f"or for each of the {count}."
        )
    return given.float().expand(count, -1)


def _in_range(generator: Generator, label: int) -> int:
    if not 0 <= label < generator.classes:
        raise InputError(f"{generator.title} has {generator.classes_in_words}, but no class {label}.")
    return label


def _comparable(name: str) -> str:
    """The name of a class in a form in which equal names are equal."""
    # A letter with an accent is one code point or two, for example in file names of macOS.
    return unicodedata.normalize("NFC", name.strip())


def _quoted(label: str) -> str:
    return label.strip() if re.fullmatch(r"-?[0-9]{1,20}", label.strip()) else f'"{label}"'
