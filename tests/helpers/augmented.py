"""Images changed by what a numpy stream draws for them, as in a step of training; and by which matrices."""

import numpy as np
import torch
from torch import Tensor

from gan_core.training import augmentation as augment


def ada(images: Tensor, p: float | Tensor, random: np.random.Generator) -> Tensor:
    return augment.ada(images, p, _drawn(augment.ada_draws, images, random))


def diffaugment(images: Tensor, random: np.random.Generator) -> Tensor:
    return augment.diffaugment(images, _drawn(augment.diffaugment_draws, images, random))


def ada_matrices(
    random: np.random.Generator, count: int, shape: tuple[int, int], p: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where each new pixel comes from [N, 3, 3], with the image's edges at -1 and 1; what colours, and a 1, are
    multiplied with [N, 4, 4]. shape: height and width."""
    moves, shades = augment._made(torch.from_numpy(augment.ada_draws(random, count, shape)), p)
    aspect = shape[1] / shape[0]
    in_half_widths = np.array([aspect, 1, 1])
    return _whole(augment._moves(moves, aspect).numpy() * in_half_widths), _whole(augment._shades(shades).numpy())


def _drawn(draws, images: Tensor, random: np.random.Generator) -> Tensor:
    return torch.from_numpy(draws(random, len(images), tuple(images.shape[2:])))


def _whole(matrices: np.ndarray) -> np.ndarray:
    """With a last row that leaves a 1 as it is."""
    last = np.eye(matrices.shape[2])[-1:]
    return np.concatenate([matrices, np.broadcast_to(last, (len(matrices), *last.shape))], axis=1)
