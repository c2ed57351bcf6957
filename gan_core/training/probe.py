"""Inspection of a data set before training, and the preset that suits it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.images import ImageDataset
from ..errors import InputError
from . import checkpoint
from .config import TrainConfig
from .design import design
from .presets import AUTO, GAN_PRESETS

FEW_HUNDRED, FEW_THOUSAND, MANY = 500, 2000, 10_000
"""Different images: below the first, a discriminator overfits within minutes; below the second, that of a small network
does too, and below the third that of a large one (Karras et al. 2020, fig. 1: without augmentation FID gets worse
again early with 10,000 images and fewer)."""

SMALL_SIDE, LARGE_SIDE = 32, 128
"""Below the first, deep networks have no room for their stages; beyond the second, `auto` takes no plain DCGAN."""


@dataclass(frozen=True)
class Probe:
    """Facts about a data set."""

    count: int
    """Images."""
    height: int
    width: int
    channels: int
    """1 grey, 3 RGB, 4 RGBA."""
    classes: int
    """0 for a set without."""
    looked_at: int
    """Images that were compared with one another."""
    duplicates: int
    """Those of them that are the same as one before them, or nearly."""

    @property
    def different(self) -> int:
        """How many of all images are unique, estimated from those that were looked at: at most, as the other one of a
        pair may not be among them."""
        return self.count - round(self.count * self.duplicates / max(1, self.looked_at))


def probe(dataset: ImageDataset) -> Probe:
    """Inspects a data set."""
    found = dataset.duplicates
    return Probe(
        len(dataset),
        dataset.height,
        dataset.width,
        dataset.channels,
        dataset.classes,
        found.looked_at,
        found.count,
    )


def choose(found: Probe, device: torch.device) -> tuple[str, str]:
    """The preset for such data on that device, one of GAN_PRESETS, and a sentence that says why.

    Raises InputError, with what no network can make, for images of a size or of colours that none of them learns.
    """
    wanted, why = _wanted(found, device.type != "cpu")
    refusal: InputError | None = None
    for name in (*wanted, *GAN_PRESETS):
        if name not in GAN_PRESETS:
            continue
        try:
            design(GAN_PRESETS[name], found.height, found.width, found.channels, found.classes)
        except InputError as error:
            refusal = refusal or error
            continue
        where = "a CPU" if device.type == "cpu" else "a GPU"
        images = f"{found.different:,} different images of {found.width}x{found.height}x{found.channels}"
        reason = why if name in wanted else "it is the first that can learn such images"
        return name, f"The preset is {name}, for {images} on {where}: {reason}."
    assert refusal is not None
    raise refusal


def settled(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> tuple[TrainConfig, list[str]]:
    """The config with a preset of its own in place of "auto", and sentences that say which and why.

    A run that is resumed keeps the preset that it began with. Raises InputError as `choose` does, and where the two
    cannot go together with what else the config asks for.
    """
    if config.preset != AUTO:
        return config, []
    state = checkpoint.state_of(Path(config.folder)) if config.resume else None
    begun = str((state or {}).get("preset"))
    if begun in GAN_PRESETS:
        chosen, remarks = begun, [f"The preset is {begun}, with which the run began."]
    else:
        chosen, reason = choose(probe(dataset), device)
        remarks = [reason]
    config = replace(config, preset=chosen)
    wanted = config.recipe.batch_size
    if "batch_size" not in config.settings and 2 <= len(dataset) < wanted:
        # A power of two, as several processes take equal parts of it.
        fewer = 2 ** (len(dataset).bit_length() - 1)
        remarks.append(
            f"A batch has {fewer} images instead of {wanted}, as there are only {len(dataset)}: samples get better "
            "more slowly and less steadily than with a whole one."
        )
        config = replace(config, settings={**config.settings, "batch_size": fewer})
    config.check()
    return config, remarks


def _wanted(found: Probe, gpu: bool) -> tuple[list[str], str]:
    """Names of presets, the best first, and why they are it."""
    shorter, longer = sorted((found.height, found.width))
    different = found.different
    if gpu:
        if different < FEW_HUNDRED and shorter >= SMALL_SIDE:
            why = "its discriminator also learns to reconstruct real images, which holds off overfitting to so few"
            return ["fastgan", "few"], why
        if different < MANY and shorter >= SMALL_SIDE:
            return [
                "stylegan2",
                "few",
            ], "a discriminator soon overfits to this number, which adaptive augmentation holds off"
        if different < FEW_THOUSAND:
            return ["few"], "a discriminator soon overfits to so few, which adaptive augmentation holds off"
        if shorter >= SMALL_SIDE:
            return ["r3gan", "dcgan"], "they are enough for a large network"
        return ["dcgan"], "for small images a plain network is enough"
    if different < FEW_THOUSAND:
        if longer > LARGE_SIDE:
            why = "its discriminator also learns to reconstruct real images, which holds off overfitting to so few"
            return ["fastgan_small", "fastgan"], why
        return ["few"], "a discriminator soon overfits to so few, which adaptive augmentation holds off"
    if longer > LARGE_SIDE:
        return ["r3gan_small", "fastgan_small", "fastgan"], "it is the smallest network for images so large"
    if found.channels == 1 and longer <= SMALL_SIDE:
        return ["digits"], "small grey images need a small network only"
    if different < MANY:
        return ["few"], "they are few enough for adaptive augmentation, and its small batches learn sooner"
    return ["dcgan_small"], "it learns in minutes what larger networks learn in hours there"
