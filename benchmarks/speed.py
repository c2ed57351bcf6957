"""Claim: a training step does at least twice the images per second of the programs that people train GANs with.

Each is run by its own code in its own Python, as `benchmarks.peers` says, and takes turns with ours: on the CPU step by
step, in CPU seconds; on a GPU many steps at a time, in wall seconds, as a single step there is mostly waiting.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gan_core import examples
from gan_core.training.graphs import EAGER_STEPS

from .comfyui import ROOT
from .measure import Figures, ratio, spread

IMAGES = 4096
"""Images of digits, in RGB, in a folder that all of them read."""

TARGET = 2.0

SECONDS_OF_A_TURN = 0.5
"""Of the faster program, on a GPU."""


@dataclass(frozen=True)
class Contest:
    """One program, and what of ours it is held against."""

    title: str
    driver: str
    """The module of benchmarks.peers that runs it."""
    needs: tuple[str, ...]
    """What has to be in the folder of peers besides its Python."""
    side: int
    batch: int
    same: str
    """What the two have in common besides resolution and batch."""
    preset: str
    """Ours."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its recipe."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """What else the program is told."""
    cycle: int = 1
    """Steps after which all that is done only now and then has been done once, in both."""
    on_gpu: Mapping[str, int] = field(default_factory=dict)
    """Side and batch on a GPU, where they differ."""

    def on(self, device: str) -> Contest:
        """The contest as it is held on that device."""
        return replace(self, **self.on_gpu) if device == "cuda" else self


CONTESTS = {
    "dcgan": Contest(
        "PyTorch's example DCGAN",
        driver="example",
        needs=("examples/dcgan/main.py",),
        side=64,
        batch=64,
        same="network and objective",
        preset="dcgan_classic",
        job={"repository": "examples"},
    ),
    "stylegan2-ada": Contest(
        "stylegan2-ada-pytorch, --cfg auto --aug noaug",
        driver="nvidia",
        needs=("stylegan2-ada-pytorch/train.py",),
        side=32,
        batch=4,
        same="network, objective and regularisers: R1 every 16 steps, path length every 4",
        preset="stylegan2",
        changes={
            "network": {"base": 16384, "mapping_layers": 2},
            "penalty": "r1",
            "penalty_every": 16,
            "path_length": 2.0,
            "augment": "none",
        },
        job={"repository": "stylegan2-ada-pytorch", "program": "stylegan2"},
        cycle=16,
        on_gpu={"side": 64, "batch": 32},
    ),
    "r3gan": Contest(
        "R3GAN, --preset CIFAR10 --aug False",
        driver="nvidia",
        needs=("R3GAN/train.py",),
        side=32,
        batch=4,
        same="network, objective and regularisers: exact R1 and R2 at every step",
        preset="r3gan_large",
        changes={"augment": "none"},
        job={"repository": "R3GAN", "program": "r3gan", "preset": "CIFAR10"},
        on_gpu={"batch": 64},
    ),
    "stylegan2-pytorch": Contest(
        "stylegan2-pytorch",
        driver="lucidrains",
        needs=("venv/lib/*/site-packages/stylegan2_pytorch",),
        side=64,
        batch=4,
        same="family; ours has the widths of its discriminator in both networks, where its generator is half as wide; "
        "gradient penalties of real and generated images every 4 steps; it has no path length till its 5,000th",
        preset="stylegan2",
        changes={
            "network": {"base": 4096, "mapping_layers": 8},
            "penalty": "r1_r2",
            "penalty_every": 4,
            "path_length": 0.0,
            "augment": "none",
        },
        job={"program": "stylegan2_pytorch"},
        cycle=4,
        on_gpu={"batch": 32},
    ),
    "lightweight-gan": Contest(
        "lightweight-gan",
        driver="lucidrains",
        needs=("venv/lib/*/site-packages/lightweight_gan",),
        side=64,
        batch=8,
        same="number of parameters, nearly; ours is a DCGAN",
        preset="dcgan",
        changes={"network": {"width": 144, "refine": 1}},
        job={"program": "lightweight_gan"},
        cycle=4,
        on_gpu={"batch": 32},
    ),
    "mimicry": Contest(
        "torch-mimicry's SNGAN, n_dis 1",
        driver="mimicry",
        needs=("venv/lib/*/site-packages/torch_mimicry",),
        side=32,
        batch=16,
        same="number of parameters, nearly, and objective: hinge with spectral norm; ours is a DCGAN",
        preset="dcgan",
        changes={"network": {"width": 120, "refine": 1}, "objective": "hinge"},
        job={"critic": 1},
        cycle=4,
        on_gpu={"batch": 64},
    ),
}
"""What is compared, by the names that --only takes."""


def run(peers: Path | None, only: Sequence[str], rounds: int, threads: int, device: str) -> Figures:
    """peers: the folder with the others' Python and repositories. only: names of contests; none for all."""
    if device == "cuda" and not torch.cuda.is_available():
        print("SKIPPED: there is no GPU that this torch can use.")
        return {"skipped": "no GPU"}
    figures: Figures = {"device": torch.cuda.get_device_name() if device == "cuda" else device}
    with tempfile.TemporaryDirectory() as folder:
        for name in only or CONTESTS:
            contest = CONTESTS[name].on(device)
            missing = "a folder of peers" if peers is None else _missing(contest, peers)
            if missing:
                print(f"SKIPPED {contest.title}: {missing} is not there; benchmarks/README.md says how to get it.")
                figures[name] = {"skipped": f"{missing} is not there"}
                continue
            assert peers is not None
            print(f"{contest.title}, {contest.side}x{contest.side}, batch {contest.batch}. The same: {contest.same}")
            figures[name] = _compared(contest, peers.resolve(), Path(folder, name), rounds, threads, device)
    return {**figures, "target": TARGET, "rounds": rounds}


def _missing(contest: Contest, peers: Path) -> str | None:
    return next((need for need in ("venv/bin/python", *contest.needs) if not list(peers.glob(need))), None)


def _compared(contest: Contest, peers: Path, folder: Path, rounds: int, threads: int, device: str) -> Figures:
    common = {
        "device": device,
        "threads": threads,
        "images": str(_images(folder / "images", contest.side)),
        "side": contest.side,
        "batch": contest.batch,
    }
    theirs = {**common, **contest.job, "folder": str(folder / "theirs")}
    if "repository" in theirs:
        theirs["repository"] = str(peers / str(theirs["repository"]))
    ours = {**common, "folder": str(folder / "ours"), "preset": contest.preset, "changes": dict(contest.changes)}
    with ExitStack() as stack:
        programs = {
            "ours": stack.enter_context(Program(sys.executable, "ours", ours)),
            "theirs": stack.enter_context(Program(str(peers / "venv/bin/python"), contest.driver, theirs)),
        }
        # The first steps choose kernels and grow the heap, and on a GPU ours are captured as CUDA graphs meanwhile.
        for program in programs.values():
            program.steps(1 if device == "cpu" else contest.cycle * (EAGER_STEPS + 1))
        turn, turns = (
            (1, contest.cycle) if device == "cpu" else (contest.cycle * _cycles_of_a_turn(contest, programs), 1)
        )
        seconds: dict[str, list[float]] = {name: [] for name in programs}
        for i in range(rounds):
            spent = dict.fromkeys(programs, 0.0)
            for _ in range(turns):
                for name in list(programs)[:: -1 if i % 2 else 1]:
                    spent[name] += programs[name].steps(turn)
            for name, value in spent.items():
                seconds[name].append(value / (turn * turns))
        return _told(contest, programs, seconds, "CPU second" if device == "cpu" else "second")


def _cycles_of_a_turn(contest: Contest, programs: Mapping[str, Program]) -> int:
    """How many cycles of steps take the faster of the programs SECONDS_OF_A_TURN, on a GPU."""
    return math.ceil(SECONDS_OF_A_TURN / min(program.steps(contest.cycle) for program in programs.values()))


def _told(contest: Contest, programs: Mapping[str, Program], seconds: Mapping[str, list[float]], unit: str) -> Figures:
    """Prints what was found, and returns it. unit: "second" or "CPU second"."""
    found: dict[str, Any] = {"side": contest.side, "batch": contest.batch, "same": contest.same}
    for name, program in programs.items():
        rates = [contest.batch / value for value in seconds[name]]
        print(
            f"  {name:7}{spread(rates)} images per {unit}, {program.facts['parameters']:,} parameters, "
            f"peak {program.peak_mb:,.0f} MB"
        )
        found[name] = {
            f"images_per_{unit.lower().replace(' ', '_')}": round(statistics.median(rates), 3),
            "peak_mb": round(program.peak_mb),
            **program.facts,
        }
    found["ratio"] = round(ratio(seconds["theirs"], seconds["ours"]), 3)
    print(f"  ours does {found['ratio']:.2f} times the images per {unit}; the aim is {TARGET}", flush=True)
    return found


def _images(folder: Path, side: int) -> Path:
    """A folder with one class of digits, as PNG files of that side in RGB: all programs read this form."""
    inside = folder / "digits"
    inside.mkdir(parents=True)
    for i, digit in enumerate(examples.digits().images[:IMAGES, ..., 0]):
        Image.fromarray(digit).resize((side, side)).convert("RGB").save(inside / f"{i:04}.png")
    return folder


class Program:
    """A process that trains, a few steps at a time."""

    def __init__(self, python: str, driver: str, job: Mapping[str, Any]):
        command = [python, "-m", f"benchmarks.peers.{driver}", json.dumps(job)]
        threads = {name: str(job["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.name = driver
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 # closed in __exit__
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **threads, "GAN_CORE_CACHE": str(Path(job["folder"], "cache"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.facts = self._answer()
        self.peak_mb = 0.0
        """Of its memory: what is resident, or on a GPU what tensors take."""

    def steps(self, count: int) -> float:
        """Takes this many steps. Returns seconds, as benchmarks.peers.turns has them."""
        assert self.process.stdin is not None
        print(count, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.peak_mb = answer["peak_mb"]
        return answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.name} has failed:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.errors.close()
