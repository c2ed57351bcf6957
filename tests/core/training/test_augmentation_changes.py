"""Each change of ADA and of DiffAugment alone, with the numbers that it draws chosen, against its formula."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from augmented import ada, ada_matrices, diffaugment
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gan_core.training.augmentation import Adaptive

MOVES, SHADES = 8, 5
"""Changes of the place and of the colour of pixels in ADA, in the order in which they are drawn."""
REVERSED, TURNED, SHIFTED, RESIZED, ROTATED, STRETCHED, ROTATED_AGAIN, MOVED = range(MOVES)
BRIGHTER, CONTRASTED, INVERTED, HUED, SATURATED = range(SHADES)


class Drawn(np.random.Generator):
    """A stream that hands out the arrays that it was given, in this order, and nothing else."""

    def __init__(self, *arrays: Any):
        super().__init__(np.random.PCG64())
        self.left = [np.asarray(array, np.float64) for array in arrays]

    def _next(self, size: Any) -> np.ndarray:
        array = self.left.pop(0)
        assert array.shape == tuple(np.atleast_1d(size))
        return array

    random = standard_normal = _next


def chances(changes: int, *made: int) -> np.ndarray:
    """Draws by which one image gets these changes, at any p above 0 and below 1."""
    draws = np.ones((changes, 1))
    draws[[*made]] = 0.0
    return draws


NO_MOVE = np.ones((MOVES, 1)), np.zeros((6, 1)), np.zeros((4, 1))
NO_SHADE = np.ones((SHADES, 1)), np.zeros((2, 1)), np.zeros((3, 1))
"""Draws that change nothing."""


def moved(*draws: Any, shape: tuple[int, int] = (32, 32), p: float = 0.5) -> np.ndarray:
    """Where the pixels of an image come from, after draws for its moves."""
    return ada_matrices(Drawn(*draws, *NO_SHADE), 1, shape, p)[0][0]


def shaded(*draws: Any, p: float = 0.5) -> np.ndarray:
    """What the colours of an image are multiplied with, after draws for them."""
    return ada_matrices(Drawn(*NO_MOVE, *draws), 1, (32, 32), p)[1][0]


def moves(*made: int, uniform: float = 0.5, normal: float = 0.0, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    return moved(chances(MOVES, *made), np.full((6, 1), uniform), np.full((4, 1), normal), shape=shape)


def shades(*made: int, uniform: float = 0.5, normal: float = 0.0) -> np.ndarray:
    return shaded(chances(SHADES, *made), np.full((2, 1), uniform), np.full((3, 1), normal))


def matrix(a: float, b: float, c: float, d: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return np.array([[a, b, x], [c, d, y], [0, 0, 1]])


def rotation(angle: float, aspect: float = 1.0) -> np.ndarray:
    """In pixels a rotation; across, one unit is `aspect` times as many of them as down."""
    return matrix(math.cos(angle), -math.sin(angle) / aspect, math.sin(angle) * aspect, math.cos(angle))


ONE = matrix(1, 0, 0, 1)


# ADA: where pixels come from.


def test_without_a_change_everything_stays_where_it_is():
    assert np.array_equal(moves(uniform=0.9, normal=2.0), ONE)
    assert np.array_equal(shades(uniform=0.9, normal=2.0), np.eye(4))


@pytest.mark.parametrize(
    ("change", "uniform", "normal", "expected"),
    [
        (REVERSED, 0.49, 0.0, ONE),
        (REVERSED, 0.5, 0.0, matrix(-1, 0, 0, 1)),
        (TURNED, 0.24, 0.0, ONE),
        (TURNED, 0.25, 0.0, matrix(0, -1, 1, 0)),
        (TURNED, 0.5, 0.0, matrix(-1, 0, 0, -1)),
        (TURNED, 0.75, 0.0, matrix(0, 1, -1, 0)),
        (SHIFTED, 0.0, 0.0, matrix(1, 0, 0, 1, -8 / 32, -8 / 32)),  # 4 pixels, an eighth, and a side is 2 long
        (SHIFTED, 0.999, 0.0, matrix(1, 0, 0, 1, 8 / 32, 8 / 32)),
        (SHIFTED, 0.81, 0.0, matrix(1, 0, 0, 1, 4 / 32, 4 / 32)),  # 2.48 pixels are 2
        (SHIFTED, 0.82, 0.0, matrix(1, 0, 0, 1, 6 / 32, 6 / 32)),  # 2.56 are 3
        (RESIZED, 0.5, 1.0, matrix(2**0.2, 0, 0, 2**0.2)),
        (RESIZED, 0.5, -2.0, matrix(2**-0.4, 0, 0, 2**-0.4)),
        (ROTATED, 0.0, 0.0, rotation(-math.pi)),
        (ROTATED, 0.6, 0.0, rotation(0.2 * math.pi)),
        (STRETCHED, 0.5, 1.0, matrix(2**0.2, 0, 0, 2**-0.2)),
        (ROTATED_AGAIN, 0.6, 0.0, rotation(0.2 * math.pi)),
        (MOVED, 0.5, 1.0, matrix(1, 0, 0, 1, 0.25, 0.25)),  # an eighth of a side that is 2 long
        (MOVED, 0.5, -0.5, matrix(1, 0, 0, 1, -0.125, -0.125)),
    ],
)
def test_a_move_is_its_formula(change, uniform, normal, expected):
    assert moves(change, uniform=uniform, normal=normal) == pytest.approx(expected, abs=1e-12)


def test_each_move_draws_numbers_of_its_own():
    uniform, normal = np.array([[0.9], [0.3], [0.9], [0.2], [0.7], [0.6]]), np.array([[0.5], [-1.0], [2.0], [3.0]])
    expected = {
        REVERSED: matrix(-1, 0, 0, 1),
        TURNED: matrix(0, -1, 1, 0),
        SHIFTED: matrix(1, 0, 0, 1, 6 / 32, -4 / 32),  # 3.2 and -2.4 pixels
        RESIZED: matrix(2**0.1, 0, 0, 2**0.1),
        ROTATED: rotation(0.4 * math.pi),
        STRETCHED: matrix(2**-0.2, 0, 0, 2**0.2),
        ROTATED_AGAIN: rotation(0.2 * math.pi),
        MOVED: matrix(1, 0, 0, 1, 0.5, 0.75),
    }
    for change, alone in expected.items():
        assert moved(chances(MOVES, change), uniform, normal) == pytest.approx(alone, abs=1e-12), change
    whole = moved(np.zeros((MOVES, 1)), uniform, normal)
    product = ONE
    for change in range(MOVES):  # the last change is undone first
        product = product @ expected[change]
    assert whole == pytest.approx(product, abs=1e-12)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_an_image_that_is_no_square_is_turned_by_halves_and_moved_by_its_own_sides(shape):
    height, width = shape
    assert moves(TURNED, uniform=0.49, shape=shape) == pytest.approx(ONE)
    assert moves(TURNED, uniform=0.5, shape=shape) == pytest.approx(matrix(-1, 0, 0, -1), abs=1e-12)
    assert moves(ROTATED, uniform=0.6, shape=shape) == pytest.approx(rotation(0.2 * math.pi, width / height))
    assert moves(ROTATED_AGAIN, uniform=0.6, shape=shape) == pytest.approx(rotation(0.2 * math.pi, width / height))
    # 0.6 of an eighth: 1.2 pixels of 16 are 1, 3.6 of 48 are 4.
    pixels = {16: 1, 48: 4}
    by = 2 * pixels[width] / width, 2 * pixels[height] / height
    assert moves(SHIFTED, uniform=0.8, shape=shape) == pytest.approx(matrix(1, 0, 0, 1, *by))


@pytest.mark.parametrize("p", [0.36, 0.75])
@pytest.mark.parametrize("change", range(MOVES))
def test_a_move_is_made_as_often_as_p_says_and_of_the_two_rotations_at_least_one(change, p):
    """Two that are each made with 1 - sqrt(1 - p) are both left with 1 - p."""
    chance = 1 - math.sqrt(1 - p) if change in (ROTATED, ROTATED_AGAIN) else p
    for draw, made in ((chance - 1e-6, True), (chance + 1e-6, False)):
        draws = np.ones((MOVES, 1))
        draws[change] = draw
        found = moved(draws, np.full((6, 1), 0.9), np.full((4, 1), 1.0), p=p)
        assert (not np.allclose(found, ONE)) is made


def changed(images: Tensor, *made: int, uniform: float = 0.5, normal: float = 0.0) -> Tensor:
    """Images [1, C, H, W] after these moves."""
    draws = chances(MOVES, *made), np.full((6, 1), uniform), np.full((4, 1), normal)
    return ada(images, 0.5, Drawn(*draws, *NO_SHADE))


def test_a_move_tells_where_pixels_come_from_and_what_comes_from_outside_is_mirrored():
    image = torch.arange(16.0).expand(1, 1, 16, 16)
    # By an eighth, 2 pixels: what was 2 to the right is here now.
    expected = torch.tensor([*range(2, 16), 15.0, 14.0]).expand(1, 1, 16, 16)
    torch.testing.assert_close(changed(image, SHIFTED, uniform=0.999), expected)
    torch.testing.assert_close(
        changed(image.mT, SHIFTED, uniform=0.0)[0, 0, :, 0], torch.tensor([1.0, 0.0, *range(14)])
    )
    torch.testing.assert_close(changed(image, REVERSED, uniform=0.9), image.flip(3))
    # By a quarter of a pixel, which two pixels make up.
    moved = changed(image, MOVED, normal=1 / 8)
    assert moved[0, 0, 5].tolist() == pytest.approx([*(i + 0.25 for i in range(15)), 15.0])


# ADA: colours.

COLOUR = np.array([0.2, -0.4, 0.8, 1.0])
GREY = np.array([0.2, 0.2, 0.2, 1.0])


@pytest.mark.parametrize(
    ("change", "uniform", "normal", "expected"),
    [
        (BRIGHTER, 0.5, 1.5, [0.5, -0.1, 1.1, 1.0]),
        (CONTRASTED, 0.5, 1.0, COLOUR * [2**0.5, 2**0.5, 2**0.5, 1]),
        (CONTRASTED, 0.5, -2.0, COLOUR * [0.5, 0.5, 0.5, 1]),
        (INVERTED, 0.49, 0.0, COLOUR),
        (INVERTED, 0.5, 0.0, [-0.2, -0.8, 0.4, 1]),  # the grey, 0.2, becomes -0.2, and the rest of it stays
        (SATURATED, 0.5, 1.0, 2 * COLOUR - GREY),
        (SATURATED, 0.5, -1.0, (COLOUR + GREY) / 2),
        (HUED, 0.0, 0.0, 2 * GREY - COLOUR),  # by half a turn
        (HUED, 0.5, 0.0, COLOUR),
        (HUED, 0.5 + 1 / 3, 0.0, [0.8, 0.2, -0.4, 1]),  # by a third: red becomes green, green blue, blue red
        (HUED, 0.5 - 1 / 3, 0.0, [-0.4, 0.8, 0.2, 1]),
    ],
)
def test_a_shade_is_its_formula(change, uniform, normal, expected):
    assert shades(change, uniform=uniform, normal=normal) @ COLOUR == pytest.approx(np.asarray(expected), abs=1e-9)


def test_each_shade_draws_numbers_of_its_own_and_the_first_is_made_first():
    uniform, normal = np.array([[0.9], [0.5 + 1 / 3]]), np.array([[1.0], [2.0], [-1.0]])
    alone = []
    for change in range(SHADES):
        alone.append(shaded(chances(SHADES, change), uniform, normal))
    assert alone[BRIGHTER][:3, 3] == pytest.approx(0.2)
    assert alone[CONTRASTED] @ GREY == pytest.approx([0.4, 0.4, 0.4, 1])
    assert alone[SATURATED] @ COLOUR == pytest.approx((COLOUR + GREY) / 2)
    whole = shaded(np.zeros((SHADES, 1)), uniform, normal)
    expected = COLOUR
    for each in alone:
        expected = each @ expected
    assert whole @ COLOUR == pytest.approx(expected)


@pytest.mark.parametrize("p", [0.3, 0.8])
@pytest.mark.parametrize("change", range(SHADES))
def test_a_shade_is_made_as_often_as_p_says(change, p):
    for draw, made in ((p - 1e-6, True), (p + 1e-6, False)):
        draws = np.ones((SHADES, 1))
        draws[change] = draw
        found = shaded(draws, np.full((2, 1), 0.9), np.full((3, 1), 1.0), p=p)
        assert (not np.allclose(found, np.eye(4))) is made


def test_shades_reach_the_colours_of_an_image_and_not_its_alpha_channel():
    image = torch.tensor([0.2, -0.4, 0.8, 0.5])[None, :, None, None].expand(1, 4, 8, 8)
    draws = chances(SHADES, BRIGHTER, SATURATED), np.full((2, 1), 0.5), np.array([[1.5], [0.0], [1.0]])
    stream = Drawn(*NO_MOVE, *draws)
    # First brighter by 0.3, then its distance from grey doubled.
    expected = [2 * value - 0.2 + 0.3 for value in (0.2, -0.4, 0.8)]
    assert ada(image, 0.5, stream)[0, :, 3, 4].tolist() == pytest.approx([*expected, 0.5], abs=1e-6)


# ADA: all changes together.


def each(*values: Any) -> np.ndarray:
    """Matrices [N, 2, 2] or [N, 3, 3] of these numbers, which are [N] or the same for all images."""
    side = math.isqrt(len(values))
    return np.stack(np.broadcast_arrays(*map(np.asarray, values)), axis=-1).reshape(-1, side, side)


def composed(
    random: np.random.Generator, count: int, shape: tuple[int, int], p: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same as `ada_matrices`, one matrix after the other (Karras et al. 2020, appendix B)."""
    height, width = shape
    made, uniform, normal = random.random((8, count)), random.random((6, count)), random.standard_normal((4, count))

    def turned(angle: np.ndarray) -> np.ndarray:
        sin, cos = np.sin(angle), np.cos(angle)
        return each(cos, -sin * height / width, 0, sin * width / height, cos, 0, 0, 0, 1)

    def scaled(across: np.ndarray, down: Any) -> np.ndarray:
        return each(across, 0, 0, 0, down, 0, 0, 0, 1)

    def shifted(across: np.ndarray, down: np.ndarray) -> np.ndarray:
        return each(1, 0, across, 0, 1, down, 0, 0, 1)

    turns = 4 if height == width else 2
    pixels = [np.round((2 * draws - 1) / 8 * side) for draws, side in zip(uniform[2:4], (width, height), strict=True)]
    once = 1 - math.sqrt(1 - p)
    moves = [
        (p, scaled(1 - 2 * np.floor(2 * uniform[0]), 1)),
        (p, turned(2 * np.pi / turns * np.floor(turns * uniform[1]))),
        (p, shifted(pixels[0] * 2 / width, pixels[1] * 2 / height)),
        (p, scaled(2 ** (0.2 * normal[0]), 2 ** (0.2 * normal[0]))),
        (once, turned(np.pi * (2 * uniform[4] - 1))),
        (p, scaled(2 ** (0.2 * normal[1]), 2 ** (-0.2 * normal[1]))),
        (once, turned(np.pi * (2 * uniform[5] - 1))),
        (p, shifted(0.25 * normal[2], 0.25 * normal[3])),
    ]
    place = np.eye(3)
    for draws, (chance, change) in zip(made, moves, strict=True):
        place = place @ np.where((draws < chance)[:, None, None], change, np.eye(3))

    made, uniform, normal = random.random((5, count)), random.random((2, count)), random.standard_normal((3, count))
    grey = np.full((3, 3), 1 / 3)
    rest, quarter = np.eye(3) - grey, np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)

    def of_greys_and_the_rest(*factors: Any) -> np.ndarray:
        parts = zip(factors, (grey, rest, quarter), strict=True)
        return sum(np.asarray(factor).reshape(-1, 1, 1) * np.pad(part, (0, 1)) for factor, part in parts) + one

    one, brighter = np.diag([0.0, 0.0, 0.0, 1.0]), np.tile(np.eye(4), (count, 1, 1))
    brighter[:, :3, 3] = 0.2 * normal[0, :, None]
    contrast, angle = 2 ** (0.5 * normal[1]), np.pi * (2 * uniform[1] - 1)
    shades = [
        brighter,
        of_greys_and_the_rest(contrast, contrast, 0),
        of_greys_and_the_rest(1 - 2 * np.floor(2 * uniform[0]), 1, 0),
        of_greys_and_the_rest(1, np.cos(angle), np.sin(angle)),
        of_greys_and_the_rest(1, 2 ** normal[2], 0),
    ]
    colour = np.eye(4)
    for draws, change in zip(made, shades, strict=True):
        colour = np.where((draws < p)[:, None, None], change, np.eye(4)) @ colour
    return np.broadcast_to(place, (count, 3, 3)), np.broadcast_to(colour, (count, 4, 4))


@given(st.integers(0, 2**32), st.integers(1, 6), st.tuples(st.integers(1, 64), st.integers(1, 64)), st.floats(0, 1))
def test_all_changes_together_are_the_product_of_their_matrices(seed, count, shape, p):
    found = ada_matrices(np.random.default_rng(seed), count, shape, p)
    expected = composed(np.random.default_rng(seed), count, shape, p)
    for these, those in zip(found, expected, strict=True):
        np.testing.assert_allclose(these, those, rtol=1e-12, atol=1e-12 * np.abs(those).max())


def test_what_a_stream_draws_for_ada_never_changes():
    """Numbers of the first version: a run that is resumed goes on with them."""
    moves, shades = ada_matrices(np.random.default_rng([7, 5, 0, 1]), 2, (16, 24), 0.6)
    turned = [[-0.270668, -0.641782, -0.012556], [1.444009, -0.270668, -0.24532]]
    reversed_and_moved = [[-1, 0, 1 / 6], [0, 1, -1 / 8]]
    assert moves[:, :2] == pytest.approx(np.array([turned, reversed_and_moved]), abs=1e-6)
    first_rows = [[0.355174, -0.269917, 0.870672, -0.051258], [0.7771, -0.795559, -0.795559, 0.171921]]
    assert shades[:, 0] == pytest.approx(np.array(first_rows), abs=1e-6)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8])
def test_p_may_be_a_scalar_on_the_device(p):
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = ada(images, p, np.random.default_rng(0))
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(ada(images, torch.tensor(p, dtype=dtype), np.random.default_rng(0)), expected)


# DiffAugment.


def diffaugmented(images: Tensor, *draws: float) -> Tensor:
    """Images after draws for brightness, saturation, contrast, two shifts and two places to cut out."""
    return diffaugment(images, Drawn(np.repeat(np.array(draws)[:, None], len(images), axis=1)))


NOTHING = (0.5, 0.5, 0.5, 0.5, 0.5)
"""Draws that change neither colours nor places."""


@pytest.mark.parametrize(
    ("brightness", "saturation", "contrast"), [(0.0, 0.5, 0.5), (0.9, 0.5, 0.5), (0.5, 0.1, 0.5), (0.5, 0.5, 0.9),
                                               (0.2, 0.8, 0.3), (0.7, 0.0, 1.0)]
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_become_brighter_then_more_saturated_then_of_another_contrast(
    brightness, saturation, contrast, channels
):
    """As the authors' program has it, one after the other."""
    images = torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = diffaugmented(images, brightness, saturation, contrast, 0.5, 0.5, 1 - 1e-9, 1 - 1e-9)
    colours = images[:, :3].clone() + (brightness - 0.5)
    grey = colours.mean(dim=1, keepdim=True)
    colours = (colours - grey) * (2 * saturation) + grey
    mean = colours.mean(dim=(1, 2, 3), keepdim=True)
    colours = (colours - mean) * (contrast + 0.5) + mean
    expected = torch.cat([colours, images[:, 3:]], dim=1)
    kept = found[:, :, :4, :4], expected[:, :, :4, :4]  # the corner beyond is cut out
    torch.testing.assert_close(*kept, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (20, 12)])
@pytest.mark.parametrize("draw", [0.0, 0.3, 0.5, 0.999999])
def test_an_image_moves_by_whole_pixels_up_to_an_eighth_and_leaves_zeros(height, width, draw):
    images = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0)) + 1
    found = diffaugmented(images, 0.5, 0.5, 0.5, draw, 0.5, 1 - 1e-9, 1 - 1e-9)
    most = round(height / 8)
    by = math.floor(draw * (2 * most + 1)) - most
    for row in range(height // 2 - 1):  # below it something is cut out
        source = row + by
        expected = images[0, 0, source] if 0 <= source < height else torch.zeros(width)
        seen = slice(0, width // 2 - 1)
        torch.testing.assert_close(found[0, 0, row, seen], expected[seen], rtol=0, atol=1e-5)
    across = diffaugmented(images.mT, 0.5, 0.5, 0.5, 0.5, draw, 1 - 1e-9, 1 - 1e-9)
    torch.testing.assert_close(across, found.mT, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "draw", "first", "last"),
    [
        (8, 0.0, 0, 2),  # of 4 rows about the edge 2 lie inside
        (8, 0.5, 2, 6),  # about the 4th of the places 0 to 8
        (8, 0.999999, 6, 8),
        (16, 0.0, 0, 4),
        (16, 0.25, 0, 8),
        (6, 0.0, 0, 2),  # an odd number, 3, lies about one of 6 places
        (6, 0.5, 2, 5),
        (6, 0.999999, 4, 6),
    ],
)
def test_half_of_each_side_is_cut_out_about_a_place_anywhere_in_it(height, draw, first, last):
    ones = torch.ones(1, 1, height, 8)
    found = diffaugmented(ones, *NOTHING, draw, 0.5)
    expected = ones.clone()
    expected[..., first:last, 2:6] = 0
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(diffaugmented(ones.mT, *NOTHING, 0.5, draw), expected.mT)


def test_what_a_stream_draws_for_diffaugment_never_changes():
    """Numbers of the first version."""
    image = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
    found = diffaugment(image, np.random.default_rng([7, 5, 0, 1]))[0, :, ::3, ::3]
    expected = [
        *(0, -0.280137, 0, 0, -0.135423, -0.117334, 0, 0.009291, 0.02738),
        *(0, -0.138703, 0, 0, 0.006011, 0.0241, 0, 0.150725, 0.168814),
        *(0, 0.002731, 0, 0, 0.147445, 0.165534, 0, 0.292159, 0.310248),
    ]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


# ADA's p.


@pytest.mark.parametrize(
    ("signs", "direction"),
    [
        ([1.0, 1.0, 1.0, 0.1], 1),  # their mean is 0.775, though the last one is small
        ([0.1, 1.0, 1.0, 1.0], 1),
        ([0.1, 0.2, 0.2, 1.0], -1),  # 0.375, though the last one is large
        ([1.0, 0.5, 0.5, 0.5], 1),  # 0.625
        ([0.9, 0.5, 0.5, 0.45], -1),  # 0.5875
        ([0.5, 0.75, 0.5, 0.65], 0),  # just the target
    ],
)
def test_p_follows_the_mean_sign_of_four_batches(signs, direction):
    adaptive = Adaptive()
    adaptive.restore({"p": 0.5, "signs": []})
    for sign in signs:
        assert adaptive.p == 0.5
        adaptive.observe(torch.tensor(sign, dtype=torch.float64), 50)
    assert adaptive.p.item() == pytest.approx(0.5 + direction * 200 / 500_000, abs=1e-12)
    assert adaptive.state["signs"] == []
