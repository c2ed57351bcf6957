"""Latents made of others: styles of one and of another, and points drawn towards a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import InputError
from ..latents import Latent, check_truncation, to_space, to_styles

if TYPE_CHECKING:
    from ..generator import Generator


def layers_of(generator: Generator, first: int = 0, last: int | None = None) -> slice:
    """The styles from first to last, that one too; None for the very last.

    Raises InputError for a generator that has no styles, and for layers that it does not have.
    """
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator, which has no layers of styles to choose "
            "from: walk or blend between its latents instead."
        )
    count = generator.style_shape[1]
    end = count - 1 if last is None else last
    if not 0 <= first <= end < count:
        raise InputError(f"{generator.title} has the layers 0 to {count - 1}; from {first} to {end} there are none.")
    return slice(first, end + 1)


def mix_styles(generator: Generator, latent: Latent, source: Latent, first: int = 0, last: int | None = None) -> Latent:
    """The latents with the styles of layers first to last taken from another (Karras et al. 2019, sec. 3.1).

    latent, source: in z, w or w+, of the same number, or one for all of the other. last: that one too; None for the
    very last. Returns a latent in w+.

    Raises InputError for a generator that has no styles, for layers that it does not have, and for latents that are
    not its own or not as many.
    """
    layers = layers_of(generator, first, last)
    one, other = (to_space(generator, each, "w").samples for each in (latent, source))
    if len(one) != len(other) and 1 not in (len(one), len(other)):
        raise InputError(
            f"{len(one)} latents cannot be mixed with {len(other)}: give as many of both, one for all, or make a grid."
        )
    count = max(len(one), len(other))
    samples = one.expand(count, -1, -1, -1).clone()
    samples[:, :, layers] = other[:, :, layers]
    return Latent(samples, "w+")


def mix_grid(
    generator: Generator,
    rows: Latent,
    columns: Latent,
    first: int = 0,
    last: int | None = None,
    sources: bool = False,
) -> Latent:
    """Every latent of `rows` mixed with every one of `columns`, as mix_styles does: row after row.

    sources: also those that were mixed, as a first row and a first column, with the average style in the corner.
    """
    layers_of(generator, first, last)
    down, across = (to_space(generator, each, "w").samples for each in (rows, columns))
    mixed = mix_styles(
        generator,
        Latent(down.repeat_interleave(len(across), 0), "w+"),
        Latent(across.repeat(len(down), 1, 1, 1), "w+"),
        first,
        last,
    ).samples.unflatten(0, (len(down), len(across)))
    if sources:
        corner = generator.average_style.to(across)[None, :, None, None].expand_as(across[:1])
        mixed = torch.cat([torch.cat([corner, across])[None], torch.cat([down[:, None], mixed], 1)])
    return Latent(mixed.flatten(0, 1), "w+")


def drawn_towards(
    generator: Generator,
    latent: Latent,
    truncation: float,
    cutoff: int | None = None,
    target: Latent | None = None,
) -> Latent:
    """Latents drawn towards the average picture, or towards another: x becomes c + psi (x - c).

    truncation: psi; 1 leaves all as it is, 0 makes all the same, and below 0 they are on the other side. cutoff: how
    many of the first styles, the coarse ones, are drawn; None for all. target: one point for all, or one for each;
    None for the mean style, or 0 in z. A style-based generator does it in w, and others in z.

    Raises InputError for a truncation that is no finite number, for a cutoff that the generator does not have, and for
    latents that do not go together.
    """
    check_truncation(generator, truncation, cutoff)
    latent = to_space(generator, latent)
    if target is None and generator.style_shape is not None:
        return to_styles(generator, latent, truncation, cutoff)
    centre = torch.zeros_like(latent.samples[:1])
    if target is not None:
        target = to_space(generator, target)
        centre = target.samples.to(latent.samples)
        if len(target) not in (1, len(latent)):
            raise InputError(
                f"{len(latent)} latents cannot be drawn towards {len(target)}: give one for all, or one for each."
            )
    samples = latent.samples.clone()
    count = samples.shape[2] if cutoff is None else cutoff
    samples[:, :, :count] = centre[:, :, :count].lerp(samples[:, :, :count], truncation)
    kept = latent.space if latent.space == "z" else _space_of(latent, target, samples, count)
    return Latent(samples, kept, latent.labels)


def _space_of(latent: Latent, target: Latent | None, samples: torch.Tensor, count: int) -> str:
    """w only where all styles of a point are still the same."""
    same = latent.space == "w" and (target is None or target.space == "w") and count in (0, samples.shape[2])
    return "w" if same else "w+"
