"""Generators side by side: the same seeds, the same real images, and figures that are those of each alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import gan_core
from gan_core import Generator, InputError, sample_noise
from gan_core.card import Card
from gan_core.examples import FOLDER, digits
from gan_core.media.image import to_pixels
from gan_core.metrics import Extractor, compare, measuring

COUNT = 40


class Counted:
    """A stand-in for a network: images made small. It counts what it is shown."""

    def __init__(self) -> None:
        self.images = 0
        self.extractor = Extractor("pixels", (8, 16), self._features)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        self.images += len(images)
        return functional.avg_pool2d(images, 4).flatten(1) / 255


@pytest.fixture(scope="module")
def generators() -> list[Generator]:
    return [gan_core.load(FOLDER / f"{name}.safetensors") for name in ("digits", "stylegan2-digits", "vae-digits")]


def compared(generators: list[Generator], extractor: Extractor) -> list[compare.Comparing]:
    return list(compare.comparing(generators, digits(), COUNT, extractor=extractor))


def test_figures_are_those_of_each_generator_alone(generators):
    steps = compared(generators, Counted().extractor)
    alone = [[*measuring(generators[i], digits(), COUNT, extractor=Counted().extractor)][-1].report for i in (0, 2)]
    assert steps[-1].reports == (alone[0], None, alone[1])


def test_real_images_are_looked_at_once(generators):
    counted = Counted()
    compared(generators, counted.extractor)
    assert counted.images == COUNT + 2 * COUNT


def test_it_says_how_far_it_is(generators):
    steps = compared(generators, Counted().extractor)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert str(steps[0]) == "digits: features of real images: 0%"


def test_of_generators_of_other_sizes_alone_there_are_no_figures(generators):
    with pytest.raises(InputError, match="None of the generators makes images of 28x28 pixels"):
        compared(generators[1:2], Counted().extractor)


def test_a_column_for_each_generator_and_a_row_for_each_seed(generators):
    seeds = [3, 17]
    images = [each.decode(sample_noise(each, seeds)) for each in generators]
    pixels = np.asarray(compare.sheet(images, generators, seeds))[..., 0]
    side = 128 + 4  # a cell and the gap
    for column in range(3):
        for row in range(2):
            x, y = pixels.shape[1] - (3 - column) * side, pixels.shape[0] - (2 - row) * side
            cell = pixels[y : y + 128, x : x + 128]
            own = to_pixels(images[column][row : row + 1])[0, ..., 0]
            centres = (np.arange(len(own)) * 128 + 64) // len(own)
            assert np.abs(cell[np.ix_(centres, centres)].astype(int) - own).max() <= 1


def test_images_of_other_proportions_and_colours_stand_in_the_middle_of_their_cell(generators):
    wide = torch.full((1, 3, 50, 200), -1.0)
    pixels = np.asarray(compare.sheet([torch.full((1, 1, 200, 200), -1.0), wide], generators[:2], [0]))[..., 0]
    cell = pixels[-204:-4, -204:-4]
    assert (cell[:75] == 255).all() and (cell[75:125] == 0).all() and (cell[125:] == 255).all()


@pytest.mark.parametrize(
    ("title", "training", "said"),
    [
        ("orchids", {"kimg": 1234.56}, "orchids\n1,234.6 kimg"),
        ("orchids", {"kimg": "many"}, "orchids"),
        ("orchids from the garden", None, "orchids from\nthe garden"),
        ("x" * 40, None, "x" * 14 + "\n" + "x" * 14 + "..."),
    ],
)
def test_a_heading_is_the_title_and_how_long_it_was_trained(generators, title, training, said):
    assert compare.heading(replace(generators[0], card=Card(title=title, training=training))) == said


def test_the_table_is_markdown_with_an_error_for_each_figure(generators):
    named = [replace(generators[0], card=Card(title="a|b")), *generators[1:]]
    report = [*measuring(generators[0], digits(), COUNT, extractor=Counted().extractor)][-1].report
    report = replace(report, kid=0.0432, kid_standard_error=0.002, coverage=0.9)
    lines = compare.as_markdown(named, (report, None, report)).splitlines()
    assert lines[0] == "| generator | network | size | kimg | KID | coverage |"
    assert lines[2] == "| a\\|b | dcgan | 28x28 |  | 0.0432 ± 0.0020 | 0.900 ± 0.047 |"
    assert lines[3] == "| digits, stylegan2 | stylegan2 | 32x32 | 128.0 | another size |  |"
    assert lines[-1].startswith("40 generated, 40 real of MNIST digits; pixels@16.")


def test_on_the_node_each_generator_has_a_line(generators):
    report = [*measuring(generators[0], digits(), COUNT, extractor=Counted().extractor)][-1].report
    report = replace(report, kid=0.0432, kid_standard_error=0.002, coverage=0.9)
    lines = compare.in_words(generators, (report, None, report))
    assert lines[:2] == [
        "digits, 269.4 kimg: KID 0.0432 ± 0.0020, coverage 0.900 ± 0.047",
        "digits, stylegan2, 128.0 kimg: another size",
    ]
    assert lines[3].startswith("40 generated, ") and len(lines) == 4
    assert compare.in_words(generators[:1], ()) == ["digits, 269.4 kimg"]


def test_without_a_data_set_the_table_has_no_figures(generators):
    lines = compare.as_markdown(generators, ()).splitlines()
    assert lines[0] == "| generator | network | size | kimg |" and len(lines) == 5
