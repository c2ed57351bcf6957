"""Several processes make the run that one would make, and end as one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_processes
from command_line import run
from safetensors.torch import load_file
from torch import nn
from training_runs import Trained
from two_processes import ALIKE, BATCH, DIAGNOSED, STEPS, config, features, finished, normalised, state_of

from gan_core import InputError
from gan_core.training import checkpoint
from gan_core.training.distributed import WholeBatchNorm, World, joined, own_device

CLOSE = {"rtol": 2e-3, "atol": 2e-5}
"""How far weights of one process and of two may be apart after some steps. Adam makes a step of full length of a
gradient of any size, so one that rounding makes from 0 can move a weight by as much as the learning rate."""

ODD_ONES = 0.002
"""The share of weights for which it may."""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes left what they found."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, two_processes.__file__, str(folder)]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            command,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Trained]]:
    """Each of the trainings in one process: its folder, and how it ended."""

    @cache
    def trained(name: str) -> tuple[Path, Trained]:
        folder = tmp_path_factory.mktemp("alone") / "run"
        return folder, finished(config(folder, **ALIKE[name]))

    return trained


def found(folder: Path, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"found{rank}.json").read_text())


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    apart = {name: ~first[name].isclose(second[name], **CLOSE) for name in first}
    odd, weights = sum(int(a.sum()) for a in apart.values()), sum(a.numel() for a in apart.values())
    assert odd <= ODD_ONES * weights, {name: f"{int(a.sum())} of {a.numel()}" for name, a in apart.items() if a.any()}


def learned(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / checkpoint.FILE)
    return {name: tensor for name, tensor in tensors.items() if name != "history" and "_optimizer" not in name}


@pytest.mark.parametrize("name", [*ALIKE, "styles", "rolled back", "resumed"])
def test_gradients_and_weights_are_the_same_in_both_processes_bit_for_bit(together, name):
    first, second = (load_file(together / f"{name}.{rank}.safetensors") for rank in range(2))
    assert any(key.endswith(".grad") for key in first)
    assert first.keys() == second.keys()
    assert [key for key in first if not first[key].equal(second[key])] == []


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_reach_the_weights_of_one(together, alone, name):
    assert_close(learned(together / name), learned(alone(name)[0]))


@pytest.mark.parametrize("name", ALIKE)
def test_records_are_of_the_images_of_both_processes(together, alone, name):
    one = alone(name)[1].training
    for rank in range(2):
        history = found(together, rank)[name]["history"]
        assert [images for images, _ in history] == [record.images for record in one.history]
        for (_, values), record in zip(history, one.history, strict=True):
            assert values == pytest.approx(record.values, rel=0.01, abs=1e-4)
    states = [found(together, rank)[name]["state"] for rank in range(2)]
    assert states[0] == states[1]
    assert states[0].get("ada") == state_of(one.run).get("ada")
    assert states[0].get("logit_means", []) == pytest.approx(state_of(one.run).get("logit_means", []), rel=1e-3)


def test_a_run_goes_on_in_fewer_and_in_more_processes(together, tmp_path):
    finished(config(tmp_path / "alone", steps=6))
    assert_close(learned(together / "resumed"), learned(tmp_path / "alone"))


def test_both_processes_answer_trouble_alike(together, tmp_path):
    with two_processes.patched():
        alone, last = finished(config(tmp_path / "alone", steps=100, on_trouble="rollback"), count=DIAGNOSED)
    assert last.images == 2 * BATCH, "it ends at its last healthy state"
    assert alone.run.standing.rollbacks == 3
    for rank in range(2):
        told = found(together, rank)["rolled back"]
        assert told["state"] == state_of(alone.run)
        assert [images for images, _ in told["history"]] == [record.images for record in alone.history]
        assert told["history"][-1][1].keys() == alone.history[-1].values.keys() >= {"held_out_score", "diversity"}
    assert_close(learned(together / "rolled back"), learned(tmp_path / "alone"))


def test_batch_norm_counts_the_images_of_both_processes(together):
    norms = nn.Sequential(nn.BatchNorm2d(3))
    alone = normalised(norms, features(0, 1))
    both = [load_file(together / f"norm.{rank}.safetensors") for rank in range(2)]
    for name, expected in alone.items():
        if name == "y":
            given = torch.cat([each[name] for each in both])
        elif name == "x.grad":  # of the sum of both processes' means, each of which counts half the images
            given = torch.cat([each[name] for each in both]) / 2
        else:
            given = both[0][name] if "grad" not in name else (both[0][name] + both[1][name]) / 2
        # Around a mean of 100 a float32 knows no more than this.
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=3e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_a_norm_of_all_processes_is_an_ordinary_one_where_it_does_not_train():
    norm = nn.BatchNorm2d(3)
    normalised(norm, features(0, 1))
    assert WholeBatchNorm(norm.eval(), World(size=2))(features(0, 1)).equal(norm(features(0, 1)))


def test_only_the_main_process_writes(together):
    assert not (together / "elsewhere").exists()


def test_what_cannot_be_shared_evenly_is_refused(together):
    for rank in range(2):
        assert found(together, rank)["batch"] == (
            "A batch of 5 images cannot be shared evenly among 2 processes: choose a batch size such as 4, or another "
            "number of processes."
        )


@pytest.mark.parametrize(("name", "what"), [("data", "images"), ("seed", "settings")])
def test_processes_that_begin_differently_are_refused(together, name, what):
    for rank in range(2):
        assert found(together, rank)[name].startswith(f"Processes 0 and 1 of 2 have not the same {what}: ")


def test_the_clock_of_the_main_process_ends_both(together):
    assert found(together, 0)["clock"] == found(together, 1)["clock"] > 0


def test_an_interrupt_of_one_stops_both_after_the_same_step_and_keeps_what_was_learned(together):
    for rank in range(2):
        assert found(together, rank)["interrupted"]
        assert found(together, rank)["stopped"] == 2 * BATCH
    kept = checkpoint.read(together / "stopped")
    assert kept is not None
    assert kept.state["images"] == 2 * BATCH


def test_the_end_of_one_process_is_noticed_and_keeps_what_was_learned(together):
    assert "has ended" in found(together, 0)["lost"]
    kept = checkpoint.read(together / "lost")
    assert kept is not None
    assert kept.state["images"] >= 2 * BATCH


def test_one_process_speaks_of_the_end(together):
    assert sorted(found(together, rank)["speaks"] for rank in range(2)) == [False, True]


# One process.


def test_a_process_that_nobody_launched_is_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some cluster may have set it for another purpose
    with joined() as world:
        assert (world.rank, world.size, world.is_main, world.speaks()) == (0, 1, True, True)


def test_a_process_that_is_not_the_main_one_is_silent_and_leaves_no_file(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("gan_core.cli.train.joined", lambda device: nullcontext(World(rank=1, device="cpu")))
    options = ["train", str(photos), "--out", str(tmp_path / "run"), "--size", "16", "--batch", "4", "--kimg", "0.008"]
    result = run(*options, "--preset", "dcgan_small")
    assert (result.exit_code, result.output) == (0, "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_a_device_that_not_every_process_can_have_is_refused(device):
    with pytest.raises(InputError, match="a GPU for each"):
        own_device(device, local_rank=0)


def test_too_few_gpus_are_refused():
    with pytest.raises(InputError, match="too few for process 100 of this machine"):
        own_device("cuda", local_rank=99)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_are_what_one_process_draws_for_all(size):
    whole = np.random.default_rng(5).random((2, 6)), np.random.default_rng(5).standard_normal((3, 6))
    for way, drawn in zip(("random", "standard_normal"), whole, strict=True):
        shares = [
            getattr(World(rank, size).shard_stream(np.random.default_rng(5)), way)((len(drawn), 6 // size))
            for rank in range(size)
        ]
        assert np.array_equal(np.concatenate(shares, axis=1), drawn)
        assert np.array_equal(np.concatenate([World(rank, size).shard(drawn.T) for rank in range(size)]), drawn.T)


@pytest.mark.parametrize(("batch", "size", "near"), [(5, 2, 4), (64, 3, 63), (2, 8, 8)])
def test_a_batch_size_is_named_that_can_be_shared(batch, size, near):
    with pytest.raises(InputError, match=f"such as {near},"):
        World(size=size).check_batch(batch)
    World(size=size).check_batch(near)


def test_the_steps_are_enough_for_ada_to_have_moved():
    assert STEPS >= 4
