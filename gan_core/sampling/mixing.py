"""Style mixing and truncation of latents."""

from __future__ import annotations

import torch

from ..errors import InputError
from ..generator import Generator
from ..latents import Latent
from .spaces import check_truncation, to_space, to_styles


def layers_of(generator: Generator, first: int = 0, last: int | None = None) -> slice:
    """Slice of the style layers first to last, inclusive; last None means the last layer.

    Raises InputError for a generator that is not style-based, and for layers that it does not have.
    """
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator and has no style layers: walk or blend "
            "between its latents instead."
        )
    count = generator.style_shape[1]
    end = count - 1 if last is None else last
    if not 0 <= first <= end < count:
        raise InputError(
            f"{generator.title} has style layers 0 to {count - 1}: first and last must be in this range, in ascending "
            f"order (got {first} to {end})."
        )
    return slice(first, end + 1)


def mix_styles(generator: Generator, latent: Latent, source: Latent, first: int = 0, last: int | None = None) -> Latent:
    """Style mixing: replaces the styles of layers first to last by those of another latent (Karras et al. 2019, sec.
    3.1).

    latent, source: in z, w or w+, equal in number, or one for all of the other. last: inclusive; None for the last
    layer. Returns a latent in w+.

    Raises InputError for a generator that is not style-based, for layers that it does not have, for latents of another
    generator, and for different numbers of latents.
    """
    layers = layers_of(generator, first, last)
    one, other = (to_space(generator, each, "w").samples for each in (latent, source))
    if len(one) != len(other) and 1 not in (len(one), len(other)):
        raise InputError(
            f"{len(one)} latents cannot be mixed with {len(other)}: give equal numbers, one for all, or mix as a grid."
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
    """Mixes every latent of `rows` with every latent of `columns`, as in mix_styles. Returns them row by row.

    sources: whether to add the columns as a first row and the rows as a first column, with the mean style in the
    corner.
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
        corner = generator.average_style[None, :, None, None].expand_as(across[:1])
        mixed = torch.cat([torch.cat([corner, across])[None], torch.cat([down[:, None], mixed], 1)])
    return Latent(mixed.flatten(0, 1), "w+")


def truncate(
    generator: Generator,
    latent: Latent,
    truncation: float,
    cutoff: int | None = None,
    target: Latent | None = None,
) -> Latent:
    """Truncation towards the mean latent or another target c: x becomes c + psi (x - c).

    truncation: psi; 1 changes nothing, 0 gives the target, and negative values lie on its other side. cutoff: number of
    the first (coarse) styles that are truncated; None for all. target: one point for all latents, or one for each; None
    for the mean style in w, 0 in z. A style-based generator truncates in w, others in z.

    Raises InputError for a truncation that is not finite, for a cutoff that the generator does not have, and for a
    number of targets that does not fit.
    """
    check_truncation(generator, truncation, cutoff)
    latent = to_space(generator, latent)
    if target is None and generator.style_shape is not None:
        return to_styles(generator, latent, truncation, cutoff)
    centre = torch.zeros_like(latent.samples[:1])
    if target is not None:
        target = to_space(generator, target)
        centre = target.samples
        if len(target) not in (1, len(latent)):
            raise InputError(
                f"{len(latent)} latents cannot be truncated towards {len(target)} targets: give one for all, or one "
                "for each."
            )
    samples = latent.samples.clone()
    count = samples.shape[2] if cutoff is None else cutoff
    samples[:, :, :count] = centre[:, :, :count].lerp(samples[:, :, :count], truncation)
    kept = latent.space if latent.space == "z" else _space_of(latent, target, samples, count)
    return Latent(samples, kept, latent.labels)


def _space_of(latent: Latent, target: Latent | None, samples: torch.Tensor, count: int) -> str:
    """Space of the result: w only if all styles of a point are still equal."""
    same = latent.space == "w" and (target is None or target.space == "w") and count in (0, samples.shape[2])
    return "w" if same else "w+"
