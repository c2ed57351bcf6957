"""What a VAE learns, and that it is what was asked for."""

import copy
import itertools
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig, TrainingDiverged, sample_noise, train
from gan_core.examples import digits
from gan_core.losses.reconstruction import bernoulli, kl, multiscale
from gan_core.training import presets as recipes
from gan_core.training.history import Record
from gan_core.training.methods import variational
from gan_core.training.methods.variational import VariationalRun

BATCH = 5


def config_for(folder: Path, preset: str = "conv_vae", steps: int = 4, **changes) -> TrainConfig:
    batch = changes.get("batch_size", BATCH)
    settings = {"batch_size": batch, "kimg": steps * batch / 1000, **changes}
    return TrainConfig(folder / "run", preset, **settings)


def finish(dataset: ImageDataset, config: TrainConfig, start: gan_core.Generator | None = None) -> gan_core.Progress:
    *_, last = train(dataset, config, "cpu", start)
    return last


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
    return finish(colours, config_for(tmp_path_factory.mktemp("vae"), "taesd_vae", steps=3)).generator


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
        with closing(train(colours, config_for(folder / "stopped", preset, **settings), "cpu", start)) as steps:
            next(itertools.islice(steps, stop, None))
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
    run = VariationalRun(colours, config, torch.device("cpu"))
    run.images = 25_000  # half of the warm-up
    module = copy.deepcopy(run.generator)
    images, _ = run.next_batch()
    noise = run.noise(BATCH, 16)
    run.step()

    mean, log_variance = module.posterior(images)
    z = mean + log_variance.mul(0.5).exp() * noise
    loss = bernoulli(module.logits(z), images) + 0.5 * 0.5 * kl(mean, log_variance).sum(1).mean()
    loss.backward()
    for parameter, other in zip(run.generator.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_a_decoder_that_is_tuned_follows_the_reconstruction_alone(colours, vae, tmp_path):
    config = config_for(tmp_path, "finetune_decoder", precision="fp32")
    run = VariationalRun(colours, config, torch.device("cpu"), vae)
    module = copy.deepcopy(vae.module).requires_grad_(True)
    images, _ = run.next_batch()
    run.step()
    multiscale(module(module.posterior(images)[0].detach()), images).backward()
    for (name, parameter), other in zip(run.generator.named_parameters(), module.parameters(), strict=True):
        if name.startswith("taesd_decoder."):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)
        else:
            assert parameter.grad is None, name


def test_tuning_a_decoder_leaves_the_latents_what_they_are(small_colours, vae, tmp_path):
    colours = small_colours
    before = {name: tensor.clone() for name, tensor in vae.module.state_dict().items()}
    tuned = finish(colours, config_for(tmp_path, "finetune_decoder", steps=80, learning_rate=2e-3), vae).generator
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
    generator = finish(dataset, config_for(tmp_path, steps=200, batch_size=32)).generator
    images = dataset.batch(np.arange(64)).float() / 127.5 - 1
    error = (generator.decode(generator.encode(images)) - images).abs().mean().item()
    assert error < 0.5 * images.sub(images.mean(dim=0)).abs().mean().item()


def test_a_latent_with_height_and_width_learns_to_make_images_anew(tmp_path):
    large = digits(16, "RGB", False, False)
    halves = large.images[:32].reshape(32, 8, 2, 8, 2, 3).mean((2, 4)).astype(np.uint8)
    config = config_for(tmp_path, "taesd_vae", steps=32, batch_size=4, learning_rate=1e-3, precision="fp32")
    history = finish(replace(large, images=halves, labels=None), config).history
    first, last = (history[place].values["reconstruction"] / (3 * 8 * 8) for place in (0, -1))
    assert last < first - 0.5, "nats per value, of L1: what is left of the error is less than 0.6 of what it was"


def test_a_discriminator_joins_in_when_it_is_asked_to(colours, tmp_path):
    run = VariationalRun(colours, config_for(tmp_path, "taesd_vae", adversarial_kimg=0.010), torch.device("cpu"))
    said = []
    before = copy.deepcopy(run.players["discriminator"].module.state_dict())
    for _ in range(4):
        said.append("discriminator_loss" in run.step())
        run.images += BATCH
        if len(said) == 2:
            assert different(before, run.players["discriminator"].module.state_dict()) == set()
    assert said == [False, False, True, True]
    assert different(before, run.players["discriminator"].module.state_dict())


def test_what_the_discriminator_says_pulls_as_hard_as_the_reconstruction(colours, tmp_path):
    config = config_for(tmp_path, "taesd_vae", adversarial_kimg=0, precision="fp32")
    run = VariationalRun(colours, config, torch.device("cpu"))
    images, _ = run.next_batch()
    output = run.generator(run.generator.posterior(images)[0])
    reconstruction = multiscale(output, images)
    judgement = run._judgement(output, reconstruction)
    last = run.generator.taesd_decoder[-1].weight
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (reconstruction, judgement))
    assert (theirs.norm() / ours.norm()).item() == pytest.approx(run.recipe.adversarial_weight, rel=1e-3)


def test_free_bits_cost_nothing(colours, tmp_path):
    config = config_for(tmp_path, precision="fp32", free_bits=1000.0)
    run = VariationalRun(colours, config, torch.device("cpu"))
    run.images = 100_000
    module = copy.deepcopy(run.generator)
    images, _ = run.next_batch()
    noise = run.noise(BATCH, 16)
    run.step()
    mean, log_variance = module.posterior(images)
    bernoulli(module.logits(mean + log_variance.mul(0.5).exp() * noise), images).backward()
    for parameter, other in zip(run.generator.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)


# What it is measured by.


def test_images_that_are_held_out_are_never_learned_from(colours, tmp_path):
    run = VariationalRun(colours, config_for(tmp_path), torch.device("cpu"))
    assert len(run.held_out) == 6
    shown = set()
    for _ in range(40):
        shown |= set(run._indices(run.images, BATCH).tolist())
        run.images += BATCH
    assert shown == set(range(64)) - set(run.held_out.tolist())


def test_of_a_few_images_none_is_held_out(noise_images, tmp_path):
    run = VariationalRun(noise_images, config_for(tmp_path), torch.device("cpu"))
    assert (len(run.held_out), len(run.shown)) == (0, 24)


def test_the_record_says_how_likely_held_out_images_are_and_how_many_units_are_used(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(variational, "MEASURED_EVERY", 20)
    progress = finish(colours, config_for(tmp_path, steps=4))
    values = progress.record.values
    assert values["held_out"] == pytest.approx(values["bits_per_dimension"] * 768 * np.log(2), rel=1e-6)
    assert 0 <= values["active_units"] <= 16
    assert f"held out {values['held_out']:.1f}" in str(progress)
    header = (tmp_path / "run" / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "images,reconstruction,kl,held_out,bits_per_dimension,active_units"


@pytest.mark.parametrize(("beta", "collapsed"), [(1000.0, True), (1e-3, False)])
def test_a_collapsed_posterior_is_called_so(tmp_path, monkeypatch, beta, collapsed):
    monkeypatch.setattr(variational, "MEASURED_EVERY", 800)
    small = {"network": {"width": 4, "latent_size": 4}, "learning_rate": 4e-3, "average_kimg": 0.2}
    monkeypatch.setitem(recipes.PRESETS, "small", replace(recipes.PRESETS["conv_vae"], warm_up_kimg=0.1, **small))
    config = config_for(tmp_path, "small", steps=56, beta=beta, batch_size=16)
    progress = finish(digits(16, "grey", False, False), config)
    assert (progress.record.values["active_units"] == 0) is collapsed
    assert ("posterior collapse" in str(progress)) is collapsed


def test_what_was_measured_in_the_warm_up_says_nothing_of_collapse_and_a_measurement_says_its_age(
    noise_images, tmp_path
):
    run = VariationalRun(noise_images, config_for(tmp_path), torch.device("cpu"))
    run.images = 60_000
    values = {"reconstruction": 100.0, "kl": 0.1, "held_out": 120.0, "active_units": 0.0}
    for images, collapsed in ((49_900, False), (50_000, True)):
        run.history = [Record(images, values), Record(60_000, {"reconstruction": 100.0, "kl": 0.1})]
        text = run.in_words(run.history[-1])
        assert f"held out 120.0, 0 of 16 units active at {images / 1000:.1f} kimg" in text
        assert ("posterior collapse" in text) is collapsed


def test_a_preview_has_originals_and_below_each_what_is_made_of_it(colours, tmp_path):
    run = VariationalRun(colours, config_for(tmp_path), torch.device("cpu"))
    images, columns = run.preview()
    assert (len(images), columns) == (12, 6)
    torch.testing.assert_close(images[:6], run.images_at(run.held_out))
    made = run._averaged()
    torch.testing.assert_close(images[6:], made.decode(made.encode(images[:6])))


# What it leaves.


@pytest.mark.parametrize("preset", ["conv_vae", "taesd_vae"])
def test_its_file_opens_with_the_mixture_that_seeds_are_drawn_from(colours, tmp_path, preset):
    made = finish(colours, config_for(tmp_path, preset)).generator
    opened = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert opened.config == made.config
    assert opened.mixture is not None
    drawn = sample_noise(opened, range(3))
    assert drawn.samples.shape == (3, *opened.latent_shape)
    assert not torch.equal(drawn.samples, sample_noise(opened, range(3), prior="normal").samples)
    torch.testing.assert_close(opened.decode(drawn), made.decode(sample_noise(made, range(3))))
    assert torch.equal(sample_noise(opened, [2]).samples[0], drawn.samples[2]), "a seed is a picture in every batch"
    assert (opened.card["training"]["preset"], opened.card["training"]["beta"]) == (
        preset,
        made.card["training"]["beta"],
    )


def test_the_mixture_lies_where_the_images_are(tmp_path):
    dataset = digits(28, "grey", False, False)
    made = finish(dataset, config_for(tmp_path, steps=60, batch_size=32, learning_rate=2e-3)).generator
    means = made.encode(dataset.batch(np.arange(500)).float() / 127.5 - 1).samples.flatten(1)
    normal = torch.distributions.MultivariateNormal(torch.zeros(16), torch.eye(16)).log_prob(means).mean()
    assert made.mixture.log_density(means).mean() > normal + 1


# What cannot be.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective": "log"}, "conv_vae trains a VAE, which has no objective to be set"),
        ({"preset": "dcgan", "beta": 1.0}, "dcgan trains a GAN, which has no beta to be set"),
        ({"preset": "dcgan", "latent_channels": 8}, "dcgan trains a GAN, which has no latent_channels to be set"),
        ({"reconstruction": "psychic"}, 'no reconstruction "psychic"; there are bernoulli'),
        ({"beta": -1.0}, "beta is from 0 to a million"),
        ({"beta": float("nan")}, "beta is from 0 to a million"),
        ({"free_bits": -0.5}, "Free bits are 0 or more nats"),
        ({"adversarial_kimg": -1.0}, "joins in after 0 kimg or more"),
        ({"preset": "taesd_vae", "reconstruction": "bernoulli"}, "taesd_vae makes colours and no odds"),
        ({"preset": "taesd_vae", "latent_channels": 65}, "1 to 64 latent channels, not 65"),
        ({"preset": "finetune_decoder"}, "goes on from a VAE that there is: give it one"),
        ({"preset": "finetune_decoder", "latent_channels": 8}, "keeps the latent of the VAE"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_a_sentence_before_anything_is_written(colours, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        finish(colours, config_for(tmp_path, **changes))
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_preset_that_starts_from_nothing_takes_no_start(colours, vae, tmp_path):
    with pytest.raises(InputError, match="conv_vae starts from nothing"):
        finish(colours, config_for(tmp_path), vae)


def test_a_gan_has_no_decoder_to_be_tuned(colours, tmp_path):
    gan = finish(colours, config_for(tmp_path / "gan", "dcgan_small")).generator
    with pytest.raises(InputError, match="has no encoder"):
        finish(colours, config_for(tmp_path / "tuned", "finetune_decoder"), gan)


def test_grey_images_are_refused_by_a_network_of_colours(noise_images, tmp_path):
    with pytest.raises(InputError, match="RGB pictures only"):
        finish(noise_images, config_for(tmp_path, "taesd_vae"))


def test_a_broken_weight_stops_the_run_and_spares_the_last_good_files(colours, tmp_path):
    finish(colours, config_for(tmp_path, steps=2))
    before = (tmp_path / "run" / "generator.safetensors").read_bytes()
    steps = train(colours, config_for(tmp_path, steps=50, resume=True), "cpu")
    next(steps).run.generator.decoder[0].weight.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="reconstruction loss is nan"):
        list(steps)
    assert (tmp_path / "run" / "generator.safetensors").read_bytes() == before


@pytest.mark.parametrize("side", [8, 28, 30, 32, 33, 64])
def test_any_side_can_be_learned(tmp_path, side):
    pixels = np.random.RandomState(0).randint(0, 256, (BATCH, side, side, 3), np.uint8)
    for preset in ("conv_vae", "taesd_vae"):
        config = config_for(tmp_path / preset, preset, steps=1, adversarial_kimg=0.0, reconstruction="laplace")
        made = finish(ImageDataset.from_images(pixels), config).generator
        assert made.decode(sample_noise(made, [0])).shape == (1, 3, side, side)
