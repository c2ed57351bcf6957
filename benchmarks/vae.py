"""Claims: within ten minutes on two CPU cores a VAE describes MNIST's digits in under 100 nats; and it trains twice as
fast as pythae trains the same network, to a bound that is no worse.

`python -m benchmarks.vae JOB` is our side of the second one, in a process of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import gan_core
from gan_core.architectures import conv_vae
from gan_core.metrics.likelihood import elbo, importance_weighted
from gan_core.training.presets import PRESETS
from gan_core.training.settings import VariationalRecipe

from . import reader
from .comfyui import ROOT
from .measure import Figures, ratio, spread

PRESET = "conv_vae"
MEASURED_AT = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the minutes."""

SAMPLES, SAMPLED_DIGITS = 500, 1_000
"""Draws for each of this many test digits, for the importance-weighted estimate."""

NATS_TARGET, RATIO_TARGET = 100.0, 2.0


def run(mnist: Path | None, minutes: float, peer: Path | None, rounds: int, epochs: int, threads: int) -> Figures:
    """mnist: a folder with MNIST's idx files, to train on. peer: a Python that has pythae, to compare with."""
    torch.set_num_threads(threads)
    figures: Figures = {}
    if peer is None:
        print("SKIPPED the comparison: give --peer, the Python of an environment with pythae.")
    else:
        figures["peer"] = _compared(peer, rounds, epochs, threads)
    if mnist is None:
        print("SKIPPED the training on MNIST: give --mnist, a folder with its files.")
    else:
        figures["mnist"] = _trained(reader.full_mnist(mnist), minutes)
    return figures


# Ten minutes of MNIST.


def _trained(data: reader.Digits, minutes: float) -> Figures:
    """Trains the preset for this many minutes, in which the measurements on test digits are not counted: they are taken
    between two steps. All that a person's training does is counted, its own checkpoints and measurements too."""
    dataset = gan_core.ImageDataset.from_images(data.train_images[..., None], name="mnist")
    test = data.test_images[..., None]
    measured: list[Figures] = []
    wall = cpu = 0.0
    with tempfile.TemporaryDirectory() as folder:
        config = gan_core.TrainConfig(Path(folder, "run"), PRESET, kimg=1e6)
        with gan_core.train(dataset, config, "cpu") as training:
            progress = next(training)
            for share in MEASURED_AT:
                while wall < 60 * minutes * share:
                    start, before = time.monotonic(), time.process_time()
                    progress = next(training)
                    wall += time.monotonic() - start
                    cpu += time.process_time() - before
                generator, kimg = training.generator, progress.images / 1000
                bound = elbo(generator, test)
                print(
                    f"{wall / 60:5.1f} minutes, {cpu:5.0f} CPU s, {kimg:7.1f} kimg: {bound.nats:6.2f} nats "
                    f"(reconstruction {bound.reconstruction:.2f}, KL {bound.kl:.2f}), "
                    f"{bound.active_units} of {bound.units} units active",
                    flush=True,
                )
                measured.append(
                    {"minutes": round(wall / 60, 2), "cpu_s": round(cpu), "kimg": kimg, "nats": round(bound.nats, 3)}
                )
    estimate, same = importance_weighted(generator, test[:SAMPLED_DIGITS], SAMPLES), bound.of_each[:SAMPLED_DIGITS]
    print(
        f"-log p by {SAMPLES} draws for each of the first {SAMPLED_DIGITS:,} test digits: {estimate.mean():.2f} nats, "
        f"where the bound is {same.mean():.2f}. "
        f"{1000 * kimg / wall:.0f} images/s, {1000 * kimg / cpu:.0f} per CPU second. "
        f"The aim is an ELBO under {NATS_TARGET:.0f} nats in 10 minutes of two cores"
    )
    return {
        "measured": measured,
        "nats": round(bound.nats, 3),
        "importance_weighted": round(float(estimate.mean()), 3),
        "nats_of_the_same": round(float(same.mean()), 3),
        "active_units": bound.active_units,
        "units": bound.units,
        "images_per_second": round(1000 * kimg / wall, 1),
        "images_per_cpu_second": round(1000 * kimg / cpu, 1),
        "cpu_s": round(cpu),
        "target": NATS_TARGET,
    }


# Against pythae.


def _compared(peer: Path, rounds: int, epochs: int, threads: int) -> Figures:
    """Trains the same network from the same initial weights, turn by turn, each time in a fresh process."""
    digits = reader.shipped_digits()
    test = digits.test_images[..., None]
    recipe = PRESETS[PRESET]
    programs = {"ours": [sys.executable, "-m", "benchmarks.vae"], "pythae": [str(peer), "-m", "benchmarks.vae_peer"]}
    seconds: dict[str, list[float]] = {"ours": [], "ours, its files": [], "pythae": []}
    bounds: dict[str, list[float]] = {"ours": [], "ours, last weights": [], "pythae": []}
    versions: dict[str, str] = {}
    images = epochs * len(digits.train_images)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "digits.npy")
        np.save(data, digits.train_images[..., None])
        for i in range(rounds):
            for name in list(programs)[:: -1 if i % 2 else 1]:
                job = {
                    "data": str(data),
                    "folder": str(Path(folder, f"{name}-{i}")),
                    "epochs": epochs,
                    "batch_size": recipe.batch_size,
                    "learning_rate": recipe.learning_rate,
                    "betas": recipe.betas,
                    "seed": i,
                    "threads": threads,
                }
                told = _run(programs[name], job)
                versions[name] = told["torch"]
                seconds[name].append(told["cpu_s"])
                if name == "ours":
                    seconds["ours, its files"].append(told["files_cpu_s"])
                for kind, file in told["weights"].items():
                    bounds[kind].append(elbo(_generator(load_file(file)), test).nats)
            print(
                f"round {i + 1}: CPU s for {images:,} digits: ours {seconds['ours'][-1]:.1f} (of which "
                f"{seconds['ours, its files'][-1]:.1f} for the files at the end), pythae {seconds['pythae'][-1]:.1f}; "
                + ", ".join(f"{kind} {values[-1]:.2f}" for kind, values in bounds.items())
                + " nats",
                flush=True,
            )
    steps = [whole - files for whole, files in zip(seconds["ours"], seconds["ours, its files"], strict=True)]
    whole, alone = ratio(seconds["pythae"], seconds["ours"]), ratio(seconds["pythae"], steps)
    rates = {name: [images / value for value in seconds[name]] for name in programs}
    for name, values in rates.items():
        print(f"{name:7} {spread(values)} images per CPU second, torch {versions[name]}")
    for kind, values in bounds.items():
        print(f"{kind:19} {spread(values)} nats on {len(test):,} digits that it has not seen")
    print(f"ours does {whole:.2f} times the images per CPU second ({alone:.2f} without its files); aim {RATIO_TARGET}")
    return {
        **{f"{name}_images_per_cpu_second": round(statistics.median(values), 1) for name, values in rates.items()},
        "ratio": round(whole, 3),
        "ratio_without_files": round(alone, 3),
        "nats": {kind: round(statistics.median(values), 3) for kind, values in bounds.items()},
        "target": RATIO_TARGET,
        "rounds": rounds,
        "epochs": epochs,
        "digits": len(digits.train_images),
        "peer_torch": versions["pythae"],
    }


def _run(program: list[str], job: Figures) -> dict:
    """The last line that the program prints, which is JSON."""
    threads = {name: str(job["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command, environment = [*program, json.dumps(job)], {**os.environ, **threads}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(program)} has failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def network(job: dict, side: int) -> conv_vae.ConvVAE:
    """The preset's network with the weights that both start from."""
    torch.manual_seed(job["seed"])
    return conv_vae.ConvVAE(_config(side))


def _config(side: int) -> conv_vae.ConvVAEConfig:
    return conv_vae.ConvVAEConfig(side, 1, **PRESETS[PRESET].network)


def _generator(weights: dict[str, Tensor]) -> gan_core.Generator:
    config = conv_vae.ARCHITECTURE.config_from({name: tuple(value.shape) for name, value in weights.items()})
    module = conv_vae.ConvVAE(config)
    module.load_state_dict(weights)
    return gan_core.Generator(
        conv_vae.ARCHITECTURE, config, module.eval().requires_grad_(False), gan_core.Card(title="digits")
    )


class _WithoutWarmUp(gan_core.TrainConfig):
    """pythae's KL divergence weighs the same from the first step on."""

    @property
    def recipe(self) -> VariationalRecipe:
        recipe = super().recipe
        assert isinstance(recipe, VariationalRecipe)
        return replace(recipe, warm_up_kimg=0.0)


def _ours(job: dict) -> Figures:
    torch.set_num_threads(job["threads"])
    dataset = gan_core.ImageDataset.from_images(np.load(job["data"]), name="digits")
    folder = Path(job["folder"])
    config = _WithoutWarmUp(folder, PRESET, kimg=job["epochs"] * len(dataset) / 1000, seed=job["seed"])
    # The first optimizer of a process loads much of torch: pythae's settings make one before the training begins.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    start = time.process_time()
    training = gan_core.train(dataset, config, "cpu")
    next(training)
    run = training.run
    while not run.finished:
        next(training)
    learned = time.process_time()
    training.close()  # writes the last checkpoint
    end = time.process_time()
    return {
        "cpu_s": end - start,
        "files_cpu_s": end - learned,
        "torch": torch.__version__,
        "weights": {
            "ours": kept(run.ema["generator"], folder / "average.safetensors"),
            "ours, last weights": kept(run.method.generator, folder / "last.safetensors"),
        },
    }


def kept(module: nn.Module, path: Path) -> str:
    """Writes the module's weights. Returns the path."""
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
    return str(path)


if __name__ == "__main__":
    print(json.dumps(_ours(json.loads(sys.argv[1]))))
