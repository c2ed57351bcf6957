"""The film of a run: which sheets are kept, and how they look."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan_core import InputError
from gan_core.training import film
from gan_core.training.film import Film, most_crowded, small


def sheet(side: int = 8, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (side, side))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(film, "MAX_SHEETS", 20)
    return 20


def test_sheets_are_listed_by_the_images_that_had_been_shown(tmp_path: Path) -> None:
    found = Film(tmp_path)
    assert found.sheets == []
    for images in (0, 900, 12_000_000):
        found.add(images, sheet())
    (tmp_path / film.FOLDER / "notes.txt").touch()
    (tmp_path / film.FOLDER / "²٣.jpg").touch()
    assert found.sheets == [0, 900, 12_000_000]
    assert film.opened(found.path(900)).size == (8, 8)


def test_a_full_film_stays_evenly_spaced_and_keeps_its_first_and_last(tmp_path: Path, few: int) -> None:
    found = Film(tmp_path)
    for images in range(0, 10_000, 100):
        found.add(images, sheet())
    sheets = found.sheets
    assert len(sheets) == few and sheets[0] == 0 and sheets[-1] == 9900
    gaps = np.diff(sheets)
    assert gaps.max() <= 4 * gaps.min()


@given(st.lists(st.integers(0, 10**9), min_size=3, max_size=40, unique=True).map(sorted))
def test_the_ends_are_never_the_most_crowded(sheets: list[int]) -> None:
    assert most_crowded(sheets) in sheets[1:-1]


def test_sheets_of_a_state_that_the_run_went_back_from_are_removed(tmp_path: Path) -> None:
    found = Film(tmp_path)
    for images in (100, 200, 300):
        found.add(images, sheet())
    found.cut(200)
    assert found.sheets == [100, 200]


def test_sheets_are_small_and_transparent_parts_are_white(tmp_path: Path) -> None:
    assert small(sheet(2064)).size == (film.SHEET_SIDE, film.SHEET_SIDE)
    assert small(sheet(30)).size == (30, 30)
    assert small(sheet(4, "RGBA")).getpixel((0, 0)) == (255, 255, 255)
    assert small(sheet(4, "L")).mode == "RGB"


def test_two_threads_may_add_at_once(tmp_path: Path, few: int) -> None:
    found = Film(tmp_path)
    threads = [
        threading.Thread(target=lambda start=start: [found.add(i, sheet()) for i in range(start, 60, 2)])
        for start in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found.sheets) <= few


def test_a_missing_or_damaged_sheet_is_refused_in_a_sentence(tmp_path: Path) -> None:
    found = Film(tmp_path)
    found.add(1, sheet())
    found.path(1).write_bytes(b"not an image")
    for images in (1, 2):
        with pytest.raises(InputError, match="cannot be opened"):
            film.opened(found.path(images))
