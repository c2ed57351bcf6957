"""Our own format: a safetensors file whose header says what the tensors are (docs/file-format.md)."""

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
    "Generators are made by Train GAN, Train VAE and Save Generator, or by python -m gan_core train; those of other "
    "programs are opened by Import Generator, their VAEs by VAE to Generator, and both by python -m gan_core convert."
)

MAX_HEADER = 100_000_000
"""Bytes. safetensors' own bound; a generator's header has some thousands."""

MOST_PARTS = 1_000_000
"""Brackets, commas and quotes in a header: 20 for each tensor. To read one of many millions takes minutes and all
memory."""

MOST_TENSORS = 20_000
"""In one file. StyleGAN3 has 200, and the checkpoint of its training six times as many."""

MOST_DIMENSIONS = 8
"""Of a tensor."""

LONGEST_DIMENSION = 1 << 48

CHECKPOINT_KEY = "gan_core.checkpoint"
"""The header key that only a run's checkpoint has."""


@dataclass(frozen=True)
class Description:
    """What a generator's header says of it."""

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
    """Writes one generator to one file. resolution: width x height of its images.

    Raises InputError where the path cannot be written.
    """
    metadata = {
        "format": "pt",
        "gan_core.format_version": str(FORMAT_VERSION),
        "gan_core.architecture": architecture,
        "gan_core.config": json.dumps(config, sort_keys=True),
        "gan_core.card": json.dumps(card, sort_keys=True, ensure_ascii=False),
        # What other tools show of a model (the ModelSpec of Stability AI, version 1.0.0).
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
    """Writes tensors and a header to a safetensors file, whole or not at all."""
    # The name of a folder may be no unicode, and a header is nothing else.
    metadata = {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in metadata.items()}
    with replacing(path) as partial:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # a full disk, for one
            raise InputError(f"{path} cannot be written: {error}.") from error
        _sort_header(partial)


def _sort_header(path: Path) -> None:
    """Makes the same generator the same bytes: safetensors writes the metadata in a new order each time."""
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(written) <= length:  # as it is, unless the two libraries come to disagree on how text is written
            file.seek(8)
            file.write(written.ljust(length))


class OpenedFile:
    """A safetensors file of which only the header has been read."""

    def __init__(self, path: Path, file: Any):
        self.name = path.name
        self.size = path.stat().st_size
        """In bytes."""
        self._path, self._file = path, file

    @cached_property
    def metadata(self) -> dict[str, str]:
        return self._file.metadata() or {}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Raises InputError for more tensors, and for larger ones, than any generator has."""
        names = list(self._file.keys())
        if len(names) > MOST_TENSORS:
            raise InputError(f"{self.name} has {len(names):,} tensors, far more than any generator.")
        # safetensors has checked the header; before 0.7 it takes a copy of it all to say a single shape.
        with self._path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = {name: tuple(header[name]["shape"]) for name in names}
        for name, shape in shapes.items():
            if len(shape) > MOST_DIMENSIONS or any(length >= LONGEST_DIMENSION for length in shape):
                raise InputError(f"{self.name} is not to be trusted: {name[:100]} has a shape that no tensor can have.")
        return shapes

    @property
    def kind(self) -> str:
        """What the file is, for a sentence."""
        if CHECKPOINT_KEY in self.metadata:
            return "the checkpoint of a training run (the generator.safetensors beside it is what you want)"
        for part, kind in _KINDS.items():
            key = next((name for name in self.shapes if part in name), None)
            if key:
                return f"{kind} (it has {key})"
        first = next(iter(self.shapes), None)
        return f"a safetensors file of a kind unknown here (it has {first})" if first else "a file without tensors"

    @cached_property
    def description(self) -> Description | None:
        """What our own header says; None where the file is not of our format.

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
            raise InputError(f"{self.name} has a damaged header: what it says of itself cannot be read.") from None
        if not isinstance(config, dict) or not isinstance(card, dict):
            raise InputError(f"{self.name} has a damaged header: its config and its card must be JSON objects.")
        return Description(architecture, config, card)

    def tensors(self) -> dict[str, Tensor]:
        """Reads every tensor, to the CPU."""
        return {name: self.tensor(name) for name in self.shapes}

    def tensor(self, name: str) -> Tensor:
        """Reads one tensor, to the CPU."""
        # safetensors gives a map of the file: weights would change as it does, and Windows could not replace it.
        try:
            tensor = self._file.get_tensor(name).clone()
        except AttributeError:  # safetensors asks torch for the type by its name
            raise InputError(f"{self.name} has numbers of a type that this version of torch does not have.") from None
        if tuple(tensor.shape) != self.shapes[name]:
            raise InputError(
                f"{self.name} is damaged: it describes {shown(name)} twice, or was changed while it was read."
            )
        return tensor


def check(file: str, shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses a file unless its tensors have exactly the expected names and shapes, with an InputError."""
    missing = sorted(expected.keys() - shapes.keys())
    extra = sorted(shapes.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & shapes.keys() if expected[name] != shapes[name])
    if missing:
        raise InputError(f"{file} is incomplete: {_some(missing)} missing.")
    if extra:
        raise InputError(f"{file} holds tensors that its architecture does not have: {_some(extra)} too many.")
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{file} does not fit its own description: {name} has shape {list(shapes[name])} "
            f"where {list(expected[name])} belongs."
        )


def check_finite(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuses a file whose tensors have a number that is infinite, or none at all (NaN), with an InputError that names
    the tensor.

    Looks at every number, which takes 8 ms for 100 MB of float32 on one core.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # torch can convert numbers of 8 bits, and nothing else.
        numbers = tensor.float() if tensor.dtype.itemsize == 1 else tensor
        if not all(bool(end.isfinite()) for end in numbers.aminmax()):  # both are NaN where a number is
            raise InputError(
                f"{file} is damaged: {name} has numbers that are not finite (NaN or infinity), as a training that "
                "diverged leaves behind. Take an earlier save of it."
            )


@contextmanager
def opened(path: Path) -> Iterator[OpenedFile]:
    """Opens a safetensors file and reads its header only.

    Raises InputError for what is not a whole safetensors file, saying what it seems to be.
    """
    _refuse_what_is_no_safetensors(path)
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path.name} is damaged or cut short, and nothing of it was loaded ({error}).") from None
    with file:
        try:
            yield OpenedFile(path, file)
        except SafetensorError as error:
            raise InputError(f"{path.name} has tensors that cannot be read ({error}).") from None


def is_safetensors(path: Path) -> bool:
    """Whether a file that can be read begins as a safetensors file does, whatever its name ends with."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        start, size = file.read(9), file.seek(0, 2)
        return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= min(MAX_HEADER, size - 8)
    return False


def _refuse_what_is_no_safetensors(path: Path) -> None:
    try:
        str(path).encode()  # safetensors opens no other
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
        raise InputError(f"{path} has a name that no safetensors file can have: it is not all Unicode.") from None
    pickles = {b"PK": "a zip archive, such as a PyTorch .pt file", b"\x80": "a Python pickle, which could run code"}
    for magic, kind in {**pickles, **STRANGERS}.items():
        # A safetensors file may begin with any bytes, as its header's length; the header itself is JSON.
        if start.startswith(magic) and start[8:9] != b"{":
            raise InputError(f"{path.name} is {kind}, not a safetensors file. {WHERE_GENERATORS_COME_FROM}")
    if size < 9:
        raise InputError(f"{path.name} has {size} bytes: it is empty or cut short. Download or save it again.")
    if header > MAX_HEADER:
        raise InputError(f"{path.name} claims a header of {header:,} bytes: it is no safetensors file, or damaged.")
    if 8 + header > size:
        raise InputError(f"{path.name} is cut short: it ends within its header. Download or save it again.")
    if len(text) - len(text.translate(None, b'{[,"')) > MOST_PARTS:
        raise InputError(f"{path.name} is not to be trusted: its header has far more in it than any generator's.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    verb = "is" if len(names) == 1 else "are"
    return f"{shown}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {verb}"


STRANGERS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8": "a JPEG picture",
    b"GGUF": "a GGUF language model",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "the placeholder of a file that Git LFS did not download",
    b"<": "a web page, perhaps of a download that failed",
    b"{": "a JSON text",
}
"""What files begin with that hold no weights."""

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
