"""Training a GAN: a discriminator learns to tell real images from generated ones, and a generator to be taken for real
(Goodfellow et al. 2014)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...architectures import size_of
from ...architectures.layers.piecewise_linear import logits_and_gradients
from ...data.dataset import Batch
from ...data.images import ImageDataset
from ...errors import InputError
from ...generator import Generator
from ...losses import path_length
from ...losses.adversarial import OBJECTIVES, Objective, lecam
from ...losses.gradient_penalties import (
    finite_difference_penalty,
    gradient_penalty,
    image_gradients,
    interpolate,
    wgan_gp_penalty,
)
from ...platforms import all_digits_of_float32
from ..augmentation import Adaptive, ada, ada_draws, diffaugment, diffaugment_draws
from ..context import StepContext
from ..design import built, design
from ..devices import autocast, placed_for_training, seeded
from ..distributed import World
from ..history import Charts, Record
from ..monitor import diagnostics
from ..optimizer import TrainedNetwork
from ..schedule import Schedule, at
from ..settings import AdversarialRecipe
from ..streams import Place, Stream
from .method import Look, StepResult

WGAN_GP_WEIGHT = 10.0
"""Weight of WGAN-GP's penalty (Gulrajani et al. 2017, sec. 4)."""

DIFFERENCE = 0.01
"""Step of finite differences, per value of an image in [-1, 1]. With 0.003 the estimate's gradient is noisier; from
0.03 on it is biased, as the pixels of an even background cross the corners of leaky ReLUs together. Measured on
digits."""

PATH_LENGTH_EVERY, PATH_LENGTH_SHRINK = 4, 2
"""Steps between two regularisations of the path length, and how many times smaller their batch is (Karras et al. 2020a,
appendix B)."""

LECAM_DECAY = 0.99
"""Decay of the running means of LeCam, per batch."""

RECORDED = ("discriminator_loss", "generator_loss", "real_score", "fake_score", "real_sign", "augment_p")
"""What a step records, in this order."""


@dataclass(frozen=True)
class Judged:
    """A batch of images [N, C, H, W], and the discriminator's logits of them, [N]."""

    images: Tensor
    labels: Tensor | None
    place: Place
    logits: Tensor
    gradients: Tensor | None = None
    """The gradient of each logit with respect to its image [N, C, H, W], where one was asked for."""


class Adversarial:
    """A generator and a discriminator. See Method."""

    losses: ClassVar = {"discriminator_loss": "the discriminator's loss", "generator_loss": "the generator's loss"}
    max_loss = 1e4
    charts: ClassVar[Charts] = {
        "loss": {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        "discriminator's mean logit": {"real_score": "real images", "fake_score": "generated images"},
        "overfitting": {"real_sign": "r_t", "overfitting": "r_v", "augment_p": "p of ada"},
        "samples beside real images": {"diversity": "diversity", "distance": "distance"},
        "KID": {"kid": "KID"},
    }
    meanings: ClassVar[Mapping[str, str]] = {
        "discriminator_loss": "How badly the discriminator tells real images from generated ones. Neither loss "
        "measures quality: steady is good, 0 is not.",
        "generator_loss": "How badly the generator is taken for real. It may rise while images get better.",
        "real_score": "The discriminator's mean logit of real images.",
        "fake_score": "The discriminator's mean logit of generated images. A growing gap to real ones: it is winning.",
        "real_sign": "Share of real images judged real minus share judged generated; above 0.8 it may be overfitting.",
        "overfitting": "0: held-out images are judged as training images are; 1: as generated ones, which is "
        "overfitting.",
        "augment_p": "Probability of each augmentation: ada raises it while the discriminator overfits.",
        "diversity": "How much samples vary, where 1 is as much as real images. Low: mode collapse.",
        "distance": "Distance of samples from real images by their colours. 0 is equal; noise has about 1.",
        "kid": "Kernel Inception Distance, with the features that this pack has: lower is better, 0 is equal.",
    }
    averaged = ("generator",)
    min_images_to_hold_out = 500
    always_held_out = False

    def __init__(
        self,
        dataset: ImageDataset,
        recipe: AdversarialRecipe,
        preset: str,
        start: Generator | None,
        device: torch.device,
        seed: int,
    ):
        """Raises InputError for images that the recipe's networks cannot learn, and for a generator to start from."""
        if start is not None:
            raise InputError(f"The preset {preset} trains from scratch: disconnect the generator to start from.")
        self.recipe, self.device = recipe, device
        self.architecture, self.config = design(
            recipe, dataset.height, dataset.width, dataset.channels, dataset.classes
        )
        self.batches_per_step = recipe.batches_per_step
        with seeded(seed):
            networks = self.build()
        lazy = recipe.gradient_penalty != "none" and recipe.penalty_every > 1
        regularised_every = {
            "generator": PATH_LENGTH_EVERY if recipe.path_length else None,
            "discriminator": recipe.penalty_every if lazy else None,
        }
        scheduled = any(isinstance(beta, Schedule) for beta in recipe.betas)
        self.networks = {
            name: TrainedNetwork.of(placed_for_training(module, device), regularised_every[name], scheduled)
            for name, module in networks.items()
        }
        self.generator: Any = self.networks["generator"].module
        self.discriminator: Any = self.networks["discriminator"].module
        self.adaptive = Adaptive(device)
        self.logit_means: tuple[Tensor, Tensor] | None = None  # running means of real and fake logits, for LeCam
        self.path_mean = torch.zeros((), device=device)  # running mean of path lengths

    def build(self) -> dict[str, nn.Module]:
        generator, discriminator = built(self.architecture, self.config, self.recipe.normalisation)
        return {"generator": generator, "discriminator": discriminator}

    # One step.

    @torch.enable_grad()
    def step(self, batches: Sequence[tuple[Batch, StepContext]]) -> StepResult:
        """Updates D on each of the batches, and then G on the last (Goodfellow et al. 2014, algorithm 1)."""
        before = {"augment_p": self.recorded_p(batches[0][1])} if self.recipe.augment == "ada" else {}
        for batch, context in batches:
            is_last = context.substep == self.batches_per_step - 1
            z = context.noise(len(batch), self.config.latent_size)
            with all_digits_of_float32() if self.by_differences else nullcontext():
                with self.autocast(), torch.set_grad_enabled(is_last):  # G learns from the last fake images alone
                    fake_images = self.generate(z, batch.labels, context)
                values, real_logits = self.discriminator_step(batch, fake_images, context)
            if self.adapts:
                self.adaptive.observe(context.world.mean(values["real_sign"]), self.recipe.batch_size)
        generator_loss = self.generator_step(batch, fake_images, real_logits, context)
        if self.path_length_is_due(context):
            self.path_length_step(batch.labels, context)
        values |= before | {"generator_loss": generator_loss}
        return StepResult({name: values[name] for name in RECORDED if name in values})

    def discriminator_step(
        self, batch: Batch, fake_images: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Trains D to tell real images x from generated ones G(z).

        Returns scalars for the record, and D's logits of the real images, [N].
        """
        recipe, network = self.recipe, self.networks["discriminator"]
        self.discriminator.requires_grad_(True)
        penalised = recipe.gradient_penalty != "none"
        at_once = penalised and recipe.penalty_every == 1
        differentiated = self.batches_penalised if at_once and not self.by_differences else 0
        fake_images = fake_images.detach().float()
        if differentiated == 2 and self.device.type != "cpu":
            return self.discriminator_step_by_parts(batch, fake_images, context)
        with self.penalty_precision() if at_once else self.autocast():
            real = self.judge(batch.target, batch.labels, Place.REAL, context, differentiated > 0)
            fake = self.judge(fake_images, batch.labels, Place.FAKE, context, differentiated > 1)
            loss = self.objective.loss(real.logits, fake.logits).discriminator
        total = loss
        if at_once:
            total = total + self.penalty(real, fake, context)
        if recipe.lecam:
            total = total + recipe.lecam * self.lecam(real.logits, fake.logits, context.world)
        if recipe.self_supervision:
            total = total + self.self_supervision(batch, context)
        network.update([total], context)
        if penalised and not at_once and self.lazy_penalty_is_due(context):
            penalty = recipe.penalty_every * self.penalty(real, fake, context)
            network.update([penalty], context)
        return self.seen_by_discriminator(loss, real.logits, fake.logits), real.logits

    def discriminator_step_by_parts(
        self, batch: Batch, fake_images: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor]:
        """`discriminator_step` with R1 and R2 at every step, for memory of one batch in place of two.

        The loss needs all logits before it has a gradient. So the real images are judged once more, which makes a step
        longer by a twentieth, and each batch goes back through D alone.
        """
        recipe = self.recipe
        with torch.no_grad(), self.autocast():
            real_logits = self.judge(batch.target, batch.labels, Place.REAL, context, differentiated=False).logits
        with self.autocast():
            held = [self.judge(fake_images, batch.labels, Place.FAKE, context, differentiated=True)]
        real, fake = (logits.detach().requires_grad_() for logits in (real_logits, held[0].logits))
        loss = self.objective.loss(real, fake).discriminator
        total = loss + recipe.lecam * self.lecam(real, fake, context.world) if recipe.lecam else loss
        of_real, of_fake = torch.autograd.grad(total, (real, fake))
        weight = self.penalty_weight(context)

        def part(judged: Judged, of_loss: Tensor) -> Tensor:
            return (of_loss * judged.logits).sum() + weight * self.squared_gradient(judged, context)

        def parts() -> Iterator[Tensor]:
            yield part(held.pop(), of_fake)
            with self.autocast():
                held.append(self.judge(batch.target, batch.labels, Place.REAL, context, differentiated=True))
            yield part(held.pop(), of_real)
            if recipe.self_supervision:
                yield self.self_supervision(batch, context)

        self.networks["discriminator"].update(parts(), context)
        return self.seen_by_discriminator(loss, real, fake), real_logits

    def seen_by_discriminator(self, loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """What a step of the discriminator records: scalars."""
        real_logits, fake_logits = real_logits.detach(), fake_logits.detach()
        # Where a number added to all logits changes nothing, only their difference has a sign.
        signed = real_logits if self.objective.anchored else real_logits - fake_logits
        return {
            "discriminator_loss": loss.detach(),
            "real_score": real_logits.mean(),
            "fake_score": fake_logits.mean(),
            "real_sign": signed.float().sign().mean(),
        }

    def generator_step(self, batch: Batch, fake_images: Tensor, real_logits: Tensor, context: StepContext) -> Tensor:
        """Trains G to make images that D takes for real. Returns the loss."""
        # D's own weights need no gradient here, which saves a third of its backward pass.
        self.discriminator.requires_grad_(False)
        with self.autocast():
            augmented = self.augment(fake_images, Place.GENERATOR_FAKE, context)
            fake_logits = self.discriminator(augmented, batch.labels)
            if self.objective.relativistic:
                with torch.no_grad():
                    augmented = self.augment(batch.target, Place.GENERATOR_REAL, context)
                    real_logits = self.discriminator(augmented, batch.labels)
            loss = self.objective.loss(real_logits, fake_logits).generator
        self.networks["generator"].update([loss], context)
        return loss.detach()

    def path_length_step(self, labels: Tensor | None, context: StepContext) -> None:
        """Trains a style-based G to move all images equally far per step in w (Karras et al. 2020a, sec. 3.2)."""
        count = max(1, self.recipe.batch_size // context.world.size // PATH_LENGTH_SHRINK)
        random = context.own(Stream.PATH_LENGTH)
        z = torch.randn(count, self.config.latent_size, generator=random, device=self.device)
        with self.autocast():
            styles = self.generator.mixed_styles(z, None if labels is None else labels[:count], random)
            images = self.generator.synthesis(styles, self.generator.fresh_noise(count, random)).float()
        lengths = path_length.path_lengths(images, styles, random)
        penalty, mean = path_length.penalty(lengths, self.path_mean)
        self.path_mean.copy_(context.world.mean(mean))
        loss = self.recipe.path_length * PATH_LENGTH_EVERY * penalty
        self.networks["generator"].update([loss], context)

    def kind(self, contexts: Sequence[StepContext]) -> Hashable:
        """Which regularisers have a turn."""
        lazy = tuple(self.recipe.penalty_every > 1 and self.lazy_penalty_is_due(context) for context in contexts)
        return lazy, self.path_length_is_due(contexts[-1]), self.logit_means is None

    def lazy_penalty_is_due(self, context: StepContext) -> bool:
        """Whether a lazy penalty, if there is one, follows after that batch."""
        batches_before = context.step * self.batches_per_step + context.substep
        return batches_before % self.recipe.penalty_every == 0

    def path_length_is_due(self, context: StepContext) -> bool:
        return self.recipe.path_length > 0 and context.step % PATH_LENGTH_EVERY == 0

    # Parts of a step.

    def generate(self, z: Tensor, labels: Tensor | None, context: StepContext) -> Tensor:
        """G(z), as it is while it trains. z: [N, latent_size]. Returns [N, C, H, W]."""
        if self.architecture.draws:
            return self.generator(z, labels, context.own(Stream.NETWORK))
        return self.generator(z, labels)

    def judge(
        self,
        images: Tensor,
        labels: Tensor | None,
        place: Place,
        context: StepContext,
        differentiated: bool,
    ) -> Judged:
        """D's logits of augmented images [N, C, H, W], and with `differentiated` their gradients at the images."""
        # A penalty is of the gradient at the images themselves, so these are augmented within the graph.
        images = images.detach().requires_grad_(differentiated)
        augmented = self.augment(images, place, context)
        if not differentiated:
            return Judged(images, labels, place, self.discriminator(augmented, labels))
        if self.architecture.piecewise_linear and self.recipe.normalisation == "none":
            logits, gradients = logits_and_gradients(self.discriminator, augmented, labels)
            if augmented is not images:  # back through the augmentation
                gradients = image_gradients((augmented * gradients).sum(dim=(1, 2, 3)), images)
        else:
            logits = self.discriminator(augmented, labels)
            gradients = image_gradients(logits, images)
        return Judged(images, labels, place, logits, gradients)

    def augment(self, images: Tensor, place: Place, context: StepContext) -> Tensor:
        """Images as the discriminator sees them."""
        if self.recipe.augment == "none":
            return images
        is_ada, (count, _, height, width) = self.recipe.augment == "ada", images.shape
        draw = ada_draws if is_ada else diffaugment_draws
        (draws,) = context.tensors(lambda c: [draw(c.numpy(Stream.AUGMENT, place), count, (height, width))])
        return ada(images.float(), self.augment_p(context), draws) if is_ada else diffaugment(images.float(), draws)

    def augment_p(self, context: StepContext) -> float | Tensor:
        """Probability of each of ada's changes: a scalar."""
        scheduled = self.recipe.augment_p
        return self.adaptive.p if scheduled is None else context.number(lambda c: at(scheduled, c.images))

    def recorded_p(self, context: StepContext) -> Tensor:
        """`augment_p`, as it is now."""
        p = self.augment_p(context)
        return p.to(self.device, torch.float32, copy=True) if isinstance(p, Tensor) else torch.full((), p)

    def penalty(self, real: Judged, fake: Judged, context: StepContext) -> Tensor:
        """Weighted gradient penalty: a scalar. A lazy one judges the images again, as D was updated since."""
        if self.recipe.gradient_penalty == "wgan_gp":
            count = len(real.images)
            [shares] = context.tensors(lambda now: [now.numpy(Stream.PENALTY).random(count, np.float32)])
            images = interpolate(real.images.detach(), fake.images.detach(), shares)
            with self.autocast():
                judged = self.judge(images, real.labels, Place.INTERPOLATED, context, True)
            assert judged.gradients is not None
            return WGAN_GP_WEIGHT * wgan_gp_penalty(judged.gradients)
        batches = [real, fake][: self.batches_penalised]
        if self.recipe.penalty_every > 1:
            differentiated = not self.by_differences
            with self.penalty_precision():
                batches = [self.judge(b.images, b.labels, b.place, context, differentiated) for b in batches]
        return (
            self.penalty_weight(context)
            * torch.stack([self.squared_gradient(judged, context) for judged in batches]).sum()
        )

    def penalty_weight(self, context: StepContext) -> float | Tensor:
        """That of R1 and R2."""
        # A squared gradient summed over pixels grows with their number, so gamma is given for 64x64.
        pixels = math.prod(size_of(self.config)) / 64**2
        gamma = self.recipe.gamma
        return context.number(lambda now: at(gamma, now.images) * pixels / 2)

    def squared_gradient(self, judged: Judged, context: StepContext) -> Tensor:
        """Mean squared norm of D's gradient at the images, or an estimate of it: a scalar."""
        if judged.gradients is not None:
            return gradient_penalty(judged.gradients)
        signs = context.signs(judged.place, *judged.images.shape)
        moved = self.judge(
            judged.images + DIFFERENCE * signs, judged.labels, judged.place, context, differentiated=False
        )
        return finite_difference_penalty(judged.logits, moved.logits, DIFFERENCE)

    def self_supervision(self, batch: Batch, context: StepContext) -> Tensor:
        """Weighted loss of D's self-supervised reconstruction of real images: a scalar."""
        augmented = self.augment(batch.target, Place.REAL, context)
        with self.autocast():
            reconstruction = self.discriminator.self_supervision(augmented, context.own(Stream.SUPERVISION))
        return self.recipe.self_supervision * reconstruction

    def lecam(self, real_logits: Tensor, fake_logits: Tensor, world: World) -> Tensor:
        """LeCam's regularisation; its running means are updated."""
        now = world.mean(torch.stack([real_logits.detach().mean(), fake_logits.detach().mean()]))
        if self.logit_means is None:
            self.logit_means = now[0].clone(), now[1].clone()
        before = self.logit_means[0].clone(), self.logit_means[1].clone()
        for mean, new in zip(self.logit_means, now, strict=True):
            mean.lerp_(new, 1 - LECAM_DECAY)
        return lecam(real_logits, fake_logits, *before)

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.device, self.recipe.precision)

    def penalty_precision(self) -> AbstractContextManager[Any]:
        """Precision of logits for a penalty: differences between them would drown in bfloat16."""
        return nullcontext() if self.by_differences else self.autocast()

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.recipe.objective]

    @property
    def batches_penalised(self) -> int:
        """Number of batches, the real and then the fake one, to which R1 and R2 apply."""
        return {"r1": 1, "r1_r2": 2}.get(self.recipe.gradient_penalty, 0)

    @property
    def by_differences(self) -> bool:
        """Whether R1 and R2 are estimated by finite differences."""
        return self.recipe.penalty_estimate == "finite" and self.batches_penalised > 0

    @property
    def adapts(self) -> bool:
        """Whether the p of ada follows the discriminator instead of a schedule."""
        return self.recipe.augment == "ada" and self.recipe.augment_p is None

    # What is kept, and what is seen of it.

    def identity(self) -> dict[str, str]:
        return {"normalisation": self.recipe.normalisation}

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"ada": self.adaptive.state} if self.adapts else {}
        if self.logit_means is not None:
            state["logit_means"] = [float(mean) for mean in self.logit_means]
        if self.recipe.path_length:
            state["path_mean"] = float(self.path_mean)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.adapts and "ada" in state:
            self.adaptive.restore(state["ada"])
        else:
            self.adaptive.reset()
        self.logit_means = None
        if self.recipe.lecam and "logit_means" in state:
            real, fake = (torch.tensor(float(mean), device=self.device) for mean in state["logit_means"])
            self.logit_means = real, fake
        self.path_mean = torch.tensor(float(state.get("path_mean", 0.0)), device=self.device)

    @property
    def moving(self) -> list[Tensor]:
        return [self.path_mean, *(self.logit_means or ()), *(self.adaptive.tensors if self.adapts else ())]

    def measure(self, look: Look) -> dict[str, float]:
        """Diversity and distance of samples, overfitting of D, and gradient norms."""
        if not look.due:
            return {}
        values = diagnostics.diagnose(look.samples(), look.sample_labels, look.batches, self.logits)
        return values | {
            f"{name}_gradient": diagnostics.gradient_norm(each.module) for name, each in self.networks.items()
        }

    def logits(self, batch: Batch) -> Tensor:
        """D's logits of images as they are, [N]; D is left as it was."""
        labels = None if batch.labels is None else batch.labels.to(self.device)
        with diagnostics.unmoved(self.discriminator), self.autocast():
            return self.discriminator(batch.target, labels).float()

    def preview(self, look: Look) -> tuple[Tensor, int | None]:
        return look.samples(), None

    def finished(self, generator: Generator, look: Look) -> Generator:
        return generator

    def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"objective": self.recipe.objective, "augment": self.recipe.augment}
        if self.recipe.gradient_penalty != "none":
            facts["penalty"] = self.recipe.gradient_penalty
        if self.batches_penalised:
            facts["gamma"] = at(self.recipe.gamma, 0)
        if self.recipe.lecam:
            facts["lecam"] = self.recipe.lecam
        return facts

    def in_words(self, history: Sequence[Record]) -> str:
        values = history[-1].values
        text = f"loss D {values['discriminator_loss']:.2f} G {values['generator_loss']:.2f}"
        if "augment_p" in values:
            text += f", p {values['augment_p']:.2f}"
        if measured := next((record for record in reversed(history) if "kid" in record.values), None):
            kid, error = measured.values["kid"], measured.values.get("kid_standard_error", 0.0)
            text += f", KID {kid:.3g} ± {error:.2g}"
            if age := history[-1].images - measured.images:
                text += f", {age / 1000:.1f} kimg ago"
        return text
