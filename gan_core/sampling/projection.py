"""From a picture back to the latent that makes it (Karras et al. 2020a, app. D), and a generator tuned to it.

The best of many random latents is a start; from there Adam follows the gradient of the difference between the picture
and what the generator makes, seen at every scale: the coarse ones say which way to go long before single pixels agree.
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

from ..errors import InputError
from ..generator import MAX_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE, Generator
from ..latents import LAST_SEED, Latent, sample_noise, to_styles
from ..platforms import placed

STARTS = 4
"""Of the random latents so many are followed at first, and the best of them from a third of the way on; of pictures
larger than 512x512 only one, for the memory that their gradients take."""

MOST_STEPS = 100_000

MOST_CANDIDATES = 100_000

RATE = 0.05
"""Adam's step, in standard deviations of the latents."""

NOISE = 0.05
"""Standard deviation of the noise that is added to the latents at first, in standard deviations of theirs: it carries
over small hills, and has faded away when half of the steps are done."""

OWN_STYLES = 0.02
"""How much it costs that the styles of w+ differ, which is what leads away from pictures that can be steered."""

TUNING_RATE = 3e-4
"""Adam's step when weights are tuned (Roich et al. 2021), which falls to nothing at the end."""

ANCHORS = 16
"""Random latents whose pictures a tuning leaves as they are."""


@dataclass(frozen=True)
class ProjectionConfig:
    """How a picture is searched for. The constructor raises InputError for what cannot be."""

    space: str | None = None
    """"w", one style for all layers; "w+", one for each, which comes nearer; "z". None for w+ in a style-based
    generator, z in others."""
    steps: int = 300
    """For each picture. 0 takes the best random latent."""
    candidates: int = 256
    """Random latents that the best is taken of."""
    label: int | None = None
    """For a generator with classes, that of the picture; None for that of the best random latent."""
    tuning_steps: int = 0
    """Afterwards the weights of a copy are tuned so many times to what is still missing (Roich et al. 2021)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.space not in (None, "z", "w", "w+"):
            raise InputError(f'A picture is looked for in z, w or w+, not in "{self.space}".')
        if not (0 <= self.steps <= MOST_STEPS and 0 <= self.tuning_steps <= MOST_STEPS):
            raise InputError(
                f"A projection has 0 to {MOST_STEPS:,} steps and as many of tuning, not {self.steps} and "
                f"{self.tuning_steps}."
            )
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise InputError(f"The best is taken of 1 to {MOST_CANDIDATES:,} random latents, not {self.candidates}.")
        if not 0 <= self.seed <= LAST_SEED + 1 - self.candidates:
            raise InputError(f"The seeds of {self.candidates} random latents from {self.seed} on pass {LAST_SEED}.")


@dataclass(frozen=True)
class Projecting:
    """How far a projection is, after each of its steps."""

    done: int
    total: int
    latent: Latent
    """Those of the pictures so far, on the CPU."""
    targets: Tensor
    """The pictures looked for, [B, C, H, W] in [-1, 1]."""
    images: Tensor
    """What the generator makes of the latents, [B, C, H, W]."""
    generator: Generator
    """The one that was given; at the end of a tuning, the tuned one."""
    steps: int
    """For each picture; what is more in `total` are those of a tuning."""

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 1.0

    @property
    def psnr(self) -> float:
        """Of all pictures so far, in decibels: 20 is alike, 30 is hard to tell apart."""
        return psnr(self.images, self.targets[: len(self.images)])

    def __str__(self) -> str:
        searched, count, number = self.steps * len(self.targets), len(self.targets), len(self.images)
        if self.done > searched:
            where = f"tuning step {self.done - searched} of {self.total - searched}"
        else:
            where = f"step {self.done - (number - 1) * self.steps} of {self.steps}"
            where = where if count == 1 else f"picture {number} of {count}, {where}"
        return f"{where}: PSNR {self.psnr:.1f} dB"


def psnr(images: Tensor, targets: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels, of images [B, C, H, W] in [-1, 1]."""
    error = float((images.clamp(-1, 1) - targets).square().mean())
    return 10 * math.log10(4 / max(error, 1e-12))


def projecting(
    generator: Generator,
    targets: Tensor,
    config: ProjectionConfig,
    device: torch.device | str = "cpu",
) -> abc.Generator[Projecting, None, None]:
    """Looks for the latents of pictures, one after another; yields after every step.

    targets: [B, C, H, W] in [-1, 1], as encoding.images_for makes them. The generator that is given is never
    changed: the work is done on a copy. On one machine the same seed finds the same latents.

    Raises InputError for pictures of another shape, for a space that the generator does not have, and for labels that
    it does not know.
    """
    shape = (generator.config.channels, *generator.size)
    if targets.ndim != 4 or targets.shape[1:] != shape or not len(targets):
        raise InputError(f"{generator.title} makes pictures of shape {list(shape)}, not {list(targets.shape[1:])}.")
    if not bool(targets.isfinite().all()):
        raise InputError("A picture that is looked for has values that are no numbers.")
    styled = generator.style_shape is not None
    space = config.space or ("w+" if styled else "z")
    if (space == "z") == styled:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator: its pictures are looked for in "
            f"{'w or w+, where they are nearer' if styled else 'z, as it has no styles'}."
        )
    work = replace(generator, module=copy.deepcopy(generator.module).to(device).requires_grad_(False).eval())
    candidates = _candidates(work, config)
    total = len(targets) * config.steps + config.tuning_steps
    found: list[Latent] = []
    images: list[Tensor] = []
    done = 0
    for target in targets:
        for latent, image in _searching(work, target, space, config, candidates):
            latents, made = _joined([*found, latent]), torch.cat([*images, image])
            step = Projecting(done, total, latents, targets, made, generator, config.steps)
            yield step
            done += 1
        done -= 1  # the start is no step
        found.append(latent)
        images.append(image)
    if config.tuning_steps:
        yield from _tuning(generator, work, step, config)


def _candidates(generator: Generator, config: ProjectionConfig) -> Latent:
    seeds = range(config.seed, config.seed + config.candidates)
    return sample_noise(generator, seeds, labels=config.label)


@dataclass
class _Points:
    """Points that are followed, of which one will be the answer."""

    base: Tensor
    """[K, C, 1, 1]: z, or the style that all layers have in common."""
    own: Tensor
    """[K, C, num_ws, 1]: what each layer's style has for itself."""
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

    def made(self, generator: Generator, noise: Tensor | float = 0.0) -> Tensor:
        """Their pictures, with a gradient."""
        return _made(generator, self.base + self.own + noise, self.space, self.labels)

    @torch.no_grad()
    def nearest(self, generator: Generator, target: Tensor) -> tuple[int, float]:
        """Which of them makes a picture that is most alike, and what it still lacks."""
        loss = _loss(self.made(generator), target)
        return int(loss.argmin()), float(loss.min())


def _searching(
    generator: Generator, target: Tensor, space: str, config: ProjectionConfig, candidates: Latent
) -> Iterator[tuple[Latent, Tensor]]:
    """The latent of one picture and what it makes, first by luck and then step by step."""
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
        # Each style on its own only when all together are near: their common way is the one that stays steerable.
        alone = space == "w+" and part >= 1 / 3
        for group, size in zip(optimiser.param_groups, (rate, rate if alone else 0.0), strict=True):
            group["lr"] = size
        fading = NOISE * deviation * max(0, 1 - 2 * part) ** 2
        with torch.enable_grad():
            noise = torch.randn(points.base.shape, generator=draw).to(target.device) * fading
            images = points.made(generator, noise)
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
    """The candidates whose pictures are most alike, the best first, and the standard deviation of all."""
    fit = PIXELS_DECODED_AT_ONCE // math.prod(generator.size)
    part = max(1, min(MAX_DECODED_AT_ONCE, fit))
    losses = [_loss(generator.decode(candidates[i : i + part]), target) for i in range(0, len(candidates), part)]
    best = torch.cat(losses).argsort()[: max(1, min(STARTS, fit))].cpu()
    labels = None if candidates.labels is None else candidates.labels[best].to(target.device)
    start, deviation = candidates.samples[best].to(target.device), 1.0
    if space != "z":
        w = to_styles(generator, candidates).samples
        start = w[best.to(w.device)]
        deviation = float((w[:, :, 0, 0] - generator.average_style).square().mean().sqrt())
    return _Points(start[:, :, :1].clone(), torch.zeros_like(start), space, labels), deviation


def _made(generator: Generator, points: Tensor, space: str, labels: Tensor | None) -> Tensor:
    """The pictures of points [N, C, n, 1], with a gradient."""
    if space == "z":
        return generator.module(points.flatten(1), labels).float()
    return generator.module.synthesis(points.squeeze(3).transpose(1, 2)).float()


def _joined(latents: Sequence[Latent]) -> Latent:
    labels = [latent.labels.cpu() for latent in latents if latent.labels is not None]
    return Latent(
        torch.cat([latent.samples.cpu() for latent in latents]), latents[0].space, torch.cat(labels) if labels else None
    )


def _loss(images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared differences, summed over scales that halve down to 4 pixels or so: [N]."""
    difference = images - targets
    # Beyond black or white is black or white, where the picture is.
    difference = difference.masked_fill((targets.abs() > 1 - 1e-3) & (difference * targets > 0), 0)
    loss = difference.square().mean(dim=(1, 2, 3))
    while min(difference.shape[2:]) >= 8:
        difference = functional.avg_pool2d(difference, 2)
        loss = loss + difference.square().mean(dim=(1, 2, 3))
    return loss


def _tuning(given: Generator, work: Generator, step: Projecting, config: ProjectionConfig) -> Iterator[Projecting]:
    """Tunes the weights of a copy until its pictures of the latents are those looked for (Roich et al. 2021)."""
    module = work.module
    # The way from z to w stays as it is, and with it every direction and every seed.
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
        # Two pictures at a time, whatever the number of either: the one looked for, and one that is to stay.
        with torch.enable_grad():
            pair = _joined([latent[one : one + 1], anchors[anchor : anchor + 1]])
            labels = None if pair.labels is None else pair.labels.to(work.device)
            made = _made(work, pair.samples.to(work.device), space, labels)
            loss = _loss(made[:1], targets[one : one + 1]) + _loss(made[1:], before[anchor : anchor + 1])
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
        images[one] = made[0].detach().float().cpu()
        optimiser.step()
        yield replace(step, done=step.done + i + 1, images=images.clone())
    module.requires_grad_(False)
    images = work.decode(latent).cpu()
    card = {**given.card, "title": f"{given.title} (tuned)", "tuned": {"pictures": len(targets), "steps": i + 1}}
    tuned = replace(given, module=module.to(given.device), card=card)
    yield replace(step, done=step.total, images=images, generator=tuned)
