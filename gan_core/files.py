"""Files and folders that are either whole or not there.

Everything is built under a temporary name first: in the folder `.partial` beside where it will stand, in a folder of
its own that is locked as long as its process lives. What is found there without a lock was left by a process that
died, and is removed by the next one that writes there.
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
"""The folder of what is not whole yet. It goes with the last that lies in it."""

PATIENCE = 3.0
"""Seconds for which a file is waited for that another program holds open: Windows neither replaces nor removes it."""

_DAY = 86400.0
_CONTENT = f"new{PARTIAL}"

_OLDER_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.partial")
"""What versions before this left behind, which locked nothing."""

_looked_for_older: set[Path] = set()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to. When the block ends well the file is synced and takes `path`'s name in one
    step; otherwise it is removed and whatever stood at `path` still stands there. A link is followed.

    Raises InputError where the folder cannot be written, the disk is full, or another program keeps what stands there
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
    """An empty folder on the disk of `parent`, which is made where there is none. It is removed after the block; if
    this process dies in it, by the next process that asks for one there. Raises OSError where there can be none.
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
            time.sleep(0.01)  # what Windows removes stays for a moment, and nobody may touch it
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
    """Removes what processes that died have left half built in a folder; never what a living one is building."""
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
    if parent in _looked_for_older:  # a folder of many pictures is read once, not for each
        return
    _looked_for_older.add(parent)
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if _OLDER_LEFTOVER.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _DAY:
                remove(Path(entry.path))


def remove(path: Path) -> bool:
    """Removes a file or a folder and all in it; a link, and not what it leads to. Returns whether it is gone: it may
    stay where another program keeps it open, as Windows removes no such file.
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
    """Does what Windows refuses while another program has a file open: a spreadsheet, a virus scanner, an indexer.
    Most let it go within moments, so it is tried again for PATIENCE seconds.
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
    """Where a link leads, so that the link stays. Raises IsADirectoryError for a folder, before it is written."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return target


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """So that a new name outlives a power cut, where the system can do that."""
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
