"""A network that learns, and the optimizer that moves its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from .context import StepContext


class ScheduledAdam(Adam):
    """Adam (Kingma & Ba 2015) whose learning rate and decay rates are scalars on the device.

    torch's fused Adam takes decay rates as Python numbers, which a captured step would keep for good. Weights are moved
    together, by a few operators whatever their number. All have the bias correction of the first.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Moves the weights that have a gradient. closure: none is called."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            states = [self.state[weight] for weight in weights]
            for weight, state in zip(weights, states, strict=True):
                if not state:
                    state["step"] = torch.zeros((), device=weight.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
            if states:
                _step(weights, states, group["lr"], group["betas"], group["eps"])


def _step(
    weights: list[Tensor], states: list[dict[str, Tensor]], rate: Tensor, betas: tuple[Tensor, Tensor], eps: float
) -> None:
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    steps, means, squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))
    torch._foreach_add_(steps, 1)
    powers = gradients, list(torch._foreach_mul(gradients, gradients))
    for moments, new, beta in zip((means, squares), powers, betas, strict=True):
        torch._foreach_mul_(moments, beta)
        torch._foreach_add_(moments, torch._foreach_mul(new, 1 - beta))
    corrections = [1 - beta ** steps[0] for beta in betas]
    moves = torch._foreach_sqrt(squares)
    torch._foreach_mul_(moves, corrections[1].rsqrt())
    torch._foreach_add_(moves, eps)
    moves = torch._foreach_div(means, moves)
    torch._foreach_mul_(moves, -rate / corrections[0])
    torch._foreach_add_(weights, moves)


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
    def of(
        cls, module: nn.Module, regularised_every: int | None = None, scheduled_betas: bool = False
    ) -> TrainedNetwork:
        """The module with a fresh optimizer.

        regularised_every: k of `lazy_ratio`; None for no such steps. scheduled_betas: whether the decay rates change.
        """
        weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
        device = weights[0].device.type
        ratio = regularised_every / (regularised_every + 1) if regularised_every else 1.0
        # Learning rate and betas are set at each step: see update.
        if device == "cuda" and scheduled_betas:
            return cls(module, ScheduledAdam(weights, capturable=True), ratio)
        return cls(module, Adam(weights, fused=device in ("cpu", "cuda"), capturable=device == "cuda"), ratio)

    def update(self, losses: Iterable[Tensor], context: StepContext) -> None:
        """Takes one optimizer step against the gradient of the sum of losses, averaged over all processes.

        losses: each is differentiated before the next is asked for, so that its graph is gone by then.
        """
        self.optimizer.zero_grad()
        for loss in losses:
            loss.backward()
            del loss
        context.world.average_gradients(self.module)
        ratio = self.lazy_ratio
        rate = context.number(lambda now: now.rates.learning_rate * ratio)
        betas: Any = tuple(beta**ratio for beta in context.rates.betas)
        if isinstance(self.optimizer, ScheduledAdam):
            first = context.number(lambda now: now.rates.betas[0] ** ratio)
            second = context.number(lambda now: now.rates.betas[1] ** ratio)
            betas = first, second
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = rate, betas
        self.optimizer.step()
