"""What a run keeps in case it goes wrong, what it is after it has gone back, and how its images are measured."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import begun, finish, happened, steps_of

import gan_core
from gan_core import Generator, ImageDataset, TrainConfig, train
from gan_core.architectures import by_name
from gan_core.card import Metric
from gan_core.metrics.features import Extractor
from gan_core.metrics.kid import KID
from gan_core.training import checkpoint, presets
from gan_core.training import history as histories
from gan_core.training import run as runs
from gan_core.training.history import Record
from gan_core.training.loop import Session
from gan_core.training.monitor import diagnostics, quality
from gan_core.training.monitor import verdict as watch
from gan_core.training.monitor.quality import Quality
from gan_core.training.monitor.verdict import Verdict
from gan_core.training.settings import AdversarialRecipe

BATCH = 4
LOOK = 8
"""Images between two looks, in place of thousands: two steps."""

TINY = AdversarialRecipe("dcgan", {"width": 2, "latent_size": 2}, batch_size=BATCH, learning_rate=1e-3)
COLLAPSE = Verdict("collapse", "Mode collapse: all are one.")
PIXELS = Extractor("pixels", (8, 64), lambda pictures: pictures.mean(1).flatten(1)[:, ::16] / 255)


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch) -> None:
    """Runs are looked at after every second step, and are healthy."""
    monkeypatch.setitem(presets.PRESETS, "trial", TINY)
    monkeypatch.setattr(runs, "DIAGNOSED_EVERY", LOOK)
    monkeypatch.setattr(watch, "healthy", lambda history: True)
    monkeypatch.setattr(watch, "verdict", lambda history, shown: None)


def config_for(folder: Path, steps: int = 10, **changes) -> TrainConfig:
    settings = {"preset": "trial", "kimg": steps * BATCH / 1000, "precision": "fp32", **changes}
    return TrainConfig.of(folder / "run", **settings)


def session_of(dataset: ImageDataset, folder: Path, **changes) -> Session:
    return begun(dataset, config_for(folder, **changes))


def state_of(folder: Path, name: str = checkpoint.FILE) -> dict:
    found = checkpoint.read(folder / "run", name)
    assert found is not None
    return found.state


@pytest.fixture
def trouble(monkeypatch):
    """Lets a verdict fall once each of these numbers of images is reached."""

    def at(*images: int, verdict: Verdict = COLLAPSE) -> None:
        left = list(images)

        def told(history: Sequence[Record], shown: int) -> Verdict | None:
            if history[-1].images in left:
                left.remove(history[-1].images)
                return verdict
            return None

        monkeypatch.setattr(watch, "verdict", told)

    return at


@pytest.fixture
def kid_is(monkeypatch):
    """Lets KID be these numbers, one after the other, and then the last."""

    def told(*values: float) -> None:
        given_out = itertools.chain(values, itertools.repeat(values[-1]))
        monkeypatch.setattr(quality, "efficientnet_lite0", lambda device: PIXELS)
        monkeypatch.setattr(quality, "GENERATED", 8)
        monkeypatch.setattr(quality, "kid", lambda real, made: KID(next(given_out), 0.001))
        # What a step or two makes is no generator yet.
        monkeypatch.setattr(diagnostics, "likeness", lambda made, real: diagnostics.Likeness(0.9, 0.05))

    return told


# Healthy states.


def test_a_healthy_state_is_kept_when_a_quarter_more_images_were_shown_than_at_the_one_before(noise_images, tmp_path):
    session = session_of(noise_images, tmp_path)
    run, kept = session.run, []
    for run.images in range(8, 160, 8):
        session.policy.respond(session.monitor.verdict())
        if not kept or kept[-1] != run.standing.healthy_images:
            kept.append(run.standing.healthy_images)
            assert state_of(tmp_path, "good.safetensors")["images"] == run.images
            assert state_of(tmp_path, "good.safetensors")["good"] == run.standing.healthy_images
    assert kept == [8, 16, 24, 32, 40, 56, 72, 96, 120, 152]


def test_a_state_that_is_not_healthy_is_not_kept(noise_images, tmp_path, monkeypatch):
    session = session_of(noise_images, tmp_path)
    monkeypatch.setattr(watch, "healthy", lambda history: False)
    session.run.images = 8
    session.policy.respond(session.monitor.verdict())
    assert session.run.standing.healthy_images == 0 and not (tmp_path / "run" / "good.safetensors").exists()


def test_a_resumed_run_knows_when_it_was_last_healthy_and_keeps_the_same_states_as_one_that_was_not_stopped(
    noise_images, tmp_path
):
    finish(noise_images, config_for(tmp_path / "straight", steps=12))
    steps_of(noise_images, config_for(tmp_path / "stopped", steps=12), 11)
    assert session_of(noise_images, tmp_path / "stopped", resume=True).run.standing.healthy_images == 40
    finish(noise_images, config_for(tmp_path / "stopped", steps=12, resume=True))
    states = [state_of(tmp_path / name, "good.safetensors") for name in ("straight", "stopped")]
    assert states[0] == states[1]
    assert states[0]["images"] == 40, "48 is no quarter more"


# Going back.


def test_a_run_that_recovered_from_broken_numbers_is_whole_again_and_is_kept(noise_images, tmp_path):
    training = train(noise_images, config_for(tmp_path, on_trouble="rollback"), "cpu")
    for progress in training:
        if (progress.images, training.run.standing.rollbacks) == (16, 0):
            training.run.method.generator.to_image.weight.data.fill_(float("nan"))
    run = training.run
    assert (run.standing.rollbacks, run.diverged, run.verdict) == (1, "", None)
    assert state_of(tmp_path)["images"] == progress.images == 40
    assert gan_core.load(tmp_path / "run" / "generator.safetensors").decode(torch.zeros(1, 2, 1, 1)).isfinite().all()


@pytest.mark.parametrize("healthy", [True, False], ids=["to a healthy state", "to the beginning"])
def test_the_best_generator_stays_the_best_over_a_way_back(
    noise_images, tmp_path, trouble, kid_is, monkeypatch, healthy
):
    monkeypatch.setattr(watch, "healthy", lambda history: healthy and history[-1].images <= 8)
    kid_is(0.3, 0.1, 0.2)
    trouble(24)
    training = train(noise_images, config_for(tmp_path, on_trouble="rollback", measure_kimg=LOOK / 1000), "cpu")
    for progress in training:
        standing = training.run.standing
        if progress.images == 16 and not standing.rollbacks:
            best = training.generator.module.state_dict()
    assert standing.rollbacks == 1
    assert standing.best == {"images": 16, "kid": 0.1, "kid_standard_error": 0.001}
    kept = gan_core.load(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in kept.module.state_dict().items())
    assert state_of(tmp_path)["best"] == standing.best


def test_what_is_gone_back_to_is_all_of_the_healthy_state(noise_images, tmp_path, trouble, monkeypatch):
    monkeypatch.setattr(watch, "healthy", lambda history: history[-1].images <= 16)
    trouble(32)
    with train(noise_images, config_for(tmp_path, on_trouble="rollback"), "cpu") as training:
        for _ in training:
            if training.run.standing.rollbacks:
                break
    run = training.run
    generator = run.method.networks["generator"]
    good = checkpoint.read(tmp_path / "run", "good.safetensors")
    assert good is not None
    assert (run.images, run.steps, run.standing.healthy_images) == (16, 4, 16)
    assert [record.images for record in run.history] == [4, 8, 12, 16]
    for name, tensor in generator.module.state_dict().items():
        assert torch.equal(tensor, good.tensors[f"generator.{name}"]), name
    moments = checkpoint.optimizer_tensors(generator.optimizer, generator.module, "generator_optimizer")
    assert moments.keys() <= good.tensors.keys()
    assert all(torch.equal(tensor, good.tensors[name]) for name, tensor in moments.items())
    assert run.images - run.images_at_start == 32, "the images that were shown in vain count for the speed"
    assert state_of(tmp_path) == {**good.state, "softened": 1, "with_ada": True, "ada": {"p": 0.0, "signs": []}}
    assert run.pending.values == []


def test_the_beginning_that_is_gone_back_to_is_that_of_a_new_run(noise_images, tmp_path):
    session, new = session_of(noise_images, tmp_path), session_of(noise_images, tmp_path / "new").run
    run = session.run
    for _ in range(3):
        session.advance()
    run.standing.healthy_images = 8
    session.policy._return_to(None)
    assert (run.images, run.steps, run.standing.healthy_images) == (0, 0, 0)
    assert (run.history, run.pending.values) == ([], [])
    for name, network in run.method.networks.items():
        assert not network.optimizer.state
        for key, tensor in network.module.state_dict().items():
            assert torch.equal(tensor, new.method.networks[name].module.state_dict()[key]), key
    for key, tensor in run.ema["generator"].state_dict().items():
        assert torch.equal(tensor, new.ema["generator"].state_dict()[key]), key
    assert run.images - run.images_at_start == 3 * BATCH


def test_each_way_back_quarters_the_learning_rate(noise_images, tmp_path, trouble):
    trouble(24, 32)
    training = train(noise_images, config_for(tmp_path, on_trouble="rollback"), "cpu")
    rates = [training.run.recipe.learning_rate for _ in training]
    assert set(rates) == {1e-3, 1e-3 / 4, 1e-3 / 16}
    assert training.run.method.networks["generator"].optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 16)


def test_the_same_trouble_is_said_once_and_another_one_anew(noise_images, tmp_path, trouble):
    overfitting = Verdict("overfitting", "It knows them all.")
    trouble(8, 16, 32, verdict=overfitting)
    last = finish(noise_images, config_for(tmp_path)).last
    assert [remark.split(": ")[1] for remark in happened(last)] == ["It knows them all."] * 2


def test_a_run_whose_kid_no_longer_improves_ends_when_its_patience_is_over(noise_images, tmp_path, kid_is, monkeypatch):
    kid_is(0.3, 0.1, 0.2)
    session = session_of(noise_images, tmp_path, measure_kimg=1.0, patience_kimg=0.02)
    run, policy = session.run, session.policy
    run.standing.best = {"images": 16, "kid": 0.1}
    ends = []
    monkeypatch.setattr(policy, "_end", ends.append)
    for run.images in (20, 32, 35):
        policy._stop_early()
    assert ends == []
    run.images = 36
    policy._stop_early()
    assert ends == ["KID has not improved for 0.02 kimg."]


# What is looked at.


def noise(count: int) -> ImageDataset:
    return ImageDataset.from_images(np.random.RandomState(0).randint(0, 256, (count, 16, 16, 1), np.uint8))


def test_samples_are_compared_with_256_images_that_are_learned_from_always_the_same(tmp_path):
    ours, again, other = (session_of(noise(600), tmp_path, seed=seed).run.batches for seed in (0, 0, 1))
    assert len(set(ours.compared)) == 256
    assert set(ours.compared) <= set(ours.shown)
    assert ours.compared.tolist() == again.compared.tolist() != other.compared.tolist()
    assert len(session_of(noise(20), tmp_path).run.batches.compared) == 20


@pytest.mark.parametrize(("count", "judged"), [(300, 64), (64, 64), (63, 56), (17, 16), (8, 8)])
def test_as_many_real_images_are_judged_as_there_are_samples_in_whole_groups(tmp_path, monkeypatch, count, judged):
    run = session_of(noise(300), tmp_path).run
    seen = []
    monkeypatch.setattr(run.method, "logits", lambda batch: seen.append((batch.target, batch.labels)) or torch.zeros(2))
    real = np.arange(count)
    run.batches.held_out, run.batches.compared = real, real[::-1]
    run.method.measure(run.look())
    expected = [run.batches.at(there[:judged]).target for there in (real, real[::-1])]
    assert [labels for _, labels in seen] == [None] * 3
    assert len(seen[2][0]) == runs.SAMPLES == diagnostics.MAX_JUDGED
    assert all(torch.equal(images, wanted) for (images, _), wanted in zip(seen[:2], expected, strict=True))
    assert [len(images) for images, _ in seen[:2]] == [judged] * 2


@pytest.mark.parametrize(
    ("count", "against"),
    [(990, "500 images that it learns from"), (1000, "100 held-out images"), (5400, "500 held-out images")],
)
def test_kid_is_against_500_images_at_most_and_against_held_out_ones_from_100_on(tmp_path, count, against):
    session = session_of(noise(count), tmp_path)
    measured, batches = session.monitor.quality, session.run.batches
    assert measured is not None
    assert measured.against == against
    assert measured.held_out is ("held-out" in against)
    there = batches.held_out if measured.held_out else batches.shown
    assert set(measured.indices) <= set(there) and list(measured.indices) == sorted(set(measured.indices))


@pytest.mark.parametrize(("apart", "expected"), [(1.01, 1.5 / 1.01), (0.99, None)])
def test_nothing_is_said_of_overfitting_where_scores_lie_no_further_apart_than_they_scatter(apart, expected):
    shown = torch.tensor([-1.0, 0.0, 1.0])  # whose standard deviation is 1
    found = diagnostics.overfitting(shown, torch.tensor([-1.0, -2.0]), torch.tensor([-apart]))
    assert found == (None if expected is None else pytest.approx(expected))


def test_features_are_colours_from_black_to_white_over_white():
    levels = torch.tensor([-1.0, 0.0, 1.0, 2.0])[:, None, None, None].expand(4, 1, 16, 16)
    assert diagnostics.features(levels).mean(dim=1).tolist() == pytest.approx([0, 0.5, 1, 1])
    half_clear = torch.tensor([-1.0, -1.0, -1.0, 0.0])[None, :, None, None].expand(1, 4, 16, 16)
    assert diagnostics.features(half_clear).mean().item() == pytest.approx(0.5)


def test_what_was_not_measured_is_still_not_there_after_a_checkpoint():
    history = [Record(5, {"loss": 1.5}), Record(10, {"loss": 0.25, "kid": -0.5}), Record(15, {"kid": 0.0})]
    names = histories.columns(history)
    assert names == ["loss", "kid"]
    assert histories.from_tensor(histories.to_tensor(history, names), names) == history
    assert histories.from_tensor(histories.to_tensor([], []), []) == []


# KID.


class Clock:
    def __init__(self) -> None:
        self.seconds = 5000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(quality, "time", clock)
    monkeypatch.setattr(quality, "efficientnet_lite0", lambda device: PIXELS)
    monkeypatch.setattr(quality, "GENERATED", 8)
    return clock


def meter(dataset: ImageDataset, measure_kimg: float | None = None) -> Quality:
    # Made with the clock that is set, which a default of the class would not see.
    made = Quality(dataset, np.arange(len(dataset)), False, torch.device("cpu"), measure_kimg)
    made.ended = quality.time.monotonic()
    return made


def test_the_first_measurement_comes_after_two_minutes_and_each_other_after_100_times_what_the_last_took(
    noise_images, new_generator, clock, monkeypatch
):
    measured = meter(noise_images)
    clock.seconds += 119
    assert not measured.is_due(0, 10**6)
    clock.seconds += 1
    assert measured.is_due(0, 1)

    def slowly(real: torch.Tensor, made: torch.Tensor) -> KID:
        clock.seconds += 3
        return KID(0.1, 0.01)

    monkeypatch.setattr(quality, "kid", slowly)
    assert measured.measure(new_generator()) == KID(0.1, 0.01)
    assert (measured.ended, measured.cost) == (clock.seconds, 3)
    clock.seconds += 299
    assert not measured.is_due(0, 10**6)
    clock.seconds += 1
    assert measured.is_due(0, 1)


@pytest.mark.parametrize(
    ("measure_kimg", "before", "now", "due"),
    [
        (1.0, 0, 999, False),
        (1.0, 0, 1000, True),
        (1.0, 1000, 1999, False),
        (1.0, 1999, 2000, True),
        (0.0001, 7, 8, True),  # after every image at the most
        (float("inf"), 0, 10**12, False),
    ],
)
def test_a_measurement_by_images_falls_due_where_a_multiple_is_passed(noise_images, measure_kimg, before, now, due):
    assert meter(noise_images, measure_kimg).is_due(before, now) is due


def generator_of(channels: int, classes: int = 0) -> Generator:
    family = by_name("dcgan")
    config = family.config(16, channels, classes=classes, latent_size=2, width=2)
    return Generator(family, config, family.generator(config).eval())


def test_pictures_that_are_measured_have_the_classes_of_the_real_ones(labelled_images, clock, monkeypatch):
    chosen = np.array([1, 4, 5, 6, 9])  # of classes 1, 1, 2, 0, 0
    measured = replace(meter(labelled_images), indices=chosen)
    asked: list[tuple[list[int], list[int] | None]] = []
    sample_noise = quality.sample_noise

    def noted(generator: Generator, seeds: list[int], labels: list[int] | None = None) -> gan_core.Latent:
        asked.append((list(seeds), None if labels is None else list(labels)))
        return sample_noise(generator, seeds, labels=labels)

    monkeypatch.setattr(quality, "sample_noise", noted)
    measured.measure(generator_of(3, classes=3))
    seeds = [seed for part, _ in asked for seed in part]
    labels = [label for _, part in asked for label in part or []]
    assert seeds == list(range(8)), "always the same seeds"
    assert labels == [1, 1, 2, 0, 0, 1, 1, 2], "the real ones' classes, over and over"

    asked.clear()
    measured.measure(generator_of(3))
    assert [part for _, part in asked] == [None] * len(asked), "a generator without classes is asked for none"


def test_what_is_measured_are_the_generators_pictures_against_the_chosen_images(noise_images, clock, monkeypatch):
    chosen = np.array([2, 3, 5, 7])
    measured = replace(meter(noise_images), indices=chosen)
    seen = []
    monkeypatch.setattr(quality, "kid", lambda real, made: seen.append((real, made)) or KID(0.0, 0.0))
    generator = generator_of(1)
    measured.measure(generator)
    ((real, made),) = seen
    pictures = gan_core.media.image.to_pixels(generator.decode(gan_core.sample_noise(generator, range(8))))

    def features(pixels: np.ndarray) -> torch.Tensor:
        # The extractor looks at three channels of the same grey.
        return torch.from_numpy(pixels).float().permute(0, 3, 1, 2).mean(1).flatten(1)[:, ::16] / 255

    torch.testing.assert_close(real, features(noise_images.images[chosen]).to(real), rtol=0, atol=1e-3)
    torch.testing.assert_close(made, features(pictures).to(made), rtol=0, atol=1e-3)
    assert measured.as_metrics(KID(0.5, 0.25)) == (
        Metric("kid", 0.5, "pixels", 16, 8),
        Metric("kid_standard_error", 0.25, "pixels", 16, 8),
    )
