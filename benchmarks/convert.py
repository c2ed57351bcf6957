"""Claim: a file of another program is read as fast as torch.load reads the same tensors, in 1.5 times its size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gan_core.architectures import stylegan2
from gan_core.foreign import state_dicts as foreign
from gan_core.foreign import torch_files

from .measure import Figures, interleaved, ratio, spread

MEMORY_TARGET = 1.5

PEAK = """
import json, sys
from pathlib import Path
from gan_core.foreign.import_generator import importing
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
for _ in range(2):  # the first time, Python itself loads much of torch
    step = None
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = peak()
    for step in importing(sys.argv[1]):
        pass
print(json.dumps(peak() - before))
"""
"""What a generator out of a file takes of memory at most, in bytes."""


def run(rounds: int, threads: int, pickle: Path | None) -> Figures:
    """Reads the state dict of a StyleGAN2 for 256x256 in both wrappings of torch.save.

    pickle: a snapshot of NVIDIA's. It is compared with torch.load on its EMA generator alone, and on both of its
    generators: it holds a discriminator too, and all of it has to be walked through to find the one that is wanted.
    """
    torch.set_num_threads(threads)
    figures: Figures = {"rounds": rounds, "memory_target": MEMORY_TARGET}
    with tempfile.TemporaryDirectory() as folder:
        config = stylegan2.StyleGAN2Config(256, 3, stylegan2.widths(256, 16384))
        tensors = stylegan2.StyleGAN2Generator(config).state_dict()
        for name, zipped in (("zip", True), ("row of pickles", False)):
            path = Path(folder) / f"{name}.pt"
            torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
            figures[name] = _compared(name, path, {"torch.load": path}, rounds)
        if pickle is None:
            print("SKIPPED NVIDIA's pickles: give --pickle, the path of one.")
        else:
            with torch_files.opened(pickle) as file:
                networks = [_read(file, found) for found in foreign.candidates(file)]
            same = {"torch.load": Path(folder) / "same.pt", "torch.load of both": Path(folder) / "both.pt"}
            torch.save(networks[0], same["torch.load"])
            torch.save(networks[:2], same["torch.load of both"])
            figures["pickle"] = _compared("NVIDIA's pickle", pickle, same, rounds)
    return figures


def _compared(name: str, path: Path, same: dict[str, Path], rounds: int) -> Figures:
    contenders: dict[str, Callable[[], object]] = {"ours": lambda: _first(path)}
    contenders |= {kind: partial(torch.load, file, weights_only=True) for kind, file in same.items()}
    interleaved(contenders, rounds=1, calls=1)
    seconds = interleaved(contenders, rounds, calls=1)
    print(f"{name}, {path.stat().st_size / 1e6:.0f} MB: ours {spread(seconds['ours'])} CPU s")
    figures: Figures = {"bytes": path.stat().st_size}
    for kind in same:
        found = ratio(seconds[kind], seconds["ours"])
        figures[f"ratio to {kind}"] = round(found, 3)
        print(f"    {kind} {spread(seconds[kind])}: {found:.2f} times as fast")
    if Path("/proc/self/clear_refs").exists():
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        figures["memory"] = round(json.loads(done.stdout) / path.stat().st_size, 3)
        print(f"    {figures['memory']} times the file's size in memory; the aim is at most {MEMORY_TARGET}")
    return figures


def _first(path: Path) -> dict[str, Tensor]:
    with torch_files.opened(path) as file:
        return _read(file, next(foreign.candidates(file)))


def _read(file: torch_files.TorchFile, found: foreign.Candidate) -> dict[str, Tensor]:
    return {name: file.tensor(stored) for name, stored in found.tensors.items()}
