"""Files that torch.save and NVIDIA's tools write: pickles, with the numbers of their tensors beside or inside them.

There are three wrappings: a bare pickle, whose tensors are pickles in it; a row of pickles with the numbers behind them
(torch.save before 1.6, and each tensor inside a bare pickle still); and a zip archive. Numbers are read in place, one
tensor after another, and only those that are asked for.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..weights.native import STRANGERS
from .pickles import MOST_STEPS, STEPS_AT_ONCE, Bytes, Damaged, Machine, Source, Storage, StoredTensor, Work

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The number in the first pickle of a torch.save file that is no archive."""

LONGEST_HEAD = 1 << 10
"""Bytes of the pickles before the one that matters, in a row of them."""

MOST_NESTED_STEPS = 2_000
"""Operations of a tensor that is a pickle in the pickle. They have some 60."""

FEWEST_NESTED_STEPS = 10
"""Operations that such a tensor counts for, at least: the file is read anew for it."""

MOST_ENTRIES = 100_000
"""Files in a zip archive."""

LONGEST_EXTRA = 1 << 8
"""Bytes of what an archive says of a file besides; further ones are not looked at."""


@contextmanager
def opened(path: Path) -> Iterator[TorchFile]:
    """Opens a pickle, or a file of torch.save. Raises InputError for a file that cannot be read."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    with file:
        try:
            yield TorchFile(path, file)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


class TorchFile:
    """An opened file: what it says, and the way to its tensors."""

    def __init__(self, path: Path, file: BufferedReader):
        self.name = path.name
        self._file = file
        self.size = file.seek(0, 2)
        """In bytes."""
        self._read: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._bytes_read = 0
        self._head = b""
        self._nested_storages: dict[tuple[int, int], Any] = {}

    @cached_property
    def root(self) -> Any:
        """What the file says, but for the tensors' numbers.

        Raises InputError for a file that is no pickle, is damaged, or names what no generator needs.
        """
        return _drained(self.reading())

    def reading(self) -> Generator[None, None, Any]:
        """Reads what the file says, which is its root from then on, with a pause now and then. Raises as that does."""
        self._file.seek(0)
        start = self._file.read(32)
        for magic, kind in STRANGERS.items():
            if start.startswith(magic):
                raise InputError(f"{self.name} is {kind}, not a file of weights.")
        work = Work(self.name, MOST_STEPS)
        try:
            parts = self._zipped(work) if start.startswith(b"PK\x03\x04") else self._plain(0, self.size, work)
            self.root = yield from parts
        except InputError:
            raise
        except (Damaged, struct.error, ValueError) as error:
            state = "damaged or cut short" if start[:1] in (b"\x80", b"P") else "no file of weights, or damaged"
            why = str(error) if isinstance(error, Damaged) else "it holds what no pickle can"
            raise InputError(f"{self.name} is {state}, and nothing of it was loaded: {why}.") from None
        return self.root

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Reads one tensor, to the CPU.

        Raises InputError where the file's tensors claim more numbers than the file has.
        """
        storage = stored.storage
        assert storage.start is not None
        place = (storage.start, storage.count, storage.dtype)
        whole = stored.offset == 0 and prod(stored.shape) == storage.count
        fresh = place not in self._read
        # Tensors may share numbers, and so claim many times what there is.
        self._bytes_read += (storage.nbytes if fresh else 0) + (0 if whole and fresh else stored.nbytes)
        if self._bytes_read > 2 * self.size:
            raise InputError(f"{self.name} is not to be trusted: its tensors claim far more numbers than it holds.")
        if fresh:
            numbers = torch.empty(storage.count, dtype=storage.dtype)
            self._file.seek(storage.start)
            if storage.count and self._file.readinto(numbers.view(torch.uint8).numpy().data) != storage.nbytes:
                raise InputError(f"{self.name} became shorter while it was read.")
            self._read[place] = numbers
        view = self._read[place].as_strided(stored.shape, stored.strides, stored.offset)
        return view if whole and fresh and view.is_contiguous() else view.clone(memory_format=torch.contiguous_format)

    def _plain(self, start: int, end: int, work: Work, in_pickle: bool = False) -> Generator[None, None, Any]:
        """What a bare pickle says; or a row of pickles with numbers behind, as torch.save wrote it before 1.6."""
        source = Source(self._file, start, end)

        def next_pickle(storages: dict[str, Storage] | None = None) -> Generator[None, None, Any]:
            # A pickle in a pickle holds one tensor's numbers, and no further pickle.
            return Machine(self.name, source, work, storages, None if in_pickle else self._nested).run()

        # A file has hundreds of such rows, and all begin with the same bytes: what these say is known from the first.
        if not (self._head and source.begins_with(self._head)):
            root = yield from next_pickle()
            if type(root) is not int or root != TORCH_MAGIC:
                return root
            yield from next_pickle()  # the version of the wrapping
            system = yield from next_pickle()
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise Damaged("its numbers are not in the byte order that computers have today")
            length = source.position - start
            self._head = Source(self._file, start, end).take(length) if length <= LONGEST_HEAD else b""
        storages: dict[str, Storage] = {}
        root = yield from next_pickle(storages)
        keys = yield from next_pickle()
        if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(storages):
            raise Damaged("the list of its numbers does not fit what it says of them")
        for number, key in enumerate(keys, 1):
            if number % STEPS_AT_ONCE == 0:
                yield
            storage = storages[key]
            (count,) = struct.unpack("<q", source.take(8))
            if count != storage.count or storage.start is not None:
                raise Damaged("it has another count of numbers than it says")
            storage.start = source.skip(storage.nbytes).start
        return root

    def _zipped(self, work: Work) -> Generator[None, None, Any]:
        entries = yield from _entries(self._file, self.size)
        for pattern, what in _OTHER_ARCHIVES.items():
            if any(map(re.compile(pattern).search, entries)):
                raise InputError(f"{self.name} is {what}")
        found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(found) != 1:
            raise InputError(f"{self.name} is a zip archive, but not one of PyTorch's: it holds no weights.")
        prefix = found[0].removesuffix("data.pkl")
        order = f"{prefix}byteorder"
        if order in entries and self._part(entries[order]).take(6) != b"little":
            raise Damaged("its numbers are not in the byte order that computers have today")
        storages: dict[str, Storage] = {}
        source = self._part(entries[found[0]])
        root = yield from Machine(self.name, source, work, storages, self._nested).run()
        for number, (key, storage) in enumerate(storages.items(), 1):
            if number % STEPS_AT_ONCE == 0:
                yield
            entry = entries.get(f"{prefix}data/{key}")
            if entry is None or entry.length != storage.nbytes:
                raise Damaged("the numbers of a tensor are missing, or another count than it says")
            storage.start = self._part(entry).position
        return root

    def _part(self, entry: Entry) -> Source:
        """A part of an archive, which has a header of its own before it."""
        if entry.packed:
            raise Damaged("its parts are compressed, which PyTorch does not do")
        local = struct.unpack("<4s5H3I2H", Source(self._file, entry.header, self.size).take(30))
        start = entry.header + 30 + local[9] + local[10]
        if local[0] != b"PK\x03\x04" or start + entry.length > self.size:
            raise Damaged("a part of it lies beyond its end")
        return Source(self._file, start, start + entry.length)

    def _nested(self, work: Work, row: Bytes) -> Any:
        place = (row.start, row.length)
        if place not in self._nested_storages:
            allowed = Work(self.name, MOST_NESTED_STEPS)
            parts = self._plain(row.start, row.start + row.length, allowed, in_pickle=True)
            self._nested_storages[place] = _drained(parts)
            work.charge(max(MOST_NESTED_STEPS - allowed.left, FEWEST_NESTED_STEPS))
        return self._nested_storages[place]


def _drained(parts: Generator[None, None, Any]) -> Any:
    """What a generator returns, all its pauses passed over."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


# Zip archives, as torch.save writes them: nothing is compressed, so that numbers can be read in place.


_OTHER_ARCHIVES = {
    r"(^|/)constants\.pkl$": "TorchScript, a program with its weights in it: where you trust it, save the weights "
    'alone with torch.save(torch.jit.load("FILE").state_dict(), "weights.pt"), and open those.',
    r"(^|/)\.data/extern_modules$": "a torch.package, a program with its weights in it: save the generator's "
    "state_dict() alone.",
    r"(^|/)(serialized_exported_program|models/model)\.json$": "a program of torch.export with its weights in it: save "
    "the generator's state_dict() alone.",
    r"^[^/]*\.npy$": "a file of numpy arrays, not of PyTorch's weights.",
    r"^model\.weights\.h5$": "a model of Keras, not of PyTorch.",
}
"""Archives with other things in them, by the name of a part."""


@dataclass(frozen=True)
class _End:
    entries: int
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of an archive, as its list of parts tells."""

    header: int
    """Where in the file it begins."""
    length: int
    packed: bool


def _entries(file: BufferedReader, size: int) -> Generator[None, None, dict[str, Entry]]:
    """What an archive says of each file in it (PKWARE's APPNOTE 6.3, sections 4.3 to 4.5)."""
    end = _end_of_directory(file, size)
    if end.entries > MOST_ENTRIES or end.size > 512 * MOST_ENTRIES:
        raise Damaged("it has more parts than any generator's file")
    directory = Source(file, end.start, min(end.start + end.size, size))
    entries: dict[str, Entry] = {}
    for number in range(1, end.entries + 1):
        if number % STEPS_AT_ONCE == 0:
            yield
        head = struct.unpack("<4s6H3I5H2I", directory.take(46))
        magic, method, packed, length, header = head[0], head[4], head[8], head[9], head[16]
        name = directory.take(head[10]).decode("utf-8", "replace")
        extra, _ = directory.take(head[11]), directory.skip(head[12])
        if magic != b"PK\x01\x02":
            raise Damaged("the list of its parts is broken")
        length, packed, header = _wide(extra, length, packed, header)
        entries[name] = Entry(min(header, size), length, method != 0 or packed != length)
    return entries


def _end_of_directory(file: BufferedReader, size: int) -> _End:
    tail_start = max(0, size - (1 << 16) - 22)
    tail = Source(file, tail_start, size).take(size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise Damaged("the list of its parts is missing")
    _, _, _, _, entries, length, start, _ = struct.unpack("<4s4H2IH", tail[at : at + 22])
    if tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64: the real numbers stand elsewhere
        (place,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        record = Source(file, min(place, size), size).take(56)
        entries, length, start = struct.unpack("<3Q", record[32:56])
    return _End(entries, length, min(start, size))


def _wide(extra: bytes, length: int, packed: int, header: int) -> tuple[int, int, int]:
    """The three numbers of an entry, those of 64 bits taken from its extra field."""
    numbers, at = [length, packed, header], 0
    while at + 4 <= min(len(extra), LONGEST_EXTRA):
        kind, count = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            field_at = at + 4
            for i, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    (numbers[i],) = struct.unpack("<Q", extra[field_at : field_at + 8])
                    field_at += 8
        at += 4 + count
    return numbers[0], numbers[1], numbers[2]
