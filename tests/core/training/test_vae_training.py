"""What a VAE learns, and that it is what was asked for."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_runs import begun, finish, steps_of

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig, TrainingDiverged, sample_noise, train
from gan_core.examples import digits
from gan_core.losses.reconstruction import bernoulli, kl, multiscale
from gan_core.training import presets
from gan_core.training.history import Record
from gan_core.training.methods import variational
from gan_core.training.run import Run

BATCH = 5


def config_for(folder: Path, preset: str = "conv_vae", steps: int = 4, **changes) -> TrainConfig:
    batch = changes.get("batch_size", BATCH)
    settings = {"batch_size": batch, "kimg": steps * batch / 1000, **changes}
    return TrainConfig.of(folder / "run", preset=preset, **settings)


def generator_of(
    dataset: ImageDataset, config: TrainConfig, start: gan_core.Generator | None = None
) -> gan_core.Generator:
    """The generator of a run that was trained to its end."""
    return finish(dataset, config, start).training.generator


def run_of(dataset: ImageDataset, config: TrainConfig, start: gan_core.Generator | None = None) -> Run:
    """A run that has not taken a step."""
    return begun(dataset, config, start).run


def learned(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    del tensors["history"]
    return tensors


def different(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


@pytest.fixture(scope="module")
def colours() -> ImageDataset:
    """64 images of 16x16 in plain colours."""
    shades = np.random.RandomState(0).randint(0, 256, (64, 1, 1, 3))
    return ImageDataset.from_images(np.broadcast_to(shades, (64, 16, 16, 3)).astype(np.uint8), name="colours")


@pytest.fixture(scope="module")
def small_colours(colours) -> ImageDataset:
    """16 of them, 8x8: a spatial VAE has one place for each."""
    return ImageDataset.from_images(colours.images[:16, :8, :8], name="small colours")


@pytest.fixture(scope="module")
def vae(colours, tmp_path_factory) -> gan_core.Generator:
    """A taesd_vae of a few steps."""
    return generator_of(colours, config_for(tmp_path_factory.mktemp("vae"), "taesd_vae", steps=3))


# The same weights at every run.


@pytest.mark.parametrize("precision", ["auto", "fp32"])
@pytest.mark.parametrize("preset", ["conv_vae", "taesd_vae", "finetune_decoder"])
def test_a_run_that_was_stopped_reaches_the_same_weights_as_one_that_was_not(
    small_colours, vae, tmp_path, preset, precision
):
    colours = small_colours
    # The discriminator joins in after the run was resumed, and again before it.
    for joins_at, stop in ((30, 4), (10, 5)):
        settings = {"steps": 8, "precision": precision, "adversarial_kimg": joins_at / 1000}
        start = vae if preset == "finetune_decoder" else None
        folder = tmp_path / str(joins_at)
        finish(colours, config_for(folder / "straight", preset, **settings), start)
        steps_of(colours, config_for(folder / "stopped", preset, **settings), stop, start)
        finish(colours, config_for(folder / "stopped", preset, **settings, resume=True), start)
        assert different(learned(folder / "stopped"), learned(folder / "straight")) == set()


def test_the_same_seed_makes_the_same_file(colours, tmp_path):
    made = []
    for name in ("first", "second"):
        torch.rand(3), np.random.rand(3)  # the global streams have no part in it
        finish(colours, config_for(tmp_path / name, seed=3))
        made.append(load_file(tmp_path / name / "run" / "generator.safetensors"))
    assert different(*made) == set()


# What it learns by.


def test_a_step_follows_the_reconstruction_and_the_weighed_divergence(colours, tmp_path):
    config = config_for(tmp_path, beta=0.5, precision="fp32")
    run = run_of(colours, config)
    run.images = 25_000  # half of the warm-up
    module = copy.deepcopy(run.method.generator)
    ((batch, context),) = run.shown()
    images, noise = batch.target, context.noise(BATCH, 16)
    run.step()

    mean, log_variance = module.posterior(images)
    z = mean + log_variance.mul(0.5).exp() * noise
    loss = bernoulli(module.logits(z), images) + 0.5 * 0.5 * kl(mean, log_variance).sum(1).mean()
    loss.backward()
    for parameter, other in zip(run.method.generator.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_a_decoder_that_is_tuned_follows_the_reconstruction_alone(colours, vae, tmp_path):
    config = config_for(tmp_path, "finetune_decoder", precision="fp32")
    run = run_of(colours, config, vae)
    module = copy.deepcopy(vae.module).requires_grad_(True)
    ((batch, _),) = run.shown()
    images = batch.target
    run.step()
    multiscale(module(module.posterior(images)[0].detach()), images).backward()
    for (name, parameter), other in zip(run.method.generator.named_parameters(), module.parameters(), strict=True):
        if name.startswith("taesd_decoder."):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)
        else:
            assert parameter.grad is None, name


def test_tuning_a_decoder_leaves_the_latents_what_they_are(small_colours, vae, tmp_path):
    colours = small_colours
    before = {name: tensor.clone() for name, tensor in vae.module.state_dict().items()}
    tuned = generator_of(colours, config_for(tmp_path, "finetune_decoder", steps=80, learning_rate=2e-3), vae)
    assert different(before, vae.module.state_dict()) == set(), "and so is the VAE that was given"
    changed = different(before, {name: tuned.module.state_dict()[name] for name in before})
    assert changed
    assert all(name.startswith("taesd_decoder.") for name in changed)
    images = colours.batch(np.arange(8)).float() / 127.5 - 1
    latent = vae.encode(images)
    assert torch.equal(tuned.encode(images).samples, latent.samples)
    errors = [(one.decode(latent) - images).abs().mean().item() for one in (vae, tuned)]
    assert errors[1] < 0.7 * errors[0]


def test_it_learns_to_make_images_anew(tmp_path):
    dataset = digits(16, "grey", False, False)
    generator = generator_of(dataset, config_for(tmp_path, steps=200, batch_size=32))
    images = dataset.batch(np.arange(64)).float() / 127.5 - 1
    error = (generator.decode(generator.encode(images)) - images).abs().mean().item()
    assert error < 0.5 * images.sub(images.mean(dim=0)).abs().mean().item()


def test_a_latent_with_height_and_width_learns_to_make_images_anew(tmp_path):
    large = digits(16, "RGB", False, False)
    halves = large.images[:32].reshape(32, 8, 2, 8, 2, 3).mean((2, 4)).astype(np.uint8)
    config = config_for(tmp_path, "taesd_vae", steps=32, batch_size=4, learning_rate=1e-3, precision="fp32")
    history = finish(replace(large, images=halves, labels=None), config).training.history
    first, last = (history[place].values["reconstruction"] / (3 * 8 * 8) for place in (0, -1))
    assert last < first - 0.5, "nats per value, of L1: what is left of the error is less than 0.6 of what it was"


def test_a_discriminator_joins_in_when_it_is_asked_to(colours, tmp_path):
    run = run_of(colours, config_for(tmp_path, "taesd_vae", adversarial_kimg=0.010))
    said = []
    discriminator = run.method.networks["discriminator"].module
    before = copy.deepcopy(discriminator.state_dict())
    for _ in range(4):
        run.step()
        said.append("discriminator_loss" in run.pending.names)
        if len(said) == 2:
            assert different(before, discriminator.state_dict()) == set()
    assert said == [False, False, True, True]
    assert different(before, discriminator.state_dict())


def test_what_the_discriminator_says_pulls_as_hard_as_the_reconstruction(colours, tmp_path):
    config = config_for(tmp_path, "taesd_vae", adversarial_kimg=0, precision="fp32")
    run = run_of(colours, config)
    ((batch, context),) = run.shown()
    images, generator = batch.target, run.method.generator
    output = generator(generator.posterior(images)[0])
    reconstruction = multiscale(output, images)
    adversarial = run.method.adversarial_loss(output, reconstruction, context)
    last = generator.taesd_decoder[-1].weight
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (reconstruction, adversarial))
    assert (theirs.norm() / ours.norm()).item() == pytest.approx(run.recipe.adversarial_weight, rel=1e-3)


def test_free_bits_cost_nothing(colours, tmp_path):
    config = config_for(tmp_path, precision="fp32", free_bits=1000.0)
    run = run_of(colours, config)
    run.images = 100_000
    module = copy.deepcopy(run.method.generator)
    ((batch, context),) = run.shown()
    images, noise = batch.target, context.noise(BATCH, 16)
    run.step()
    mean, log_variance = module.posterior(images)
    bernoulli(module.logits(mean + log_variance.mul(0.5).exp() * noise), images).backward()
    for parameter, other in zip(run.method.generator.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)


# What it is measured by.


def test_images_that_are_held_out_are_never_learned_from(colours, tmp_path):
    run = run_of(colours, config_for(tmp_path))
    assert len(run.batches.held_out) == 6
    shown = set()
    for _ in range(40):
        shown |= set(run.batches.indices(run.images, BATCH).tolist())
        run.images += BATCH
    assert shown == set(range(64)) - set(run.batches.held_out.tolist())


def test_of_a_few_images_none_is_held_out(noise_images, tmp_path):
    run = run_of(noise_images, config_for(tmp_path))
    assert (len(run.batches.held_out), len(run.batches.shown)) == (0, 24)


def test_the_record_says_how_likely_held_out_images_are_and_how_many_units_are_used(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(variational, "MEASURED_EVERY", 20)
    progress = finish(colours, config_for(tmp_path, steps=4)).last
    values = progress.record.values
    assert values["held_out"] == pytest.approx(values["bits_per_dimension"] * 768 * np.log(2), rel=1e-6)
    assert 0 <= values["active_units"] <= 16
    assert f"held out {values['held_out']:.1f}" in str(progress)
    header = (tmp_path / "run" / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "images,reconstruction,kl,held_out,bits_per_dimension,active_units"


@pytest.mark.parametrize(("beta", "collapsed"), [(1000.0, True), (1e-3, False)])
def test_a_collapsed_posterior_is_called_so(tmp_path, monkeypatch, beta, collapsed):
    monkeypatch.setattr(variational, "MEASURED_EVERY", 800)
    small = {"network": {"width": 4, "latent_size": 4}, "learning_rate": 4e-3, "ema_kimg": 0.2}
    monkeypatch.setitem(presets.PRESETS, "small", replace(presets.PRESETS["conv_vae"], warm_up_kimg=0.1, **small))
    config = config_for(tmp_path, "small", steps=56, beta=beta, batch_size=16)
    progress = finish(digits(16, "grey", False, False), config).last
    assert (progress.record.values["active_units"] == 0) is collapsed
    assert ("posterior collapse" in str(progress)) is collapsed


def test_what_was_measured_in_the_warm_up_says_nothing_of_collapse_and_a_measurement_says_its_age(
    noise_images, tmp_path
):
    run = run_of(noise_images, config_for(tmp_path))
    run.images = 60_000
    values = {"reconstruction": 100.0, "kl": 0.1, "held_out": 120.0, "active_units": 0.0}
    for images, collapsed in ((49_900, False), (50_000, True)):
        run.history = [Record(images, values), Record(60_000, {"reconstruction": 100.0, "kl": 0.1})]
        text = run.method.in_words(run.history)
        assert f"held out 120.0, 0 of 16 units active at {images / 1000:.1f} kimg" in text
        assert ("posterior collapse" in text) is collapsed


def test_a_preview_has_originals_and_below_each_what_is_made_of_it(colours, tmp_path):
    run = run_of(colours, config_for(tmp_path))
    images, columns = run.preview()
    assert (len(images), columns) == (12, 6)
    torch.testing.assert_close(images[:6], run.batches.at(run.batches.held_out).target)
    made = run.look().generator
    assert made.module is run.ema["generator"]
    torch.testing.assert_close(images[6:], made.decode(made.encode(images[:6])))


# What it leaves.


@pytest.mark.parametrize("preset", ["conv_vae", "taesd_vae"])
def test_its_file_opens_with_the_mixture_that_seeds_are_drawn_from(colours, tmp_path, preset):
    made = generator_of(colours, config_for(tmp_path, preset))
    opened = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert opened.config == made.config
    assert opened.mixture is not None
    drawn = sample_noise(opened, range(3))
    assert drawn.samples.shape == (3, *opened.latent_shape)
    assert not torch.equal(drawn.samples, sample_noise(opened, range(3), prior="normal").samples)
    torch.testing.assert_close(opened.decode(drawn), made.decode(sample_noise(made, range(3))))
    assert torch.equal(sample_noise(opened, [2]).samples[0], drawn.samples[2]), "a seed is an image in every batch"
    assert (opened.card.training["preset"], opened.card.training["beta"]) == (
        preset,
        made.card.training["beta"],
    )


def test_the_mixture_lies_where_the_images_are(tmp_path):
    dataset = digits(28, "grey", False, False)
    made = generator_of(dataset, config_for(tmp_path, steps=60, batch_size=32, learning_rate=2e-3))
    means = made.encode(dataset.batch(np.arange(500)).float() / 127.5 - 1).samples.flatten(1)
    normal = torch.distributions.MultivariateNormal(torch.zeros(16), torch.eye(16)).log_prob(means).mean()
    assert made.mixture.log_density(means).mean() > normal + 1


# What cannot be.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective": "log"}, "conv_vae trains a VAE, which has no setting objective: leave it unset."),
        ({"preset": "dcgan", "beta": 1.0}, "dcgan trains a GAN, which has no setting beta: leave it unset."),
        (
            {"preset": "dcgan", "latent_channels": 8},
            "dcgan trains a GAN, which has no setting latent_channels: leave it unset.",
        ),
        (
            {"reconstruction": "psychic"},
            "reconstruction must be one of bernoulli, gaussian, laplace, multiscale (got 'psychic').",
        ),
        ({"beta": -1.0}, "beta must be a number of at least 0 and at most 1000000 (got -1.0)."),
        ({"beta": float("nan")}, "beta must be a number of at least 0 and at most 1000000 (got nan)."),
        ({"free_bits": -0.5}, "free_bits must be a number of at least 0 and at most 1000, in nats (got -0.5)."),
        (
            {"adversarial_kimg": -1.0},
            "adversarial_kimg must be a number of at least 0, in thousands of images (got -1.0).",
        ),
        (
            {"preset": "taesd_vae", "reconstruction": "bernoulli"},
            "taesd_vae generates colours, not Bernoulli probabilities: choose another reconstruction, such as "
            "multiscale.",
        ),
        ({"preset": "taesd_vae", "latent_channels": 65}, "must be 1 to 64 (got 65)"),
        (
            {"preset": "finetune_decoder"},
            "The preset finetune_decoder fine-tunes an existing VAE: connect one to start.",
        ),
        (
            {"preset": "finetune_decoder", "latent_channels": 8},
            "latent_channels cannot be set here: a fine-tuned decoder keeps the latent of its VAE.",
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_a_sentence_before_anything_is_written(colours, tmp_path, changes, told):
    with pytest.raises(InputError, match=re.escape(told)):
        finish(colours, config_for(tmp_path, **changes))
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_preset_that_starts_from_nothing_takes_no_start(colours, vae, tmp_path):
    with pytest.raises(InputError, match="conv_vae trains from scratch: disconnect the generator to start from"):
        finish(colours, config_for(tmp_path), vae)


def test_a_gan_has_no_decoder_to_be_tuned(colours, tmp_path):
    gan = generator_of(colours, config_for(tmp_path / "gan", "dcgan_small"))
    with pytest.raises(InputError, match="has no encoder"):
        finish(colours, config_for(tmp_path / "tuned", "finetune_decoder"), gan)


def test_grey_images_are_refused_by_a_network_of_colours(noise_images, tmp_path):
    with pytest.raises(InputError, match="channels of taesd_vae must be 3, RGB"):
        finish(noise_images, config_for(tmp_path, "taesd_vae"))


def test_a_broken_weight_stops_the_run_and_spares_the_last_good_files(colours, tmp_path):
    finish(colours, config_for(tmp_path, steps=2))
    before = (tmp_path / "run" / "generator.safetensors").read_bytes()
    training = train(colours, config_for(tmp_path, steps=50, resume=True), "cpu")
    next(training)
    training.run.method.generator.decoder[0].weight.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="reconstruction loss is nan"):
        list(training)
    assert (tmp_path / "run" / "generator.safetensors").read_bytes() == before


@pytest.mark.parametrize("side", [8, 28, 30, 32, 33, 64])
def test_any_side_can_be_learned(tmp_path, side):
    pixels = np.random.RandomState(0).randint(0, 256, (BATCH, side, side, 3), np.uint8)
    for preset in ("conv_vae", "taesd_vae"):
        config = config_for(tmp_path / preset, preset, steps=1, adversarial_kimg=0.0, reconstruction="laplace")
        made = generator_of(ImageDataset.from_images(pixels), config)
        assert made.decode(sample_noise(made, [0])).shape == (1, 3, side, side)
