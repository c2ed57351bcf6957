"""Generated images as pictures that people look at."""

import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from .files import replacing


def to_pixels(images: Tensor) -> np.ndarray:
    """images: [N, C, H, W] in [-1, 1]. Returns uint8 [N, H, W, C]."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def to_pictures(images: Tensor) -> list[Image.Image]:
    """images: [N, C, H, W] in [-1, 1], C = 1 grey, 3 RGB, 4 RGBA."""
    return [Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels) for pixels in to_pixels(images)]


def grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Image.Image:
    """Lays images out in rows, first at the top left.

    images: [N, C, H, W] in [-1, 1]. columns: None for about as many as rows. gap: pixels between images.
    """
    pictures = to_pictures(images)
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].width + gap, pictures[0].height + gap
    sheet = Image.new(pictures[0].mode, (columns * width - gap, rows * height - gap))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def save_png(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file, whole or not at all. Raises InputError where it cannot be written."""
    with replacing(path) as partial:
        picture.save(partial, format="PNG")
