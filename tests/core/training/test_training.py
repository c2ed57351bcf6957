"""What was learned is never lost, never wrong, and the same at every run."""

import copy
import csv
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from training_runs import begun, finish, happened, steps_of

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig, TrainingDiverged, sample_noise, train
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.training import checkpoint, run_files, snapshot
from gan_core.training import ema as averaging
from gan_core.training import presets as recipes
from gan_core.training.loop import Training
from gan_core.training.methods.adversarial import Adversarial
from gan_core.training.presets import PRESETS
from gan_core.training.run import Run
from gan_core.training.settings import AdversarialRecipe
from gan_core.training.streams import Stream

EVERY_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES)
BATCH = 5
"""Does not divide the 24 images of the data sets, so that batches cross from one epoch to the next."""


def config_for(folder: Path, steps: int = 4, **changes) -> TrainConfig:
    images = steps * BATCH * batches_in_a_step(changes.get("objective"))
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": images / 1000, **changes}
    return TrainConfig.of(folder / "run", **settings)


def batches_in_a_step(objective: str | None) -> int:
    return OBJECTIVES[objective].discriminator_steps if objective in OBJECTIVES else 1


def in_fp32(folder: Path, objective: str) -> TrainConfig:
    return config_for(folder, objective=objective, precision="fp32")


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """All that the next step depends on."""
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    del tensors["history"]  # whose means are over other steps where a run was stopped in between
    return tensors


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def images_learned(folder: Path) -> int:
    found = checkpoint.read(folder / "run")
    assert found is not None
    return found.state["images"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(folder: Path) -> dict[str, bytes]:
    """All but the snapshot, which also says how a run ended that learned nothing more."""
    return {name: content for name, content in contents(folder).items() if not name.endswith(snapshot.FILE)}


@dataclass(frozen=True, repr=False, eq=False)
class WatchedDataset(ImageDataset):
    """Notes which images are asked for, and fails where it is told to."""

    shown: list[int] = field(default_factory=list)
    mirrored: list[bool] = field(default_factory=list)
    fails_after: int | None = None

    def batch(self, indices, mirrored=None):
        if self.fails_after is not None and len(self.shown) >= self.fails_after:
            raise KeyboardInterrupt
        self.shown.extend(indices.tolist())
        self.mirrored.extend([] if mirrored is None else mirrored.tolist())
        return super().batch(indices, mirrored)


@pytest.fixture
def watched(noise_images) -> WatchedDataset:
    return WatchedDataset(noise_images.images, "watched", noise_images.fingerprint)


# The same weights at every run.


@EVERY_OBJECTIVE
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_run_that_was_stopped_reaches_the_same_weights_as_one_that_was_not(
    labelled_images, tmp_path, objective, precision
):
    settings = {"steps": 10, "objective": objective, "precision": precision}
    finish(labelled_images, config_for(tmp_path / "straight", **settings))
    steps_of(labelled_images, config_for(tmp_path / "stopped", **settings), 5)
    assert images_learned(tmp_path / "stopped") == 5 * BATCH * batches_in_a_step(objective)
    finish(labelled_images, config_for(tmp_path / "stopped", **settings, resume=True))
    assert_same(learned(tmp_path / "stopped"), learned(tmp_path / "straight"))


def test_the_same_seed_reaches_the_same_weights(noise_images, tmp_path):
    for name in ("first", "second"):
        torch.rand(3), np.random.rand(3)  # the global streams have no part in it
        finish(noise_images, config_for(tmp_path / name, seed=7))
    assert_same(learned(tmp_path / "first"), learned(tmp_path / "second"))


def test_another_seed_reaches_other_weights(noise_images, tmp_path):
    for seed in (1, 2):
        finish(noise_images, config_for(tmp_path / str(seed), seed=seed))
    first, second = learned(tmp_path / "1"), learned(tmp_path / "2")
    assert not torch.equal(first["generator.project.weight"], second["generator.project.weight"])


def test_a_resumed_run_keeps_its_seed(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "straight", steps=6, seed=1))
    finish(noise_images, config_for(tmp_path / "stopped", steps=2, seed=1))
    finish(noise_images, config_for(tmp_path / "stopped", steps=4, seed=98, resume=True))
    finish(noise_images, config_for(tmp_path / "stopped", steps=6, seed=99, resume=True))
    assert_same(learned(tmp_path / "stopped"), learned(tmp_path / "straight"))


@EVERY_OBJECTIVE
def test_watching_changes_nothing(noise_images, tmp_path, objective):
    finish(noise_images, config_for(tmp_path / "unwatched", objective=objective))
    training = train(noise_images, config_for(tmp_path / "watched", objective=objective), "cpu")
    for _ in training:
        training.samples()
        training.generator.decode(sample_noise(training.generator, [0]))
    assert_same(learned(tmp_path / "watched"), learned(tmp_path / "unwatched"))


def test_training_and_sampling_leave_the_global_streams_alone(labelled_images, tmp_path):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    finish(labelled_images, config_for(tmp_path)).training.samples()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state


def test_training_works_where_gradients_are_turned_off(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "on"))
    with torch.no_grad():
        finish(noise_images, config_for(tmp_path / "off"))
    assert_same(learned(tmp_path / "on"), learned(tmp_path / "off"))


# What is shown.


def test_every_image_is_shown_once_in_every_epoch(watched, tmp_path):
    finish(watched, config_for(tmp_path, steps=24))  # 120 images: 5 epochs
    epochs = np.array(watched.shown).reshape(5, 24)
    assert (np.sort(epochs, axis=1) == np.arange(24)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_about_half_of_the_images_are_mirrored_where_the_data_says_so(noise_images, tmp_path):
    watched = WatchedDataset(noise_images.images, "watched", noise_images.fingerprint, mirror=True)
    finish(watched, config_for(tmp_path, steps=20))
    assert 30 < sum(watched.mirrored) < 70


def test_no_image_is_mirrored_where_the_data_does_not_say_so(watched, tmp_path):
    finish(watched, config_for(tmp_path))
    assert watched.mirrored == []


def test_labels_travel_with_their_images(noise_images, tmp_path):
    labels = np.arange(24, dtype=np.int64) % 5
    pixels = (labels * 50).astype(np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 1), np.uint8)
    dataset = ImageDataset(pixels, "told by brightness", "0" * 64, labels, tuple("abcde"))
    ((batch, _),) = begun(dataset, config_for(tmp_path)).run.shown()
    real, given = batch.target, batch.labels
    assert given.tolist() == ((real[:, 0, 0, 0] + 1) * 127.5 / 50).round().int().tolist()


def test_real_images_lie_between_minus_one_and_one(tmp_path):
    pixels = np.stack([np.zeros((16, 16, 1), np.uint8), np.full((16, 16, 1), 255, np.uint8)])
    ((batch, _),) = begun(ImageDataset.from_images(pixels), config_for(tmp_path, batch_size=2)).run.shown()
    assert sorted(batch.target[:, 0, 0, 0].tolist()) == [-1, 1]


# What it learns.


def test_it_learns_how_bright_the_images_of_each_class_are(tmp_path, monkeypatch):
    labels = np.arange(64, dtype=np.int64) % 2
    pixels = np.where(labels[:, None, None, None] == 1, 200, 60) * np.ones((1, 16, 16, 1))
    dataset = ImageDataset(pixels.astype(np.uint8), "two greys", "0" * 64, labels, ("dark", "bright"))
    network = {"width": 8, "latent_size": 4}
    small = replace(PRESETS["dcgan_small"], network=network, ema_kimg=0.1)
    monkeypatch.setitem(recipes.PRESETS, "small", small)
    config = config_for(
        tmp_path, preset="small", steps=150, batch_size=8, learning_rate=2e-3, objective="hinge", precision="fp32"
    )
    generator = finish(dataset, config).training.generator
    dark, bright = (generator.decode(sample_noise(generator, range(16), labels=label)).mean() for label in (0, 1))
    assert dark.item() == pytest.approx(60 / 127.5 - 1, abs=0.2)
    assert bright.item() == pytest.approx(200 / 127.5 - 1, abs=0.2)


LABELLED = {
    **{
        objective: AdversarialRecipe("dcgan", {"width": 2, "latent_size": 2}, objective=objective)
        for objective in OBJECTIVES
    },
    "lazy R1": AdversarialRecipe("dcgan", {"width": 2, "latent_size": 2}, penalty="r1", penalty_every=2),
    "R3GAN": AdversarialRecipe(
        "r3gan", {"base": 64, "most": 8, "blocks": 1, "latent_size": 2}, objective="relativistic"
    ),
    "StyleGAN2": AdversarialRecipe(
        "stylegan2",
        {"base": 64, "largest": 8, "latent_size": 2, "w_dim": 4, "mapping_layers": 1},
        penalty="r1",
        path_length=2.0,
    ),
}


@pytest.mark.parametrize("kind", LABELLED)
def test_a_label_is_a_name_that_goes_with_its_images_through_everything(labelled_images, tmp_path, monkeypatch, kind):
    """Classes that have changed their numbers, and the networks' embeddings with them, are learned alike: nowhere is
    an image given another label than its own, or none."""
    monkeypatch.setitem(recipes.PRESETS, "trial", replace(LABELLED[kind], batch_size=BATCH))
    swapped = torch.tensor([2, 0, 1])  # the new number of each class
    renamed = replace(labelled_images, labels=swapped.numpy()[labelled_images.labels])
    sessions = [
        begun(dataset, config_for(tmp_path / name, preset="trial", precision="fp32"))
        for name, dataset in (("plain", labelled_images), ("renamed", renamed))
    ]

    def networks(run: Run) -> dict[str, torch.nn.Module]:
        learning = {name: network.module for name, network in run.method.networks.items()}
        return {**learning, "average": run.ema["generator"]}

    def with_new_numbers(name: str, tensor: torch.Tensor) -> torch.Tensor:
        axes = [axis for axis, size in enumerate(tensor.shape) if size == 3] if "embed." in name else []
        return tensor.index_select(axes[0], swapped.argsort()) if axes else tensor

    for module in networks(sessions[1].run).values():
        module.load_state_dict({name: with_new_numbers(name, tensor) for name, tensor in module.state_dict().items()})
    for session in sessions:
        for _ in range(3):
            session.advance()
    found = networks(sessions[1].run)
    assert len(found) == 3
    for part, module in networks(sessions[0].run).items():
        assert any(not tensor.equal(with_new_numbers(name, tensor)) for name, tensor in module.state_dict().items())
        for name, tensor in module.state_dict().items():
            other = found[part].state_dict()[name]
            assert torch.allclose(other, with_new_numbers(name, tensor), rtol=1e-4, atol=1e-6), f"{part}.{name}"


def squared_gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Squared length of D's gradient at the images, written anew."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1).norm(dim=1).square().mean()


def assert_same_gradients(module: torch.nn.Module, expected: torch.nn.Module) -> None:
    for parameter, other in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-6)


@EVERY_OBJECTIVE
def test_the_discriminator_learns_from_its_loss_and_penalties(labelled_images, tmp_path, objective):
    run = begun(labelled_images, in_fp32(tmp_path, objective)).run
    method = run.method
    discriminator = copy.deepcopy(method.discriminator)
    batch, context = run.shown()[0]
    fake_images = method.generate(context.noise(BATCH, method.config.latent_size), batch.labels, context)
    method.discriminator_step(batch, fake_images, context)

    labels = batch.labels
    real, fake = batch.target.detach().requires_grad_(), fake_images.detach().requires_grad_()
    real_logits, fake_logits = discriminator(real, labels), discriminator(fake, labels)
    loss = OBJECTIVES[objective].loss(real_logits, fake_logits).discriminator
    if objective == "relativistic":
        gamma = 1 / 16  # 1 at 64x64 pixels, and these are 16x16
        loss = loss + gamma / 2 * (squared_gradients(real_logits, real) + squared_gradients(fake_logits, fake))
    if objective == "wgan":
        shares = torch.from_numpy(run.streams.numpy(Stream.PENALTY, 0).random(BATCH, np.float32)).view(-1, 1, 1, 1)
        line = (shares * real + (1 - shares) * fake).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(line, labels).sum(), line, create_graph=True)
        loss = loss + 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    loss.backward()
    assert_same_gradients(method.discriminator, discriminator)


@EVERY_OBJECTIVE
def test_the_generator_learns_from_what_the_discriminator_says_now(labelled_images, tmp_path, objective):
    run = begun(labelled_images, in_fp32(tmp_path, objective)).run
    method = run.method
    batch, context = run.shown()[-1]  # the generator learns after the last of a step's batches
    fake_images = method.generate(context.noise(BATCH, method.config.latent_size), batch.labels, context)
    _, real_logits = method.discriminator_step(batch, fake_images, context)
    generator, discriminator = copy.deepcopy(method.generator), copy.deepcopy(method.discriminator)
    method.generator_step(batch, fake_images, real_logits, context)

    generator.zero_grad()
    z = np.random.default_rng([0, 0, *context.moment]).standard_normal((BATCH, method.config.latent_size), np.float32)
    fake_logits = discriminator(generator(torch.from_numpy(z), batch.labels), batch.labels)
    real_logits = discriminator(batch.target, batch.labels).detach()
    OBJECTIVES[objective].loss(real_logits, fake_logits).generator.backward()
    assert_same_gradients(method.generator, generator)


@EVERY_OBJECTIVE
def test_both_networks_learn_in_every_step(noise_images, tmp_path, objective):
    with closing(train(noise_images, config_for(tmp_path, objective=objective), "cpu")) as training:
        next(training)
        run = training.run
        before = [module.state_dict()[name].clone() for module, name in watched_weights(run)]
        next(training)
        after = [module.state_dict()[name] for module, name in watched_weights(run)]
    assert [torch.equal(old, new) for old, new in zip(before, after, strict=True)] == [False, False, False]


def watched_weights(run: Run) -> list[tuple[torch.nn.Module, str]]:
    generator, discriminator = run.method.generator, run.method.discriminator
    head = next(name for name in discriminator.state_dict() if name.startswith("head.") and "weight" in name)
    return [(generator, "to_image.weight"), (run.ema["generator"], "to_image.weight"), (discriminator, head)]


def test_the_average_has_moved_half_way_after_its_half_life():
    average, module = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    start = average.weight.detach().clone()
    for _ in range(10):
        averaging.update(average, module, averaging.share_of(batch_size=100, images=10**9, half_life=1000))
    torch.testing.assert_close(average.weight, (start + module.weight) / 2)


def test_an_average_without_half_life_is_the_network_itself():
    average, module = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    module(torch.randn(5, 3))
    averaging.update(average, module, averaging.share_of(batch_size=5, images=5, half_life=0))
    assert_same(average.state_dict(), module.state_dict())


def test_statistics_of_batch_norm_are_averaged_like_weights():
    average, module = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    module.running_mean.fill_(8.0)
    averaging.update(average, module, averaging.share_of(batch_size=1000, images=10**9, half_life=1000))
    assert average.running_mean.item() == pytest.approx(4)


# Its course.


def test_the_first_value_comes_before_the_first_step(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path), "cpu")) as training:
        first = next(training)
        assert (first.images, first.fraction, first.record) == (0, 0, None)
        assert training.samples().shape == (64, 1, 16, 16)
    assert list(tmp_path.iterdir()) == [], "nothing was learned, so there is nothing to keep"


def test_there_is_a_value_after_every_step(noise_images, tmp_path):
    seen = [(progress.images, progress.fraction) for progress in train(noise_images, config_for(tmp_path), "cpu")]
    assert seen == [(0, 0), (5, 0.25), (10, 0.5), (15, 0.75), (20, 1)]


def test_a_budget_of_minutes_ends_the_run(noise_images, tmp_path):
    start = time.monotonic()
    last = finish(noise_images, config_for(tmp_path, kimg=None, minutes=0.01)).last
    assert 0.6 <= time.monotonic() - start < 30
    assert images_learned(tmp_path) == last.images > 0


def test_the_smallest_budget_of_minutes_is_enough_for_a_step(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, kimg=None, minutes=0.0001), "cpu")) as steps:
        next(steps)
        time.sleep(0.02)  # the caller shows what there is
        assert next(steps).images == BATCH


def test_of_two_budgets_the_nearer_ends_the_run(noise_images, tmp_path):
    assert finish(noise_images, config_for(tmp_path / "kimg", steps=2, minutes=60)).last.images == 10
    assert finish(noise_images, config_for(tmp_path / "minutes", kimg=1e6, minutes=0.001)).last.images < 1e6


def test_a_finished_run_gives_its_generator_without_training(noise_images, tmp_path):
    finished = finish(noise_images, config_for(tmp_path)).training.generator
    before = contents(tmp_path)
    again = train(noise_images, config_for(tmp_path, resume=True), "cpu")
    assert len(list(again)) == 1
    assert_same(again.generator.module.state_dict(), finished.module.state_dict())
    assert contents(tmp_path) == before


def test_resuming_where_there_is_no_run_starts_one(noise_images, tmp_path):
    assert finish(noise_images, config_for(tmp_path, resume=True)).last.images == 20


# What is kept.


def test_a_run_keeps_these_files_and_no_others(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path))
    assert sorted(contents(tmp_path)) == [
        "run/checkpoint.safetensors",
        "run/film/000000000020.jpg",
        "run/generator.safetensors",
        "run/history.csv",
        "run/samples/000000.0kimg.png",
        "run/snapshot.json",
    ]


def test_the_saved_generator_is_the_last_one(labelled_images, tmp_path):
    training, _ = finish(labelled_images, config_for(tmp_path))
    saved = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert_same(saved.module.state_dict(), training.generator.module.state_dict())
    assert_same(saved.module.state_dict(), training.run.ema["generator"].state_dict())
    latent = sample_noise(saved, range(4))
    assert torch.equal(saved.decode(latent), training.generator.decode(latent))


def test_a_generator_taken_on_the_way_stays_as_it_was(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path), "cpu")) as training:
        next(training)
        generator = training.generator
        before = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
        list(training)
    assert_same(generator.module.state_dict(), before)


def test_samples_are_always_of_the_same_seeds_and_of_every_class(labelled_images, tmp_path):
    training, _ = finish(labelled_images, config_for(tmp_path))
    latent = sample_noise(training.generator, range(64), labels=[i % 3 for i in range(64)])
    torch.testing.assert_close(training.samples(), training.generator.decode(latent), rtol=0, atol=1e-5)


def test_the_card_says_how_the_generator_was_made(labelled_images, tmp_path):
    finish(labelled_images, config_for(tmp_path, seed=3, objective="hinge", title="My noise"))
    card = gan_core.load(tmp_path / "run" / "generator.safetensors").card.to_json()
    assert card.pop("created")
    assert card == {
        "title": "My noise",
        "class_names": ["red", "green", "blue"],
        "data": {"name": "labelled noise", "images": 24, "fingerprint": "0" * 64, "mirror": True},
        "training": {
            "preset": "dcgan_small",
            "objective": "hinge",
            "augment": "none",
            "batch_size": 5,
            "learning_rate": 5e-4,
            "kimg": 0.02,
            "seed": 3,
        },
    }


def test_a_run_is_called_by_its_folder_unless_it_has_a_title(noise_images, tmp_path):
    assert finish(noise_images, config_for(tmp_path)).training.generator.title == "run"


def test_history_only_grows(noise_images, tmp_path):
    history = finish(noise_images, config_for(tmp_path, steps=20)).training.history
    shown = [record.images for record in history]
    assert shown == sorted(set(shown))
    assert shown[:7] == [5, 10, 15, 20, 25, 30, 35]
    assert shown[-1] == 100


def test_history_goes_on_where_a_run_was_stopped(noise_images, tmp_path):
    before = list(finish(noise_images, config_for(tmp_path, steps=2)).training.history)
    after = finish(noise_images, config_for(tmp_path, steps=4, resume=True)).training.history
    assert after[:2] == before
    assert [record.images for record in after] == [5, 10, 15, 20]


def test_history_is_a_table_that_other_programs_read(noise_images, tmp_path):
    history = finish(noise_images, config_for(tmp_path)).training.history
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "images",
        "discriminator_loss",
        "generator_loss",
        "real_score",
        "fake_score",
        "real_sign",
    ]
    assert [int(row["images"]) for row in rows] == [record.images for record in history]
    assert [float(row["generator_loss"]) for row in rows] == [record.values["generator_loss"] for record in history]


def test_the_first_record_is_what_the_first_networks_say(noise_images, tmp_path):
    run = begun(noise_images, config_for(tmp_path / "twin", precision="fp32")).run
    method = run.method
    ((batch, context),) = run.shown()
    real, fake = batch.target, method.generator(context.noise(BATCH, 64))
    real_logits, fake_logits = method.discriminator(real), method.discriminator(fake)
    method.discriminator_step(batch, method.generate(context.noise(BATCH, 64), None, context), context)
    fooled = method.discriminator(method.generator(context.noise(BATCH, 64)))  # as it is after its first step
    values = finish(noise_images, config_for(tmp_path, steps=1, precision="fp32")).last.record.values
    expected = {
        "discriminator_loss": -real_logits.sigmoid().log().mean() - (1 - fake_logits.sigmoid()).log().mean(),
        "generator_loss": -fooled.sigmoid().log().mean(),
        "real_score": real_logits.mean(),
        "fake_score": fake_logits.mean(),
        "real_sign": real_logits.sign().mean(),
    }
    assert values == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-4, abs=1e-5)


def test_samples_are_written_as_a_sheet_of_eight_by_eight(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path))
    with Image.open(tmp_path / "run" / "samples" / "000000.0kimg.png") as sheet:
        assert sheet.size == (8 * 18 - 2, 8 * 18 - 2)
        assert sheet.mode == "L"


def test_checkpoints_are_written_while_it_runs(noise_images, tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "CHECKPOINT_SECONDS", 0)
    kept = [
        progress.images and images_learned(tmp_path) for progress in train(noise_images, config_for(tmp_path), "cpu")
    ]
    assert kept == [0, 5, 10, 15, 20]


# How it ends.


def test_closing_keeps_what_was_learned(noise_images, tmp_path):
    steps_of(noise_images, config_for(tmp_path, steps=1000), 3)
    assert images_learned(tmp_path) == 15
    assert gan_core.load(tmp_path / "run" / "generator.safetensors")


def test_an_exception_in_the_loop_of_the_caller_keeps_what_was_learned(noise_images, tmp_path):
    def watch():
        for progress in train(noise_images, config_for(tmp_path, steps=1000), "cpu"):
            if progress.images == 15:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watch()
    assert images_learned(tmp_path) == 15


def test_an_interrupt_within_a_step_keeps_what_was_learned(watched, noise_images, tmp_path):
    interrupted = WatchedDataset(watched.images, "watched", watched.fingerprint, fails_after=3 * BATCH)
    with pytest.raises(KeyboardInterrupt):
        finish(interrupted, config_for(tmp_path / "stopped", steps=6))
    assert images_learned(tmp_path / "stopped") == 15
    finish(watched, config_for(tmp_path / "stopped", steps=6, resume=True))
    finish(watched, config_for(tmp_path / "straight", steps=6))
    assert_same(learned(tmp_path / "stopped"), learned(tmp_path / "straight"))


def test_an_interrupt_between_the_two_networks_can_be_resumed(noise_images, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    steps = train(noise_images, config_for(tmp_path, steps=5), "cpu")
    next(steps), next(steps)
    monkeypatch.setattr(Adversarial, "generator_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    monkeypatch.undo()
    assert images_learned(tmp_path) == 5
    assert finish(noise_images, config_for(tmp_path, steps=5, resume=True)).last.images == 25


def test_a_script_that_ends_without_closing_keeps_what_was_learned(tmp_path):
    program = """
        import sys
        import numpy as np
        from gan_core import ImageDataset, TrainConfig, train

        dataset = ImageDataset.from_images(np.zeros((24, 16, 16, 1), np.uint8))
        steps = train(dataset, TrainConfig.of(sys.argv[1], preset="dcgan_small", batch_size=5, minutes=5), "cpu")
        for progress in steps:
            if progress.images == 15:
                sys.exit("enough")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "run"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "enough\n")
    assert images_learned(tmp_path) == 15


def test_a_killed_process_leaves_a_whole_checkpoint(noise_images, tmp_path):
    program = """
        import sys
        import numpy as np
        from gan_core import ImageDataset, TrainConfig, train
        from gan_core.training import run_files

        run_files.CHECKPOINT_SECONDS = 0
        dataset = ImageDataset.from_images(np.zeros((24, 16, 16, 1), np.uint8))
        config = TrainConfig.of(sys.argv[1], preset="dcgan_small", batch_size=5, minutes=5)
        for progress in train(dataset, config, "cpu"):
            print(progress.images, flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "run"], stdout=subprocess.PIPE, text=True
    ) as process:
        said = [int(next(process.stdout)) for _ in range(6)]
        process.kill()
    assert images_learned(tmp_path) >= said[-1] == 25
    assert gan_core.load(tmp_path / "run" / "generator.safetensors")
    steps = images_learned(tmp_path) // BATCH + 1
    assert finish(noise_images, config_for(tmp_path, steps=steps, resume=True)).last.images == steps * BATCH


def test_an_exploding_run_stops_with_a_sentence_and_spares_the_last_good_files(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path, steps=2, objective="relativistic"))
    before = kept(tmp_path)
    config = config_for(tmp_path, steps=200, learning_rate=1.0, objective="relativistic", resume=True)
    with pytest.raises(TrainingDiverged, match=r"Training run was stopped at .* with a lower learning rate, such as"):
        finish(noise_images, config)
    assert kept(tmp_path) == before


def poison(training: Training) -> None:
    training.run.method.generator.to_image.weight.data.fill_(float("nan"))


@EVERY_OBJECTIVE
def test_a_broken_weight_stops_the_run_and_spares_the_last_good_files(noise_images, tmp_path, objective):
    finish(noise_images, config_for(tmp_path, steps=2, objective=objective))
    before = kept(tmp_path)
    training = train(noise_images, config_for(tmp_path, steps=50, objective=objective, resume=True), "cpu")
    next(training)
    poison(training)
    with pytest.raises(TrainingDiverged, match=r"loss is nan\. Its last good checkpoint, at 0\.\d kimg, is in run"):
        list(training)
    assert kept(tmp_path) == before
    assert images_learned(tmp_path) == 10 * batches_in_a_step(objective)
    assert gan_core.load(tmp_path / "run" / "generator.safetensors").decode(torch.zeros(1, 64, 1, 1)).isfinite().all()


def test_closing_a_broken_run_spares_the_last_good_files(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path, steps=2))
    before = contents(tmp_path)
    training = train(noise_images, config_for(tmp_path, steps=50, resume=True), "cpu")
    next(training), next(training)
    poison(training)
    with pytest.raises(TrainingDiverged, match="is no longer a finite number"):
        training.close()
    assert contents(tmp_path) == before


def test_a_run_that_breaks_before_its_first_checkpoint_says_so(noise_images, tmp_path):
    training = train(noise_images, config_for(tmp_path, steps=50), "cpu")
    next(training)
    poison(training)
    with pytest.raises(TrainingDiverged, match="There was no checkpoint yet: start it again with a lower"):
        list(training)
    assert list(tmp_path.iterdir()) == []


# What cannot begin.


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 25}, "noise has 24 images, fewer than a batch of 25: add images, or set the batch size to 24"),
        ({"batch_size": 1}, r"batch_size must be a whole number of at least 2 and at most 4096 \(got 1\)\."),
        ({"kimg": None}, r"Set a budget: kimg \(thousands of images\), minutes, or both\."),
        ({"kimg": 0}, r"kimg must be a number greater than 0 and at most 1000000000, in thousands of images \(got 0"),
        ({"minutes": -1}, r"minutes must be a number greater than 0 and at most 1000000, in minutes \(got -1\)\."),
        ({"kimg": float("inf")}, r"kimg must be a number greater than 0 .* \(got inf\)\."),
        ({"kimg": float("nan")}, r"kimg must be a number greater than 0 .* \(got nan\)\."),
        ({"minutes": float("nan")}, r"minutes must be a number greater than 0 .* \(got nan\)\."),
        ({"preset": "biggan"}, 'There is no preset "biggan": choose one of dcgan, dcgan_small'),
        (
            {"objective": "wasserstein"},
            r"objective must be one of log, hinge, relativistic, wgan \(got 'wass",
        ),
        ({"learning_rate": 0}, r"learning_rate must be a number greater than 0 and at most 1 \(got 0\)\."),
        ({"learning_rate": float("nan")}, r"learning_rate must be a number greater than 0 .* \(got nan\)\."),
        ({"learning_rate": 1.1}, r"learning_rate must be a number greater than 0 and at most 1 \(got 1\.1\)\."),
        ({"seed": -1}, r"seed must be a whole number of at least 0 and at most 4294967295 \(got -1\)\."),
        ({"seed": 2**32}, r"seed must be a whole number of at least 0 and at most 4294967295 \(got 4294967296\)\."),
        ({"precision": "fp8"}, r"precision must be one of auto, fp32 \(got 'fp8'\)\."),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_sentences_before_anything_is_written(noise_images, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        finish(noise_images, config_for(tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_size_that_the_network_cannot_make_are_a_sentence(tmp_path):
    dataset = ImageDataset.from_images(np.zeros((24, 50, 50, 1), np.uint8))
    with pytest.raises(InputError, match="use 48x48, for example"):
        finish(dataset, config_for(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["toaster", "cuda:77", "xpu:9"])
def test_a_device_that_is_not_there_is_a_sentence(noise_images, tmp_path, device):
    with pytest.raises(InputError, match=device):
        next(train(noise_images, config_for(tmp_path), device))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_nothing_can_be_kept_is_a_sentence_before_training(noise_images, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="run"):
        next(train(noise_images, config_for(tmp_path), "cpu"))


def test_a_folder_below_a_file_is_a_sentence_before_training(noise_images, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="run"):
        next(train(noise_images, config_for(tmp_path / "file"), "cpu"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no names that are not Unicode")
def test_a_folder_whose_name_is_no_unicode_is_a_sentence_before_training(noise_images, tmp_path):
    with pytest.raises(InputError, match="not valid Unicode"):
        next(train(noise_images, config_for(tmp_path / os.fsdecode(b"caf\xe9")), "cpu"))


def test_a_run_is_never_overwritten_by_a_new_one(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path, steps=2))
    before = contents(tmp_path)
    with pytest.raises(InputError, match="already holds a run: resume it, or choose another name"):
        finish(noise_images, config_for(tmp_path, steps=4))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "dcgan"}, "latent.size .*64, .* ask for 100"),
        ({"objective": "hinge"}, "normalisation .*batch, .* ask for spectral"),
    ],
    ids=str,
)
def test_a_run_of_another_network_is_not_resumed(noise_images, tmp_path, changes, told):
    finish(noise_images, config_for(tmp_path, steps=2))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"run cannot be resumed with these settings: .*{told}"):
        finish(noise_images, config_for(tmp_path, **changes, resume=True))
    assert contents(tmp_path) == before


def test_a_run_on_images_of_another_kind_is_not_resumed(noise_images, labelled_images, tmp_path):
    finish(noise_images, config_for(tmp_path, steps=2))
    with pytest.raises(InputError, match=r"channels .*1, .* ask for 3"):
        finish(labelled_images, config_for(tmp_path, resume=True))


def change_checkpoint(path: Path, without: str = "", **state: object) -> None:
    found = checkpoint.read(path.parent)
    tensors = {name: tensor for name, tensor in found.tensors.items() if name != without}
    kept = {name: value for name, value in {**found.state, **state}.items() if value is not None}
    checkpoint.write(path.parent, kept, tensors)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: change_checkpoint(path, without="history"),
        lambda path: change_checkpoint(path, without="generator.to_image.bias"),
        lambda path: change_checkpoint(path, without="generator_optimizer.exp_avg.to_image.bias"),
        lambda path: change_checkpoint(path, images=None),
        lambda path: change_checkpoint(path, images="many"),
        lambda path: change_checkpoint(path, network=None),
        lambda path: change_checkpoint(path, network=7),
        lambda path: save_file({"a": torch.zeros(1)}, path, {"gan_core.checkpoint": "1", "state": "[]"}),
        lambda path: save_file({"a": torch.zeros(1)}, path, {"gan_core.checkpoint": "1", "state": "nonsense"}),
        lambda path: save_file({"a": torch.zeros(1)}, path, {"gan_core.checkpoint": "1"}),
        lambda path: save_file({"a": torch.zeros(1)}, path, {"gan_core.checkpoint": "2", "state": "{}"}),
        lambda path: save_file({"a": torch.zeros(1)}, path),
    ],
    ids=[
        "short",
        "text",
        "no history",
        "no weight",
        "no moment",
        "no counter",
        "counter of text",
        "no network",
        "number for a network",
        "state a list",
        "state nonsense",
        "no state",
        "newer",
        "another file",
    ],
)
def test_a_damaged_checkpoint_is_a_sentence_that_names_it(noise_images, tmp_path, damage):
    finish(noise_images, config_for(tmp_path, steps=2))
    damage(tmp_path / "run" / "checkpoint.safetensors")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
        finish(noise_images, config_for(tmp_path, resume=True))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("blue", "green", "red"), "with another order of the classes: it was begun with red, green, blue"),
        (
            ("red", "green", "pink"),
            "with other classes: it was begun with red, green, blue, and .* has red, green, pink",
        ),
        (("red", "green"), "with other classes: it was begun with red, green, blue, and .* has red, green"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kept", [True, False], ids=["kept in its state", "of an older version"])
def test_a_run_on_other_classes_is_not_resumed(labelled_images, tmp_path, names, told, kept):
    finish(labelled_images, config_for(tmp_path, steps=2))
    if not kept:
        found = checkpoint.read(tmp_path / "run")
        state = {name: value for name, value in found.state.items() if name not in ("class_names", "data")}
        checkpoint.write(tmp_path / "run", state, found.tensors)
    others = replace(labelled_images, labels=labelled_images.labels % len(names), class_names=names)
    with pytest.raises(InputError, match=told):
        finish(others, config_for(tmp_path, steps=4, resume=True))
    assert finish(labelled_images, config_for(tmp_path, steps=4, resume=True)).last.images == 4 * BATCH


def test_a_run_on_other_images_says_so_when_it_is_resumed(noise_images, tmp_path):
    assert happened(finish(noise_images, config_for(tmp_path, steps=2)).last) == ()
    assert finish(noise_images, config_for(tmp_path, steps=3, resume=True)).last.remarks == ()
    others = ImageDataset.from_images(noise_images.images[:20], name="others")
    assert finish(others, config_for(tmp_path, steps=4, resume=True)).last.remarks == (
        "The images are not those that this run has learned from so far: it continues with 20 of others after 24 of "
        "noise.",
    )
    assert finish(others, config_for(tmp_path, steps=5, resume=True)).last.remarks == ()


def test_a_resumed_run_lets_go_of_its_checkpoint_file(noise_images, tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list a process's mapped files")
    finish(noise_images, config_for(tmp_path, steps=2))
    with closing(train(noise_images, config_for(tmp_path, steps=4, resume=True), "cpu")) as steps:
        next(steps)
        # Windows cannot replace a file that is mapped: the next checkpoint would fail there.
        assert str(tmp_path) not in maps.read_text()


def test_before_its_first_step_a_run_says_what_it_will_do_and_soon_how_long_it_will_take(noise_images, tmp_path):
    config = config_for(tmp_path, preset="auto", batch_size=None, kimg=0.4, minutes=2)
    with closing(train(noise_images, config, "cpu")) as steps:
        plan = next(steps)
        assert plan.figures == "24 images of 16x16x1, preset few, batches of 16, 2 minutes or 0.4 kimg"
        told = [progress.figures for progress in steps]
    assert [bool(re.search(r"images/s, about (\d+ s|2 minutes) left, loss D", each)) for each in told] == (
        [False] * 15 + [True] * 9 + [False]
    )
    resumed = next(train(noise_images, replace(config, kimg=1, minutes=None, resume=True), "cpu"))
    assert ", preset few, batches of 16, 1 kimg from 0.4 kimg on, loss D " in resumed.figures


def test_advice_on_the_images_is_said_once_at_the_beginning_of_a_run(noise_images, tmp_path):
    first = finish(noise_images, config_for(tmp_path, steps=2)).last
    assert [remark[:39] for remark in first.remarks] == ["There are only 24 different images, and"]
    assert finish(noise_images, config_for(tmp_path, steps=3, resume=True)).last.remarks == ()


def test_progress_says_in_a_line_how_it_goes(noise_images, tmp_path):
    text = str(finish(noise_images, config_for(tmp_path)).last)
    assert text.startswith("0.0 kimg, ")
    assert "images/s, loss D " in text


def test_the_state_of_a_checkpoint_is_plain_json(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path))
    state = checkpoint.read(tmp_path / "run").state
    assert json.loads(json.dumps(state)) == state
    assert (state["images"], state["steps"], state["seed"]) == (20, 4, 0)


def test_a_run_can_be_kept_in_a_folder_whose_name_is_in_any_script(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "猫 été"))
    steps = finish(noise_images, config_for(tmp_path / "猫 été", steps=6, resume=True)).last.images // BATCH
    assert steps == 6


def test_progress_can_be_sent_as_json_and_stays_as_it_was(noise_images, tmp_path):
    with train(noise_images, config_for(tmp_path), "cpu") as training:
        next(training)
        progress = next(training)
        sent = json.loads(json.dumps(progress.as_json()))
        next(training)
    assert sent["images"] == progress.images == BATCH
    assert sent["record"] == {"images": BATCH, "values": dict(progress.record.values)}
    assert sent["figures"] == progress.figures and sent["failed"] is False and sent["verdict"] is None
