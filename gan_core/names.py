"""What people may call a run or a file: a name that every system can keep, and that looks like what it is."""

import os
import re
from pathlib import Path

from .errors import InputError, cleaned, shown

LONGEST_NAME = 200
"""Bytes. File systems take 255, and a number or an ending is added to a name."""

# Windows opens a device under these names, whatever ending follows.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE | re.DOTALL)


def bad_name(name: str) -> str | None:
    """Why a name cannot be that of a file or a folder, to follow "it"; None where it can.

    One rule on every system, as what is saved on one is copied to another.
    """
    if not name.strip(" ."):
        return "is empty"
    if cleaned(name) != name:
        return "has characters that cannot be seen or printed"
    found = re.search(r'[<>:"/\\|?*]', name)
    if found:
        return f"has {found[0]} in it"
    if name.startswith("."):
        return "begins with a dot, which hides it"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a blank or a dot, which Windows takes away"
    if _DEVICE.fullmatch(name):
        return "is what Windows calls a device"
    if len(name.encode()) > LONGEST_NAME:
        return "is too long"
    return None


def place(path: str | Path) -> Path:
    """A path as a person wrote it, to be looked at. Raises InputError for one that no system can have."""
    text = os.fspath(path)
    if not text:
        raise InputError("A path is empty: write that of a file or a folder, or . for the folder you are in.")
    try:
        Path(text).lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError):  # too long, or with what no path has: a null, half a character
        raise InputError(f'"{shown(text)}" cannot be a path: it is too long, or has what no path can have.') from None
    return Path(text)


def called(path: Path) -> str:
    """The name of a file or a folder, in a sentence: of "." and ".." too. The root has none, and is shown as it is."""
    return shown(path.name if path.name not in ("", "..") else path.resolve().name or path)
