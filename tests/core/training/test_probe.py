"""A look at the data chooses the preset, says why, and a run keeps what was chosen."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import finish, steps_of

from gan_core import ImageDataset, InputError, TrainConfig, load
from gan_core.data.duplicates import MAX_COMPARED
from gan_core.training import checkpoint
from gan_core.training.presets import AUTO, GAN_PRESETS, PRESETS
from gan_core.training.probe import Probe, _wanted, choose, probe, settled
from gan_core.training.settings import AdversarialRecipe

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BATCH = 4
DATA = Probe(10_000, 64, 64, 3, 0, 5000, 0)


def noise(count: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, *(shape or (16, 16, 3))), np.uint8)


def config_for(folder: Path, steps: int = 2, **changes) -> TrainConfig:
    settings = {"preset": AUTO, "batch_size": BATCH, "kimg": steps * BATCH / 1000, **changes}
    return TrainConfig.of(folder / "run", **settings)


# What is seen of the data.


def test_a_probe_says_what_there_is_to_learn_from(labelled_images):
    assert probe(labelled_images) == Probe(24, 16, 16, 3, 3, 24, 0)
    wide = ImageDataset.from_images(noise(7, 16, 24, 1), (16, 24))
    assert probe(wide) == Probe(7, 16, 24, 1, 0, 7, 0)


# What is chosen.


@given(
    count=st.integers(1, 10**6),
    size=st.sampled_from([(16, 16), (28, 28), (32, 32), (64, 96), (96, 64), (128, 128)]),
    channels=st.sampled_from([1, 3, 4]),
    classes=st.sampled_from([0, 10]),
    duplicates=st.floats(0, 0.99),
    device=st.sampled_from([CPU, GPU]),
)
def test_whatever_the_data_the_preset_is_a_gan_that_can_learn_them_and_the_sentence_names_both(
    count, size, channels, classes, duplicates, device
):
    looked = min(count, MAX_COMPARED)
    found = Probe(count, *size, channels, classes, looked, int(duplicates * looked))
    name, reason = choose(found, device)
    assert name in GAN_PRESETS
    assert reason.startswith(f"The preset is {name}, for {found.different:,} different images of {size[1]}x{size[0]}x")
    assert ("on a GPU: " in reason) == (device is GPU)


@pytest.mark.parametrize(
    ("changes", "device", "expected"),
    [
        ({"count": 300}, CPU, "few"),
        ({"count": 300}, GPU, "fastgan"),
        ({"count": 300, "height": 16, "width": 16}, GPU, "few"),
        ({"count": 5000}, CPU, "few"),
        ({"count": 5000}, GPU, "stylegan2"),
        ({"count": 50_000}, CPU, "dcgan_small"),
        ({"count": 50_000}, GPU, "r3gan"),
        ({"count": 50_000, "height": 32, "width": 32}, GPU, "r3gan"),
        ({"count": 300, "height": 256, "width": 256}, CPU, "fastgan_small"),
        ({"count": 50_000, "height": 256, "width": 256}, CPU, "r3gan_small"),
        ({"count": 50_000, "height": 28, "width": 28, "channels": 1}, CPU, "digits"),
        ({"count": 50_000, "height": 28, "width": 28, "channels": 1}, GPU, "dcgan"),
    ],
    ids=str,
)
def test_count_size_colours_and_device_decide(changes, device, expected):
    assert choose(replace(DATA, **changes), device)[0] == expected


def test_copies_do_not_count_as_images():
    assert choose(replace(DATA, count=5000, duplicates=4500), CPU)[0] == "few"


def test_a_preset_that_there_is_not_or_that_cannot_learn_the_size_is_passed_over(monkeypatch):
    def with_r3gan(**recipe: AdversarialRecipe) -> str:
        others = {name: preset for name, preset in GAN_PRESETS.items() if name != "r3gan"}
        monkeypatch.setattr("gan_core.training.probe.GAN_PRESETS", {**others, **recipe})
        return choose(DATA, GPU)[0]

    assert with_r3gan(r3gan=AdversarialRecipe("dcgan")) == "r3gan"
    assert with_r3gan(r3gan=AdversarialRecipe("stylegan2", {"base": 64, "latent_size": -1})) == "dcgan"
    assert with_r3gan() == "dcgan"


def test_a_size_that_no_network_learns_is_a_sentence():
    with pytest.raises(
        InputError,
        match=r"The image size must have sides of at least 8 pixels, multiples of \d+, at most \d+ \(got 25x25\)",
    ):
        choose(replace(DATA, height=25, width=25), CPU)


# A run that was chosen for.


def test_a_run_with_auto_says_what_it_chose_and_warns_of_copies(tmp_path):
    pixels = noise(12)
    pixels[1] = pixels[0]
    last = finish(ImageDataset.from_images(pixels), config_for(tmp_path)).last
    assert len(last.remarks) == 3
    assert last.remarks[0].startswith("The preset is few, for 11 different images of 16x16x3 on a CPU: ")
    assert last.remarks[1].startswith("There are only 11 different images")
    assert last.remarks[2].startswith("Duplicates: 1 exact among 12 images.")
    assert load(tmp_path / "run" / "generator.safetensors").card.training["preset"] == "few"


def test_auto_learns_the_same_weights_as_the_preset_that_it_chooses(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "auto"))
    finish(noise_images, config_for(tmp_path / "few", preset="few"))
    first, second = (load_file(tmp_path / name / "run" / "checkpoint.safetensors") for name in ("auto", "few"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_run_that_is_resumed_keeps_its_preset_though_the_data_ask_for_another(tmp_path):
    finish(ImageDataset.from_images(noise(12)), config_for(tmp_path, preset="dcgan_small"))
    last = finish(ImageDataset.from_images(noise(12)), config_for(tmp_path, steps=4, resume=True)).last
    assert last.remarks == ("The preset is dcgan_small, with which the run began.",)
    assert last.images == 4 * BATCH


def test_a_run_with_auto_that_was_stopped_reaches_the_same_weights(noise_images, tmp_path):
    finish(noise_images, config_for(tmp_path / "straight", steps=4))
    steps_of(noise_images, config_for(tmp_path / "stopped", steps=4), 2)
    finish(noise_images, config_for(tmp_path / "stopped", steps=4, resume=True))
    first, second = (load_file(tmp_path / name / "run" / "checkpoint.safetensors") for name in ("straight", "stopped"))
    assert [name for name in first if name != "history" and not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(("count", "batch"), [(2, 2), (3, 2), (12, 8), (31, 16), (32, None), (100, None)])
def test_auto_takes_smaller_batches_where_there_are_few_images_and_says_so(tmp_path, count, batch):
    config = config_for(tmp_path, batch_size=None)
    found, remarks = settled(config, ImageDataset.from_images(noise(count)), CPU)
    assert found.settings.get("batch_size") == batch
    sentence = f"A batch has {batch} images instead of 32, as there are only {count}: "
    assert [remark.startswith(sentence) for remark in remarks[1:]] == ([] if batch is None else [True])


def test_auto_leaves_a_batch_that_a_person_asked_for(tmp_path):
    found, remarks = settled(config_for(tmp_path, batch_size=24), ImageDataset.from_images(noise(12)), CPU)
    assert found.settings["batch_size"] == 24 and len(remarks) == 1


def test_a_dozen_pictures_and_auto_are_learned_from(tmp_path):
    last = finish(ImageDataset.from_images(noise(12)), config_for(tmp_path, batch_size=None, kimg=0.008)).last
    assert last.images == 8
    assert any(remark.startswith("A batch has 8 images instead of 32") for remark in last.remarks)


def test_a_preset_of_ones_own_is_left(noise_images, tmp_path):
    config = config_for(tmp_path, preset="dcgan")
    assert settled(config, noise_images, CPU) == (config, [])


@pytest.mark.parametrize("state", [None, "no such preset", []], ids=str)
def test_a_checkpoint_that_names_no_preset_is_chosen_for_anew(noise_images, tmp_path, state):
    finish(noise_images, config_for(tmp_path))
    found = checkpoint.read(tmp_path / "run")
    checkpoint.write(tmp_path / "run", {**found.state, "preset": state}, found.tensors)
    last = finish(noise_images, config_for(tmp_path, steps=4, resume=True)).last
    assert last.remarks[0].startswith("The preset is few, for 24 different images")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"beta": 2.0}, "trains a GAN, which has no setting beta: leave it unset."),
        (
            {"objective": "wasserstein"},
            "objective must be one of log, hinge, relativistic, wgan (got 'wasserstein').",
        ),
        ({"kimg": None}, "Set a budget: kimg (thousands of images), minutes, or both."),
        (
            {"kimg": -1.0},
            "kimg must be a number greater than 0 and at most 1000000000, in thousands of images (got -1.0).",
        ),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2 and at most 4096 (got 1)."),
        (
            {"preset": "automatic"},
            f'There is no preset "automatic": choose one of {", ".join([*PRESETS, AUTO])}.',
        ),
    ],
    ids=str,
)
def test_what_no_preset_can_have_is_said_before_the_data_are_read(tmp_path, changes, told):
    with pytest.raises(InputError, match=re.escape(told)):
        config_for(tmp_path, **changes).check()


def test_what_only_the_chosen_preset_cannot_have_is_said_before_anything_is_written(noise_images, tmp_path):
    config = config_for(tmp_path, gamma=1.0)
    config.check()  # with relativistic presets there is a gamma
    with pytest.raises(InputError, match="gamma is the weight of R1 and R2, which few does not have"):
        finish(noise_images, config)
    assert not (tmp_path / "run").exists()


def test_the_command_line_prints_what_was_chosen(photos, tmp_path):
    options = ["--preset", "auto", "--size", "24x16", "--batch", "4", "--kimg", "0.008", "--device", "cpu"]
    result = run("train", photos, "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert "The preset is few, for 12 different images of 24x16x3 on a CPU: " in result.stdout
    assert load(tmp_path / "run" / "generator.safetensors").size == (16, 24)


@pytest.mark.parametrize(
    ("count", "side", "channels", "gpu", "first"),
    [
        (499, 32, 3, True, "fastgan"),
        (500, 32, 3, True, "stylegan2"),
        (499, 31, 3, True, "few"),
        (9_999, 32, 3, True, "stylegan2"),
        (10_000, 32, 3, True, "r3gan"),
        (1_999, 31, 3, True, "few"),
        (2_000, 31, 3, True, "dcgan"),
        (1_999, 129, 3, False, "fastgan_small"),
        (2_000, 129, 3, False, "r3gan_small"),
        (1_999, 32, 1, False, "few"),
        (2_000, 32, 1, False, "digits"),
        (2_000, 33, 1, False, "few"),
        (2_000, 128, 3, False, "few"),
        (9_999, 128, 3, False, "few"),
        (10_000, 128, 3, False, "dcgan_small"),
    ],
)
def test_another_preset_is_first_from_a_limit_on(count, side, channels, gpu, first):
    assert _wanted(Probe(count, side, side, channels, 0, count, 0), gpu)[0][0] == first
