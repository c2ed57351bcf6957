"""Walks: they pass through their stops, keep their distance from the centre, and close."""

import re
from itertools import pairwise

import pytest
import torch
from stylegan2_networks import SMALL, generator_of

from gan_core import InputError, Latent, sample_noise
from gan_core.sampling.spaces import to_styles
from gan_core.sampling.walks import INTERPOLATIONS, walk

every_way = pytest.mark.parametrize("way", INTERPOLATIONS)


@pytest.fixture(scope="module")
def styled():
    return generator_of(SMALL)


def distances(samples, centre=0.0):
    return (samples - centre).norm(dim=1).flatten(1)


@every_way
@pytest.mark.parametrize("closed", [True, False])
def test_a_walk_passes_exactly_through_its_stops(new_generator, way, closed):
    generator = new_generator(latent_size=32)
    stops = sample_noise(generator, [3, 17, 40, 8])
    frames = walk(generator, stops, 5, way, closed)
    assert len(frames) == (20 if closed else 16)
    assert frames.space == "z"
    assert torch.equal(frames.samples[::5], stops.samples)


@every_way
@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_walk_in_styles_passes_exactly_through_its_stops(styled, way, space):
    stops = to_styles(styled, sample_noise(styled, [3, 17, 40]), 0.5, 2 if space == "w+" else None)
    assert stops.space == space
    frames = walk(styled, stops, 4, way)
    assert frames.space == stops.space
    assert torch.equal(frames.samples[::4], stops.samples)
    assert styled.decode(frames).isfinite().all()


def test_the_length_of_a_latent_goes_evenly_from_stop_to_stop(new_generator):
    generator = new_generator(latent_size=64)
    stops = sample_noise(generator, [0, 1, 2])
    found = distances(walk(generator, stops, 8, "spherical").samples).flatten()
    ends = distances(stops.samples).flatten()[[0, 1, 2, 0]]
    expected = torch.cat([torch.linspace(a, b, 9)[:-1] for a, b in pairwise(ends)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_on_a_spline_no_latent_is_more_average_than_the_stops(new_generator):
    generator = new_generator(latent_size=64)
    stops = sample_noise(generator, range(5))
    ends = distances(stops.samples).flatten()
    for leg, found in enumerate(distances(walk(generator, stops, 8, "spline").samples).flatten().split(8)):
        low, high = sorted([float(ends[leg]), float(ends[(leg + 1) % 5])])
        assert low - 1e-5 <= found.min() and found.max() <= high + 1e-5


@pytest.mark.parametrize("way", ["spherical", "spline"])
def test_styles_keep_their_distance_from_the_mean(styled, way):
    centre = styled.average_style[:, None, None]
    stops = to_styles(styled, sample_noise(styled, [0, 1]))
    of_one_length = centre + (stops.samples - centre) / distances(stops.samples, centre)[:, None, :, None]
    frames = walk(styled, Latent(of_one_length, "w"), 8, way)
    torch.testing.assert_close(distances(frames.samples, centre), torch.ones(16, SMALL.num_ws), rtol=1e-5, atol=0)


def test_a_spherical_walk_turns_at_a_constant_rate(new_generator):
    generator = new_generator(latent_size=64)
    frames = walk(generator, sample_noise(generator, [0, 1]), 10, "spherical", closed=False).samples.flatten(1)
    cosines = torch.cosine_similarity(frames[1:], frames[:-1])
    torch.testing.assert_close(cosines, cosines[:1].expand(10), rtol=1e-5, atol=0)


def test_a_straight_walk_is_straight(new_generator):
    generator = new_generator()
    stops = sample_noise(generator, [0, 1])
    frames = walk(generator, stops, 4, "linear", closed=False).samples
    torch.testing.assert_close(frames[1], stops.samples[0].lerp(stops.samples[1], 0.25))


@every_way
def test_a_loop_closes_as_smoothly_as_it_goes(new_generator, way):
    """The step from the last frame to the first is like the others of its leg."""
    generator = new_generator(latent_size=64)
    frames = walk(generator, sample_noise(generator, range(5)), 60, way).samples.flatten(1)
    steps = (frames.roll(-1, 0) - frames).norm(dim=1)
    assert steps[-1] == pytest.approx(float(steps[-2]), rel=0.05)
    assert steps.max() < 3 * steps.min()


def test_a_spline_has_no_corners(new_generator):
    """Where a straight way turns from one frame to the next, a spline's direction hardly changes."""
    generator = new_generator(latent_size=64)
    turns = {}
    for way in ("linear", "spline"):
        frames = walk(generator, sample_noise(generator, range(5)), 60, way).samples.flatten(1)
        steps = frames.roll(-1, 0) - frames
        turns[way] = torch.cosine_similarity(steps, steps.roll(-1, 0)).min()
    assert turns["linear"] < 0
    assert turns["spline"] > 0.95


@every_way
def test_opposite_and_central_stops_are_no_trouble(new_generator, way):
    generator = new_generator(latent_size=8)
    point = sample_noise(generator, [0]).samples
    stops = Latent(torch.cat([point, -point, torch.zeros_like(point), point]))
    frames = walk(generator, stops, 6, way)
    assert frames.samples.isfinite().all()
    assert torch.equal(frames.samples[::6], stops.samples)
    if way == "spherical":
        torch.testing.assert_close(distances(frames.samples[:6]), distances(point).expand(6, 1))


def test_a_walk_in_w_is_one_style_for_all_layers(styled):
    frames = walk(styled, sample_noise(styled, [1, 2]), 3)
    assert frames.space == "w"
    assert (frames.samples == frames.samples[:, :, :1]).all()
    assert frames.samples.untyped_storage().nbytes() == frames.samples[:, :, 0].numel() * 4  # and takes no more memory


def test_a_style_based_generator_can_be_walked_in_z(styled):
    stops = sample_noise(styled, [1, 2])
    frames = walk(styled, stops, 3, space="z")
    assert frames.space == "z"
    assert torch.equal(frames.samples[::3], stops.samples)


def test_classes_are_mixed_on_the_way(new_generator):
    generator = new_generator(classes=3)
    stops = sample_noise(generator, [0, 1], labels=[0, 2])
    frames = walk(generator, stops, 4)
    assert frames.labels[0].tolist() == [1, 0, 0]
    assert frames.labels[1].tolist() == [0.75, 0, 0.25]
    assert frames.labels[4].tolist() == [0, 0, 1]
    torch.testing.assert_close(generator.decode(frames)[::4], generator.decode(stops))


def test_a_walk_of_classes_in_w_has_their_styles():
    conditional = generator_of(type(SMALL)(**{**vars(SMALL), "classes": 3}))
    stops = sample_noise(conditional, [0, 1], labels=[0, 2])
    frames = walk(conditional, stops, 4)
    assert frames.labels is None
    torch.testing.assert_close(conditional.decode(frames)[::4], conditional.decode(stops))


@pytest.mark.parametrize(
    ("seeds", "settings", "sentence"),
    [
        ([0], {}, "at least two stops"),
        ([0, 1], {"interpolation": "zigzag"}, 'must be spherical or linear or spline (got "zigzag")'),
        ([0, 1], {"frames": 0}, "(got 2 times 0)"),
        ([0, 1], {"frames": 10**6}, "(got 2 times 1000000)"),
        ([0, 1], {"space": "w"}, "has no style space w"),
        ([0, 1], {"space": "x"}, 'space must be z or w (got "x")'),
    ],
    ids=str,
)
def test_a_walk_that_cannot_be_is_refused(new_generator, seeds, settings, sentence):
    generator = new_generator()
    with pytest.raises(InputError, match=re.escape(sentence)):
        walk(generator, sample_noise(generator, seeds), **{"frames": 3, **settings})


def test_no_way_leads_back_from_w_to_z(styled):
    with pytest.raises(InputError, match="cannot be mapped back to z: set space to w"):
        walk(styled, to_styles(styled, sample_noise(styled, [0, 1])), 3, space="z")


def test_stops_of_another_generator_are_refused(new_generator, styled):
    with pytest.raises(InputError, match="do not fit"):
        walk(styled, sample_noise(new_generator(latent_size=9), [0, 1]), 3)
    with pytest.raises(InputError, match="do not fit"):
        walk(styled, Latent(torch.zeros(2, 9, SMALL.num_ws, 1), "w"), 3)
