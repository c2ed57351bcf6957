"""Training a VAE: an encoder says of each image where in z it lies and how surely, and a decoder makes it anew from
there (Kingma & Welling 2014). Also the tuning of a decoder alone, whose latents stay what they are."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...architectures.layers.mixture import GaussianMixture, fit
from ...architectures.patch_discriminator import PatchDiscriminator
from ...data.images import ImageDataset
from ...errors import InputError
from ...generator import Generator
from ...losses.adversarial import hinge
from ...losses.reconstruction import LOSSES, adaptive_weight, free_bits, kl, warm_up
from ...metrics.likelihood import elbo
from ..distributed import World
from ..history import Record
from ..presets import TrainConfig, VariationalRecipe
from ..run import FIT, MAX_LOSS, Run

MEASURED_EVERY = 50_000
"""Images between two measurements on those that are held out."""

COMPONENTS = 10
"""Parts of the mixture that is fitted to the posteriors."""

MOST_DIRECTIONS = 64
"""Dimensions in which they may differ, so that it stays small where z is large."""

MOST_FITTED = 5000
NUMBERS_FITTED = 2**24
PIXELS_AT_ONCE = 2**18
"""Posteriors that the mixture is fitted to, the numbers in them in all, and the pixels that are encoded in one pass."""

PREVIEW_COLUMNS = 8
PREVIEW_PIXELS = 2**20
"""Originals in a row of the preview, and the pixels of all of them."""

DECODERS = ("decoder.", "taesd_decoder.", "post_quant_conv.")
"""What the names of a decoder's weights begin with."""


class VariationalRun(Run):
    recipe: VariationalRecipe
    losses: ClassVar = {"reconstruction": "its reconstruction loss", "kl": "its KL divergence"}
    panels: ClassVar = {
        "nats per image": {"reconstruction": "reconstruction", "held_out": "held-out images, all in all"},
        "KL divergence in nats": {"kl": "KL"},
        "units of z": {"active_units": "active"},
    }
    fewest_to_hold_out = 50
    always_held_out = True

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device,
        start: Generator | None = None,
        world: World | None = None,
    ):
        self.tuning = config.recipe.architecture is None
        super().__init__(dataset, config, device, start, world)
        self.fitted: tuple[int, GaussianMixture | None] = (-1, None)  # after how many images, and the mixture

    def build(self, start: Generator | None) -> dict[str, nn.Module]:
        if start is None:
            networks = {"generator": self.architecture.generator(self.network)}
        else:
            generator = copy.deepcopy(start.module).requires_grad_(False)
            for name, parameter in generator.named_parameters():
                parameter.requires_grad_(name.startswith(DECODERS))
            networks = {"generator": generator}
        if self.recipe.reconstruction == "bernoulli" and not hasattr(networks["generator"], "logits"):
            raise InputError(
                f"{self.architecture.name} makes colours and no odds of black and white, so its reconstruction cannot "
                "be bernoulli: choose another, such as multiscale."
            )
        if self.recipe.adversarial_kimg is not None:
            networks["discriminator"] = PatchDiscriminator(self.network.channels)
        return networks

    @property
    def identity(self) -> dict[str, str]:
        return {"discriminator": "none" if self.recipe.adversarial_kimg is None else "patches"}

    # One step.

    @torch.enable_grad()
    def step(self) -> dict[str, Tensor]:
        images, _ = self.next_batch()
        with self.autocast():
            mean, log_variance = self.generator.posterior(images)
            z = mean if self.tuning else mean + (log_variance / 2).exp() * self.noise(*mean.shape)
            output = self._made_of(z)
        reconstruction = LOSSES[self.recipe.reconstruction](output.float(), images)
        divergence = kl(mean, log_variance)  # [N, D]
        cost = reconstruction
        if not self.tuning:
            weight = self.recipe.beta * warm_up(self.images, round(1000 * self.recipe.warm_up_kimg))
            cost = cost + weight * free_bits(divergence, self.recipe.free_bits)
        values = {"reconstruction": reconstruction.detach(), "kl": divergence.detach().sum(1).mean()}
        if self._judged:
            judged = self._judgement(output, reconstruction)
            cost = cost + judged
        self.learn(self.players["generator"], cost)
        if self._judged:
            values |= self._discriminator_step(images, output.detach())
        return values

    def _made_of(self, z: Tensor) -> Tensor:
        """What the reconstruction loss takes: logits, or images."""
        return self.generator.logits(z) if self.recipe.reconstruction == "bernoulli" else self.generator(z)

    @property
    def _judged(self) -> bool:
        start = self.recipe.adversarial_kimg
        return start is not None and self.images >= 1000 * start

    def _judgement(self, output: Tensor, reconstruction: Tensor) -> Tensor:
        """What the decoder loses to the discriminator, weighed against the reconstruction."""
        discriminator = self.players["discriminator"].module.requires_grad_(False)
        with self.autocast():
            loss = -discriminator(self._images_of(output)).float().mean()
        last = [
            parameter
            for name, parameter in self.generator.named_parameters()
            if name.startswith(DECODERS[:2]) and parameter.ndim == 4
        ][-1]
        gradients = (torch.autograd.grad(part, last, retain_graph=True)[0] for part in (reconstruction, loss))
        return self.recipe.adversarial_weight * adaptive_weight(*map(self.world.mean, gradients)) * loss

    def _discriminator_step(self, images: Tensor, output: Tensor) -> dict[str, Tensor]:
        player = self.players["discriminator"]
        player.module.requires_grad_(True)
        with self.autocast():
            real, fake = player.module(images).float(), player.module(self._images_of(output)).float()
        loss = hinge(real, fake).discriminator
        self.learn(player, loss)
        return {"discriminator_loss": loss.detach()}

    def _images_of(self, output: Tensor) -> Tensor:
        return torch.tanh(output / 2) if self.recipe.reconstruction == "bernoulli" else output

    # What is seen of it.

    def measured(self) -> dict[str, float]:
        before = self.history[-1].images if self.history else 0
        if before // MEASURED_EVERY == self.images // MEASURED_EVERY or not len(self.held_out):
            return {}
        bound = elbo(self._averaged(), self.dataset.batch(self.held_out), self.likelihood)
        if self.tuning:
            return {"held_out": bound.reconstruction}
        return {
            "held_out": bound.nats,
            "bits_per_dimension": bound.bits_per_dimension,
            "active_units": float(bound.active_units),
        }

    def in_words(self, record: Record) -> str:
        text = f"reconstruction {record.values['reconstruction']:.1f} KL {record.values['kl']:.1f} nats"
        measured = next((record for record in reversed(self.history) if "held_out" in record.values), None)
        if measured is None:
            return text
        text += f", held out {measured.values['held_out']:.1f}"
        if "active_units" in measured.values:
            active, units = int(measured.values["active_units"]), self.network.latent_size
            text += f", {active} of {units} units active"
        text += f" at {measured.images / 1000:.1f} kimg"
        # What was measured while the KL divergence still counted for less says nothing of this.
        if measured.values.get("active_units") == 0 and measured.images >= 1000 * self.recipe.warm_up_kimg:
            text += " (posterior collapse: z says nothing of the images; lower beta or raise free bits)"
        return text

    def preview(self) -> tuple[Tensor, int | None]:
        """Rows of originals, and below each what the average makes of them."""
        rows = max(1, min(4, PREVIEW_PIXELS // (PREVIEW_COLUMNS * self._pixels)))
        there = self.held_out if len(self.held_out) else self.shown
        count = min(PREVIEW_COLUMNS * rows, len(there))
        originals = self.images_at(there[np.linspace(0, len(there) - 1, count).astype(int)])  # neighbours are alike
        generator = self._averaged()
        made = generator.decode(generator.encode(originals))[..., : self.dataset.height, : self.dataset.width]
        pairs = zip(originals.split(PREVIEW_COLUMNS), made.split(PREVIEW_COLUMNS), strict=True)
        return torch.cat([row for pair in pairs for row in pair]), min(PREVIEW_COLUMNS, count)

    def generator_now(self) -> Generator:
        """With the mixture that its posteriors are now described by, unless only its decoder is tuned."""
        made = super().generator_now()
        if self.tuning:
            return made
        images, fitted = self.fitted
        if images != self.images or fitted is None:
            fitted = self._fitted()
            self.fitted = self.images, fitted
        made.module.mixture = copy.deepcopy(fitted)
        components, directions = fitted.means.shape
        return replace(made, config=replace(self.network, components=components, directions=directions))

    @property
    def largest_loss(self) -> float:
        return MAX_LOSS * self._pixels  # nats of an image grow with its pixels

    def facts(self) -> dict[str, Any]:
        return {"reconstruction": self.recipe.reconstruction, "beta": self.recipe.beta}

    # Below: how.

    @property
    def _pixels(self) -> int:
        """Of one image."""
        return self.dataset.height * self.dataset.width

    @property
    def likelihood(self) -> str:
        """What held-out images are measured with."""
        chosen = self.recipe.reconstruction
        return "laplace" if chosen == "multiscale" else chosen

    def _averaged(self) -> Generator:
        return Generator(self.architecture, self.network, self.average, {"title": self.title})

    @torch.no_grad()
    def _fitted(self) -> GaussianMixture:
        """A mixture fitted to what the average's encoder says of images, a point drawn for each."""
        stream = self.random(FIT)
        count = min(len(self.shown), MOST_FITTED, NUMBERS_FITTED // self.network.latent_size)
        chosen = np.sort(stream.choice(self.shown, count, replace=False))
        points = []
        at_once = max(1, PIXELS_AT_ONCE // self._pixels)
        for indices in np.array_split(chosen, math.ceil(count / at_once)):
            mean, log_variance = (part.flatten(1).cpu() for part in self.average.posterior(self.images_at(indices)))
            noise = torch.from_numpy(stream.standard_normal(mean.shape, np.float32))
            points.append(mean + (log_variance / 2).exp() * noise)
        return fit(torch.cat(points), COMPONENTS, MOST_DIRECTIONS)
