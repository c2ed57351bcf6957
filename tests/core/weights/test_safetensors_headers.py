"""Headers of safetensors files whose length looks like the beginning of another format, and lengths at their limits."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import gan_core
from gan_core import InputError, weights


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
        (100_000_001, "declares a header of 100,000,001 bytes: it is not a safetensors file, or it is damaged"),
        (100_000_000, "is incomplete, it ends within its header"),
        (93, "is incomplete, it ends within its header"),
        (92, "is damaged or incomplete"),  # as long as the rest, which is no JSON
    ],
)
def test_a_header_of_100_megabytes_is_the_longest(tmp_path: Path, length: int, said: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"x" * 92)
    with pytest.raises(InputError, match=f"^x.safetensors {said}"):
        gan_core.load(path)


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "has 0 bytes and is empty"), (8, "has 8 bytes and is empty"), (9, "is damaged or incomplete")],
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


# What a header costs.


def entry(shape: object = (1,), place: int = 0, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [place, place + 4]}


def with_header(path: Path, header: object, numbers: int = 4) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(numbers))
    return path


HEAVY = {
    "more tensors than any generator": lambda: {f"t{i}": entry(place=4 * i) for i in range(20_001)},
    "tensors by the million": lambda: b"{" + b",".join(b'"%d":{}' % i for i in range(350_000)) + b"}",
    "metadata by the million": lambda: {"__metadata__": {f"{i}": "" for i in range(260_000)}},
    "a shape of a million sides": lambda: {"t": entry([1] * 1_000_000)},
    "a shape of many sides": lambda: {"t": entry([1] * 9)},
    "sides beyond memory": lambda: {"t": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}},
    "lists in lists": lambda: b'{"a":' + b"[" * 1_100_000,
    "a card of a million lists": lambda: {
        "__metadata__": {"gan_core.format_version": "1", "gan_core.card": "[" + "[]," * 600_000 + "[]]"}
    },
}


@pytest.mark.parametrize("kind", HEAVY)
def test_a_header_that_costs_more_than_any_generator_s_is_refused(tmp_path: Path, kind: str) -> None:
    path = with_header(tmp_path / "x.safetensors", HEAVY[kind](), 4 * 20_001 if "than any" in kind else 4)
    for opened in (gan_core.load, lambda each: list(gan_core.importing(each)), gan_core.sampling.directions.load):
        with pytest.raises(InputError, match=r"^x\.safetensors ") as caught:
            opened(path)
        assert str(caught.value).endswith(".") and len(str(caught.value)) < 500
    if "sides" not in kind and "tensors than" not in kind:
        assert "cannot be trusted: its header is far larger" in str(caught.value)


def test_20_000_tensors_are_read(tmp_path: Path) -> None:
    path = with_header(tmp_path / "x.safetensors", {f"t{i}": entry(place=4 * i) for i in range(20_000)}, 80_000)
    with weights.opened(path) as file:
        assert len(file.shapes) == 20_000


TWICE = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize("header", [
    TWICE, TWICE.replace(b"[0,4]}}", b"[4,8]}}"), b'{"__metadata__":{"x":"1"},"__metadata__":{"x":"2"}}',
    b'{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}',
    b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', b'{"a":{"dtype":"F32","shape":[NaN]}}',
    b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b'{"a\\u0000\\n":1}',
])  # fmt: skip
def test_a_header_that_contradicts_itself_is_refused_in_a_sentence(tmp_path: Path, header: bytes) -> None:
    for numbers in (4, 8):
        with pytest.raises(InputError, match=r"^x\.safetensors ") as caught:
            gan_core.load(with_header(tmp_path / "x.safetensors", header, numbers))
        assert len(str(caught.value).splitlines()) == 1


MOST = 2**16
LARGEST_CONFIGS = {
    "dcgan": {"side": 128, "channels": 4, "classes": MOST, "latent_size": MOST, "width": MOST, "refine": 16},
    "stylegan2": {"side": 4096, "channels": 4, "widths": [MOST] * 11, "classes": MOST, "latent_size": MOST,
                  "w_dim": MOST, "mapping_layers": 32},
    "stylegan3": {"side": 4096, "channels": 4, "widths": [MOST] * 64, "classes": MOST, "latent_size": MOST,
                  "w_dim": MOST, "mapping_layers": 32},
    "autoencoder_kl": {"side": 4096, "channels": 4, "latent_channels": 64, "widths": [4096] * 8, "layers": 8,
                       "groups": 1},
}  # fmt: skip


@pytest.mark.parametrize("family", LARGEST_CONFIGS)
def test_a_config_that_asks_for_terabytes_costs_nothing(tmp_path: Path, family: str) -> None:
    """Its network has shapes before it has memory, and the file has no such tensors."""
    config = json.dumps(LARGEST_CONFIGS[family])
    facts = {"gan_core.format_version": "1", "gan_core.architecture": family, "gan_core.config": config}
    path = with_header(tmp_path / "x.safetensors", {"__metadata__": {**facts, "gan_core.card": "{}"}}, 0)
    with pytest.raises(InputError, match=r"^x\.safetensors is incomplete: "):
        gan_core.load(path)


def test_shapes_are_not_asked_for_one_by_one(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of safetensors copy the whole header for each: of 20,000 tensors for minutes."""

    class Asked:
        def __init__(self, path: Path, **options: str):
            self.file = safe_open(path, **options)

        def __enter__(self) -> "Asked":
            return self

        def __exit__(self, *_: object) -> None: ...

        def __getattr__(self, name: str) -> object:
            assert name != "get_slice"
            return getattr(self.file, name)

    monkeypatch.setattr("gan_core.weights.native.safe_open", Asked)
    assert gan_core.load(whole).title


def test_a_file_that_is_exchanged_while_it_is_read_is_a_sentence(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with safe_open(path, framework="pt", device="cpu") as file:
        opened = weights.native.OpenedFile(path, file)
        other = tmp_path / "other.safetensors"
        save_file({"a": torch.zeros(3)}, other)
        other.replace(path)
        with pytest.raises(InputError, match="was changed while it was read"):
            opened.tensors()
