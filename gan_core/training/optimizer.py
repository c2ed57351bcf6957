"""A network that learns, and the optimizer that moves its weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Adam

from .distributed import World


@dataclass(frozen=True)
class Rates:
    """Adam's settings at one step."""

    learning_rate: float
    betas: tuple[float, float]


@dataclass(frozen=True)
class TrainedNetwork:
    """A network and its optimizer."""

    module: nn.Module
    optimizer: Adam
    """Adam (Kingma & Ba 2015) of the module's weights that require a gradient."""
    lazy_ratio: float = 1.0
    """k / (k + 1) where a further step for a regulariser alone follows every k steps, else 1. Steps are shorter by this
    factor and moments decay more slowly, so that training is as fast as without (Karras et al. 2020a, appendix B)."""

    @classmethod
    def of(cls, module: nn.Module, regularised_every: int | None = None) -> TrainedNetwork:
        """The module with a fresh optimizer. regularised_every: k of `lazy_ratio`; None for no such steps."""
        weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
        fused = weights[0].device.type in ("cpu", "cuda")
        ratio = regularised_every / (regularised_every + 1) if regularised_every else 1.0
        # Learning rate and betas are set at each step: see update.
        return cls(module, Adam(weights, fused=fused), ratio)

    def update(self, loss: Tensor, rates: Rates, world: World) -> None:
        """Takes one optimizer step against the gradient of a loss, averaged over all processes."""
        self.optimizer.zero_grad()
        loss.backward()
        world.average_gradients(self.module)
        for group in self.optimizer.param_groups:
            group["lr"] = rates.learning_rate * self.lazy_ratio
            group["betas"] = tuple(beta**self.lazy_ratio for beta in rates.betas)
        self.optimizer.step()
