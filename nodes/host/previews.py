"""Images on a node."""

import numpy as np
import torch
from PIL import Image

from ...gan_core.media.image import grid

PREVIEW_SIDE = 512
"""Pixels of a preview's longer side, about."""


def sheet(images: torch.Tensor, columns: int | None = None) -> torch.Tensor:
    """Images [N, C, H, W] in [-1, 1], side by side in rows, as an IMAGE of one."""
    return as_image(enlarged(grid(images, columns)))


def as_image(image: Image.Image) -> torch.Tensor:
    """A PIL image as an IMAGE of one."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255)[None]


def enlarged(image: Image.Image) -> Image.Image:
    """An image as a preview can show it: enlarged by a whole number, and on white where it is transparent."""
    factor = max(1, PREVIEW_SIDE // max(image.size))
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
