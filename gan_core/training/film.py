"""The film of a run: small sheets of its samples, from its beginning to now, evenly spaced."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ..errors import InputError
from ..files import replacing

FOLDER = "film"
"""Folder of the sheets in the run's own."""

MAX_SHEETS = 500

SHEET_SIDE = 512
"""Longer side of a sheet in pixels, at most."""

QUALITY = 85
"""JPEG quality. Colours keep their full resolution, as small samples lie side by side on a sheet."""

_ENDING = ".jpg"


class Film:
    """The sheets of one run. They may be added from several threads."""

    def __init__(self, folder: Path):
        """folder: the run's own."""
        self.folder = folder / FOLDER
        self._adding = threading.Lock()

    @property
    def sheets(self) -> list[int]:
        """Images that had been shown at each of the sheets, ascending."""
        try:
            names = [path.stem for path in self.folder.iterdir() if path.suffix == _ENDING]
        except OSError:
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def path(self, images: int) -> Path:
        """File of a sheet, which need not exist."""
        return self.folder / f"{images:012d}{_ENDING}"

    def add(self, images: int, sheet: Image.Image) -> None:
        """Keeps a sheet, and removes one where there are more than MAX_SHEETS. Raises InputError where the file cannot
        be written."""
        with self._adding:
            with replacing(self.path(images)) as partial:
                small(sheet).save(partial, format="JPEG", quality=QUALITY, subsampling=0)
            sheets = self.sheets
            if len(sheets) > MAX_SHEETS:
                self._remove([most_crowded(sheets)])

    def cut(self, images: int) -> None:
        """Removes the sheets after that many images: those of a state that the run went back from."""
        with self._adding:
            self._remove([sheet for sheet in self.sheets if sheet > images])

    def _remove(self, sheets: list[int]) -> None:
        for sheet in sheets:
            with suppress(OSError):
                self.path(sheet).unlink()


def most_crowded(sheets: list[int]) -> int:
    """The sheet whose neighbours are nearest to each other; the first and the last stay."""
    crowded = min(range(1, len(sheets) - 1), key=lambda i: sheets[i + 1] - sheets[i - 1])
    return sheets[crowded]


def small(sheet: Image.Image) -> Image.Image:
    """A sheet as the film keeps it: at most SHEET_SIDE, transparent parts on white."""
    if sheet.mode == "RGBA":
        white = Image.new("RGBA", sheet.size, "white")
        white.alpha_composite(sheet)
        sheet = white
    sheet = sheet.convert("RGB")
    sheet.thumbnail((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
    return sheet


def opened(path: Path) -> Image.Image:
    """Opens a sheet. Raises InputError where it is missing or damaged."""
    try:
        with Image.open(path, formats=("JPEG",)) as file:
            return file.convert("RGB")
    except OSError as error:
        raise InputError(f"{path.name} cannot be opened: it was removed, or is damaged ({error}).") from None
