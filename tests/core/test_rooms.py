"""The house's plan: no two files import each other, and imports point one way, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = [
    ["nodes"],
    ["nodes.types"],
    ["nodes.host"],
    ["gan_core.__main__"],
    ["gan_core.cli"],
    ["gan_core.hub"],
    ["gan_core"],  # what `import gan_core` offers
    ["gan_core.training"],
    ["gan_core.metrics", "gan_core.foreign", "gan_core.examples"],
    ["gan_core.sampling"],
    ["gan_core.generator"],
    ["gan_core.latents", "gan_core.card"],
    ["gan_core.weights", "gan_core.architectures", "gan_core.data"],
    ["gan_core.losses", "gan_core.media"],
    ["gan_core.files"],
    ["gan_core.locks", "gan_core.names", "gan_core.folders", "gan_core.pacing"],
    ["gan_core.memory", "gan_core.platforms"],
    ["gan_core.errors"],
]
"""Rooms, top to bottom. A file imports from its own room and from lower layers, never from one beside it or above."""

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Imports that point up or sideways all the same, from file to file, and the reason of each."""

Imports = Mapping[str, set[str]]
"""The files that each file imports, all by their dotted names."""


def imports_of(root: Path, *packages: str) -> Imports:
    """Reads who imports whom in packages below a folder. Imports in functions and under TYPE_CHECKING count too."""
    files = {}
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: {*_imported(name, path, files)} - {name} for name, path in files.items()}


def _imported(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    package = ["", *name.split(".")][: None if path.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            inside = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            wanted = [each if each in files else base for each in inside]
        else:
            continue
        yield from (each for each in wanted if each in files)


def circles(imports: Imports) -> list[list[str]]:
    """Finds the groups of files in which each can be reached from each along imports."""
    reached = {name: _reached(name, imports) for name in imports}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in imports}
    return sorted(sorted(group) for group in groups if group)


def _reached(start: str, imports: Imports) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def room_of(name: str) -> str:
    """The most exact room that LAYERS name for a file. Raises LookupError for a file that has none."""
    rooms = [room for layer in LAYERS for room in layer if name == room or name.startswith(f"{room}.")]
    room = max(rooms, key=len, default="")
    if not room or (room == "gan_core" and name != room):
        raise LookupError(f"{name} is in none of the rooms: give its room a place in LAYERS.")
    return room


def against_the_arrows(imports: Imports) -> list[tuple[str, str]]:
    """Finds the imports that point up, or to a room beside."""
    depth = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    return sorted(
        (name, other)
        for name, others in imports.items()
        for other in others
        if room_of(name) != room_of(other) and depth[room_of(other)] <= depth[room_of(name)]
    )


@pytest.fixture(scope="module")
def house() -> Imports:
    return imports_of(ROOT, "gan_core", "nodes")


def test_no_two_files_import_each_other(house):
    assert circles(house) == []


def test_imports_point_down(house):
    assert [arrow for arrow in against_the_arrows(house) if arrow not in EXCEPTIONS] == []


def test_every_room_and_every_exception_is_still_there(house):
    rooms = {room_of(name) for name in house}
    assert [room for layer in LAYERS for room in layer if room not in rooms] == []
    assert EXCEPTIONS.keys() <= {*against_the_arrows(house)}
    assert all(reason.endswith(".") for reason in EXCEPTIONS.values())


def test_imports_of_the_house_are_really_read(house):
    assert {"gan_core.generator", "gan_core.errors"} <= house["gan_core.sampling.projection"]
    assert any(other.startswith("gan_core.") for other in house["nodes.generate"]), "across the two packages"
    assert "gan_core.cli" in house["gan_core.__main__"]
    assert sum(map(len, house.values())) > 300


@pytest.fixture
def plan(tmp_path):
    """Writes files, as a house of its own, and reads who imports whom in it."""

    def build(**sources: str) -> Imports:
        for name, source in sources.items():
            file = tmp_path / "gan_core" / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source, encoding="utf-8")
        return imports_of(tmp_path, "gan_core")

    return build


@pytest.mark.parametrize(
    "back",
    [
        "from .a import A",
        "from . import a",
        "import gan_core.hub.a",
        "from gan_core.hub import a as other",
        "from ..hub.a import A",
        "def later():\n    from .a import A",
        "if TYPE_CHECKING:\n    from .a import A",
        "try:\n    from .a import A\nexcept ImportError:\n    pass",
    ],
)
def test_a_circle_is_found_however_the_way_back_is_written(plan, back):
    assert circles(plan(hub__a="from .b import B", hub__b=back)) == [["gan_core.hub.a", "gan_core.hub.b"]]


def test_a_circle_of_three_is_found_and_what_hangs_on_it_is_no_part_of_it(plan):
    house = plan(
        hub__a="from . import b", hub__b="from .c import C", hub__c="from .a import A", hub__d="from . import a"
    )
    assert circles(house) == [["gan_core.hub.a", "gan_core.hub.b", "gan_core.hub.c"]]


def test_a_line_is_no_circle(plan):
    assert circles(plan(hub__a="from .b import B", hub__b="from .c import C", hub__c="import os")) == []


@pytest.mark.parametrize(
    ("file", "source", "target"),
    [
        ("errors", "from .files import replacing", "files"),
        ("media__image", "from ..data import images", "data.images"),
        ("losses__adversarial", "from ..media import image", "media.image"),
        ("generator", "def load():\n    from .training.run import Run", "training.run"),
    ],
    ids=["up", "up to a room", "sideways", "in a function"],
)
def test_an_import_that_does_not_point_down_is_found(plan, file, source, target):
    house = plan(
        **{file: source, "files": "", "data__images": "", "media__image": "", "training__run": ""} | {file: source}
    )
    assert against_the_arrows(house) == [(f"gan_core.{file.replace('__', '.')}", f"gan_core.{target}")]


def test_imports_that_point_down_or_stay_in_their_room_are_free(plan):
    house = plan(
        cli__a="from .b import B\nfrom ..errors import InputError", cli__b="from ..hub import x", hub__x="", errors=""
    )
    assert against_the_arrows(house) == []


def test_a_file_without_a_room_is_named(plan):
    with pytest.raises(LookupError, match=r"gan_core\.attic is in none of the rooms"):
        against_the_arrows(plan(attic="from .errors import InputError", errors=""))
