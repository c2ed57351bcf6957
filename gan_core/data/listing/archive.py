"""Listing of a ZIP archive, whose files are read without unpacking it to disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ...errors import InputError, some
from ...media.image_formats import readable
from .left_out import SHEET, SYSTEM_FOLDERS, is_run
from .listing import INDEX, Listing, reason_of

MAX_FILE_BYTES = 1 << 29
"""Maximum size of an image in an archive, decompressed."""


@dataclass(frozen=True)
class ArchiveListing(Listing):
    """Image files in a ZIP archive, which is open."""

    entries: Mapping[str, zipfile.ZipInfo]
    """Entries of the archive, by path."""
    archive: zipfile.ZipFile

    @property
    def name(self) -> str:
        return self.root.resolve().stem or "images"

    def source(self, file: str) -> BytesIO:
        return BytesIO(self.content(file, MAX_FILE_BYTES))

    def content(self, file: str, limit: int) -> bytes:
        entry = self.entries[file]
        if entry.flag_bits & 1:
            raise ValueError("it is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("its compression is not deflate")
        try:
            # The size that an entry declares may be false: no more than the limit is decompressed.
            with self.archive.open(entry) as opened:
                content = opened.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"the archive is damaged there: {reason_of(error)}") from None
        if len(content) > limit:
            raise ValueError(f"it has more than {limit:,} bytes")
        return content

    def has_changed(self) -> bool:
        return state_of_archive(self.root) != self.state

    def close(self) -> None:
        self.archive.close()


def list_archive(path: Path) -> ArchiveListing:
    """Lists a ZIP archive. See list_images."""
    state = state_of_archive(path)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} is not a readable ZIP archive: {reason_of(error)}.") from None
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
    of_runs = tuple(f"{folder}/" for folder, names in runs.items() if folder and is_run(names))
    files, indices, left_out = [], [], set()
    for name in entries:
        ending = os.path.splitext(name)[1].lower()
        run = next((folder for folder in of_runs if name.startswith(folder)), None)
        if run or SHEET.fullmatch(name.rpartition("/")[2]):
            left_out.add(run.rstrip("/") if run else name)
        elif ending in readable():
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
    return ArchiveListing(
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


def state_of_archive(path: Path) -> str:
    """Hash that changes when the archive does."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}.") from None
    return hashlib.sha256(f"{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
