"""Listing of the images in the folder or ZIP archive of a data set, and of the files that are ignored."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import InputError, some
from ..folders import MAX_VISITS, leads_back, real_folder
from ..media import image_files
from ..media.image_files import Source

INDEX = "dataset.json"
"""Name of the file with the labels in StyleGAN's format, at the top of a data set."""

RUN_FILES = frozenset(["checkpoint.safetensors", "generator.safetensors", "history.csv", "loss.png"])
"""Files of a training run. A folder with two of them is a run, whose sample sheets are not training images."""

SHEET = re.compile(r"\d{6,}\.\dkimg\.png")
"""Name of a sample sheet of a run, wherever it was copied to."""

SYSTEM_FOLDERS = frozenset(
    ["__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"]
)
"""Folders that systems and programs create by themselves, in lower case."""

ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".gz", ".xz", ".parquet")
"""Extensions of data sets in formats that are not read."""

MAX_INDEX_BYTES = 1 << 28
"""Maximum size of dataset.json, decompressed."""

MAX_FILE_BYTES = 1 << 29
"""Maximum size of an image in an archive, decompressed."""


@dataclass(frozen=True)
class Listing:
    """Image files of a data set, before any of them is opened. Close it after use."""

    root: Path
    """Folder or archive of the data set."""
    files: tuple[str, ...]
    """Paths of the images, relative to the root, with forward slashes, sorted."""
    folders: tuple[str, ...]
    """Paths of all folders that were visited, with images or without; "" is the root."""
    indices: tuple[str, ...]
    """Paths of StyleGAN's dataset.json, at the top or one folder below."""
    passed_over: Mapping[str, int]
    """Number of files of other kinds, by extension."""
    remarks: tuple[str, ...]
    """Sentences on what was left out."""
    state: str
    """Hash that changes when a file is added, removed or changed."""
    entries: Mapping[str, zipfile.ZipInfo] = field(default_factory=dict)
    """Entries of an archive, by path."""
    archive: zipfile.ZipFile | None = None

    @classmethod
    def of(cls, root: Path, exclude: Collection[Path] = ()) -> Listing:
        """Lists a folder with its sub-folders, or a ZIP archive.

        exclude: folders whose content is never data, such as the folder of the run that is to be trained.

        Links are followed. Hidden files, system files and the files of training runs are left out. Raises InputError if
        there is no image.
        """
        if root.is_file() and root.suffix.lower() == ".zip":
            listing = _of_archive(root)
        else:
            listing = _of_folder(root, exclude)
        if not listing.files:
            listing.close()
            others = f" It has {_counted(listing.passed_over)}." if listing.passed_over else ""
            raise InputError(
                f"There are no images in {root}: put PNG, JPEG or WebP files there.{others}"
                + "".join(f" {sentence}" for sentence in (*_hints(listing.passed_over), *listing.remarks))
            )
        return listing

    @property
    def name(self) -> str:
        """Name of the data set, without a path."""
        resolved = self.root.resolve()
        return (resolved.stem if self.archive else resolved.name) or "images"

    def source(self, file: str) -> Source:
        """Source of a file for image_files. Raises ValueError if an archive cannot provide it."""
        if self.archive is None:
            return self.root / file
        return BytesIO(self._unpacked(self.entries[file], MAX_FILE_BYTES))

    def index(self) -> dict[str, Any] | None:
        """Content of StyleGAN's dataset.json, at the top or in the only folder there, plus its "folder".

        None if there is none with labels. Raises InputError if it is damaged.
        """
        tops = {file.split("/", 1)[0] for file in self.files}
        for place in sorted(self.indices, key=len):
            if place != INDEX and tops != {place.split("/", 1)[0]}:
                continue
            try:
                if self.archive is None:
                    content = _read_at_most(self.root / place, MAX_INDEX_BYTES)
                else:
                    content = self._unpacked(self.entries[place], MAX_INDEX_BYTES)
                index = json.loads(content)
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(f"{place} in {self.root.name} cannot be read: {_reason(error)}.") from None
            # Other programs use that file name too.
            if isinstance(index, dict) and "labels" in index:
                return {**index, "folder": place.removesuffix(INDEX)}
        return None

    def has_changed(self) -> bool:
        """Whether one of its images was changed or removed since the listing was created."""
        if self.archive is not None:
            return _state_of_archive(self.root) != self.state
        return _state_of_files(self.root, (*self.files, *self.indices)) != self.state

    def passed_over_in_words(self) -> list[str]:
        """Sentences on ignored files of other kinds; empty if there are none."""
        if not self.passed_over:
            return []
        return [f"Ignored: {_counted(self.passed_over)}.", *_hints(self.passed_over)]

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()

    def _unpacked(self, entry: zipfile.ZipInfo, limit: int) -> bytes:
        assert self.archive is not None
        if entry.flag_bits & 1:
            raise ValueError("it is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("its compression is not deflate")
        try:
            # The size that an entry declares may be false: no more than the limit is decompressed.
            with self.archive.open(entry) as file:
                content = file.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"the archive is damaged there: {_reason(error)}") from None
        if len(content) > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return content


def state_of(root: Path, exclude: Collection[Path] = ()) -> str:
    """Listing.state, without opening an archive. Raises the errors of Listing.of."""
    if root.is_file() and root.suffix.lower() == ".zip":
        return _state_of_archive(root)
    with closing(Listing.of(root, exclude)) as listing:
        return listing.state


def _of_folder(root: Path, exclude: Collection[Path]) -> Listing:
    if not root.is_dir():
        raise InputError(f"There is no folder {root}{_what_is_there(root)}.")
    real_root = os.path.realpath(root)
    for run in (root, Path(real_root).parent if Path(real_root).name == "samples" else root):
        if _is_run(os.listdir(run) if os.access(run, os.R_OK) else []):
            raise InputError(
                f"{root} belongs to a training run, whose samples are not training images: choose the folder of your "
                "images, and keep runs elsewhere."
            )
    never = {os.path.realpath(path) for path in exclude}
    if real_root in never:
        raise InputError(
            f"{root} is the folder for results, which are not training images: choose another folder for the results."
        )
    found = _Found()
    # Folders still to visit: path, place in the data set, and the real folders that lead there.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (real_root,))]
    while waiting:
        folder, place, above = waiting.pop()
        found.look(folder, place, above, never, waiting)
    files, indices = tuple(sorted(found.files)), tuple(sorted(found.indices))
    return Listing(
        root,
        files,
        tuple(sorted(found.folders)),
        indices,
        found.passed_over,
        tuple(found.remarks()),
        _state_of_files(root, (*files, *indices)),
    )


class _Found:
    """Entries found so far in a walk through folders."""

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
        if place and _is_run([entry.name for entry in entries]):
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
        elif ending not in image_files.readable():
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


def _of_archive(path: Path) -> Listing:
    state = _state_of_archive(path)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is not a readable ZIP archive: {_reason(error)}.") from None
    entries: dict[str, zipfile.ZipInfo] = {}
    runs: dict[str, set[str]] = {}
    passed_over: Counter[str] = Counter()
    outside = 0
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")  # written by a program for Windows
        parts = name.rstrip("/").split("/")
        # Nothing is written to disk, where such names would be dangerous, but they show that something is wrong.
        if name.startswith("/") or ".." in parts or "" in parts or ":" in parts[0]:
            outside += 1
        elif not entry.is_dir() and not any(part.startswith(".") or part.lower() in SYSTEM_FOLDERS for part in parts):
            entries[name] = entry
            runs.setdefault(name.rpartition("/")[0], set()).add(parts[-1])
    of_runs = tuple(f"{folder}/" for folder, names in runs.items() if folder and _is_run(names))
    files, indices, left_out = [], [], set()
    for name in entries:
        ending = os.path.splitext(name)[1].lower()
        run = next((folder for folder in of_runs if name.startswith(folder)), None)
        if run or SHEET.fullmatch(name.rpartition("/")[2]):
            left_out.add(run.rstrip("/") if run else name)
        elif ending in image_files.readable():
            files.append(name)
        elif name.rpartition("/")[2] == INDEX and name.count("/") < 2:
            indices.append(name)
        else:
            passed_over[ending or "without an extension"] += 1
    folders = {"/".join(name.split("/")[:depth]) for name in entries for depth in range(name.count("/") + 1)}
    remarks = []
    if left_out:
        remarks.append(f"Results of training runs were left out: {some(sorted(left_out))}.")
    if outside:
        remarks.append(f"{outside:,} entries of the archive have names that lead out of it, and were left out.")
    return Listing(
        path,
        tuple(sorted(files)),
        tuple(sorted(folders)),
        tuple(sorted(indices)),
        passed_over,
        tuple(remarks),
        state,
        entries,
        archive,
    )


def _counted(passed_over: Mapping[str, int]) -> str:
    ranked = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    return some([f"{count:,} {ending}" for ending, count in ranked])


def _hints(passed_over: Mapping[str, int]) -> list[str]:
    """Sentences on how to make ignored images readable."""
    here = image_files.readable()
    missing = {image_files.FORMATS[ending] for ending in passed_over if ending in image_files.FORMATS} - {
        image_files.FORMATS[ending] for ending in here
    }
    hints = []
    if "HEIF" in missing:
        hints.append("To read HEIC files, install pillow-heif: pip install pillow-heif.")
    if "AVIF" in missing:
        hints.append("To read AVIF files, update Pillow to 11.3 or newer: pip install --upgrade Pillow.")
    archives = [ending for ending in passed_over if ending == ".zip" or ending in ARCHIVES]
    if archives:
        hints.append(f"Archives in a folder are not opened: unpack the {' and '.join(sorted(archives))}.")
    return hints


def _what_is_there(path: Path) -> str:
    if not path.exists():
        return ""
    if path.name.lower().endswith(ARCHIVES):
        return ", but an archive of that name: unpack it, or pack it as a .zip file"
    return ", but a file of that name: choose the folder of the images, or a .zip file"


def _is_run(names: Collection[str]) -> bool:
    return len(RUN_FILES.intersection(names)) > 1


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


def _state_of_files(root: Path, files: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            status = os.stat(os.path.join(root, file))
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a broken link, which is reported when it is read
            state = "missing"
        digest.update(f"{file}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _state_of_archive(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}.") from None
    return hashlib.sha256(f"{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()


def _read_at_most(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
