"""What a seed stands for in a mixture and in styles, at the ends of every range that may be asked for."""

import numpy as np
import pytest
import torch
from stylegan2_networks import SMALL, generator_of

from gan_core import Generator, InputError, Latent, sample_noise
from gan_core.architectures import by_name
from gan_core.latents import LAST_SEED, noise_maps
from gan_core.sampling.labels import parse_class_weights
from gan_core.sampling.mixing import truncate
from gan_core.sampling.seeds import MAX_SAMPLES, parse_seeds
from gan_core.sampling.spaces import to_space, to_styles
from gan_core.sampling.walks import walk

STYLES = SMALL.num_ws


@pytest.fixture(scope="module")
def styled() -> Generator:
    """A StyleGAN2 whose mean style is not 0."""
    made = generator_of(SMALL)
    assert made.average_style.abs().min() > 0
    return made


@pytest.fixture(scope="module")
def vae() -> Generator:
    """A VAE with a mixture of two components far apart, in two of the four values of its latents."""
    family = by_name("conv_vae")
    config = family.config(8, 1, latent_size=4, width=2, components=2, directions=2)
    module = family.generator(config).requires_grad_(False).eval()
    mixture = module.mixture
    mixture.shares.copy_(torch.tensor([0.25, 0.75]))
    mixture.centre.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    mixture.basis.copy_(torch.eye(4)[:, :2])
    mixture.means.copy_(torch.tensor([[-10.0, -20.0], [10.0, 20.0]]))
    mixture.factors.copy_(torch.tensor([[[2.0, 0.0], [1.0, 3.0]], [[0.5, 0.0], [-1.0, 0.25]]]))
    mixture.residual.fill_(0.1)
    return Generator(family, config, module)


# A mixture.


@pytest.mark.parametrize("truncation", [1.0, 0.5, 0.0, -1.0])
def test_a_seed_draws_its_point_first_and_then_its_component_and_truncation_draws_towards_the_component_s_mean(
    vae, truncation
):
    seeds = [0, 1, 2, 3, LAST_SEED]
    found = sample_noise(vae, seeds, truncation).samples.flatten(1)
    for seed, point in zip(seeds, found, strict=True):
        stream = np.random.RandomState(seed)
        e = stream.randn(4).astype(np.float32)
        k = 0 if stream.random_sample() < 0.25 else 1
        mean = [(-10, -20), (10, 20)][k]
        factor = [[[2, 0], [1, 3]], [[0.5, 0], [-1, 0.25]]][k]
        along = [mean[0] + truncation * factor[0][0] * e[0],
                 mean[1] + truncation * (factor[1][0] * e[0] + factor[1][1] * e[1])]  # fmt: skip
        expected = [along[0], along[1] + 1, 2 + truncation * 0.1 * e[2], 3 + truncation * 0.1 * e[3]]
        assert point.tolist() == pytest.approx(expected, rel=1e-6)


def test_both_components_are_drawn(vae):
    sides = sample_noise(vae, range(400), 0.0).samples[:, 0, 0, 0] > 0
    assert sides.float().mean().item() == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_the_normal_prior_leaves_the_mixture_alone(vae, truncation):
    found = sample_noise(vae, [7], truncation, prior="normal").samples.flatten()
    assert found.tolist() == pytest.approx(truncation * np.random.RandomState(7).randn(4), rel=1e-6)
    assert torch.equal(sample_noise(vae, [7], prior="mixture").samples, sample_noise(vae, [7]).samples)


# Styles.


def test_the_first_styles_alone_are_drawn_towards_the_mean(styled):
    plain = to_styles(styled, sample_noise(styled, range(3)))
    mean = styled.average_style[:, None, None]
    for cutoff in (None, *range(STYLES + 1)):
        count = STYLES if cutoff is None else cutoff
        expected = plain.samples.clone()
        expected[:, :, :count] = mean + 0.3 * (expected[:, :, :count] - mean)
        ways = (
            sample_noise(styled, range(3), 0.3, cutoff=cutoff),
            to_styles(styled, plain, 0.3, cutoff),
            truncate(styled, plain, 0.3, cutoff),
        )
        for found in ways:
            torch.testing.assert_close(found.samples, expected, rtol=1e-5, atol=1e-6)
            # Where none or all are drawn, a point still has one style for all layers.
            assert found.space == ("w" if count in (0, STYLES) else "w+"), cutoff


def test_a_cutoff_lies_within_the_styles(styled):
    for cutoff in (-1, STYLES + 1):
        with pytest.raises(InputError, match=rf"has {STYLES} styles: cutoff must be 0 to {STYLES} \(got {cutoff}\)"):
            sample_noise(styled, [0], 0.5, cutoff=cutoff)


def test_styles_that_differ_stay_in_their_space(styled):
    mixed = Latent(torch.randn(2, SMALL.w_dim, STYLES, 1, generator=torch.Generator().manual_seed(0)), "w+")
    for truncation in (1.0, 0.5):
        assert to_styles(styled, mixed, truncation).space == "w+"
        assert to_styles(styled, mixed, truncation, 0).space == "w+"
    assert torch.equal(to_styles(styled, mixed).samples, mixed.samples)


def test_without_truncation_noise_of_styles_is_noise_and_with_it_lies_in_w(styled):
    assert sample_noise(styled, [0]).space == "z"
    assert sample_noise(styled, [0], space="w").space == "w"
    assert sample_noise(styled, [0], 0.5).space == "w"
    with pytest.raises(InputError, match="truncates in w: set space to w"):
        sample_noise(styled, [0], 0.5, space="z")
    # Without a truncation a cutoff changes nothing.
    assert torch.equal(sample_noise(styled, [0], cutoff=2).samples, sample_noise(styled, [0]).samples)


@pytest.mark.parametrize(("space", "found"), [(None, "w"), ("z", "z"), ("w", "w")])
def test_noise_is_steered_where_it_is_asked_to(styled, new_generator, space, found):
    assert to_space(styled, sample_noise(styled, [0]), space).space == found
    plain = new_generator()
    if space != "w":
        assert to_space(plain, sample_noise(plain, [0]), space).space == "z"


def test_points_are_drawn_towards_another_by_psi(new_generator):
    plain = new_generator()
    points, goal = sample_noise(plain, [0, 1]), sample_noise(plain, [2])
    found = truncate(plain, points, 0.25, target=goal).samples
    torch.testing.assert_close(found, goal.samples + 0.25 * (points.samples - goal.samples))
    torch.testing.assert_close(truncate(plain, points, 0.25).samples, 0.25 * points.samples)


# Seeds.


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", [0]),
        (str(LAST_SEED), [LAST_SEED]),
        (f"{LAST_SEED - 1}-{LAST_SEED}", [LAST_SEED - 1, LAST_SEED]),
        ("3-3", [3]),
        (" 5 , 2-3,2", [5, 2, 3, 2]),
        ("00007", [7]),
    ],
)
def test_seeds_are_written_as_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", [str(LAST_SEED + 1), f"{LAST_SEED}-{LAST_SEED + 1}", "3-2", "9" * 30, f"0-{'9' * 30}"])
def test_a_range_that_runs_downwards_or_beyond_the_last_seed_is_refused(text):
    with pytest.raises(InputError, match="is not a range of seeds: it must ascend"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "count"), [("0-99999", 100_000), ("0-49999,0-49999", 100_000), ("5,0-99998", 100_000)]
)
def test_a_hundred_thousand_pictures_are_the_most(text, count):
    assert len(parse_seeds(text)) == count == MAX_SAMPLES
    with pytest.raises(InputError, match="at most 100,000 images"):
        parse_seeds(f"{text},7")


@pytest.mark.parametrize("text", ["0-100000", "0-99999,0-99999", "0-99999,0", "0,0-99999", f"0-{LAST_SEED}"])
def test_more_are_refused_however_they_are_written(text):
    with pytest.raises(InputError, match="at most 100,000 images"):
        parse_seeds(text)


def test_the_last_seed_is_drawn_from_and_the_next_is_none(new_generator):
    expected = np.random.RandomState(LAST_SEED).randn(4)
    assert sample_noise(new_generator(), [LAST_SEED]).samples.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InputError, match="seed must be a whole number from 0 to 4294967295"):
        sample_noise(new_generator(), [LAST_SEED + 1])


def test_labels_are_drawn_after_the_noise_by_the_same_seed(new_generator):
    found = sample_noise(new_generator(classes=10), [3, 4])
    for place, seed in enumerate((3, 4)):
        stream = np.random.RandomState(seed)
        assert found.samples[place].flatten().tolist() == pytest.approx(stream.randn(4), rel=1e-6)
        assert found.labels is not None and found.labels[place] == stream.randint(10)


@pytest.mark.parametrize(("first", "count", "sound"), [(LAST_SEED - 1, 2, True), (LAST_SEED, 2, False), (-1, 1, False)])
def test_noise_maps_are_drawn_by_seeds_up_to_the_last(styled, first, count, sound):
    latent = sample_noise(styled, range(count))
    if sound:
        assert len(styled.decode(latent, noise="random", noise_seed=first)) == count
    else:
        with pytest.raises(InputError, match="noise_seed must be"):
            styled.decode(latent, noise="random", noise_seed=first)


def test_an_image_s_noise_maps_follow_one_another_in_its_own_stream():
    maps = noise_maps([(4, 4), (8, 12)], [5, 6])
    assert [tuple(each.shape) for each in maps] == [(2, 1, 4, 4), (2, 1, 8, 12)]
    for place, seed in enumerate((5, 6)):
        stream = np.random.RandomState(seed)
        for found in maps:
            expected = stream.randn(1, *found.shape[2:])
            assert found[place].tolist() == pytest.approx(expected, rel=1e-6)
    assert [each.abs().max() for each in noise_maps([(4, 4)], [])] == [0]


# Weights of classes.


@pytest.mark.parametrize(
    ("text", "weights"),
    [("0:0.7, 2:0.3", [0.7, 0, 0.3]), ("2:1", [0, 0, 1]), ("0.2,0.3,0.5", [0.2, 0.3, 0.5]), ("-1,2,0", [-1, 2, 0])],
)
def test_weights_of_classes_are_pairs_or_a_number_for_each(new_generator, text, weights):
    assert parse_class_weights(new_generator(classes=3), text).tolist() == pytest.approx(weights)


@pytest.mark.parametrize("text", ["3:1", "-1:1", "0:1,0:2", "1,2", "1,2,3,4", "a:1", "0:b", "", "0:1:2"])
def test_weights_of_classes_that_cannot_be_are_refused(new_generator, text):
    with pytest.raises(InputError, match="are not class weights of"):
        parse_class_weights(new_generator(classes=3), text)


# Walks.


@pytest.mark.parametrize(("closed", "frames"), [(True, 2 * 7), (False, 1 * 7 + 1)])
def test_a_walk_has_so_many_frames_for_each_of_its_ways(new_generator, closed, frames):
    plain = new_generator()
    stops = sample_noise(plain, [0, 1])
    found = walk(plain, stops, 7, "linear", closed)
    assert len(found) == frames
    for frame in range(7):
        share = frame / 7
        expected = stops.samples[0] + share * (stops.samples[1] - stops.samples[0])
        torch.testing.assert_close(found.samples[frame], expected)


@pytest.mark.parametrize(("frames", "allowed"), [(0, False), (1, True), (MAX_SAMPLES // 2, False), (-3, False)])
def test_a_walk_of_no_frames_or_of_too_many_is_refused(new_generator, frames, allowed):
    plain = new_generator()
    stops = sample_noise(plain, [0, 1])
    if allowed:
        assert len(walk(plain, stops, frames)) == 2
        return
    with pytest.raises(InputError, match="A walk must have 1 to 100,000 frames"):
        walk(plain, stops, frames)


def test_a_spherical_walk_is_the_formula_of_slerp(new_generator):
    plain = new_generator()
    stops = sample_noise(plain, [0, 1])
    a, b = stops.samples.double().flatten(1)
    angle = torch.arccos(a @ b / (a.norm() * b.norm()))
    found = walk(plain, stops, 5, "spherical", closed=False).samples.double().flatten(1)
    for frame in range(5):
        t = frame / 5
        direction = ((1 - t) * angle).sin() * a / a.norm() + (t * angle).sin() * b / b.norm()
        expected = direction / angle.sin() * ((1 - t) * a.norm() + t * b.norm())
        torch.testing.assert_close(found[frame], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("closed", [True, False])
def test_a_spline_leaves_each_stop_along_the_line_from_the_one_before_to_the_one_after(new_generator, closed):
    """Directions by Catmull and Rom's formula; an open walk begins and ends as if it went on straight."""
    plain = new_generator()
    stops = sample_noise(plain, [0, 1, 2])
    points = stops.samples.double().flatten(1)
    found = walk(plain, stops, 200, "spline", closed).samples.double().flatten(1)

    def unit(x: torch.Tensor) -> torch.Tensor:
        return x / x.norm()

    for leg in range(3 if closed else 2):
        a, b = points[leg], points[(leg + 1) % 3]
        before = points[leg - 1] if closed or leg else 2 * a - b
        after = points[(leg + 2) % 3] if closed or leg + 2 < 3 else 2 * b - a
        tangents = (unit(b) - unit(before)) / 2, (unit(after) - unit(a)) / 2
        curve = []
        for t in np.linspace(0, 1, 4001):
            direction = (2 * t**3 - 3 * t**2 + 1) * unit(a) + (t**3 - 2 * t**2 + t) * tangents[0]
            direction = direction + (3 * t**2 - 2 * t**3) * unit(b) + (t**3 - t**2) * tangents[1]
            curve.append(unit(direction))
        # Each frame points to somewhere on that curve, and its length lies between those of the two stops.
        nearest = torch.stack([unit(frame) for frame in found[200 * leg : 200 * leg + 200]]) @ torch.stack(curve).T
        assert nearest.amax(dim=1).min() > 1 - 1e-6
        places = nearest.argmax(dim=1)
        assert (places.diff() > 0).all() and places[0] == 0
        assert places.diff().float().std() / places.diff().float().mean() < 0.6, "at about the same rate everywhere"


def test_where_no_style_is_drawn_a_point_towards_another_keeps_one_style_for_all_layers(styled):
    points, goal = (to_styles(styled, sample_noise(styled, seeds)) for seeds in ([0, 1], [2]))
    for cutoff, space in ((0, "w"), (1, "w+"), (STYLES, "w"), (None, "w")):
        found = truncate(styled, points, 0.5, cutoff, target=goal)
        assert found.space == space, cutoff
    assert torch.equal(truncate(styled, points, 0.5, 0, target=goal).samples, points.samples)
    mixed = Latent(goal.samples, "w+")
    assert truncate(styled, points, 0.5, target=mixed).space == "w+"
