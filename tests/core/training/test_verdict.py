"""Each threshold of the detector, with a history on either side of it."""

from collections.abc import Sequence

import pytest

from gan_core.training.history import Record
from gan_core.training.monitor import verdict as watch

HEALTHY = {
    "discriminator_loss": 1.2,
    "generator_loss": 0.9,
    "real_score": 0.3,
    "fake_score": -0.3,
    "real_sign": 0.4,
    "diversity": 0.95,
    "distance": 0.02,
}

Values = float | Sequence[float]


def course(count: int = 12, every: int = 4000, **values: Values) -> list[Record]:
    """So many records, one after so many images each: healthy but for these values, one for each record or for all."""
    records = []
    for i in range(count):
        given = {name: value if isinstance(value, (int, float)) else value[i] for name, value in values.items()}
        records.append(Record(every * (i + 1), {**HEALTHY, **given}))
    return records


def then(before: float, last: float, count: int = 12, changed: int = 3) -> list[float]:
    """Values that were one number, and are another in the last records."""
    return [before] * (count - changed) + [last] * changed


def kind(history: Sequence[Record], shown: int = 10_000) -> str | None:
    found = watch.verdict(history, shown)
    return found.kind if found else None


def seen(history: Sequence[Record], shown: int = 10_000) -> str:
    return str(watch.verdict(history, shown))


# Collapse.


def test_nothing_is_judged_before_20_000_images():
    fallen = {"diversity": then(0.9, 0.1, 5, 2)}
    assert kind(course(5, 4000, **fallen)) == "collapse"
    assert kind(course(5, 3999, **fallen)) is None
    assert watch.healthy(course(5, 4000)) and not watch.healthy(course(5, 3999))
    assert watch.verdict([], 10_000) is None


@pytest.mark.parametrize(
    ("had", "now", "expected"),
    [
        (0.9, 0.44, "collapse"),  # below half of what it was
        (0.9, 0.45, None),
        (0.9, 0.46, None),
        (1.2, 0.49, "collapse"),  # and below half of the real images' too
        (1.2, 0.50, None),
        (1.2, 0.55, None),
    ],
)
def test_a_collapse_is_half_of_the_diversity_that_there_was_and_of_the_real_images(had, now, expected):
    history = course(diversity=then(had, now))
    assert kind(history) == expected
    if expected:
        assert f"samples vary {now:.1%} as much as real images, after {had:.1%} before" in seen(history)


def test_it_goes_by_the_median_of_three_looks():
    for bad in ([1], [2], [3], [1, 4]):
        assert kind(course(diversity=[0.1 if 12 - i in bad else 0.9 for i in range(12)])) is None, bad
    for bad in ([1, 2], [1, 3], [2, 3]):
        assert kind(course(diversity=[0.1 if 12 - i in bad else 0.9 for i in range(12)])) == "collapse", bad
    two = [Record(15_000, {**HEALTHY, "diversity": 0.9}), Record(30_000, {**HEALTHY, "diversity": 0.0})]
    assert kind(two) is None, "of two looks nothing is said"
    # What it had is a median as well: one good look among bad ones is none.
    assert kind(course(diversity=[0.45] * 5 + [0.95] + [0.45] * 6)) is None


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (0.20, 0.24, "collapse"),  # 1.2 times as much as half the images ago is still no growth
        (0.20, 0.25, None),
        (0.28, 0.29, "collapse"),
        (0.28, 0.30, None),  # it has reached enough
    ],
)
def test_one_that_never_varied_has_collapsed_where_it_no_longer_gets_any_better(before, now, expected):
    history = course(diversity=[0.1, 0.1, 0.1, before, before, before, *[now] * 6], distance=0.3)
    assert kind(history) == expected
    if expected:
        assert f"samples vary only {now:.1%} as much as real images, and no more than half the images ago" in seen(
            history
        )


def test_half_the_images_ago_ends_with_the_look_at_just_half_of_them():
    # At 24,000 of 48,000 images the median of the three looks before is 0.2, at 20,000 it was 0.1, at 28,000 0.24.
    history = course(diversity=[0.1, 0.1, 0.1, 0.1, 0.2, 0.2, *[0.24] * 6], distance=0.3)
    assert kind(history) == "collapse"
    earlier = course(diversity=[0.1, 0.1, 0.1, 0.1, 0.1, 0.2, *[0.24] * 6], distance=0.3)
    assert kind(earlier) is None
    assert kind(course(5, 4000, diversity=0.1, distance=0.3)) is None, "there were no three looks at half of them"


# Divergence.


@pytest.mark.parametrize(
    ("had", "now", "expected"),
    [
        (0.05, 0.36, "divergence"),  # far
        (0.05, 0.35, None),
        (0.05, 0.34, None),
        (0.20, 0.61, "divergence"),  # and three times as far as it was
        (0.20, 0.59, None),
    ],
)
def test_a_divergence_is_far_away_and_three_times_as_far_as_before(had, now, expected):
    history = course(distance=then(had, now))
    assert kind(history) == expected
    if expected:
        assert f"to a distance of {now:.2f} after {had:.2f} before" in seen(history)


def test_the_distance_goes_by_the_median_of_three_looks_too():
    assert kind(course(distance=[0.05] * 10 + [0.9, 0.05])) is None
    assert kind(course(distance=[0.05] * 9 + [0.9, 0.05, 0.9])) == "divergence"
    # So does the least that it was.
    assert kind(course(distance=[0.3] * 5 + [0.01] + [0.3] * 3 + [0.5] * 3)) is None


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (0.62, 0.61, "divergence"),
        (0.60, 0.60, None),  # it came near enough
        (0.59, 0.59, None),
        (1.00, 0.91, "divergence"),
        (1.00, 0.90, None),  # nearer by a tenth
        (1.00, 0.89, None),
    ],
)
def test_one_that_never_came_near_has_diverged_where_it_comes_no_nearer(before, now, expected):
    history = course(diversity=0.6, distance=[before] * 6 + [now] * 6)
    assert kind(history) == expected
    if expected:
        assert f"samples stay at a distance of {now:.2f} from the real images" in seen(history)


@pytest.mark.parametrize(
    ("loss", "now", "expected"),
    [
        (0.0009, 0.3, "divergence"),
        (0.0011, 0.3, None),
        (-0.0009, 0.3, "divergence"),
        (0.0009, 0.28, "divergence"),
        (0.0009, 0.26, None),  # nearer by more than a tenth, it still learns
    ],
)
def test_a_discriminator_without_a_loss_has_won_where_samples_come_no_nearer(loss, now, expected):
    history = course(diversity=0.6, distance=[0.3] * 6 + [now] * 6, discriminator_loss=loss)
    assert kind(history) == expected
    assert expected is None or "the discriminator has won: its loss is 0" in seen(history)


def test_losses_of_both_signs_are_none_that_is_0():
    swinging = [0.5 * (-1) ** i for i in range(12)]
    assert kind(course(diversity=0.6, distance=0.3, discriminator_loss=swinging)) is None


@pytest.mark.parametrize(
    ("margin", "distance", "loss", "expected"),
    [
        (15.1, 0.11, 0.01, "divergence"),
        (14.9, 0.11, 0.01, None),
        (15.1, 0.10, 0.01, None),
        (15.1, 0.09, 0.01, None),
        (15.1, 0.11, -0.01, None),  # a Wasserstein critic
    ],
)
def test_scores_that_lie_far_apart_are_a_divergence_while_samples_do_too(margin, distance, loss, expected):
    history = course(
        distance=[0.2] * 6 + [distance] * 6, discriminator_loss=loss, real_score=margin - 4, fake_score=-4.0
    )
    assert kind(history) == expected
    assert expected is None or "it scores real images 15 higher than samples" in seen(history)


def test_what_every_step_says_is_the_mean_over_the_last_12_000_images():
    far = {"distance": [0.2] * 6 + [0.11] * 6, "discriminator_loss": 0.01, "fake_score": 0.0}
    assert kind(course(**far, real_score=then(0.0, 15.1, changed=3))) == "divergence", "all of them"
    assert kind(course(**far, real_score=then(0.0, 22.0, changed=2))) is None, "two thirds of 22"
    assert kind(course(**far, real_score=then(0.0, 23.0, changed=2))) == "divergence", "two thirds of 23"
    assert kind(course(**far, real_score=[*[99.0] * 9, *[14.0] * 3])) is None, "and none before"


def test_a_record_counts_by_its_images():
    far = {"distance": [0.2] * 6 + [0.11] * 6, "discriminator_loss": 0.01, "fake_score": 0.0}
    for score, expected in ((16.0, "divergence"), (15.5, None)):  # of 11,000 images, and 5 of 1,000
        history = course(**far, real_score=[0.0] * 10 + [score, 5.0])
        history[9:11] = [Record(36_000, history[9].values), Record(47_000, history[10].values)]
        assert kind(history) == expected
    alone = [Record(30_000, {**HEALTHY, "real_sign": 0.9, "real_score": 2.0, "fake_score": -2.0})]
    assert kind(alone, 100) == "overfitting", "the first record holds all images up to it"


# Overfitting.

SURE = {"real_sign": 0.9, "real_score": 2.0, "fake_score": -2.0}


@pytest.mark.parametrize(
    ("values", "shown", "expected"),
    [
        ({}, 4800, "overfitting"),  # each image ten times
        ({}, 4801, None),
        ({"real_sign": 0.81}, 4800, "overfitting"),
        ({"real_sign": 0.79}, 4800, None),
        ({"real_score": 0.26, "fake_score": -0.25}, 4800, "overfitting"),
        ({"real_score": 0.24, "fake_score": -0.25}, 4800, None),
    ],
)
def test_images_are_overfitted_by_a_sure_discriminator_that_saw_each_ten_times(values, shown, expected):
    history = course(**{**SURE, **values})
    assert kind(history, shown) == expected
    assert expected is None or f"r_t {history[-1].values['real_sign']:.2f}" in seen(history, shown)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([0.51] * 6, "overfitting"),
        ([0.5] * 6, None),
        ([0.49] * 6, None),
        ([0.9, 0.9, 0.9, 0.9, 0.0, 0.0], "overfitting"),  # by their median
        ([0.9, 0.9, 0.0, 0.0, 0.0, 0.9], None),
        ([0.9] * 5, None),  # too few
        ([0.0] * 6 + [0.9] * 4, "overfitting"),  # the last six
        ([0.9] * 6 + [0.0] * 4, None),
    ],
)
def test_with_images_held_out_the_last_six_looks_at_them_decide(looks, expected):
    history = course(**SURE, held_out_score=1.0)
    for record, overfitting in zip(history[-len(looks) :], looks, strict=True):
        record.values["overfitting"] = overfitting
    assert kind(history, 100) == expected
    assert expected is None or "(r_v " in seen(history, 100)
    for record in history[1:]:
        del record.values["held_out_score"]
    assert kind(history, 100) == expected, "it is enough that one record knows of images that are held out"


def test_the_gravest_is_said_first():
    all_at_once = {"diversity": then(0.9, 0.1), "distance": then(0.05, 0.9), **SURE}
    assert kind(course(**all_at_once), 100) == "collapse"
    assert kind(course(**{**all_at_once, "diversity": 0.9}), 100) == "divergence"


# KID.


def measured(*values: float, errors: Sequence[float] = ()) -> list[Record]:
    errors = errors or [0.001] * len(values)
    return [
        Record(1000 * i, {**HEALTHY, "kid": value, "kid_standard_error": error})
        for i, (value, error) in enumerate(zip(values, errors, strict=True))
    ]


@pytest.mark.parametrize(
    ("values", "errors", "expected"),
    [
        ((0.1, 0.131, 0.2, 0.2), (), True),
        ((0.1, 0.129, 0.2, 0.2), (), False),
        ((0.1, 0.2, 0.129, 0.2), (), False),
        ((0.1, 0.2, 0.2, 0.129), (), False),
        ((0.2, 0.2, 0.2), (), False),  # nothing came before
        ((0.3, 0.1, 0.4, 0.131, 0.131, 0.131), (), True),  # the best of all before
        ((0.3, 0.1, 0.4, 0.129, 0.131, 0.131), (), False),
        ((0.1, 0.141, 0.2, 0.2), (0.012, 0.016, 0.016, 0.016), True),  # two standard errors of the difference
        ((0.1, 0.139, 0.2, 0.2), (0.012, 0.016, 0.016, 0.016), False),
        ((0.1, 0.141, 0.2, 0.2), (0.02, 0.0, 0.0, 0.0), True),
        ((0.1, 0.139, 0.2, 0.2), (0.02, 0.0, 0.0, 0.0), False),
        ((0.1, 0.2, 0.2, 0.2), (0.02, 0.9, 0.9, 0.9), False),
    ],
)
def test_kid_is_worse_beyond_three_tenths_and_two_errors_three_times_in_a_row(values, errors, expected):
    assert watch.worsened(measured(*values, errors=errors)) is expected
    apart = [Record(50, HEALTHY), *measured(*values, errors=errors), Record(99_000, HEALTHY)]
    assert watch.worsened(apart) is expected, "records without a measurement in between do not count"


@pytest.mark.parametrize(
    ("look", "counts"),
    [
        ({"diversity": 0.7, "distance": 0.174}, True),
        ({"diversity": 0.699, "distance": 0.1}, False),
        ({"diversity": 0.9, "distance": 0.175}, False),
        ({}, False),  # nobody has looked yet
    ],
)
def test_the_kid_of_what_is_not_yet_a_generator_does_not_count(look, counts):
    measured = Record(1300, {"kid": 42.8, "kid_standard_error": 0.5})
    assert watch.counted([Record(1000, look), measured]) == [measured] * counts
    together = Record(4000, {**look, **measured.values})
    assert watch.counted([together]) == [together] * counts
    later = Record(9200, {"kid": 67.7, "kid_standard_error": 0.5})
    grey = {"diversity": 0.02, "distance": 0.9}
    assert watch.counted([Record(1000, grey), measured, Record(8000, look), later]) == [later] * counts, (
        "by the last look"
    )


def test_of_a_real_run_whose_mush_has_the_lowest_kid_a_later_generator_is_the_best():
    """python -m gan_core train example/digits --size 28 --preset digits --kimg 20 --measure-kimg 1.5, on a CPU."""
    course = [
        (1536, 14.90, 0.16, None),
        (3072, 6.15, 0.17, None),
        (4608, 14.72, 0.50, (0.427, 0.500)),
        (6144, 6.62, 0.17, (0.427, 0.500)),
        (9216, 14.59, 0.38, (0.651, 0.147)),
        (12_288, 17.50, 0.69, (0.789, 0.058)),
        (16_896, 17.04, 0.60, (0.880, 0.027)),
        (18_432, 15.35, 0.62, (0.880, 0.027)),
        (19_968, 14.17, 0.73, (0.880, 0.027)),
    ]
    history, best = [], None
    for images, kid, error, look in course:
        seen = {"diversity": look[0], "distance": look[1]} if look else {}
        history.append(Record(images, {"kid": kid, "kid_standard_error": error, **seen}))
        counts = history[-1] in watch.counted(history)
        if counts and (best is None or watch.better(history[-1].values, best.values)):
            best = history[-1]
    assert best is not None and best.images == 19_968


def test_kid_does_not_become_worse_than_that_of_grey_mush():
    mush = Record(1300, {"kid": 42.8, "kid_standard_error": 0.5})
    course = [mush, *measured(67.7, 67.5, 67.6, 67.8)]
    assert not watch.worsened(course)


@pytest.mark.parametrize(
    ("kid", "error", "better"), [(0.94, 0.03, True), (0.96, 0.03, False), (0.94, 0.05, False), (0.99, 0.0, False)]
)
def test_a_kid_is_better_by_more_than_both_errors_leave_open(kid, error, better):
    best = {"kid": 1.0, "kid_standard_error": 0.04}
    assert watch.better({"kid": kid, "kid_standard_error": error}, best) is better


# Healthy states.


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"diversity": [1.0] * 11 + [0.81]}, True),
        ({"diversity": [1.0] * 11 + [0.79]}, False),
        ({"diversity": 0.31}, True),
        ({"diversity": 0.29}, False),
        ({"distance": [0.02] * 11 + [0.17]}, True),
        ({"distance": [0.02] * 11 + [0.18]}, False),
        ({"distance": [0.2] * 11 + [0.29]}, True),
        ({"distance": [0.2] * 11 + [0.31]}, False),
        ({"diversity": [0.1] * 11 + [0.9]}, True),  # the last look alone
    ],
)
def test_a_state_is_healthy_that_is_nearly_as_varied_and_as_near_as_any_before(values, expected):
    assert watch.healthy(course(**values)) is expected


def test_without_a_look_no_state_is_healthy():
    blind = [Record(50_000, {name: value for name, value in HEALTHY.items() if name != "diversity"})]
    assert not watch.healthy(blind) and not watch.healthy([])
