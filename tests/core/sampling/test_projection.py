"""From an image to its latent: a generator's own sample is found again, and nothing that was given is changed."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stylegan2_networks import SMALL, generator_of

from gan_core import InputError, load, sample_noise
from gan_core.card import Tuned
from gan_core.examples import FOLDER
from gan_core.sampling.encoding import images_for
from gan_core.sampling.projection import ProjectionConfig, _loss, projecting, psnr

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
    found = projected(digits, targets, ProjectionConfig(steps=100))[-1]
    assert psnr(digits.decode(found.latent), targets) > 50
    assert found.latent.samples.shape == (2, *digits.latent_shape)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_sample_is_found_again_in_styles(styled, space):
    targets = styled.decode(sample_noise(styled, [1000])).clamp(-1, 1)
    first, *_, last = projected(styled, targets, ProjectionConfig(space, steps=60, candidates=64))
    assert last.psnr > first.psnr + 20 > 50
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


# What is minimised, and how: worked out by hand.


@pytest.mark.parametrize(
    ("size", "scales"),
    [((4, 4), 1), ((7, 7), 1), ((8, 8), 2), ((7, 16), 1), ((8, 16), 2), ((15, 15), 2), ((16, 16), 3)],
)
def test_a_difference_counts_at_every_scale_down_to_4_pixels(size, scales):
    target = torch.zeros(1, 3, *size)
    assert _loss(target + 0.5, target).tolist() == pytest.approx([scales * 0.25])
    fine = target.clone()
    fine[..., ::2], fine[..., 1::2] = 0.5, -0.5  # which is nothing at half the size
    even = fine[..., : size[1] // 2 * 2]
    assert _loss(even, torch.zeros_like(even)).tolist() == pytest.approx([0.25])


def test_each_image_is_held_against_its_own_target():
    images = torch.tensor([0.5, 0.1, -0.3])[:, None, None, None].expand(3, 1, 4, 4)
    assert _loss(images, torch.zeros(3, 1, 4, 4)).tolist() == pytest.approx([0.25, 0.01, 0.09])
    assert _loss(images, torch.full((1, 1, 4, 4), 0.1)).tolist() == pytest.approx([0.16, 0, 0.16])


@pytest.mark.parametrize(
    ("target", "made", "loss"),
    [
        (1.0, 1.5, 0),  # beyond white is white
        (-1.0, -1.5, 0),
        (1.0, 0.5, 0.25),
        (-1.0, -0.5, 0.25),
        (1.0, -1.0, 4),
        (0.9995, 1.4995, 0),
        (0.9985, 1.4985, 0.25),  # a grey that is nearly white is none
        (-0.9985, -1.4985, 0.25),
        (0.0, 1.5, 2.25),
    ],
)
def test_beyond_white_and_black_nothing_is_lacking(target, made, loss):
    images = torch.full((1, 1, 4, 4), made, requires_grad=True)
    found = _loss(images, torch.full((1, 1, 4, 4), target))
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert torch.autograd.grad(found.sum(), images)[0].ne(0).any() == (loss > 0)
    images = torch.full((1, 1, 8, 8), made)  # nor in what is seen of it from afar
    assert _loss(images, torch.full((1, 1, 8, 8), target)).item() == pytest.approx(2 * loss, abs=1e-6)


@pytest.mark.parametrize(
    ("made", "target", "decibels"),
    [
        (0.2, 0.0, 20),
        (1.0, -1.0, 0),
        (0.5, 0.5, 10 * math.log10(4e12)),
        (3.0, 1.0, 10 * math.log10(4e12)),
        (-2, -0.8, 20),
    ],
)
def test_decibels_by_hand(made, target, decibels):
    assert psnr(torch.full((2, 3, 4, 4), made), torch.full((2, 3, 4, 4), target)) == pytest.approx(decibels, abs=1e-4)


class Adam:
    """Kingma and Ba 2015, alg. 1, with betas of 0.9 and 0.99."""

    def __init__(self):
        self.first, self.second, self.steps = 0.0, 0.0, 0

    def step(self, gradient, rate):
        """What is added to the values."""
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.99 * self.second + 0.01 * gradient**2
        first, second = self.first / (1 - 0.9**self.steps), self.second / (1 - 0.99**self.steps)
        return -rate * first / (second.sqrt() + 1e-8)


def searched(generator, target, config, space):
    """The latents after every step of the search for one image, as it is described, one step after the other."""
    noise = sample_noise(generator, range(config.seed, config.seed + config.candidates), labels=config.label)
    order = _loss(generator.decode(noise), target).argsort()[:4]
    base, deviation, styles = noise.samples, 1.0, 1
    if space != "z":
        base, styles = generator.mapped(noise).samples[:, :, :1], SMALL.num_ws
        deviation = float((base[:, :, 0, 0] - generator.average_style).square().mean().sqrt())
    base, own = base[order], torch.zeros(len(order), base.shape[1], styles, 1)
    labels = None if noise.labels is None else noise.labels[order]

    def made(points):
        if space == "z":
            return generator.module(points.flatten(1), labels)
        return generator.module.synthesis(points.squeeze(3).transpose(1, 2))

    def with_gradients(points):
        points = points.clone().requires_grad_(True)
        losses = _loss(made(points), target)
        return losses.detach(), torch.autograd.grad(losses.sum(), points)[0]

    found = [(base + own)[:1]]
    random = torch.Generator().manual_seed(config.seed)
    together, alone, lowest = Adam(), Adam(), math.inf
    for step in range(config.steps):
        part = step / config.steps
        if len(base) > 1 and part >= 1 / 3:
            best = int(with_gradients(base + own)[0].argmin())
            base, own = base[best : best + 1], own[best : best + 1]
            labels = None if labels is None else labels[best : best + 1]
            together, alone = Adam(), Adam()
        rate = 0.05 * deviation * min(1, 0.05 + 20 * part) * min(1, 2 * (1 - part)) ** 2
        fading = 0.05 * deviation * max(0, 1 - 2 * part) ** 2
        jitter = torch.randn(base.shape, generator=random) * fading
        losses, gradient = with_gradients(base + own + jitter)
        best = int(losses.argmin())
        if fading or losses[best] < lowest:
            found.append((base + own)[best : best + 1])
            lowest = math.inf if fading else float(losses[best])
        else:
            found.append(found[-1])
        apart = 0.02 * 2 * own / deviation**2 / own[0].numel()
        own_step = alone.step(gradient + apart, rate)
        base = base + together.step(gradient.sum(2, keepdim=True), rate)
        if space == "w+" and part >= 1 / 3:
            own = own + own_step
    if config.steps and (losses := with_gradients(base + own)[0]).min() < lowest:
        found[-1] = (base + own)[int(losses.argmin())][None]
    return found, labels


@pytest.mark.parametrize("space", ["z", "w", "w+"])
@pytest.mark.parametrize(("steps", "seed"), [(1, 0), (12, 3)])
def test_a_search_goes_as_it_is_described(styled, new_generator, space, steps, seed):
    generator = new_generator(classes=3) if space == "z" else styled
    targets = generator.decode(sample_noise(generator, [77])).clamp(-1, 1)
    config = ProjectionConfig(space, steps=steps, candidates=9, seed=seed)
    expected, labels = searched(generator, targets, config, space)
    found = projected(generator, targets, config)
    assert len(found) == len(expected) == steps + 1
    for step, latent in zip(found, expected, strict=True):
        torch.testing.assert_close(step.latent.samples, latent.expand_as(step.latent.samples), rtol=1e-4, atol=1e-5)
        assert step.latent.space == space
    if labels is not None:
        assert torch.equal(found[-1].latent.labels, labels[:1])


def test_of_pictures_larger_than_512_only_one_latent_is_followed(new_generator, monkeypatch):
    """By the memory that is allowed: as many as fit are followed, one at least and four at most."""
    generator = new_generator()
    targets = generator.decode(sample_noise(generator, [77]))
    followed = []
    decode = type(generator.module).forward

    def counted(module, z, labels=None):
        followed.append(len(z))
        return decode(module, z, labels)

    for fit, expected in ((1, 1), (2, 2), (3.9, 3), (4, 4), (100, 4)):
        monkeypatch.setattr("gan_core.sampling.projection.PIXELS_DECODED_AT_ONCE", int(fit * 256))
        followed.clear()
        with monkeypatch.context() as patch:
            patch.setattr(type(generator.module), "forward", counted)
            steps = projecting(generator, targets, ProjectionConfig(steps=9, candidates=8))
            next(steps)
            followed.clear()
            next(steps)
        assert followed == [expected]


# Tuning.


def tuned_as_described(generator, latent, targets, config):
    """The weights after a tuning, as it is described: one image and one anchor at a time."""
    module = copy.deepcopy(generator.module)
    styled = generator.style_shape is not None
    weights = list((module.synthesis if styled else module).parameters())
    for weight in weights:
        weight.requires_grad_(True)

    def made(one):
        if styled:
            return module.synthesis(one.samples.squeeze(3).transpose(1, 2))
        return module(one.samples.flatten(1), one.labels)

    anchors = sample_noise(generator, range(config.seed, config.seed + min(16, config.candidates)))
    anchors = generator.mapped(anchors) if styled else anchors
    pictures = generator.decode(anchors)
    optimisers = [Adam() for _ in weights]
    for step in range(config.tuning_steps):
        part = step / config.tuning_steps
        rate = 3e-4 * min(1, 0.1 + 10 * part) * (1 - part)
        one, anchor = step % len(targets), step % len(anchors)
        lacking = _loss(made(latent[one : one + 1]), targets[one : one + 1])
        moved = _loss(made(anchors[anchor : anchor + 1]), pictures[anchor : anchor + 1])
        gradients = torch.autograd.grad((lacking + moved).sum(), weights, allow_unused=True)
        with torch.no_grad():
            for weight, gradient, optimiser in zip(weights, gradients, optimisers, strict=True):
                if gradient is not None:
                    weight.add_(optimiser.step(gradient, rate))
    return module.state_dict()


@pytest.mark.parametrize(("kind", "steps", "candidates"), [("z", 5, 3), ("w+", 5, 3), ("z", 19, 20)])
def test_a_tuning_goes_as_it_is_described(styled, new_generator, kind, steps, candidates):
    generator = styled if kind == "w+" else new_generator(classes=3)
    shape = 2, generator.config.channels, 16, 16
    targets = torch.from_numpy(np.random.RandomState(0).rand(*shape) * 2 - 1).float()
    config = ProjectionConfig(steps=0, candidates=candidates, tuning_steps=steps, seed=5)
    *_, untuned = projected(generator, targets, replace(config, tuning_steps=0))
    found = projected(generator, targets, config)
    expected = tuned_as_described(generator, untuned.latent, targets, config)
    for name, tensor in found[-1].generator.module.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=2e-5, msg=name)
    assert [step.done for step in found[-steps - 1 :]] == [*range(1, steps + 1), steps]
    assert found[-1].generator.card.tuned == Tuned(pictures=2, steps=steps)
    assert torch.equal(found[-1].latent.samples, untuned.latent.samples)


def test_a_tuning_leaves_the_pictures_of_other_latents_as_they_are(new_generator):
    """Anchors keep what random latents make: without them it would move with the image that is tuned to."""
    generator = new_generator()
    targets = -torch.ones(1, 1, 16, 16)
    tuned = projected(generator, targets, ProjectionConfig(steps=0, candidates=8, tuning_steps=60))[-1]
    anchors = sample_noise(generator, range(8))
    moved = (tuned.generator.decode(anchors) - generator.decode(anchors)).square().mean()
    came = (tuned.images - generator.decode(tuned.latent)).square().mean()
    assert moved < came


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
    assert tuned.generator.title.endswith("(tuned)") and tuned.generator.card.tuned.pictures == 2
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


# Images.


def test_pictures_become_what_the_generator_makes(new_generator, styled):
    wide = torch.zeros(2, 20, 40, 3)
    wide[:, :, 10:30, 0] = 1.0  # the square in the middle is red
    red = images_for(styled, wide)
    assert red.shape == (2, 3, 16, 16)
    assert (red[:, 0] > 0.9).all() and (red[:, 1:] == -1).all()
    assert images_for(new_generator(), wide).shape == (2, 1, 16, 16)
    exact = torch.rand(1, 16, 16, 3)
    assert torch.equal(images_for(styled, exact), exact.movedim(3, 1) * 2 - 1)
    with pytest.raises(InputError, match=r"Images must have shape"):
        images_for(styled, torch.zeros(16, 16, 3))
    with pytest.raises(InputError, match=r'fit must be crop, pad, stretch \(got "squeeze"\)'):
        images_for(styled, wide, "squeeze")


@pytest.mark.parametrize(
    "config",
    [
        {"steps": 0, "tuning_steps": 0, "candidates": 1},
        {"steps": 100_000, "tuning_steps": 100_000, "candidates": 100_000},
        {"candidates": 16, "seed": 2**32 - 16},
        *({"space": space} for space in (None, "z", "w", "w+")),
    ],
    ids=str,
)
def test_a_setting_at_its_limit_is_taken(config):
    ProjectionConfig(**config)


def test_a_projection_counts_the_steps_that_were_asked_for(new_generator):
    generator = new_generator()
    targets = generator.decode(sample_noise(generator, [77]))
    steps = projected(generator, targets, ProjectionConfig(steps=1, candidates=4, tuning_steps=2))
    assert [str(step).partition(":")[0] for step in steps] == [
        *("step 0 of 1", "step 1 of 1"),
        *("tuning step 1 of 2", "tuning step 2 of 2", "tuning step 2 of 2"),
    ]


def test_a_projection_says_how_far_it_is(new_generator):
    generator = new_generator()
    targets = generator.decode(sample_noise(generator, [77, 78]))
    steps = projected(generator, targets, ProjectionConfig(steps=2, candidates=4))
    assert [str(step).partition(":")[0] for step in steps] == [
        f"image {picture} of 2, step {i} of 2" for picture in (1, 2) for i in (0, 1, 2)
    ]
    assert [step.fraction for step in steps] == [0, 0.25, 0.5, 0.5, 0.75, 1]
    assert [len(step.latent) for step in steps] == [len(step.images) for step in steps] == [1, 1, 1, 2, 2, 2]
    for step in steps:
        assert step.psnr == psnr(step.images, targets[: len(step.images)])
        assert str(step).endswith(f": PSNR {step.psnr:.1f} dB")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"space": "x"}, 'space must be z, w or w\\+ \\(got "x"'),
        ({"steps": -1}, r"^steps must be 0 to 100,000 \(got -1\)"),
        ({"steps": 100_001}, r"^steps must be 0 to 100,000 \(got 100001\)"),
        ({"tuning_steps": 100_001}, r"tuning_steps must be 0 to 100,000 \(got 100001\)"),
        ({"tuning_steps": -1}, r"tuning_steps must be 0 to 100,000 \(got -1\)"),
        ({"candidates": 0}, r"candidates must be 1 to 100,000 \(got 0\)"),
        ({"candidates": 100_001}, r"candidates must be 1 to 100,000 \(got 100001\)"),
        ({"seed": 2**32 - 15, "candidates": 16}, "seed must be 0 to 4294967280 for 16 candidates"),
        ({"seed": -1}, "seed must be 0 to 4294967040 for 256 candidates"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused(config, sentence):
    with pytest.raises(InputError, match=sentence):
        ProjectionConfig(**config)


def test_pictures_and_spaces_that_do_not_fit_are_refused(new_generator, styled):
    generator = new_generator()
    with pytest.raises(InputError, match=r"generates images of shape \[1, 16, 16\] \(got \[3, 16, 16\]\)"):
        projected(generator, torch.zeros(1, 3, 16, 16), QUICK)
    with pytest.raises(InputError, match="not finite"):
        projected(generator, torch.full((1, 1, 16, 16), float("nan")), QUICK)
    with pytest.raises(InputError, match="set space to z"):
        projected(generator, torch.zeros(1, 1, 16, 16), replace(QUICK, space="w"))
    with pytest.raises(InputError, match=r"set space to w or w\+"):
        projected(styled, torch.zeros(1, 3, 16, 16), replace(QUICK, space="z"))
