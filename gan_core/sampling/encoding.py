"""Images of any size and channels, converted to those of a generator."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..generator import Generator
from ..media.image_files import FITS, fitted


def images_for(generator: Generator, images: Tensor, fit: str = "crop") -> Tensor:
    """Converts images to the size and channels of a generator: [B, C, H, W] in [-1, 1].

    images: [B, H, W, 1, 3 or 4] in [0, 1]. fit: how images of another aspect ratio are fitted, one of image_files.FITS.

    For a VAE with spatial latents images keep their size, and transparency is composited on white. Raises InputError
    for other shapes, and for an unknown fit.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or not images.numel():
        raise InputError(f"Images must have shape [B, H, W, 1, 3 or 4] (got {list(images.shape)}).")
    if fit not in FITS:
        raise InputError(f'fit must be {", ".join(FITS)} (got "{fit}").')
    channels = generator.config.channels
    images = images.detach().cpu().float().nan_to_num().clamp(0, 1)
    if generator.architecture.spatial:
        return _as_rgb(images).movedim(3, 1) * 2 - 1
    if images.shape[1:] == (*generator.size, channels):  # not rounded to 8 bits
        return images.movedim(3, 1) * 2 - 1
    eight_bit = (images * 255).round().byte().numpy()
    opened = [Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels) for pixels in eight_bit]
    pixels = np.stack([fitted(image, generator.size, channels, fit) for image in opened])
    return torch.from_numpy(pixels).movedim(3, 1).float() / 127.5 - 1


def _as_rgb(images: Tensor) -> Tensor:
    if images.shape[3] == 4:
        alpha = images[..., 3:]
        return images[..., :3] * alpha + 1 - alpha
    return images.expand(*images.shape[:3], 3)
