"""The device that ComfyUI computes on, and its memory."""

import contextlib
from collections.abc import Callable, Iterator

import comfy.model_management
import comfy.utils
import torch

from ...gan_core import Generator
from ...gan_core.errors import OutOfMemory

DECODE_BYTES = 1 << 30
"""Generous estimate of the bytes for the activations of one decoding pass."""


def current() -> torch.device:
    """The device that ComfyUI computes on."""
    return comfy.model_management.get_torch_device()


def memory() -> dict[str, int]:
    """Bytes of its memory that are used, by all programs, and that there are: of RAM for a CPU."""
    total = comfy.model_management.get_total_memory(current())
    return {"used": int(total - comfy.model_management.get_free_memory(current())), "total": int(total)}


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Frees the memory of the device for a training, outside of the inference mode in which ComfyUI runs nodes."""
    free_all()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        comfy.model_management.soft_empty_cache()


@contextlib.contextmanager
def on_device(generator: Generator, room: int = DECODE_BYTES) -> Iterator[None]:
    """Moves the weights of a generator to ComfyUI's device inside the block, and back to the CPU after it.

    room: bytes to free for the activations.
    """
    there = current()
    if there.type != "cpu":
        weights = sum(tensor.nbytes for tensor in generator.module.state_dict().values())
        comfy.model_management.free_memory(weights + room, there)
    generator.module.to(there)
    try:
        yield
    finally:
        generator.module.to("cpu")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the device is out of memory."""
    return isinstance(error, OutOfMemory) or comfy.model_management.is_oom(error)


def free_all() -> None:
    """Moves ComfyUI's models off the device, as ComfyUI does when memory did not suffice."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


def in_tiles(
    function: Callable[[torch.Tensor], torch.Tensor],
    whole: torch.Tensor,
    sides: tuple[int, int],
    overlap: int,
    scale: float,
    channels: int,
    unit: int = 1,
) -> torch.Tensor:
    """Applies a function to a large tensor [B, C, H, W] in overlapping tiles [1, C, h, w].

    sides, overlap: width and height of a tile, and its overlap, in multiples of `unit` values. scale: side of a result
    relative to that of its tile. channels: channels of the result.

    Returns the mean over tall, wide and square tiles, as core's own VAE does.
    """
    width, height = sides
    ways = [(width // 2, height * 2), (width * 2, height // 2), (width, height)]
    cuts = [(unit * x, unit * y, unit * min(overlap, x // 2, y // 2)) for x, y in ways]
    steps = sum(comfy.utils.get_tiled_scale_steps(whole.shape[3], whole.shape[2], *cut) for cut in cuts)
    bar = comfy.utils.ProgressBar(len(whole) * steps)
    there = comfy.model_management.intermediate_device()
    results = [
        comfy.utils.tiled_scale(whole, function, *cut, scale, channels, output_device=there, pbar=bar) for cut in cuts
    ]
    return (results[0] + results[1] + results[2]) / 3


def between_nodes(tensor: torch.Tensor) -> torch.Tensor:
    """Moves a tensor to the device of the values that ComfyUI passes between nodes."""
    return tensor.to(comfy.model_management.intermediate_device())


def to_intermediate(tensor: torch.Tensor) -> torch.Tensor:
    """Moves a tensor to that device, and to the dtype of these values."""
    return between_nodes(tensor).to(comfy.model_management.intermediate_dtype())
