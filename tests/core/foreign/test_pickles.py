"""Pickles are read as data: what is in them is found, and nothing in them is run, whatever they are made of."""

import io
import json
import pickle
import pickletools
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_files import nvidia_pickle, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan_core import InputError
from gan_core.foreign import pickles, torch_files
from gan_core.foreign import state_dicts as foreign

ROOT = Path(__file__).parents[3]

TENSORS = {
    "mapping.fc0.weight": torch.arange(6.0).reshape(2, 3),
    "mapping.w_avg": torch.tensor([0.5, -1.5]),
    "synthesis.b4.const": torch.linspace(-1, 1, 48).reshape(3, 4, 4),
}


def state_dicts(tmp_path: Path, data: bytes, name: str = "file.pkl") -> list[dict[str, torch.Tensor]]:
    """Everything in a file that may be a generator's state dict, read."""
    path = tmp_path / name
    path.write_bytes(data)
    with torch_files.opened(path) as file:
        return [
            {key: file.tensor(stored) for key, stored in found.tensors.items()} for found in foreign.candidates(file)
        ]


def refusal(tmp_path: Path, data: bytes) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(InputError) as caught:
        state_dicts(tmp_path, data)
    assert (
        str(caught.value).startswith("file.pkl ") and str(caught.value).endswith(".") and len(str(caught.value)) < 400
    )
    return str(caught.value)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one
    )


# What is in a file is found.


def test_the_averaged_generator_of_an_nvidia_pickle_comes_first(tmp_path: Path) -> None:
    first, second, *_ = state_dicts(tmp_path, nvidia_pickle(TENSORS))
    assert equal(first, TENSORS)
    assert torch.equal(second["mapping.w_avg"], TENSORS["mapping.w_avg"] + 1)


def test_attributes_of_the_modules_are_told(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(nvidia_pickle(TENSORS, conv_clamp=256, activation="lrelu"))
    with torch_files.opened(path) as file:
        found = next(foreign.candidates(file))
    assert found.attributes["conv_clamp"] == {256} and found.attributes["activation"] == {"lrelu"}
    assert found.kind == "a pickled network of the class Generator"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]
)
def test_a_file_of_torch_save_is_read_as_torch_reads_it(tmp_path: Path, zipped: bool, dtype: torch.dtype) -> None:
    base = torch.arange(24).to(dtype)
    value = OrderedDict(
        whole=base,
        turned=base.reshape(4, 6).T,
        part=base[5:9],
        parameter=torch.nn.Parameter(torch.ones(3)),
        scalar=torch.tensor(3).to(dtype),
        empty=torch.zeros(0, 4, dtype=dtype),
    )
    (found,) = state_dicts(tmp_path, saved(value, zipped))
    assert equal(found, torch.load(io.BytesIO(saved(value, zipped)), weights_only=True))


def test_tensors_that_share_numbers_become_independent(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    (found,) = state_dicts(tmp_path, saved({"a": base, "b": base, "c": base[:3]}))
    found["a"].zero_()
    assert torch.equal(found["b"], base) and torch.equal(found["c"], base[:3])


def test_the_average_in_a_checkpoint_is_preferred(tmp_path: Path) -> None:
    checkpoint = {
        "epoch": 3,
        "g": {"module.a.weight": torch.zeros(2)},
        "opt": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "betas": (0.5, 0.9)}]},
        "g_ema": {"module.a.weight": torch.ones(2)},
    }
    found = state_dicts(tmp_path, saved(checkpoint))
    assert equal(found[0], {"a.weight": torch.ones(2)})


def test_averages_in_a_bare_list_take_the_names_of_the_weights(tmp_path: Path) -> None:
    weights = OrderedDict(
        {"a.weight": torch.zeros(2), "a.running_mean": torch.full((2,), 7.0), "b.bias": torch.zeros(1)}
    )
    checkpoint = {"g": weights, "d": {}, "g_ema": [torch.ones(2), torch.full((1,), 2.0)]}
    found = state_dicts(tmp_path, saved(checkpoint))
    expected = {"a.weight": torch.ones(2), "a.running_mean": torch.full((2,), 7.0), "b.bias": torch.full((1,), 2.0)}
    assert equal(found[0], expected)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_understood(tmp_path: Path, protocol: int) -> None:
    value = {"text": "ä€😀", "numbers": [0, -1, 255, 65535, 2**31, -(2**70), 1.5], "none": None, "yes": True,
             "pair": (1, (2, 3, 4, 5)), "bytes": b"abc" * 100}  # fmt: skip
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with torch_files.opened(path) as file:
        root = file.root
    raw = root.pop("bytes")
    if type(raw) is pickles.Bytes:
        assert path.read_bytes()[raw.start : raw.start + raw.length] == value["bytes"]
    assert root == {key: item for key, item in value.items() if key != "bytes"}


# Nothing in a file is run.


def zipped(data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A pickle as torch.save wraps it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3")
    return buffer.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module: str, what: str) -> bytes:
    return f"c{module}\n{what}\n".encode()


def nested(payload: bytes) -> bytes:
    """A tensor's numbers, as a pickle in the pickle."""
    return name("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(payload)) + payload + b"\x85R"


COMMAND = "touch ran"
SYSTEM = name("os", "system") + text(COMMAND) + b"\x85R"
HEAD = b"\x80\x04"
META = b"}(" + text("type") + text("class") + text("module_src") + text("open('ran', 'w')") + text("class_name")

RUNNING = {
    "REDUCE": HEAD + SYSTEM + b".",
    "REDUCE in protocol 0": b"cos\nsystem\n(S'touch ran'\ntR.",
    "STACK_GLOBAL": HEAD + text("os") + text("system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "a dotted name": HEAD + text("torch") + text("os.system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "INST": b"(S'touch ran'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch ran'\no.",
    "NEWOBJ": HEAD + name("os", "system") + text(COMMAND) + b"\x85\x81.",
    "NEWOBJ_EX": HEAD + name("os", "system") + text(COMMAND) + b"\x85}\x92.",
    "eval": HEAD + name("builtins", "eval") + text("open('ran', 'w')") + b"\x85R.",
    "exec of Python 2": HEAD + name("__builtin__", "eval") + text("open('ran', 'w')") + b"\x85R.",
    "getattr": HEAD + name("builtins", "getattr") + name("os", "x") + text("system") + b"\x86R.",
    "import": HEAD + name("builtins", "__import__") + text("os") + b"\x85R.",
    "subprocess": HEAD + name("subprocess", "Popen") + text(COMMAND) + b"\x85R.",
    "nested in a storage": HEAD + nested(HEAD + SYSTEM + b".") + b".",
    "nested in a storage, as torch.save": HEAD + nested(zipped(HEAD + SYSTEM + b".")) + b".",
    "torch.load itself": HEAD + name("torch", "load") + text("x") + b"\x85R.",
    "numpy's reconstruct": HEAD + name("numpy.core.multiarray", "_reconstruct") + name("os", "system")
    + b"(K\x00tC\x01b\x87R.",
    "a storage named os.system": zipped(
        HEAD + b"(" + text("storage") + name("os", "system") + text("0") + text("cpu") + b"K\x01tQ."
    ),
    "in a zip archive": zipped(HEAD + SYSTEM + b"."),
    "copyreg": HEAD + name("copyreg", "_reconstructor") + name("os", "x") + b"\x85R.",
    "a module of the project": HEAD + name("gan_core.cli", "main") + b")R.",
    "a class that torch has": HEAD + name("torch.nn.modules._functions", "__builtins__.eval") + b")R.",
    "functools": HEAD + name("functools", "partial") + name("os", "system") + b"\x85R.",
}  # fmt: skip
"""Pickles that run a command if they are loaded: each makes a file called "ran"."""

INERT = {
    "module_src": HEAD + name("torch_utils.persistence", "_reconstruct_persistent_obj") + META
    + text("Generator") + text("state") + b"}u\x85R.",
    "BUILD with __setstate__": HEAD + name("training.networks", "Generator") + b")\x81}("
    + text("__setstate__") + text("x") + text("__class__") + text("y") + text("__dict__") + b"}ub.",
    "a class given arguments": HEAD + name("torch.nn.modules.linear", "Linear") + b"(K\x01K\x02tR.",
}  # fmt: skip
"""Pickles whose words are understood as data."""


DAMAGED = ("nested in a storage, as torch.save", "a class that torch has")
"""Those that break a rule before they come to a name."""


@pytest.mark.parametrize("kind", RUNNING)
def test_what_would_run_is_refused_by_name(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = refusal(tmp_path, RUNNING[kind])
    assert not (tmp_path / "ran").exists()
    assert tells_the_name(sentence) or kind in DAMAGED, sentence


def tells_the_name(sentence: str) -> bool:
    modules = ("os", "torch", "builtins", "__builtin__", "subprocess", "copyreg", "gan_core", "functools")
    return any(f" names {module}." in sentence for module in modules)


@pytest.mark.parametrize("data", INERT.values(), ids=INERT.keys())
def test_what_is_only_described_stays_a_description(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(found == {} for found in state_dicts(tmp_path, data))
    assert not (tmp_path / "ran").exists()


def test_these_pickles_do_run_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    for kind in ("REDUCE", "REDUCE in protocol 0", "STACK_GLOBAL", "INST", "eval"):
        pickle.loads(RUNNING[kind])  # noqa: S301
        assert (tmp_path / "ran").exists(), kind
        (tmp_path / "ran").unlink()


WATCHED = """
    import json, resource, sys
    from pathlib import Path
    from gan_core import InputError
    from gan_core.foreign import state_dicts as foreign, torch_files

    events, watching = [], False

    def watch(event, arguments):
        if watching and event.split(".")[0] in ("os", "subprocess", "exec", "compile", "import", "pickle", "socket",
                                                "ctypes", "code", "builtins", "marshal"):
            events.append(f"{event} {arguments}"[:200])

    def read(path):
        try:
            with torch_files.opened(path) as file:
                for found in foreign.candidates(file):
                    for stored in found.tensors.values():
                        file.tensor(stored)
        except InputError as error:
            return str(error)
        return "read"

    sys.addaudithook(watch)
    folder = Path(sys.argv[1])
    paths = sorted(folder.iterdir())
    read(paths[0])
    before, watching = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, True
    said = {path.name: read(path) for path in paths}
    watching = False
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"events": events, "said": said, "kib": kib}))
"""
"""Reads every file in a folder, and writes down what Python's audit hooks tell of it, and the memory that it took."""


def watched(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", textwrap.dedent(WATCHED), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_python_itself_sees_nothing_run_and_memory_stays_small(tmp_path: Path) -> None:
    hostile = {**RUNNING, **INERT, **BOMBS}
    for i, data in enumerate(hostile.values()):
        (tmp_path / f"{i:03}.pkl").write_bytes(data)
    told = watched(tmp_path)
    assert told["events"] == []
    assert len(told["said"]) == len(hostile)
    assert not (ROOT / "ran").exists()
    assert told["kib"] < 400_000, dict(zip(hostile, told["said"].values(), strict=True))


# Whatever a file claims, only what it has is believed.


def tensor_of(count: int, shape: str, strides: str = "K\x01\x85", offset: bytes = b"K\x00") -> bytes:
    """A zip-less state dict of one tensor, whose storage says that it has so many numbers."""
    storage = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + number(count) + b"tQ"
    body = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + offset + shape.encode("latin-1")
    body += strides.encode("latin-1") + b"\x89" + name("collections", "OrderedDict") + b")RtR"
    return HEAD + b"}" + text("a") + body + b"s."


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def torch_zip(data: bytes, numbers: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", numbers)
    return buffer.getvalue()


def torch_row(data: bytes, keys: bytes, numbers: bytes) -> bytes:
    magic = pickle.dumps(torch_files.TORCH_MAGIC, 2) + pickle.dumps(1001, 2)
    return magic + pickle.dumps({"little_endian": True}, 2) + data + keys + numbers


BOMBS = {
    "bytes far beyond the file": HEAD + b"\x8e" + struct.pack("<Q", 2**60) + b"abc.",
    "a bytearray far beyond the file": HEAD + b"\x96" + struct.pack("<Q", 2**62) + b"abc.",
    "text far beyond the file": HEAD + b"\x8d" + struct.pack("<Q", 2**60) + b"abc.",
    "a number of 2 GB": HEAD + b"\x8b" + struct.pack("<I", 2**31 - 1) + b"abc.",
    "a frame far beyond the file": HEAD + b"\x95" + struct.pack("<Q", 2**63) + b"N.",
    "a memo far beyond memory": HEAD + b"Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "a long decimal number": b"I" + b"9" * 100_000 + b"\n.",
    "a line without an end": b"S'" + b"a" * 300_000,
    "a deep tuple": HEAD + b")" + b"\x85" * 300_000 + b".",
    "a deep tuple as a key": HEAD + b"})" + b"\x85" * 300_000 + b"Ns.",
    "a deep list": HEAD + b"]" * 200_000 + b"a" * 199_999 + b".",
    "a list in itself": HEAD + b"]q\x00h\x00a.",
    "lists that double": HEAD + b"]" + b"q\x000]h\x00ah\x00a" * 50_000 + b".",
    "tuples that double, as a key": HEAD + b"})" + b"2\x86" * 100_000 + b"Ns.",
    "marks without an end": HEAD + b"(" * 300_000,
    "more operations than any file": HEAD + b"N0" * 500_001 + b"N.",
    "modules in themselves": HEAD + name("training.networks", "G") + b")\x81q\x00}(" + text("_modules") + b"}"
    + text("a") + b"h\x00sub.",
    "settings in themselves": HEAD + name("training.networks", "G") + b")\x81}(" + text("_init_kwargs") + b"}q\x00"
    + text("_init_kwargs") + b"h\x00s" + text("synthesis_kwargs") + b"h\x00ub.",
    "modules that double": HEAD + name("training.networks", "G") + b")\x81"
    + b"".join(
        b"q\x000" + name("training.networks", "G") + b")\x81}(" + text("_modules") + b"}(" + text("a") + b"h\x00"
        + text("b") + b"h\x00uub"
        for _ in range(35)
    ) + b".",
    "a storage beyond the file": torch_zip(tensor_of(2**40, "K\x01\x85"), b"abcd"),
    "a tensor beyond its storage": torch_zip(tensor_of(1, "K\x02\x85"), b"abcd"),
    "a tensor with giant strides": torch_zip(tensor_of(4, "K\x02\x85", "J\xff\xff\xff\x7f\x85"), b"abcd" * 4),
    "a tensor before its storage": torch_zip(tensor_of(4, "K\x02\x85", offset=b"J\xff\xff\xff\xff"), b"abcd" * 4),
    "a tensor of negative size": torch_zip(tensor_of(4, "J\xff\xff\xff\xff\x85"), b"abcd" * 4),
    "a tensor blown up by strides of zero": torch_zip(
        tensor_of(4, "J\xff\xff\xff\x7f\x85", "K\x00\x85"), b"abcd" * 4
    ),
    "a tensor of too many sides": torch_zip(
        tensor_of(1, "(" + "K\x01" * 200 + "t", "(" + "K\x01" * 200 + "t"), b"abcd"
    ),
    "numbers that are not behind": torch_row(
        tensor_of(2**40, "K\x01\x85"), pickle.dumps(["0"], 2), struct.pack("<q", 2**40)
    ),
    "keys that are not there": torch_row(tensor_of(1, "K\x01\x85"), pickle.dumps(["1"], 2), struct.pack("<qf", 1, 1)),
    "keys twice": torch_row(tensor_of(1, "K\x01\x85"), pickle.dumps(["0", "0"], 2), struct.pack("<qfqf", 1, 1, 1, 1)),
    "pickles in pickles in pickles": HEAD + nested(HEAD + nested(HEAD + nested(HEAD + b"N.") + b".") + b".") + b".",
    "a storage that is none": HEAD + nested(HEAD + b"N.") + b".",
    "a compressed archive": zipped(HEAD + b"C" + b"\x00" * 10_000_000 + b".", zipfile.ZIP_DEFLATED),
    "a zip archive of something else": zipped(b"")[:0] + torch_zip(b"N.", b"").replace(b"data.pkl", b"data.xml"),
}  # fmt: skip
"""Files that claim more than they have, or wind up so that a careless reader runs out of memory, stack or time."""

HARMLESS = (
    *("a deep tuple", "a list in itself", "lists that double", "a deep list", "a deep tuple as a key"),
    *("tuples that double, as a key", "a memo far beyond memory", "settings in themselves"),
)
"""Those that hold no weights, but are no lie either."""


@pytest.mark.parametrize("kind", BOMBS)
def test_a_claim_beyond_the_file_is_refused(tmp_path: Path, kind: str) -> None:
    if kind in HARMLESS:
        assert not any(state_dicts(tmp_path, BOMBS[kind]))
    else:
        refusal(tmp_path, BOMBS[kind])


def test_tensors_may_not_claim_the_same_numbers_again_and_again(tmp_path: Path) -> None:
    base = torch.zeros(1 << 16)
    one = saved({str(i): base[: 1 << (15 + i % 2)] for i in range(100)})
    with pytest.raises(InputError, match="claim far more values than it has"):
        state_dicts(tmp_path, one)


WHOLE = {
    "an NVIDIA pickle": nvidia_pickle(TENSORS),
    "a zip archive": saved(TENSORS),
    "a row of pickles": saved(TENSORS, zipped=False),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_short_anywhere_is_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    data = WHOLE[kind]
    for percent in range(100):
        refusal(tmp_path, data[: len(data) * percent // 100])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"hello, this is a text\n", b"<!DOCTYPE html>", b"\x89PNG\r\n\x1a\n" + b"x" * 50, b"PK\x03\x04",
     b"{}", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", bytes(range(256)) * 10],
)  # fmt: skip
def test_something_else_is_refused_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    refusal(tmp_path, data)


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"<!DOCTYPE html>").startswith("file.pkl is a web page, perhaps from a failed download")
    assert refusal(tmp_path, b"\x89PNG\r\n\x1a\n").startswith("file.pkl is a PNG image")
    assert refusal(tmp_path, b"hello").startswith("file.pkl is not a file of weights, or damaged")
    assert refusal(tmp_path, nvidia_pickle(TENSORS)[:2000]).startswith("file.pkl is damaged or incomplete")


def test_a_file_of_the_tensorflow_era_is_told(tmp_path: Path) -> None:
    data = HEAD + name("dnnlib.tflib.network", "Network") + b")\x81}b."
    assert refusal(tmp_path, data).startswith("file.pkl is a StyleGAN file of the TensorFlow era")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"), torch_files.opened(tmp_path / "missing.pkl"):
        pass


# Anything at all is read, or refused in a sentence.


def survives(tmp_path: Path, data: bytes) -> list[dict[str, torch.Tensor]]:
    """What is read of a file: nothing where it is refused, which is said in one sentence that begins with its name."""
    try:
        return state_dicts(tmp_path, data)
    except InputError as error:
        said = str(error)
        assert said.startswith("file.pkl ") and said.endswith(".") and "\n" not in said
        return []


SEEDS = [*WHOLE.values(), *(data for data in (*RUNNING.values(), *INERT.values()) if len(data) < 2000)]
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
FUZZED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZED
@given(st.lists(st.one_of(st.sampled_from(OPCODES), st.binary(max_size=6)), max_size=40).map(b"".join))
def test_any_row_of_operations_is_survived(tmp_path: Path, data: bytes) -> None:
    assert not any(survives(tmp_path, data + b".")), "no number is in it that a tensor could have"


@FUZZED
@given(st.sampled_from(SEEDS), st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_file_with_wrong_bytes_is_survived(tmp_path: Path, data: bytes, seed: int, count: int) -> None:
    changed, random = bytearray(data), np.random.RandomState(seed)
    for place in random.randint(0, len(data), count):
        changed[place] = random.randint(256)
    one = survives(tmp_path, bytes(changed))
    again = survives(tmp_path, bytes(changed)) if any(one) else one
    assert sum(tensor.nbytes for state in one for tensor in state.values()) <= 2 * len(data)
    assert [state.keys() for state in one] == [state.keys() for state in again]
    for state, same in zip(one, again, strict=True):
        for name, tensor in state.items():
            assert tensor.is_contiguous() and tensor.numpy().tobytes() == same[name].numpy().tobytes()
