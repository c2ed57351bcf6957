"""Files that are either whole or not there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to. When the block ends well the file is synced and takes `path`'s
    name in one step; otherwise it is removed and whatever stood at `path` still stands there.

    Raises InputError where the folder cannot be written.
    """
    # The ending keeps half-written files out of every list of models or images.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors writes files that only their owner may read
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # such as that its folder is none, which has been said
            partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raises InputError unless files can be kept in the folder, which need not exist yet. Writes nothing."""
    standing = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    if not os.path.isdir(standing):
        raise InputError(f"Nothing can be kept in {folder}: {standing} is no folder.")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise InputError(f"Nothing can be kept in {folder}: you may not write in {standing}.")
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise InputError(f"Nothing can be kept in {folder}: its name is not all Unicode.") from None


def newest(path: Path) -> Path:
    """The last of path, path_2, path_3, ... before the first gap; the path itself where there is none."""
    free = next_free(path)
    number = int(free.name.removeprefix(f"{path.name}_")) - 1 if free != path else 1
    return path.with_name(f"{path.name}_{number}") if number > 1 else path


def next_free(path: Path) -> Path:
    """The path itself if nothing is there, else the first of path_2, path_3, ... where nothing is."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}_{number}")
    return candidate
