"""Files that torch.save and NVIDIA's tools write: pickles, with the numbers of their tensors beside or inside them.

There are three wrappings: a bare pickle, whose tensors are pickles in it; a row of pickles with the numbers behind them
(torch.save before 1.6, and each tensor inside a bare pickle still); and a zip archive. Numbers are read in place, one
tensor after another, and only those that are asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .native import STRANGERS
from .pickles import Bytes, Damaged, Machine, Source, Steps, Storage, StoredTensor

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The number in the first pickle of a torch.save file that is no archive."""

LONGEST_HEAD = 1 << 10
"""Bytes of the pickles before the one that matters, in a row of them."""

MOST_ENTRIES = 100_000
"""Files in a zip archive."""


@contextmanager
def opened(path: Path) -> Iterator[TorchFile]:
    """Opens a pickle, or a file of torch.save, and reads what it says, but for the tensors' numbers.

    Raises InputError for a file that cannot be read, is no pickle, is damaged, or names what no generator needs.
    """
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
        self._size = file.seek(0, 2)
        self._read: dict[tuple[int, int, torch.dtype], Tensor] = {}
        self._bytes_read = 0
        self._head = b""
        self.root = self._root()

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
        if self._bytes_read > 2 * self._size:
            raise InputError(f"{self.name} is not to be trusted: its tensors claim far more numbers than it holds.")
        if fresh:
            numbers = torch.empty(storage.count, dtype=storage.dtype)
            self._file.seek(storage.start)
            if storage.count and self._file.readinto(numbers.view(torch.uint8).numpy().data) != storage.nbytes:
                raise InputError(f"{self.name} became shorter while it was read.")
            self._read[place] = numbers
        view = self._read[place].as_strided(stored.shape, stored.strides, stored.offset)
        return view if whole and fresh and view.is_contiguous() else view.clone(memory_format=torch.contiguous_format)

    def _root(self) -> Any:
        self._file.seek(0)
        start = self._file.read(32)
        for magic, kind in STRANGERS.items():
            if start.startswith(magic):
                raise InputError(f"{self.name} is {kind}, not a file of weights.")
        try:
            return self._zipped() if start.startswith(b"PK\x03\x04") else self._plain(0, self._size)
        except InputError:
            raise
        except (Damaged, struct.error, ValueError) as error:
            state = "damaged or cut short" if start[:1] in (b"\x80", b"P") else "no file of weights, or damaged"
            why = str(error) if isinstance(error, Damaged) else "it holds what no pickle can"
            raise InputError(f"{self.name} is {state}, and nothing of it was loaded: {why}.") from None

    def _plain(self, start: int, end: int, nested_in: Machine | None = None) -> Any:
        """What a bare pickle says; or a row of pickles with numbers behind, as torch.save wrote it before 1.6."""
        source = Source(self._file, start, end)
        steps = Steps() if nested_in is None else nested_in.steps

        def next_pickle(storages: dict[str, Storage] | None = None) -> Any:
            # A pickle in a pickle holds one tensor's numbers, and no further pickle.
            return Machine(self.name, source, steps, storages, self._nested if nested_in is None else None).run()

        # A file has hundreds of such rows, and all begin with the same bytes: what these say is known from the first.
        if not (self._head and source.begins_with(self._head)):
            root = next_pickle()
            if type(root) is not int or root != TORCH_MAGIC:
                return root
            next_pickle()  # the version of the wrapping
            system = next_pickle()
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise Damaged("its numbers are not in the byte order that computers have today")
            length = source.position - start
            self._head = Source(self._file, start, end).take(length) if length <= LONGEST_HEAD else b""
        storages: dict[str, Storage] = {}
        root = next_pickle(storages)
        keys = next_pickle()
        if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(storages):
            raise Damaged("the list of its numbers does not fit what it says of them")
        for key in keys:
            storage = storages[key]
            (count,) = struct.unpack("<q", source.take(8))
            if count != storage.count or storage.start is not None:
                raise Damaged("it has another count of numbers than it says")
            storage.start = source.skip(storage.nbytes).start
        return root

    def _zipped(self) -> Any:
        entries = _entries(self._file, self._size)
        found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(found) != 1:
            raise InputError(f"{self.name} is a zip archive, but not one of PyTorch's: it holds no weights.")
        prefix = found[0].removesuffix("data.pkl")
        order = entries.get(f"{prefix}byteorder")
        if order and Source(self._file, order.start, order.start + order.length).take(order.length) != b"little":
            raise Damaged("its numbers are not in the byte order that computers have today")
        storages: dict[str, Storage] = {}
        data = entries[found[0]]
        source = Source(self._file, data.start, data.start + data.length)
        root = Machine(self.name, source, Steps(), storages, self._nested).run()
        for key, storage in storages.items():
            entry = entries.get(f"{prefix}data/{key}")
            if entry is None or entry.length != storage.nbytes:
                raise Damaged("the numbers of a tensor are missing, or another count than it says")
            storage.start = entry.start
        return root

    def _nested(self, machine: Machine, row: Bytes) -> Any:
        return self._plain(row.start, row.start + row.length, machine)


# Zip archives, as torch.save writes them: nothing is compressed, so that numbers can be read in place.


@dataclass(frozen=True)
class _End:
    entries: int
    size: int
    start: int


def _entries(file: BufferedReader, size: int) -> dict[str, Bytes]:
    """Where each file of an archive lies in it (PKWARE's APPNOTE 6.3, sections 4.3 to 4.5)."""
    end = _end_of_directory(file, size)
    if end.entries > MOST_ENTRIES or end.size > 512 * MOST_ENTRIES:
        raise Damaged("it has more parts than any generator's file")
    directory = Source(file, end.start, min(end.start + end.size, size))
    entries: dict[str, Bytes] = {}
    for _ in range(end.entries):
        head = struct.unpack("<4s6H3I5H2I", directory.take(46))
        magic, method, packed, length, header = head[0], head[4], head[8], head[9], head[16]
        name = directory.take(head[10]).decode("utf-8", "replace")
        extra, _ = directory.take(head[11]), directory.skip(head[12])
        if magic != b"PK\x01\x02":
            raise Damaged("the list of its parts is broken")
        length, packed, header = _wide(extra, length, packed, header)
        if method != 0 or packed != length:
            raise Damaged("its parts are compressed, which PyTorch does not do")
        local = struct.unpack("<4s5H3I2H", Source(file, header, size).take(30))
        start = header + 30 + local[9] + local[10]
        if local[0] != b"PK\x03\x04" or start + length > size:
            raise Damaged("a part of it lies beyond its end")
        entries[name] = Bytes(start, length)
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
    while at + 4 <= len(extra):
        kind, count = struct.unpack("<2H", extra[at : at + 4])
        if kind == 1:
            field_at = at + 4
            for i, number in enumerate(numbers):
                if number == 0xFFFFFFFF:
                    (numbers[i],) = struct.unpack("<Q", extra[field_at : field_at + 8])
                    field_at += 8
        at += 4 + count
    return numbers[0], numbers[1], numbers[2]
