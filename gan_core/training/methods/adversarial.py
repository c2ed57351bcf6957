"""Training a GAN: a discriminator learns to tell real images from a generator's, and the generator to be taken for real
(Goodfellow et al. 2014)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...architectures import Architecture, size_of
from ...architectures.layers.piecewise_linear import logits_and_gradients
from ...data.images import ImageDataset
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
from ..augmentation import Adaptive, ada, diffaugment
from ..devices import all_digits_of_float32, seeded
from ..distributed import World
from ..history import Record
from ..monitor.policy import WatchedRun
from ..presets import TrainConfig
from ..run import AUGMENT, DRAWS, PATHS, PENALTY, SUPERVISION
from ..schedule import at

UNIT_SLOPE = 10.0
"""Weight of WGAN-GP's penalty (Gulrajani et al. 2017, sec. 4)."""

DIFFERENCE = 0.01
"""How far each value of an image in [-1, 1] is moved for a slope by finite differences. With 0.003 the estimate's
gradient is noisier, and from 0.03 on it is another one: there the pixels of an even background cross the corners of
leaky ReLUs together. Measured on digits, in float32."""

PATHS_EVERY, PATHS_SHARE = 4, 2
"""Steps between two regularisations of the path length, and how many times smaller their batch is (Karras et al. 2020a,
appendix B)."""

LECAM_DECAY = 0.99
"""What the running means of LeCam keep of themselves at each batch."""


@dataclass(frozen=True)
class Judged:
    """A batch of images [N, C, H, W] and what the discriminator says of them, [N]."""

    images: Tensor
    labels: Tensor | None
    place: int
    """Which of its step's batches it is, that augmentation changes each in its own way."""
    logits: Tensor
    slopes: Tensor | None = None
    """The gradient of each logit at its image [N, C, H, W], where it has been asked for."""


class AdversarialRun(WatchedRun):
    losses: ClassVar = {"discriminator_loss": "the discriminator's loss", "generator_loss": "the generator's loss"}
    panels: ClassVar = {
        "loss": {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        "discriminator's mean logit": {"real_score": "real images", "fake_score": "generated images"},
        "learned by heart": {"real_sign": "r_t", "overfitting": "r_v", "augment_p": "p of ada"},
        "samples beside real images": {"diversity": "diversity", "distance": "distance"},
        "KID": {"kid": "KID"},
    }

    def __init__(
        self,
        dataset: ImageDataset,
        config: TrainConfig,
        device: torch.device,
        start: Generator | None = None,
        world: World | None = None,
    ):
        self.adaptive = Adaptive()
        self.logit_means: tuple[Tensor, Tensor] | None = None  # of real and of generated images, lately
        self.path_mean = torch.zeros((), device=device)
        super().__init__(dataset, config, device, start, world)
        self.discriminator: Any = self.players["discriminator"].module
        # The same modules, as they are called where no gradient of a gradient is taken.
        self.make, self.judge = (
            torch.compile(module) if config.compiled else module for module in (self.generator, self.discriminator)
        )

    def build(self, start: Generator | None) -> dict[str, nn.Module]:
        generator, discriminator = _built(self.architecture, self.network, self.recipe.normalisation)
        return {"generator": generator, "discriminator": discriminator}

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.recipe.objective]

    @property
    def identity(self) -> dict[str, str]:
        return {"normalisation": self.recipe.normalisation}

    def regularised_every(self, name: str) -> int | None:
        if name == "generator":
            return PATHS_EVERY if self.recipe.path_length else None
        lazy = self.recipe.gradient_penalty != "none" and self.recipe.penalty_every > 1
        return self.recipe.penalty_every if lazy else None

    @property
    def turns(self) -> int:
        return self.recipe.turns

    def step(self) -> dict[str, Tensor]:
        p = self.augment_p
        for turn in range(self.turns):
            self.turn = turn
            real, labels = self.next_batch()
            with all_digits_of_float32() if self.by_differences else nullcontext():
                self.discriminator_step(real, labels)
            if self.adapts:
                self.adaptive.observe(self.world.mean(self.sign), self.recipe.batch_size)
        values = self.generator_step(real, labels)
        if self.recipe.path_length and self.steps % PATHS_EVERY == 0:
            self.path_length_step(labels)
        self.turn = 0
        if self.recipe.augment == "ada":
            values["augment_p"] = torch.tensor(p, device=self.device)
        return values

    @property
    def by_differences(self) -> bool:
        """Whether R1 and R2 are estimated by finite differences."""
        return self.recipe.penalty_estimate == "finite" and self.recipe.gradient_penalty in ("r1", "r1_r2")

    @property
    def adapts(self) -> bool:
        """Whether the p of ada follows the discriminator, and no schedule."""
        return self.recipe.augment == "ada" and self.recipe.augment_p is None

    @property
    def augment_p(self) -> float:
        """With which probability ada makes each of its changes."""
        scheduled = self.recipe.augment_p
        return self.adaptive.p if scheduled is None else at(scheduled, self.images)

    def augmented(self, images: Tensor, place: int) -> Tensor:
        """Images as the discriminator sees them.

        place: which batch of this step it is; others are changed in other ways.
        """
        if self.recipe.augment == "none":
            return images
        random = self.world.stream(self.random(AUGMENT, *self.moment, place))
        if self.recipe.augment == "ada":
            return ada(images.float(), self.augment_p, random)
        return diffaugment(images.float(), random)

    def made(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """What the generator makes of z [N, latent_size] while it trains: [N, C, H, W]."""
        if self.architecture.draws:
            return self.make(z, labels, self.torch_random(DRAWS, *self.own_moment))
        return self.make(z, labels)

    @torch.enable_grad()
    def discriminator_step(self, real: Tensor, labels: Tensor | None) -> None:
        """Teaches D to tell x from G(z); the last G(z) is kept for the generator's step."""
        self.discriminator.requires_grad_(True)
        player, every = self.players["discriminator"], self.recipe.penalty_every
        penalised = self.recipe.gradient_penalty != "none"
        at_once = penalised and every == 1
        sloped = self._batches_penalised if at_once and not self.by_differences else 0
        with self.autocast(), torch.set_grad_enabled(self.turn == self.turns - 1):
            self.fake = self.made(self.noise(len(real), self.network.latent_size), labels)
        with self._precision() if at_once else self.autocast():
            seen = [
                self.judged(images, labels, place, place < sloped)
                for place, images in enumerate((real, self.fake.detach().float()))
            ]
            real_logits, fake_logits = (batch.logits for batch in seen)
            loss = self.objective.loss(real_logits, fake_logits).discriminator
        cost = loss
        if at_once:
            cost = cost + self.penalty(*seen)
        if self.recipe.lecam:
            cost = cost + self.recipe.lecam * self._lecam(real_logits, fake_logits)
        if self.recipe.self_supervision:
            with self.autocast():
                taught = self.discriminator.self_supervision(
                    self.augmented(real, 0), self.torch_random(SUPERVISION, *self.own_moment)
                )
            cost = cost + self.recipe.self_supervision * taught
        self.learn(player, cost)
        if penalised and not at_once and (self.steps * self.turns + self.turn) % every == 0:
            self.learn(player, every * self.penalty(*seen))
        self.real_logits = real_logits.detach()
        self.discriminator_loss, self.scores = loss.detach(), (real_logits.detach().mean(), fake_logits.detach().mean())
        # Where a number added to all logits means nothing, a real one is above its fake, or not.
        sure = real_logits if self.objective.anchored else real_logits - fake_logits
        self.sign = sure.detach().float().sign().mean()

    def judged(self, images: Tensor, labels: Tensor | None, place: int, sloped: bool) -> Judged:
        """What the discriminator says now of a batch [N, C, H, W].

        sloped: whether its gradient at the images is wanted too.
        """
        # Penalties are of the gradient at the images themselves, so these are changed within the graph.
        images = images.detach().requires_grad_(sloped)
        seen = self.augmented(images, place)
        if not sloped:
            return Judged(images, labels, place, self.judge(seen, labels))
        if self.architecture.piecewise_linear and self.recipe.normalisation == "none":
            logits, slopes = logits_and_gradients(self.discriminator, seen, labels)
            if seen is not images:  # those are at what is seen: back through what has changed the images
                slopes = image_gradients((seen * slopes).sum(dim=(1, 2, 3)), images)
        else:
            logits = self.discriminator(seen, labels)
            slopes = image_gradients(logits, images)
        return Judged(images, labels, place, logits, slopes)

    def penalty(self, real: Judged, fake: Judged) -> Tensor:
        """Of the discriminator's gradient, with its weight: a scalar. It is judged anew where that is done lazily, as
        the discriminator has learned since."""
        kind = self.recipe.gradient_penalty
        if kind == "wgan_gp":
            random = self.world.stream(self.random(PENALTY, *self.moment))
            shares = random.random(len(real.images), np.float32)
            line = interpolate(real.images.detach(), fake.images.detach(), self.to_device(torch.from_numpy(shares)))
            with self.autocast():
                seen = self.judged(line, real.labels, 4, sloped=True)
            assert seen.slopes is not None
            return UNIT_SLOPE * wgan_gp_penalty(seen.slopes)
        batches = [real, fake][: self._batches_penalised]
        if self.recipe.penalty_every > 1:
            sloped = not self.by_differences
            with self._precision():
                batches = [self.judged(batch.images, batch.labels, batch.place, sloped) for batch in batches]
        # A gradient summed over pixels grows with their number (Karras et al. 2020, appendix: gamma ~ pixels).
        pixels = math.prod(size_of(self.network)) / 64**2
        weight = at(self.recipe.gamma, self.images) * pixels / 2
        return weight * torch.stack([self._steepness(batch) for batch in batches]).sum()

    @property
    def _batches_penalised(self) -> int:
        """Of how many of a step's batches, the real and then the generated one, R1 and R2 are."""
        return {"r1": 1, "r1_r2": 2}.get(self.recipe.gradient_penalty, 0)

    def _steepness(self, seen: Judged) -> Tensor:
        """Squared length of the discriminator's gradient at the images, or an estimate of it: a scalar."""
        if seen.slopes is not None:
            return gradient_penalty(seen.slopes)
        random = self.torch_random(PENALTY, *self.moment, seen.place)
        shape = self.recipe.batch_size, *seen.images.shape[1:]
        coins = torch.randint(0, 2, shape, generator=random, device=self.device, dtype=torch.float32)
        coins = self.world.share(coins)
        moved = self.judged(seen.images + DIFFERENCE * (2 * coins - 1), seen.labels, seen.place, sloped=False)
        return finite_difference_penalty(seen.logits, moved.logits, DIFFERENCE)

    def _precision(self) -> AbstractContextManager[Any]:
        """In which images are judged for a penalty: differences between logits would drown in bfloat16."""
        return nullcontext() if self.by_differences else self.autocast()

    def _lecam(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """LeCam's loss, and the running means moved on."""
        means = self.world.mean(torch.stack([real_logits.detach().mean(), fake_logits.detach().mean()]))
        now = means[0], means[1]
        before = self.logit_means or now
        self.logit_means = before[0].lerp(now[0], 1 - LECAM_DECAY), before[1].lerp(now[1], 1 - LECAM_DECAY)
        return lecam(real_logits, fake_logits, *before)

    @torch.enable_grad()
    def generator_step(self, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Teaches G to make what D takes for real. Returns what the record says of both players."""
        # D's own weights need no gradient here, which saves a third of its backward pass.
        self.discriminator.requires_grad_(False)
        with self.autocast():
            fake_logits = self.judge(self.augmented(self.fake, 2), labels)
            if self.objective.relativistic:
                with torch.no_grad():
                    self.real_logits = self.judge(self.augmented(real, 3), labels)
            loss = self.objective.loss(self.real_logits, fake_logits).generator
        self.learn(self.players["generator"], loss)
        del self.fake, self.real_logits
        return {
            "discriminator_loss": self.discriminator_loss,
            "generator_loss": loss.detach(),
            "real_score": self.scores[0],
            "fake_score": self.scores[1],
            "real_sign": self.sign,
        }

    @torch.enable_grad()
    def path_length_step(self, labels: Tensor | None) -> None:
        """Teaches a style-based G to move all its images alike for a step of their styles."""
        count = max(1, self.recipe.batch_size // self.world.size // PATHS_SHARE)
        random = self.torch_random(PATHS, *self.own_moment)
        z = torch.randn(count, self.network.latent_size, generator=random, device=self.device)
        with self.autocast():
            styles = self.generator.mixed_styles(z, None if labels is None else labels[:count], random)
            images = self.generator.synthesis(styles, self.generator.fresh_noise(count, random)).float()
        lengths = path_length.path_lengths(images, styles, random)
        loss, mean = path_length.penalty(lengths, self.path_mean)
        self.path_mean = self.world.mean(mean)
        self.learn(self.players["generator"], self.recipe.path_length * PATHS_EVERY * loss)

    def kept(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().kept(), **({"ada": self.adaptive.state} if self.adapts else {})}
        if self.logit_means is not None:
            state["logit_means"] = [float(mean) for mean in self.logit_means]
        if self.recipe.path_length:
            state["path_mean"] = float(self.path_mean)
        return state

    def restore_kept(self, state: Mapping[str, Any]) -> None:
        super().restore_kept(state)
        self.adaptive, self.logit_means = Adaptive(), None
        if self.adapts and "ada" in state:
            self.adaptive = Adaptive.of(state["ada"])
        if self.recipe.lecam and "logit_means" in state:
            real, fake = (torch.tensor(float(mean), device=self.device) for mean in state["logit_means"])
            self.logit_means = real, fake
        self.path_mean = torch.tensor(float(state.get("path_mean", 0.0)), device=self.device)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"objective": self.recipe.objective, "augment": self.recipe.augment}
        if self.recipe.gradient_penalty != "none":
            facts["penalty"] = self.recipe.gradient_penalty
        if self.recipe.gradient_penalty in ("r1", "r1_r2"):
            facts["gamma"] = at(self.recipe.gamma, 0)
        if self.recipe.lecam:
            facts["lecam"] = self.recipe.lecam
        return facts

    def in_words(self, record: Record) -> str:
        text = f"loss D {record.values['discriminator_loss']:.2f} G {record.values['generator_loss']:.2f}"
        if "augment_p" in record.values:
            text += f", p {record.values['augment_p']:.2f}"
        if measured := next((record for record in reversed(self.history) if "kid" in record.values), None):
            kid, error = measured.values["kid"], measured.values.get("kid_standard_error", 0.0)
            text += f", KID {kid:.3g} ± {error:.2g} at {measured.images / 1000:.1f} kimg"
        return text


def build(architecture: Architecture, config: Any, normalisation: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with fresh weights that depend on the seed alone, on the CPU."""
    with seeded(seed):
        return _built(architecture, config, normalisation)


def _built(architecture: Architecture, config: Any, normalisation: str) -> tuple[nn.Module, nn.Module]:
    assert architecture.discriminator, f"{architecture.name} cannot be trained"
    fitting = normalisation if normalisation in architecture.normalisations else architecture.normalisations[0]
    return architecture.generator(config), architecture.discriminator(config, fitting)
