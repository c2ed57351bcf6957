"""Listing of a folder and its sub-folders."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from ...errors import InputError, some
from ...folders import MAX_VISITS, leads_back, real_folder
from ...media.image_formats import readable
from .left_out import ARCHIVES, SHEET, SYSTEM_FOLDERS, is_run
from .listing import INDEX, Listing


class FolderListing(Listing):
    """Image files in a folder and its sub-folders."""

    def source(self, file: str) -> Path:
        return self.root / file

    def content(self, file: str, limit: int) -> bytes:
        with (self.root / file).open("rb") as opened:
            content = opened.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return content

    def has_changed(self) -> bool:
        return _state_of(self.root, (*self.files, *self.indices)) != self.state


def list_folder(root: Path, exclude: Collection[Path]) -> FolderListing:
    """Lists a folder and its sub-folders. See list_images."""
    if not root.is_dir():
        raise InputError(f"There is no folder {root}{_what_is_there(root)}.")
    real_root = os.path.realpath(root)
    for run in (root, Path(real_root).parent if Path(real_root).name == "samples" else root):
        if is_run(os.listdir(run) if os.access(run, os.R_OK) else []):
            raise InputError(
                f"{root} belongs to a training run, whose samples are not training images: choose the folder of your "
                "images, and keep runs elsewhere."
            )
    never = {os.path.realpath(path) for path in exclude}
    if real_root in never:
        raise InputError(
            f"{root} is the folder for results, which are not training images: choose another folder for the results."
        )
    found = _Walk()
    # Folders still to visit: path, place in the data set, and the real folders that lead there.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (real_root,))]
    while waiting:
        folder, place, above = waiting.pop()
        found.look(folder, place, above, never, waiting)
    files, indices = tuple(sorted(found.files)), tuple(sorted(found.indices))
    return FolderListing(
        root,
        files,
        tuple(sorted(found.folders)),
        indices,
        found.passed_over,
        tuple(found.remarks()),
        _state_of(root, (*files, *indices)),
    )


class _Walk:
    """Walk through folders, and the entries found so far."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folders: list[str] = []
        self.indices: list[str] = []
        self.passed_over: Counter[str] = Counter()
        self.visits: Counter[str] = Counter()
        self.runs: list[str] = []
        self.circles: list[str] = []
        self.nowhere: list[str] = []
        self.closed: list[str] = []
        self.odd: list[str] = []

    def look(
        self,
        folder: str,
        place: str,
        above: tuple[str, ...],
        never: Collection[str],
        waiting: list[tuple[str, str, tuple[str, ...]]],
    ) -> None:
        """Lists one folder, and adds its sub-folders to those still to visit."""
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if not place:
                raise InputError(f"The folder {folder} cannot be opened: {error.strerror or error}.") from None
            self.closed.append(place)
            return
        if place and is_run([entry.name for entry in entries]):
            self.runs.append(place)
            return
        self.folders.append(place)
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.lower() in SYSTEM_FOLDERS:
                continue
            where = f"{place}/{name}" if place else name
            if not _is_folder(entry):
                self._file(entry, where)
                continue
            real = real_folder(entry, above)
            self.visits[real] += 1
            if real in never:
                self.runs.append(where)
            elif leads_back(real, above):
                self.circles.append(where)
            elif self.visits[real] <= MAX_VISITS:
                waiting.append((entry.path, where, (*above, real)))

    def _file(self, entry: os.DirEntry[str], where: str) -> None:
        ending = os.path.splitext(entry.name)[1].lower()
        if SHEET.fullmatch(entry.name):
            self.runs.append(where)
        elif entry.name == INDEX and where.count("/") < 2:
            self.indices.append(where)
        elif ending not in readable():
            if entry.is_symlink() and not os.path.exists(entry.path):  # perhaps a class on a disk that is not connected
                self.nowhere.append(where)
            else:
                self.passed_over[ending or "without an extension"] += 1
        elif _is_pipe(entry):
            self.odd.append(where)
        else:
            self.files.append(where)

    def remarks(self) -> list[str]:
        said = {
            "Results of training runs were left out": self.runs,
            "Links to an enclosing folder were not followed": self.circles,
            "Broken links were left out": self.nowhere,
            "Folders that cannot be opened were left out": self.closed,
            "Pipes and other special files were left out": self.odd,
        }
        return [f"{what}: {some(sorted(names))}." for what, names in said.items() if names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, which is reported when it is read
        return False


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """Whether opening it could block, as with a pipe. A broken link is reported when it is read."""
    try:
        return not entry.is_file() and not stat.S_ISREG(os.stat(entry.path).st_mode)
    except OSError:
        return False


def _state_of(root: Path, files: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a broken link, which is reported when it is read
            state = "missing"
        digest.update(f"{file}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _what_is_there(path: Path) -> str:
    if not path.exists():
        return ""
    if path.name.lower().endswith(ARCHIVES):
        return ", but an archive of that name: unpack it, or pack it as a .zip file"
    return ", but a file of that name: choose the folder of the images, or a .zip file"
