"""Pickles as data: what a file says, without doing any of it.

A pickle is a program. Python's own reader runs it: it imports what the program names and calls what it is told to call.
This one only writes down what was named and with what arguments. It has an exact list of the names that the files of
generators need, and what each means as data; every other name is refused, so that a person hears what a file was up
to. Nothing is imported, called or evaluated, and every size is held against the file before memory is taken for it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from typing import Any

import torch

from ..errors import InputError

MOST_STEPS = 1_000_000
"""Operations of one file. NVIDIA's pickles have some 50,000."""

LONGEST_TEXT = 1 << 24
"""Bytes of one string; a module's source code has some 100,000."""

READ_AT_ONCE = 1 << 12
"""Bytes read ahead: between the operations lie numbers, which are passed over."""

LONGEST_LINE = 1 << 16
"""Bytes of one line, in the oldest protocol."""

LONGEST_NUMBER = 256
"""Bytes of one whole number."""

DEEPEST = 8
"""Dimensions of a tensor."""


@dataclass(frozen=True, eq=False)
class Bytes:
    """A row of bytes that lies in the file and has not been read."""

    start: int
    length: int


@dataclass(frozen=True, eq=False)
class Name:
    """Something that a pickle names, such as a class: never looked up."""

    name: str


@dataclass(eq=False)
class Object:
    """Something that a pickle would have made: what by, of what, and the state it was given."""

    maker: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(eq=False)
class Storage:
    """Numbers in the file that tensors are parts of."""

    dtype: torch.dtype
    count: int
    start: int | None = None
    """Where they begin in the file, once that is known."""

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that lies in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.storage.dtype.itemsize


class Damaged(Exception):
    """A pickle that breaks its own rules."""


class Source:
    """A part of a file, read from its start to its end and never beyond."""

    def __init__(self, file: BufferedReader, start: int, end: int):
        self._file, self._end = file, end
        self._chunk, self._at, self._chunk_start = b"", 0, start

    def begins_with(self, expected: bytes) -> bool:
        """Whether these bytes come next, which are then passed over."""
        if len(expected) > self.left or self.take(len(expected)) != expected:
            self._at -= min(len(expected), self._at)
            return False
        return True

    @property
    def position(self) -> int:
        """Where in the file the next byte stands."""
        return self._chunk_start + self._at

    @property
    def left(self) -> int:
        """How many bytes there are to come."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many."""
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
        """Passes over bytes without reading them."""
        start = self.position
        if count > self.left:
            raise Damaged("it breaks off")
        if self._at + count <= len(self._chunk):
            self._at += count
        else:
            self._chunk, self._at, self._chunk_start = b"", 0, start + count
        return Bytes(start, count)

    def line(self) -> bytes:
        """Up to the next line break, without it."""
        taken = bytearray()
        while (byte := self.take(1)) != b"\n":
            taken += byte
            if len(taken) > LONGEST_LINE:
                raise Damaged("it has a line beyond all bounds")
        return bytes(taken)

    def _fill(self, count: int) -> None:
        self._chunk_start, self._at = self.position, 0
        self._file.seek(self._chunk_start)
        self._chunk = self._file.read(min(max(count, READ_AT_ONCE), self.left))


@dataclass
class Steps:
    """How many operations a file may still take."""

    left: int = MOST_STEPS


class Machine:
    """Follows one pickle's operations, and makes inert values of them."""

    def __init__(
        self,
        name: str,
        source: Source,
        steps: Steps,
        storages: dict[str, Storage] | None,
        nested: Callable[[Machine, Bytes], Any] | None,
    ):
        self.name, self.source, self.steps, self.nested = name, source, steps, nested
        self.storages = storages
        """The numbers referred to so far; None where the wrapping has no place for any."""
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Everything up to the end of the pickle; returns what it stands for."""
        take, operations, steps = self.source.take, _OPERATIONS, self.steps
        try:
            while (code := take(1)) != b".":
                steps.left -= 1
                if steps.left < 0:
                    raise InputError(
                        f"{self.name} is not to be trusted: it has far more operations than any generator's file."
                    )
                operation = operations.get(code)
                if operation is None:
                    raise Damaged(f"it has the operation {code[0]:#04x} where none such belongs")
                operation(self)
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
        """A name, if it is one of those that generators' files need."""
        full = f"{module}.{name}"
        if full in _MEANINGS or full in _VALUES or full in _STORAGES or _CLASSES.fullmatch(full):
            return Name(full)
        for start, what in _STRANGERS.items():
            if full.startswith(start):
                raise InputError(f"{self.name} is {what}")
        raise InputError(
            f"{self.name} names {full[:200]}, which no generator needs and which could do harm: it was refused, and "
            "nothing of it was run."
        )

    def call(self, maker: Any, arguments: Any) -> Any:
        if not isinstance(maker, Name) or type(arguments) is not tuple:
            raise Damaged("it calls what is no name")
        meaning = _MEANINGS.get(maker.name)
        if meaning is not None:
            return meaning(self, arguments)
        if _CLASSES.fullmatch(maker.name):
            return Object(maker.name, arguments)
        raise InputError(f"{self.name} calls {maker.name}, which is not to be called: it was refused.")


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
        if count > LONGEST_TEXT:
            raise Damaged("it has a text beyond all bounds, or breaks off")
        raw = machine.source.take(count)
        machine.stack.append(_text(raw) if encoding == "utf-8" else raw.decode(encoding))

    return operation


def _push_bytes(size: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.source.skip(size(machine)))


def _push_number(size: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        count = size(machine)
        if count > LONGEST_NUMBER:
            raise Damaged("it has a number beyond all bounds")
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
    line = machine.source.line()[: LONGEST_NUMBER + 1].rstrip(b"L")
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
    elif re.fullmatch(rb"-?[0-9]{1,256}", line):
        machine.stack.append(int(line))
    else:
        raise Damaged("it has a number that is none")


def _string_line(machine: Machine) -> None:
    line = machine.source.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"" or b"\\" in line:
        raise Damaged("it has a text in no known form")
    machine.stack.append(line[1:-1].decode("latin-1"))


def _unicode_line(machine: Machine) -> None:
    machine.stack.append(machine.source.line().decode("raw-unicode-escape"))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return operation


def _since_mark(kind: Callable[[list[Any]], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(kind(machine.since_mark()))


def _top(machine: Machine, kind: type) -> Any:
    top = machine.stack[-1]
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
        # Nothing here is looked up by other keys, and to compare nested ones could take for ever.
        if type(key) in (str, int):
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


# The three that are met most are spelled out, for speed.
def _remember_shortly(machine: Machine) -> None:
    machine.memo[machine.source.take(1)[0]] = machine.stack[-1]


def _remember_next(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _recall_shortly(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.source.take(1)[0]])


def _line_number(machine: Machine) -> int:
    line = machine.source.line()
    if not re.fullmatch(rb"[0-9]{1,18}", line):
        raise Damaged("it has a number that is none")
    return int(line)


def _global(machine: Machine) -> None:
    module, name = _text(machine.source.line()), _text(machine.source.line())
    machine.stack.append(machine.named(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise Damaged("it has a name that is no text")
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


def _new_with_keywords(machine: Machine) -> None:
    keywords, arguments, maker = machine.pop(), machine.pop(), machine.pop()
    if keywords != {}:
        raise Damaged("it makes an object in a way that no generator's file does")
    machine.stack.append(machine.call(maker, arguments))


def _build(machine: Machine) -> None:
    state = machine.pop()
    top = machine.stack[-1]
    if type(top) is Object:
        top.state = state
    elif type(top) is not dict:  # an OrderedDict's attributes are of no use here
        raise Damaged("it gives a state to what can have none")


def _persistent(machine: Machine) -> None:
    identity = machine.pop()
    if machine.storages is None:
        raise Damaged("it refers to numbers that are not in it")
    if type(identity) is not tuple or not 5 <= len(identity) <= 6 or identity[0] != "storage":
        raise Damaged("it refers to what is no storage of numbers")
    _, kind, key, _, count, *view = identity
    dtype = _STORAGES.get(kind.name) if type(kind) is Name else None
    if dtype is None or type(key) is not str or not _is_count(count) or view not in ([], [None]):
        raise Damaged("it refers to numbers of a kind that is unknown here")
    storage = machine.storages.setdefault(key, Storage(dtype, count))
    if storage.dtype != dtype or storage.count != count:
        raise Damaged("it says two things of the same numbers")
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
    b"\x8f": _push_new(list),  # a set: nothing here asks whether something is in it
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
    b"\x81": _reduce,  # NEWOBJ: a class and its arguments, as for REDUCE
    b"\x92": _new_with_keywords,
    b"b": _build,
    b"Q": _persistent,
}
"""What each operation of a pickle does here (PEP 307, PEP 3154, PEP 574). Those missing refer to what lies outside of a
file: persistent names in text, registered extensions, buffers passed beside it."""


def _check_protocol(version: int) -> None:
    if version > 5:
        raise Damaged(f"it is of pickle protocol {version}, and the last is 5")


def _check_frame(machine: Machine, length: int) -> None:
    if length > machine.source.left:
        raise Damaged("it breaks off")


# What the names mean.


def _dictionary(machine: Machine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """OrderedDict(), or OrderedDict([[key, value], ...]) of Python 2."""
    pairs = arguments[0] if arguments and type(arguments[0]) is list else []
    items = [part for pair in pairs if type(pair) in (list, tuple) and len(pair) == 2 for part in pair]
    return _set_items({}, items)


def _tensor(machine: Machine, arguments: tuple[Any, ...]) -> StoredTensor:
    """_rebuild_tensor_v2(storage, offset, size, stride, ...)"""
    storage, offset, shape, strides = arguments[:4]
    numbers = (offset, *shape, *strides) if type(shape) is tuple and type(strides) is tuple else (None,)
    if (
        type(storage) is not Storage
        or not all(map(_is_count, numbers))
        or not len(shape) == len(strides) <= DEEPEST
        or offset > storage.count
        or prod(shape) > storage.count
        or offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) >= max(storage.count, 1)
    ):
        raise Damaged("it has a tensor that reaches beyond its own numbers")
    return StoredTensor(storage, offset, shape, strides)


def _first(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return arguments[0]


def _first_or_nothing(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else []


def _nested_storage(machine: Machine, arguments: tuple[Any, ...]) -> Storage:
    (row,) = arguments
    storage = machine.nested(machine, row) if machine.nested and type(row) is Bytes else None
    if type(storage) is not Storage or storage.start is None:
        raise Damaged("it has a tensor without numbers")
    return storage


def _as_object(name: str) -> Callable[[Machine, tuple[Any, ...]], Object]:
    return lambda machine, arguments: Object(name, arguments)


PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
"""How NVIDIA's networks say what they are: by a dict with class_name, state, and source code for the reader to run."""

_MEANINGS: Mapping[str, Callable[[Machine, tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    PERSISTENT: _as_object(PERSISTENT),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
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
"""What may be called, and the data that it stands for."""

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
}

_VALUES = {f"torch.{name}" for name in ("float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8", "bool")}
"""What may be named, but not called."""

_CLASSES = re.compile(
    r"(training\.networks\w*|pg_modules\.\w+|R3GAN\.\w+|BaselineGAN\.\w+|torch\.nn\.modules\.\w+)\.\w+"
)
"""Classes of networks: made into objects that hold what they were given, and can do nothing."""

_STRANGERS = {
    "dnnlib.tflib.": "a StyleGAN file of the TensorFlow era, which holds programs instead of weights: convert it with "
    "the legacy.py of NVIDIA's stylegan3 on a machine of your own, and import what that writes.",
    "tfutil.": "a Progressive GAN file of the TensorFlow era, which holds programs instead of weights. No reader for "
    "it is left.",
    "pytorch_lightning.": "a checkpoint of PyTorch Lightning with objects of its own in it: save the generator's "
    "state_dict() alone.",
    "fastai.": "a learner of fastai, with all its program in it: save the generator's state_dict() alone.",
}
