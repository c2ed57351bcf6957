"""Listing: the image files of a data set, whether in a folder or in an archive."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...media.image_formats import Source
from .left_out import counted, hints

INDEX = "dataset.json"
"""Name of the file with the labels in StyleGAN's format, at the top of a data set."""

MAX_INDEX_BYTES = 1 << 28
"""Maximum size of dataset.json, decompressed."""


@dataclass(frozen=True)
class Listing(ABC):
    """Image files of a data set, before any of them is opened. Close it after use.

    Folders and archives differ in how files are read.
    """

    root: Path
    """Folder or archive of the data set."""
    files: tuple[str, ...]
    """Paths of the images, relative to the root, with forward slashes, sorted."""
    folders: tuple[str, ...]
    """Paths of all folders that were visited, with images or without; "" is the root."""
    indices: tuple[str, ...]
    """Paths of StyleGAN's dataset.json, at the top or one folder below."""
    passed_over: Mapping[str, int]
    """Number of files of other kinds, by extension."""
    remarks: tuple[str, ...]
    """Sentences on what was left out."""
    state: str
    """Hash that changes when a file is added, removed or changed."""

    @property
    def name(self) -> str:
        """Name of the data set, without a path."""
        return self.root.resolve().name or "images"

    def index(self) -> dict[str, Any] | None:
        """Content of StyleGAN's dataset.json, at the top or in the only folder there, plus its "folder".

        None if there is none with labels. Raises InputError if it is damaged.
        """
        tops = {file.split("/", 1)[0] for file in self.files}
        for place in sorted(self.indices, key=len):
            if place != INDEX and tops != {place.split("/", 1)[0]}:
                continue
            try:
                index = json.loads(self.content(place, MAX_INDEX_BYTES))
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{place} in {self.root.name} cannot be read: {reason_of(error)}.") from None
            # Other programs use that file name too.
            if isinstance(index, dict) and "labels" in index:
                return {**index, "folder": place.removesuffix(INDEX)}
        return None

    def passed_over_in_words(self) -> list[str]:
        """Sentences on ignored files of other kinds; empty if there are none."""
        if not self.passed_over:
            return []
        return [f"Ignored: {counted(self.passed_over)}.", *hints(self.passed_over)]

    @abstractmethod
    def source(self, file: str) -> Source:
        """Source of a file for image_files. Raises ValueError if an archive cannot provide it."""

    @abstractmethod
    def content(self, file: str, limit: int) -> bytes:
        """Content of a file. Raises OSError or ValueError if it cannot be read, or has more bytes than the limit."""

    @abstractmethod
    def has_changed(self) -> bool:
        """Whether one of its images was changed or removed since the listing was created."""

    def close(self) -> None:  # noqa: B027 - a folder has nothing to close
        """Closes an archive."""


def reason_of(error: Exception) -> str:
    """Reason of an error, to follow a colon."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
