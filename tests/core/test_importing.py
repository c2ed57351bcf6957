"""Generators that other programs made become ours: from every wrapping, with every fact, or with a sentence."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from foreign_files import nvidia_pickle, plain_modules, r3gan_pickle, saved, stand_ins
from safetensors.torch import save_file
from stylegan2_networks import SMALL, generator_of, original
from torch import Tensor

import gan_core
from gan_core import Generator, InputError, sample_noise
from gan_core.architectures import fastgan, lightweight_gan, r3gan, stylegan3
from gan_core.importing import importing

ATTRIBUTES = {"conv_clamp": 256, "activation": "lrelu", "architecture": "skip", "use_noise": True}
"""What the modules of a StyleGAN2 of NVIDIA's hold."""


def imported(path: Path) -> Generator:
    *_, last = importing(path)
    assert last.generator is not None
    return last.generator


def file_with(tmp_path: Path, data: bytes, name: str = "cats.pkl") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], bytes]] = {
    "pkl": lambda tensors: nvidia_pickle(tensors, **ATTRIBUTES),
    "pt": saved,
    "pth": lambda tensors: saved({"g": {"x": torch.ones(1)}, "g_ema": tensors}, zipped=False),
    "bin": lambda tensors: saved({f"module.{name}": tensor for name, tensor in tensors.items()}),
    "ckpt": lambda tensors: saved(
        {"epoch": 3, "state_dict": {f"G_ema.{name}": each for name, each in tensors.items()}}
    ),
}


@pytest.mark.parametrize("ending", WRAPPINGS)
@pytest.mark.parametrize("classes", [0, 3])
def test_a_stylegan2_is_the_same_out_of_every_wrapping(tmp_path: Path, ending: str, classes: int) -> None:
    config = replace(SMALL, classes=classes)
    path = file_with(tmp_path, WRAPPINGS[ending](original(config)), f"cats.{ending}")
    generator, expected = imported(path), generator_of(config)
    assert generator.config == config and generator.architecture.name == "stylegan2"
    noise = sample_noise(expected, range(2), 0.7)
    assert torch.equal(generator.decode(noise), expected.decode(noise))
    assert generator.card["title"] == "cats" and generator.card["imported"]["file"] == path.name
    assert json.dumps(dict(generator.card))


def test_a_safetensors_file_of_somebody_elses_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "cats.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in original(SMALL).items()}, path)
    assert imported(path).config == SMALL
    with pytest.raises(InputError, match="Import Generator"):
        gan_core.load(path)


def test_a_generator_of_ours_is_opened_as_it_is(tmp_path: Path) -> None:
    generator = generator_of(SMALL)
    path = replace(generator, card={"title": "cats of mine"}).save(tmp_path / "cats.safetensors")
    assert imported(path).card == {"title": "cats of mine"}


def test_a_state_dict_with_our_own_names_is_imported(tmp_path: Path) -> None:
    generator = generator_of(SMALL)
    found = imported(file_with(tmp_path, saved(generator.module.state_dict()), "cats.pt"))
    assert found.config == SMALL and found.card["imported"]["from"] == "a stylegan2, in a state dict"


def test_weights_in_half_precision_become_single(tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in original(SMALL).items()}
    generator = imported(file_with(tmp_path, saved(halves)))
    assert {tensor.dtype for tensor in generator.module.state_dict().values()} == {torch.float32}


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    steps = list(importing(file_with(tmp_path, WRAPPINGS["pkl"](original(SMALL)))))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total > 0
    assert [step.generator is not None for step in steps] == [False] * (len(steps) - 1) + [True]


def case_of(family: str, number: int = 0) -> dict[str, Tensor]:
    """A state dict with the names that a family's authors give, and numbers that it can be opened with."""
    case = golden.cases(family)[number]
    tensors = golden.weights({name: tuple(shape) for name, shape in case["shapes"].items()}, 0)
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return {name: torch.outer(row, row) / 64 if name.endswith("Kernel") else each for name, each in tensors.items()}


FAMILIES = {"r3gan": r3gan, "fastgan": fastgan, "lightweight_gan": lightweight_gan}


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_dict_of_every_family_is_imported(tmp_path: Path, family: str, number: int) -> None:
    tensors = case_of(family, number)
    generator = imported(file_with(tmp_path, saved(tensors), "cats.pt"))
    assert generator.architecture.name == family
    ours, theirs = generator.module.state_dict(), FAMILIES[family].from_original(tensors)
    assert ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name].to(ours[name].dtype)) for name in ours
    )
    config = generator.config
    assert generator.decode(sample_noise(generator, [0])).shape == (1, config.channels, config.side, config.side)


def test_a_state_dict_of_pytorchs_dcgan_is_imported(tmp_path: Path) -> None:
    layers = [(100, 64, 4, 1, 0), (64, 32, 4, 2, 1), (32, 16, 4, 2, 1), (16, 8, 4, 2, 1), (8, 3, 4, 2, 1)]
    main = []
    for inputs, outputs, *numbers in layers:
        main += [torch.nn.ConvTranspose2d(inputs, outputs, *numbers, bias=False), torch.nn.BatchNorm2d(outputs)]
        main += [torch.nn.ReLU()]
    network = torch.nn.Sequential(*main[:-2], torch.nn.Tanh()).eval()
    path = file_with(tmp_path, saved({f"main.{name}": tensor for name, tensor in network.state_dict().items()}))
    generator = imported(path)
    noise = sample_noise(generator, range(3))
    with torch.no_grad():
        torch.testing.assert_close(generator.decode(noise), network(noise.samples), rtol=0, atol=1e-5)


def test_an_r3gan_comes_out_of_its_authors_pickle(tmp_path: Path) -> None:
    case, tensors = golden.cases("r3gan")[1], case_of("r3gan", 1)
    config = case["config"]
    facts = {"z_dim": config["latent_size"], "c_dim": config["classes"], "img_resolution": config["side"]}
    generator = imported(file_with(tmp_path, r3gan_pickle(tensors, **facts)))
    expected = r3gan.from_original(tensors)
    assert all(torch.equal(expected[name], each) for name, each in generator.module.state_dict().items())
    assert "class R3GAN.Networks.Generator" in generator.card["imported"]["from"]
    wrong = file_with(tmp_path, r3gan_pickle(tensors, **{**facts, "c_dim": 0}), "wrong.pkl")
    with pytest.raises(InputError, match="its c_dim is 0"):
        imported(wrong)


def test_a_stylegan3_comes_out_of_nvidias_pickle(tmp_path: Path) -> None:
    config = stylegan3.StyleGAN3Config(16, 3, stylegan3.widths(16, 64, 6), classes=2, latent_size=5, w_dim=6)
    module = stylegan3.StyleGAN3Generator(config).eval()
    data = nvidia_pickle(module.state_dict(), conv_clamp=256, activation="lrelu", output_scale=0.25)
    generator = imported(file_with(tmp_path, data))
    assert generator.config == config and generator.architecture.name == "stylegan3"
    noise = sample_noise(generator, [0, 1], labels=1)
    with torch.no_grad():
        assert torch.equal(generator.decode(noise), module(noise.samples.flatten(1), noise.labels))
    other = file_with(tmp_path, nvidia_pickle(module.state_dict(), margin_size=0), "other.pkl")
    with pytest.raises(InputError, match="its margin_size is 0"):
        imported(other)


def test_a_class_of_projected_gan_is_known(tmp_path: Path) -> None:
    case = case_of("fastgan", next(i for i, case in enumerate(golden.cases("fastgan")) if case["config"]["projected"]))
    with stand_ins():
        data = pickle.dumps({"G_ema": plain_modules(case, "pg_modules.networks_fastgan")})
    assert imported(file_with(tmp_path, data)).architecture.name == "fastgan"


@pytest.mark.parametrize(("clamp", "expected"), [(256, 256), (None, 0), (16.0, 16)])
def test_bounds_of_the_features_are_the_files(tmp_path: Path, clamp: Any, expected: int) -> None:
    data = nvidia_pickle(original(SMALL), **{**ATTRIBUTES, "conv_clamp": clamp})
    assert imported(file_with(tmp_path, data)).config.clamp == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"activation": "swish"}, "its activation is swish"),
        ({"architecture": "resnet"}, "its architecture is resnet"),
        ({"use_noise": False}, "its use_noise is False"),
        ({"conv_clamp": 0.5}, "clamped"),
    ],
)
def test_a_network_that_computes_otherwise_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = file_with(tmp_path, nvidia_pickle(original(SMALL), **{**ATTRIBUTES, **changes}))
    with pytest.raises(InputError, match=rf"^cats.pkl looks like a StyleGAN2 of NVIDIA's, but cannot .*{sentence}"):
        imported(path)


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"conv1.conv.modulation.weight": torch.ones(1)}, "is a StyleGAN2 of rosinality's code"),
        ({"lora_up.weight": torch.ones(1)}, "is a LoRA"),
        ({"model.diffusion_model.x": torch.ones(1)}, "is a checkpoint of a diffusion model"),
        ({"something.weight": torch.ones(2, 3)}, r"the first something.weight of shape \[2, 3\]: no generator"),
        ({}, "is a pickle without weights in it"),
        (without(original(SMALL), "synthesis.b8.conv1.bias"), "is incomplete: synthesis.b8.conv1.bias is missing"),
        ({**original(SMALL), "synthesis.b8.extra": torch.ones(1)}, "tensors that its architecture does not have"),
        ({**original(SMALL), "synthesis.b8.conv1.bias": torch.ones(9)}, "does not fit its own description"),
    ],
)
def test_what_is_no_generator_is_named(tmp_path: Path, tensors: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        imported(file_with(tmp_path, saved(tensors), "thing.pt"))
    assert str(caught.value).startswith("thing.pt ") and str(caught.value).endswith(".")


def test_source_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    data = nvidia_pickle(original(SMALL), **ATTRIBUTES)
    assert b"raise SystemExit" in data
    assert imported(file_with(tmp_path, data)).config == SMALL


def test_golden_pictures_come_out_of_a_pickle(tmp_path: Path) -> None:
    """From NVIDIA's layout to the picture that NVIDIA's tools make for a seed, all the way."""
    case = next(case for case in golden.cases("stylegan2") if case["labels"] and case["truncation"] == 0.5)
    values = dict(case["config"])
    widths = gan_core.architectures.stylegan2.widths(values["side"], values.pop("base"), values.pop("largest"))
    config = replace(SMALL, widths=widths, **values)
    own = generator_of(config, case["weights"]).module.state_dict()
    tensors = {**original(config), **own}
    generator = imported(file_with(tmp_path, nvidia_pickle(tensors, **ATTRIBUTES)))
    images = generator.decode(sample_noise(generator, case["seeds"], case["truncation"], case["labels"]))
    assert golden.largest_difference(images, case["images"]) < golden.TOLERANCE
