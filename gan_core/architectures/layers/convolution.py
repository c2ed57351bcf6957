"""Convolutions whose second derivatives are as fast as their first.

R1 and R2 differentiate a gradient. torch does this group by group for a grouped convolution, and with copies of all
features for others; on a CPU this can take longer than the convolutions themselves. However, the input gradient of a
convolution is a transposed convolution, whose input gradient is a convolution again. Here two autograd functions are
each other's input gradients, of any order. Weight gradients are torch's own, and differentiable.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...platforms import autocast_dtype, full_precision, memory_format
from .weights import computed_in, converted, prepared

Pair = tuple[int, int]


class Conv2d(nn.Conv2d):
    """torch's Conv2d, with zero padding and without dilation."""

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = (self.stride[0], self.stride[1]), (int(self.padding[0]), int(self.padding[1]))
        return convolution(x, self.weight, self.bias, stride, padding, self.groups)


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    groups: int = 1,
) -> Tensor:
    """torch's conv2d, also under autocast.

    x: [N, C, H, W]. weight: [O, C / groups, h, w]. bias: [O]. Returns [N, O, H', W'].
    """
    x, weight, bias = _in_one_precision(x, weight, bias)
    return _convolved(x, weight, bias, _Plan(stride, padding, groups))


def transposed_convolution(
    x: Tensor, weight: Tensor, size: Pair, stride: Pair = (1, 1), padding: Pair = (0, 0), groups: int = 1
) -> Tensor:
    """torch's conv_transpose2d: the input gradient of `convolution`, for an input with the height and width `size`.

    x: [N, O, H', W']. weight: [O, C / groups, h, w]. Returns [N, C, *size].
    """
    x, weight, _ = _in_one_precision(x, weight, None)
    order = memory_format(x.device)
    order = order if x.is_contiguous(memory_format=order) else torch.contiguous_format
    shape = len(x), groups * weight.shape[1], *size
    like = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=order)
    return _InputGradient.apply(x, weight, (like,), _Plan(stride, padding, groups))


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
    if not torch.is_grad_enabled():
        return plan.convolve(x, weight, bias)
    seen, token = _Seen(), None
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        token = _WeightGradient.apply(weight, bias, plan, seen)
    return _Convolution.apply(x, weight, bias, token, plan, seen)


class _Plan(NamedTuple):
    stride: Pair
    padding: Pair
    groups: int

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        with full_precision(x.device):
            return torch.convolution(x, weight, bias, self.stride, self.padding, (1, 1), False, (0, 0), self.groups)

    def gradients(self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]) -> Any:
        """Gradients of `convolve` with respect to x, the weight and a bias, as far as wanted."""
        biases, dilation, output_padding = [len(weight)], (1, 1), (0, 0)
        return torch.ops.aten.convolution_backward(
            gradient, x, weight, biases, self.stride, self.padding, dilation, False, output_padding, self.groups, wanted
        )

    def input_gradient(self, gradient: Tensor, like: Tensor, weight: Tensor) -> Tensor:
        """Gradient of `convolve` with respect to an input of the shape, type and memory format of `like`."""
        input_alone = (True, False, False)
        if self.groups > 1 and self.stride != (1, 1) and gradient.dtype == torch.bfloat16 and gradient.is_cpu:
            # There it is ten times slower in bfloat16 than in float32.
            precise = torch.empty_like(like, dtype=torch.float32)
            return self.gradients(gradient.float(), precise, weight.float(), input_alone)[0].to(like.dtype)
        return self.gradients(gradient, like, weight, input_alone)[0]


class _Seen:
    """Values that the input gradient of a convolution passes on to its weight gradient."""

    gradient: Tensor
    x: Tensor


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, token: Tensor | None, plan: _Plan, seen: _Seen
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.plan, ctx.seen = plan, seen
        return plan.convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        if ctx.needs_input_grad[3]:
            ctx.seen.gradient, ctx.seen.x = gradient, x
        at_input = _InputGradient.apply(gradient, weight, (x,), ctx.plan) if ctx.needs_input_grad[0] else None
        return at_input, None, None, None, None, None


class _WeightGradient(torch.autograd.Function):
    """Weight gradient of a convolution, as a separate function.

    torch does not tell a function which of its gradients are needed. Where no weight gradient is needed, as in a
    gradient penalty, this function is not called. Its value is a token in place of the weight, without a number or a
    gradient; a constant weight needs none.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, plan: _Plan, seen: _Seen) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.plan, ctx.seen = plan, seen
        ctx.set_materialize_grads(False)
        return torch.empty((), dtype=weight.dtype, device=weight.device)

    @staticmethod
    def backward(ctx: Any, _: None) -> Any:
        (weight,) = ctx.saved_tensors
        gradient, x = ctx.seen.gradient, ctx.seen.x
        del ctx.seen.gradient, ctx.seen.x  # or they would live as long as the graph
        wanted = (False, ctx.needs_input_grad[0], ctx.needs_input_grad[1])
        _, at_weight, at_bias = ctx.plan.gradients(gradient, x, weight, wanted)
        return at_weight, at_bias, None, None


class _InputGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, like: tuple[Tensor], plan: _Plan) -> Tensor:
        """Input gradient. like: an input, of which only shape, type and memory format are used; in a tuple, where
        autograd does not see it."""
        ctx.save_for_backward(gradient, weight)
        ctx.plan = plan
        return plan.input_gradient(gradient, like[0], weight)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> Any:
        gradient, weight = ctx.saved_tensors
        plan: _Plan = ctx.plan
        at_gradient = at_weight = None
        if ctx.needs_input_grad[0]:
            at_gradient = _convolved(change, weight, None, plan)
        if ctx.needs_input_grad[1]:
            at_weight = plan.gradients(gradient, change, weight, (False, True, False))[1]
        return at_gradient, at_weight, None, None


def _in_one_precision(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Converts tensors to the dtype in which torch's convolution computes under autocast."""
    if autocast_dtype(x.device) is None:
        return x, weight, bias
    dtype = computed_in(x)
    return converted(x, dtype), prepared(weight, dtype), None if bias is None else prepared(bias, dtype)
