"""Training a VAE: an encoder maps each image to a normal distribution in latent space, and a decoder reconstructs the
image from a sample of it (Kingma & Welling 2014). Also fine-tuning of a decoder alone, whose latents stay the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...architectures.layers.mixture import GaussianMixture, fit
from ...architectures.patch_discriminator import PatchDiscriminator
from ...data.dataset import Batch
from ...data.images import ImageDataset
from ...errors import InputError
from ...generator import Generator
from ...losses.adversarial import hinge
from ...losses.reconstruction import LOSSES, adaptive_weight, free_bits, kl, warm_up
from ...metrics.likelihood import elbo
from ...platforms import all_digits_of_float32
from ..context import StepContext
from ..design import design
from ..devices import autocast, placed_for_training, seeded
from ..history import Charts, Record
from ..optimizer import TrainedNetwork
from ..settings import VariationalRecipe
from ..streams import Stream
from .method import Look, StepResult

MEASURED_EVERY = 50_000
"""Images between two measurements on held-out images."""

COMPONENTS = 10
"""Components of the mixture of Gaussians that is fitted to the posteriors."""

MAX_DIRECTIONS = 64
"""Dimensions in which they may differ, so that the mixture stays small where z is large."""

MAX_FITTED = 5000
MAX_NUMBERS_FITTED = 2**24
PIXELS_AT_ONCE = 2**18
"""Limits of that fit: posteriors, numbers in them in all, and pixels that are encoded in one pass."""

PREVIEW_COLUMNS = 8
PREVIEW_PIXELS = 2**20
"""Originals in a row of the preview, and pixels of all of them at most."""

DECODERS = ("decoder.", "taesd_decoder.", "post_quant_conv.")
"""Prefixes of a decoder's weights."""


class Variational:
    """An encoder and a decoder in one generator, and perhaps a patch discriminator. See Method."""

    losses: ClassVar = {"reconstruction": "its reconstruction loss", "kl": "its KL divergence"}
    charts: ClassVar[Charts] = {
        "nats per image": {"reconstruction": "reconstruction", "held_out": "held-out images, total"},
        "KL divergence in nats": {"kl": "KL"},
        "units of z": {"active_units": "active"},
    }
    meanings: ClassVar[Mapping[str, str]] = {
        "reconstruction": "Difference of training images and their reconstructions: lower is sharper.",
        "held_out": "The whole loss on images that are not trained on. It rises again when the VAE overfits.",
        "kl": "How much an image's latent tells about it, in nats. Near 0: the latents carry no information.",
        "active_units": "Dimensions of z that carry information about the image.",
    }
    averaged = ("generator",)
    batches_per_step = 1
    min_images_to_hold_out = 50
    always_held_out = True

    def __init__(
        self,
        dataset: ImageDataset,
        recipe: VariationalRecipe,
        preset: str,
        start: Generator | None,
        device: torch.device,
        seed: int,
    ):
        """start: the VAE whose decoder is fine-tuned, for a recipe without an architecture.

        Raises InputError for images, or a VAE to start from, that do not fit.
        """
        self.recipe, self.device, self.start = recipe, device, start
        self.fine_tunes = recipe.architecture is None
        if not self.fine_tunes:
            if start is not None:
                raise InputError(f"The preset {preset} trains from scratch: disconnect the generator to start from.")
            self.architecture, self.config = design(
                recipe, dataset.height, dataset.width, dataset.channels, dataset.classes
            )
        elif start is None:
            raise InputError(f"The preset {preset} fine-tunes an existing VAE: connect one to start.")
        else:
            self.architecture, self.config = start.architecture, _fitting(start, dataset)
        self.size = dataset.size
        pixels = dataset.height * dataset.width
        self.pixels = pixels
        self.max_loss = 1e4 * pixels  # nats of an image grow with its pixels
        with seeded(seed):
            networks = self.build()
        self.networks = {
            name: TrainedNetwork.of(placed_for_training(module, device)) for name, module in networks.items()
        }
        self.generator: Any = self.networks["generator"].module
        self.fitted: tuple[int, GaussianMixture | None] = (-1, None)  # after how many images, and the mixture

    def build(self) -> dict[str, nn.Module]:
        if self.start is None:
            networks = {"generator": self.architecture.generator(self.config)}
        else:
            generator = copy.deepcopy(self.start.module).requires_grad_(False)
            for name, parameter in generator.named_parameters():
                parameter.requires_grad_(name.startswith(DECODERS))
            networks = {"generator": generator}
        if self.recipe.reconstruction == "bernoulli" and not hasattr(networks["generator"], "logits"):
            raise InputError(
                f"{self.architecture.name} generates colours, not Bernoulli probabilities: choose another "
                "reconstruction, such as multiscale."
            )
        if self.recipe.adversarial_kimg is not None:
            networks["discriminator"] = PatchDiscriminator(self.config.channels)
        return networks

    # One step.

    @torch.enable_grad()
    def step(self, batches: Sequence[tuple[Batch, StepContext]]) -> StepResult:
        """Updates encoder and decoder, and then the patch discriminator if it takes part by now."""
        [(batch, context)] = batches
        images = batch.target
        with self.autocast():
            mean, log_variance = self.generator.posterior(images)
            z = mean if self.fine_tunes else mean + (log_variance / 2).exp() * context.noise(*mean.shape)
            output = self._decoded(z)
        reconstruction = LOSSES[self.recipe.reconstruction](output.float(), images)
        divergence = kl(mean, log_variance)  # [N, D]
        loss = reconstruction
        if not self.fine_tunes:
            beta, length = self.recipe.beta, round(1000 * self.recipe.warm_up_kimg)
            weight = context.number(lambda now: beta * warm_up(now.images, length))
            loss = loss + weight * free_bits(divergence, self.recipe.free_bits)
        values = {"reconstruction": reconstruction.detach(), "kl": divergence.detach().sum(1).mean()}
        adversarial = self.is_adversarial(context)
        if adversarial:
            loss = loss + self.adversarial_loss(output, reconstruction, context)
        self.networks["generator"].update([loss], context)
        if adversarial:
            values["discriminator_loss"] = self.discriminator_step(images, output.detach(), context)
        return StepResult(values)

    def kind(self, contexts: Sequence[StepContext]) -> Hashable:
        """Whether the patch discriminator takes part."""
        return self.is_adversarial(contexts[0])

    def is_adversarial(self, context: StepContext) -> bool:
        start = self.recipe.adversarial_kimg
        return start is not None and context.images >= 1000 * start

    moving: ClassVar[Sequence[Tensor]] = ()

    def adversarial_loss(self, output: Tensor, reconstruction: Tensor, context: StepContext) -> Tensor:
        """The decoder's adversarial loss, weighted relative to the reconstruction (Esser et al. 2021, eq. 7)."""
        discriminator = self.networks["discriminator"].module.requires_grad_(False)
        with self.autocast():
            loss = -discriminator(self._images_of(output)).float().mean()
        last_layer = [
            parameter
            for name, parameter in self.generator.named_parameters()
            if name.startswith(DECODERS[:2]) and parameter.ndim == 4
        ][-1]
        gradients = (torch.autograd.grad(part, last_layer, retain_graph=True)[0] for part in (reconstruction, loss))
        return self.recipe.adversarial_weight * adaptive_weight(*map(context.world.mean, gradients)) * loss

    def discriminator_step(self, images: Tensor, output: Tensor, context: StepContext) -> Tensor:
        """Trains the patch discriminator to tell images from reconstructions. Returns the loss."""
        network = self.networks["discriminator"]
        network.module.requires_grad_(True)
        with self.autocast():
            real, fake = network.module(images).float(), network.module(self._images_of(output)).float()
        loss = hinge(real, fake).discriminator
        network.update([loss], context)
        return loss.detach()

    def _decoded(self, z: Tensor) -> Tensor:
        """What the reconstruction loss takes: logits, or images."""
        return self.generator.logits(z) if self.recipe.reconstruction == "bernoulli" else self.generator(z)

    def _images_of(self, output: Tensor) -> Tensor:
        return torch.tanh(output / 2) if self.recipe.reconstruction == "bernoulli" else output

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.recipe.precision)

    # What is kept, and what is seen of it.

    def identity(self) -> dict[str, str]:
        return {"discriminator": "none" if self.recipe.adversarial_kimg is None else "patches"}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass

    def measure(self, look: Look) -> dict[str, float]:
        """The evidence lower bound on held-out images, and the number of active units."""
        if look.since // MEASURED_EVERY == look.images // MEASURED_EVERY or not len(look.batches.held_out):
            return {}
        bound = elbo(look.generator, look.batches.dataset.draw(look.batches.held_out).target, self.likelihood)
        if self.fine_tunes:
            return {"held_out": bound.reconstruction}
        return {
            "held_out": bound.nats,
            "bits_per_dimension": bound.bits_per_dimension,
            "active_units": float(bound.active_units),
        }

    @property
    def likelihood(self) -> str:
        """The observation model of held-out images."""
        chosen = self.recipe.reconstruction
        return "laplace" if chosen == "multiscale" else chosen

    def preview(self, look: Look) -> tuple[Tensor, int | None]:
        """Rows of originals, and below each the reconstructions by the EMA."""
        rows = max(1, min(4, PREVIEW_PIXELS // (PREVIEW_COLUMNS * self.pixels)))
        there = look.batches.held_out if len(look.batches.held_out) else look.batches.shown
        count = min(PREVIEW_COLUMNS * rows, len(there))
        originals = look.batches.at(
            there[np.linspace(0, len(there) - 1, count).astype(int)]
        ).target  # neighbours are alike
        height, width = self.size
        generated = look.generator.decode(look.generator.encode(originals))[..., :height, :width]
        pairs = zip(originals.split(PREVIEW_COLUMNS), generated.split(PREVIEW_COLUMNS), strict=True)
        return torch.cat([row for pair in pairs for row in pair]), min(PREVIEW_COLUMNS, count)

    def finished(self, generator: Generator, look: Look) -> Generator:
        """The generator with a mixture fitted to its posteriors, unless only its decoder was fine-tuned."""
        if self.fine_tunes:
            return generator
        images, mixture = self.fitted
        if images != look.images or mixture is None:
            mixture = self._fitted(look)
            self.fitted = look.images, mixture
        generator.module.mixture = copy.deepcopy(mixture)
        components, directions = mixture.means.shape
        return replace(generator, config=replace(self.config, components=components, directions=directions))

    @torch.no_grad()
    @all_digits_of_float32()
    def _fitted(self, look: Look) -> GaussianMixture:
        """A mixture fitted to one sample of each posterior."""
        stream = look.batches.streams.numpy(Stream.FIT)
        count = min(len(look.batches.shown), MAX_FITTED, MAX_NUMBERS_FITTED // self.config.latent_size)
        chosen = np.sort(stream.choice(look.batches.shown, count, replace=False))
        points = []
        at_once = max(1, PIXELS_AT_ONCE // self.pixels)
        for indices in np.array_split(chosen, math.ceil(count / at_once)):
            posterior = look.generator.module.posterior(look.batches.at(indices).target)
            mean, log_variance = (part.flatten(1).cpu() for part in posterior)
            noise = torch.from_numpy(stream.standard_normal(mean.shape, np.float32))
            points.append(mean + (log_variance / 2).exp() * noise)
        return fit(torch.cat(points), COMPONENTS, MAX_DIRECTIONS)

    def describe(self) -> dict[str, Any]:
        return {"reconstruction": self.recipe.reconstruction, "beta": self.recipe.beta}

    def in_words(self, history: Sequence[Record]) -> str:
        values = history[-1].values
        text = f"reconstruction {values['reconstruction']:.1f} KL {values['kl']:.1f} nats"
        measured = next((record for record in reversed(history) if "held_out" in record.values), None)
        if measured is None:
            return text
        text += f", held out {measured.values['held_out']:.1f}"
        if "active_units" in measured.values:
            active, units = int(measured.values["active_units"]), self.config.latent_size
            text += f", {active} of {units} units active"
        text += f" at {measured.images / 1000:.1f} kimg"
        # What was measured during KL warm-up is not evidence of this.
        if measured.values.get("active_units") == 0 and measured.images >= 1000 * self.recipe.warm_up_kimg:
            text += " (posterior collapse: z carries no information; lower beta or raise free_bits)"
        return text


def _fitting(start: Generator, dataset: ImageDataset) -> Any:
    """The config of a VAE whose decoder can be fine-tuned on the data set. Raises InputError where it cannot."""
    if not start.architecture.encodes:
        raise InputError(f"{start.title} is a {start.architecture.name} generator: it has no encoder, only VAEs do.")
    config = start.config
    if dataset.channels != config.channels or not (start.architecture.spatial or dataset.size == start.size):
        raise InputError(
            f"{start.title} generates images of {start.size_in_words}x{config.channels}, and {dataset.name} has "
            f"{dataset.width}x{dataset.height}x{dataset.channels}: load the images in its size and channels."
        )
    return config
