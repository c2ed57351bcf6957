"""Any folder of images becomes the right pixels, once, in little memory."""

import hashlib
import io
import json
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan_core import ImageDataset, InputError
from gan_core.data.images import fingerprint_of_folder, reading
from gan_core.examples import digits, portraits
from gan_core.media import image_files, image_formats

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def plain(color: tuple[int, ...] | int, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new(mode, size, color)


def thirds(across: bool) -> Image.Image:
    """Red, green and blue squares of 16 pixels, side by side or one above the other."""
    picture = plain(RED, size=(48, 16) if across else (16, 48))
    for i, color in enumerate((RED, GREEN, BLUE)):
        picture.paste(color, (16 * i, 0, 16 * i + 16, 16) if across else (0, 16 * i, 16, 16 * i + 16))
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def only_image(folder: Path, channels: str = "RGB", size: int = 16, fit: str = "crop") -> np.ndarray:
    dataset = ImageDataset.from_folder(folder, size, channels, fit)
    assert dataset.skipped == {}
    assert len(dataset) == 1
    return dataset.images[0]


@contextmanager
def memory_growth() -> Iterator[Callable[[], int]]:
    """Watches by how many bytes this process grows, at most, while the block runs."""
    process, peak, ended = psutil.Process(), [0], threading.Event()
    start = process.memory_info().rss

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak[0]
    finally:
        ended.set()
        watcher.join()


def was_decoded(folder: Path, cache: Path, **settings: object) -> bool:
    """Whether reading the folder meant more than opening its cache."""
    return len(list(reading(folder, 16, cache=cache, **settings))) > 1


# From a file to pixels.

RGB_PIXELS = {
    "RGB": (plain((10, 20, 30)), (10, 20, 30)),
    "L": (plain(77, "L"), (77, 77, 77)),
    "1, white": (plain(1, "1"), WHITE),
    "1, black": (plain(0, "1"), (0, 0, 0)),
    "RGBA, solid": (plain((10, 20, 30, 255), "RGBA"), (10, 20, 30)),
    "RGBA, half": (plain((255, 0, 0, 128), "RGBA"), (255, 127, 127)),
    "RGBA, clear": (plain((255, 0, 0, 0), "RGBA"), WHITE),
    "LA, solid": (plain((100, 255), "LA"), (100, 100, 100)),
    "LA, clear": (plain((0, 0), "LA"), WHITE),
    "I;16": (Image.fromarray(np.full((16, 16), 200 * 257, np.uint16)), (200, 200, 200)),
    "I;16, white": (Image.fromarray(np.full((16, 16), 65535, np.uint16)), WHITE),
    "I;16, dark": (Image.fromarray(np.full((16, 16), 200, np.uint16)), (1, 1, 1)),
}


@pytest.mark.parametrize(("picture", "expected"), RGB_PIXELS.values(), ids=RGB_PIXELS)
def test_every_mode_of_png_becomes_its_colour(folder, picture, expected):
    picture.save(folder / "a.png")
    assert (only_image(folder) == expected).all()


def test_transparent_palette_is_laid_on_white(folder):
    picture = plain(0, "P")
    picture.putpalette([*RED, *BLUE])
    picture.paste(1, (8, 0, 16, 16))
    picture.save(folder / "a.png", transparency=0)
    pixels = only_image(folder)
    assert (pixels[:, :8] == WHITE).all()
    assert (pixels[:, 8:] == BLUE).all()


def test_a_colour_declared_transparent_is_laid_on_white(folder):
    plain((10, 20, 30)).save(folder / "a.png", transparency=(10, 20, 30))
    assert (only_image(folder) == WHITE).all()


def test_cmyk_becomes_rgb(folder):
    plain((0, 255, 255, 0), "CMYK").save(folder / "a.tif")
    assert (only_image(folder) == RED).all()


def test_a_jpeg_in_cmyk_becomes_rgb(folder):
    plain((0, 255, 255, 0), "CMYK").save(folder / "a.jpg", quality=95)
    assert np.abs(only_image(folder).astype(int) - RED).max() < 12


@pytest.mark.parametrize("scale", [1, 255])
def test_tiff_of_floats_is_grey(folder, scale):
    Image.fromarray(np.full((16, 16), 0.4 * scale, np.float32)).save(folder / "a.tif")
    assert (only_image(folder, "grey") == 102).all()


def test_deep_pgm_is_scaled(folder):
    (folder / "a.pgm").write_bytes(b"P5 16 16 65535 " + np.full((16, 16), 50 * 257, ">u2").tobytes())
    assert (only_image(folder, "grey") == 50).all()


def test_colours_become_grey_by_their_brightness(folder):
    plain(GREEN).save(folder / "a.png")
    assert (only_image(folder, "grey") == 150).all()


def test_four_channels_keep_transparency_and_hide_what_is_unseen(folder):
    picture = plain((10, 20, 30, 255), "RGBA")
    picture.paste((200, 100, 50, 0), (8, 0, 16, 16))
    picture.save(folder / "a.png")
    pixels = only_image(folder, "RGBA")
    assert (pixels[:, :8] == (10, 20, 30, 255)).all()
    assert (pixels[:, 8:] == (0, 0, 0, 0)).all()


def test_exif_rotation_is_applied(folder):
    turned = thirds(across=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turned clockwise: left becomes top
    turned.save(folder / "a.png", exif=exif)
    pixels = only_image(folder, size=48, fit="stretch")
    assert (pixels[0, 24] == RED).all()
    assert (pixels[24, 24] == GREEN).all()
    assert (pixels[47, 24] == BLUE).all()


def test_of_an_animation_the_first_frame_is_taken(folder):
    plain(RED).save(folder / "a.gif", save_all=True, append_images=[plain(GREEN), plain(BLUE)])
    assert (only_image(folder) == RED).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "bmp", "gif", "tiff", "ppm", "tga"])
def test_every_common_format_is_read(folder, suffix):
    plain((40, 40, 200)).save(folder / f"a.{suffix}")
    assert np.abs(only_image(folder).astype(int) - (40, 40, 200)).max() <= 3


@pytest.mark.parametrize("side", [128, 320, 1024])
def test_a_large_jpeg_loses_no_detail_by_being_decoded_small(folder, side):
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8))
    noise.resize((side, side), Image.Resampling.BICUBIC).save(folder / "a.jpg", quality=95)
    with Image.open(folder / "a.jpg") as picture:
        expected = np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(only_image(folder, size=32) - expected).mean() < 2


@pytest.mark.parametrize("across", [True, False], ids=["wide", "tall"])
def test_crop_takes_the_middle(folder, across):
    thirds(across).save(folder / "a.png")
    assert (only_image(folder, fit="crop") == GREEN).all()


def test_pad_puts_white_bars_above_and_below_a_wide_picture(folder):
    thirds(across=True).save(folder / "a.png")
    pixels = only_image(folder, size=48, fit="pad")
    assert (pixels[:16] == WHITE).all()
    assert (pixels[16:32] == np.asarray(thirds(across=True))).all()
    assert (pixels[32:] == WHITE).all()


def test_pad_is_clear_where_transparency_is_kept(folder):
    thirds(across=True).save(folder / "a.png")
    pixels = only_image(folder, "RGBA", size=48, fit="pad")
    assert (pixels[:16] == (0, 0, 0, 0)).all()
    assert (pixels[16:32, :, 3] == 255).all()


def test_stretch_keeps_the_whole_picture(folder):
    thirds(across=True).save(folder / "a.png")
    pixels = only_image(folder, size=48, fit="stretch")
    assert (pixels[:, :16] == RED).all()
    assert (pixels[:, 16:32] == GREEN).all()
    assert (pixels[:, 32:] == BLUE).all()


# Sizes that are no squares.


@pytest.mark.parametrize("fit", image_files.FITS)
@pytest.mark.parametrize("size", [(16, 24), (24, 16)], ids=["wide", "tall"])
def test_images_of_any_shape_come_to_the_height_and_width_that_are_asked_for(folder, fit, size):
    plain(RED).save(folder / "square.png")
    thirds(across=True).save(folder / "wide.png")
    thirds(across=False).save(folder / "tall.png")
    dataset = ImageDataset.from_folder(folder, size, fit=fit)
    assert dataset.images.shape == (3, *size, 3)
    assert (dataset.height, dataset.width, dataset.side) == (*size, size[0])
    assert dataset.batch(np.arange(2)).shape == (2, 3, *size)


def test_a_wide_picture_loses_its_ends_only_to_a_size_less_wide(folder):
    thirds(across=True).save(folder / "a.png")
    assert (ImageDataset.from_folder(folder, (16, 48)).images[0] == np.asarray(thirds(across=True))).all()
    cropped = ImageDataset.from_folder(folder, (16, 32)).images[0]
    assert (cropped == np.asarray(thirds(across=True))[:, 8:40]).all()


def test_a_picture_is_padded_at_the_sides_that_are_too_short(folder):
    thirds(across=True).save(folder / "a.png")
    pixels = ImageDataset.from_folder(folder, (32, 48), fit="pad").images[0]
    assert (pixels[:8] == WHITE).all() and (pixels[24:] == WHITE).all()
    assert (pixels[8:24] == np.asarray(thirds(across=True))).all()


@pytest.mark.parametrize("turned", [False, True])
def test_a_large_jpeg_loses_no_detail_in_a_wide_size_even_if_it_lies_on_its_side(folder, turned):
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (16, 32, 3), np.uint8))
    large = noise.resize((1024, 512), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    stored = large.transpose(Image.Transpose.ROTATE_90) if turned else large
    stored.save(folder / "a.jpg", quality=95, exif=exif)
    expected = np.asarray(large.resize((64, 32), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(ImageDataset.from_folder(folder, (32, 64)).images[0] - expected).mean() < 2


def test_mirroring_reverses_left_and_right_of_a_wide_image():
    pixels = np.random.RandomState(0).randint(0, 256, (2, 16, 24, 3), np.uint8)
    batch = ImageDataset.from_images(pixels, (16, 24)).batch(np.arange(2), np.array([False, True]))
    assert torch.equal(batch[0], torch.from_numpy(pixels[0]).permute(2, 0, 1))
    assert torch.equal(batch[1], torch.from_numpy(pixels[1]).permute(2, 0, 1).flip(2))


def test_pictures_in_memory_come_to_a_height_and_a_width():
    pixels = np.random.RandomState(0).randint(0, 256, (2, 30, 30, 1), np.uint8)
    assert ImageDataset.from_images(pixels, (16, 24)).images.shape == (2, 16, 24, 1)
    assert ImageDataset.from_images(pixels).images.shape == (2, 30, 30, 1)
    assert "2 images 24x16x1" in ImageDataset.from_images(pixels, (16, 24)).summary


def test_a_square_has_the_same_cache_however_it_is_asked_for_and_a_rectangle_its_own(folder, cache):
    plain(RED).save(folder / "a.png")
    sizes = (16, (16, 16), (16, 24), (24, 16))
    decoded = [len(list(reading(folder, size, cache=cache))) > 1 for size in sizes]
    assert decoded == [True, False, True, True]
    shapes = [list(reading(folder, size, cache=cache))[-1].dataset.images.shape for size in sizes]
    assert shapes == [(1, 16, 16, 3), (1, 16, 16, 3), (1, 16, 24, 3), (1, 24, 16, 3)]


def test_the_cache_of_squares_is_the_one_from_before_there_were_rectangles(folder, cache):
    plain(RED).save(folder / "a.png")
    ImageDataset.from_folder(folder, 16, cache=cache)
    settings = [1, str(folder.resolve()), 16, "auto", "crop", False]
    owner = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    assert [entry.name.split("-")[0] for entry in cache.iterdir()] == [owner]


def test_the_fingerprint_of_a_folder_of_squares_is_what_it_was():
    assert digits(16).fingerprint == "520514e0f95c76c4bae42f65b41cdbc9a70161d0e68399afbd2b9e5a7401b3d3"


@pytest.mark.parametrize(
    ("text", "size"), [("64", (64, 64)), ("96x64", (64, 96)), (" 64X96 ", (96, 64)), ("8x4096", (4096, 8))]
)
def test_a_size_is_written_as_a_side_or_as_width_x_height(text, size):
    assert image_files.parse_size(text) == size


@given(height=st.integers(8, 40), width=st.integers(8, 40), fit=st.sampled_from(sorted(image_files.FITS)))
def test_a_size_as_it_is_written_is_the_size_that_pictures_come_to(height, width, fit):
    size = image_files.parse_size(f"{width}x{height}")
    assert image_files.fitted(thirds(across=True), size, 3, fit).shape == (height, width, 3)


@pytest.mark.parametrize("text", ["", "big", "64x", "x64", "64x64x3", "-64", "6.4", "64 96", "1234567"])
def test_what_is_no_size_is_a_sentence(text):
    with pytest.raises(InputError, match=rf'such as 64, or width x height, such as 96x64 \(got "{text}"\)'):
        image_files.parse_size(text)


# Channels.


@pytest.mark.parametrize("size", [32, 16], ids=["as they are", "resized"])
def test_hidden_colours_are_black_in_pictures_from_memory(size):
    pixels = np.full((1, 32, 32, 4), 200, np.uint8)
    pixels[:, :, 16:, 3] = 0
    before = pixels.copy()
    images = ImageDataset.from_images(pixels, size).images
    assert (images[:, :, -2:] == 0).all()
    assert (np.abs(images[:, :, :2].astype(int) - 200) <= 1).all()
    assert (pixels == before).all()


@pytest.mark.parametrize(
    ("pictures", "channels"),
    [
        ([plain(7, "L"), plain(0, "1"), plain((9, 255), "LA")], 1),
        ([Image.fromarray(np.full((16, 16), 9999, np.uint16))], 1),
        ([plain(7, "L"), plain(RED)], 3),
        ([plain(RED), plain((1, 2, 3, 255), "RGBA")], 3),
        ([plain(RED), plain((1, 2, 3, 254), "RGBA")], 4),
        ([plain(7, "L"), plain((9, 0), "LA")], 4),
    ],
    ids=["greys", "deep grey", "one in colour", "solid", "one see-through", "one see-through grey"],
)
def test_channels_are_as_many_as_the_images_need(folder, pictures, channels):
    for i, picture in enumerate(pictures):
        picture.save(folder / f"{i}.png")
    assert ImageDataset.from_folder(folder, 16).channels == channels


# Which files are read.


def test_names_in_any_script_and_nested_folders_are_read(folder):
    (folder / "猫" / "été 2024").mkdir(parents=True)
    plain(RED).save(folder / "猫" / "été 2024" / "жираф 🦒.png")
    plain(BLUE).save(folder / "a b%20#?.PNG")
    dataset = ImageDataset.from_folder(folder, 16)
    assert [tuple(image[0, 0]) for image in dataset.images] == [BLUE, RED]
    assert dataset.skipped == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not Unicode")
def test_a_name_that_is_no_unicode_is_read(folder):
    plain(RED).save(folder / "a.png")
    try:
        os.rename(os.fsencode(folder / "a.png"), os.fsencode(folder) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system has no names that are not Unicode")
    assert (only_image(folder) == RED).all()


def test_hidden_files_and_other_kinds_are_left_alone(folder):
    plain(RED).save(folder / "a.png")
    (folder / ".thumbs").mkdir()
    plain(BLUE).save(folder / ".thumbs" / "a.png")
    plain(BLUE).save(folder / ".b.png")
    (folder / "notes.txt").write_text("not an image")
    assert (only_image(folder) == RED).all()


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", bytes(1000)], ids=["empty", "text", "png magic", "zeros"]
)
def test_an_unreadable_file_is_skipped_and_named(folder, content):
    plain(RED).save(folder / "good.png")
    (folder / "broken.png").write_bytes(content)
    dataset = ImageDataset.from_folder(folder, 16)
    assert [tuple(image[0, 0]) for image in dataset.images] == [RED]
    assert list(dataset.skipped) == ["broken.png"]
    assert dataset.skipped["broken.png"]
    assert "1 files skipped" in dataset.summary


def test_a_picture_cut_short_is_skipped(folder):
    plain(RED).save(folder / "good.png")
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8))
    noise.save(folder / "short.png")
    content = (folder / "short.png").read_bytes()
    (folder / "short.png").write_bytes(content[: len(content) // 2])
    assert list(ImageDataset.from_folder(folder, 16).skipped) == ["short.png"]


def test_the_reason_for_skipping_says_no_path(folder):
    plain(RED).save(folder / "good.png")
    (folder / "broken.png").write_text("not an image")
    assert str(folder.parent) not in ImageDataset.from_folder(folder, 16).skipped["broken.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make symbolic links")
def test_a_link_to_nowhere_is_skipped_and_named(folder):
    plain(RED).save(folder / "good.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    dataset = ImageDataset.from_folder(folder, 16)
    assert len(dataset) == 1
    assert list(dataset.skipped) == ["gone.png"]


def bomb(side: int, color_type: int) -> bytes:
    """A PNG of a few bytes that claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, color_type, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_600, 12_000, 50_000])
@pytest.mark.parametrize(
    "pillow_limit", [None, Image.MAX_IMAGE_PIXELS], ids=["Pillow's limit off", "Pillow's limit on"]
)
@pytest.mark.parametrize("color_type", [2, 6], ids=["RGB", "RGBA"])
def test_a_decompression_bomb_is_refused_unread(folder, cache, monkeypatch, side, pillow_limit, color_type):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    plain(RED).save(folder / "good.png")
    (folder / "bomb.png").write_bytes(bomb(side, color_type))
    dataset = ImageDataset.from_folder(folder, 16, cache=cache)
    assert list(dataset.skipped) == ["bomb.png"]
    assert "pixels" in dataset.skipped["bomb.png"]


def test_an_image_beyond_the_limit_is_never_unpacked(folder, monkeypatch):
    monkeypatch.setattr(image_formats, "MAX_PIXELS", 1_000_000)
    plain(RED).save(folder / "good.png")
    plain((0, 0, 0, 0), "RGBA", (4000, 4000)).save(folder / "bomb.png", compress_level=1)  # 64 MB when unpacked
    with memory_growth() as growth:
        dataset = ImageDataset.from_folder(folder, 16)
    assert growth() < 30e6
    assert dataset.channels == 3
    assert list(dataset.skipped) == ["bomb.png"]


def test_a_missing_folder_is_a_sentence(folder):
    with pytest.raises(InputError, match=r"There is no folder .*nowhere\."):
        ImageDataset.from_folder(folder / "nowhere")


def test_a_file_in_place_of_a_folder_is_a_sentence(folder):
    plain(RED).save(folder / "a.png")
    with pytest.raises(InputError, match=r"There is no folder .*a\.png"):
        ImageDataset.from_folder(folder / "a.png")


def test_a_folder_without_images_is_a_sentence(folder):
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match=r"There are no images in .*: put PNG, JPEG or WebP files there"):
        ImageDataset.from_folder(folder)


def test_a_folder_of_nothing_readable_is_a_sentence_that_names_one(folder, cache):
    for name in ("a.png", "b.png"):
        (folder / name).write_text("not an image")
    with pytest.raises(InputError, match=r"None of the 2 images in .* can be read, such as a\.png: "):
        ImageDataset.from_folder(folder, cache=cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 0}, "must be 8 to 4096 pixels (got 0)"),
        ({"size": (64, 7)}, "must be 8 to 4096 pixels (got 7)"),
        ({"size": 100_000}, "must be 8 to 4096 pixels (got 100000)"),
        ({"channels": "CMYK"}, 'channels must be auto, grey, RGB, RGBA (got "CMYK")'),
        ({"fit": "squash"}, 'fit must be crop, pad, stretch (got "squash")'),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_sentences(photos, settings, told):
    with pytest.raises(InputError, match=re.escape(told)):
        ImageDataset.from_folder(photos, **settings)


# Classes.


def test_sub_folders_are_classes_in_the_order_of_their_names(folder):
    for name, color in (("zebra", BLUE), ("ape", RED), ("cat/wild", GREEN)):
        (folder / name).mkdir(parents=True)
        plain(color).save(folder / name / "a.png")
    dataset = ImageDataset.from_folder(folder, 16, labels=True)
    assert dataset.class_names == ("ape", "cat", "zebra")
    assert dataset.classes == 3
    assert {tuple(image[0, 0]): int(label) for image, label in zip(dataset.images, dataset.labels, strict=True)} == {
        RED: 0,
        GREEN: 1,
        BLUE: 2,
    }


def test_labels_stay_with_their_images_where_a_file_is_skipped(folder):
    for name, color in (("a", RED), ("b", BLUE)):
        (folder / name).mkdir()
        (folder / name / "0.png").write_text("not an image")
        plain(color).save(folder / name / "1.png")
    dataset = ImageDataset.from_folder(folder, 16, labels=True)
    assert [tuple(image[0, 0]) for image in dataset.images] == [RED, BLUE]
    assert dataset.labels.tolist() == [0, 1]


def test_labels_come_back_from_the_cache(folder, cache):
    for name in ("a", "b"):
        (folder / name).mkdir()
        plain(RED).save(folder / name / "1.png")
    first, second = (ImageDataset.from_folder(folder, 16, labels=True, cache=cache) for _ in range(2))
    assert second.labels.tolist() == first.labels.tolist() == [0, 1]
    assert second.class_names == ("a", "b")


def test_a_loose_file_among_classes_is_a_sentence(folder):
    (folder / "a").mkdir()
    plain(RED).save(folder / "a" / "1.png")
    plain(RED).save(folder / "loose.png")
    with pytest.raises(
        InputError, match=r"1 images are in images itself \(loose\.png\): move them, or turn labels off"
    ):
        ImageDataset.from_folder(folder, 16, labels=True)


def test_without_labels_sub_folders_mean_nothing(folder):
    (folder / "a").mkdir()
    plain(RED).save(folder / "a" / "1.png")
    dataset = ImageDataset.from_folder(folder, 16)
    assert dataset.labels is None
    assert dataset.classes == 0


# The cache.


def test_a_folder_is_decoded_once(photos, cache):
    assert was_decoded(photos, cache)
    assert not was_decoded(photos, cache)


def test_what_the_cache_holds_is_what_was_decoded(photos, cache):
    first, second = (ImageDataset.from_folder(photos, 16, cache=cache) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint
    assert first.name == second.name == "photos"


def test_files_that_were_skipped_are_still_named_from_the_cache(photos, cache):
    (photos / "broken.png").write_text("not an image")
    first, second = (ImageDataset.from_folder(photos, 16, cache=cache) for _ in range(2))
    assert first.skipped == second.skipped != {}


def test_an_added_file_is_noticed(photos, cache):
    ImageDataset.from_folder(photos, 16, cache=cache)
    plain(RED).save(photos / "zz.png")
    dataset = ImageDataset.from_folder(photos, 16, cache=cache)
    assert len(dataset) == 13
    assert (dataset.images[12] == RED).all()


def test_a_removed_file_is_noticed(photos, cache):
    ImageDataset.from_folder(photos, 16, cache=cache)
    (photos / "00.png").unlink()
    assert len(ImageDataset.from_folder(photos, 16, cache=cache)) == 11


def test_a_changed_file_is_noticed(photos, cache):
    ImageDataset.from_folder(photos, 16, cache=cache)
    plain(RED).save(photos / "00.png")
    assert (ImageDataset.from_folder(photos, 16, cache=cache).images[0] == RED).all()


def test_a_file_of_the_same_size_that_was_written_anew_is_noticed(photos, cache):
    plain(RED).save(photos / "00.bmp")
    ImageDataset.from_folder(photos, 16, cache=cache)
    times = os.stat(photos / "00.bmp")
    plain(BLUE).save(photos / "00.bmp")
    os.utime(photos / "00.bmp", ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000))
    assert (ImageDataset.from_folder(photos, 16, cache=cache).images[0] == BLUE).all()


def test_a_renamed_file_is_noticed(photos, cache):
    before = fingerprint_of_folder(photos)
    (photos / "11.png").rename(photos / "99.png")
    assert fingerprint_of_folder(photos) != before


def test_an_untouched_folder_keeps_its_fingerprint(photos):
    before = fingerprint_of_folder(photos)
    (photos / "notes.txt").touch()
    assert fingerprint_of_folder(photos) == before


@pytest.mark.parametrize("other", [{"channels": "grey"}, {"fit": "pad"}, {"size": 32}], ids=str)
def test_every_setting_has_its_own_cache(photos, cache, other):
    ImageDataset.from_folder(photos, **{"size": 16, "cache": cache})
    ImageDataset.from_folder(photos, **{"size": 16, "cache": cache, **other})
    assert len(list(cache.iterdir())) == 2
    assert not was_decoded(photos, cache)


def test_mirroring_needs_no_cache_of_its_own(photos, cache):
    ImageDataset.from_folder(photos, 16, cache=cache)
    assert not was_decoded(photos, cache, mirror=True)
    assert ImageDataset.from_folder(photos, 16, mirror=True, cache=cache).mirror


def test_the_cache_of_an_older_state_is_dropped(photos, cache):
    ImageDataset.from_folder(photos, 16, cache=cache)
    (old,) = cache.iterdir()
    plain(RED).save(photos / "zz.png")
    ImageDataset.from_folder(photos, 16, cache=cache)
    (new,) = cache.iterdir()
    assert new != old


def truncate(entry: Path) -> None:
    (entry / "images.u8").write_bytes((entry / "images.u8").read_bytes()[:-1])


def rewrite_index(content: str):
    return lambda entry: (entry / "index.json").write_text(content)


def drop_labels(entry: Path) -> None:
    index = json.loads((entry / "index.json").read_text())
    del index["labels"]
    (entry / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda entry: (entry / "images.u8").unlink(),
        lambda entry: (entry / "index.json").unlink(),
        rewrite_index(""),
        rewrite_index("[]"),
        rewrite_index("null"),
        rewrite_index("{}"),
        rewrite_index('{"shape": "nonsense"}'),
        rewrite_index('{"shape": [1, 16, 16, 3]}'),
        drop_labels,
    ],
    ids=["short", "no pixels", "no index", "empty", "list", "null", "object", "no shape", "shape only", "no labels"],
)
def test_a_damaged_cache_is_made_anew(photos, cache, damage):
    expected = ImageDataset.from_folder(photos, 16, cache=cache).images.copy()
    (entry,) = cache.iterdir()
    damage(entry)
    assert np.array_equal(ImageDataset.from_folder(photos, 16, cache=cache).images, expected)
    assert not was_decoded(photos, cache)


def test_stopping_half_way_leaves_no_half_cache(photos, cache):
    steps = reading(photos, 16, cache=cache)
    next(steps)
    steps.close()
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(photos, cache):
    cache.touch()
    with pytest.raises(InputError, match="The images cannot be cached in"):
        ImageDataset.from_folder(photos, 16, cache=cache)


def test_the_cache_is_where_the_environment_says(photos, cache, monkeypatch):
    monkeypatch.setenv("GAN_CORE_CACHE", str(cache))
    ImageDataset.from_folder(photos, 16)
    assert len(list(cache.iterdir())) == 1


def test_progress_counts_up_to_all_files(folder, cache):
    content = io.BytesIO()
    plain(RED).save(content, "PNG")
    for i in range(150):
        (folder / f"{i}.png").write_bytes(content.getvalue())
    steps = [(step.done, step.total, step.dataset is None) for step in reading(folder, 16, cache=cache)]
    assert steps[-1] == (150, 150, False)
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert all(total == 150 for _, total, _ in steps)
    assert sum(not still for _, _, still in steps) == 1


def test_reading_many_images_needs_little_memory(folder, cache, photos):
    content = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)).save(content, "PNG")
    for i in range(3000):
        (folder / f"{i}.png").write_bytes(content.getvalue())
    ImageDataset.from_folder(photos, 64, "RGB", cache=cache)  # so that Pillow is loaded
    with memory_growth() as growth:
        ImageDataset.from_folder(folder, 64, "RGB", cache=cache)
    # As bytes they are 37 MB, and as floats four times that.
    assert growth() < 15e6


# Images in memory.


def test_eight_bit_pictures_are_taken_as_they_are():
    pixels = np.random.RandomState(0).randint(0, 256, (3, 16, 16, 3), np.uint8)
    assert np.array_equal(ImageDataset.from_images(pixels).images, pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_from_zero_to_one_become_eight_bit(dtype):
    values = np.array([0, 0.2, 1, -5, 7, np.nan], dtype).reshape(6, 1, 1, 1).repeat(16, 1).repeat(16, 2)
    assert ImageDataset.from_images(values).images[:, 0, 0, 0].tolist() == [0, 51, 255, 0, 255, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8], ids=str)
def test_tensors_are_taken_too(dtype):
    images = torch.ones(2, 16, 16, 3, dtype=dtype) * (255 if dtype == torch.uint8 else 1)
    assert (ImageDataset.from_images(images).images == 255).all()


def test_a_tensor_that_wants_a_gradient_is_taken_too():
    assert (ImageDataset.from_images(torch.ones(2, 16, 16, 3, requires_grad=True)).images == 255).all()


@pytest.mark.parametrize("shape", [(16, 16, 3), (2, 16, 16), (2, 16, 16, 2), (2, 3, 16, 16), (0, 16, 16, 3)], ids=str)
def test_pictures_of_another_shape_are_a_sentence(shape):
    with pytest.raises(InputError, match=r"shape \[N, H, W, 1, 3 or 4\]"):
        ImageDataset.from_images(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.complex64])
def test_numbers_that_are_neither_bytes_nor_floats_are_a_sentence(dtype):
    with pytest.raises(InputError, match="uint8, or floats"):
        ImageDataset.from_images(np.full((2, 16, 16, 3), 200, dtype))


def test_pictures_in_memory_are_fitted_to_a_size():
    images = np.asarray(thirds(across=True))[None]
    assert (ImageDataset.from_images(images, 16).images == GREEN).all()
    assert ImageDataset.from_images(images).images.shape == (1, 16, 16, 3)


@pytest.mark.parametrize(
    ("color", "channels"), [((9, 9, 9), 1), ((9, 9, 8), 3), ((9, 9, 9, 255), 1), ((9, 9, 8, 255), 3), ((9, 9, 9, 0), 4)]
)
def test_channels_of_pictures_in_memory_are_as_many_as_they_need(color, channels):
    images = np.full((2, 16, 16, len(color)), color, np.uint8)
    assert ImageDataset.from_images(images).channels == channels


@pytest.mark.parametrize(("channels", "count"), [("grey", 1), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("given", [1, 3, 4])
def test_pictures_in_memory_take_the_channels_asked_for(channels, count, given):
    dataset = ImageDataset.from_images(np.full((2, 16, 16, given), 255, np.uint8), channels=channels)
    assert dataset.images.shape == (2, 16, 16, count)
    assert (dataset.images == 255).all()


def test_the_same_pictures_have_the_same_fingerprint_wherever_they_come_from(photos):
    dataset = ImageDataset.from_folder(photos, 16)
    assert ImageDataset.from_images(dataset.images.copy()).fingerprint == dataset.fingerprint


def test_one_pixel_changes_the_fingerprint():
    pixels = np.zeros((2, 16, 16, 1), np.uint8)
    before = ImageDataset.from_images(pixels).fingerprint
    pixels[1, 15, 15] = 1
    assert ImageDataset.from_images(pixels).fingerprint != before


# Batches.


def test_a_batch_holds_the_images_asked_for(labelled_images):
    batch = labelled_images.batch(np.array([5, 0, 5]))
    assert batch.dtype == torch.uint8
    assert batch.shape == (3, 3, 16, 16)
    expected = labelled_images.images[[5, 0, 5]].transpose(0, 3, 1, 2)
    assert np.array_equal(batch.numpy(), expected)


def test_only_the_images_marked_are_mirrored(labelled_images):
    batch = labelled_images.batch(np.array([1, 2]), np.array([True, False])).numpy()
    pixels = labelled_images.images.transpose(0, 3, 1, 2)
    assert np.array_equal(batch[0], pixels[1][:, :, ::-1])
    assert np.array_equal(batch[1], pixels[2])


def test_mirroring_leaves_the_data_set_as_it_was(labelled_images):
    before = labelled_images.images.copy()
    labelled_images.batch(np.arange(4), np.ones(4, bool))
    assert np.array_equal(labelled_images.images, before)


def test_a_batch_can_be_written_to_without_touching_the_cache(photos):
    dataset = ImageDataset.from_folder(photos, 16)
    before = dataset.images.copy()
    dataset.batch(np.arange(2)).zero_()
    assert np.array_equal(dataset.images, before)


def test_a_batch_lies_in_memory_as_convolutions_like_it(labelled_images):
    assert labelled_images.batch(np.arange(2)).is_contiguous(memory_format=torch.channels_last)


# What ships with the project.


def test_ten_thousand_digits_ship_with_the_project():
    dataset = digits(labels=True)
    assert dataset.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(dataset.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert dataset.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_labels_are_part_of_the_fingerprint():
    assert digits(labels=True).fingerprint != digits().fingerprint


def test_the_portraits_are_273_different_pictures_of_one_kind():
    dataset = portraits()
    assert dataset.images.shape == (273, 64, 64, 3)
    assert len({image.tobytes() for image in dataset.images}) == 273
    assert (dataset.images[:, 0, 0] == 255).all(), "on white: no tile is cut from two"
    assert portraits((32, 48)).images.shape == (273, 32, 48, 3)
    with pytest.raises(InputError, match="turn labels off"):
        portraits(labels=True)
