"""Duplicates among images: the same pixel by pixel, or nearly, and never two pieces of one texture."""

import io
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan_core import ImageDataset
from gan_core.data.duplicates import AT_ONCE, LINES, MAX_COMPARED, Duplicates, find_duplicates, nearest_before
from gan_core.examples import digits


def noise(count: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, *(shape or (16, 16, 3))), np.uint8)


def saved_again(pixels: np.ndarray, quality: int) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored)).reshape(pixels.shape)


def test_copies_are_found_wherever_they_lie():
    pixels = noise(600)
    pixels[[3, 599]] = pixels[0]
    pixels[[300, 301, 302]] = pixels[590]
    assert find_duplicates(pixels) == Duplicates(600, exact=5, near=0)


def test_a_picture_that_was_saved_anew_or_resized_in_between_is_a_near_duplicate():
    pixels = digits(64).images[:4]
    large = Image.fromarray(pixels[1, ..., 0]).resize((150, 150), Image.Resampling.LANCZOS)
    again = [saved_again(pixels[0], 75), np.asarray(large.resize((64, 64), Image.Resampling.LANCZOS))[..., None]]
    assert find_duplicates(np.concatenate([pixels, np.stack(again)])) == Duplicates(6, exact=0, near=2)


def test_images_that_are_only_alike_are_no_copies():
    ones = digits(labels=True)
    assert find_duplicates(ones.images[ones.labels == 1]).count == 0


def test_pieces_of_one_texture_are_no_copies_though_their_thumbnails_are_the_same():
    rows, columns = np.indices((64, 64))
    stripes = [columns, rows, columns + rows, columns - rows]
    phases = [(((line + phase) // 2 % 2) * 255).astype(np.uint8)[..., None] for line in stripes for phase in range(2)]
    textures = np.stack([*phases, *noise(2, 64, 64, 1)])
    assert find_duplicates(textures).count == 0
    copy = saved_again(textures[-1], 60)
    assert find_duplicates(np.concatenate([textures, copy[None], textures[:1]])) == Duplicates(12, exact=1, near=1)


def test_images_that_differ_in_what_can_be_seen_through_them_are_no_copies():
    pixels = np.full((2, 16, 16, 4), 255, np.uint8)
    pixels[1, ..., 3] = 128
    assert find_duplicates(pixels).count == 0


@given(
    originals=st.integers(1, 40),
    copies=st.lists(st.integers(0, 39), max_size=3 * AT_ONCE // 2),
    seed=st.integers(0, 100),
)
def test_every_image_after_the_first_of_its_kind_is_counted_once(originals, copies, seed):
    stream = np.random.RandomState(seed)
    points = stream.randint(0, 256, (originals, 48))
    points = np.concatenate([points, points[[copy % originals for copy in copies]]])
    stream.shuffle(points)
    nearest = nearest_before(torch.from_numpy(points))
    assert int((nearest >= 0).sum()) == len(copies)
    assert all(earlier < place for place, earlier in enumerate(nearest.tolist()))


@given(count=st.integers(1, 3 * AT_ONCE), spread=st.sampled_from([1, 4, 16, 64]), seed=st.integers(0, 100))
def test_the_nearest_before_is_that_of_all_pairs(count, spread, seed):
    points = torch.from_numpy(np.random.RandomState(seed).uniform(0, spread, (count, 12))).float()
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distances[torch.ones(count, count).triu().bool()] = torch.inf
    least = distances.amin(dim=1)
    found = nearest_before(points)
    clear = (least / 12**0.5 - 2.0).abs() > 1e-3  # not by chance at the very limit
    assert torch.equal(found[clear] >= 0, least[clear] / 12**0.5 < 2.0)
    assert torch.allclose(least[found >= 0], distances[found >= 0, found[found >= 0]], atol=1e-2)


def test_of_a_large_set_some_thousand_images_are_looked_at_always_the_same():
    pixels = np.repeat(noise(50, 8, 8, 1), 240, axis=0)
    found = find_duplicates(pixels)
    assert found == Duplicates(MAX_COMPARED, exact=MAX_COMPARED - 50, near=0)
    assert find_duplicates(pixels) == found


def test_of_a_large_image_some_lines_are_looked_at():
    pixels = noise(3, 2 * LINES, 2 * LINES, 1)
    pixels[2] = pixels[0]
    assert find_duplicates(pixels) == Duplicates(3, exact=1, near=0)


def test_a_data_set_is_compared_once(monkeypatch):
    dataset = ImageDataset.from_images(noise(12))
    found = dataset.duplicates
    monkeypatch.setattr("gan_core.data.images.find_duplicates", None)
    assert dataset.duplicates is found
    assert replace(dataset).fingerprint == dataset.fingerprint


def test_they_are_said_by_their_kinds():
    assert str(Duplicates(1200, exact=1, near=30)) == "1 exact and 30 near among 1,200 images"
    assert str(Duplicates(12, exact=0, near=0)) == "none among 12 images"
