"""Seeds and class weights as people write them: "0-127" or "3,8,20-22", "cat:0.7, dog:0.3"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from ..latents import LAST_SEED, MAX_SAMPLES, comparable, find_class

if TYPE_CHECKING:
    from ..generator import Generator


def parse_seeds(text: str) -> list[int]:
    """ "3,8,20-22" -> [3, 8, 20, 21, 22]. Raises InputError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise InputError(f'Seeds are written like 0-127 or 3,8,20-30 (got "{text}").')
        # Longer numbers are out of range anyway, and int() rejects thousands of digits.
        span = range(int(first[:20]), int((last or first)[:20]) + 1)
        if not span or span[-1] > LAST_SEED:
            raise InputError(f'"{part.strip()}" is not a range of seeds: it must ascend, within 0 to {LAST_SEED}.')
        if len(seeds) + len(span) > MAX_SAMPLES:
            raise InputError(f"{text} are too many seeds: at most {MAX_SAMPLES:,} images are generated at a time.")
        seeds.extend(span)
    return seeds


def parse_class_weights(generator: Generator, text: str) -> Tensor:
    """Parses class weights, to float32 [classes]: "cat:0.7, dog:0.3", "cat", or one number for each class.

    Names as in find_class. Raises InputError for anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not generator.classes:
        raise InputError(f"{generator.title} was trained without classes and takes no class weights.")
    if comparable(text) in map(comparable, generator.class_names):
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
