"""Discriminators whose image gradient is computed once, for a gradient penalty and for the loss.

In a network of linear layers and (leaky) ReLUs the only nonlinearity is the sign of each pre-activation. Almost
everywhere these signs are constant, so that a logit is linear in the image and the biases together:

    D(x) = x . dD/dx + sum of b . dD/db,

where the gradients dD/dx and dD/db depend on the weights, but neither on the image nor on a bias. A gradient penalty
needs these gradients in a differentiable form anyway. Written as above, the logits need no backward pass of their own:
one pass back through the gradients serves loss and penalty. This leaves four of six passes through the discriminator
for each image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from ...platforms import full_precision


def leaky_relu_(x: Tensor, negative_slope: float) -> Tensor:
    """In-place leaky ReLU of torch whose derivative is a constant to autograd.

    torch's own derivative depends on x formally, although its derivative is zero. A second derivative then goes back
    through the whole network for nothing.
    """
    if torch.compiler.is_compiling():  # compiled gradients of an in-place function would be wrong
        return functional.leaky_relu_(x, negative_slope)
    return _LeakyReLU.apply(x, negative_slope)


def logits_and_gradients(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits of images and their gradients at the images, differentiable together for little more than the gradients.

    discriminator: piecewise linear: it uses `leaky_relu_`, has biases only in convolutions and linear layers, and each
    logit depends on its own image alone. images: [N, C, H, W]. labels: [N] or None. Returns logits [N] and gradients
    [N, C, H, W]; both can be differentiated once, with respect to the weights.
    """
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    biased = {layer: layer.bias for layer in layers if layer.bias is not None}
    after_bias: dict[nn.Module, GradientEdge] = {}

    def note(layer: nn.Module, _: Any, output: Tensor) -> None:
        after_bias[layer] = get_gradient_edge(output)  # not the output itself, which the activation changes in place

    hooks = [layer.register_forward_hook(note) for layer in biased]
    try:
        images = images.detach().requires_grad_()
        logits = discriminator(images, labels)
    finally:
        for hook in hooks:
            hook.remove()
    with full_precision(images.device):  # a gradient has the precision of the layer it passes
        at = [get_gradient_edge(images), *(after_bias[layer] for layer in biased)]
        gradients, *bias_gradients = torch.autograd.grad(logits.sum(), at, create_graph=True)
        linear = (gradients * images.detach()).sum(dim=(1, 2, 3))
        if biased:
            # Sums keep their dtype: the gradient of a conversion would be dense, and in another memory format.
            per_feature = [each.sum(dim=(2, 3)) if each.dim() == 4 else each for each in bias_gradients]
            biases = torch.cat([*biased.values()])
            linear = linear + torch.cat(per_feature, dim=1).to(biases.dtype) @ biases
        # The value of the forward pass, which has less rounding error, with the gradient of the linear form.
        return logits.detach() + (linear - linear.detach()), gradients


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, negative_slope: float) -> Tensor:
        functional.leaky_relu_(x, negative_slope)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.negative_slope = negative_slope
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _LeakyReLUDerivative.apply(gradient, y.detach(), ctx.negative_slope), None


class _LeakyReLUDerivative(torch.autograd.Function):
    """Derivative of a leaky ReLU, found from its output y, times a gradient. Linear in that gradient."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, y: Tensor, negative_slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.negative_slope = negative_slope
        return torch.ops.aten.leaky_relu_backward(gradient, y, negative_slope, True)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _LeakyReLUDerivative.apply(change, y, ctx.negative_slope), None, None
