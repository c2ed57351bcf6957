"""Paths in the arguments of commands, checked before work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InputError, shown
from ..foreign.import_generator import ENDINGS, SAFETENSORS
from ..media.image_formats import FORMATS
from ..names import bad_name, place


class Place(click.ParamType):
    """Type of a path, which need not exist. Raises InputError for an invalid path."""

    name = "path"

    def __init__(self, new: bool = False):
        """new: whether the path is written to: its name must be valid on every system, unless it exists already."""
        self.new = new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = place(value)
        reason = bad_name(path.name) if self.new and path.name not in ("", "..") and not path.exists() else None
        if reason:
            raise InputError(f'"{shown(path.name)}" is not a valid name for an output: it {reason}.')
        return path


def check_file(path: Path) -> None:
    """Raises InputError if a path is a folder or a link to one, before work for an output file begins."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file in it.")


def check_folder(path: Path, wanted: str) -> None:
    """Raises InputError if a path is a file, or has the name of one, before work for an output folder begins.

    wanted: end of the sentence, on what is expected.
    """
    if path.is_dir():
        return
    if path.exists() or path.suffix.lower() in _OF_FILES:
        raise InputError(f"{path} is {'a file' if path.exists() else 'not a name for a folder'}: {wanted}.")


_OF_FILES = {*FORMATS, *ENDINGS, *SAFETENSORS, ".gif", ".mp4", ".webm", ".svg", ".pdf", ".csv", ".json", ".txt", ".zip"}
"""Extensions of files, which the name of a folder does not have."""
