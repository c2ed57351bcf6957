"""Checks the types of gan_core and of nodes.

python .ci/check_types.py [--python-executable PYTHON] [further options of mypy]

ComfyUI loads the checkout as one package, whatever its folder is called, and the nodes import the core from it
(from ..gan_core import ...). mypy is told the same. The types of torch and of the others come from the Python given,
else from the virtual environment that is active or lies in .venv, else from the Python that runs this.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment() -> Path:
    """The Python that has the packages the project is built on."""
    for folder in filter(None, (os.environ.get("VIRTUAL_ENV"), ROOT / ".venv")):
        for python in (Path(folder) / "bin" / "python", Path(folder) / "Scripts" / "python.exe"):
            if python.is_file():
                return python
    return Path(sys.executable)


def main(options: list[str]) -> int:
    if "--python-executable" not in options:
        options = ["--python-executable", str(environment()), *options]
    packages = [option for part in ("gan_core", "nodes") for option in ("-p", f"{ROOT.name}.{part}")]
    command = [sys.executable, "-m", "mypy", *options, *packages]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT.parent)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
