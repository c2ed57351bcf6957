"""When things fall due in a run: records, checkpoints and its end, by images and by a clock that tests set."""

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import begun as begun_with

from gan_core import ImageDataset, TrainConfig, TrainingDiverged, train
from gan_core.training import loop, run_files
from gan_core.training import presets as recipes
from gan_core.training import run as runs
from gan_core.training.batches import Batches
from gan_core.training.checkpoint import Checkpoint
from gan_core.training.loop import Session
from gan_core.training.methods.method import StepResult
from gan_core.training.run import Run
from gan_core.training.run_files import RunFiles
from gan_core.training.settings import AdversarialRecipe, VariationalRecipe
from gan_core.training.streams import Stream

BATCH = 4
TINY = AdversarialRecipe("dcgan", {"width": 2, "latent_size": 2}, batch_size=BATCH)
TINY_VAE = VariationalRecipe("conv_vae", {"width": 2, "latent_size": 2}, batch_size=BATCH, betas=(0.9, 0.999))


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """What runs see in place of the time."""
    clock = Clock()
    for module in (runs, run_files, loop):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _presets(monkeypatch) -> Iterator[None]:
    for name, recipe in {
        "trial": TINY,
        "five": replace(TINY, objective="wgan"),
        "small_vae": TINY_VAE,
    }.items():
        monkeypatch.setitem(recipes.PRESETS, name, recipe)
    return


def config_for(folder: Path, **changes) -> TrainConfig:
    return TrainConfig.of(folder / "run", **{"preset": "trial", "kimg": 1.0, "precision": "fp32", **changes})


def begun(dataset: ImageDataset, folder: Path, **changes) -> Session:
    return begun_with(dataset, config_for(folder, **changes))


def run_of(dataset: ImageDataset, folder: Path, **changes) -> Run:
    return begun(dataset, folder, **changes).run


def noise(count: int, side: int = 16) -> ImageDataset:
    pixels = np.random.RandomState(0).randint(0, 256, (count, side, side, 1), np.uint8)
    return ImageDataset.from_images(pixels, name="noise")


# The clock.


def test_a_budget_of_minutes_is_that_of_the_clock(noise_images, tmp_path, clock):
    run = run_of(noise_images, tmp_path, kimg=None, minutes=2.0)
    assert (run.fraction, run.finished) == (0, False)
    clock.seconds += 30
    assert run.fraction == pytest.approx(0.25)
    clock.seconds += 89.9
    assert not run.finished
    clock.seconds += 0.2
    assert run.finished and run.fraction == 1


def test_of_two_budgets_the_nearer_to_its_end_counts(noise_images, tmp_path, clock):
    run = run_of(noise_images, tmp_path, kimg=0.1, minutes=2.0)
    clock.seconds += 30
    run.images = 10
    assert run.fraction == pytest.approx(0.25)
    run.images = 60
    assert run.fraction == pytest.approx(0.6)
    run.images = 99
    assert not run.finished
    run.images = 100
    assert run.finished


def test_the_minutes_begin_when_the_first_step_does_and_anew_when_a_run_is_resumed(noise_images, tmp_path, clock):
    def images_of(resume: bool) -> list[int]:
        seen = []
        config = config_for(tmp_path, kimg=None, minutes=1.0, resume=resume)
        for progress in train(noise_images, config, "cpu"):
            seen.append(progress.images)
            clock.seconds += 25  # the first 25 seconds pass before the first step
        return seen

    assert images_of(resume=False) == [0, 4, 8, 12]
    clock.seconds += 1e6
    assert images_of(resume=True) == [12, 16, 20, 24]


def test_images_per_second_are_those_of_this_start(noise_images, tmp_path, clock):
    with closing(train(noise_images, config_for(tmp_path), "cpu")) as steps:
        for _ in range(3):
            next(steps)
    clock.seconds += 500
    with closing(train(noise_images, config_for(tmp_path, resume=True), "cpu")) as steps:
        assert next(steps).images_per_second == 0
        clock.seconds += 7  # before it begins
        next(steps)
        clock.seconds += 2
        assert next(steps).images_per_second == pytest.approx(2 * BATCH / 2)


def test_a_checkpoint_is_written_when_five_seconds_have_passed_and_then_each_minute(
    noise_images, tmp_path, clock, monkeypatch
):
    written = []
    keep = RunFiles.keep

    def noted(files: RunFiles, *contents: Any) -> None:
        written.append((files.run.images, clock.seconds - 1000))
        keep(files, *contents)

    monkeypatch.setattr(RunFiles, "keep", noted)
    session = begun(noise_images, tmp_path)
    for seconds in (4.5, 0.5, 0.5, 59.5, 0.5, 0.5, 59.5, 0.5, 0.5, 70.0):
        clock.seconds += seconds
        session.advance()
    assert written == [(12, 5.5), (24, 66.0), (36, 126.5), (40, 196.5)]
    session.files.close()
    assert len(written) == 4, "nothing was learned since"
    session.advance()
    session.files.close()
    assert written[4:] == [(44, 196.5)]


# Records.


def test_there_is_a_record_after_each_of_the_first_steps_then_after_every_eighth(noise_images, tmp_path):
    session = begun(noise_images, tmp_path)
    run, seen = session.run, []
    for step in range(1, 25):
        session.advance()
        seen += [step] * (len(run.history) - len(seen))
    assert seen == [*range(1, 8), 8, 16, 24]
    assert [record.images for record in run.history] == [BATCH * step for step in seen]


def test_there_is_one_whatever_the_step_where_4000_images_are_passed(noise_images, tmp_path):
    session = begun(noise_images, tmp_path, kimg=10.0)
    run = session.run
    run.steps, run.images = 17, 3992
    for images, records in ((3996, 0), (4000, 1), (4004, 1), (4008, 1)):
        session.advance()
        assert (run.images, len(run.history)) == (images, records)


@pytest.mark.parametrize(("images", "due"), [(4000, True), (4003, True), (4004, False), (3999, False), (8000, True)])
def test_a_diagnosis_falls_due_with_the_step_that_reaches_a_multiple(noise_images, tmp_path, images, due):
    run = run_of(noise_images, tmp_path)
    run.images = images
    assert runs.DIAGNOSED_EVERY == 4000
    assert run.diagnosis_is_due is due


def test_a_step_of_five_batches_reaches_what_lies_in_any_of_them(noise_images, tmp_path):
    run = run_of(noise_images, tmp_path, preset="five")
    for run.images, due in ((4000, True), (4019, True), (4020, False)):
        assert run.diagnosis_is_due is due


def test_a_record_is_the_mean_of_all_steps_since_the_one_before(noise_images, tmp_path):
    session = begun(noise_images, tmp_path)
    run = session.run
    run.steps = 8
    told = []
    step = run.method.step

    def noted(*given: Any) -> StepResult:
        result = step(*given)
        told.append(result.values)
        return result

    run.method.step = noted
    for _ in range(8):
        session.advance()
    assert len(told) == 8
    (record,) = run.history
    for name, value in record.values.items():
        assert value == pytest.approx(float(torch.stack([values[name] for values in told]).mean()), rel=1e-5), name


@pytest.mark.parametrize(
    ("preset", "worst", "pixels"), [("trial", "discriminator_loss", 1), ("small_vae", "reconstruction", 256)]
)
def test_beyond_ten_thousand_a_loss_has_exploded(noise_images, tmp_path, preset, worst, pixels):
    """In nats of an image a loss may be so many times larger as it has pixels."""
    run = run_of(noise_images, tmp_path, preset=preset)
    for value, healthy in ((1e4 * pixels, True), (-1e4 * pixels, True), (1.001e4 * pixels, False), (math.inf, False)):
        run.pending.add([worst, "real_sign"], torch.tensor([value, 1e9]))
        if healthy:
            run.record({})
            assert not run.diverged
            continue
        with pytest.raises(TrainingDiverged, match="loss is"):
            run.record({})
        assert run.diverged


def test_the_loss_that_is_named_is_the_worst(noise_images, tmp_path):
    run = run_of(noise_images, tmp_path)
    for losses, named in (((2e4, 3e4), "generator's loss is 3e"), ((2e4, math.nan), "generator's loss is nan")):
        run.pending.add(["discriminator_loss", "generator_loss"], torch.tensor(losses))
        with pytest.raises(TrainingDiverged, match=named):
            run.record({})


def test_a_diverged_run_is_told_a_quarter_of_its_learning_rate(noise_images, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"with a lower learning rate, such as 0\.0005, or another"):
        raise run_of(noise_images, tmp_path, learning_rate=2e-3).divergence("it was told to")


# What is held out.


@pytest.mark.parametrize(
    ("count", "batch", "held_out"),
    [
        (499, 4, 0),
        (500, 4, 50),
        (509, 4, 50),
        (510, 4, 51),
        (500, 450, 50),  # just a batch is left
        (500, 451, 0),
        (500, 480, 0),
        (5400, 4, 500),  # no more than so many
    ],
)
def test_one_image_in_ten_of_a_gan_is_held_out_where_a_batch_is_left(tmp_path, count, batch, held_out):
    batches = run_of(noise(count), tmp_path, batch_size=batch).batches
    assert (len(batches.held_out), len(batches.shown)) == (held_out, count - held_out)
    assert set(batches.held_out) | set(batches.shown) == set(range(count))
    assert list(batches.held_out) == sorted(batches.held_out) and list(batches.shown) == sorted(batches.shown)


@pytest.mark.parametrize(("count", "held_out"), [(49, 0), (50, 5), (59, 5), (60, 6)])
def test_of_a_vae_s_images_fewer_are_enough(tmp_path, count, held_out):
    batches = run_of(noise(count), tmp_path, preset="small_vae").batches
    assert (len(batches.held_out), len(batches.shown)) == (held_out, count - held_out)


def test_which_images_are_held_out_hangs_on_the_seed(tmp_path):
    first, again, other = (run_of(noise(500), tmp_path, seed=seed).batches.held_out.tolist() for seed in (1, 1, 2))
    assert first == again != other
    order = np.random.default_rng([1, 3]).permutation(500)
    assert first == sorted(order[:50].tolist()), "a resumed run must find the same ones"


def test_a_resumed_run_holds_out_as_many_as_its_checkpoint_says_and_leaves_a_batch(tmp_path):
    def parts(run: Run, **state: int) -> list[int]:
        held_out = run._held_out(Checkpoint(state, {}))
        batches = Batches(run.dataset, run.recipe.batch_size, held_out, run.streams, run.world)
        return [len(batches.shown), len(batches.held_out)]

    run = run_of(noise(500), tmp_path)
    for said, batch, held_out in ((7, 4, 7), (50, 470, 30), (600, 500, 0)):
        run.method.recipe = replace(run.recipe, batch_size=batch)
        assert parts(run, held_out=said) == [500 - held_out, held_out]
    assert parts(run) == [500, 0], "from before images were held out"
    vae = run_of(noise(60), tmp_path, preset="small_vae")
    assert parts(vae) == [54, 6], "those of VAEs always were"


# The order of the images, and the streams.


def test_every_epoch_has_an_order_of_its_own_and_a_batch_may_lie_in_two(tmp_path):
    batches = run_of(noise(10), tmp_path).batches
    orders = [np.random.default_rng([0, 1, epoch]).permutation(10) for epoch in range(3)]
    assert batches.indices(0, 10).tolist() == orders[0].tolist()
    assert batches.indices(8, 4).tolist() == [*orders[0][8:], *orders[1][:2]]
    assert batches.indices(5, 20).tolist() == [*orders[0][5:], *orders[1], *orders[2][:5]]
    assert batches.indices(3, 2).tolist() == orders[0][3:5].tolist(), "and back again"


def test_every_purpose_step_and_batch_has_a_stream_of_its_own(tmp_path):
    run = run_of(noise(10), tmp_path)
    streams = run.streams
    ((_, context),) = run.shown()
    steps = [replace(context, step=step, substep=substep) for step, substep in itertools.product(range(3), range(3))]
    assert len({each.moment for each in steps}) == 9
    assert len(Stream) == 12
    drawn = {tuple(each.numpy(purpose).random(2)) for purpose in Stream for each in steps}
    assert len(drawn) == 12 * 9
    assert {tuple(streams.numpy(purpose, *each.moment).random(2)) for purpose in Stream for each in steps} == drawn
    assert [each.torch(Stream.NETWORK).initial_seed() for each in steps] == [
        int(np.random.default_rng([0, 6, *each.moment]).integers(2**63)) for each in steps
    ]


def test_seeds_are_streams_of_their_own(tmp_path):
    runs_of_seeds = [run_of(noise(10), tmp_path, seed=seed) for seed in (0, 1)]
    draws = [context.noise(4, 2) for run in runs_of_seeds for _, context in run.shown()]
    assert not torch.equal(*draws)
    expected = np.random.default_rng([1, 0, 0]).standard_normal((4, 2), np.float32)
    assert draws[1].tolist() == expected.tolist()


def test_the_images_of_a_sheet_are_of_one_class_after_the_other(labelled_images, tmp_path):
    assert run_of(labelled_images, tmp_path).sample_labels == [i % 3 for i in range(64)]
    assert run_of(noise(10), tmp_path).sample_labels is None
