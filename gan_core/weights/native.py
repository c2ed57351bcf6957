"""Our own format: a safetensors file whose header describes the tensors (docs/file-format.md)."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError, shown
from ..files import replacing

FORMAT_VERSION = 1
WHERE_GENERATORS_COME_FROM = (
    "Train GAN, Train VAE, Save Generator and python -m gan_core train write generators. Import Generator opens those "
    "of other programs, VAE to Generator their VAEs, and python -m gan_core convert both."
)

MAX_HEADER = 100_000_000
"""Maximum size of a header in bytes, that of safetensors itself; a generator's header has a few thousand."""

MAX_PARTS = 1_000_000
"""Maximum brackets, commas and quotes in a header: 20 per tensor. Parsing many millions takes minutes and all
memory."""

MAX_TENSORS = 20_000
"""Maximum tensors in a file. StyleGAN3 has 200, and the checkpoint of its training six times as many."""

MAX_DIMENSIONS = 8
"""Maximum number of dimensions of a tensor."""

MAX_LENGTH = 1 << 48
"""Maximum length of a dimension of a tensor."""

CHECKPOINT_KEY = "gan_core.checkpoint"
"""Header key that only the checkpoint of a run has."""


@dataclass(frozen=True)
class Description:
    """Description of a generator in the header of its file."""

    architecture: str
    config: dict[str, Any]
    card: dict[str, Any]


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    architecture: str,
    config: dict[str, Any],
    card: dict[str, Any],
    resolution: str,
) -> None:
    """Writes a generator to a file. resolution: width x height of its images.

    Raises InputError if the path cannot be written.
    """
    metadata = {
        "format": "pt",
        "gan_core.format_version": str(FORMAT_VERSION),
        "gan_core.architecture": architecture,
        "gan_core.config": json.dumps(config, sort_keys=True),
        "gan_core.card": json.dumps(card, sort_keys=True, ensure_ascii=False),
        # Metadata that other tools show (ModelSpec of Stability AI, version 1.0.0).
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"gan/{architecture}",
        "modelspec.implementation": "ComfyUI-GAN-Studio",
        "modelspec.title": str(card.get("title", path.stem)),
        "modelspec.resolution": resolution,
    }
    if "created" in card:
        metadata["modelspec.date"] = str(card["created"])
    write_tensors(path, tensors, metadata)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes tensors and metadata to a safetensors file, atomically. Raises InputError if it cannot be written."""
    # The name of a folder may be invalid Unicode, which a header cannot contain.
    metadata = {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in metadata.items()}
    with replacing(path) as partial:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # for example a full disk
            raise InputError(f"{path} cannot be written: {error}.") from error
        _sort_header(partial)


def _sort_header(path: Path) -> None:
    """Sorts the metadata, which safetensors writes in random order, so that equal generators give equal files."""
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(written) <= length:  # always, as long as both libraries write text in the same way
            file.seek(8)
            file.write(written.ljust(length))


class OpenedFile:
    """An open safetensors file, of which only the header has been read."""

    def __init__(self, path: Path, file: Any):
        self.name = path.name
        self.size = path.stat().st_size
        """Size of the file in bytes."""
        self._path, self._file = path, file

    @cached_property
    def metadata(self) -> dict[str, str]:
        return self._file.metadata() or {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors. Raises InputError for more or larger tensors than any generator has."""
        names = list(self._file.keys())
        if len(names) > MAX_TENSORS:
            raise InputError(f"{self.name} has {len(names):,} tensors, far more than any generator.")
        # safetensors has checked the header; before 0.7 it copies the whole header for each shape.
        with self._path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = {name: tuple(header[name]["shape"]) for name in names}
        for name, shape in shapes.items():
            if len(shape) > MAX_DIMENSIONS or any(length >= MAX_LENGTH for length in shape):
                raise InputError(f"{self.name} cannot be trusted: {name[:100]} has a shape that no tensor can have.")
        return shapes

    @property
    def kind(self) -> str:
        """Kind of file, for a sentence."""
        if CHECKPOINT_KEY in self.metadata:
            return "the checkpoint of a training run (choose the generator.safetensors beside it)"
        for part, kind in _KINDS.items():
            key = next((name for name in self.shapes if part in name), None)
            if key:
                return f"{kind} (it has {key})"
        first = next(iter(self.shapes), None)
        return f"a safetensors file of an unknown kind (it has {first})" if first else "a file without tensors"

    @cached_property
    def description(self) -> Description | None:
        """Description in our own header; None if the file is not in our format.

        Raises InputError for a header that is damaged or of a newer version.
        """
        version = self.metadata.get("gan_core.format_version")
        if version is None:
            return None
        try:
            if int(version) > FORMAT_VERSION:
                raise InputError(
                    f"{self.name} has file format version {version}, and this ComfyUI-GAN-Studio reads up to version "
                    f"{FORMAT_VERSION}: update the pack to open it."
                )
            config, card = (json.loads(self.metadata[f"gan_core.{part}"]) for part in ("config", "card"))
            architecture = self.metadata["gan_core.architecture"]
        except InputError:
            raise
        except (KeyError, ValueError, RecursionError):
            raise InputError(f"{self.name} has a damaged header: its description cannot be read.") from None
        if not isinstance(config, dict) or not isinstance(card, dict):
            raise InputError(f"{self.name} has a damaged header: its config and its card must be JSON objects.")
        return Description(architecture, config, card)

    def tensors(self) -> dict[str, Tensor]:
        """Reads all tensors, to the CPU."""
        return {name: self.tensor(name) for name in self.shapes}

    def tensor(self, name: str) -> Tensor:
        """Reads one tensor, to the CPU."""
        # safetensors returns a memory map: weights would change with the file, and Windows could not replace it.
        try:
            tensor = self._file.get_tensor(name).clone()
        except AttributeError:  # safetensors looks up the dtype by name in torch
            raise InputError(f"{self.name} has a tensor of a type that this version of torch does not have.") from None
        if tuple(tensor.shape) != self.shapes[name]:
            raise InputError(
                f"{self.name} is damaged: it describes {shown(name)} twice, or was changed while it was read."
            )
        return tensor


def check(file: str, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises InputError unless the tensors of a file have exactly the expected names and shapes."""
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & shapes.keys() if expected[name] != shapes[name])
    if missing:
        raise InputError(f"{file} is incomplete: {_some(missing)} missing.")
    if extra:
        raise InputError(f"{file} has tensors that its architecture does not have: {_some(extra)} too many.")
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{file} does not match its own description: {name} must have shape {list(expected[name])} "
            f"(got {list(shapes[name])})."
        )


def check_finite(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises InputError, naming the tensor, if a tensor of a file has NaN or infinite values.

    Checks all values, which takes 8 ms for 100 MB of float32 on one core.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # For numbers of 8 bits torch has only conversions.
        numbers = tensor.float() if tensor.dtype.itemsize == 1 else tensor
        if not all(bool(end.isfinite()) for end in numbers.aminmax()):  # both are NaN if any number is
            raise InputError(
                f"{file} is damaged: {name} has values that are not finite (NaN or infinity), for example after a "
                "training that diverged. Use an earlier file."
            )


@contextmanager
def opened(path: Path) -> Iterator[OpenedFile]:
    """Opens a safetensors file, reading only its header.

    Raises InputError, naming the probable kind of file, if it is not a complete safetensors file.
    """
    _check_is_safetensors(path)
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path.name} is damaged or incomplete ({error}): download or save it again.") from None
    with file:
        try:
            yield OpenedFile(path, file)
        except SafetensorError as error:
            raise InputError(f"{path.name} has tensors that cannot be read ({error}).") from None


def is_safetensors(path: Path) -> bool:
    """Whether a readable file begins like a safetensors file, whatever its extension."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        start, size = file.read(9), file.seek(0, 2)
        return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= min(MAX_HEADER, size - 8)
    return False


def _check_is_safetensors(path: Path) -> None:
    try:
        str(path).encode()  # safetensors opens only paths in valid Unicode
        with path.open("rb") as file:
            start = file.read(32)
            size = file.seek(0, 2)
            header = int.from_bytes(start[:8], "little")
            file.seek(8)
            text = file.read(header) if header <= min(MAX_HEADER, size) else b""
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise InputError(f"{path} cannot be opened: its name is not valid Unicode.") from None
    pickles = {b"PK": "a zip archive, such as a PyTorch .pt file", b"\x80": "a Python pickle, which could run code"}
    for magic, kind in {**pickles, **STRANGERS}.items():
        # A safetensors file may begin with any bytes, the length of its header; the header itself is JSON.
        if start.startswith(magic) and start[8:9] != b"{":
            raise InputError(f"{path.name} is {kind}, not a safetensors file. {WHERE_GENERATORS_COME_FROM}")
    if size < 9:
        raise InputError(f"{path.name} has {size} bytes and is empty or incomplete: download or save it again.")
    if header > MAX_HEADER:
        raise InputError(
            f"{path.name} declares a header of {header:,} bytes: it is not a safetensors file, or it is damaged."
        )
    if 8 + header > size:
        raise InputError(f"{path.name} is incomplete, it ends within its header: download or save it again.")
    if len(text) - len(text.translate(None, b'{[,"')) > MAX_PARTS:
        raise InputError(f"{path.name} cannot be trusted: its header is far larger than that of any generator.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    verb = "is" if len(names) == 1 else "are"
    return f"{shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {verb}"


STRANGERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8": "a JPEG image",
    b"GGUF": "a GGUF language model",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "the placeholder of a file that Git LFS did not download",
    b"<": "a web page, perhaps from a failed download",
    b"{": "a JSON text",
}
"""First bytes of files without weights."""

_KINDS = {
    "lora_up": "a LoRA",
    "lora_A": "a LoRA",
    "lora_down": "a LoRA",
    "control_model.": "a ControlNet",
    "controlnet_": "a ControlNet",
    "model.diffusion_model.": "a checkpoint of a diffusion model",
    "taesd_": "a TAESD of another program",
    "first_stage_model.": "a VAE of another program",
    "decoder.conv_in.weight": "a VAE of another program",
    "text_model.": "a text encoder",
    "transformer_blocks.": "a diffusion transformer",
    "emb_params": "a textual inversion",
}
