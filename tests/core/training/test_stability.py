"""A run that goes wrong is noticed, one that does not is left in peace, and what was good is never lost."""

import csv
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import begun, finish, happened, steps_of

import gan_core
from gan_core import Generator, ImageDataset, InputError, TrainConfig, TrainingDiverged, train
from gan_core.card import Metric
from gan_core.metrics.features import Extractor
from gan_core.metrics.kid import KID
from gan_core.training import checkpoint
from gan_core.training import run as runs
from gan_core.training.history import Record
from gan_core.training.monitor import diagnostics, quality
from gan_core.training.monitor import verdict as watch
from gan_core.training.monitor.verdict import Verdict
from gan_core.training.presets import PRESETS
from gan_core.training.run import Run
from gan_core.training.schedule import Schedule
from gan_core.training.standing import Standing

BATCH = 5
LOOK = 10
"""Images between two looks, in place of thousands: two steps."""
COLLAPSE = Verdict("collapse", "Mode collapse: all are one.")
OVERFITTING = Verdict("overfitting", "The discriminator knows them all.")
PIXELS = Extractor("pixels", (8, 64), lambda pictures: pictures.mean(1).flatten(1)[:, ::16] / 255)


# The detector.


def course(
    diversity: Sequence[float] = (), distance: Sequence[float] = (), steps: int = 4000, **values: float
) -> list[Record]:
    """A history that was looked at every so many images: healthy, but for what is given."""
    length = max(len(diversity), len(distance)) or 12
    varied = [*diversity, *[diversity[-1] if diversity else 0.95] * length][:length]
    far = [*distance, *[distance[-1] if distance else 0.02] * length][:length]
    usual = {"discriminator_loss": 1.2, "generator_loss": 0.9, "real_score": 0.3, "fake_score": -0.3, "real_sign": 0.4}
    return [
        Record(steps * (i + 1), {**usual, "diversity": varied[i], "distance": far[i], **values}) for i in range(length)
    ]


def kind(history: Sequence[Record], shown: int = 10_000) -> str | None:
    found = watch.verdict(history, shown)
    return found.kind if found else None


def kinds(history: Sequence[Record], shown: int = 10_000) -> set[str | None]:
    """What was said at any time of a history."""
    return {kind(history[: end + 1], shown) for end in range(len(history))}


HEALTHY = {
    "log": ([0.3, 0.71, 0.85, 0.9, 0.94, 0.96, 0.99, 0.99], [0.4, 0.14, 0.06, 0.02, 0.011, 0.014, 0.008, 0.007]),
    "hinge": ([0.5, 0.66, 0.7, 0.74, 0.83, 0.92, 0.97, 0.98], [0.9, 0.5, 0.2, 0.06, 0.03, 0.018, 0.017, 0.018]),
    "relativistic": ([0.08, 0.17, 0.39, 0.5, 0.66, 0.72, 0.84, 0.92], [0.4, 0.31, 0.2, 0.18, 0.09, 0.06, 0.04, 0.02]),
    "slow": ([0.02, 0.03, 0.04, 0.05, 0.07, 0.09, 0.12, 0.16, 0.2, 0.27], [1.8, 1.5, 1.2, 1.0, 0.9, 0.8, 0.7, 0.6]),
}


@pytest.mark.parametrize(("diversity", "distance"), HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_run_raises_no_alarm(diversity, distance):
    assert kinds(course(diversity, distance)) == {None}


def test_samples_that_no_longer_vary_are_a_collapse_and_the_sentence_says_what_was_seen_and_what_to_do():
    found = watch.verdict(course([0.5, 0.8, 0.9, 0.9, 0.9, 0.3, 0.1, 0.1, 0.1]), 10_000)
    assert found.kind == "collapse"
    assert "samples vary 10.0% as much as real images, after 90.0% before. Lower the learning rate" in str(found)


def test_samples_that_never_began_to_vary_are_a_collapse():
    assert kind(course([0.02, 0.1, 0.05, 0.06, 0.05, 0.05, 0.04, 0.05], [0.9])) == "collapse"


def test_samples_that_move_away_from_the_images_are_a_divergence():
    found = watch.verdict(course([0.9], [0.5, 0.1, 0.05, 0.05, 0.05, 0.8, 0.9, 1.0]), 10_000)
    assert found.kind == "divergence"
    assert "a distance of 0.90 after 0.05 before" in str(found)


def test_samples_that_stay_far_away_are_a_divergence():
    assert kind(course([0.6], [1.4, 1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2])) == "divergence"


def test_a_discriminator_that_has_won_is_a_divergence():
    won = course([0.5], [0.3] * 12, discriminator_loss=0.0)
    assert kind(won) == "divergence"
    assert "has won" in str(watch.verdict(won, 10_000))
    assert kind(course([0.5], [0.3] * 12)) is None, "it has not"


def test_so_is_one_that_scores_real_images_far_above_samples_that_do_not_look_like_them():
    far_apart = {"real_score": 120.0, "fake_score": 90.0}
    assert (
        kind(course([0.8], [0.6, 0.5, 0.5, 0.3, 0.28, 0.25, 0.2], discriminator_loss=0.01, **far_apart)) == "divergence"
    )
    assert kind(course([0.95], [0.02], discriminator_loss=0.01, **far_apart)) is None, "they do look like them"
    critic = course([0.8], [0.6, 0.5, 0.5, 0.3, 0.28, 0.25, 0.2], discriminator_loss=-30.0, **far_apart)
    assert kind(critic) is None, "a Wasserstein critic's scores are of any size"


@pytest.mark.parametrize("place", [5, 8, 11])
@pytest.mark.parametrize("spike", [{"diversity": 0.01}, {"distance": 1.9}, {"discriminator_loss": 0.0}], ids=str)
def test_one_bad_moment_is_no_trouble(place, spike):
    history = course()
    history[place] = Record(history[place].images, {**history[place].values, **spike})
    assert kinds(history) == {None}


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=30), st.lists(st.floats(-0.1, 3.0), min_size=1, max_size=30))
def test_nothing_is_judged_before_enough_images_were_shown(diversity, distance):
    history = course(diversity, distance, steps=600)
    assert kinds([record for record in history if record.images < watch.FIRST_IMAGES]) <= {None}


def test_a_discriminator_that_is_sure_of_images_seen_many_times_is_overfitting():
    sure = course(real_sign=0.95, real_score=2.0, fake_score=-2.0)
    assert kind(sure, shown=300) == "overfitting"
    assert "is overfitting (r_t 0.95): add images, and turn on mirror" in str(watch.verdict(sure, 300))
    assert kind(sure, shown=40_000) is None, "each was seen once or twice"
    assert kind(course(real_sign=0.75, real_score=2.0, fake_score=-2.0), shown=300) is None
    assert kind(course(real_sign=0.95, real_score=0.4, fake_score=0.35), shown=300) is None, "both score alike"


def test_with_images_held_out_they_decide_whether_it_is_overfitting():
    sure = {"real_sign": 0.95, "real_score": 2.0, "fake_score": -2.0}
    assert kind(course(held_out_score=1.9, overfitting=0.03, **sure), shown=300) is None
    assert kind(course(held_out_score=-1.5, overfitting=0.9, **sure), shown=300) == "overfitting"


@given(
    st.lists(st.floats(0.5, 1.0), min_size=40, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_a_record_that_a_checkpoint_cut_in_two_changes_no_verdict(signs, cut):
    values = {"discriminator_loss": 1.0, "real_score": 1.0, "fake_score": -1.0}
    whole, parts = [], []
    for i, sign in enumerate(signs):
        record = Record(1000 * (i + 1), {**values, "real_sign": sign})
        whole.append(record)
        parts += [replace(record, images=record.images - 400)] * cut[i] + [record]
    assert kind(whole, 100) == kind(parts, 100)


def test_kid_has_become_worse_only_where_several_measurements_say_so():
    def measured(*values: float, error: float = 0.01) -> list[Record]:
        look = {"diversity": 0.9, "distance": 0.05}
        return [Record(1000 * i, {**look, "kid": value, "kid_standard_error": error}) for i, value in enumerate(values)]

    assert not watch.worsened([])
    assert not watch.worsened(measured(0.1, 0.2, 0.3))
    assert not watch.worsened(measured(0.1, 0.2, 0.11, 0.3))
    assert watch.worsened(measured(0.3, 0.1, 0.2, 0.2, 0.3))
    assert not watch.worsened(measured(0.3, 0.1, 0.2, 0.2, 0.3, error=0.1)), "that may be chance"
    assert not watch.worsened(measured(0.02, -0.001, 0.01, 0.008, 0.009)), "all of these are about none"


def test_only_a_state_that_is_as_good_as_any_before_is_healthy():
    assert watch.healthy(course())
    assert not watch.healthy(course()[:3])
    assert not watch.healthy(course([0.9] * 8 + [0.6]))
    assert not watch.healthy(course([], [0.02] * 8 + [0.3]))
    assert not watch.healthy(course([0.1]))


# What is measured.


def test_samples_that_are_drawn_as_the_real_images_are_vary_as_much_and_lie_at_no_distance():
    stream = torch.Generator().manual_seed(0)
    found = diagnostics.likeness(torch.randn(500, 8, generator=stream), torch.randn(500, 8, generator=stream))
    assert found.diversity == pytest.approx(1, abs=0.03)
    assert found.distance == pytest.approx(0, abs=0.01)


def test_one_sample_again_and_again_does_not_vary_and_lies_far_away():
    real = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    found = diagnostics.likeness(real[:1].repeat(64, 1), real)
    assert found.diversity == 0
    assert found.distance > 0.4


def test_the_energy_distance_is_that_of_its_definition():
    made, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [4.0], [8.0]])
    within_made, within_real = 1.0, (2 + 6 + 4) / 3
    between = (2 + 4 + 8 + 1 + 3 + 7) / 6
    found = diagnostics.likeness(made, real)
    assert found.diversity == pytest.approx(within_made / within_real)
    assert found.distance == pytest.approx((2 * between - within_made - within_real) / within_real)


def test_of_real_images_that_are_all_the_same_nothing_is_said():
    assert diagnostics.likeness(torch.rand(8, 3), torch.ones(8, 3)) is None


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20), (64, 48)])
def test_images_of_any_size_and_colour_have_features(channels, height, width):
    assert diagnostics.features(torch.zeros(2, channels, height, width)).shape == (2, 3 * 16 * 16)


def test_what_cannot_be_seen_makes_no_difference():
    clear = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    clear[:, 3] = -1
    assert torch.equal(*diagnostics.features(clear))


def test_r_v_is_one_where_unseen_images_are_taken_for_generated_ones_and_none_where_all_are_alike():
    shown, made = torch.tensor([3.0, 3.2, 2.8]), torch.tensor([-3.0, -3.1, -2.9])
    assert diagnostics.overfitting(shown, made, made) == pytest.approx(1)
    assert diagnostics.overfitting(shown, shown, made) == 0
    assert diagnostics.overfitting(shown, made, shown) is None


@pytest.mark.parametrize("objective", ["log", "hinge"])
def test_looking_at_images_moves_nothing_in_the_discriminator(labelled_images, tmp_path, objective):
    session = begun(labelled_images, config_for(tmp_path, objective=objective))
    method = session.run.method
    before = {name: tensor.clone() for name, tensor in method.discriminator.state_dict().items()}
    assert "diversity" in session.monitor.measure()
    assert method.logits(session.run.batches.at(np.arange(8))).isfinite().all()
    after = method.discriminator.state_dict()
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []


def test_the_norm_of_a_gradient_is_that_of_all_weights_together():
    module = torch.nn.Linear(1, 2)
    assert diagnostics.gradient_norm(module) == 0
    module.weight.grad, module.bias.grad = torch.tensor([[1.0], [2.0]]), torch.tensor([2.0, 4.0])
    assert diagnostics.gradient_norm(module) == pytest.approx(5)


# Runs.


def config_for(folder: Path, steps: int = 12, **changes) -> TrainConfig:
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, "precision": "fp32"}
    return TrainConfig.of(folder / "run", **{**settings, **changes})


def generators_of(dataset: ImageDataset, config: TrainConfig) -> dict[int, Generator]:
    """The generators of a run that is trained to its end, by the images that were shown."""
    training = train(dataset, config, "cpu")
    return {progress.images: training.generator for progress in training}


def learned(folder: Path, name: str = "checkpoint.safetensors") -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "run" / name)
    del tensors["history"]
    return tensors


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def state_of(folder: Path) -> dict:
    found = checkpoint.read(folder / "run")
    assert found is not None
    return found.state


@pytest.fixture
def many() -> ImageDataset:
    """520 grey images of noise, 16x16, of which 52 are held out."""
    pixels = np.random.RandomState(0).randint(0, 256, (520, 16, 16, 1), np.uint8)
    return ImageDataset.from_images(pixels, name="much noise")


@pytest.fixture
def looks(monkeypatch) -> None:
    """Runs are looked at every LOOK images, and what they are is as good as any."""
    monkeypatch.setattr(runs, "DIAGNOSED_EVERY", LOOK)
    monkeypatch.setattr(watch, "healthy", lambda history: True)


@pytest.fixture
def trouble(looks, monkeypatch):
    """Lets a verdict fall when some image is reached, as often as that is."""

    def at(images: int, verdict: Verdict = COLLAPSE) -> None:
        def told(history: Sequence[Record], shown: int) -> Verdict | None:
            return verdict if history[-1].images == images else None

        monkeypatch.setattr(watch, "verdict", told)

    return at


def test_images_that_are_held_out_are_never_learned_from(many, tmp_path):
    batches = begun(many, config_for(tmp_path)).run.batches
    shown = {int(index) for start in range(0, 468, 4) for index in batches.indices(start, 4)}
    assert len(batches.held_out) == 52
    assert shown == set(range(520)) - set(batches.held_out.tolist())
    again = begun(many, config_for(tmp_path)).run.batches
    assert (again.held_out == batches.held_out).all()


def test_of_a_few_hundred_images_none_is_spared(many, tmp_path):
    few = replace(many, images=many.images[:499])
    batches = begun(few, config_for(tmp_path)).run.batches
    assert (len(batches.held_out), len(batches.shown)) == (0, 499)


def test_a_run_from_before_images_were_held_out_goes_on_with_all_of_them(many, tmp_path):
    finish(many, config_for(tmp_path, steps=2))
    found = checkpoint.read(tmp_path / "run")
    state = {name: value for name, value in found.state.items() if name not in ("held_out", "good", "best")}
    checkpoint.write(tmp_path / "run", state, found.tensors)
    session = begun(many, config_for(tmp_path, resume=True))
    assert (len(session.run.batches.held_out), len(session.run.batches.shown)) == (0, 520)
    session.files.checkpoint()
    assert state_of(tmp_path)["held_out"] == 0


def test_the_history_says_how_the_samples_are_and_what_the_discriminator_thinks_of_unseen_images(many, looks, tmp_path):
    history = finish(many, config_for(tmp_path)).training.history
    names = {"diversity", "distance", "held_out_score", "generator_gradient", "discriminator_gradient"}
    told = [record for record in history if "diversity" in record.values]
    assert [record.images for record in told] == [10, 20, 30, 40, 50, 60]
    assert all(names <= record.values.keys() for record in told)
    assert all(math.isfinite(value) for record in told for value in record.values.values())


@pytest.mark.parametrize("objective", ["log", "hinge", "relativistic"])
def test_being_looked_at_changes_nothing_that_is_learned(many, tmp_path, monkeypatch, objective):
    finish(many, config_for(tmp_path / "unseen", objective=objective))
    monkeypatch.setattr(runs, "DIAGNOSED_EVERY", LOOK)
    finish(many, config_for(tmp_path / "seen", objective=objective))
    assert_same(learned(tmp_path / "seen"), learned(tmp_path / "unseen"))


def test_a_run_that_was_stopped_is_looked_at_after_the_same_images(many, looks, tmp_path):
    straight = finish(many, config_for(tmp_path / "straight")).training.history
    steps_of(many, config_for(tmp_path / "stopped"), 7)
    stopped = finish(many, config_for(tmp_path / "stopped", resume=True)).training.history
    for name in ("diversity", "distance", "held_out_score", "generator_gradient", "discriminator_gradient"):
        first, second = (
            [(record.images, record.values[name]) for record in history if name in record.values]
            for history in (straight, stopped)
        )
        assert first == second


# What is done about trouble.


def test_a_run_in_trouble_ends_with_its_last_healthy_state_and_says_why(noise_images, trouble, tmp_path):
    finish(noise_images, config_for(tmp_path / "healthy", steps=6))
    trouble(40)
    training, last = finish(noise_images, config_for(tmp_path / "run"))
    assert last.images == 30
    assert_same(learned(tmp_path / "run"), learned(tmp_path / "healthy"))
    said = "Mode collapse: all are one. The run was stopped; its generator is the one of 0.0 kimg."
    assert str(last).endswith(said)
    assert happened(last) == ("At 0.0 kimg: Mode collapse: all are one.", said)
    assert last.failed and last.trouble == said and "collapse" not in last.figures
    expected = gan_core.load(tmp_path / "healthy" / "run" / "generator.safetensors")
    assert_same(training.generator.module.state_dict(), expected.module.state_dict())


def test_a_run_that_was_stopped_goes_on_where_it_was_healthy(noise_images, trouble, tmp_path, monkeypatch):
    trouble(40)
    finish(noise_images, config_for(tmp_path / "run"))
    monkeypatch.undo()
    assert finish(noise_images, config_for(tmp_path / "run", resume=True)).last.images == 60
    finish(noise_images, config_for(tmp_path / "straight"))
    assert_same(learned(tmp_path / "run"), learned(tmp_path / "straight"))


def test_a_run_that_was_never_healthy_ends_as_it_is(noise_images, trouble, tmp_path, monkeypatch):
    trouble(40)
    monkeypatch.setattr(watch, "healthy", lambda history: False)
    last = finish(noise_images, config_for(tmp_path)).last
    assert last.images == state_of(tmp_path)["images"] == 40
    assert "The run was stopped" in str(last)


def test_trouble_is_only_said_where_it_is_to_be_ignored(noise_images, trouble, tmp_path):
    finish(noise_images, config_for(tmp_path / "straight"))
    trouble(40)
    last = finish(noise_images, config_for(tmp_path / "ignored", on_trouble="ignore")).last
    assert last.images == 60 and not last.failed
    assert happened(last) == ("At 0.0 kimg: Mode collapse: all are one.",)
    assert_same(learned(tmp_path / "ignored"), learned(tmp_path / "straight"))
    assert not (tmp_path / "ignored" / "run" / "good.safetensors").exists()


@pytest.mark.parametrize("stop_after", [9, 10, 12])
def test_a_run_that_was_rolled_back_and_stopped_reaches_the_same_weights_as_one_that_was_not(
    noise_images, trouble, tmp_path, monkeypatch, stop_after
):
    """Trouble falls at the 8th step, and is not met again on the gentler way."""
    told = []

    def once(history, shown):
        if history[-1].images == 40 and tmp_path.name not in told:
            told.append(tmp_path.name)
            return COLLAPSE
        return None

    for name, stops in (("straight", False), ("stopped", True)):
        told.clear()
        trouble(0)
        monkeypatch.setattr(watch, "verdict", once)
        config = config_for(tmp_path / name, on_trouble="rollback")
        if stops:
            steps_of(noise_images, config, stop_after)
            config = replace(config, resume=True)
        recipe = finish(noise_images, config).training.run.recipe
        assert recipe.learning_rate == PRESETS["dcgan_small"].learning_rate / 4
        assert recipe.augment == "ada"
    assert_same(learned(tmp_path / "stopped"), learned(tmp_path / "straight"))
    assert state_of(tmp_path / "stopped")["softened"] == 1


def test_a_run_is_rolled_back_three_times_and_then_stopped(noise_images, trouble, tmp_path):
    trouble(40)
    last = finish(noise_images, config_for(tmp_path, on_trouble="rollback")).last
    assert last.images == 30
    assert [remark.startswith("Rolled back to 0.0 kimg") for remark in last.remarks].count(True) == 3
    assert last.remarks[-1].endswith("The run was stopped; its generator is the one of 0.0 kimg.")


def test_a_run_that_was_never_healthy_begins_anew_more_gently(noise_images, trouble, tmp_path, monkeypatch):
    lower = PRESETS["dcgan_small"].learning_rate / 64
    finish(noise_images, config_for(tmp_path / "gentle", learning_rate=lower, augment="ada", steps=6))
    trouble(40)
    monkeypatch.setattr(watch, "healthy", lambda history: False)
    with train(noise_images, config_for(tmp_path / "run", on_trouble="rollback"), "cpu") as training:
        for progress in training:
            if training.run.standing.rollbacks == 3 and progress.images == 30:
                break
    assert_same(learned(tmp_path / "run"), learned(tmp_path / "gentle"))


def test_overfitting_is_answered_with_ada_and_no_step_back(noise_images, trouble, tmp_path):
    trouble(40, OVERFITTING)
    training, last = finish(noise_images, config_for(tmp_path, on_trouble="rollback"))
    assert last.images == 60
    assert training.run.recipe.augment == "ada"
    assert training.run.recipe.learning_rate == PRESETS["dcgan_small"].learning_rate


def test_overfitting_is_a_warning_until_kid_says_that_it_became_worse(noise_images, trouble, tmp_path, monkeypatch):
    trouble(40, OVERFITTING)
    assert finish(noise_images, config_for(tmp_path / "warned")).last.images == 60
    monkeypatch.setattr(watch, "worsened", lambda history: True)
    assert finish(noise_images, config_for(tmp_path / "worse")).last.images == 40


def test_a_rollback_lowers_a_schedule_as_a_whole():
    recipe = replace(PRESETS["dcgan_small"], learning_rate=Schedule(4e-3, 1e-3, 100))
    assert Standing(rollbacks=1).applied_to(recipe).learning_rate == Schedule(1e-3, 2.5e-4, 100)


def break_weights(run: Run) -> None:
    run.method.generator.to_image.weight.data.fill_(float("nan"))


def test_broken_numbers_end_a_run_with_its_last_healthy_state(noise_images, looks, tmp_path):
    healthy = finish(noise_images, config_for(tmp_path / "healthy", steps=6)).training
    training = train(noise_images, config_for(tmp_path / "run"), "cpu")
    for progress in training:
        if progress.images == 30:
            break_weights(training.run)
    assert progress.images == state_of(tmp_path / "run")["images"] == 30
    assert "loss is nan" in str(progress)
    assert_same(learned(tmp_path / "run"), learned(tmp_path / "healthy"))
    assert torch.equal(training.samples(), healthy.samples())


def test_broken_numbers_are_an_exception_where_trouble_is_to_be_ignored(noise_images, looks, tmp_path):
    training = train(noise_images, config_for(tmp_path, on_trouble="ignore"), "cpu")
    next(itertools.islice(training, 6, None))
    break_weights(training.run)
    with pytest.raises(TrainingDiverged, match="loss is nan"):
        list(training)


def test_a_rollback_recovers_from_broken_numbers_at_the_very_start(noise_images, tmp_path):
    training = train(noise_images, config_for(tmp_path, on_trouble="rollback"), "cpu")
    next(training)
    break_weights(training.run)
    *_, last = training
    assert last.images == state_of(tmp_path)["images"] == 60
    assert training.run.standing.rollbacks == 1
    lower = PRESETS["dcgan_small"].learning_rate / 4
    expected = finish(noise_images, config_for(tmp_path / "gentle", learning_rate=lower, augment="ada")).training
    assert_same(learned(tmp_path), learned(tmp_path / "gentle"))
    assert torch.equal(training.samples(), expected.samples())


def test_a_run_that_is_built_to_break_is_caught_in_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "DIAGNOSED_EVERY", 400)
    monkeypatch.setattr(watch, "FIRST_IMAGES", 2000)
    pixels = np.zeros((64, 16, 16, 1), np.uint8)
    for i, picture in enumerate(pixels):
        picture[i % 8 : 8 + i % 8, i // 8 : 8 + i // 8] = 255  # a square somewhere
    config = config_for(tmp_path, steps=2000, batch_size=16, objective="hinge", learning_rate=0.5)
    last = finish(ImageDataset.from_images(pixels), config).last
    assert last.images < 10_000
    assert "Mode collapse" in str(last) or "Divergence" in str(last)


# KID, the best generator, and patience.


@pytest.fixture
def pixel_kid(monkeypatch) -> None:
    monkeypatch.setattr(quality, "efficientnet_lite0", lambda device: PIXELS)
    monkeypatch.setattr(quality, "GENERATED", 8)
    # What a step or two makes is no generator yet.
    monkeypatch.setattr(diagnostics, "likeness", lambda made, real: diagnostics.Likeness(0.9, 0.05))


def let_kid_be(values: Sequence[float], monkeypatch) -> None:
    given_out = iter([*values, *[values[-1]] * 100])
    monkeypatch.setattr(quality, "kid", lambda real, made: KID(next(given_out), 0.001))


def test_the_best_generator_by_kid_is_kept_beside_the_last(noise_images, looks, pixel_kid, tmp_path, monkeypatch):
    let_kid_be([0.3, 0.1, 0.2], monkeypatch)
    kept = generators_of(noise_images, config_for(tmp_path, measure_kimg=0.02))
    best = gan_core.load(tmp_path / "run" / "best.safetensors")
    assert_same(best.module.state_dict(), kept[40].module.state_dict())
    assert best.card.metrics[0] == Metric("kid", 0.1, "pixels", 16, 8)
    last = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert_same(last.module.state_dict(), kept[60].module.state_dict())
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [row["kid"] for row in rows if row["kid"]] == ["0.3", "0.1", "0.2"]


def test_grey_mush_is_never_the_best_generator(noise_images, looks, pixel_kid, tmp_path, monkeypatch):
    looked_at = iter([diagnostics.Likeness(0.02, 0.9)] * 2 + [diagnostics.Likeness(0.9, 0.05)] * 9)
    monkeypatch.setattr(diagnostics, "likeness", lambda made, real: next(looked_at))
    let_kid_be([0.1, 0.3, 0.2], monkeypatch)
    kept = generators_of(noise_images, config_for(tmp_path, measure_kimg=0.02))
    best = gan_core.load(tmp_path / "run" / "best.safetensors")
    assert_same(best.module.state_dict(), kept[60].module.state_dict())


def test_a_kid_that_may_be_as_low_by_chance_does_not_replace_the_best(
    noise_images, looks, pixel_kid, tmp_path, monkeypatch
):
    let_kid_be([0.1, 0.0995], monkeypatch)
    kept = generators_of(noise_images, config_for(tmp_path, measure_kimg=0.02))
    best = gan_core.load(tmp_path / "run" / "best.safetensors")
    assert_same(best.module.state_dict(), kept[20].module.state_dict())


def test_a_kid_says_its_error_and_how_old_it_is(noise_images, looks, pixel_kid, tmp_path, monkeypatch):
    let_kid_be([0.1234], monkeypatch)
    training = train(noise_images, config_for(tmp_path, steps=36, measure_kimg=0.1), "cpu")
    texts = {progress.images: str(progress) for progress in training}
    assert texts[100].endswith(", KID 0.123 ± 0.001"), "measured just now"
    assert texts[180].endswith(", KID 0.123 ± 0.001, 0.1 kimg ago")
    resumed = next(train(noise_images, config_for(tmp_path, steps=36, measure_kimg=1, resume=True), "cpu"))
    assert ", KID 0.123 ± 0.001, 0.1 kimg ago" in str(resumed)


def test_a_resumed_run_remembers_which_was_the_best(noise_images, looks, pixel_kid, tmp_path, monkeypatch):
    let_kid_be([0.1], monkeypatch)
    finish(noise_images, config_for(tmp_path, steps=4, measure_kimg=0.02))
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    let_kid_be([0.2], monkeypatch)
    finish(noise_images, config_for(tmp_path, measure_kimg=0.02, resume=True))
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before


def test_a_run_ends_with_its_best_generator_where_kid_no_longer_improves(
    noise_images, looks, pixel_kid, tmp_path, monkeypatch
):
    let_kid_be([0.3, 0.1, 0.2], monkeypatch)
    config = config_for(tmp_path, steps=100, measure_kimg=0.01, patience_kimg=0.03)
    training, last = finish(noise_images, config)
    assert last.images == 50  # the best one is that of 20
    assert "KID has not improved for 0.03 kimg." in str(last)
    best = gan_core.load(tmp_path / "run" / "best.safetensors")
    for generator in (training.generator, gan_core.load(tmp_path / "run" / "generator.safetensors")):
        assert_same(generator.module.state_dict(), best.module.state_dict())
    assert torch.equal(training.samples(), best.decode(gan_core.sample_noise(best, range(64))))


def test_oblong_images_that_are_transparent_and_of_several_classes_are_looked_at_too(looks, pixel_kid, tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (520, 16, 24, 4), np.uint8)
    dataset = ImageDataset(pixels, "oblong", "0" * 64, np.arange(520, dtype=np.int64) % 3, ("a", "b", "c"))
    last = finish(dataset, config_for(tmp_path, steps=4, measure_kimg=0.02)).last
    assert {"diversity", "distance", "held_out_score", "kid"} <= last.record.values.keys()


def test_kid_is_that_of_held_out_images_where_there_are_enough(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (1000, 16, 16, 1), np.uint8)
    session = begun(ImageDataset.from_images(pixels), config_for(tmp_path))
    measured = session.monitor.quality
    assert set(measured.indices) == set(session.run.batches.held_out)
    assert measured.against == "100 held-out images"


def test_kid_is_that_of_the_images_that_are_learned_from_where_too_few_are_held_out(many, tmp_path):
    session = begun(many, config_for(tmp_path))
    measured = session.monitor.quality
    assert set(measured.indices) == set(session.run.batches.shown)
    assert measured.against == "468 images that it learns from"


def test_without_the_packages_kid_is_left_out_and_a_line_says_so(noise_images, looks, tmp_path, monkeypatch):
    def missing(device: torch.device) -> Extractor:
        raise InputError("A network is needed that is not installed: pip install it.")

    monkeypatch.setattr(quality, "efficientnet_lite0", missing)
    last = finish(noise_images, config_for(tmp_path, measure_kimg=0.01)).last
    said = "KID is not measured in this run. A network is needed that is not installed: pip install it."
    assert happened(last) == (said,)
    assert last.images == 60
    with pytest.raises(InputError, match="pip install it"):
        finish(noise_images, config_for(tmp_path / "patient", patience_kimg=1))


def test_kid_measured_by_the_clock_costs_little_of_the_time(many):
    meter = quality.Quality(many, np.arange(10), False, torch.device("cpu"), None)
    assert not meter.is_due(0, 10**9), "the run has only begun"
    meter.ended -= 1000.0
    meter.cost = 8.0
    assert meter.is_due(0, 10)
    meter.cost = 12.0
    assert not meter.is_due(0, 10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"on_trouble": "panic"}, "on_trouble must be one of stop, rollback, ignore (got 'panic')."),
        ({"measure_kimg": 0}, "measure_kimg must be a number greater than 0, in thousands of images (got 0)."),
        ({"patience_kimg": -1}, "patience_kimg must be a number greater than 0, in thousands of images (got -1)."),
        (
            {"patience_kimg": 5, "preset": "conv_vae"},
            "conv_vae trains a VAE, which has no setting patience_kimg: leave it unset.",
        ),
        (
            {"patience_kimg": float("nan")},
            "patience_kimg must be a number greater than 0, in thousands of images (got nan).",
        ),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_sentences(noise_images, tmp_path, changes, told):
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        finish(noise_images, config_for(tmp_path, **changes))
