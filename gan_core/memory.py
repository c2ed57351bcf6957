"""Memory of a device: how much of it is free, and work on a batch that does not fit into it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch

from .errors import OutOfMemory

Result = TypeVar("Result")

GIGABYTE = 1e9

_SAID = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""What else allocators say: those of the CPU, of Apple's GPUs and of cuBLAS."""


class Room(NamedTuple):
    """Memory of a device in bytes."""

    free: int
    total: int

    def __str__(self) -> str:
        return f"{self.free / GIGABYTE:.1f} of {self.total / GIGABYTE:.1f} GB are free"


def room(device: torch.device) -> Room | None:
    """Memory of a device; None where it cannot be told. What torch keeps for later counts as free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Room(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total)
    if device.type == "cpu" and {"SC_AVPHYS_PAGES", "SC_PHYS_PAGES"} <= set(getattr(os, "sysconf_names", ())):
        pages = (os.sysconf(name) for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
        return Room(*(count * os.sysconf("SC_PAGE_SIZE") for count in pages))
    return None


def in_words(size: int) -> str:
    """A number of bytes, as "3.1 GB" or "180 MB"."""
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE else f"{size / 1e6:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on the CPU or another device."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def let_go(device: torch.device) -> None:
    """Returns memory that torch keeps for later, which may lie in pieces that are too small."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def exhausted(what: str, device: torch.device, way_out: str, before: Room | None = None) -> OutOfMemory:
    """The error of work that does not fit.

    what: subject of its sentence, such as "Decoding one image of 64x64". way_out: what fits, or what to do. before: the
    memory before the work; None for as it is now.
    """
    there = before or room(device)
    name = "the CPU" if device.type == "cpu" else str(device)
    return OutOfMemory(f"{what} takes more memory than {name} has{f' ({there})' if there else ''}: {way_out}.")


def in_parts(
    parts: Sequence[slice], work: Callable[[slice], Result], what: str, device: torch.device
) -> Iterator[tuple[slice, Result]]:
    """Works on a batch part by part. Parts that do not fit into memory are halved, and so are all after them.

    what: the work on one image, for the sentence of OutOfMemory, which is raised where that does not fit.
    """
    waiting = list(reversed(parts))
    most: int | None = None
    while waiting:
        part = waiting.pop()
        count = part.stop - part.start
        if most is not None and count > most:
            middle = part.start + count // 2
            waiting += [slice(middle, part.stop), slice(part.start, middle)]
            continue
        try:
            result = work(part)
        except (RuntimeError, MemoryError, OutOfMemory) as error:
            if not is_out_of_memory(error):
                raise
        else:
            yield part, result
            continue
        # Outside of the except clause, whose error would keep the memory of the attempt.
        let_go(device)
        if count == 1:
            raise exhausted(what, device, "close what else uses it, or compute on another device")
        most = count // 2
        waiting.append(part)
