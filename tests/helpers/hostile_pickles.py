"""Pickles that are small, break no rule, and would cost a careless reader hours or all memory.

Each is made for some number of repetitions, so that a test can see how the cost grows with it. What reads them is
charged for every item that it touches (gan_core.foreign.pickles.Work), and so refuses them or comes to an end.
"""

import io
import struct
import zipfile
from collections.abc import Callable

HEAD = b"\x80\x04"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, what: str) -> bytes:
    return f"c{module}\n{what}\n".encode()


def remember(place: int) -> bytes:
    return b"r" + struct.pack("<I", place)


def recall(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


def items(*pairs: tuple[str, bytes]) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(key) + value for key, value in pairs) + b"u"


NETWORK = name("training.networks", "Generator") + b")\x81"
"""A module that is still to be given its state."""


def network(*state: tuple[str, bytes]) -> bytes:
    return NETWORK + items(*state) + b"b"


STORAGE = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x01tQ"
TENSOR = (
    name("torch._utils", "_rebuild_tensor_v2") + b"(" + STORAGE + b"K\x00K\x01\x85K\x01\x85\x89"
    + name("collections", "OrderedDict") + b")RtR"
)  # fmt: skip
"""One number, of an archive that has it."""


def archive(pickle: bytes) -> bytes:
    """As torch.save wraps it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle)
        file.writestr("archive/data/0", b"\x00" * 4)
    return buffer.getvalue()


def _pairs_again_and_again(count: int) -> bytes:
    pairs = b"](" + b"".join(text(str(i)) + b"N\x86" for i in range(count)) + b"e" + remember(1)
    made = recall(2) + recall(1) + b"\x85R"
    return HEAD + b"](" + name("collections", "OrderedDict") + remember(2) + pairs + made * count + b"e."


NAMES = ("G_ema", "g_ema", "params_ema", "generator_ema", "ema", "GAN", "G", "g", "netG", "generator", "gen", "params")
NAMES = (*NAMES, "state_dict", "model", "model_state_dict", "netG_state_dict", "nets", "shadow", "module")


def _itself_under_every_name(count: int) -> bytes:
    tensors = b"".join(text(f"layer.{i}") + b"h\x01" for i in range(count))
    itself = b"".join(text(key) + b"h\x00" for key in NAMES)
    return archive(HEAD + TENSOR + b"q\x010}q\x00(" + tensors + itself + b"u.")


def _dicts_that_name_each_other(count: int) -> bytes:
    made = b"".join(b"}" + remember(i) + b"0" for i in range(count))
    filled = (
        recall(i) + b"(" + b"".join(text(key) + recall((i * 7 + j) % count) for j, key in enumerate(NAMES)) + b"u0"
        for i in range(count)
    )
    return HEAD + made + b"".join(filled) + recall(0) + b"."


def _settings_of_every_module(count: int) -> bytes:
    """Each module holds one dict of many settings."""
    settings = items(*((f"setting{i}", b"K\x01") for i in range(count))) + remember(1) + b"0"
    child = network(("_init_kwargs", recall(1)))
    modules = items(*((str(i), child) for i in range(count)))
    return HEAD + settings + network(("_modules", modules)) + b"."


def _a_module_of_modules(count: int) -> bytes:
    """Many networks, each of which holds the same many modules."""
    modules = items(*((str(i), network()) for i in range(count))) + remember(1) + b"0"
    return HEAD + modules + b"](" + network(("_modules", recall(1))) * count + b"e."


def _modules_that_double(count: int) -> bytes:
    double = b"".join(
        remember(1) + b"0" + network(("_modules", items(("a", recall(1)), ("b", recall(1))))) for _ in range(30)
    )
    return HEAD + network() + double + b"."


def _a_name_that_doubles(count: int) -> bytes:
    """A class_name that is a list of lists: a text of it would have 2^count parts."""
    lists = b"]" + b"".join(remember(1) + b"0](" + recall(1) * 2 + b"e" for _ in range(min(count, 60)))
    meta = items(("class_name", lists), ("state", items(("_modules", b"}"))))
    return HEAD + name("torch_utils.persistence", "_reconstruct_persistent_obj") + meta + b"\x85R."


def _tuples_that_double(count: int) -> bytes:
    """Under each name that is looked at, as a key, and as what a tensor is made of."""
    tuples = b")" + b"2\x86" * count + remember(1)
    return HEAD + tuples + b"0" + items(("G", recall(1)), ("ema", recall(1))) + recall(1) + b"Ns" + recall(1) + b"0."


def _lists_that_double(count: int) -> bytes:
    return HEAD + b"]" + b"".join(remember(1) + b"0](" + recall(1) * 2 + b"e" for _ in range(count)) + b"."


def _long_shapes(count: int) -> bytes:
    """One shape of many sides, for many tensors that are none."""
    shape = b"(" + b"K\x01" * count + b"t" + remember(1) + b"0"
    made = recall(2) + b"(" + recall(3) + b"K\x00" + recall(1) * 2 + b"\x89NtR0"
    begin = name("torch._utils", "_rebuild_tensor_v2") + remember(2) + b"0" + STORAGE + remember(3) + b"0"
    return archive(HEAD + shape + begin + made * count + b"N.")


def _numbers_that_collide(count: int, filled: bytes = b"u") -> bytes:
    """Keys that Python's dict holds to be one: multiples of 2^61 - 1 have the same hash."""
    keys = b"".join(number((2**61 - 1) * (i + 1)) + b"N" for i in range(count))
    return HEAD + b"}(" + keys + filled + b"."


def _facts_that_collide(count: int) -> bytes:
    """The same as a number that modules hold."""
    modules = (network(("conv_clamp", number((2**61 - 1) * (i + 1)))) for i in range(count))
    return HEAD + network(("_modules", items(*((str(i), each) for i, each in enumerate(modules))))) + b"."


def _long_names(count: int) -> bytes:
    """Modules within modules, each with the same very long name."""
    long = b"X" + struct.pack("<I", 64 * count) + b"a" * 64 * count + remember(1) + b"0"
    leaf = NETWORK + b"}(" + text("_parameters") + b"}(" + recall(1) + recall(2) + b"uub"
    modules = items(*((str(i), leaf) for i in range(count)))
    return archive(HEAD + TENSOR + remember(2) + b"0" + long + network(("_modules", modules)) + b".")


def _long_class_names(count: int) -> bytes:
    long = b"X" + struct.pack("<I", 64 * count) + b"a" * 64 * count + remember(1) + b"0"
    named = text("training.networks") + recall(1) + b"\x93"
    return HEAD + long + b"](" + named * count + b"e."


def _one_tensor_nested_again(count: int) -> bytes:
    """A tensor's numbers, a pickle in the pickle, that is read anew for each tensor."""
    numbers = b"N" * 50 + b"."
    row = b"B" + struct.pack("<I", len(numbers)) + numbers + b"\x85" + remember(1) + b"0"
    made = name("torch.storage", "_load_from_bytes") + recall(1) + b"R0"
    return HEAD + row + made * count + b"N."


def _lists_of_tensors(count: int) -> bytes:
    """Many lists that may be the averages of many state dicts."""
    tensors = b"](" + b"h\x01" * 30 + b"e"
    weights = items(*((f"w{i}", b"h\x01") for i in range(30)))
    lists = b"".join(text(f"ema{i}") + tensors for i in range(count))
    dicts = b"".join(text(f"g{i}") + weights for i in range(count))
    return archive(HEAD + TENSOR + b"q\x010}(" + lists + dicts + b"u.")


def _names_in_levels(count: int) -> bytes:
    """A state dict whose names begin alike in every way there is."""
    names = (".".join(["module"] * 100 + [str(i), "a", "b"])[-480:] for i in range(count))
    return archive(HEAD + TENSOR + b"q\x010}(" + b"".join(text(each) + b"h\x01" for each in names) + b"u.")


def _parts_without_end(count: int) -> bytes:
    """An archive of many parts that are all the same, and its list of them says much besides of each."""
    extra = struct.pack("<2H", 9, 0) * 500
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, len(extra), 0, 0, 0, 0, 0)
    directory = (entry + b"a" + extra) * count
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), 31, 0)
    return b"PK\x03\x04" + b"\x00" * 27 + directory + end


def _builds(count: int) -> bytes:
    state = items(*((f"key{i}", b"N") for i in range(count))) + remember(1) + b"0"
    return HEAD + state + network() + (recall(1) + b"b") * count + b"."


def _sets(count: int) -> bytes:
    members = b"](" + b"K\x01" * count + b"e" + remember(1) + b"0"
    made = name("builtins", "set") + recall(1) + b"\x85R0"
    frozen = b"(" + recall(1) * 3 + b"\x910"
    return HEAD + members + (made + b"\x8f(" + recall(1) + b"\x900" + frozen) * count + b"N."


def _long_lines(count: int) -> bytes:
    return b"(" + (b"V" + b"a" * 60_000 + b"\n") * count + b"l."


HOSTILE: dict[str, Callable[[int], bytes]] = {
    each.__name__.strip("_").replace("_", " "): each
    for each in (
        _pairs_again_and_again,
        _itself_under_every_name,
        _dicts_that_name_each_other,
        _settings_of_every_module,
        _a_module_of_modules,
        _modules_that_double,
        _a_name_that_doubles,
        _tuples_that_double,
        _lists_that_double,
        _long_shapes,
        _numbers_that_collide,
        _facts_that_collide,
        _long_names,
        _long_class_names,
        _one_tensor_nested_again,
        _lists_of_tensors,
        _names_in_levels,
        _parts_without_end,
        _builds,
        _sets,
        _long_lines,
    )
}
"""Each by what it is: how it is made for so many repetitions."""
