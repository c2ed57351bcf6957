"""What is listed of a person's folders, with links in them: it opens, and nothing else does."""

import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gan_core.folders import MAX_VISITS, files_in, folders_in, within

ENDINGS = (".safetensors",)

NAMES = st.sampled_from(["a", "b", "c.safetensors", "D.SafeTensors", "note.txt", "e\\f", "é 写真", ".hidden"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.lists(st.tuples(PLACES, st.one_of(st.none(), PLACES, st.sampled_from(["", "../outside", "../outside/x"]))))


@contextmanager
def tree(entries: list[tuple[str, str | None]]) -> Iterator[Path]:
    """A folder with files (where the second is None) and links to other places in it, or beside it; what cannot be
    made of these is left out."""
    with TemporaryDirectory() as temporary:
        root = Path(temporary) / "real" / "root"
        outside = root.parent / "outside" / "x"
        outside.mkdir(parents=True)
        root.mkdir()
        (outside / "linked.safetensors").write_text("linked")
        (root.parent / "secret.safetensors").write_text("secret")
        for place, target in entries:
            path = root / place
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("own") if target is None else path.symlink_to(root / target)
            except OSError:
                continue
        # The whole of it is reached through a link too.
        (Path(temporary) / "base").symlink_to(root)
        yield Path(temporary) / "base"


@settings(deadline=None, max_examples=30)
@given(TREES)
@example([("loop", ""), ("a/b", "a"), ("c.safetensors", None)])
@example([("away", "../outside"), ("file.safetensors", "../outside/x/linked.safetensors"), ("gone", "nowhere")])
def test_whatever_is_listed_opens(entries: list[tuple[str, str | None]]) -> None:
    with tree(entries) as root:
        for name in files_in(root, ENDINGS):
            path = within(root, name)
            assert path is not None and path.read_text() in ("own", "linked")
        for name in folders_in(root, 3):
            path = within(root, name)
            assert path is not None and os.listdir(path) is not None


PARTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "outside", "secret.safetensors", "/", "\0", "C:", "~"]),
    st.text(string.printable, max_size=4),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(PARTS, max_size=6).map("/".join))
@example("../secret.safetensors")
@example("a/../../secret.safetensors")
@example("link/../secret.safetensors")
@example("\ud800.safetensors")
@example("x" * 5000)
def test_no_name_leads_out(name: str) -> None:
    with tree([("a/b/c.safetensors", None), ("link", "../outside/x")]) as root:
        path = within(root, name)
        if ".." in name.split("/") or os.path.isabs(name) or not name.strip("/."):
            assert path is None or (not name.startswith("/") and ".." not in path.parts)
        if path is not None and os.path.isfile(path):
            assert path.read_text() != "secret"
            assert path.parts[: len(root.parts)] == root.parts and ".." not in path.parts


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../b", "a/..", "/a", "/", "a\0b"])
def test_such_names_are_none(tmp_path: Path, name: str) -> None:
    assert within(tmp_path, name) is None


@pytest.mark.skipif(os.name == "nt", reason="it makes links, which Windows lets few people do")
class TestLinks:
    def test_a_link_of_the_persons_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "disk" / "deep").mkdir(parents=True)
        (tmp_path / "disk" / "deep" / "x.safetensors").touch()
        (tmp_path / "gan").mkdir()
        (tmp_path / "gan" / "mine").symlink_to(tmp_path / "disk")
        (tmp_path / "gan" / "one.safetensors").symlink_to(tmp_path / "disk" / "deep" / "x.safetensors")
        assert files_in(tmp_path / "gan", ENDINGS) == ["mine/deep/x.safetensors", "one.safetensors"]
        assert folders_in(tmp_path / "gan", 2) == ["mine", "mine/deep"]
        assert folders_in(tmp_path / "gan", 1) == ["mine"]

    def test_a_folder_that_is_itself_a_link_is_looked_into(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "x.safetensors").touch()
        (tmp_path / "gan").symlink_to(tmp_path / "disk")
        assert files_in(tmp_path / "gan", ENDINGS) == ["x.safetensors"]

    @pytest.mark.parametrize("target", [".", "..", "../..", "a"])
    def test_circles_end(self, tmp_path: Path, target: str) -> None:
        folder = tmp_path / "gan" / "a"
        folder.mkdir(parents=True)
        (folder / "x.safetensors").touch()
        (folder / "round").symlink_to(folder / target if target != "a" else tmp_path / "gan")
        (folder / "again").symlink_to(folder)
        assert files_in(tmp_path / "gan", ENDINGS) == ["a/x.safetensors"]
        assert folders_in(tmp_path / "gan", 9) == ["a"]

    def test_links_to_links_to_links_end(self, tmp_path: Path) -> None:
        """Forty folders, each with two links to the next: a million million ways."""
        for number in range(40):
            (tmp_path / str(number)).mkdir()
        for number in range(39):
            for link in ("one", "two"):
                (tmp_path / str(number) / link).symlink_to(tmp_path / str(number + 1))
        (tmp_path / "39" / "x.safetensors").touch()
        root = tmp_path / "gan"
        root.mkdir()
        (root / "in").symlink_to(tmp_path / "0")
        assert 1 <= len(files_in(root, ENDINGS)) <= MAX_VISITS

    def test_links_to_nowhere_are_not_listed(self, tmp_path: Path) -> None:
        (tmp_path / "x.safetensors").symlink_to(tmp_path / "nowhere")
        (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
        (tmp_path / "self").symlink_to(tmp_path / "self")
        assert files_in(tmp_path, ENDINGS) == folders_in(tmp_path, 2) == []


def test_hidden_files_and_half_written_ones_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".partial" / "1234").mkdir(parents=True)
    (tmp_path / ".partial" / "1234" / "x.safetensors").touch()
    (tmp_path / "._x.safetensors").touch()
    (tmp_path / "x.SAFETENSORS").touch()
    (tmp_path / "folder.safetensors").mkdir()
    assert files_in(tmp_path, ENDINGS) == ["x.SAFETENSORS"]


def test_a_folder_that_is_not_there_has_nothing_in_it(tmp_path: Path) -> None:
    assert files_in(tmp_path / "none", ENDINGS) == folders_in(tmp_path / "none", 2) == []
