"""Claims: `import gan_core` adds under 0.1 s to `import torch`, and the pack under 0.3 s to ComfyUI's start."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from . import comfyui
from .comfyui import ROOT, ComfyUI
from .measure import Figures, spread

TARGET, PACK_TARGET = 0.1, 0.3
HEAVY = 0.01
"""Seconds from which a module is named."""

PACK = "ComfyUI-GAN-Studio"

SPLIT = """
import time
import torch
before = time.process_time()
import gan_core
print(before, time.process_time() - before)
"""


def run(rounds: int, starts: int) -> Figures:
    """Imports in fresh processes, and starts ComfyUI where there is one."""
    figures = _core(rounds)
    comfy = comfyui.find()
    if comfy is None:
        print(f"SKIPPED the pack's import: there is no ComfyUI here. {comfyui.ABSENT}")
        return figures
    return {**figures, **_pack(comfy, starts)}


def _core(rounds: int) -> Figures:
    _python("-c", SPLIT)  # writes byte code, and brings the files into memory
    torch_alone, extra = [], []
    for _ in range(rounds):
        before, after = map(float, _python("-c", SPLIT).stdout.split())
        torch_alone.append(before)
        extra.append(after)
    print(f"import torch        {spread(torch_alone)} CPU seconds, with Python's own start")
    print(f"then import gan_core {spread(extra)} CPU seconds more; the aim is under {TARGET}")
    heavy = _added_modules(_python("-X", "importtime", "-c", "import torch, gan_core").stderr)
    for name, seconds in heavy.items():
        print(f"  {seconds:.3f} s {name}, with what it imports")
    return {
        "torch_cpu_seconds": round(statistics.median(torch_alone), 3),
        "extra_cpu_seconds": round(statistics.median(extra), 4),
        "target": TARGET,
        "rounds": rounds,
        "modules_over_10_ms": heavy,
    }


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)


def _added_modules(log: str) -> dict[str, float]:
    """Seconds by name of the heavy modules that come after torch in a log of -X importtime, which is in wall time."""
    rows = _import_times(log)
    after = [name for name, _ in rows].index("torch") + 1
    return {name: seconds for name, seconds in rows[after:] if seconds >= HEAVY}


def _import_times(log: str) -> list[tuple[str, float]]:
    """Each imported module and the seconds that it took with all that it imported, in the order of their ends."""
    rows = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \|\s+(.+?)\s*$", log, re.MULTILINE)
    return [(name, int(microseconds) / 1e6) for microseconds, name in rows]


def _pack(comfy: ComfyUI, starts: int) -> Figures:
    """Starts ComfyUI with this pack alone, as `main.py --quick-test-for-ci`: it loads all nodes and ends."""
    logged, imported = [], []
    for _ in range(starts + 1):
        log, name = _start(comfy)
        line = re.search(rf"([\d.]+) seconds(.*): .*{re.escape(PACK)}\s*$", log, re.MULTILINE)
        if line is None or "FAILED" in line[2]:
            print(f"SKIPPED the pack's import: ComfyUI did not load the pack. The end of its log:\n{log[-2000:]}")
            return {}
        logged.append(float(line[1]))
        imported.append(max(seconds for module, seconds in _import_times(log) if module.startswith(f"{name}.")))
    # The first start writes byte code.
    logged, imported = logged[1:], imported[1:]
    print(f"the pack in ComfyUI's start: {spread(imported)} s to import it, by -X importtime;")
    by_log = f"{statistics.median(logged):.1f} s by ComfyUI's own log, with its nodes' schemas"
    print(f"  {by_log}; the aim is under {PACK_TARGET}")
    return {
        "pack_import_seconds": round(statistics.median(imported), 4),
        "pack_logged_seconds": statistics.median(logged),
        "pack_target": PACK_TARGET,
        "pack_starts": starts,
    }


def _start(comfy: ComfyUI) -> tuple[str, str]:
    """ComfyUI's log, with the times of its imports, and the name that it imports the pack by."""
    with tempfile.TemporaryDirectory() as base:
        pack = Path(base, "custom_nodes", PACK)
        pack.parent.mkdir()
        pack.symlink_to(ROOT, target_is_directory=True)
        command = [
            comfy.python, "-X", "importtime", "main.py", "--quick-test-for-ci", "--cpu", "--disable-api-nodes",
            "--base-directory", base, "--database-url", "sqlite:///:memory:",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=comfy.folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, str(pack).replace(".", "_x_")
