"""Images of any proportions and colours are learned, kept, measured and looked for as squares in grey are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from training_runs import finish, steps_of

from gan_core import Card, Generator, ImageDataset, InputError, TrainConfig, load, sample_noise
from gan_core.architectures import by_name
from gan_core.metrics import measuring
from gan_core.metrics.features import Extractor
from gan_core.metrics.likelihood import elbo
from gan_core.sampling.encoding import images_for
from gan_core.sampling.projection import ProjectionConfig, projecting
from gan_core.training import checkpoint

SIZES = pytest.mark.parametrize("size", [(16, 24), (24, 16), (20, 20)], ids=["wide", "tall", "square of 20"])
BATCH = 5


def noise(size: tuple[int, int], channels: int = 3) -> ImageDataset:
    """12 images that may be mirrored."""
    pixels = np.random.RandomState(0).randint(0, 256, (12, *size, channels), np.uint8)
    return ImageDataset(pixels, "noise", "0" * 64, mirror=True)


def config_for(folder: Path, steps: int = 2, **changes) -> TrainConfig:
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, **changes}
    return TrainConfig.of(folder / "run", **settings)


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """All that the next step depends on."""
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    del tensors["history"]
    return tensors


# Training.


@SIZES
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("preset", ["dcgan_small", "conv_vae"])
def test_a_trained_file_makes_images_of_the_size_and_colours_it_learned(tmp_path, preset, size, channels):
    dataset = noise(size, channels)
    finish(dataset, config_for(tmp_path, preset=preset))
    opened = load(tmp_path / "run" / "generator.safetensors")
    assert opened.size == size
    assert opened.decode(sample_noise(opened, [0, 1])).shape == (2, channels, *size)
    assert f"{size[1]}x{size[0]}x{channels}" in opened.summary


def test_a_spatial_vae_learns_images_that_are_no_squares(tmp_path):
    finish(noise((16, 20)), config_for(tmp_path, preset="taesd_vae", adversarial_kimg=0.0))
    opened = load(tmp_path / "run" / "generator.safetensors")
    assert (opened.size, opened.latent_shape) == ((16, 20), (4, 2, 3))
    assert opened.decode(sample_noise(opened, [0])).shape == (1, 3, 16, 20)


@pytest.mark.parametrize("augment", ["none", "diffaugment", "ada"])
@pytest.mark.parametrize("objective", ["log", "relativistic"])
def test_a_run_of_images_that_are_no_squares_is_resumed_exactly(tmp_path, objective, augment):
    dataset, settings = noise((16, 24)), {"steps": 6, "objective": objective, "augment": augment}
    finish(dataset, config_for(tmp_path / "straight", **settings))
    steps_of(dataset, config_for(tmp_path / "stopped", **settings), 3)
    finish(dataset, config_for(tmp_path / "stopped", **settings, resume=True))
    first, second = (learned(tmp_path / name) for name in ("straight", "stopped"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_run_is_not_resumed_with_images_of_another_width(tmp_path):
    finish(noise((16, 16)), config_for(tmp_path))
    with pytest.raises(InputError, match=r"begun with start \[4, 4\], and .* now ask for \(4, 6\)"):
        finish(noise((16, 24)), config_for(tmp_path, steps=4, resume=True))


def test_a_run_from_before_there_was_a_start_is_resumed(tmp_path):
    dataset = noise((16, 16))
    finish(dataset, config_for(tmp_path / "straight", steps=4))
    finish(dataset, config_for(tmp_path / "older"))
    folder = tmp_path / "older" / "run"
    found = checkpoint.read(folder)
    network = {name: value for name, value in found.state["network"].items() if name != "start"}
    checkpoint.write(folder, {**found.state, "network": network}, found.tensors)
    with pytest.raises(InputError, match=r"begun with start \(4, 4\)"):
        finish(noise((16, 24)), config_for(tmp_path / "older", steps=4, resume=True))
    finish(dataset, config_for(tmp_path / "older", steps=4, resume=True))
    first, second = (learned(tmp_path / name) for name in ("straight", "older"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((16, 25), r"\(got 25x16\): use 24x16, for example\."),
        ((16, 160), r"at most 64 \(got 160x16\): use 64x16, for example\."),
        ((8, 8), r"16, 28, 32, 64 or 128 pixels \(got 8\)\."),
        ((8, 16), r"16 to 128 pixels high \(got 8\)\."),
    ],
    ids=str,
)
def test_a_size_that_cannot_be_learned_is_a_sentence_before_anything_is_written(tmp_path, size, told):
    with pytest.raises(InputError, match=told):
        finish(noise(size), config_for(tmp_path))
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


# What a generator of such images is used for.


@pytest.fixture
def wide(tmp_path: Path) -> Generator:
    """A little VAE of images that are 20 wide and 12 high."""
    torch.manual_seed(0)
    family = by_name("conv_vae")
    config = family.config(side=12, start=(3, 5), channels=3, latent_size=3, width=2)
    return Generator(family, config, family.generator(config).eval().requires_grad_(False), Card(title="wide"))


def test_pictures_are_fitted_to_its_size_and_encoded(wide):
    images = torch.rand(2, 30, 30, 3)
    pictures = images_for(wide, images)
    assert pictures.shape == (2, 3, 12, 20)
    assert wide.encode(pictures).samples.shape == (2, 3, 1, 1)
    with pytest.raises(InputError, match=r"3 channels and 20x12 pixels \(got shape \[1, 3, 20, 12\]\)"):
        wide.encode(torch.zeros(1, 3, 20, 12))


def test_a_picture_is_looked_for_in_its_size(wide):
    target = wide.decode(sample_noise(wide, [5]))
    *_, last = projecting(wide, target, ProjectionConfig(steps=3, candidates=4))
    assert last.images.shape == (1, 3, 12, 20)
    with pytest.raises(InputError, match=r"\[3, 12, 20\] \(got \[3, 20, 12\]\)"):
        next(projecting(wide, target.mT, ProjectionConfig()))


def test_it_is_measured_against_images_of_its_size_only(wide):
    extractor = Extractor("mean", (8, 64), lambda pictures: pictures.flatten(2).mean(2))
    *_, last = measuring(wide, noise((12, 20)), 12, extractor=extractor)
    assert last.report.side == 20
    assert last.nearest[0].shape[1:] == (3, 12, 20)
    with pytest.raises(InputError, match=r"of 20x12 pixels, but those of noise have 12x12: load .* a size of 20x12"):
        next(measuring(wide, noise((12, 12)), 12, extractor=extractor))


def test_likelihoods_are_those_of_images_of_its_size(wide):
    assert elbo(wide, noise((12, 20)).images, "laplace").nats > 0
    with pytest.raises(InputError, match=r"images of 20x12x3 \(got 12x20x3\)"):
        elbo(wide, noise((20, 12)).images, "laplace")


def test_a_file_of_its_own_format_opens_and_its_bare_state_dict_is_refused(wide, tmp_path):
    opened = load(wide.save(tmp_path / "a.safetensors"))
    assert (opened.config, opened.size) == (wide.config, (12, 20))
    shapes = {name: tuple(tensor.shape) for name, tensor in wide.module.state_dict().items()}
    with pytest.raises(InputError, match="its images are not square"):
        wide.architecture.config_from(shapes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": (3, 4)}, "gives a whole number of pixels"),
        ({"start": (0, 4)}, "gives a whole number of pixels"),
        ({"start": (2, 1)}, r"must be 8 to \d+ pixels \(got 5\)"),
        ({"start": (1, 500)}, r"must be 8 to \d+ pixels \(got 5000\)|whole number of pixels"),
        ({"start": (1,)}, "gives a whole number of pixels"),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["conv_vae", "taesd_vae"])
def test_proportions_that_cannot_be_are_a_sentence(family, changes, told):
    with pytest.raises(InputError, match=told):
        by_name(family).config(side=10, channels=3, **changes)


def test_samples_while_it_learns_lie_in_a_sheet_of_their_proportions(tmp_path):
    finish(noise((16, 24)), config_for(tmp_path))
    (sheet,) = (tmp_path / "run" / "samples").iterdir()
    with Image.open(sheet) as picture:
        assert picture.size == (8 * (24 + 2) - 2, 8 * (16 + 2) - 2)
