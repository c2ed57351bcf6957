"""Mixing styles, and drawing points towards a point."""

import pytest
import torch
from stylegan2_networks import SMALL, generator_of

from gan_core import InputError, Latent, sample_noise
from gan_core.sampling.mixing import mix_grid, mix_styles, truncate
from gan_core.sampling.spaces import to_styles

LAST = SMALL.num_ws - 1


@pytest.fixture(scope="module")
def styled():
    return generator_of(SMALL)


def styles(generator, seeds):
    return to_styles(generator, sample_noise(generator, seeds)).samples


@pytest.mark.parametrize(
    ("first", "last"), [(0, None), (0, 0), (LAST, None), (LAST, LAST), (1, 3), (2, 2)], ids=lambda value: f"{value}"
)
def test_layers_are_exactly_those_of_their_source(styled, first, last):
    mixed = mix_styles(styled, sample_noise(styled, [0, 1]), sample_noise(styled, [2, 3]), first, last)
    one, other = styles(styled, [0, 1]), styles(styled, [2, 3])
    inside = [first <= layer <= (LAST if last is None else last) for layer in range(SMALL.num_ws)]
    for layer, taken in enumerate(inside):
        assert torch.equal(mixed.samples[:, :, layer], (other if taken else one)[:, :, layer])
    assert mixed.space == "w+"


def test_one_latent_is_mixed_with_all_of_the_other(styled):
    mixed = mix_styles(styled, sample_noise(styled, [0]), sample_noise(styled, [2, 3, 4]), 3)
    expected = [mix_styles(styled, sample_noise(styled, [0]), sample_noise(styled, [seed]), 3) for seed in (2, 3, 4)]
    torch.testing.assert_close(mixed.samples, torch.cat([each.samples for each in expected]))


def test_a_grid_mixes_every_row_with_every_column(styled):
    rows, columns = sample_noise(styled, [0, 1]), sample_noise(styled, [2, 3, 4])
    grid = mix_grid(styled, rows, columns, 2, 4).samples.unflatten(0, (2, 3))
    for i in range(2):
        for j in range(3):
            expected = mix_styles(styled, rows[i : i + 1], columns[j : j + 1], 2, 4).samples[0]
            torch.testing.assert_close(grid[i, j], expected)


def test_a_grid_can_show_its_sources(styled):
    rows, columns = sample_noise(styled, [0, 1]), sample_noise(styled, [2, 3, 4])
    grid = mix_grid(styled, rows, columns, 2, 4, sources=True).samples.unflatten(0, (3, 4))
    assert torch.equal(grid[1:, 0], styles(styled, [0, 1]))
    assert torch.equal(grid[0, 1:], styles(styled, [2, 3, 4]))
    assert (grid[0, 0] == styled.average_style[:, None, None]).all()
    assert torch.equal(grid[1:, 1:].flatten(0, 1), mix_grid(styled, rows, columns, 2, 4).samples)


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (3, 2), (0, LAST + 1), (LAST + 1, None)])
def test_layers_that_are_not_there_are_refused(styled, first, last):
    with pytest.raises(InputError, match=f"has style layers 0 to {LAST}: first and last must be in this range"):
        mix_styles(styled, sample_noise(styled, [0]), sample_noise(styled, [1]), first, last)


def test_batches_that_do_not_go_together_are_refused(styled):
    with pytest.raises(InputError, match="2 latents cannot be mixed with 3"):
        mix_styles(styled, sample_noise(styled, [0, 1]), sample_noise(styled, [1, 2, 3]))
    with pytest.raises(InputError, match="3 latents cannot be truncated towards 2 targets"):
        truncate(styled, sample_noise(styled, [1, 2, 3]), 0.5, target=sample_noise(styled, [0, 1]))


def test_a_generator_without_styles_cannot_mix_them(new_generator):
    generator = new_generator()
    with pytest.raises(InputError, match="has no style layers: walk or blend between its latents"):
        mix_styles(generator, sample_noise(generator, [0]), sample_noise(generator, [1]))


# Drawing towards a point.


def test_without_a_goal_styles_are_drawn_to_their_mean(styled):
    noise = sample_noise(styled, [0, 1])
    drawn, expected = truncate(styled, noise, 0.3, 2), to_styles(styled, noise, 0.3, 2)
    assert torch.equal(drawn.samples, expected.samples) and drawn.space == expected.space == "w+"


def test_styles_are_drawn_to_a_character(styled):
    drawn = truncate(styled, sample_noise(styled, [0, 1]), 0.25, 2, sample_noise(styled, [7]))
    one, character = styles(styled, [0, 1]), styles(styled, [7])
    torch.testing.assert_close(drawn.samples[:, :, :2], character[:, :, :2] + 0.25 * (one - character)[:, :, :2])
    assert torch.equal(drawn.samples[:, :, 2:], one[:, :, 2:])
    assert drawn.space == "w+"


@pytest.mark.parametrize(("psi", "seed"), [(0.0, 7), (1.0, 0)])
def test_the_ends_are_exact(styled, new_generator, psi, seed):
    for generator in (styled, new_generator()):
        drawn = truncate(generator, sample_noise(generator, [0]), psi, target=sample_noise(generator, [7]))
        assert torch.equal(generator.decode(drawn), generator.decode(sample_noise(generator, [seed])))


def test_all_styles_the_same_stay_in_w(styled):
    character = sample_noise(styled, [7])
    assert truncate(styled, sample_noise(styled, [0]), 0.5, target=character).space == "w"
    mixed = mix_styles(styled, character, sample_noise(styled, [8]), 3)
    assert truncate(styled, sample_noise(styled, [0]), 0.5, target=mixed).space == "w+"


def test_noise_is_drawn_to_zero_and_keeps_its_class(new_generator):
    generator = new_generator(classes=3)
    noise = sample_noise(generator, [0, 1], labels=[2, 1])
    drawn = truncate(generator, noise, 0.5)
    torch.testing.assert_close(drawn.samples, noise.samples / 2)
    assert torch.equal(drawn.labels, noise.labels)


def test_what_a_latent_was_made_of_is_not_changed(styled):
    noise = sample_noise(styled, [0, 1])
    before = noise.samples.clone()
    with torch.inference_mode():
        truncate(styled, noise, 0.5, target=sample_noise(styled, [7]))
        mix_grid(styled, noise, noise, sources=True)
    assert torch.equal(noise.samples, before)


def test_noise_has_no_cutoff(new_generator):
    generator = new_generator()
    with pytest.raises(InputError, match="without styles: leave cutoff out"):
        truncate(generator, sample_noise(generator, [0]), 0.5, 1)
    with pytest.raises(InputError, match="takes latents"):
        truncate(generator, Latent(torch.zeros(1, 9, 1, 1)), 0.5)
