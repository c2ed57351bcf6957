"""Numbers that are not finite are refused wherever weights are opened, by the name of their tensor."""

import json
import math
from pathlib import Path

import pytest
import torch
from foreign_files import nvidia_pickle, saved
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stylegan2_networks import SMALL, generator_of, original
from torch import Tensor

import gan_core
from gan_core import InputError
from gan_core.architectures import autoencoder_kl, conv_vae
from gan_core.foreign.import_generator import importing
from gan_core.generator import Generator
from gan_core.sampling import directions
from gan_core.training import checkpoint
from gan_core.weights import check_finite

NOT_FINITE = [math.nan, math.inf, -math.inf]
SENTENCE = r"is damaged: {} has values that are not finite \(NaN or infinity\)"


def spoiled(tensors: dict[str, Tensor], name: str, value: float = math.nan) -> dict[str, Tensor]:
    """The same tensors, with one such number in the middle of one of them."""
    tensor = tensors[name].clone()
    tensor.view(-1)[tensor.numel() // 2] = value
    return {**tensors, name: tensor}


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
@pytest.mark.parametrize("place", [0, 3, 999])
def test_one_such_number_is_found_anywhere(value: float, dtype: torch.dtype, place: int) -> None:
    numbers = torch.zeros(1000)
    check_finite("x.pt", {"a": numbers.to(dtype)})
    numbers[place] = value
    with pytest.raises(InputError, match="^x.pt " + SENTENCE.format("b")):
        check_finite("x.pt", {"a": torch.ones(3), "b": numbers.to(dtype)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_all_that_is_finite_passes(dtype: torch.dtype) -> None:
    """The largest numbers too, though their sum is none; whole numbers, and tensors without any."""
    ends = torch.finfo(dtype)
    tensors = {"a": torch.full((100,), ends.max, dtype=dtype), "b": torch.full((100,), ends.min, dtype=dtype)}
    check_finite("x.pt", {**tensors, "c": torch.zeros(0), "d": torch.tensor([2**62]), "e": torch.tensor(True)})


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_generator_of_ours_with_one_is_refused(new_generator, tmp_path: Path, value: float) -> None:
    path = new_generator().save(tmp_path / "cats.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    name = "stages.0.conv.weight"
    save_file(spoiled(load_file(path), name, value), path, metadata)
    for opened in (gan_core.load, lambda each: list(importing(each))):
        with pytest.raises(InputError, match="^cats.safetensors " + SENTENCE.format(name)):
            opened(path)


def test_a_number_beyond_single_precision_is_refused(new_generator, tmp_path: Path) -> None:
    path = new_generator().save(tmp_path / "cats.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: each.double() if each.is_floating_point() else each for name, each in load_file(path).items()}
    save_file(spoiled(tensors, "to_image.bias", 1e39), path, metadata)
    with pytest.raises(InputError, match=SENTENCE.format("to_image.bias")):
        gan_core.load(path)


@pytest.mark.parametrize("name", ["mapping.w_avg", "mapping.fc0.weight", "synthesis.b8.conv1.noise_strength"])
def test_a_generator_of_others_with_one_is_refused_by_its_own_name(tmp_path: Path, name: str) -> None:
    tensors = spoiled(original(SMALL), name)
    kinds = {"cats.pkl": nvidia_pickle(tensors), "cats.pt": saved(tensors), "cats.pth": saved({"G": tensors}, False)}
    for file, data in kinds.items():
        (tmp_path / file).write_bytes(data)
    save_file({each: tensor.contiguous() for each, tensor in tensors.items()}, tmp_path / "cats.safetensors")
    for file in (*kinds, "cats.safetensors"):
        with pytest.raises(InputError, match=f"^{file} " + SENTENCE.format(name)):
            list(importing(tmp_path / file))


def test_what_is_not_opened_may_be_anything(tmp_path: Path) -> None:
    """The discriminator of a run that diverged, and what its optimiser kept."""
    content = {"G": original(SMALL), "D": {"a": torch.tensor([math.nan])}, "optimizer": {"b": torch.tensor([math.inf])}}
    (tmp_path / "cats.pt").write_bytes(saved(content))
    *_, last = importing(tmp_path / "cats.pt")
    assert last.generator is not None and last.generator.config == SMALL


def test_complex_numbers_are_no_weights(tmp_path: Path) -> None:
    tensors = original(SMALL)
    tensors["mapping.w_avg"] = tensors["mapping.w_avg"].to(torch.complex64)
    (tmp_path / "cats.pt").write_bytes(saved(tensors))
    with pytest.raises(InputError, match=r"tensors of an unsupported type \(torch\.complex64"):
        list(importing(tmp_path / "cats.pt"))


VAES = {
    "conv_vae": (
        conv_vae.ARCHITECTURE,
        conv_vae.ConvVAEConfig(16, 1, latent_size=3, width=2, components=2, directions=2),
    ),
    "autoencoder_kl": (
        autoencoder_kl.ARCHITECTURE,
        autoencoder_kl.AutoencoderKLConfig(16, latent_channels=2, widths=(4, 4), layers=1, groups=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "name"),
    [("conv_vae", "mixture.shares"), ("conv_vae", "mixture.factors"), ("autoencoder_kl", "decoder.conv_in.weight")],
)
def test_a_vae_and_its_mixture_are_looked_at(tmp_path: Path, family: str, name: str) -> None:
    architecture, config = VAES[family]
    made = Generator(architecture, config, architecture.generator(config).eval())
    assert gan_core.load(made.save(tmp_path / "good.safetensors")).config == config
    made.module.state_dict()[name].view(-1)[0] = math.nan
    with pytest.raises(InputError, match="^bad.safetensors " + SENTENCE.format(name)):
        gan_core.load(made.save(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("name", ["vectors", "deviations", "strengths"])
@pytest.mark.parametrize("value", [*NOT_FINITE, 1e300])
def test_directions_are_looked_at(tmp_path: Path, name: str, value: float) -> None:
    found = directions.sefa(generator_of(SMALL), 3)
    path = directions.save(found, tmp_path / "ways.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {key: tensor.double() for key, tensor in load_file(path).items()}
    save_file(spoiled(tensors, name, value), path, metadata)
    with pytest.raises(InputError, match="^ways.safetensors " + SENTENCE.format(name)):
        directions.load(path)


def test_a_checkpoint_that_a_run_resumes_from_is_looked_at(tmp_path: Path) -> None:
    state = {"images": 8, "steps": 1, "seed": 0, "architecture": "dcgan", "network": {}}
    # Of a history some figures are never measured.
    tensors = {"generator.a": torch.ones(3), "generator_optimizer.exp_avg.a": torch.ones(3)}
    history = {"history": torch.tensor([[1.0, math.nan]])}
    checkpoint.write(tmp_path, state, {**tensors, **history})
    assert checkpoint.read(tmp_path) is not None
    for name in tensors:
        checkpoint.write(tmp_path, state, {**spoiled(tensors, name), **history})
        with pytest.raises(InputError, match=r"checkpoint\.safetensors " + SENTENCE.format(name)):
            checkpoint.read(tmp_path)


def test_a_card_may_have_them(new_generator, tmp_path: Path) -> None:
    """They are facts for people, such as the loss of a run that went wrong, and no weights."""
    path = new_generator({"loss": math.nan}).save(tmp_path / "cats.safetensors")
    assert json.dumps(gan_core.load(path).card.other["loss"]) == "NaN"
