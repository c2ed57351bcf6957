"""How time is taken here, and how it is told."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Figures = dict[str, object]
"""What a benchmark found, as JSON."""


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, list[float]]:
    """CPU seconds of one call of each contender, for every round.

    A round calls each contender `calls` times. Neighbours in time share whatever else the machine is doing, so what is
    compared is compared within a round; and every other round runs backwards, so that none always comes first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds):
        for name in list(contenders)[:: -1 if i % 2 else 1]:
            start = time.process_time()
            for _ in range(calls):
                contenders[name]()
            seconds[name].append((time.process_time() - start) / calls)
    return seconds


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median over the rounds of of / to."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def spread(values: Sequence[float]) -> str:
    """The median and the middle half of some values, for people."""
    if len(values) < 2:
        return f"{values[0]:.4g}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4g} (middle half {low:.4g} to {high:.4g})"


def report(name: str, figures: Figures, threads: int | None = None) -> None:
    """Prints a benchmark's last line."""
    print(json.dumps({"benchmark": name, **figures, **_machine(threads)}))


def _machine(threads: int | None) -> Figures:
    import torch

    return {
        "torch": torch.__version__,
        "threads": threads or torch.get_num_threads(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        # Above the number of cores, other jobs were waiting for them too.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
