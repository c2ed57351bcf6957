"""What a VAE's training shows and says of itself, and what is fitted to its posteriors, against the numbers by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_runs import begun as session_of

from gan_core import Card, Generator, ImageDataset, TrainConfig
from gan_core.architectures import by_name
from gan_core.metrics.likelihood import elbo
from gan_core.training import presets
from gan_core.training.history import Record
from gan_core.training.methods import variational
from gan_core.training.monitor.monitor import Monitor
from gan_core.training.run import Run
from gan_core.training.run_files import RunFiles
from gan_core.training.settings import VariationalRecipe

TINY = VariationalRecipe("conv_vae", {"width": 2, "latent_size": 3}, batch_size=4)


def noise(count: int, height: int = 8, width: int = 8, channels: int = 1) -> ImageDataset:
    pixels = np.random.RandomState(0).randint(0, 256, (count, height, width, channels), np.uint8)
    return ImageDataset(pixels, "noise", "0" * 64)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Makes a run of a recipe."""
    made = []

    def make(dataset: ImageDataset, recipe: VariationalRecipe = TINY, start: Generator | None = None) -> Run:
        monkeypatch.setitem(presets.PRESETS, "trial", recipe)
        folder: Path = tmp_path / str(len(made))
        config = TrainConfig.of(folder, preset="trial", kimg=1000, precision="fp32", seed=5)
        made.append(session_of(dataset, config, start).run)
        return made[-1]

    return make


def averaged(run: Run) -> Generator:
    return Generator(run.method.architecture, run.method.config, run.ema["generator"])


# Measurements.


def measured_of(run: Run) -> dict[str, float]:
    """What its monitor measures now."""
    return Monitor(run, RunFiles(run)).measure()


@pytest.mark.parametrize(
    ("before", "now", "measured"),
    [(0, 49_999, False), (49_999, 50_000, True), (50_000, 99_999, False), (99_000, 101_000, True), (0, 50_000, True)],
)
def test_held_out_images_are_measured_where_a_multiple_of_50_000_is_passed(begun, before, now, measured):
    run = begun(noise(60))
    run.history, run.images = [Record(before, {})], now
    assert bool(measured_of(run)) is measured


def test_without_held_out_images_nothing_is_measured(begun):
    run = begun(noise(20))
    run.images = 50_000
    assert measured_of(run) == {}


@pytest.mark.parametrize(
    ("reconstruction", "likelihood"),
    [("bernoulli", "bernoulli"), ("gaussian", "gaussian"), ("laplace", "laplace"), ("multiscale", "laplace")],
)
def test_the_figures_are_the_bound_on_the_images_that_are_held_out(begun, reconstruction, likelihood):
    run = begun(noise(60), replace(TINY, reconstruction=reconstruction))
    run.images = 50_000
    with torch.no_grad():
        for tensor in run.ema["generator"].parameters():
            tensor.mul_(1.5)  # what is measured is the average and not the network that learns
    bound = elbo(averaged(run), run.dataset.batch(run.batches.held_out), likelihood)
    assert measured_of(run) == {
        "held_out": pytest.approx(bound.nats),
        "bits_per_dimension": pytest.approx(bound.bits_per_dimension),
        "active_units": bound.active_units,
    }


def spatial() -> Generator:
    family = by_name("taesd_vae")
    config = family.config(8)
    return Generator(family, config, family.generator(config).eval().requires_grad_(False), Card(title="a VAE"))


def test_of_a_decoder_that_is_tuned_only_the_reconstruction_is_measured(begun):
    start = spatial()
    run = begun(noise(60, channels=3), replace(TINY, architecture=None, network={}, reconstruction="laplace"), start)
    run.images = 50_000
    bound = elbo(start, run.dataset.batch(run.batches.held_out), "laplace")
    assert measured_of(run) == {"held_out": pytest.approx(bound.reconstruction)}
    assert run.generator().config == start.config, "and no mixture is fitted to latents that stay as they are"
    assert run.generator().mixture is None


@pytest.mark.parametrize(
    ("active", "images", "collapsed"), [(0, 20_000, True), (0, 19_999, False), (1, 20_000, False), (None, 1e6, False)]
)
def test_a_posterior_is_called_collapsed_where_no_unit_is_active_after_the_warm_up(begun, active, images, collapsed):
    run = begun(noise(60), replace(TINY, warm_up_kimg=20.0))
    run.images = int(images)
    values = {"reconstruction": 1.0, "kl": 2.0}
    if active is not None:
        values |= {"held_out": 3.0, "active_units": float(active)}
    run.history = [Record(run.images, values)]
    assert ("posterior collapse" in run.method.in_words(run.history)) is collapsed
    assert (f"{active} of 3 units active" in run.method.in_words(run.history)) is (active is not None)


# The preview.


@pytest.mark.parametrize(
    ("count", "size", "shown", "columns"),
    [(40, (8, 8), 32, 8), (20, (8, 8), 20, 8), (5, (8, 8), 5, 5), (30, (256, 256), 16, 8), (20, (192, 256), 16, 8)],
)
def test_a_preview_is_of_up_to_four_rows_of_eight_and_of_a_million_pixels(begun, count, size, shown, columns):
    run = begun(noise(count, *size), replace(TINY, batch_size=2))
    images, row = run.preview()
    assert (len(images), row) == (2 * shown, columns)
    places = np.linspace(0, count - 1, shown).astype(int)
    first = run.batches.at(places[:columns]).target
    torch.testing.assert_close(images[:columns], first)
    made = averaged(run)
    torch.testing.assert_close(images[columns : 2 * columns], made.decode(made.encode(first)))
    if shown > columns:
        torch.testing.assert_close(
            images[2 * columns : 2 * columns + 4], run.batches.at(places[columns : columns + 4]).target
        )


# The mixture.


def test_the_mixture_is_fitted_to_a_point_of_each_posterior(begun, monkeypatch):
    monkeypatch.setattr(variational, "PIXELS_AT_ONCE", 7 * 64)  # seven images at once
    run = begun(noise(60))
    fitted: list[tuple[Tensor, int, int]] = []
    fit = variational.fit

    def noted(points: Tensor, components: int, directions: int):
        fitted.append((points, components, directions))
        return fit(points, components, directions)

    monkeypatch.setattr(variational, "fit", noted)
    first = run.generator()
    ((points, components, directions),) = fitted
    assert (components, directions) == (10, 64)
    stream = np.random.default_rng([5, 4])
    chosen = np.sort(stream.choice(run.batches.shown, 54, replace=False))
    assert sorted(chosen) == sorted(run.batches.shown), "all that are learned from, where they are few"
    expected = []
    for part in np.array_split(chosen, 8):
        mean, log_variance = run.ema["generator"].posterior(run.batches.at(part).target)
        e = torch.from_numpy(stream.standard_normal(mean.shape, np.float32))
        expected.append(mean + log_variance.exp().sqrt() * e)
    torch.testing.assert_close(points, torch.cat(expected).detach(), rtol=1e-4, atol=1e-5)

    again = run.generator()
    assert len(fitted) == 1, "nothing was learned since"
    assert torch.equal(again.mixture.means, first.mixture.means) and again.mixture is not first.mixture
    run.images += 4
    run.generator()
    assert len(fitted) == 2
    assert (first.config.components, first.config.directions) == tuple(first.mixture.means.shape)


def test_of_many_images_5000_are_fitted(begun, monkeypatch):
    asked = []
    monkeypatch.setattr(variational, "fit", lambda points, *_: asked.append(tuple(points.shape)))
    for limit, count in ((variational.MAX_FITTED, 5000), (7, 7)):
        monkeypatch.setattr(variational, "MAX_FITTED", limit)
        run = begun(noise(5600))
        run.method._fitted(run.look())
        assert asked.pop() == (count, 3)
    monkeypatch.setattr(variational, "MAX_NUMBERS_FITTED", 3 * 5)
    run.method._fitted(run.look())
    assert asked.pop() == (5, 3), "and no more than so many numbers in all"
