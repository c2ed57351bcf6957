"""Generators that other programs made become ours: from every wrapping, with every fact, or with a sentence."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import json
import pathlib
import pickle
import random
import types
import uuid
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch
from foreign_files import nvidia_pickle, plain_modules, r3gan_pickle, saved, stand_ins
from safetensors.torch import save_file
from stylegan2_networks import SMALL, generator_of, original
from torch import Tensor

import gan_core
from gan_core import Card, Generator, InputError, sample_noise
from gan_core.architectures import stylegan3
from gan_core.foreign.import_generator import importing
from gan_core.foreign.layouts import fastgan, lightweight_gan, r3gan

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
    assert generator.card.title == "cats" and generator.card.imported.file == path.name
    assert json.dumps(generator.card.to_json())


def test_a_safetensors_file_of_somebody_elses_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "cats.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in original(SMALL).items()}, path)
    assert imported(path).config == SMALL
    with pytest.raises(InputError, match="Import Generator"):
        gan_core.load(path)


def test_a_generator_of_ours_is_opened_as_it_is(tmp_path: Path) -> None:
    generator = generator_of(SMALL)
    path = replace(generator, card=Card(title="cats of mine")).save(tmp_path / "cats.safetensors")
    assert imported(path).card == Card(title="cats of mine")


def test_a_state_dict_with_our_own_names_is_imported(tmp_path: Path) -> None:
    generator = generator_of(SMALL)
    found = imported(file_with(tmp_path, saved(generator.module.state_dict()), "cats.pt"))
    assert found.config == SMALL and found.card.imported.source == "a stylegan2, in a state dict"


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
    ours, theirs = generator.module.state_dict(), FAMILIES[family].LAYOUT.convert(tensors)
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
    expected = r3gan.LAYOUT.convert(tensors)
    assert all(torch.equal(expected[name], each) for name, each in generator.module.state_dict().items())
    assert "class R3GAN.Networks.Generator" in generator.card.imported.source
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
        (
            {"something.weight": torch.ones(2, 3)},
            r"the first something.weight of shape \[2, 3\], and not a known generator",
        ),
        ({}, "is a pickle without weights"),
        (without(original(SMALL), "synthesis.b8.conv1.bias"), "is incomplete: synthesis.b8.conv1.bias is missing"),
        ({**original(SMALL), "synthesis.b8.extra": torch.ones(1)}, "tensors that its architecture does not have"),
        ({**original(SMALL), "synthesis.b8.conv1.bias": torch.ones(9)}, "does not match its own description"),
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
    """From NVIDIA's layout to the image that NVIDIA's tools make for a seed, all the way."""
    case = next(case for case in golden.cases("stylegan2") if case["labels"] and case["truncation"] == 0.5)
    values = dict(case["config"])
    widths = gan_core.architectures.stylegan2.widths(values["side"], values.pop("base"), values.pop("largest"))
    config = replace(SMALL, widths=widths, **values)
    own = generator_of(config, case["weights"]).module.state_dict()
    tensors = {**original(config), **own}
    generator = imported(file_with(tmp_path, nvidia_pickle(tensors, **ATTRIBUTES)))
    images = generator.decode(sample_noise(generator, case["seeds"], case["truncation"], case["labels"]))
    assert golden.largest_difference(images, case["images"]) < golden.TOLERANCE


# Where the weights lie in a file.


def other_numbers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same generator with other weights, as a discriminator that would pass for one."""
    return {name: tensor + 1 if "filter" not in name else tensor.clone() for name, tensor in tensors.items()}


@functools.cache
def expected_state() -> dict[str, Tensor]:
    return generator_of(SMALL).module.state_dict()


def takes_the_right_one(path: Path) -> bool:
    expected = expected_state()
    return all(torch.equal(tensor, expected[name]) for name, tensor in imported(path).module.state_dict().items())


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        ("netG_state_dict", "netD_state_dict"),
        ("generator_state_dict", "discriminator_state_dict"),
        ("G_state_dict", "D_state_dict"),
        ("gen", "disc"),
        ("gen_state", "critic_state"),
        ("model_state_dict", "d_model"),
        ("params_ema", "net_d"),
        ("weights", "Discriminator"),
        ("netG2", "netD2"),
        ("model_G", "model_D"),
        ("stylegan2d", "dis"),
        ("GNet", "DNet"),
        ("whatever they liked", "patch_discriminator"),
        ("state", "optimizer"),
        ("生成器", "optG"),
    ],
)
@pytest.mark.parametrize("first", ["generator", "discriminator"])
def test_a_state_dict_is_found_under_any_name_and_a_discriminator_never(
    tmp_path: Path, generator: str, discriminator: str, first: str
) -> None:
    good = original(SMALL)
    pairs = [(generator, good), (discriminator, other_numbers(good))]
    content = dict(pairs if first == "generator" else reversed(pairs))
    assert takes_the_right_one(file_with(tmp_path, saved({"epoch": 3, **content}), "cats.pth"))


NESTED: dict[str, Callable[[dict[str, Tensor], dict[str, Tensor]], Any]] = {
    "the average comes first": lambda good, other: {"G": other, "params": other, "params_ema": good},
    "the average comes first, further in": lambda good, other: {"netG": other, "more": {"ema": {"weights": good}}},
    "a generator comes before what has no name": lambda good, other: {"model": other, "netG": good},
    "dicts in dicts": lambda good, other: {"checkpoint": {"networks": {"generator": {"weights": good}}}},
    "a list": lambda good, other: [{"epoch": 1}, good],
    "a tuple of generator, discriminator and average": lambda good, other: {"nets": (other, {}), "Gs": good},
    "within the discriminator's part there is none": lambda good, other: {"D": {"G_ema": other}, "x": {"y": good}},
    "one dict of several networks": lambda good, other: {
        "state_dict": {
            **{f"netD.{name}": each for name, each in other.items()},
            **{f"netG.{name}": each for name, each in good.items()},
        }
    },
    "several networks in a wrapper": lambda good, other: {
        **{f"module.discriminator.{name}": each for name, each in other.items()},
        **{f"module.gen.module.{name}": each for name, each in good.items()},
    },
    "an average beside the weights": lambda good, other: {
        **{f"online_model.{name}": each for name, each in other.items()},
        **{f"ema_model.{name}": each for name, each in good.items()},
    },
    "torch's average": lambda good, other: {
        "n_averaged": torch.tensor(3),
        **{f"module.{name}": each for name, each in good.items()},
    },
    "names that say nothing": lambda good, other: {
        **{f"first.{name}": torch.ones(2) for name in good},
        **{f"second.{name}": each for name, each in good.items()},
    },
    "compiled": lambda good, other: {f"_orig_mod.{name}": each for name, each in good.items()},
    "an average of what was learned": lambda good, other: {
        "G": {name: other[name] if "const" not in name and name.endswith(("weight", "bias")) else each
              for name, each in good.items()},
        "ema": {name: each for name, each in good.items() if "const" not in name and name.endswith(("weight", "bias"))},
    },
    "a list of averages": lambda good, other: {
        "generator": other, "ema": {"decay": 0.99, "shadow_params": list(good.values())}
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", NESTED)
def test_the_averaged_generator_is_found_wherever_it_lies(tmp_path: Path, kind: str) -> None:
    good = original(SMALL)
    content = NESTED[kind](good, other_numbers(good))
    assert takes_the_right_one(file_with(tmp_path, saved(content), "cats.pth"))


@pytest.mark.parametrize("prefix", ["G_ema.", "module.", "netG.module."])
def test_a_safetensors_file_is_searched_alike(tmp_path: Path, prefix: str) -> None:
    path, good = tmp_path / "cats.safetensors", original(SMALL)
    tensors = {f"{prefix}{name}": tensor.contiguous() for name, tensor in good.items()}
    save_file({**tensors, **{f"netD.{name}": each.contiguous() for name, each in other_numbers(good).items()}}, path)
    assert takes_the_right_one(path)


def test_a_file_with_a_discriminator_alone_says_so(tmp_path: Path) -> None:
    path = file_with(tmp_path, saved({"netD_state_dict": original(SMALL), "optimizerD": {"a": torch.ones(1)}}), "d.pth")
    with pytest.raises(InputError, match='is a file with the weights of a discriminator, under "netD_state_dict"'):
        imported(path)


@pytest.mark.parametrize("data", [
    pickle.dumps({}), pickle.dumps([1, "a"]), saved({"a": [], "b": {"c": ()}}),
    b"\x80\x04ctraining.networks\nGenerator\n)\x81}X\x08\x00\x00\x00_modules}sb.",
])  # fmt: skip
def test_a_file_without_tensors_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"^cats.pkl is a pickle without weights\.$"):
        imported(file_with(tmp_path, data))


# What lies beside the weights.


class Settings:
    """A class of somebody's own."""

    def __init__(self, **values: Any):
        self.__dict__ |= values


class options(dict[str, Any]):
    """A dict of somebody's own."""


class Phase(enum.Enum):
    """A choice of somebody's own."""

    FIRST = 1


@dataclass
class Record:
    """A record of somebody's own."""

    loss: float
    when: datetime.datetime


def beside() -> dict[str, Any]:
    """What people keep with their weights."""
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/data"), betas=(0.5, 0.9)),
        "path": pathlib.Path("/data"),
        "windows": pathlib.PureWindowsPath("C:/data"),
        "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "took": datetime.timedelta(seconds=3),
        "random": random.getstate(),
        "numpy": np.random.get_state(),
        "numpy streams": [np.random.RandomState(0), np.random.default_rng(0)],
        "arrays": [np.arange(3.0), np.float64(1.5), np.float32(2), np.array(["a"])],
        "torch": torch.get_rng_state(),
        "dtypes": [torch.int16, torch.complex64, torch.strided, torch.device("cpu"), torch.Size([1])],
        "tensors": [torch.ones(1, dtype=torch.complex64), torch.ones(2).to_sparse(), torch.ones(3, dtype=torch.uint16),
                    torch.ones(1).to(torch.float8_e4m3fn)],
        "optimizer": optimizer,
        "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 3),
        "settings": Settings(a=1, inner=Settings(b=[options(c=2)])),
        "options": options(lr=0.1),
        "phase": Phase.FIRST,
        "record": Record(0.5, datetime.datetime(2026, 1, 1)),
        "counts": collections.Counter("abc"),
        "default": collections.defaultdict(list, a=[1]),
        "queue": collections.deque([1, 2], maxlen=3),
        "sets": [{1, 2}, frozenset({3}), range(3), slice(1), 1j, b"bytes", bytearray(b"bytes")],
        "exact": [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=3)],
        "partial": functools.partial(dict, a=1),
        "namespace": types.SimpleNamespace(a=1),
        "activation": torch.nn.functional.relu,
        "class": Settings,
        ("a", "pair"): "as a key",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_what_lies_beside_the_weights_is_passed_over(tmp_path: Path, zipped: bool, protocol: int) -> None:
    buffer = io.BytesIO()
    content = {**beside(), "netG": original(SMALL)}
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    path = file_with(tmp_path, buffer.getvalue(), "cats.pth")
    with pytest.raises(pickle.UnpicklingError):  # torch's own safe reader gives up
        torch.load(path, weights_only=True)
    assert takes_the_right_one(path)


@pytest.mark.parametrize("kind", sorted(map(str, beside())))
def test_each_thing_alone_is_passed_over(tmp_path: Path, kind: str) -> None:
    value = next(value for key, value in beside().items() if str(key) == kind)
    assert takes_the_right_one(file_with(tmp_path, saved({kind: value, "netG": original(SMALL)}), "cats.pth"))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_weights_are_found_within_objects(tmp_path: Path, zipped: bool) -> None:
    good = original(SMALL)
    for holder in (
        Settings(networks=Settings(generator=good, discriminator=other_numbers(good))),
        collections.defaultdict(dict, generator=good),
        options(G=options(good)),
    ):
        assert takes_the_right_one(file_with(tmp_path, saved({"trainer": holder}, zipped), "cats.pth"))


class Generator_(torch.nn.Module):
    """A network of somebody's own: PyTorch's example."""

    def __init__(self) -> None:
        super().__init__()
        main: list[torch.nn.Module] = []
        for inputs, outputs, *numbers in ((5, 4, 4, 1, 0), (4, 2, 4, 2, 1), (2, 3, 4, 2, 1)):
            main += [torch.nn.ConvTranspose2d(inputs, outputs, *numbers, bias=False), torch.nn.BatchNorm2d(outputs)]
            main += [torch.nn.ReLU()]
        self.main = torch.nn.Sequential(*main[:-2], torch.nn.Tanh())
        self.register_buffer("scratch", torch.ones(1), persistent=False)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_a_whole_network_of_somebodys_own_class_is_opened(tmp_path: Path, zipped: bool, wrapped: bool) -> None:
    network = Generator_().eval()
    saved_one = torch.nn.DataParallel(network) if wrapped else network
    generator = imported(file_with(tmp_path, saved({"G": saved_one}, zipped), "cats.pth"))
    noise = sample_noise(generator, range(3))
    with torch.no_grad():
        torch.testing.assert_close(generator.decode(noise), network.main(noise.samples), rtol=0, atol=1e-5)


# Other files that end alike.


def test_torchscript_is_told_and_what_to_do(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), buffer)
    with pytest.raises(InputError, match=r"^cats.pt is TorchScript, .*torch\.jit\.load.*state_dict"):
        imported(file_with(tmp_path, buffer.getvalue(), "cats.pt"))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"], "is TorchScript"),
        (["a/constants.pkl", "a/model.json", "a/code/x.py"], "is TorchScript"),
        (["a/.data/extern_modules", "a/models/data.pkl"], "is a torch.package"),
        (["a/models/model.json", "a/archive_format", "a/version"], "is a program of torch.export"),
        (["serialized_exported_program.json", "version"], "is a program of torch.export"),
        (["a.npy", "b.npy"], "is a file of numpy arrays"),
        (["config.json", "metadata.json", "model.weights.h5"], "is a model of Keras"),
        (["word/document.xml"], "is a ZIP archive, but not one of PyTorch"),
        (["a/data.pkl", "b/data.pkl"], "is a ZIP archive, but not one of PyTorch"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_of_another_kind_is_told(tmp_path: Path, names: list[str], sentence: str, compression: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for each in names:
            archive.writestr(each, "x" * 100)
    with pytest.raises(InputError, match=f"^cats.pt {sentence}"):
        imported(file_with(tmp_path, buffer.getvalue(), "cats.pt"))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_a_safetensors_file_with_another_ending_is_opened(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cats{ending}"
    save_file({name: tensor.contiguous() for name, tensor in original(SMALL).items()}, path)
    assert takes_the_right_one(path)
