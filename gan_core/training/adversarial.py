"""Training a GAN: a discriminator learns to tell real images from a generator's, and the generator to be taken for real
(Goodfellow et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..architectures import Architecture
from ..augment import Adaptive, ada, diffaugment
from ..dataset import ImageDataset
from ..generator import Generator
from ..objectives import OBJECTIVES, Objective, gradient_penalty
from ..parallel import World
from .devices import seeded
from .history import Record
from .recipes import AdversarialRecipe, TrainConfig
from .run import AUGMENT, Run

BY_HEART = 0.8
"""From this r_t on the discriminator begins to know the images by heart."""

FIRST_IMAGES, FIRST_PASSES = 20_000, 10
"""Till then a high r_t means nothing: a discriminator is sure of any images before its generator can do a thing."""

RECORDS_OF_SIGN = 8
"""Records over whose mean r_t is judged, as it is coarse in one."""


class AdversarialRun(Run):
    recipe: AdversarialRecipe
    losses: ClassVar = {"discriminator_loss": "the discriminator's loss", "generator_loss": "the generator's loss"}
    panels: ClassVar = {
        "loss": {"discriminator_loss": "discriminator", "generator_loss": "generator"},
        "discriminator's mean logit": {"real_score": "real images", "fake_score": "generated images"},
        "learned by heart": {"real_sign": "r_t", "augment_p": "p of ada"},
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
        super().__init__(dataset, config, device, start, world)
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
        values = self.generator_step(real, labels)
        if self.recipe.augment == "ada":
            values["augment_p"] = torch.tensor(self.adaptive.p, device=self.device)
            self.adaptive.observe(self.world.mean(self.sign), self.recipe.batch_size)
        return values

    def augmented(self, images: Tensor, place: int) -> Tensor:
        """Images as the discriminator sees them.

        place: which batch of this step it is; others are changed in other ways.
        """
        if self.recipe.augment == "none":
            return images
        random = self.world.stream(self.random(AUGMENT, self.steps, place))
        if self.recipe.augment == "ada":
            return ada(images.float(), self.adaptive.p, random)
        return diffaugment(images.float(), random)

    @torch.enable_grad()
    def discriminator_step(self, real: Tensor, labels: Tensor | None) -> None:
        """Teaches D to tell x from G(z); G(z) is kept for the generator's step."""
        self.discriminator.requires_grad_(True)
        with self.autocast():
            self.fake = self.generator(self.noise(len(real), self.network.latent_size), labels)
            fake = self.fake.detach().float()
            if self.objective.penalised:
                real, fake = real.requires_grad_(), fake.requires_grad_()
            # Penalties are of the gradient at the images themselves, so these are changed within the graph.
            real_logits = self.discriminator(self.augmented(real, 0), labels)
            fake_logits = self.discriminator(self.augmented(fake, 1), labels)
            loss = self.objective.loss(real_logits, fake_logits).discriminator
        penalty: Tensor | float = 0.0
        if self.objective.penalised:
            penalty = self._gamma / 2 * (gradient_penalty(real_logits, real) + gradient_penalty(fake_logits, fake))
        self.learn(self.players["discriminator"], loss + penalty)
        self.real_logits = real_logits.detach()
        self.discriminator_loss, self.scores = loss.detach(), (real_logits.detach().mean(), fake_logits.detach().mean())
        # A number added to all logits means nothing to a relativistic loss: there a real one is above its fake, or not.
        sure = real_logits - fake_logits if self.objective.relativistic else real_logits
        self.sign = sure.detach().float().sign().mean()

    @torch.enable_grad()
    def generator_step(self, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """Teaches G to make what D takes for real. Returns what the record says of both players."""
        # D's own weights need no gradient here, which saves a third of its backward pass.
        self.discriminator.requires_grad_(False)
        with self.autocast():
            fake_logits = self.discriminator(self.augmented(self.fake, 2), labels)
            if self.objective.relativistic:
                with torch.no_grad():
                    self.real_logits = self.discriminator(self.augmented(real, 3), labels)
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

    def kept(self) -> dict[str, Any]:
        return {"ada": self.adaptive.state} if self.recipe.augment == "ada" else {}

    def restore_kept(self, state: Mapping[str, Any]) -> None:
        if self.recipe.augment == "ada" and "ada" in state:
            self.adaptive = Adaptive.of(state["ada"])

    def facts(self) -> dict[str, Any]:
        return {"objective": self.recipe.objective, "augment": self.recipe.augment}

    def in_words(self, record: Record) -> str:
        text = f"loss D {record.values['discriminator_loss']:.2f} G {record.values['generator_loss']:.2f}"
        if "augment_p" in record.values:
            text += f", p {record.values['augment_p']:.2f}"
        if self.knows_by_heart:
            advice = "add images, or mirror them"
            if self.recipe.augment != "ada":
                advice = "add images, mirror them, or choose ada"
            text += f" (the discriminator begins to know the images by heart: {advice})"
        return text

    @property
    def knows_by_heart(self) -> bool:
        """Whether the discriminator has lately been surer of the real images than it is where it judges by kind."""
        if self.images < max(FIRST_IMAGES, FIRST_PASSES * len(self.shown)):
            return False
        signs = [record.values.get("real_sign", 0.0) for record in self.history[-RECORDS_OF_SIGN:]]
        return sum(signs) / len(signs) > BY_HEART

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
    fitting = normalisation if normalisation in architecture.normalisations else architecture.normalisations[0]
    return architecture.generator(config), architecture.discriminator(config, fitting)
