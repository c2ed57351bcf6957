"""Claims: what belongs to a training besides its steps costs little, and bfloat16 costs no quality.

Where a run's CPU time goes is found by a clock around its own methods; what augmentation costs, by runs that take
turns; and what bfloat16 makes of the images, by runs of the same seed in both precisions, compared image for image.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import gan_core
from gan_core import ImageDataset, TrainConfig, examples
from gan_core.training.loop import Session
from gan_core.training.run import Run

from .measure import Figures, interleaved, ratio
from .peers.ours import Changed
from .quality import SAMPLES, Judge, digits_of, drawn

P = 0.3
"""Of ada, while its cost is taken: about what a few hundred images come to."""

AUGMENTED = ("few", "dcgan", "stylegan2_small")
"""Presets whose steps are compared with and without augmentation; the first has the smallest network."""

PARTS = ("data", "looking at samples", "KID", "sheets of samples", "checkpoints", "healthy states")
"""What a run does besides learning."""

RUNS: dict[str, Callable[[], ImageDataset]] = {
    "digits": lambda: examples.digits(28),
    "few": lambda: examples.portraits(64),
    "stylegan2_small": lambda: examples.digits(32),
}
"""Presets, and data for each."""

MARKS = 4
"""Of a run in either precision, at which its KID is measured."""


def run(seconds: float, rounds: int, kimg: float, seeds: Sequence[int]) -> Figures:
    """seconds: CPU time of each run that is looked into. rounds: of the comparison of augmentations. kimg: the length
    of the runs in both precisions, of which there is a pair for each of the seeds."""
    torch.set_num_threads(1)
    return {
        "augmentation": {preset: _augmentation(preset, rounds) for preset in AUGMENTED},
        "shares": {preset: _shares(preset, data(), seconds) for preset, data in RUNS.items()},
        "precision": _precision(kimg, seeds),
    }


def _augmentation(preset: str, rounds: int) -> Figures:
    """What a step costs with an augmentation, against one without."""
    data, found = examples.portraits(64), {}
    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for augment in ("none", "diffaugment", "ada"):
            changes = {"augment": augment, "augment_p": P if augment == "ada" else None, "measure_kimg": math.inf}
            session = _session(data, Changed(Path(folder, augment), preset, kimg=1e6, changes=changes))
            session.files.checkpointed = math.inf
            contenders[augment] = session.advance
        interleaved(contenders, 1, 3)  # the first choose kernels and grow the heap
        taken = interleaved(contenders, rounds, 2)
    for augment in ("diffaugment", "ada"):
        found[augment] = round(ratio(taken[augment], taken["none"]) - 1, 4)
        print(f"{augment}: {found[augment]:+.1%} of a step ({preset}, 64x64); aim below 10 %", flush=True)
    return found


def _session(data: ImageDataset, config: TrainConfig) -> Session:
    """A training whose parts can be reached. Its folder is not locked."""
    return Session(Run(data, config, torch.device("cpu")))


def _shares(preset: str, data: ImageDataset, seconds: float) -> Figures:
    """Shares of a run's CPU time."""
    spent = dict.fromkeys(PARTS, 0.0)
    within = [0.0]  # time that is another part's, for each part that is being counted

    def timed(method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*of: Any, **named: Any) -> Any:
            within.append(0.0)
            start = time.process_time()
            try:
                return method(*of, **named)
            finally:
                whole = time.process_time() - start
                spent[name] += whole - within.pop()
                within[-1] += whole

        return call

    with tempfile.TemporaryDirectory() as folder:
        session = _session(data, TrainConfig(Path(folder, "run"), preset, kimg=1e6, on_trouble="ignore"))
        run, of_step = session.run, session.run.batches.of_step
        parts: list[tuple[Any, str]] = [
            (run.batches, "of_step"),
            (run.method, "measure"),
            (session.monitor, "_kid"),
            (run, "preview"),
            (session.files, "checkpoint"),
            (session.policy, "respond"),
        ]
        run.batches.of_step = lambda *of: iter([*of_step(*of)])  # else they would be drawn within a step
        for (part, name), what in zip(parts, PARTS, strict=True):
            setattr(part, name, timed(getattr(part, name), what))
        start = time.process_time()
        while time.process_time() - start < seconds:
            session.advance()
        whole = time.process_time() - start
    shares = {what: round(value / whole, 4) for what, value in spent.items()}
    told = ", ".join(f"{what} {share:.1%}" for what, share in shares.items())
    print(f"{preset}, {run.images / 1000:.1f} kimg in {whole:.0f} CPU s: {told}", flush=True)
    return {"cpu_s": round(whole, 1), "kimg": run.images / 1000, **shares}


def _precision(kimg: float, seeds: Sequence[int]) -> Figures:
    """KID of `digits` after the same images, and the CPU time, in bfloat16 and in float32."""
    shown, unseen = digits_of(None)
    judge = Judge(unseen)
    found: dict[str, Any] = {}
    for precision in ("auto", "fp32"):
        courses = [list(_course(shown, judge, precision, kimg, seed)) for seed in seeds]
        means = [
            {name: round(statistics.mean(mark[name] for mark in marks), 4) for name in ("cpu_s", "kid", "coverage")}
            for marks in zip(*courses, strict=True)
        ]
        for i, mark in enumerate(means, 1):
            print(
                f"digits, {precision:5}{kimg * i / MARKS:6.1f} kimg, {mark['cpu_s']:6.1f} CPU s: "
                f"KID {mark['kid']:.4f}, coverage {mark['coverage']:.3f} (mean of {len(seeds)})",
                flush=True,
            )
        found[precision] = {"means": means, "runs": courses}
    return {"kimg": kimg, "samples": SAMPLES, "seeds": [*seeds], **found}


def _course(shown: ImageDataset, judge: Judge, precision: str, kimg: float, seed: int) -> Iterator[dict[str, float]]:
    """What is measured of one run at each of its marks; the time that measuring takes is not counted."""
    used, mark = 0.0, 1
    with tempfile.TemporaryDirectory() as folder:
        settings = {"precision": precision, "measure_kimg": math.inf}
        config = TrainConfig(Path(folder, "run"), "digits", kimg=kimg, seed=seed, settings=settings)
        start = time.process_time()
        training = gan_core.train(shown, config, "cpu")
        for progress in training:
            if progress.images >= 1000 * kimg * mark / MARKS:
                used += time.process_time() - start
                found = judge.measured_made(drawn(training.generator))
                yield {"cpu_s": round(used, 1), "kimg": progress.images / 1000, **found}
                mark += 1
                start = time.process_time()
