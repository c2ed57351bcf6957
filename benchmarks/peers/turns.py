"""How a program that is timed takes turns with another: it takes a step when its standard input says so.

Each line that it reads is a number of steps. When they are done it prints one line of JSON: the seconds that they took,
and the peak of its memory so far. Ahead of the first it prints what it is.

On the CPU these are CPU seconds and resident memory. On a GPU they are wall seconds, each end of them taken once the
GPU has done all that it was given, and what torch's allocator held in tensors.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import torch

Read = Callable[[Any, int], Any]
"""A data set's `__getitem__`."""


def all_in_memory(read: Read) -> Read:
    """A reader that reads all items at its first call. Decoding the images of a step takes longer than a step on a GPU,
    which the programs' loaders would hide in other processes."""
    items: list[Any] = []

    def found(self: Any, index: int) -> Any:
        if not items:
            items.extend(read(self, i) for i in range(len(self)))
        return items[index]

    return found


class Turns:
    """Told of the beginning of each step; holds the program there until it is its turn."""

    def __init__(self, device: str = "cpu") -> None:
        """device: "cpu" or "cuda"."""
        self.device = device
        # What a program prints of its own goes to stderr, so that stdout has our lines alone.
        self.out: TextIO = sys.stdout
        sys.stdout = sys.stderr
        self.left = 0
        self.started: float | None = None

    def next_step(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Returns when a step may begin; ends the program when its input ends.

        facts: what the program is, asked for once.
        """
        if self.left == 0:
            self._tell(facts() if self.started is None else self._taken())
            line = sys.stdin.readline()
            if not line.strip():
                raise SystemExit
            self.left = int(line)
            self.started = self._now()
        self.left -= 1

    def taken(self, step: Callable[[], object], facts: dict[str, Any]) -> None:
        """Takes step after step, for a program whose step is a call."""
        while True:
            self.next_step(lambda: facts)
            step()

    def _taken(self) -> dict[str, Any]:
        assert self.started is not None
        return {"seconds": self._now() - self.started, "peak_mb": self._peak_mb()}

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def _peak_mb(self) -> float:
        if self.device == "cpu":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        return torch.cuda.max_memory_allocated() / 1e6

    def _tell(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), file=self.out, flush=True)
