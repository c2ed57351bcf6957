"""Each limit of what is read of a pickle, from both sides; and numbers of every type, wherever they begin and end."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_files import saved
from torch import Tensor

from gan_core import InputError
from gan_core.foreign import state_dicts as foreign
from gan_core.foreign import torch_files

HEAD = b"\x80\x04"


def root_of(folder: Path, data: bytes) -> Any:
    (folder / "file.pkl").write_bytes(data)
    with torch_files.opened(folder / "file.pkl") as file:
        return file.root


def tensors_of(folder: Path, data: bytes) -> dict[str, Tensor]:
    (folder / "file.pkl").write_bytes(data)
    with torch_files.opened(folder / "file.pkl") as file:
        (found,) = foreign.candidates(file)
        return {name: file.tensor(stored) for name, stored in found.tensors.items()}


TEXT = 1 << 24


@pytest.mark.parametrize("operation", [b"X", b"T"])
def test_a_text_has_16_megabytes_at_most(tmp_path: Path, operation: bytes) -> None:
    longest = HEAD + operation + struct.pack("<I", TEXT) + b"a" * TEXT + b"."
    assert len(root_of(tmp_path, longest)) == TEXT
    longer = HEAD + operation + struct.pack("<I", TEXT + 1) + b"a" * (TEXT + 1) + b"."
    with pytest.raises(InputError, match="a text that is too long"):
        root_of(tmp_path, longer)


LINE = 1 << 16


def test_a_line_has_64_kilobytes_at_most(tmp_path: Path) -> None:
    assert len(root_of(tmp_path, b"S'" + b"a" * (LINE - 2) + b"'\n.")) == LINE - 2
    with pytest.raises(InputError, match="a line that is too long"):
        root_of(tmp_path, b"S'" + b"a" * (LINE - 1) + b"'\n.")


def test_a_number_has_256_bytes_or_digits_at_most(tmp_path: Path) -> None:
    assert root_of(tmp_path, HEAD + b"\x8b" + struct.pack("<I", 256) + b"\x01" * 256 + b".") > 2**2000
    with pytest.raises(InputError, match="a number that is too long"):
        root_of(tmp_path, HEAD + b"\x8b" + struct.pack("<I", 257) + b"\x01" * 257 + b".")
    assert root_of(tmp_path, b"I" + b"9" * 256 + b"\n.") == 10**256 - 1
    with pytest.raises(InputError, match="an invalid number"):
        root_of(tmp_path, b"I" + b"9" * 257 + b"\n.")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"I-7\n.", -7),
        (b"L7L\n.", 7),
        (b"I00\n.", False),
        (b"I01\n.", True),
        (b"J\xfe\xff\xff\xff.", -2),
        (b"K\xff.", 255),
        (b"M\xff\xff.", 65535),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x02\x00\x80.", -32768),
        (b"F1.5\n.", 1.5),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5),
        (b"\x88.", True),
        (b"\x89.", False),
        (b"N.", None),
        (b"\x8c\x02\xc3\xa9.", "é"),
        (b"U\x01\xe9.", "é"),
        (b"V\\u00e9\n.", "é"),
        (b"(K\x01K\x02t.", (1, 2)),
        (b"K\x01K\x02\x86.", (1, 2)),
        (b"K\x01K\x02K\x03\x87.", (1, 2, 3)),
        (b"](K\x01K\x02e.", [1, 2]),
        (b"}K\x01K\x02s.", {1: 2}),
        (b"}(K\x01K\x02K\x03K\x04u.", {1: 2, 3: 4}),
        (b"(K\x01K\x02d.", {1: 2}),
        (b"K\x01K\x020.", 1),
        (b"(K\x01K\x021K\x05.", 5),
        (b"K\x072\x86.", (7, 7)),
        (b"K\x07q\x00K\x08q\x01h\x00\x87.", (7, 8, 7)),
        (b"K\x07\x94K\x08\x94h\x01\x87.", (7, 8, 8)),
        (b"K\x07p5\ng5\n\x86.", (7, 7)),
        (b"K\x07r\x00\x01\x00\x00j\x00\x01\x00\x00\x86.", (7, 7)),
    ],
)
def test_operations_mean_what_they_mean_in_python(tmp_path: Path, data: bytes, value: Any) -> None:
    import pickle

    assert pickle.loads(data, encoding="latin-1") == value  # noqa: S301 - these are ours
    found = root_of(tmp_path, data)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("version", "opens"), [(2, True), (5, True), (6, False), (255, False)])
def test_protocol_5_is_the_last(tmp_path: Path, version: int, opens: bool) -> None:
    data = b"\x80" + bytes([version]) + b"K\x07."
    if opens:
        assert root_of(tmp_path, data) == 7
    else:
        with pytest.raises(InputError, match=f"of pickle protocol {version}, and the last is 5"):
            root_of(tmp_path, data)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_has_8_dimensions_at_most(tmp_path: Path, zipped: bool) -> None:
    assert tensors_of(tmp_path, saved({"a": torch.ones([1] * 8)}, zipped=zipped))["a"].shape == (1,) * 8
    with pytest.raises(InputError, match="reaches beyond its values"):
        tensors_of(tmp_path, saved({"a": torch.ones([1] * 9)}, zipped=zipped))


TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
TYPES += [torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_numbers_of_every_type_are_read_as_what_they_are(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    values = torch.tensor([0, 1, 2, 100, 0, 3]).to(dtype)
    found = tensors_of(tmp_path, saved({"a": values, "b": values.flip(0)}, zipped=zipped))
    for name, expected in (("a", values), ("b", values.flip(0))):
        assert found[name].dtype == dtype and torch.equal(found[name], expected)


@pytest.mark.parametrize("zipped", [True, False])
def test_parts_of_shared_numbers_are_where_they_belong(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    parts = {"t": base.T, "row": base[1], "last": base[2, 3:], "steps": base.flatten()[::5], "all": base}
    found = tensors_of(tmp_path, saved(parts, zipped=zipped))
    for name, expected in parts.items():
        assert torch.equal(found[name], expected) and found[name].is_contiguous(), name


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def zip_of_a_tensor(count: int, offset: int, shape: int, stride: int) -> bytes:
    """A file of torch.save that says so of a tensor of float32 in one dimension."""

    def named(module: str, each: str) -> bytes:
        return b"c" + f"{module}\n{each}\n".encode()

    storage = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu")
    storage += b"K" + bytes([count]) + b"tQ"
    tensor = named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K" + bytes([offset])
    tensor += b"K" + bytes([shape]) + b"\x85K" + bytes([stride]) + b"\x85\x89" + named("collections", "OrderedDict")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", HEAD + b"}" + text("a") + tensor + b")RtRs.")
        archive.writestr("archive/data/0", struct.pack(f"<{count}f", *range(count)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("offset", "shape", "stride", "values"),
    [
        (0, 6, 1, [0, 1, 2, 3, 4, 5]),
        (5, 1, 1, [5]),
        (1, 5, 1, [1, 2, 3, 4, 5]),
        (0, 2, 5, [0, 5]),
        (2, 2, 3, [2, 5]),
        (0, 6, 0, [0] * 6),
        (1, 6, 1, None),
        (6, 1, 1, None),
        (0, 2, 6, None),
        (3, 2, 3, None),
        (0, 7, 0, None),
        (0, 7, 1, None),
    ],
)
def test_a_tensor_reaches_to_the_end_of_its_numbers_and_no_further(
    tmp_path: Path, offset: int, shape: int, stride: int, values: list[float] | None
) -> None:
    data = zip_of_a_tensor(6, offset, shape, stride)
    if values is None:
        with pytest.raises(InputError, match="reaches beyond its values"):
            tensors_of(tmp_path, data)
    else:
        assert tensors_of(tmp_path, data)["a"].tolist() == values
