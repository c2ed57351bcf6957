"""Names of runs and files: valid on every system, and readable as they are."""

import os
import re
from pathlib import Path

from .errors import InputError, cleaned, shown

MAX_NAME_BYTES = 200
"""Maximum bytes of a name. File systems take 255; a number or an extension is added to it."""

# Windows opens a device under these names, whatever ending follows.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE | re.DOTALL)


def bad_name(name: str) -> str | None:
    """Reason why a name is not valid for a file or a folder, to follow "it"; None for a valid one.

    The rule is the same on every system, because files are copied from one to another.
    """
    if not name.strip(" ."):
        return "is empty"
    if cleaned(name) != name:
        return "contains invisible or control characters"
    found = re.search(r'[<>:"/\\|?*]', name)
    if found:
        return f"contains {found[0]}"
    if name.startswith("."):
        return "begins with a dot, which would hide it"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with a space or a dot, which Windows removes"
    if _DEVICE.fullmatch(name):
        return "is the name of a device on Windows"
    if len(name.encode()) > MAX_NAME_BYTES:
        return "is too long"
    return None


def place(path: str | Path) -> Path:
    """Checks a path as the user wrote it. Raises InputError if it is not valid on this system."""
    text = os.fspath(path)
    if not text:
        raise InputError("A path is empty: write that of a file or a folder, or . for the current folder.")
    try:
        Path(text).lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError):  # too long, or with a null character or an unpaired surrogate
        raise InputError(f'"{shown(text)}" is not a path: it is too long, or contains an invalid character.') from None
    return Path(text)


def called(path: Path) -> str:
    """Name of a file or a folder for a sentence, also for "." and "..". The root is shown as it is."""
    return shown(path.name if path.name not in ("", "..") else path.resolve().name or path)
