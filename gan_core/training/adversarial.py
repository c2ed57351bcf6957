"""Training a GAN: a discriminator learns to tell real images from a generator's, and the generator to be taken for real
(Goodfellow et al. 2014)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..architectures import Architecture
from ..dataset import ImageDataset
from ..generator import Generator
from ..objectives import OBJECTIVES, Objective, gradient_penalty
from .devices import seeded
from .history import Record
from .recipes import AdversarialRecipe, TrainConfig
from .run import Run


class AdversarialRun(Run):
    recipe: AdversarialRecipe
    losses: ClassVar = {"discriminator_loss": "the discriminator's loss", "generator_loss": "the generator's loss"}
    panels: ClassVar = {
        "loss": {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        "discriminator's mean logit": {"real_score": "real images", "fake_score": "generated images"},
    }

    def __init__(
        self, dataset: ImageDataset, config: TrainConfig, device: torch.device, start: Generator | None = None
    ):
        super().__init__(dataset, config, device, start)
        self.discriminator = self.players["discriminator"].module

    def build(self, start: Generator | None) -> dict[str, nn.Module]:
        generator, discriminator = _built(self.architecture, self.network, self.objective.normalisation)
        return {"generator": generator, "discriminator": discriminator}

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.recipe.objective]

    @property
    def identity(self) -> dict[str, str]:
        return {"normalisation": self.objective.normalisation}

    def step(self) -> dict[str, Tensor]:
        real, labels = self.next_batch()
        self.discriminator_step(real, labels)
        return self.generator_step(real, labels)

    @torch.enable_grad()
    def discriminator_step(self, real: Tensor, labels: Tensor | None) -> None:
        """Teaches D to tell x from G(z); G(z) is kept for the generator's step."""
        self.discriminator.requires_grad_(True)
        with self.autocast():
            self.fake = self.generator(self.noise(len(real), self.network.latent_size), labels)
            fake = self.fake.detach().float()
            if self.objective.penalised:
                real, fake = real.requires_grad_(), fake.requires_grad_()
            real_logits, fake_logits = self.discriminator(real, labels), self.discriminator(fake, labels)
            loss = self.objective.loss(real_logits, fake_logits).discriminator
        penalty: Tensor | float = 0.0
        if self.objective.penalised:
            penalty = self._gamma / 2 * (gradient_penalty(real_logits, real) + gradient_penalty(fake_logits, fake))
        optimizer = self.players["discriminator"].optimizer
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        self.real_logits = real_logits.detach()
        self.discriminator_loss, self.scores = loss.detach(), (real_logits.detach().mean(), fake_logits.detach().mean())

    @torch.enable_grad()
    def generator_step(self, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Teaches G to make what D takes for real. Returns what the record says of both players."""
        # D's own weights need no gradient here, which saves a third of its backward pass.
        self.discriminator.requires_grad_(False)
        with self.autocast():
            fake_logits = self.discriminator(self.fake, labels)
            if self.objective.relativistic:
                with torch.no_grad():
                    self.real_logits = self.discriminator(real, labels)
            loss = self.objective.loss(self.real_logits, fake_logits).generator
        optimizer = self.players["generator"].optimizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        del self.fake, self.real_logits
        return {
            "discriminator_loss": self.discriminator_loss,
            "generator_loss": loss.detach(),
            "real_score": self.scores[0],
            "fake_score": self.scores[1],
        }

    def facts(self) -> dict[str, Any]:
        return {"objective": self.recipe.objective}

    def in_words(self, record: Record) -> str:
        return f"loss D {record.values['discriminator_loss']:.2f} G {record.values['generator_loss']:.2f}"

    @property
    def _gamma(self) -> float:
        # A gradient summed over pixels grows with their number (Karras et al. 2020, appendix: gamma ~ pixels).
        return self.recipe.gamma * (self.network.side / 64) ** 2


def build(architecture: Architecture, config: Any, normalisation: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator with fresh weights that depend on the seed alone, on the CPU."""
    with seeded(seed):
        return _built(architecture, config, normalisation)


def _built(architecture: Architecture, config: Any, normalisation: str) -> tuple[nn.Module, nn.Module]:
    assert architecture.discriminator, f"{architecture.name} cannot be trained"
    return architecture.generator(config), architecture.discriminator(config, normalisation)
