"""What a person is shown of a data set: a sheet, what is known of the images, and advice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_core import ImageDataset
from gan_core.data.advice import advice_on
from gan_core.data.duplicates import Duplicates
from gan_core.data.overview import MAX_CLASSES, in_words, sheet


def noise(count: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, *(shape or (16, 16, 3))), np.uint8)


def folder_of(path: Path, *sizes: tuple[int, int], mode: str = "RGB") -> Path:
    """A folder with an image of each width and height."""
    path.mkdir(exist_ok=True)
    for number, size in enumerate(sizes):
        image = Image.effect_noise(size, 60 + number).convert(mode)
        image.save(path / f"{mode}{number:03}.png")
    return path


# The sheet.


def test_a_sheet_has_the_pixels_that_a_network_is_shown():
    dataset = ImageDataset.from_images(noise(4))
    pixels = np.asarray(sheet(dataset))
    assert np.array_equal(pixels[:16, :16], dataset.images[0])
    assert np.array_equal(pixels[-16:, -16:], dataset.images[3])


@pytest.mark.parametrize("shape", [(16, 16, 1), (16, 16, 4), (24, 16, 3)])
def test_a_sheet_is_made_of_images_of_any_colours_and_proportions(shape):
    dataset = ImageDataset.from_images(noise(100, *shape), shape[:2])
    assert sheet(dataset).size == (8 * (shape[1] + 2) - 2, 8 * (shape[0] + 2) - 2)


def test_large_images_are_shown_fewer_of():
    assert sheet(ImageDataset.from_images(noise(9, 512, 512, 1))).size == (1026, 1026)


def test_with_classes_each_has_a_row_though_it_has_few_images(labelled_images):
    few = replace(labelled_images, labels=np.array([0] * 22 + [1, 2]))
    pixels = np.asarray(sheet(few)).astype(int)
    side = 96
    rows = [pixels[-(row + 1) * (side + 4) : -row * (side + 4) - 4] for row in range(3)]
    white = [[(row[:, -(i + 1) * (side + 4) : -i * (side + 4) - 4] == 255).all() for i in range(8)] for row in rows]
    assert [filled.count(False) for filled in white] == [1, 1, 8]


def test_of_many_classes_the_first_are_shown():
    dataset = ImageDataset(noise(40), "many", "0" * 64, np.arange(40), tuple(map(str, range(40))))
    assert MAX_CLASSES * 96 < sheet(dataset).height < (MAX_CLASSES + 1) * 101


# Words.


def test_it_is_said_what_was_skipped_and_why():
    skipped = {f"{i}.png": "it is empty" for i in range(5)}
    lines = in_words(replace(ImageDataset.from_images(noise(200)), skipped=skipped, remarks=("Ignored: 3 .txt.",)))
    assert lines == [
        "images: 200 images 16x16x3, 5 files skipped",
        "Skipped: 0.png (it is empty), 1.png (it is empty), 2.png (it is empty) and 2 more.",
        "Ignored: 3 .txt.",
    ]


def test_duplicates_are_said_once():
    pixels = noise(200)
    pixels[1] = pixels[0]
    assert "Duplicates: 1 exact among 200 images." in in_words(ImageDataset.from_images(pixels))
    pixels[2] = pixels[0]
    lines = in_words(ImageDataset.from_images(pixels))
    assert [line for line in lines if "Duplicates" in line] == advice_on(ImageDataset.from_images(pixels))


# Advice.


@pytest.mark.parametrize(("exact", "told"), [(0, False), (9, False), (10, True), (999, True)])
def test_advice_speaks_of_duplicates_where_they_matter(exact, told):
    dataset = ImageDataset.from_images(noise(1))
    dataset.__dict__["duplicates"] = Duplicates(1000, exact, 0)
    assert any(sentence.startswith(f"Duplicates: {exact} exact") for sentence in advice_on(dataset)) == told


@pytest.mark.parametrize(("count", "told"), [(12, True), (99, True), (100, False)])
def test_few_images_are_a_word_of_advice(count, told):
    said = advice_on(ImageDataset.from_images(noise(count)))
    assert [sentence.startswith(f"There are only {count} different images") for sentence in said] == [True] * told


@pytest.mark.parametrize(
    ("sizes", "fit", "told"),
    [
        ([(64, 64)] * 12, "crop", []),
        ([(20, 20)] * 3 + [(64, 64)] * 9, "crop", ["3 of 12 images are smaller than 32x32 and were enlarged"]),
        ([(20, 20)] + [(64, 64)] * 11, "crop", []),
        ([(30, 30)] * 12, "crop", []),
        ([(64, 20)] * 12, "pad", ["12 of 12 images are more than a third bars: choose crop or stretch"]),
        ([(200, 64)] * 2 + [(64, 64)] * 9, "crop", ["2 of 11 images lose more than a third of their area to the crop"]),
        ([(64, 200)] * 2, "stretch", ["2 of 2 images are stretched to very different proportions: choose crop or pad"]),
    ],
)
def test_images_that_suit_the_size_badly_are_a_word_of_advice(tmp_path, sizes, fit, told):
    def read() -> ImageDataset:
        return ImageDataset.from_folder(folder_of(tmp_path / "images", *sizes), 32, fit=fit, cache=tmp_path / "cache")

    assert [found.startswith(begin) for found, begin in zip(read().advice, told, strict=True)] == [True] * len(told)
    assert read().advice == read().advice, "from the cache too"


def test_grey_images_among_coloured_ones_are_a_word_of_advice(tmp_path):
    folder_of(tmp_path / "images", *[(32, 32)] * 4, mode="L")
    folder = folder_of(tmp_path / "images", *[(32, 32)] * 8)
    mixed = ImageDataset.from_folder(folder, 32, cache=tmp_path / "cache")
    assert [sentence[:51] for sentence in mixed.advice] == ["4 of 12 images are grey and the others in colour, s"]
    assert ImageDataset.from_folder(folder, 32, channels="grey", cache=tmp_path / "cache").advice == ()


def test_a_photograph_that_was_taken_upright_is_judged_as_it_is_seen(tmp_path):
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.effect_noise((120, 60), 50).save(tmp_path / "images" / "turned.jpg", exif=exif)
    dataset = ImageDataset.from_folder(tmp_path / "images", (64, 32), cache=tmp_path / "cache")
    assert dataset.advice == ()


def test_a_batch_in_memory_is_advised_on_too():
    assert ImageDataset.from_images(noise(3), 64).advice[0].startswith("3 of 3 images are smaller than 64x64")
