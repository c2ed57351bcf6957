"""GAN inversion by optimisation (Karras et al. 2020a, app. D) and pivotal tuning (PTI: Roich et al. 2021).

The search starts at the best of many random latents. From there Adam minimises the difference between the target and
the generated image at every scale; the coarse scales give a useful gradient long before single pixels agree.
"""

from __future__ import annotations

import copy
import math
from collections import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..card import Tuned
from ..errors import InputError
from ..generator import MAX_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE, Generator
from ..latents import LAST_SEED, Latent
from ..memory import exhausted, is_out_of_memory
from ..platforms import all_digits_of_float32, placed
from .seeds import sample_noise
from .spaces import to_styles

STARTS = 4
"""Latents optimised in parallel during the first third of the steps; then only the best continues. Only one for images
larger than 512x512, because of memory."""

MAX_STEPS = 100_000

MAX_CANDIDATES = 100_000

RATE = 0.05
"""Learning rate of Adam for latents, in standard deviations of the latents."""

NOISE = 0.05
"""Initial standard deviation of the noise added to the latents, in standard deviations of the latents. It helps to
leave local minima, and decays to 0 over the first half of the steps."""

OWN_STYLES = 0.02
"""Weight of the penalty for differences between the styles of w+, which make the image harder to edit."""

TUNING_RATE = 3e-4
"""Learning rate of Adam for weights in pivotal tuning (Roich et al. 2021), which decays to 0."""

ANCHORS = 16
"""Random latents whose images pivotal tuning preserves."""


@dataclass(frozen=True)
class ProjectionConfig:
    """Settings of a projection. The constructor raises InputError for values out of range."""

    space: str | None = None
    """Latent space: "w", one style for all layers; "w+", one for each layer, which reconstructs better; "z". None for
    w+ in a style-based generator, z in others."""
    steps: int = 300
    """Optimisation steps for each image; 0 returns the best random latent."""
    candidates: int = 256
    """Random latents among which the start is chosen."""
    label: int | None = None
    """Class label of the image, for a generator with classes; None for that of the best random latent."""
    tuning_steps: int = 0
    """Steps of pivotal tuning, which afterwards tunes the weights of a copy (Roich et al. 2021)."""
    seed: int = 0
    """Seed of the random latents and of the noise."""

    def __post_init__(self) -> None:
        if self.space not in (None, "z", "w", "w+"):
            raise InputError(f'space must be z, w or w+ (got "{self.space}").')
        for name, steps in (("steps", self.steps), ("tuning_steps", self.tuning_steps)):
            if not 0 <= steps <= MAX_STEPS:
                raise InputError(f"{name} must be 0 to {MAX_STEPS:,} (got {steps}).")
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise InputError(f"candidates must be 1 to {MAX_CANDIDATES:,} (got {self.candidates}).")
        if not 0 <= self.seed <= LAST_SEED + 1 - self.candidates:
            raise InputError(
                f"seed must be 0 to {LAST_SEED + 1 - self.candidates} for {self.candidates} candidates (got "
                f"{self.seed})."
            )


@dataclass(frozen=True)
class Projecting:
    """Progress of a projection after one of its steps."""

    done: int
    """Steps done."""
    total: int
    """Steps in all: `steps` for each image, and those of a tuning."""
    latent: Latent
    """Latents of the images so far, on the CPU."""
    targets: Tensor
    """Target images, [B, C, H, W] in [-1, 1], on the CPU."""
    images: Tensor
    """Images generated from the latents, [B, C, H, W], on the CPU."""
    generator: Generator
    """Generator that was given; after the last tuning step, the tuned one."""
    steps: int
    """Steps for each image."""

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 1.0

    @property
    def psnr(self) -> float:
        """PSNR of all images so far, in decibels: 20 is similar, 30 is hard to tell apart."""
        return psnr(self.images, self.targets[: len(self.images)])

    def __str__(self) -> str:
        searched, count, number = self.steps * len(self.targets), len(self.targets), len(self.images)
        if self.done > searched:
            where = f"tuning step {self.done - searched} of {self.total - searched}"
        else:
            where = f"step {self.done - (number - 1) * self.steps} of {self.steps}"
            where = where if count == 1 else f"image {number} of {count}, {where}"
        return f"{where}: PSNR {self.psnr:.1f} dB"


def psnr(images: Tensor, targets: Tensor) -> float:
    """Peak signal-to-noise ratio of images [B, C, H, W] in [-1, 1], in decibels."""
    error = float((images.clamp(-1, 1) - targets).square().mean())
    return 10 * math.log10(4 / max(error, 1e-12))


def projecting(
    generator: Generator,
    targets: Tensor,
    config: ProjectionConfig,
    device: torch.device | str = "cpu",
) -> abc.Generator[Projecting, None, None]:
    """Finds the latents that best reconstruct target images, one image after another; yields after every step.

    targets: [B, C, H, W] in [-1, 1], from encoding.images_for. device: where it is computed. The given
    generator is not changed, because the work is done on a copy. On one machine the same seed gives the same latents.

    Raises InputError for images of another shape or with values that are not finite, for a space that the generator
    does not have, and for an unknown label; OutOfMemory where the memory of the device does not suffice.
    """
    targets = targets.cpu()
    shape = (generator.config.channels, *generator.size)
    if targets.ndim != 4 or targets.shape[1:] != shape or not len(targets):
        raise InputError(
            f"{generator.title} generates images of shape {list(shape)} (got {list(targets.shape[1:])}): convert them "
            "with images_for."
        )
    if not bool(targets.isfinite().all()):
        raise InputError("A target image has values that are not finite.")
    styled = generator.style_shape is not None
    space = config.space or ("w+" if styled else "z")
    if (space == "z") == styled:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator: set space to "
            f"{'w or w+' if styled else 'z'}."
        )
    try:
        yield from _projecting(generator, targets, space, config, torch.device(device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return
    what = f"Projecting an image of {generator.size_in_words} into {space} of {generator.title}"
    raise exhausted(what, torch.device(device), "close what else uses it, or project on another device")


def _projecting(
    generator: Generator, targets: Tensor, space: str, config: ProjectionConfig, device: torch.device
) -> Iterator[Projecting]:
    work = replace(generator, module=copy.deepcopy(generator.module).to(device).requires_grad_(False).eval())
    candidates = _candidates(work, config)
    total = len(targets) * config.steps + config.tuning_steps
    found: list[Latent] = []
    images: list[Tensor] = []
    done = 0
    for target in targets:
        for latent, image in _searching(work, target, space, config, candidates):
            latents, generated = _joined([*found, latent]), torch.cat([*images, image])
            step = Projecting(done, total, latents, targets, generated, generator, config.steps)
            yield step
            done += 1
        done -= 1  # the start is not a step
        found.append(latent)
        images.append(image)
    if config.tuning_steps:
        yield from _tuning(generator, work, step, config)


def _candidates(generator: Generator, config: ProjectionConfig) -> Latent:
    seeds = range(config.seed, config.seed + config.candidates)
    return sample_noise(generator, seeds, labels=config.label)


@dataclass
class _Points:
    """Latents under optimisation, one of which will be the result."""

    base: Tensor
    """z, or the part of the style common to all layers: [K, C, 1, 1]."""
    own: Tensor
    """Difference of the style of each layer from the common part: [K, C, num_ws, 1]."""
    space: str
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.base)

    def one(self, place: int) -> _Points:
        part = slice(place, place + 1)
        labels = None if self.labels is None else self.labels[part]
        return _Points(self.base.detach()[part].clone(), self.own.detach()[part].clone(), self.space, labels)

    @property
    def latent(self) -> Latent:
        labels = self.labels.cpu() if self.labels is not None and self.space == "z" else None
        return Latent((self.base + self.own).detach().cpu(), self.space, labels)

    def images(self, generator: Generator, noise: Tensor | float = 0.0) -> Tensor:
        """Images generated from the points, with a gradient."""
        return _generated(generator, self.base + self.own + noise, self.space, self.labels)

    @torch.no_grad()
    @all_digits_of_float32()
    def nearest(self, generator: Generator, target: Tensor) -> tuple[int, float]:
        """Index and loss of the point whose image is most similar to the target."""
        loss = _loss(self.images(generator), target)
        return int(loss.argmin()), float(loss.min())


def _searching(
    generator: Generator, target: Tensor, space: str, config: ProjectionConfig, candidates: Latent
) -> Iterator[tuple[Latent, Tensor]]:
    """Yields the best latent of one target and its image: first the best candidate, then after every step."""
    target = placed(target[None], generator.device)
    points, deviation = _start(generator, target, space, candidates)
    best = points.one(0)
    yield best.latent, generator.decode(best.latent).cpu()

    draw = torch.Generator().manual_seed(config.seed)
    optimiser, lowest = None, math.inf
    for step in range(config.steps):
        part = step / config.steps
        if len(points) > 1 and part >= 1 / 3:
            points, optimiser = points.one(points.nearest(generator, target)[0]), None
        if optimiser is None:
            optimiser = torch.optim.Adam(
                [{"params": [values.requires_grad_(True)]} for values in (points.base, points.own)], betas=(0.9, 0.99)
            )
        rate = deviation * RATE * min(1, 20 * part + 0.05) * min(1, 2 - 2 * part) ** 2
        # The styles differ only once the common part is close: what the common part reaches stays editable.
        alone = space == "w+" and part >= 1 / 3
        for group, size in zip(optimiser.param_groups, (rate, rate if alone else 0.0), strict=True):
            group["lr"] = size
        fading = NOISE * deviation * max(0, 1 - 2 * part) ** 2
        with all_digits_of_float32(), torch.enable_grad():
            noise = torch.randn(points.base.shape, generator=draw).to(target.device) * fading
            images = points.images(generator, noise)
            loss = _loss(images, target)
            apart = (points.own / deviation).square().mean(dim=(1, 2, 3)) * OWN_STYLES
            optimiser.zero_grad(set_to_none=True)
            (loss + apart).sum().backward()
        place = int(loss.argmin())
        if fading or loss[place].item() < lowest:
            best, image = points.one(place), images[place : place + 1].detach().cpu()
            lowest = math.inf if fading else loss[place].item()
        optimiser.step()
        if step == config.steps - 1 and (last := points.nearest(generator, target))[1] < lowest:
            best = points.one(last[0])
            image = generator.decode(best.latent).cpu()
        yield best.latent, image


def _start(generator: Generator, target: Tensor, space: str, candidates: Latent) -> tuple[_Points, float]:
    """Candidates whose images are most similar to the target, the best first, and the standard deviation of all."""
    fit = PIXELS_DECODED_AT_ONCE // math.prod(generator.size)
    part = max(1, min(MAX_DECODED_AT_ONCE, fit))
    losses = [_loss(generator.decode(candidates[i : i + part]), target) for i in range(0, len(candidates), part)]
    best = torch.cat(losses).argsort()[: max(1, min(STARTS, fit))]
    labels = None if candidates.labels is None else candidates.labels[best]
    start, deviation = candidates.samples[best], 1.0
    if space != "z":
        w = to_styles(generator, candidates).samples
        start = w[best]
        deviation = float((w[:, :, 0, 0] - generator.average_style).square().mean().sqrt())
    return _Points(start[:, :, :1].clone(), torch.zeros_like(start), space, labels), deviation


def _generated(generator: Generator, points: Tensor, space: str, labels: Tensor | None) -> Tensor:
    """Images generated from points [N, C, n, 1], with a gradient."""
    if space == "z":
        return generator.module(points.flatten(1), labels).float()
    return generator.module.synthesis(points.squeeze(3).transpose(1, 2)).float()


def _joined(latents: Sequence[Latent]) -> Latent:
    labels = [latent.labels.cpu() for latent in latents if latent.labels is not None]
    return Latent(
        torch.cat([latent.samples.cpu() for latent in latents]), latents[0].space, torch.cat(labels) if labels else None
    )


def _loss(images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference, summed over scales that halve down to about 4 pixels: [N]."""
    difference = images - targets
    # Values beyond black or white are clipped, so that they are correct where the target is black or white.
    difference = difference.masked_fill((targets.abs() > 1 - 1e-3) & (difference * targets > 0), 0)
    loss = difference.square().mean(dim=(1, 2, 3))
    while min(difference.shape[2:]) >= 8:
        difference = functional.avg_pool2d(difference, 2)
        loss = loss + difference.square().mean(dim=(1, 2, 3))
    return loss


def _tuning(given: Generator, work: Generator, step: Projecting, config: ProjectionConfig) -> Iterator[Projecting]:
    """Pivotal tuning: fine-tunes a copy so that its images of the found latents match the targets (Roich et al.
    2021)."""
    module = work.module
    # The mapping network is not tuned, so that directions and seeds keep their meaning.
    weights = list((module if given.style_shape is None else module.synthesis).parameters())
    seeds = range(config.seed, config.seed + min(ANCHORS, config.candidates))
    anchors = sample_noise(work, seeds)
    if given.style_shape is not None:
        anchors = to_styles(work, anchors)
    before = torch.cat([work.decode(anchors[i : i + 1]) for i in range(len(anchors))])
    space = "z" if given.style_shape is None else "w+"
    latent, targets = step.latent, placed(step.targets, work.device)
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.Adam(weights, TUNING_RATE, betas=(0.9, 0.99))
    images = step.images.clone()
    for i in range(config.tuning_steps):
        one, anchor = i % len(targets), i % len(anchors)
        part = i / config.tuning_steps
        optimiser.param_groups[0]["lr"] = TUNING_RATE * min(1, 10 * part + 0.1) * (1 - part)
        # Two images per step: one target, and one anchor that must not change.
        with all_digits_of_float32(), torch.enable_grad():
            pair = _joined([latent[one : one + 1], anchors[anchor : anchor + 1]])
            labels = None if pair.labels is None else pair.labels.to(work.device)
            generated = _generated(work, pair.samples.to(work.device), space, labels)
            loss = _loss(generated[:1], targets[one : one + 1]) + _loss(generated[1:], before[anchor : anchor + 1])
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
        images[one] = generated[0].detach().float().cpu()
        optimiser.step()
        yield replace(step, done=step.done + i + 1, images=images.clone())
    module.requires_grad_(False)
    images = work.decode(latent).cpu()
    card = replace(given.card, title=f"{given.title} (tuned)", tuned=Tuned(len(targets), i + 1))
    tuned = replace(given, module=module.to(given.device), card=card)
    yield replace(step, done=step.total, images=images, generator=tuned)
