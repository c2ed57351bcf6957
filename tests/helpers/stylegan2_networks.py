"""Small StyleGAN2 generators with lively weights, for tests that need a style-based one."""

import golden
import torch

from gan_core import Generator
from gan_core.architectures.stylegan2 import ARCHITECTURE, StyleGAN2Config, StyleGAN2Generator

SMALL = StyleGAN2Config(side=16, channels=3, widths=(8, 6, 4), latent_size=5, w_dim=7, mapping_layers=2)


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def generator_of(config: StyleGAN2Config, seed: int = 0) -> Generator:
    """A generator with weights that make lively images of order 1."""
    module = StyleGAN2Generator(config)
    module.load_state_dict(lively(golden.weights(shapes_of(module), seed)))
    return Generator(ARCHITECTURE, config, module.eval().requires_grad_(False))


def lively(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the scale that trained ones have, as the golden cases were made with."""
    for name, tensor in weights.items():
        if name.endswith("torgb.weight"):
            tensor.mul_(0.25)
        if name.endswith("affine.bias"):
            tensor.add_(1)
        if name.startswith("mapping.fc"):
            tensor.mul_(100)
    return weights


def original(config: StyleGAN2Config) -> dict[str, torch.Tensor]:
    """A state dict as NVIDIA's network gives it: ours, and a constant filter in every layer."""
    weights = lively(golden.weights(shapes_of(StyleGAN2Generator(config)), 0))
    smooth = torch.tensor([1.0, 3.0, 3.0, 1.0])
    layers = {name.rpartition(".")[0] for name in weights if ".conv" in name and name.count(".") == 3}
    return {**weights, **{f"{layer}.resample_filter": torch.outer(smooth, smooth) / 64 for layer in layers}}
