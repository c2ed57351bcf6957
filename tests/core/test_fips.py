"""Machines (FIPS) that refuse hashes which are no longer safe, unless told that nothing depends on their safety."""

import ast
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from gan_core.hub.fetch import has_hash

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for folder in ("gan_core", "nodes", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))
]
APPROVED = {"sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512"}


@pytest.fixture
def fips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes hashlib answer as it does there."""
    for name in ("md5", "sha1", "new"):
        real = getattr(hashlib, name)

        def strict(*arguments, real=real, usedforsecurity=True, **options):
            weak = real.__name__ != "new" or str(arguments[0]).lower() not in APPROVED
            if usedforsecurity and weak:
                raise ValueError("[digital envelope routines] unsupported")
            return real(*arguments, usedforsecurity=usedforsecurity, **options)

        monkeypatch.setattr(hashlib, name, strict)


@pytest.mark.usefixtures("fips")
def test_a_file_of_git_is_compared_with_its_hash(tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(b"{}")
    described = SimpleNamespace(lfs=None, blob_id="9e26dfeeb6e641a33dae4961196235bdb965b21b")  # git hash-object
    transfer = SimpleNamespace(go_on=lambda: None, gets_ahead=lambda: None)
    assert has_hash(file, described, transfer)
    file.write_bytes(b"[]")
    assert not has_hash(file, described, transfer)


def unsafe_hashes(program: str) -> list[str]:
    """Calls of hashlib for another hash than those approved that do not say that they are not for security."""
    calls = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and node.module == "hashlib":
            calls += [alias.name for alias in node.names if alias.name not in APPROVED]
        if isinstance(node, ast.Call) and re.fullmatch(r"hashlib\.\w+", ast.unparse(node.func)):
            said = any(word.arg == "usedforsecurity" and ast.unparse(word.value) == "False" for word in node.keywords)
            if not said and not ast.unparse(node.func).endswith(tuple(APPROVED)):
                calls.append(ast.unparse(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("uuid.uuid3", "uuid.uuid5"):  # md5 and sha1 within
            calls.append(ast.unparse(node))
    return calls


@pytest.mark.parametrize(
    "program", ["hashlib.sha1(b'')", "hashlib.new('md5')", "from hashlib import md5", "uuid.uuid5(a, b)"]
)
def test_an_unsafe_hash_is_found(program):
    assert unsafe_hashes(program)


def test_no_hash_is_used_that_such_machines_refuse():
    found = {path.relative_to(ROOT).as_posix(): unsafe_hashes(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 100
    assert {path: calls for path, calls in found.items() if calls} == {}
