"""Parser of pickles as data, without executing them.

A pickle is a program. Python's own reader runs it: it imports the names in it and calls them. This parser only records
names and arguments. It has an exact list of the names that files of generators need, with their meaning as data. A
class of another program becomes an inert object, because checkpoints store settings beside their weights. Every other
name is rejected with an error that shows it. Nothing is imported, called or evaluated. Every size is checked against
the file before memory is allocated, and work is limited by the number of items touched.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from math import prod
from typing import Any

import torch

from ..errors import InputError

MAX_STEPS = 1_000_000
"""Maximum operations of one file, and items that they touch. NVIDIA's pickles have about 50,000."""

STEPS_AT_ONCE = 4096
"""Operations between two pauses, at which the caller can stop."""

MAX_TEXT = 1 << 24
"""Maximum bytes of one string; the source code of a module has about 100,000."""

READ_AT_ONCE = 1 << 12
"""Bytes read ahead: between the operations are values, which are skipped."""

BYTES_OF_A_STEP = 256
"""Bytes of text that cost as much as one operation."""

MAX_NAME = 500
"""Maximum characters of a name in a pickle."""

MAX_KEY = 1 << 31
"""Maximum whole number as a key. A file could choose larger ones that collide in a dict."""

MAX_LINE = 1 << 16
"""Maximum bytes of one line, in the oldest protocol."""

MAX_NUMBER = 256
"""Maximum bytes of one whole number."""

MAX_DIMENSIONS = 8
"""Maximum dimensions of a tensor."""


@dataclass(frozen=True, eq=False, slots=True)
class Bytes:
    """A range of bytes in the file that has not been read."""

    start: int
    length: int


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A name in a pickle, such as that of a class; never looked up."""

    name: str


@dataclass(eq=False, slots=True)
class Object:
    """An object that a pickle would have created: name of its maker, arguments and state."""

    maker: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] | list[Any] | None = None
    """Its items, if it is a kind of dict or list."""


@dataclass(eq=False)
class Storage:
    """Values in the file, of which tensors are views."""

    dtype: torch.dtype
    count: int
    start: int | None = None
    """Position in the file, once it is known."""

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """A tensor whose values are in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize


class Damaged(Exception):
    """A pickle is not valid."""


class Source:
    """A part of a file, read from its start to its end and never beyond."""

    def __init__(self, file: BufferedReader, start: int, end: int):
        self._file, self._end = file, end
        self._chunk, self._at, self._chunk_start = b"", 0, start

    def begins_with(self, expected: bytes) -> bool:
        """Whether these bytes come next; if so, skips them."""
        if len(expected) > self.left or self.take(len(expected)) != expected:
            self._at -= min(len(expected), self._at)
            return False
        return True

    @property
    def position(self) -> int:
        """Position of the next byte in the file."""
        return self._chunk_start + self._at

    @property
    def left(self) -> int:
        """Number of bytes left."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """Exactly this number of bytes, which come next."""
        end = self._at + count
        if end > len(self._chunk):
            if count > self.left:
                raise Damaged("it breaks off")
            self._fill(count)
            end = count
        taken = self._chunk[self._at : end]
        if len(taken) != count:
            raise Damaged("it breaks off")
        self._at = end
        return taken

    def skip(self, count: int) -> Bytes:
        """Skips bytes without reading them."""
        start = self.position
        if count > self.left:
            raise Damaged("it breaks off")
        if self._at + count <= len(self._chunk):
            self._at += count
        else:
            self._chunk, self._at, self._chunk_start = b"", 0, start + count
        return Bytes(start, count)

    def line(self) -> bytes:
        """Bytes up to the next line break, without it."""
        taken = b""
        while (end := self._chunk.find(b"\n", self._at)) < 0:
            taken += self._chunk[self._at :]
            if len(taken) > MAX_LINE:
                raise Damaged("it has a line that is too long")
            self._at = len(self._chunk)
            if not self.left:
                raise Damaged("it breaks off")
            self._fill(1)
        taken += self.take(end - self._at)
        if len(taken) > MAX_LINE:
            raise Damaged("it has a line that is too long")
        self.take(1)
        return taken

    def _fill(self, count: int) -> None:
        self._chunk_start, self._at = self.position, 0
        self._file.seek(self._chunk_start)
        self._chunk = self._file.read(min(max(count, READ_AT_ONCE), self.left))


@dataclass
class Work:
    """Budget of a reader for a file, in items touched."""

    name: str
    """Name of the file, for a sentence."""
    left: int
    pause_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.pause_at = self.left - STEPS_AT_ONCE

    def charge(self, items: int) -> None:
        """Charges work before it is done. Raises InputError if the budget is exceeded."""
        self.left -= items
        if self.left < 0:
            raise InputError(
                f"{self.name} cannot be trusted: reading it takes far more work than any file of a generator."
            )

    @property
    def pause_is_due(self) -> bool:
        """Whether enough work was done since the last pause."""
        due = self.left < self.pause_at
        if due:
            self.pause_at = self.left - STEPS_AT_ONCE
        return due


class Machine:
    """Interpreter of one pickle that creates only inert values."""

    def __init__(
        self,
        name: str,
        source: Source,
        work: Work,
        storages: dict[str, Storage] | None,
        nested: Callable[[Work, Bytes], Any] | None,
    ):
        self.name, self.source, self.work, self.nested = name, source, work, nested
        self.storages = storages
        """Storages referred to so far; None if the format has none."""
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Generator[None, None, Any]:
        """Runs to the end of the pickle, with a pause from time to time. Returns its value."""
        take, operations, work = self.source.take, _OPERATIONS, self.work
        try:
            while (code := take(1)) != b".":
                work.left -= 1
                if work.left < work.pause_at and work.pause_is_due:
                    work.charge(0)
                    yield
                operation = operations.get(code)
                if operation is None:
                    raise Damaged(f"it has an unexpected operation {code[0]:#04x}")
                operation(self)
            work.charge(0)
            (result,) = self.stack
        except (IndexError, KeyError, ValueError) as error:
            if isinstance(error, InputError | UnicodeDecodeError):
                raise
            raise Damaged("its operations do not fit one another") from None
        return result

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise Damaged("its operations do not fit one another")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def named(self, module: str, name: str) -> Name:
        """Name of a module and an object, if files of generators may have it."""
        if len(module) + len(name) > MAX_NAME:
            raise Damaged("it has a name that is too long")
        full = f"{module}.{name}"
        if full in _MEANINGS or full in _VALUES or full in _STORAGES or full in _INERT:
            return Name(full)
        for start, what in _STRANGERS.items():
            if full.startswith(start):
                raise InputError(f"{self.name} is {what}")
        if _DOTTED.fullmatch(full) and (
            module.partition(".")[0] not in _KNOWN or _CLASSES.fullmatch(full) or _FUNCTIONS.fullmatch(full)
        ):
            return Name(full)
        raise InputError(
            f"{self.name} names {full[:200]}, which no generator needs and which could do harm: it was rejected, and "
            "nothing of it was executed."
        )

    def call(self, maker: Any, arguments: Any, is_class: bool = False) -> Any:
        """Value of a call in a pickle. is_class: whether the operation can call only classes."""
        if not isinstance(maker, Name) or type(arguments) is not tuple:
            raise Damaged("it calls something that is not a name")
        meaning = _MEANINGS.get(maker.name)
        if meaning is not None:
            return meaning(self, arguments)
        passive = maker.name in _VALUES or maker.name in _STORAGES or _FUNCTIONS.fullmatch(maker.name)
        if maker.name in _INERT or (not passive and (is_class or _LIKE_A_CLASS.fullmatch(maker.name))):
            return Object(maker.name, arguments)
        raise InputError(f"{self.name} calls {maker.name[:200]}, which may not be called: it was rejected.")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _sized(form: str) -> Callable[[Machine], int]:
    size = struct.calcsize(form)
    unpack = struct.Struct(form).unpack
    return lambda machine: unpack(machine.source.take(size))[0]


def _one(machine: Machine) -> int:
    return machine.source.take(1)[0]


_four, _eight = _sized("<I"), _sized("<Q")


def _push_text(size: Callable[[Machine], int], encoding: str = "utf-8") -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        count = size(machine)
        if count > MAX_TEXT:
            raise Damaged("it has a text that is too long, or breaks off")
        if count > BYTES_OF_A_STEP:
            machine.work.charge(count // BYTES_OF_A_STEP)
        raw = machine.source.take(count)
        machine.stack.append(_text(raw) if encoding == "utf-8" else raw.decode(encoding))

    return operation


def _push_bytes(size: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.source.skip(size(machine)))


def _push_number(size: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        count = size(machine)
        if count > MAX_NUMBER:
            raise Damaged("it has a number that is too long")
        machine.stack.append(int.from_bytes(machine.source.take(count), "little", signed=True))

    return operation


def _push(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: Callable[[], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind())


def _push_unpacked(form: str) -> Callable[[Machine], None]:
    read = _sized(form)
    return lambda machine: machine.stack.append(read(machine))


def _whole_number_line(machine: Machine) -> None:
    line = machine.source.line()[: MAX_NUMBER + 1].rstrip(b"L")
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
    elif re.fullmatch(rb"-?[0-9]{1,256}", line):
        machine.stack.append(int(line))
    else:
        raise Damaged("it has an invalid number")


def _string_line(machine: Machine) -> None:
    line = _text_line(machine)
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"" or b"\\" in line:
        raise Damaged("it has a text in an unknown form")
    machine.stack.append(line[1:-1].decode("latin-1"))


def _unicode_line(machine: Machine) -> None:
    machine.stack.append(_text_line(machine).decode("raw-unicode-escape"))


def _text_line(machine: Machine) -> bytes:
    line = machine.source.line()
    machine.work.charge(len(line) // BYTES_OF_A_STEP)
    return line


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return operation


def _since_mark(kind: Callable[[list[Any]], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind(machine.since_mark()))


def _top(machine: Machine, kind: type) -> Any:
    """Dict or list to be filled."""
    top = machine.stack[-1]
    if type(top) is Object:
        top.items = kind() if top.items is None else top.items
        top = top.items
    if type(top) is not kind:
        raise Damaged("its operations do not fit one another")
    return top


def _append(machine: Machine) -> None:
    value = machine.pop()
    _top(machine, list).append(value)


def _appends(machine: Machine) -> None:
    values = machine.since_mark()
    _top(machine, list).extend(values)


def _set_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise Damaged("its operations do not fit one another")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys are never looked up, and comparing nested ones could take forever.
        if type(key) is str or (type(key) is int and -MAX_KEY < key < MAX_KEY):
            target[key] = value
    return target


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(_top(machine, dict), [key, value])


def _set_more(machine: Machine) -> None:
    items = machine.since_mark()
    _set_items(_top(machine, dict), items)


def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _duplicate(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _remember(place: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.memo[place(machine)] = machine.stack[-1]

    return operation


def _recall(place: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        machine.stack.append(machine.memo[place(machine)])

    return operation


# The three most frequent operations are separate functions, for speed.
def _remember_shortly(machine: Machine) -> None:
    machine.memo[machine.source.take(1)[0]] = machine.stack[-1]


def _remember_next(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _recall_shortly(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.source.take(1)[0]])


def _line_number(machine: Machine) -> int:
    line = machine.source.line()
    if not re.fullmatch(rb"[0-9]{1,18}", line):
        raise Damaged("it has an invalid number")
    return int(line)


def _global(machine: Machine) -> None:
    module, name = _text(machine.source.line()), _text(machine.source.line())
    machine.stack.append(machine.named(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise Damaged("it has a name that is not a text")
    machine.stack.append(machine.named(module, name))


def _instance(machine: Machine) -> None:
    module, name = _text(machine.source.line()), _text(machine.source.line())
    machine.stack.append(machine.call(machine.named(module, name), tuple(machine.since_mark())))


def _object(machine: Machine) -> None:
    maker, *arguments = machine.since_mark()
    machine.stack.append(machine.call(maker, tuple(arguments)))


def _reduce(machine: Machine) -> None:
    arguments, maker = machine.pop(), machine.pop()
    machine.stack.append(machine.call(maker, arguments))


def _new(machine: Machine) -> None:
    arguments, maker = machine.pop(), machine.pop()
    machine.stack.append(machine.call(maker, arguments, is_class=True))


def _new_with_keywords(machine: Machine) -> None:
    keywords, arguments, maker = machine.pop(), machine.pop(), machine.pop()
    if type(keywords) is not dict or (keywords and type(maker) is Name and maker.name in _MEANINGS):
        raise Damaged("it creates an object in a way that no generator's file does")
    machine.stack.append(machine.call(maker, arguments, is_class=True))


def _build(machine: Machine) -> None:
    state = machine.pop()
    top = machine.stack[-1]
    if type(top) is Object:
        top.state = state
    elif type(top) not in (dict, list, StoredTensor):  # their attributes are not needed here
        raise Damaged("it gives a state to a value that cannot have one")


def _persistent(machine: Machine) -> None:
    identity = machine.pop()
    if machine.storages is None:
        raise Damaged("it refers to values that are not in it")
    if type(identity) is tuple and len(identity) == 4 and identity[0] == "module" and type(identity[1]) is Name:
        machine.stack.append(identity[1])  # a class of networks with its source code, as torch.save wrote before 1.6
        return
    if type(identity) is not tuple or not 5 <= len(identity) <= 6 or identity[0] != "storage":
        raise Damaged("it refers to something that is not a storage")
    _, kind, key, _, count, *view = identity
    dtype = _STORAGES.get(kind.name) if type(kind) is Name else None
    if dtype is None or type(key) is not str or not _is_count(count) or view not in ([], [None]):
        raise Damaged("it refers to values of an unknown type")
    storage = machine.storages.setdefault(key, Storage(dtype, count))
    if storage.dtype != dtype or storage.count != count:
        raise Damaged("it describes the same values twice, differently")
    machine.stack.append(storage)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


_OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": lambda machine: _check_protocol(_one(machine)),
    b"\x95": lambda machine: _check_frame(machine, _eight(machine)),
    b"(": _mark,
    b"0": _pop,
    b"1": lambda machine: machine.since_mark().clear(),
    b"2": _duplicate,
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"I": _whole_number_line,
    b"L": _whole_number_line,
    b"J": _push_unpacked("<i"),
    b"K": lambda machine: machine.stack.append(machine.source.take(1)[0]),
    b"M": _push_unpacked("<H"),
    b"\x8a": _push_number(_one),
    b"\x8b": _push_number(_four),
    b"F": lambda machine: machine.stack.append(float(machine.source.line()[:100])),
    b"G": _push_unpacked(">d"),
    b"S": _string_line,
    b"T": _push_text(_four, "latin-1"),
    b"U": _push_text(_one, "latin-1"),
    b"V": _unicode_line,
    b"X": _push_text(_four),
    b"\x8c": _push_text(_one),
    b"\x8d": _push_text(_eight),
    b"B": _push_bytes(_four),
    b"C": _push_bytes(_one),
    b"\x8e": _push_bytes(_eight),
    b"\x96": _push_bytes(_eight),
    b"]": _push_new(list),
    b"l": _since_mark(list),
    b"a": _append,
    b"e": _appends,
    b")": _push(()),
    b"t": _since_mark(tuple),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"}": _push_new(dict),
    b"d": _since_mark(lambda items: _set_items({}, items)),
    b"s": _set_item,
    b"u": _set_more,
    b"\x8f": _push_new(list),  # a set, whose membership is never tested here
    b"\x90": _appends,
    b"\x91": _since_mark(tuple),
    b"p": _remember(_line_number),
    b"q": _remember_shortly,
    b"r": _remember(_four),
    b"\x94": _remember_next,
    b"g": _recall(_line_number),
    b"h": _recall_shortly,
    b"j": _recall(_four),
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _instance,
    b"o": _object,
    b"R": _reduce,
    b"\x81": _new,
    b"\x92": _new_with_keywords,
    b"b": _build,
    b"Q": _persistent,
}
"""Operations of a pickle (PEP 307, PEP 3154, PEP 574). The missing ones refer to something outside of the file:
persistent names in text, registered extensions, out-of-band buffers."""


def _check_protocol(version: int) -> None:
    if version > 5:
        raise Damaged(f"it is of pickle protocol {version}, and the last is 5")


def _check_frame(machine: Machine, length: int) -> None:
    if length > machine.source.left:
        raise Damaged("it breaks off")


# Meanings of names.


def _dictionary(machine: Machine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict(), OrderedDict([[key, value], ...]) of Python 2, Counter({...}) or defaultdict(class)."""
    given = arguments[0] if arguments else None
    if type(given) is dict:
        return given
    pairs = given if type(given) is list else []
    machine.work.charge(len(pairs))
    items = [part for pair in pairs if type(pair) in (list, tuple) and len(pair) == 2 for part in pair]
    return _set_items({}, items)


def _tensor(machine: Machine, arguments: tuple[Any, ...]) -> StoredTensor:
    """_rebuild_tensor_v2(storage, offset, size, stride, ...)"""
    storage, offset, shape, strides = arguments[:4]
    if (
        type(storage) is not Storage
        or type(shape) is not tuple
        or type(strides) is not tuple
        or not len(shape) == len(strides) <= MAX_DIMENSIONS
        or not all(map(_is_count, (offset, *shape, *strides)))
        or offset > storage.count
        or prod(shape) > storage.count
        or offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) >= max(storage.count, 1)
    ):
        raise Damaged("it has a tensor that reaches beyond its values")
    return StoredTensor(storage, offset, shape, strides)


def _retyped_tensor(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    """_rebuild_from_type_v2(function, class, arguments, state): a tensor with attributes."""
    function, _, inner = arguments[:3]
    if type(function) is not Name or _MEANINGS.get(function.name) not in (_tensor, _first):
        raise Damaged("it has a tensor that is created in an unknown way")
    return machine.call(function, inner)


def _first(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return arguments[0]


def _first_or_nothing(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else []


def _nested_storage(machine: Machine, arguments: tuple[Any, ...]) -> Storage:
    (row,) = arguments
    storage = machine.nested(machine.work, row) if machine.nested and type(row) is Bytes else None
    if type(storage) is not Storage or storage.start is None:
        raise Damaged("it has a tensor without values")
    return storage


def _as_object(name: str) -> Callable[[Machine, tuple[Any, ...]], Object]:
    return lambda machine, arguments: Object(name, arguments)


PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
"""Maker of NVIDIA's networks: its argument is a dict with class_name, state, and source code that a reader would
run."""

_MEANINGS: Mapping[str, Callable[[Machine, tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "collections.Counter": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    PERSISTENT: _as_object(PERSISTENT),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _retyped_tensor,
    "torch.storage._load_from_bytes": _nested_storage,
    "torch.Size": _first,
    "builtins.set": _first_or_nothing,
    "__builtin__.set": _first_or_nothing,
    "torch.device": _as_object("torch.device"),
    "_codecs.encode": _as_object("_codecs.encode"),
    "numpy.dtype": _as_object("numpy.dtype"),
    "numpy.ndarray": _as_object("numpy.ndarray"),
    "numpy.core.multiarray.scalar": _as_object("numpy.scalar"),
    "numpy._core.multiarray.scalar": _as_object("numpy.scalar"),
    "numpy.core.multiarray._reconstruct": _as_object("numpy.ndarray"),
    "numpy._core.multiarray._reconstruct": _as_object("numpy.ndarray"),
}
"""Names that may be called, and their meaning as data."""

_STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.storage.UntypedStorage": torch.uint8,
}

_VALUES = {
    f"torch.{name}"
    for name in (
        *("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"),
        *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("complex64", "complex128", "uint16", "uint32", "uint64", "strided", "contiguous_format", "channels_last"),
    )
}
"""Names that may occur, but not be called."""

_INERT = {
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in (
            *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range"),
            *("slice", "str", "tuple"),
        )
    ),
    *(f"__builtin__.{name}" for name in ("long", "unicode", "xrange")),
    "argparse.Namespace",
    "collections.deque",
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "fractions.Fraction",
    "functools.partial",
    *(
        f"{module}.{kind}Path"
        for module in ("pathlib", "pathlib._local")
        for kind in ("", "Pure", "Posix", "Windows", "PurePosix", "PureWindows")
    ),
    "random.Random",
    "time.struct_time",
    "types.SimpleNamespace",
    "uuid.SafeUUID",
    "uuid.UUID",
    *(f"numpy.{name}" for name in ("bool_", "float16", "float32", "float64", "int32", "int64", "uint8", "uint32")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
    *(f"numpy.random._pickle.__{name}_ctor" for name in ("bit_generator", "generator", "randomstate")),
    *(f"numpy.random.bit_generator.__pyx_unpickle_{name}" for name in ("SeedSequence", "SeedlessSeedSequence")),
    "numpy.random.__RandomState_ctor",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_tensor_v3",
    "torch.serialization._get_layout",
}
"""Names of other objects in checkpoints, which become inert objects with their arguments."""

_KNOWN = sys.stdlib_module_names | {
    *("__builtin__", "cPickle", "commands", "copy_reg", "distutils", "exceptions", "imp", "popen2", "torch", "numpy"),
    "gan_core",
}
"""Packages whose names are not accepted as classes of other programs."""

_DOTTED = re.compile(r"\w+(\.\w+)+")

_LIKE_A_CLASS = re.compile(r"[\w.]+\._*[A-Z]\w*")

_CLASSES = re.compile(r"(torch|numpy)(\.\w+)*\._*[A-Z]\w*")
"""Classes such as torch.nn.modules.linear.Linear and torch.optim.adam.Adam."""

_FUNCTIONS = re.compile(r"torch\.nn\.functional\.\w+")
"""Functions that may occur, but not be called: the activations of layers."""

_STRANGERS = {
    "dnnlib.tflib.": "a StyleGAN file of the TensorFlow era, which holds programs instead of weights: convert it with "
    "the legacy.py of NVIDIA's stylegan3 on a machine of your own, and import what that writes.",
    "tfutil.": "a Progressive GAN file of the TensorFlow era, which holds programs instead of weights. No reader for "
    "it is left.",
    "fastai.": "a learner of fastai, with all its program in it: save the generator's state_dict() alone.",
}
