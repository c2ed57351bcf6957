"""Headers of safetensors files whose length looks like the beginning of another format, and lengths at their limits."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import gan_core
from gan_core import InputError


@pytest.fixture(scope="module")
def whole(new_generator, tmp_path_factory) -> Path:
    return new_generator().save(tmp_path_factory.mktemp("whole") / "cats.safetensors")


def with_header_of(path: Path, length: int) -> bytes:
    """The same file with so long a header: JSON may end in spaces."""
    content = path.read_bytes()
    own = int.from_bytes(content[:8], "little")
    assert own <= length
    return struct.pack("<Q", length) + content[8 : 8 + own].ljust(length) + content[8 + own :]


STARTS = {"a pickle": b"\x80", "a zip archive": b"PK", "a web page": b"<", "a JSON text": b"{", "a JPEG": b"\xff\xd8"}


@pytest.mark.parametrize("kind", STARTS)
def test_a_header_is_not_taken_for_another_format_by_its_length(whole: Path, tmp_path: Path, kind: str) -> None:
    start = STARTS[kind]
    least = int.from_bytes(whole.read_bytes()[:8], "little")
    step = 256 ** len(start)
    length = int.from_bytes(start, "little")
    length += -(-max(0, least - length) // step) * step
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header_of(whole, length))
    assert path.read_bytes().startswith(start)
    opened, expected = gan_core.load(path), gan_core.load(whole)
    assert opened.config == expected.config
    for name, tensor in expected.module.state_dict().items():
        assert torch.equal(opened.module.state_dict()[name], tensor)


@pytest.mark.parametrize("kind", STARTS)
def test_the_same_bytes_without_a_header_are_another_format(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(STARTS[kind].ljust(8, b"\x00") + b"x" * 100)
    with pytest.raises(InputError, match=f"^x.safetensors is {'a Python pickle' if kind == 'a pickle' else kind}"):
        gan_core.load(path)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (100_000_001, "claims a header of 100,000,001 bytes: it is no safetensors file, or damaged"),
        (100_000_000, "is cut short: it ends within its header"),
        (93, "is cut short: it ends within its header"),
        (92, "is damaged or cut short"),  # as long as the rest, which is no JSON
    ],
)
def test_a_header_of_100_megabytes_is_the_longest(tmp_path: Path, length: int, said: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"x" * 92)
    with pytest.raises(InputError, match=f"^x.safetensors {said}"):
        gan_core.load(path)


@pytest.mark.parametrize(
    ("size", "said"), [(0, "has 0 bytes: it is empty"), (8, "has 8 bytes: it is empty"), (9, "is damaged or cut")]
)
def test_a_file_has_9_bytes_or_more(tmp_path: Path, size: int, said: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((b"\x01" + b"\x00" * 7 + b"x")[:size])
    with pytest.raises(InputError, match=f"^x.safetensors {said}"):
        gan_core.load(path)


@pytest.mark.parametrize(("version", "opens"), [("0", True), ("1", True), ("2", False), ("10", False)])
def test_a_newer_version_of_the_format_asks_for_an_update(
    whole: Path, tmp_path: Path, version: str, opens: bool
) -> None:
    content = whole.read_bytes()
    own = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + own])["__metadata__"] | {"gan_core.format_version": version}
    save_file(gan_core.load(whole).module.state_dict(), tmp_path / "x.safetensors", metadata)
    if opens:
        gan_core.load(tmp_path / "x.safetensors")
    else:
        with pytest.raises(InputError, match=f"has file format version {version}, .* update the pack to open it"):
            gan_core.load(tmp_path / "x.safetensors")
