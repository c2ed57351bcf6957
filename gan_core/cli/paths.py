"""The paths that commands are given, checked before work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InputError, shown
from ..foreign.import_generator import ENDINGS, SAFETENSORS
from ..media.image_files import FORMATS
from ..names import bad_name, place


class Place(click.ParamType):
    """A path, of which nothing need be there. Raises InputError for one that cannot be."""

    name = "path"

    def __init__(self, new: bool = False):
        """new: for what is written, whose name has to be one that every system can keep, unless it is there already."""
        self.new = new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = place(value)
        reason = bad_name(path.name) if self.new and path.name not in ("", "..") and not path.exists() else None
        if reason:
            raise InputError(f'"{shown(path.name)}" cannot be the name of what is written: it {reason}.')
        return path


def check_file(path: Path) -> None:
    """Raises InputError where a folder, or a link to one, stands in place of a file, before the work for it is done."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file in it.")


def check_folder(path: Path, wanted: str) -> None:
    """Raises InputError where a file stands in place of a folder, and for a name that was meant for a file.

    wanted: what the person is told instead.
    """
    if path.is_dir():
        return
    if path.exists() or path.suffix.lower() in _OF_FILES:
        raise InputError(f"{path} is {'a file' if path.exists() else 'no name for a folder'}: {wanted}.")


_OF_FILES = {*FORMATS, *ENDINGS, *SAFETENSORS, ".gif", ".mp4", ".webm", ".svg", ".pdf", ".csv", ".json", ".txt", ".zip"}
"""Endings of files, which nobody calls a folder by."""
