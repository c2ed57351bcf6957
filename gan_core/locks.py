"""Locks on files and folders that end with their process.

A lock is a file that the operating system locks while this process lives. Some file systems have no locks, or only
between processes of one computer. For these the file names its owner, and a training touches it regularly.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import InputError

LOCK = ".lock"
"""Name of the lock file in a folder that has an owner."""

HEARTBEAT_SECONDS = 10.0
"""Seconds between two touches of a lock by its owner."""

SILENCE = 60.0
"""Seconds without a touch after which an owner on another computer counts as dead."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_LOCKED_BYTE = 1 << 30
"""Offset of the locked byte: on Windows a locked byte cannot be read, so this one lies far beyond the content."""

_live: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()
"""Locks that this process holds, by their tokens."""


class FolderInUse(InputError):
    """A folder belongs to another run, in this process or in another."""


@dataclass(frozen=True)
class Holder:
    """Holder of a lock, as recorded in the lock file."""

    pid: int
    host: str
    pids: str
    """Process namespace of the pid: a container has its own."""
    since: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(os.getpid(), socket.gethostname(), _numbering_of_processes(), since, uuid.uuid4().hex)

    @classmethod
    def of(cls, path: Path) -> Holder | None:
        """Reads a lock file; None if it cannot be read."""
        try:
            said = json.loads(path.read_bytes())
            return cls(int(said["pid"]), *(str(said[name]) for name in ("host", "pids", "since", "token")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def is_near(self) -> bool:
        """Whether the holder is on this computer."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool | None:
        """Whether the process runs and still holds the lock; None if this cannot be determined from here."""
        if not self.is_near or self.pids != _numbering_of_processes():
            return None
        return self.token in _live if self.pid == os.getpid() else _is_running(self.pid)

    def __str__(self) -> str:
        if self.lives is not None and self.pid == os.getpid():
            return f"another run in this program, since {self.since}"
        where = "" if self.is_near else f" on {self.host}"
        return f"process {self.pid}{where}, since {self.since}"


class Lock:
    """A lock that this process holds, created by `acquire`."""

    def __init__(self, path: Path, file: IO[bytes] | None, holder: Holder):
        self.path, self.holder = path, holder
        self._file = file  # None if the file system has no locks
        _live[holder.token] = self

    @property
    def held(self) -> bool:
        """Whether this process still holds the lock: its file may have been removed or replaced."""
        if self.holder.token not in _live:
            return False
        said = Holder.of(self.path)
        return said is not None and said.token == self.holder.token

    def touch(self) -> None:
        """Updates the time of the lock file, to show that this process is alive."""
        with suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Releases the lock and removes its file. May be called twice."""
        if self.holder.token not in _live:  # also in a process forked from the owner
            return
        mine = self.held
        del _live[self.holder.token]
        if mine and os.name != "nt":
            # Removed while it is locked: a process that has opened it sees that it is gone, and creates another.
            with suppress(OSError):
                self.path.unlink()
        self._close()
        if mine and os.name == "nt":  # Windows cannot remove an open file
            with suppress(OSError):
                self.path.unlink()

    def forget(self) -> None:
        """Drops the lock without removing its file."""
        _live.pop(self.holder.token, None)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def acquire(path: Path, silence: float = SILENCE) -> Lock | None:
    """Creates and locks a file. Returns None if another process holds the lock.

    silence: seconds without a touch after which a holder counts as dead, if the system cannot tell.

    Raises OSError if the file cannot be written.
    """
    for _ in range(100):
        try:
            file, created = _opened(path)
        except FileNotFoundError:  # its holder, or a process that cleans its folder, has just removed it
            if path.parent.is_dir():
                continue
            raise
        try:
            locked = _lock(file)
        except OSError:
            file.close()
            return None
        holder, said = Holder.here(), Holder.of(path)
        # The system does not lock, or locks only between processes of one of the computers that share the folder.
        unsure = not created if not locked else said is not None and not said.is_near
        if unsure and not _is_dead(path, said, silence):
            file.close()
            return None
        if unsure and not locked:
            file.close()
            _put_away(path, said)
            continue
        lock = Lock(path, file if locked else None, holder)  # before the file names it: a reader asks whether it lives
        _say(file, holder)
        if not locked:
            file.close()
        if Holder.of(path) == holder:
            return lock
        lock.forget()  # it was removed as above, which not all file systems show by the inode
    return None


@contextmanager
def own(folder: str | Path) -> Iterator[Owner]:
    """Makes this process the only owner of a folder inside the block.

    The folder is created if it is missing, and removed again if it stays empty.

    Raises FolderInUse, which names the owner, and InputError if the folder cannot be written.
    """
    owner = Owner.of(Path(folder))
    try:
        yield owner
    finally:
        owner.release()


@contextmanager
def own_next_free(path: Path) -> Iterator[Owner]:
    """Owns the first free folder of path, path_2, path_3, ..., also if other processes look for one."""
    number = 1
    while True:
        folder = path if number == 1 else path.with_name(f"{path.name}_{number}")
        number += 1
        if os.path.lexists(folder) and not _was_left_empty(folder):
            continue
        try:
            owner = Owner.of(folder)
        except FolderInUse:
            continue
        if {entry.name for entry in folder.iterdir()} <= {LOCK}:
            break
        owner.release()  # another process was faster
    owner.wanted = path
    try:
        yield owner
    finally:
        owner.release()


class Owner:
    """Ownership of a folder: a lock in it, and a thread that touches the lock."""

    def __init__(self, folder: Path, lock: Lock, new: list[Path]):
        self.folder = self.wanted = folder
        self._lock, self._new = lock, new
        self._ended = threading.Event()
        self._pid = os.getpid()
        threading.Thread(target=_beat, args=(lock, self._ended), daemon=True, name="folder lock").start()
        atexit.register(self.release)

    @classmethod
    def of(cls, folder: Path) -> Owner:
        """Takes ownership of a folder. Raises the errors of `own`."""
        check_writable(folder)
        new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = acquire(folder / LOCK)
        except OSError as error:
            for path in new:
                with suppress(OSError):
                    path.rmdir()
            raise InputError(f"Cannot write to {folder}: {error.strerror or error}.") from error
        if lock is None:
            raise FolderInUse(in_use(folder))
        return cls(folder, lock, new)

    @property
    def is_here(self) -> bool:
        """Whether this process is the owner, and not a fork of it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Takes the folder again if the user has removed it. Raises FolderInUse if it has another owner by now."""
        if self._lock.held:
            return
        self._ended.set()
        self._lock.forget()
        again = Owner.of(self.folder)
        atexit.unregister(again.release)
        self._lock, self._ended = again._lock, again._ended

    def release(self) -> None:
        """Releases the folder. May be called twice."""
        self._ended.set()
        if self.is_here:
            atexit.unregister(self.release)
            self._lock.release()
            for path in self._new:
                with suppress(OSError):  # it is not empty
                    path.rmdir()


def check_writable(folder: Path) -> None:
    """Raises InputError unless files can be written to the folder, which need not exist yet. Writes nothing."""
    existing = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    if not os.path.isdir(existing):
        raise InputError(f"Cannot write to {folder}: {existing} is not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"Cannot write to {folder}: no permission to write in {existing}.")
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise InputError(f"Cannot write to {folder}: its name is not valid Unicode.") from None


def is_owned(folder: Path) -> bool:
    """Whether a living process owns a folder, as far as can be told from here without locking it."""
    holder = Holder.of(folder / LOCK)
    return holder is not None and not _is_dead(folder / LOCK, holder, SILENCE)


def in_use(folder: Path) -> str:
    """Sentence that names the owner of a folder."""
    holder = None
    for _ in range(20):  # a new holder writes its name just after it locks
        if (holder := Holder.of(folder / LOCK)) is not None:
            break
        time.sleep(0.05)
    return (
        f"{folder} is in use by {holder or 'another process'}: wait until that run ends, stop it, or choose another "
        "name."
    )


def _beat(lock: Lock, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_SECONDS):
        lock.touch()


def _was_left_empty(folder: Path) -> bool:
    """Whether a folder has nothing in it but the lock of a process that died before it wrote anything."""
    try:
        return folder.is_dir() and [entry.name for entry in folder.iterdir()] == [LOCK]
    except OSError:
        return False


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """Opens a file to read and write, and tells whether it is new. Raises FileNotFoundError if it is just removed."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        descriptor, created = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        descriptor, created = os.open(path, flags), False
    return os.fdopen(descriptor, "r+b"), created


def _lock(file: IO[bytes]) -> bool:
    """Locks a file while it is open; False if the file system has no locks. Raises OSError if it is locked already."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Not lockf: its lock belongs to the whole process, and is lost when any part of it closes the file.
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise
        return False
    return True


def _say(file: IO[bytes], holder: Holder) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(vars(holder)).encode())
    file.flush()


def _is_dead(path: Path, said: Holder | None, silence: float) -> bool:
    """Whether the holder of a lock is dead, as far as its file tells."""
    lives = None if said is None else said.lives  # None: a holder that is about to write its name
    if lives is not None:
        return not lives
    # Measured by the clock of the file server, which may differ from ours.
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime > silence
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()


def _put_away(path: Path, said: Holder | None) -> None:
    """Removes the lock file of a dead holder, unless it belongs to another process by now."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    with suppress(OSError):
        os.rename(path, aside)
        if Holder.of(aside) == said:
            aside.unlink()
        else:
            os.rename(aside, path)


def _numbering_of_processes() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except (OSError, AttributeError):  # other systems have one namespace for all processes
        return ""


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # on Windows signal 0 is Ctrl-C
        import ctypes

        kernel = ctypes.windll.kernel32
        process = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not process:
            return bool(kernel.GetLastError() == 5)  # access denied: the process of another user
        waits = kernel.WaitForSingleObject(process, 0) == 0x102  # WAIT_TIMEOUT
        kernel.CloseHandle(process)
        return bool(waits)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _forget_all() -> None:
    """Drops all locks in a process forked from the holder: its copies of the open files would keep them locked."""
    for lock in list(_live.values()):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
