"""Preview images on a node."""

import numpy as np
import torch
from PIL import Image

from ...gan_core.media.image import grid

PREVIEW_SIDE = 512
"""Approximate longer side of a preview, in pixels."""


def sheet(images: torch.Tensor, columns: int | None = None) -> torch.Tensor:
    """Arranges images [N, C, H, W] in [-1, 1] in rows, as an IMAGE of one image."""
    return as_image(enlarged(grid(images, columns)))


def as_image(image: Image.Image) -> torch.Tensor:
    """A PIL image as an IMAGE of one."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255)[None]


def enlarged(image: Image.Image) -> Image.Image:
    """Enlarges an image by a whole factor for a preview, transparent parts on white."""
    factor = max(1, PREVIEW_SIDE // max(image.size))
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
