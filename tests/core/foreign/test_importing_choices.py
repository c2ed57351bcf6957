"""Which of a file's weights are taken, and each fact that a network must have: one by one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_files import nvidia_pickle, saved
from stylegan2_networks import SMALL, original
from torch import Tensor

from gan_core import Generator, InputError
from gan_core.architectures import stylegan3
from gan_core.foreign.import_generator import importing
from gan_core.foreign.layouts import LAYOUTS


def imported(folder: Path, data: bytes, name: str = "cats.pt") -> Generator:
    (folder / name).write_bytes(data)
    *_, last = importing(folder / name)
    assert last.generator is not None
    return last.generator


@pytest.fixture(scope="module")
def states(new_generator) -> list[dict[str, Tensor]]:
    """State dicts of three generators."""
    return [new_generator(seed=seed).module.state_dict() for seed in range(3)]


def is_of(generator: Generator, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in generator.module.state_dict().items())


AVERAGED = ("G_ema", "g_ema", "params_ema", "generator_ema", "ema")
LEARNED = ("G", "g", "netG", "generator", "gen", "params", "state_dict", "model", "model_state_dict")


@pytest.mark.parametrize("key", [*AVERAGED, "GAN", *LEARNED])
def test_weights_are_found_under_their_usual_names(tmp_path: Path, states: list[dict[str, Tensor]], key: str) -> None:
    found = imported(tmp_path, saved({"step": 3, "optimizer": {"lr": 0.1}, key: states[1]}))
    assert is_of(found, states[1])
    assert f'under "{key}"' in found.card.imported.source
    assert is_of(imported(tmp_path, saved({"x": 1, "checkpoint": 2, key: {key: states[2]}})), states[2])


@pytest.mark.parametrize(
    ("averaged", "learned"), [*((name, "g") for name in AVERAGED), *(("ema", name) for name in LEARNED)]
)
def test_averaged_weights_come_before_the_others(
    tmp_path: Path, states: list[dict[str, Tensor]], averaged: str, learned: str
) -> None:
    assert is_of(imported(tmp_path, saved({learned: states[0], averaged: states[1]})), states[1])


PREFIXES = ("GE.", "G_ema.", "generator_ema.", "module.", "G.", "netG.", "generator.", "model.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_names_that_all_begin_alike_are_understood(
    tmp_path: Path, states: list[dict[str, Tensor]], prefix: str
) -> None:
    others = {f"D.{name}": tensor for name, tensor in states[0].items()}
    tensors = {**others, **{f"{prefix}{name}": tensor for name, tensor in states[1].items()}}
    found = imported(tmp_path, saved(tensors))
    assert is_of(found, states[1])
    assert f'names beginning with "{prefix}"' in found.card.imported.source


@pytest.mark.parametrize(
    ("averaged", "learned"),
    [
        *((name, "") for name in ("GE.", "G_ema.", "generator_ema.")),
        *(("generator_ema.", name) for name in ("G.", "netG.", "generator.", "model.", "module.")),
    ],
)
def test_names_of_averaged_weights_come_first(
    tmp_path: Path, states: list[dict[str, Tensor]], averaged: str, learned: str
) -> None:
    tensors = {f"{learned}{name}": tensor for name, tensor in states[0].items()}
    tensors |= {f"{averaged}{name}": tensor for name, tensor in states[1].items()}
    assert is_of(imported(tmp_path, saved(tensors)), states[1])


# Facts of a network.

STYLEGAN2 = {"conv_clamp": 256, "activation": "lrelu", "architecture": "skip", "use_noise": True, "lr_multiplier": 0.01}
STYLEGAN3 = {
    **{"activation": "lrelu", "output_scale": 0.25, "num_critical": 2, "margin_size": 10, "lrelu_upsampling": 2},
    **{"first_cutoff": 2, "first_stopband": 2**2.1, "last_stopband_rel": 2**0.3, "conv_clamp": 256},
    **{"lr_multiplier": 0.01},
}


@pytest.fixture(scope="module")
def three() -> dict[str, Tensor]:
    config = stylegan3.StyleGAN3Config(16, 3, stylegan3.widths(16, 64, 6), latent_size=5, w_dim=6)
    return stylegan3.StyleGAN3Generator(config).state_dict()


@pytest.mark.parametrize(
    ("facts", "opens"),
    [
        ({}, True),
        ({"activation": "linear", "lr_multiplier": 1}, True),
        ({"activation": "relu"}, False),
        ({"architecture": "orig"}, False),
        ({"use_noise": False}, False),
        ({"lr_multiplier": 0.02}, False),
        ({"conv_clamp": 255.5}, False),
        ({"conv_clamp": 128}, True),
        ({"something": 7}, True),
    ],
    ids=str,
)
def test_a_stylegan2_is_opened_only_where_it_computes_as_ours(
    tmp_path: Path, facts: dict[str, Any], opens: bool
) -> None:
    data = nvidia_pickle(original(SMALL), **{**STYLEGAN2, **facts})
    if opens:
        assert imported(tmp_path, data, "cats.pkl").config.clamp == facts.get("conv_clamp", 256)
    else:
        with pytest.raises(InputError, match="but cannot be opened: its"):
            imported(tmp_path, data, "cats.pkl")


@pytest.mark.parametrize(
    ("fact", "value", "opens"),
    [
        *((fact, value, True) for fact, value in STYLEGAN3.items()),
        ("activation", "linear", True),
        ("lr_multiplier", 1, True),
        *((fact, 2 if fact == "margin_size" else 3, False) for fact in STYLEGAN3 if fact != "activation"),
        ("activation", "relu", False),
        ("conv_clamp", None, False),
    ],
)
def test_a_stylegan3_is_opened_only_where_it_computes_as_ours(
    tmp_path: Path, three: dict[str, Tensor], fact: str, value: Any, opens: bool
) -> None:
    data = nvidia_pickle(three, **{**STYLEGAN3, fact: value})
    if opens:
        assert imported(tmp_path, data, "cats.pkl").architecture.name == "stylegan3"
    else:
        with pytest.raises(InputError, match=f"its {fact} is {value}, and only "):
            imported(tmp_path, data, "cats.pkl")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("conv1.conv.modulation.weight", "a StyleGAN2 of rosinality's code"),
        ("style.3.weight", "a StyleGAN of rosinality's code"),
        *((f"x.lora_{part}.weight", "a LoRA") for part in ("up", "down", "A", "B")),
        ("model.diffusion_model.out", "a checkpoint of a diffusion model"),
        ("first_stage_model.x", "a VAE of another kind"),
        ("encoder.conv_in.weight", "a VAE of another kind"),
        ("text_model.x", "a part of a diffusion model"),
        ("transformer_blocks.0.x", "a part of a diffusion model"),
        ("embed_tokens.weight", "a language model"),
        ("layers.0.self_attn.q", "a language model"),
    ],
)
def test_weights_of_another_kind_are_called_by_it(tmp_path: Path, name: str, what: str) -> None:
    sentence = f"cats.pt is {what} (it has {name}), which cannot be opened here."
    with pytest.raises(InputError) as caught:
        imported(tmp_path, saved({"a": torch.ones(1), name: torch.ones(1)}))
    assert str(caught.value) == sentence


def test_these_can_be_imported_in_this_order() -> None:
    assert [layout.name for layout in LAYOUTS] == [
        "a StyleGAN2 of NVIDIA's",
        "a StyleGAN3 of NVIDIA's",
        "an R3GAN",
        "a FastGAN or Projected GAN",
        "a lightweight-gan",
        "a DCGAN",
        "a TAESD",
        "an AutoencoderKL of diffusers",
        "a VAE of Stable Diffusion",
    ]
