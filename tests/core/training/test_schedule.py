"""A setting that changes has the value that its schedule says, after any number of images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_core.training.schedule import SHAPES, Schedule, at

NUMBERS = st.floats(-1e3, 1e3)


@pytest.mark.parametrize(
    ("images", "value"),
    [(0, 10.0), (500, 7.5), (1000, 5.0), (1500, 2.5), (2000, 0.0), (2001, 0.0), (10**9, 0.0)],
)
def test_a_linear_schedule_goes_straight_and_then_stays(images, value):
    assert at(Schedule(10.0, 0.0, kimg=2, shape="linear"), images) == pytest.approx(value)


@pytest.mark.parametrize(
    ("images", "value"),
    # R3GAN's learning rate: 2e-4 + (5e-5 - 2e-4) * (1 - cos(pi * share)) / 2 at shares of 0, 1/4, 1/3, 1/2 and 1
    [(0, 2e-4), (750, 1.780330e-4), (1000, 1.625e-4), (1500, 1.25e-4), (3000, 5e-5), (9000, 5e-5)],
)
def test_a_cosine_schedule_is_the_formula(images, value):
    assert at(Schedule(2e-4, 5e-5, kimg=3), images) == pytest.approx(value, rel=1e-6)


@given(NUMBERS, st.integers(0, 10**9))
def test_a_plain_number_is_always_itself(value, images):
    assert at(value, images) == value


@given(NUMBERS, NUMBERS, st.sampled_from(sorted(SHAPES)), st.integers(0, 20_000))
def test_a_schedule_never_leaves_the_two_values_it_lies_between(start, end, shape, images):
    value = at(Schedule(start, end, kimg=10, shape=shape), images)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_begins_at_the_start_and_arrives_at_the_end(shape):
    schedule = Schedule(0.9, 0.99, kimg=7, shape=shape)
    assert at(schedule, 0) == 0.9
    assert at(schedule, 7000) == pytest.approx(0.99)


def test_a_schedule_is_told_as_where_from_and_where_to():
    assert f"{Schedule(2e-4, 5e-5, kimg=3):g}" == "0.0002 to 5e-05"
