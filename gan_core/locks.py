"""Locks that die with their process.

A lock is a file that the operating system locks for as long as this process lives. Two things stand behind it where a
file system cannot do that, or only for one of the computers that share it: the file names its owner, and a training
touches it as long as it goes on.
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
"""The lock file in a folder that has an owner."""

HEARTBEAT_SECONDS = 10.0
"""An owner touches its lock so often."""

SILENCE = 60.0
"""Seconds without a touch after which an owner that cannot be asked otherwise is taken for dead."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_LOCKED_BYTE = 1 << 30
"""Windows lets nobody read a byte that is locked: this one lies far behind what the file says."""

_live: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()
"""What this process holds, by its tokens."""


class FolderInUse(InputError):
    """A folder has an owner: another run, in this process or in another."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says."""

    pid: int
    host: str
    pids: str
    """Among which processes the number counts: a container has its own."""
    since: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(os.getpid(), socket.gethostname(), _numbering_of_processes(), since, uuid.uuid4().hex)

    @classmethod
    def of(cls, path: Path) -> Holder | None:
        """What a lock file says; None for one that says nothing that can be read."""
        try:
            said = json.loads(path.read_bytes())
            return cls(int(said["pid"]), *(str(said[name]) for name in ("host", "pids", "since", "token")))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def is_near(self) -> bool:
        """Whether it is on this computer."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool | None:
        """Whether its process does, and still holds the lock; None where that cannot be known from here."""
        if not self.is_near or self.pids != _numbering_of_processes():
            return None
        return self.token in _live if self.pid == os.getpid() else _is_running(self.pid)

    def __str__(self) -> str:
        if self.lives is not None and self.pid == os.getpid():
            return f"another run of this same program, since {self.since}"
        where = "" if self.is_near else f" on {self.host}"
        return f"process {self.pid}{where}, since {self.since}"


class Lock:
    """A lock that this process holds. `acquire` makes it."""

    def __init__(self, path: Path, file: IO[bytes] | None, holder: Holder):
        self.path, self.holder = path, holder
        self._file = file  # None where the file system has no locks
        _live[holder.token] = self

    @property
    def held(self) -> bool:
        """Whether it still is this process's: its file may have been removed, and another have been put there."""
        if self.holder.token not in _live:
            return False
        said = Holder.of(self.path)
        return said is not None and said.token == self.holder.token

    def touch(self) -> None:
        """Shows others that this process is alive."""
        with suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Gives it up and removes its file. May be called twice."""
        if self.holder.token not in _live:  # or in a process that was forked from the owner
            return
        mine = self.held
        del _live[self.holder.token]
        if mine and os.name != "nt":
            # While it is still locked: whoever opened it meanwhile sees that it is gone, and makes another.
            with suppress(OSError):
                self.path.unlink()
        self._close()
        if mine and os.name == "nt":  # which removes no file that is open
            with suppress(OSError):
                self.path.unlink()

    def forget(self) -> None:
        """Gives it up and leaves its file alone."""
        _live.pop(self.holder.token, None)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def acquire(path: Path, silence: float = SILENCE) -> Lock | None:
    """Locks a file, which is created; None where another holds it.

    silence: seconds after which a holder that says nothing is taken for dead, where the system cannot tell.

    Raises OSError where the file cannot be written.
    """
    for _ in range(100):
        try:
            file, created = _opened(path)
        except FileNotFoundError:  # its holder has removed it just now, or the one who cleans its folder
            if path.parent.is_dir():
                continue
            raise
        try:
            locked = _lock(file)
        except OSError:
            file.close()
            return None
        holder, said = Holder.here(), Holder.of(path)
        # Where the system locks nothing, or only for one of the computers that share the folder.
        unsure = not created if not locked else said is not None and not said.is_near
        if unsure and not _is_dead(path, said, silence):
            file.close()
            return None
        if unsure and not locked:
            file.close()
            _put_away(path, said)
            continue
        lock = Lock(path, file if locked else None, holder)  # before it is said: who reads it asks whether it lives
        _say(file, holder)
        if not locked:
            file.close()
        if Holder.of(path) == holder:
            return lock
        lock.forget()  # it was removed as above. Not all file systems tell that by a file's number
    return None


@contextmanager
def own(folder: str | Path) -> Iterator[Owner]:
    """Makes this process the folder's one owner for the length of the block. The folder is made where there is none,
    and goes again if nothing was put into it.

    Raises FolderInUse, which says who has it, and InputError where the folder cannot be written.
    """
    owner = Owner.of(Path(folder))
    try:
        yield owner
    finally:
        owner.release()


@contextmanager
def own_next_free(path: Path) -> Iterator[Owner]:
    """The like for the first of path, path_2, path_3, ... where nothing is, whoever else looks for one meanwhile."""
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
        owner.release()  # another was faster
    owner.wanted = path
    try:
        yield owner
    finally:
        owner.release()


class Owner:
    """What owns a folder: a lock in it, and a thread that touches it."""

    def __init__(self, folder: Path, lock: Lock, new: list[Path]):
        self.folder = self.wanted = folder
        self._lock, self._new = lock, new
        self._ended = threading.Event()
        self._pid = os.getpid()
        threading.Thread(target=_beat, args=(lock, self._ended), daemon=True, name="folder lock").start()
        atexit.register(self.release)

    @classmethod
    def of(cls, folder: Path) -> Owner:
        """Takes the folder. Raises as `own`."""
        check_writable(folder)
        new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = acquire(folder / LOCK)
        except OSError as error:
            for path in new:
                with suppress(OSError):
                    path.rmdir()
            raise InputError(f"Nothing can be kept in {folder}: {error.strerror or error}.") from error
        if lock is None:
            raise FolderInUse(in_use(folder))
        return cls(folder, lock, new)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that owns it, and not one that was forked from that."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Takes the folder again if a person has removed it. Raises FolderInUse where it is another's by now."""
        if self._lock.held:
            return
        self._ended.set()
        self._lock.forget()
        again = Owner.of(self.folder)
        atexit.unregister(again.release)
        self._lock, self._ended = again._lock, again._ended

    def release(self) -> None:
        """Gives the folder up. May be called twice."""
        self._ended.set()
        if self.is_here:
            atexit.unregister(self.release)
            self._lock.release()
            for path in self._new:
                with suppress(OSError):  # there is something in it, as there should be
                    path.rmdir()


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


def in_use(folder: Path) -> str:
    """Says who has a folder."""
    holder = None
    for _ in range(20):  # who has locked it just now has not yet said so
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
    """Whether a folder holds nothing but the lock of a process that died before it kept anything."""
    try:
        return folder.is_dir() and [entry.name for entry in folder.iterdir()] == [LOCK]
    except OSError:
        return False


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """A file to read and to write, and whether it is new. Raises FileNotFoundError where it is removed meanwhile."""
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        descriptor, created = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        descriptor, created = os.open(path, flags), False
    return os.fdopen(descriptor, "r+b"), created


def _lock(file: IO[bytes]) -> bool:
    """Locks a file, for as long as it is open; False where the file system has no locks. Raises OSError if another
    has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Not lockf: that is one lock for the whole process, and lost when anyone in it closes the file.
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
    """Whether the holder of a lock is no more, as far as its file tells."""
    lives = None if said is None else said.lives  # None: one who is about to say who it is
    if lives is not None:
        return not lives
    # By the clock of whoever keeps the files, which may be another than ours.
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
    """Removes the lock file of a dead holder, unless another has been faster and it is that one's by now."""
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
    except (OSError, AttributeError):  # on other systems there is one for all
        return ""


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        import ctypes

        kernel = ctypes.windll.kernel32
        process = kernel.OpenProcess(0x00100000, False, pid)  # SYNCHRONIZE
        if not process:
            return bool(kernel.GetLastError() == 5)  # access denied: it is another person's
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
    """In a process that was forked from the holder, which holds nothing itself: an open file would outlive it."""
    for lock in list(_live.values()):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
