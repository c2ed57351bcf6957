"""Latent spaces: from z to the styles w of a style-based generator, and truncation there."""

from __future__ import annotations

import math

from ..errors import InputError
from ..generator import Generator
from ..latents import Latent


def to_space(generator: Generator, latent: Latent, space: str | None = None) -> Latent:
    """Brings latents to the space in which they are edited: "z" or "w"; None for w if style-based, else z.

    Latents in w+ stay in w+. Returns them on the device of the generator. Raises InputError if they cannot be mapped to
    that space, and for latents of another generator.
    """
    if space not in (None, "z", "w"):
        raise InputError(f'space must be z or w (got "{space}").')
    generator.check(latent)
    if (space or ("w" if generator.style_shape else "z")) == "w":
        return to_styles(generator, latent)
    if latent.space != "z":
        raise InputError(f"This latent is in {latent.space} and cannot be mapped back to z: set space to w.")
    return generator.here(latent)


def to_styles(generator: Generator, latent: Latent, truncation: float = 1.0, cutoff: int | None = None) -> Latent:
    """Maps latents of a style-based generator to w and truncates them towards the mean style.

    latent: in z, w or w+. truncation: psi; w becomes mean + psi (w - mean). cutoff: number of the first (coarse) styles
    that are truncated; None for all. Returns a latent in w, or in w+ if its styles differ between layers, on the device
    of the generator.

    Raises InputError for a generator that is not style-based, for latents of another generator, for a truncation that
    is not finite and for a cutoff beyond the number of styles.
    """
    check_truncation(generator, truncation, cutoff)
    latent = generator.mapped(latent) if latent.space == "z" else generator.here(latent)
    mean = generator.average_style[:, None, None]
    count = latent.samples.shape[2] if cutoff is None else cutoff
    samples = latent.samples.clone()
    samples[:, :, :count] = mean.lerp(samples[:, :, :count], truncation)
    space = latent.space if truncation == 1 or count in (0, samples.shape[2]) else "w+"
    return Latent(samples, space)


def check_truncation(generator: Generator, truncation: float, cutoff: int | None) -> None:
    """Raises InputError for a truncation that is not finite, and a cutoff that the generator does not have."""
    if not math.isfinite(truncation):
        raise InputError(f"truncation must be a finite number, usually from 0 to 1 (got {truncation}).")
    if cutoff is None:
        return
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator without styles: leave cutoff out."
        )
    if not 0 <= cutoff <= generator.style_shape[1]:
        raise InputError(
            f"{generator.title} has {generator.style_shape[1]} styles: cutoff must be 0 to "
            f"{generator.style_shape[1]} (got {cutoff})."
        )
