"""Files of torch.save and NVIDIA's tools: pickles, with the values of their tensors beside or inside them.

There are three formats: a plain pickle, whose tensors are pickles inside it; a sequence of pickles followed by the
values (torch.save before 1.6, and still each tensor in a plain pickle); and a ZIP archive. Values are read in place,
one tensor at a time, and only if they are needed.
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
from .pickles import MAX_STEPS, STEPS_AT_ONCE, Bytes, Damaged, Machine, Source, Storage, StoredTensor, Work

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""Number in the first pickle of a torch.save file that is not an archive."""

MAX_HEAD = 1 << 10
"""Maximum bytes of the pickles before the one with the content, in a sequence."""

MAX_NESTED_STEPS = 2_000
"""Maximum operations of a tensor that is a pickle inside the pickle; usually about 60."""

MIN_NESTED_STEPS = 10
"""Minimum cost of such a tensor in operations, because the file is read again for it."""

MAX_ENTRIES = 100_000
"""Maximum files in a ZIP archive."""

MAX_EXTRA = 1 << 8
"""Maximum bytes of the extra field of a file in an archive; further ones are ignored."""


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
    """An open file: its parsed content, and access to its tensors."""

    def __init__(self, path: Path, file: BufferedReader):
        self.name = path.name
        self._file = file
        self.size = file.seek(0, 2)
        """Size of the file in bytes."""
        self._read: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._bytes_read = 0
        self._head = b""
        self._nested_storages: dict[tuple[int, int], Any] = {}

    @cached_property
    def root(self) -> Any:
        """Parsed content of the file, without the values of tensors.

        Raises InputError for a file that is not a pickle, is damaged, or names something that no generator needs.
        """
        return _drained(self.reading())

    def reading(self) -> Generator[None, None, Any]:
        """Parses the file to its `root`, with a pause from time to time. Raises the errors of `root`."""
        self._file.seek(0)
        start = self._file.read(32)
        for magic, kind in STRANGERS.items():
            if start.startswith(magic):
                raise InputError(f"{self.name} is {kind}, not a file of weights.")
        work = Work(self.name, MAX_STEPS)
        try:
            parts = self._zipped(work) if start.startswith(b"PK\x03\x04") else self._plain(0, self.size, work)
            self.root = yield from parts
        except InputError:
            raise
        except (Damaged, struct.error, ValueError) as error:
            state = "damaged or incomplete" if start[:1] in (b"\x80", b"P") else "not a file of weights, or damaged"
            why = str(error) if isinstance(error, Damaged) else "it contains what no pickle can"
            raise InputError(f"{self.name} is {state}, and nothing of it was loaded: {why}.") from None
        return self.root

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Reads one tensor, to the CPU.

        Raises InputError if the tensors claim more values than the file has.
        """
        storage = stored.storage
        assert storage.start is not None
        place = (storage.start, storage.count, storage.dtype)
        whole = stored.offset == 0 and prod(stored.shape) == storage.count
        fresh = place not in self._read
        # Tensors may share values, and thus claim many times the size of the file.
        self._bytes_read += (storage.nbytes if fresh else 0) + (0 if whole and fresh else stored.nbytes)
        if self._bytes_read > 2 * self.size:
            raise InputError(f"{self.name} cannot be trusted: its tensors claim far more values than it has.")
        if fresh:
            numbers = torch.empty(storage.count, dtype=storage.dtype)
            self._file.seek(storage.start)
            if storage.count and self._file.readinto(numbers.view(torch.uint8).numpy().data) != storage.nbytes:
                raise InputError(f"{self.name} became shorter while it was read.")
            self._read[place] = numbers
        view = self._read[place].as_strided(stored.shape, stored.strides, stored.offset)
        return view if whole and fresh and view.is_contiguous() else view.clone(memory_format=torch.contiguous_format)

    def _plain(self, start: int, end: int, work: Work, in_pickle: bool = False) -> Generator[None, None, Any]:
        """Content of a plain pickle, or of a sequence of pickles followed by values, as in torch.save before 1.6."""
        source = Source(self._file, start, end)

        def next_pickle(storages: dict[str, Storage] | None = None) -> Generator[None, None, Any]:
            # A pickle inside a pickle has the values of one tensor, and no further pickle.
            return Machine(self.name, source, work, storages, None if in_pickle else self._nested).run()

        # A file has hundreds of such sequences with the same beginning, which is parsed once.
        if not (self._head and source.begins_with(self._head)):
            root = yield from next_pickle()
            if type(root) is not int or root != TORCH_MAGIC:
                return root
            yield from next_pickle()  # the version of the format
            system = yield from next_pickle()
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise Damaged("its values are not in little-endian byte order")
            length = source.position - start
            self._head = Source(self._file, start, end).take(length) if length <= MAX_HEAD else b""
        storages: dict[str, Storage] = {}
        root = yield from next_pickle(storages)
        keys = yield from next_pickle()
        if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(storages):
            raise Damaged("the list of its values does not match their description")
        for number, key in enumerate(keys, 1):
            if number % STEPS_AT_ONCE == 0:
                yield
            storage = storages[key]
            (count,) = struct.unpack("<q", source.take(8))
            if count != storage.count or storage.start is not None:
                raise Damaged("the number of its values does not match its description")
            storage.start = source.skip(storage.nbytes).start
        return root

    def _zipped(self, work: Work) -> Generator[None, None, Any]:
        entries = yield from _entries(self._file, self.size)
        for pattern, what in _OTHER_ARCHIVES.items():
            if any(map(re.compile(pattern).search, entries)):
                raise InputError(f"{self.name} is {what}")
        found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(found) != 1:
            raise InputError(f"{self.name} is a ZIP archive, but not one of PyTorch: it has no weights.")
        prefix = found[0].removesuffix("data.pkl")
        order = f"{prefix}byteorder"
        if order in entries and self._part(entries[order]).take(6) != b"little":
            raise Damaged("its values are not in little-endian byte order")
        storages: dict[str, Storage] = {}
        source = self._part(entries[found[0]])
        root = yield from Machine(self.name, source, work, storages, self._nested).run()
        for number, (key, storage) in enumerate(storages.items(), 1):
            if number % STEPS_AT_ONCE == 0:
                yield
            entry = entries.get(f"{prefix}data/{key}")
            if entry is None or entry.length != storage.nbytes:
                raise Damaged("the values of a tensor are missing, or their number does not match its description")
            storage.start = self._part(entry).position
        return root

    def _part(self, entry: Entry) -> Source:
        """Source of a part of an archive, after its local header."""
        if entry.packed:
            raise Damaged("its parts are compressed, unlike those of PyTorch")
        local = struct.unpack("<4s5H3I2H", Source(self._file, entry.header, self.size).take(30))
        start = entry.header + 30 + local[9] + local[10]
        if local[0] != b"PK\x03\x04" or start + entry.length > self.size:
            raise Damaged("a part of it lies beyond its end")
        return Source(self._file, start, start + entry.length)

    def _nested(self, work: Work, row: Bytes) -> Any:
        place = (row.start, row.length)
        if place not in self._nested_storages:
            allowed = Work(self.name, MAX_NESTED_STEPS)
            parts = self._plain(row.start, row.start + row.length, allowed, in_pickle=True)
            self._nested_storages[place] = _drained(parts)
            work.charge(max(MAX_NESTED_STEPS - allowed.left, MIN_NESTED_STEPS))
        return self._nested_storages[place]


def _drained(parts: Generator[None, None, Any]) -> Any:
    """Result of a generator, without its pauses."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


# ZIP archives of torch.save: nothing is compressed, so that values can be read in place.


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
"""Archives with other content, by the name of a part."""


@dataclass(frozen=True)
class _End:
    entries: int
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of an archive, from its directory."""

    header: int
    """Position of its local header in the file."""
    length: int
    packed: bool


def _entries(file: BufferedReader, size: int) -> Generator[None, None, dict[str, Entry]]:
    """Entries of an archive, by name (PKWARE's APPNOTE 6.3, sections 4.3 to 4.5)."""
    end = _end_of_directory(file, size)
    if end.entries > MAX_ENTRIES or end.size > 512 * MAX_ENTRIES:
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
    if tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64: the values are in another record
        (place,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        record = Source(file, min(place, size), size).take(56)
        entries, length, start = struct.unpack("<3Q", record[32:56])
    return _End(entries, length, min(start, size))


def _wide(extra: bytes, length: int, packed: int, header: int) -> tuple[int, int, int]:
    """The three numbers of an entry, in 64 bits from its extra field if needed."""
    numbers, at = [length, packed, header], 0
    while at + 4 <= min(len(extra), MAX_EXTRA):
        kind, count = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            field_at = at + 4
            for i, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    (numbers[i],) = struct.unpack("<Q", extra[field_at : field_at + 8])
                    field_at += 8
        at += 4 + count
    return numbers[0], numbers[1], numbers[2]
