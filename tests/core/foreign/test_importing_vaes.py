"""VAEs of image models become generators: under each of the names that their files carry."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign_files import saved
from safetensors.torch import save_file
from torch import Tensor
from vae_layouts import in_latent_diffusion, in_older_diffusers

import gan_core
from gan_core import Generator, InputError
from gan_core.architectures import autoencoder_kl, taesd_vae
from gan_core.cli import main
from gan_core.foreign.import_generator import importing
from gan_core.weights import OpenedFile

Tensors = dict[str, Tensor]


def built(architecture: gan_core.generator.Architecture, **settings: object) -> Generator:
    config = architecture.config(512, **settings)
    torch.manual_seed(0)
    return Generator(architecture, config, architecture.generator(config).eval().requires_grad_(False))


KL = built(autoencoder_kl.ARCHITECTURE, widths=(32, 32, 64), layers=1)
TAESD = built(taesd_vae.ARCHITECTURE)


def weights(generator: Generator, beginning: str = "") -> Tensors:
    return {name: each for name, each in generator.module.state_dict().items() if name.startswith(beginning)}


def in_diffusers() -> Tensors:
    return {str(taesd_vae.twin(name)): each for name, each in weights(TAESD, "taesd_").items()}


LAYOUTS: dict[str, tuple[Generator, str, Callable[[], Tensors]]] = {
    "a TAESD of ComfyUI": (TAESD, "a TAESD", lambda: weights(TAESD, "taesd_")),
    "a TAESD of diffusers": (TAESD, "a TAESD", in_diffusers),
    "diffusers": (KL, "an AutoencoderKL of diffusers", lambda: weights(KL)),
    "older diffusers": (KL, "a VAE of Stable Diffusion", lambda: in_older_diffusers(weights(KL))),
    "Stable Diffusion": (KL, "a VAE of Stable Diffusion", lambda: in_latent_diffusion(weights(KL))),
    "a checkpoint": (
        KL,
        "a VAE of Stable Diffusion",
        lambda: {
            "model.diffusion_model.out.weight": torch.ones(2),
            **{f"first_stage_model.{name}": each for name, each in in_latent_diffusion(weights(KL)).items()},
        },
    ),
}


def written(tensors: Tensors, path: Path) -> Path:
    if path.suffix in (".safetensors", ".sft"):
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    else:
        path.write_bytes(saved(tensors))
    return path


def imported(path: Path) -> Generator:
    *_, last = importing(path)
    assert last.generator is not None
    return last.generator


@pytest.mark.parametrize("ending", ["safetensors", "sft", "ckpt"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vae_is_the_same_out_of_every_file(tmp_path: Path, layout: str, ending: str) -> None:
    expected, name, tensors = LAYOUTS[layout]
    generator = imported(written(tensors(), tmp_path / f"mine.{ending}"))
    assert generator.architecture == expected.architecture and generator.config == expected.config
    networks = "taesd_" if expected is TAESD else ""
    ours, theirs = weights(generator, networks), weights(expected, networks)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert generator.card.title == "mine" and generator.card.imported.source.startswith(f"{name}, in a ")
    again = gan_core.load(generator.save(tmp_path / "again.safetensors"))
    assert again.card == generator.card and again.config == expected.config


def test_a_bare_file_of_diffusers_is_loaded(tmp_path: Path) -> None:
    assert gan_core.load(written(weights(KL), tmp_path / "mine.safetensors")).config == KL.config


@pytest.mark.parametrize("layout", ["a TAESD of ComfyUI", "Stable Diffusion"])
def test_other_names_are_pointed_to_vae_to_generator(tmp_path: Path, layout: str) -> None:
    path = written(LAYOUTS[layout][2](), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match=r"of another program .* other programs, VAE to Generator their VAEs"):
        gan_core.load(path)


def test_weights_in_half_precision_become_single(tmp_path: Path) -> None:
    halves = {name: tensor.bfloat16() for name, tensor in weights(KL).items()}
    generator = imported(written(halves, tmp_path / "mine.safetensors"))
    assert {tensor.dtype for tensor in generator.module.state_dict().values()} == {torch.float32}


def test_of_a_checkpoint_only_the_vae_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, size = LAYOUTS["a checkpoint"][2](), sum(each.nbytes for each in weights(KL).values())
    last = list(importing(written(tensors, tmp_path / "mine.ckpt")))[-1]
    assert last.done == last.total == size

    read: list[str] = []
    tensor = OpenedFile.tensor
    monkeypatch.setattr(OpenedFile, "tensor", lambda file, name: read.append(name) or tensor(file, name))
    imported(written(tensors, tmp_path / "mine.safetensors"))
    assert len(read) == len(tensors) - 1 and all(name.startswith("first_stage_model.") for name in read)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (lambda: {**in_diffusers(), "extra": torch.ones(1)}, "looks like a TAESD, but cannot be opened: it has extra"),
        (lambda: {**weights(KL), "extra": torch.ones(1)}, "has tensors that its architecture does not have: extra"),
        (
            lambda: {name: each for name, each in weights(KL).items() if name != "decoder.conv_norm_out.bias"},
            "is incomplete: decoder.conv_norm_out.bias is missing",
        ),
        (lambda: {"encoder.conv_in.weight": torch.ones(1)}, "is a VAE of another kind"),
        (lambda: weights(TAESD, "taesd_decoder."), "not a known generator"),
    ],
)
def test_what_is_no_vae_known_here_is_named(tmp_path: Path, tensors: Callable[[], Tensors], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        imported(written(tensors(), tmp_path / "mine.pt"))


def test_the_command_line_converts_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(in_latent_diffusion(weights(KL)), tmp_path / "mine.safetensors")
    main(["convert", str(path), "--out", str(tmp_path / "ours.safetensors")], standalone_mode=False)
    assert "a VAE of Stable Diffusion, in a safetensors file" in capsys.readouterr().out
    assert gan_core.load(tmp_path / "ours.safetensors").config == KL.config
