"""Image tensors as PIL images: grids, contact sheets, tables, PNG files."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files import replacing
from .medium import Medium


def to_pixels(images: Tensor) -> np.ndarray:
    """Rounds images [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C]."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def to_pil(images: Tensor) -> list[Image.Image]:
    """Converts images [N, C, H, W] in [-1, 1] to PIL images. C is 1 grey, 3 RGB or 4 RGBA."""
    return [Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels) for pixels in to_pixels(images)]


def grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Image.Image:
    """Arranges images in rows, the first at the top left.

    images: [N, C, H, W] in [-1, 1]. columns: None for about as many as rows. gap: pixels between images.
    """
    cells = to_pil(images)
    columns = min(columns or math.ceil(math.sqrt(len(cells))), len(cells))
    rows = math.ceil(len(cells) / columns)
    width, height = cells[0].width + gap, cells[0].height + gap
    sheet = Image.new(cells[0].mode, (columns * width - gap, rows * height - gap))
    for i, cell in enumerate(cells):
        sheet.paste(cell, (i % columns * width, i // columns * height))
    return sheet


def contact_sheet(
    images: Tensor | Iterable[Tensor], captions: Sequence[str], columns: int | None = None, cell_size: int = 128
) -> Image.Image:
    """Arranges images in rows on white, each with a caption below it.

    images: [N, C, H, W] in [-1, 1], or an iterable of such batches, which are not kept. captions: one for each image.
    columns: None for about as many as rows. cell_size: longer side of each image, in pixels.
    """
    cells = _cells(images, cell_size)
    columns = min(columns or math.ceil(math.sqrt(len(cells))), len(cells))
    font = _font(cell_size)
    width, height = cells[0].width + 2 * GAP, cells[0].height + _line(font) + 2 * GAP
    sheet = Image.new("RGB", (columns * width, math.ceil(len(cells) / columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (cell, caption) in enumerate(zip(cells, captions, strict=True)):
        x, y = i % columns * width + GAP, i // columns * height + GAP
        sheet.paste(cell, (x, y))
        text = _fitting(caption, font, width - GAP)
        draw.text((x + cell.width / 2, y + cell.height + GAP), text, "black", font, anchor="ma")
    return sheet


def table(
    images: Tensor | Iterable[Tensor], rows: Sequence[str], columns: Sequence[str], cell_size: int = 128
) -> Image.Image:
    """Arranges images in a table on white, with names left of the rows and above the columns.

    images: [rows * columns, C, H, W] in [-1, 1], row by row, or an iterable of such batches, which may differ in size.
    columns: names of one line or more. cell_size: longer side of each image, in pixels.
    """
    cells = _cells(images, cell_size)
    font = _font(cell_size)
    left = math.ceil(min(3 * cell_size, max(font.getlength(name) for name in rows))) + 2 * GAP
    top = max(len(name.split("\n")) for name in columns) * _line(font) + GAP
    width, height = max(cell.width for cell in cells) + GAP, max(cell.height for cell in cells) + GAP
    sheet = Image.new("RGB", (left + len(columns) * width, top + len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for j, name in enumerate(columns):
        for line, text in enumerate(name.split("\n")):
            place = left + j * width + (width - GAP) / 2, GAP + line * _line(font)
            draw.text(place, _fitting(text, font, width - GAP), "black", font, anchor="ma")
    for i, name in enumerate(rows):
        text = _fitting(name, font, left - GAP)
        draw.text((left - GAP, top + i * height + (height - GAP) / 2), text, "black", font, anchor="rm")
        for j in range(len(columns)):
            cell = cells[i * len(columns) + j]
            x, y = (width - GAP - cell.width) // 2, (height - GAP - cell.height) // 2
            sheet.paste(cell, (left + j * width + x, top + i * height + y))
    return sheet


GAP = 4
"""Pixels between images and texts."""


def _cells(images: Tensor | Iterable[Tensor], side: int) -> list[Image.Image]:
    batches = [images] if isinstance(images, Tensor) else images
    return [_sized(image, side) for batch in batches for image in to_pil(batch)]


def _sized(image: Image.Image, side: int) -> Image.Image:
    """Converts an image to RGB, transparent parts on white, and scales its longer side; enlarged pixels stay sharp."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)


def _font(cell_size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(10, min(24, cell_size // 7)))


def _line(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(font.getbbox("0g")[3]) + GAP


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Shortens a text to one line of a width in pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG file, atomically. Raises InputError if it cannot be written."""
    with replacing(path) as partial:
        image.save(partial, format="PNG")


def _normalise(stored: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32 in [-1, 1]."""
    return stored.float().div_(127.5).sub_(1)


def _save_sheet(images: Tensor, columns: int | None, path: Path) -> None:
    save_png(grid(images, columns), path.with_name(f"{path.name}.png"))


IMAGE = Medium("image", _normalise, grid, _save_sheet)
"""Images, stored as uint8 [N, C, H, W] and generated as [N, C, H, W] in [-1, 1]."""
