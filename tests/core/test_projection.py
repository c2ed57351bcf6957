"""From a picture to its latent: a generator's own sample is found again, and nothing that was given is changed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from stylegan2_networks import SMALL, generator_of

from gan_core import InputError, load, sample_noise
from gan_core.encoding import pictures_for
from gan_core.examples import FOLDER
from gan_core.projection import ProjectionConfig, projecting, psnr

QUICK = ProjectionConfig(steps=12, candidates=8)


def projected(generator, targets, config):
    """All steps of a projection, to the last."""
    return list(projecting(generator, targets, config))


@pytest.fixture(scope="module")
def styled():
    return generator_of(SMALL)


def test_a_sample_of_a_trained_generator_is_found_again():
    digits = load(FOLDER / "digits.safetensors")
    targets = digits.decode(sample_noise(digits, [10**6, 10**6 + 1]))
    found = projected(digits, targets, ProjectionConfig())[-1]
    assert psnr(digits.decode(found.latent), targets) > 30
    assert found.latent.samples.shape == (2, *digits.latent_shape)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_sample_is_found_again_in_styles(styled, space):
    targets = styled.decode(sample_noise(styled, [1000])).clamp(-1, 1)
    first, *_, last = projected(styled, targets, ProjectionConfig(space, steps=200, candidates=64))
    assert last.psnr > max(30.0, first.psnr + 5)
    assert last.latent.space == space
    assert (last.latent.samples == last.latent.samples[:, :, :1]).all() == (space == "w")


@pytest.mark.parametrize("space", [None, "w"])
def test_what_is_shown_is_what_the_latent_makes(styled, new_generator, space):
    generator = styled if space else new_generator()
    targets = generator.decode(sample_noise(generator, [77, 78]))
    for step in projected(generator, targets, replace(QUICK, space=space)):
        latent = step.latent
        torch.testing.assert_close(generator.decode(latent)[-1:], step.images[-1:], rtol=0, atol=0.2)
    torch.testing.assert_close(generator.decode(latent), step.images, rtol=0, atol=1e-4)


def test_the_start_is_the_best_of_the_candidates(new_generator):
    generator = new_generator()
    noise = sample_noise(generator, range(5, 13))
    config = ProjectionConfig(steps=0, candidates=8, seed=5)
    for place in (0, 3, 7):
        (found,) = projected(generator, generator.decode(noise[place : place + 1]), config)
        assert torch.equal(found.latent.samples, noise.samples[place : place + 1])


def test_the_same_seed_finds_the_same_latent(styled):
    targets = styled.decode(sample_noise(styled, [77]))
    one, again = (projected(styled, targets, QUICK)[-1].latent.samples for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(projected(styled, targets, replace(QUICK, seed=1))[-1].latent.samples, one)


def test_each_picture_is_found_as_if_it_were_alone(styled):
    targets = styled.decode(sample_noise(styled, [77, 78]))
    together = projected(styled, targets, QUICK)[-1].latent.samples
    assert torch.equal(together[1:], projected(styled, targets[1:], QUICK)[-1].latent.samples)


def test_every_step_is_counted(styled):
    targets = styled.decode(sample_noise(styled, [77, 78]))
    done = [step.done for step in projected(styled, targets, QUICK)]
    assert done == [*range(13), *range(12, 25)]
    assert projected(styled, targets, replace(QUICK, tuning_steps=3))[-1].fraction == 1


def test_the_class_of_the_best_candidate_is_kept_or_the_given_one(new_generator):
    generator = new_generator(classes=3)
    targets = generator.decode(sample_noise(generator, [3], labels=2))
    best = projected(generator, targets, ProjectionConfig(steps=10, candidates=64, label=None))[-1]
    assert best.latent.labels.shape == (1,)
    given = projected(generator, targets, ProjectionConfig(steps=10, candidates=64, label=2))[-1]
    assert given.latent.labels.tolist() == [2]
    generator.decode(given.latent)
    with pytest.raises(InputError, match="no class 3"):
        projected(generator, targets, ProjectionConfig(label=3))


def test_a_projection_works_inside_ComfyUIs_inference_mode_once_it_is_left(styled):
    with torch.inference_mode():
        generator = generator_of(SMALL)
        targets = generator.decode(sample_noise(generator, [77]))
        with torch.inference_mode(False):
            found = projected(generator, targets.clone(), replace(QUICK, tuning_steps=2))[-1]
    assert found.images.isfinite().all()


# Tuning.


@pytest.mark.parametrize("styles", [True, False])
def test_tuning_comes_nearer_and_leaves_the_given_generator_as_it_was(styled, new_generator, styles):
    generator = styled if styles else new_generator({"title": "cats"})
    before = copy.deepcopy(generator.module.state_dict())
    side, channels = generator.config.side, generator.config.channels
    targets = torch.from_numpy(np.random.RandomState(0).rand(2, channels, side, side) * 2 - 1).float()
    steps = projected(generator, targets, replace(QUICK, tuning_steps=40))
    untuned, tuned = steps[25], steps[-1]
    assert untuned.generator is generator
    assert tuned.psnr > untuned.psnr
    torch.testing.assert_close(tuned.generator.decode(tuned.latent), tuned.images)
    assert tuned.generator.title.endswith("(tuned)") and tuned.generator.card["tuned"]["pictures"] == 2
    for name, tensor in generator.module.state_dict().items():
        assert torch.equal(tensor, before[name])
    if styles:  # the same seeds have the same styles, and directions still fit
        noise = sample_noise(generator, [1, 2])
        assert torch.equal(tuned.generator.mapped(noise).samples, generator.mapped(noise).samples)


def test_a_tuned_generator_is_a_file_like_any_other(new_generator, tmp_path):
    generator = new_generator()
    targets = generator.decode(sample_noise(generator, [77]))
    tuned = projected(generator, targets, replace(QUICK, tuning_steps=3))[-1]
    back = load(tuned.generator.save(tmp_path / "tuned.safetensors"))
    assert torch.equal(back.decode(tuned.latent), tuned.generator.decode(tuned.latent))


# Pictures.


def test_pictures_become_what_the_generator_makes(new_generator, styled):
    wide = torch.zeros(2, 20, 40, 3)
    wide[:, :, 10:30, 0] = 1.0  # the square in the middle is red
    red = pictures_for(styled, wide)
    assert red.shape == (2, 3, 16, 16)
    assert (red[:, 0] > 0.9).all() and (red[:, 1:] == -1).all()
    assert pictures_for(new_generator(), wide).shape == (2, 1, 16, 16)
    exact = torch.rand(1, 16, 16, 3)
    assert torch.equal(pictures_for(styled, exact), exact.movedim(3, 1) * 2 - 1)
    with pytest.raises(InputError, match=r"Pictures are of shape"):
        pictures_for(styled, torch.zeros(16, 16, 3))
    with pytest.raises(InputError, match='by crop, pad, stretch, not "squeeze"'):
        pictures_for(styled, wide, "squeeze")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"space": "x"}, 'in z, w or w\\+, not in "x"'),
        ({"steps": -1}, "0 to 100,000 steps"),
        ({"tuning_steps": 10**6}, "0 to 100,000 steps"),
        ({"candidates": 0}, "1 to 100,000 random latents, not 0"),
        ({"seed": 2**32 - 1}, "pass 4294967295"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused(config, sentence):
    with pytest.raises(InputError, match=sentence):
        ProjectionConfig(**config)


def test_pictures_and_spaces_that_do_not_fit_are_refused(new_generator, styled):
    generator = new_generator()
    with pytest.raises(InputError, match=r"makes pictures of shape \[1, 16, 16\], not \[3, 16, 16\]"):
        projected(generator, torch.zeros(1, 3, 16, 16), QUICK)
    with pytest.raises(InputError, match="no numbers"):
        projected(generator, torch.full((1, 1, 16, 16), float("nan")), QUICK)
    with pytest.raises(InputError, match="are looked for in z, as it has no styles"):
        projected(generator, torch.zeros(1, 1, 16, 16), replace(QUICK, space="w"))
    with pytest.raises(InputError, match=r"are looked for in w or w\+"):
        projected(styled, torch.zeros(1, 3, 16, 16), replace(QUICK, space="z"))
