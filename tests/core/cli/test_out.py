"""What --out may be: a file where a file is written, a folder where a folder is, and links that stay links."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hub_server import Hub

from gan_core import load
from gan_core.cli import main
from gan_core.examples import FOLDER as EXAMPLES

DIGITS = EXAMPLES / "digits.safetensors"


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 2 and done.output.startswith("Error: ") and done.output.count("\n") == 1, done.output
    return done.output


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture(params=["a folder", "a link to a folder"])
def place(request: pytest.FixtureRequest, folder: Path) -> Path:
    if request.param == "a folder":
        return folder
    link = folder.with_name("link")
    link.symlink_to(folder, target_is_directory=True)
    return link


def test_a_folder_is_not_replaced_by_a_file(place: Path) -> None:
    was_link = place.is_symlink()
    assert "is a folder: give the name of a file in it." in refused("convert", DIGITS, "--out", place)
    assert place.is_dir() and place.is_symlink() == was_link and list(place.iterdir()) == []


@pytest.mark.usefixtures("client")
def test_nor_by_what_is_fetched(hub: Hub, place: Path) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS.read_bytes()})
    hub.requests.clear()
    assert "is a folder: give the name of a file in it." in refused("fetch", "anna/digits", "--out", place)
    assert list(place.iterdir()) == [] and hub.requests == []


def test_nor_by_a_sheet(folder: Path) -> None:
    sheet = folder.with_name("sheet.png")
    sheet.symlink_to(folder, target_is_directory=True)
    assert "is a folder: give the name of a file in it." in refused("sample", DIGITS, "--seeds", "0", "--out", sheet)
    assert sheet.is_symlink() and list(folder.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_file_stays_and_is_followed(folder: Path, there: bool) -> None:
    target, link = folder / "elsewhere.safetensors", folder.with_name("link.safetensors")
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    run("convert", DIGITS, "--out", link)
    assert link.is_symlink() and os.readlink(link) == str(target) and load(target).title == "digits"
    sheet, drawn = folder / "sheet.png", folder.with_name("drawn.png")
    drawn.symlink_to(sheet)
    run("sample", DIGITS, "--seeds", "0", "--out", drawn)
    assert drawn.is_symlink() and sheet.read_bytes().startswith(b"\x89PNG")


def test_a_link_to_a_folder_takes_pictures(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder, target_is_directory=True)
    run("sample", DIGITS, "--seeds", "3", "--out", link)
    assert [path.name for path in folder.iterdir()] == ["seed000003.png"] and link.is_symlink()


@pytest.mark.parametrize("name", ["s.jpg", "s.JPEG", "s.webp", "s.gif", "s.tiff", "s.safetensors", "s.mp4"])
def test_a_picture_of_another_kind_is_no_folder(tmp_path: Path, name: str) -> None:
    said = refused("sample", DIGITS, "--seeds", "0", "--out", tmp_path / name)
    assert "is not a name for a folder: images are written as PNG: one grid to a .png file" in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_called_what_it_likes(tmp_path: Path) -> None:
    for name in ("v1.5", "new.pictures", "plain"):
        run("sample", DIGITS, "--seeds", "0", "--out", tmp_path / name)
    (tmp_path / "mine.jpg").mkdir()
    run("sample", DIGITS, "--seeds", "0", "--out", tmp_path / "mine.jpg")
    assert all(path.is_dir() and list(path.iterdir()) for path in tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for command in (["sample", DIGITS, "--seeds", "0"], ["train", photos, "--kimg", "0.1"], ["demo"]):
        assert "is a file: " in refused(*command, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_run_is_no_file(tmp_path: Path, photos: Path) -> None:
    for command in (["train", photos, "--kimg", "0.1"], ["demo"]):
        said = refused(*command, "--out", tmp_path / "generator.safetensors")
        assert "--out must be the folder of the run, which will contain generator.safetensors" in said
    assert list(tmp_path.iterdir()) == [photos]
