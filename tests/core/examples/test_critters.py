"""Critters are pictures of the factors that are said, and only of them."""

import numpy as np
import pytest

import gan_core
from gan_core import examples
from gan_core.examples import critters
from gan_core.examples.drawing import KINDS, PATTERNS, RANGES, draw, factors
from gan_core.media.image import to_pixels
from gan_core.sampling import directions as steering


def changed(factor: str, value: float, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the same critters before and after one of their factors has a certain value."""
    table = factors(count)
    return draw(table), draw({**table, factor: np.full_like(table[factor], value)})


def test_a_picture_depends_on_its_seed_and_place_alone():
    few, many = factors(5, seed=3), factors(70, seed=3)
    assert all(np.array_equal(few[name], many[name][:5]) for name in few)
    assert np.array_equal(draw(few), draw(many)[:5])
    assert not np.array_equal(few["hue"], factors(5, seed=4)["hue"])


def test_factors_fill_their_ranges():
    table = factors(2000)
    for name, (low, high) in RANGES.items():
        assert table[name].min() == pytest.approx(low, abs=0.01 * (high - low))
        assert table[name].max() == pytest.approx(high, abs=0.01 * (high - low))
    assert (np.bincount(table["kind"]) > 250).all()
    assert len(np.bincount(table["kind"])) == len(KINDS)
    assert len(np.bincount(table["pattern"])) == len(PATTERNS)


@pytest.mark.parametrize("factor", [*RANGES, "kind", "pattern"])
def test_every_factor_shows(factor):
    table = factors(8)
    low, high = (0.0, 0.5) if RANGES.get(factor) == (0.0, 1.0) else RANGES.get(factor, (0, 3))  # hues are circular
    before, after = (draw({**table, factor: np.full_like(table[factor], value)}) for value in (low, high))
    assert (np.abs(before.astype(int) - after).max(axis=(1, 2, 3)) > 25).all()


def test_a_smile_changes_the_mouth_alone():
    before, after = changed("smile", 1.0)
    rows, columns = np.nonzero((before != after).any(axis=(0, 3)))
    assert rows.min() > 24
    assert rows.max() < 56
    assert columns.min() > 16
    assert columns.max() < 48


def test_all_of_a_critter_is_inside_its_image():
    table = factors(300)
    border = np.concatenate([(images := draw(table))[:, 0], images[:, :, 0], images[:, :, -1]], axis=1)
    # Outlines are dark, and the background is not.
    assert (border.max(axis=2) < 140).sum() == 0


def test_images_of_any_side_are_the_same_drawing():
    small, large = draw(factors(3)), draw(factors(3), 128)
    halved = large.reshape(3, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - small).mean() < 3


def test_critters_are_drawn_once(tmp_path, monkeypatch):
    first = critters(count=30, cache=tmp_path)
    monkeypatch.setattr(examples, "draw", None)
    again = critters(count=30, cache=tmp_path)
    assert np.array_equal(again.images, first.images)
    assert again.fingerprint == first.fingerprint
    with pytest.raises(TypeError):
        critters(count=30, seed=1, cache=tmp_path)


def test_critters_need_no_cache(tmp_path):
    (tmp_path / "file").touch()
    assert len(critters(count=3, cache=tmp_path / "file")) == 3


def test_critters_are_labelled_by_kind_and_come_in_any_size(tmp_path):
    dataset = critters((32, 48), "grey", labels=True, count=40, cache=tmp_path)
    assert dataset.images.shape == (40, 32, 48, 1)
    assert dataset.class_names == KINDS
    assert np.array_equal(dataset.labels, factors(40)["kind"])
    assert dataset.fingerprint != critters((32, 48), "grey", count=40, cache=tmp_path).fingerprint


# The generator that ships.


@pytest.fixture(scope="module")
def generator() -> gan_core.Generator:
    return gan_core.load(examples.FOLDER / "critters.safetensors")


@pytest.fixture(scope="module")
def directions() -> steering.Directions:
    return steering.load(examples.FOLDER / "critters-directions.safetensors")


def test_the_generator_that_ships_has_learned_these_critters(generator):
    assert generator.style_shape is not None
    assert generator.size == (64, 64)
    assert generator.card.data.name == "critters"
    assert generator.card.data.images == examples.CRITTERS
    assert (examples.FOLDER / "critters.safetensors").stat().st_size < 6_000_000
    generated = to_pixels(generator.decode(gan_core.sample_noise(generator, range(64))))
    middle, corner = generated[:, 24:56, 16:48], generated[:, :6, :6]
    assert middle.std(axis=(1, 2)).mean() > 4 * corner.std(axis=(1, 2)).mean(), "a critter on a plain background"
    assert corner.mean(axis=(1, 2)).std(axis=0).min() > 5, "of many tints"


def test_the_directions_that_ship_are_of_the_generator_that_ships(generator, directions):
    assert directions.belong_to(generator)
    assert {"warm", "size", "tilt", "mouth", "cat"} <= {*directions.names}


def test_warm_turns_critters_from_blue_to_red(generator, directions):
    blue, red = ends(generator, directions, "warm")
    change = (red - blue)[:, 30:50, 24:40].mean(axis=(1, 2))
    assert (change[:, 0] - change[:, 2] > 20).mean() > 0.8


def test_size_makes_critters_larger(generator, directions):
    small, large = (colourful(images).mean() for images in ends(generator, directions, "size"))
    assert large > 1.15 * small


def ends(generator: gan_core.Generator, directions: steering.Directions, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of 24 critters that are moved 2 standard deviations back and on, float64 [24, 64, 64, 3]."""
    latent = gan_core.sample_noise(generator, range(24), 0.8)
    moved = (steering.move(generator, latent, directions, which, strength) for strength in (-2, 2))
    back, on = (to_pixels(generator.decode(each)).astype(float) for each in moved)
    return back, on


def colourful(images: np.ndarray) -> np.ndarray:
    """Pixels of a critter, whose colours are fuller and darker than those of the background, bool [N, 64, 64]."""
    return (images.max(axis=3) - images.min(axis=3) > 70) | (images.max(axis=3) < 140)
