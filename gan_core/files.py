"""Atomic writing: files and folders that are complete or absent.

Each is built in a temporary folder inside `.partial`, beside its target, and renamed at the end. Its process holds a
lock there. A temporary folder without a lock was left by a dead process; the next one that writes there removes it.
"""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError
from .locks import acquire

PARTIAL = ".partial"
"""Name of the folder of incomplete files. It is removed when it is empty."""

PATIENCE = 3.0
"""Seconds to wait for a file that another program holds open: Windows neither replaces nor removes it."""

_DAY = 86400.0
_CONTENT = f"new{PARTIAL}"

_OLDER_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.partial")
"""Leftovers of earlier versions, which did not lock."""

_looked_for_older: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and replaces `path` by it in one step when the block succeeds.

    If the block fails, the temporary file is removed and `path` is unchanged. A link is followed.

    Raises InputError if the folder cannot be written, the disk is full, or another program holds the file at `path`
    open for longer than PATIENCE.
    """
    with _said_of(path):
        target = _followed(path)
        with temporary_folder(target.parent) as folder:
            partial = folder / _CONTENT
            partial.touch(exist_ok=False)
            mode = partial.stat().st_mode
            yield partial
            partial.chmod(mode)  # safetensors writes files that only their owner may read
            _sync(partial)
            patiently(lambda: os.replace(partial, target))
            _sync_folder(target.parent)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty folder on the disk of `parent`, which is created if it is missing.

    The folder is removed after the block, or by the next caller if this process dies. Raises OSError if it cannot be
    created.
    """
    clean(parent)
    lock = None
    for _ in range(100):
        folder = parent / PARTIAL / uuid.uuid4().hex[:8]
        try:
            folder.mkdir(parents=True)
            lock = acquire(folder / "lock", _DAY)
        except FileNotFoundError:  # another process has just cleaned up: it saw no lock
            continue
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.01)  # Windows keeps a removed folder for a moment, inaccessible
            continue
        if lock is not None:
            break
    if lock is None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(parent / PARTIAL))
    try:
        yield folder
    finally:
        for entry in folder.iterdir():
            if entry != lock.path:
                remove(entry)
        lock.release()
        _remove_empty(folder)


def clean(parent: Path) -> None:
    """Removes incomplete files that dead processes left in a folder; never those of a living process."""
    _clean_older(parent)
    try:
        left = list((parent / PARTIAL).iterdir())
    except OSError:
        return
    for folder in left:
        try:
            lock = acquire(folder / "lock", _DAY)
        except OSError:  # another was faster
            continue
        if lock is not None:
            for entry in list(folder.iterdir()):
                if entry != lock.path:
                    remove(entry)
            lock.release()
            _remove_empty(folder)


def _clean_older(parent: Path) -> None:
    if parent in _looked_for_older:  # a folder with many files is scanned once, not for each file
        return
    _looked_for_older.add(parent)
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if _OLDER_LEFTOVER.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _DAY:
                remove(Path(entry.path))


def remove(path: Path) -> bool:
    """Removes a file, a link (not its target), or a folder with its content. Returns whether it is gone.

    It may remain if another program holds it open: Windows does not remove such a file.
    """

    def remove_now() -> None:
        with suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    try:
        patiently(remove_now)
    except OSError:
        return not os.path.lexists(path)
    return True


def patiently(act: Callable[[], None]) -> None:
    """Retries an action for PATIENCE seconds while another program holds the file open.

    Windows refuses it during that time. Most programs (a spreadsheet, a virus scanner, an indexer) soon let go.
    """
    deadline, delay = time.monotonic() + PATIENCE, 0.02
    while True:
        try:
            return act()
        except PermissionError:
            if time.monotonic() + delay > deadline:
                raise
        time.sleep(delay)
        delay = min(2 * delay, 0.5)


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _followed(path: Path) -> Path:
    """The target of a link, so that the link stays. Raises IsADirectoryError for a folder."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return target


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a power cut, if the system can."""
    with suppress(OSError):  # Windows cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_empty(folder: Path) -> None:
    for path in (folder, folder.parent):
        with suppress(OSError):  # another process has something in it
            path.rmdir()
