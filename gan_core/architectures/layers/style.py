"""Mapping network of StyleGAN2 and StyleGAN3, from noise z to style w (Karras et al. 2019, 2020a)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...platforms import full_precision
from ..architecture import as_vectors
from .weights import converted, scaled

MAPPING_RATE = 0.01
"""Learning rate of the mapping network relative to the other networks, built into its weights (Karras et al. 2019, app.
C)."""

LEAK_GAIN = math.sqrt(2)
"""Gain of a leaky ReLU, about as much as it takes of the deviation of its input. It may be applied by what scales the
features next."""

W_AVG_HALF_LIFE = 11_000
"""Half-life of the running mean w_avg, in images: 0.998 per batch of 32, as in the authors' program."""


class Mapping(nn.Module):
    """Maps z and the class label to w, in StyleGAN2 and StyleGAN3."""

    w_avg: Tensor

    def __init__(self, latent_size: int, w_dim: int, classes: int, layers: int):
        super().__init__()
        self.classes, self.layers = classes, layers
        self.embed = Linear(classes, w_dim) if classes else None
        inputs = latent_size + (w_dim if classes else 0)
        for i in range(layers):
            layer = Linear(inputs if i == 0 else w_dim, w_dim, rate=MAPPING_RATE, gain=LEAK_GAIN)
            self.add_module(f"fc{i}", layer)
        # Running mean of w over training, the centre of truncation.
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps z [N, latent_size] and labels [N] or [N, classes] to w [N, w_dim]."""
        x = normalised(z)
        if self.embed is not None:
            assert labels is not None
            x = torch.cat([x, normalised(self.embed(as_vectors(labels, self.classes)))], dim=1)
        for i in range(self.layers):
            x = functional.leaky_relu_(self.get_submodule(f"fc{i}")(x), 0.2)
        return x

    @torch.no_grad()
    def observe(self, w: Tensor) -> None:
        """Updates w_avg with new styles [N, w_dim]."""
        self.w_avg.lerp_(w.mean(dim=0), 1 - 0.5 ** (len(w) / W_AVG_HALF_LIFE))


class Linear(nn.Module):
    """Dense layer with an equalised learning rate: weights are kept at unit scale (Karras et al. 2018).

    It computes in full precision also under autocast, because styles are few values that affect the whole image.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, gain: float = 1.0):
        """bias: initial value. rate: relative learning rate. gain: factor of the output."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full([outputs], bias / rate))
        self.rate, self.gain = rate, gain

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, inputs] to [N, outputs]."""
        scale = self.rate * self.gain
        with full_precision(x.device):
            # Of x and the weight, x has fewer numbers to be scaled.
            x = scaled(converted(x, self.weight.dtype), scale / math.sqrt(x.shape[1]))
            return functional.linear(x, self.weight, scaled(self.bias, scale))


def normalised(x: Tensor) -> Tensor:
    """Scales the rows of x [N, C] to a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
