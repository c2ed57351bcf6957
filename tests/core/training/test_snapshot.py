"""What a person is told of a run: while it runs, by its folder afterwards, and when it was asked for something."""

import json
import math
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import finish, steps_of

from gan_core import InputError, TrainConfig, train
from gan_core.errors import TrainingDiverged
from gan_core.locks import own
from gan_core.training import checkpoint, history, snapshot
from gan_core.training.history import Record
from gan_core.training.methods import METHODS
from gan_core.training.monitor.verdict import Verdict, health
from gan_core.training.snapshot import Snapshot

BATCH = 4


def config_for(folder: Path, steps: float = 4, **changes) -> TrainConfig:
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, **changes}
    return TrainConfig.of(folder, **settings)


# What it tells.


@pytest.mark.parametrize("preset", ["dcgan_small", "conv_vae"])
def test_a_finished_run_tells_the_same_from_its_folder(noise_images, tmp_path, preset):
    training, last = finish(noise_images, config_for(tmp_path / "faces", preset=preset, title="My faces"))
    told = snapshot.of_folder(tmp_path / "faces")
    assert (told.run, told.title, told.state, told.images) == ("faces", "My faces", "finished", 4 * BATCH)
    assert told.fraction == last.fraction == 1 and told.seconds_left is None
    assert told.records == len(training.history) == len(snapshot.history_of(tmp_path / "faces"))
    assert told.record == {"images": 4 * BATCH, "values": dict(training.history[-1].values)}
    assert told.sheets == (4 * BATCH,)
    assert json.loads(json.dumps(told.as_json())) == json.loads((tmp_path / "faces" / snapshot.FILE).read_text()) | {
        "sheets": [4 * BATCH]
    }


def test_nothing_is_told_before_the_first_step_and_then_it_runs(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path), "cpu")) as training:
        assert training.snapshot() is None
        next(training), next(training)
        told = training.snapshot()
        assert (told.state, told.images) == ("running", BATCH) and told.seconds_left > 0
    told = snapshot.of_folder(tmp_path)
    assert (told.state, told.images, told.seconds_left) == ("stopped", BATCH, None)


def test_a_run_whose_process_was_killed_was_stopped(noise_images, tmp_path):
    steps_of(noise_images, config_for(tmp_path), 2)
    path = tmp_path / snapshot.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    assert snapshot.of_folder(tmp_path).state == "stopped"
    with own(tmp_path):
        assert snapshot.of_folder(tmp_path).state == "running"


def test_a_run_that_diverged_says_why(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, 40, learning_rate=0.001), "cpu")) as training:
        for _ in range(3):
            next(training)
        training.save()
        next(training)
        next(training.run.method.networks["generator"].module.parameters()).data.fill_(math.nan)
        with pytest.raises(TrainingDiverged) as error:
            list(training)
    told = snapshot.of_folder(tmp_path)
    assert (told.state, told.trouble) == ("diverged", str(error.value))


def test_a_run_from_before_there_were_snapshots_is_known_by_its_checkpoint(noise_images, tmp_path):
    training, _ = finish(noise_images, config_for(tmp_path, preset="conv_vae"))
    (tmp_path / snapshot.FILE).unlink()
    told = snapshot.of_folder(tmp_path)
    assert (told.state, told.images, told.preset) == ("stopped", 4 * BATCH, "conv_vae")
    assert [chart["axis"] for chart in told.charts] == list(training.charts)


def test_a_folder_without_a_run_is_refused(tmp_path):
    assert not snapshot.is_run(tmp_path) and snapshot.history_of(tmp_path) == []
    with pytest.raises(InputError, match="There is no run"):
        snapshot.of_folder(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_damaged_snapshot_never_breaks_what_reads_it(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    whole = Snapshot("a", "a", "digits", "stopped", 8, 0.5, 1.0, None, "", (), None, (), 0, 0, None, ()).as_json()
    name = data.draw(st.sampled_from(sorted(whole)))
    (folder / snapshot.FILE).write_text(json.dumps(whole | {name: data.draw(JSON)}))
    try:
        told = snapshot.of_folder(folder)
    except InputError:
        return  # as there is no checkpoint either
    assert json.loads(json.dumps(told.as_json(), allow_nan=False))


@pytest.mark.parametrize("method", METHODS.values())
def test_every_value_of_a_chart_has_a_meaning(method):
    assert method.meanings.keys() == {name for labels in method.charts.values() for name in labels}
    assert all(meaning.endswith(".") for meaning in method.meanings.values())


def test_health_is_a_word_and_a_sentence():
    looked = {"diversity": 0.8, "distance": 0.1}
    assert health([], None) is None and health([Record(50_000, {})], None) is None
    assert health([Record(4000, looked)], None).word == "early"
    assert health([Record(24_000, looked)], None).word == "healthy"
    assert "80%" in health([Record(24_000, looked)], None).sentence
    found = Verdict("collapse", "Mode collapse: all is one.")
    assert health([Record(24_000, looked)], found) == health([], found)
    assert health([], found).word == "collapse"


# What it is asked for.


def test_a_run_that_is_asked_to_finish_ends_as_at_its_budget(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, 1000), "cpu")) as training:
        next(training)
        last = next(training)
        training.finish()
        assert list(training) == [] and training.generator.card.training["kimg"] == BATCH / 1000
    told = snapshot.of_folder(tmp_path)
    assert (told.state, told.trouble) == ("finished early", "")
    assert checkpoint.state_of(tmp_path)["images"] == last.images


def test_a_run_that_is_asked_to_finish_at_once_takes_one_step(noise_images, tmp_path):
    training = train(noise_images, config_for(tmp_path, 1000), "cpu")
    training.finish()
    assert [progress.images for progress in training] == [0, BATCH]


def test_a_run_that_finished_early_is_resumed_to_the_bit(noise_images, tmp_path):
    whole, _ = finish(noise_images, config_for(tmp_path / "whole", 6))
    with closing(train(noise_images, config_for(tmp_path / "parts", 6), "cpu")) as training:
        next(training), next(training)
        training.finish()
        list(training)
    parts, _ = finish(noise_images, config_for(tmp_path / "parts", 6, resume=True))
    assert [record.values for record in parts.history] == [record.values for record in whole.history]


def test_a_checkpoint_is_written_when_asked_for_also_in_a_pause(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, 1000), "cpu")) as training:
        next(training), next(training)
        training.save()
        next(training)
        assert checkpoint.state_of(tmp_path)["images"] == 2 * BATCH
        next(training)
        assert checkpoint.state_of(tmp_path)["images"] == 2 * BATCH
        training.save()
        training.wait(0)
        assert checkpoint.state_of(tmp_path)["images"] == 3 * BATCH


def test_a_pause_counts_neither_for_the_minutes_nor_for_the_speed(noise_images, tmp_path):
    with closing(train(noise_images, config_for(tmp_path, kimg=None, minutes=10), "cpu")) as training:
        next(training), next(training)
        training.run.started -= 300  # as if five minutes had passed
        before = training.run.seconds_left
        training.run.discount(120)
        assert training.run.seconds_left == pytest.approx(before + 120, abs=5)


# Charts.


def test_points_are_means_of_records_and_nothing_rare_is_lost():
    records = [Record(8 * (i + 1), {"loss": float(i), **({"kid": 3.0} if i == 7000 else {})}) for i in range(10_000)]
    points = history.series(records, 2000)
    assert len(points.images) == 2000 and points.images[-1] == 80_000
    assert points.values["loss"][:2] == [2.0, 7.0]
    assert [value for value in points.values["kid"] if value is not None] == [3.0]


def test_few_records_are_points_as_they_are_and_broken_numbers_are_left_out():
    points = history.series([Record(8, {"loss": math.nan}), Record(16, {"loss": 1.5, "kid": math.inf})])
    assert (points.images, points.values) == ([8, 16], {"loss": [None, 1.5], "kid": [None, None]})
    assert history.series([]).images == []


def test_a_table_is_read_as_it_was_written_and_rows_that_are_not_whole_are_left_out(tmp_path):
    records = [Record(8, {"loss": 0.25}), Record(16, {"loss": -1.5, "kid": 3.0})]
    history.write_csv(records, tmp_path / "history.csv")
    with (tmp_path / "history.csv").open("a") as file:
        file.write("24\nx,1,2\n,,\n32,abc,1\n")
    assert history.read_csv(tmp_path / "history.csv") == [*records, Record(24, {})]


# KID.


def measured(images: int, kid: float | None, diversity: float = 0.8) -> Record:
    values = {"diversity": diversity, "distance": 0.05}
    return Record(images, values if kid is None else {**values, "kid": kid})


def test_a_history_without_kid_has_none():
    assert snapshot.kid_of([]) is None
    assert snapshot.kid_of([measured(8, None), measured(16, math.nan)]) is None


def test_the_latest_kid_says_when_and_the_best_is_one_that_counts():
    grey = measured(1_000, 0.01, diversity=0.0)
    history = [grey, measured(5_000, 0.3), measured(9_000, 0.2), measured(12_000, 0.4), measured(15_000, None)]
    assert snapshot.kid_of(history) == {
        "latest": {"value": 0.4, "images": 12_000},
        "best": {"value": 0.2, "images": 9_000},
    }
    assert snapshot.kid_of([grey]) == {"latest": {"value": 0.01, "images": 1_000}, "best": None}
