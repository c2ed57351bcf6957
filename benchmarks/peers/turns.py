"""How a program that is timed takes turns with another: it takes a step when its standard input says so.

Each line that it reads is a number of steps. When they are done it prints one line of JSON: the CPU seconds that they
took, and the peak of its memory so far. Ahead of the first it prints what it is.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


class Turns:
    """Told of the beginning of each step; holds the program there until it is its turn."""

    def __init__(self) -> None:
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
            self.started = time.process_time()
        self.left -= 1

    def taken(self, step: Callable[[], object], facts: dict[str, Any]) -> None:
        """Takes step after step, for a program whose step is a call."""
        while True:
            self.next_step(lambda: facts)
            step()

    def _taken(self) -> dict[str, Any]:
        assert self.started is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "cpu_s": time.process_time() - self.started,
            "peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3),
        }

    def _tell(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), file=self.out, flush=True)
