"""Discriminators whose gradient at the images serves twice: for a penalty, and for the loss.

In a network of linear layers and ReLUs, plain or leaky, what is not linear is on which side of zero each number lies.
Its weights' gradient takes that as given. A logit is then linear in the image and the biases together,

    D(x) = x . dD/dx + sum of b . dD/db,

and the slopes dD/dx and dD/db depend on the weights, but neither on the image nor on a bias. A penalty needs the slopes
in a form that can be differentiated. Once they are there, the logits can be written as above, and what the loss teaches
is found in the very pass through the slopes that finds what the penalty teaches: no other goes back through the
network. Of six passes through the discriminator for each image four are left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from ...platforms import full_precision


def leaky_relu_(x: Tensor, slope: float) -> Tensor:
    """torch's, in place, with a derivative that counts as a constant: to torch it depends on x, if only by zero, and a
    gradient of a gradient goes back through the whole network for it."""
    if torch.compiler.is_compiling():  # gradients of a function that changes its input would be wrong
        return functional.leaky_relu_(x, slope)
    return _LeakyReLU.apply(x, slope)


def logits_and_slopes(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a discriminator says of images, and the gradient of that at them.

    discriminator: piecewise linear, with `leaky_relu_`, no biases but in convolutions and linear layers, and logits
    that depend on their own image alone. images: [N, C, H, W]. Returns logits [N] and slopes [N, C, H, W], which can be
    differentiated at the weights, once, and for little more than the slopes alone.
    """
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    biased = {layer: layer.bias for layer in layers if layer.bias is not None}
    after: dict[nn.Module, GradientEdge] = {}  # where each of them has been added

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        after[layer] = get_gradient_edge(output)  # and not the output, which is to be changed in place

    hooks = [layer.register_forward_hook(note) for layer in biased]
    try:
        images = images.detach().requires_grad_()
        logits = discriminator(images, labels)
    finally:
        for hook in hooks:
            hook.remove()
    with full_precision(images.device):  # gradients have the precision of what they are of
        at = [get_gradient_edge(images), *(after[layer] for layer in biased)]
        slopes, *at_biases = torch.autograd.grad(logits.sum(), at, create_graph=True)
        linear = (slopes * images.detach()).sum(dim=(1, 2, 3))
        for bias, slope in zip(biased.values(), at_biases, strict=True):
            at_features = slope.reshape(*slope.shape[:2], -1).sum(dim=2)
            linear = linear + (at_features.to(bias) * bias).sum(dim=1)
        return logits.detach() + (linear - linear.detach()), slopes  # the logits' value, which has been rounded less


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        functional.leaky_relu_(x, slope)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _Sides.apply(gradient, y.detach(), ctx.slope), None


class _Sides(torch.autograd.Function):
    """A leaky ReLU's derivative at an input of which the output is given, times a gradient, of which it is linear."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return torch.ops.aten.leaky_relu_backward(gradient, y, slope, True)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _Sides.apply(change, y, ctx.slope), None, None
