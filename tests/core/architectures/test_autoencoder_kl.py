"""Stable Diffusion's VAE: equal to diffusers', and opened under the names that its files carry."""

import dataclasses
import math

import golden
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vae_layouts import in_latent_diffusion, in_older_diffusers

from gan_core import InputError
from gan_core.architectures.autoencoder_kl import (
    ARCHITECTURE,
    AutoencoderKL,
    AutoencoderKLConfig,
)
from gan_core.foreign.layouts.latent_diffusion import LAYOUT, PREFIXES

CASES = golden.cases("autoencoder_kl")
EVERY_CASE = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case['config']['widths']} for {case['config']['latent_channels']}" for case in CASES]
)
PUBLISHED = [
    AutoencoderKLConfig(512),  # stabilityai/sd-vae-ft-mse
    AutoencoderKLConfig(512, latent_channels=16, quantisation=0),  # Stable Diffusion 3, Flux
]
TINY = AutoencoderKLConfig(16, widths=(4, 8), layers=1, groups=2)


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def meta(config: AutoencoderKLConfig) -> AutoencoderKL:
    with torch.device("meta"):
        return AutoencoderKL(config)


def built(config: AutoencoderKLConfig) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(config).eval()


def pictures(seed: int, shape) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape)).float()


def config_of(case: dict) -> AutoencoderKLConfig:
    return AutoencoderKLConfig(**{**case["config"], "widths": tuple(case["config"]["widths"])})


def weights_of(case: dict) -> dict[str, torch.Tensor]:
    """The tensors that diffusers' network had in this case."""
    tensors = golden.weights({name: tuple(shape) for name, shape in case["shapes"].items()}, case["seed"])
    return {name: tensor * tensor[0].numel() ** -0.5 if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}


LAYOUTS = pytest.mark.parametrize("layout", [in_latent_diffusion, in_older_diffusers])


@EVERY_CASE
@torch.no_grad()
def test_pictures_and_posteriors_are_those_of_diffusers(case):
    network = built(config_of(case))
    network.load_state_dict(weights_of(case))
    mean, log_variance = network.posterior(pictures(case["seed"], case["pictures"]))
    assert golden.largest_difference(mean, case["mean"]) < golden.TOLERANCE
    assert golden.largest_difference(log_variance, case["log_variance"]) < golden.TOLERANCE
    z = golden.noise([0, 1], math.prod(case["latents"][1:])).reshape(case["latents"])
    assert golden.largest_difference(network(z), case["images"]) < golden.TOLERANCE


@EVERY_CASE
def test_a_file_of_diffusers_says_its_family_and_config(case):
    shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config_of(case)
    assert shapes == shapes_of(meta(config_of(case)).state_dict())
    assert not LAYOUT.detect(shapes), "these are our names: nothing has to be translated"


@pytest.mark.parametrize("config", PUBLISHED, ids=["Stable Diffusion 1", "Stable Diffusion 3"])
def test_the_published_ones_are_recognised(config):
    shapes = shapes_of(meta(config).state_dict())
    assert len(shapes) == (248 if config.quantisation else 244)
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config
    assert config.latent_shape == (config.latent_channels, 64, 64)


@LAYOUTS
@EVERY_CASE
@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_names_are_translated(case, layout, prefix):
    tensors = weights_of(case)
    theirs = {prefix + name: tensor for name, tensor in layout(tensors).items()}
    assert theirs.keys() != tensors.keys()
    assert LAYOUT.detect(shapes_of(theirs))
    assert not ARCHITECTURE.detect(shapes_of(theirs))
    ours = LAYOUT.convert(theirs)
    assert ours.keys() == tensors.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in tensors.items())


def test_the_names_of_latent_diffusion_are_those_of_its_files():
    names = in_latent_diffusion(meta(PUBLISHED[0]).state_dict())
    assert {
        "encoder.down.0.block.0.norm1.weight",
        "encoder.down.1.block.0.nin_shortcut.weight",
        "encoder.down.2.downsample.conv.weight",
        "encoder.mid.block_1.conv1.weight",
        "encoder.mid.attn_1.proj_out.bias",
        "decoder.up.3.block.2.conv2.weight",
        "decoder.up.0.block.0.nin_shortcut.weight",
        "decoder.up.1.upsample.conv.bias",
        "decoder.norm_out.weight",
        "quant_conv.weight",
    } <= names.keys()
    assert names["decoder.up.0.block.0.nin_shortcut.weight"].shape == (128, 256, 1, 1)
    assert names["decoder.mid.attn_1.k.weight"].shape == (512, 512, 1, 1)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_checkpoint_has_besides_is_left_out(prefix):
    tensors = weights_of(CASES[0])
    theirs = {prefix + name: tensor for name, tensor in in_latent_diffusion(tensors).items()}
    if prefix:
        theirs["model.diffusion_model.out.0.weight"] = theirs["cond_stage_model.logit_scale"] = torch.zeros(1)
    else:
        theirs["loss.discriminator.main.0.weight"] = theirs["model_ema.num_updates"] = torch.zeros(1)
    assert LAYOUT.detect(shapes_of(theirs))
    assert LAYOUT.convert(theirs).keys() == tensors.keys()


def test_a_tensor_of_unknown_meaning_is_kept_for_the_check_that_refuses_it():
    theirs = {**in_latent_diffusion(weights_of(CASES[0])), "bn.running_mean": torch.zeros(1)}
    assert "bn.running_mean" in LAYOUT.convert(theirs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder.conv_out.weight": (4, 64, 3, 3)},  # a codebook's encoder
        {"decoder.conv_in.weight": (64, 4, 3, 3, 3)},  # a video's
        {"encoder.mid.attn_1.q.weight": (64, 64, 3, 3)},
        {"encoder.mid.attn_1.q.weight": (64,)},
        {"encoder.conv_in.weight": ()},
    ],
)
def test_other_networks_are_not_taken_for_one(wrong):
    shapes = shapes_of(in_latent_diffusion(weights_of(CASES[0])))
    assert LAYOUT.detect(shapes)
    assert not LAYOUT.detect({**shapes, **wrong})


@pytest.mark.parametrize("side", [8, 28, 75])
@torch.no_grad()
def test_pictures_of_its_side_come_back_in_that_size(side):
    config = AutoencoderKLConfig(side, widths=(4, 4, 8), layers=1, groups=2)
    network = built(config)
    mean, log_variance = network.posterior(pictures(0, (2, 3, side, side)))
    assert mean.shape == log_variance.shape == (2, *config.latent_shape)
    assert mean[0].numel() == config.latent_size
    assert network(mean).shape == (2, 3, side, side)


@torch.no_grad()
def test_pictures_of_any_other_size_come_back_with_their_padding():
    network = built(dataclasses.replace(TINY, widths=(4, 8, 8)))
    images = pictures(0, (1, 3, 75, 101))
    mean, _ = network.posterior(images)
    assert mean.shape == (1, 4, 19, 26)
    assert network(mean).shape == (1, 3, 76, 104)
    repeated = torch.cat([images, images[:, :, :, -1:].expand(-1, -1, -1, 3)], dim=3)
    repeated = torch.cat([repeated, repeated[:, :, -1:]], dim=2)
    assert torch.equal(network.posterior(repeated)[0], mean)


@torch.no_grad()
def test_the_log_variance_is_bounded():
    network = built(TINY)
    for value, bound in ((1e4, 20.0), (-1e4, -30.0)):  # as in latent-diffusion
        network.quant_conv.bias.fill_(value)
        mean, log_variance = network.posterior(pictures(0, (1, 3, 16, 16)))
        assert (log_variance == bound).all()
        assert (mean.abs() > 1000).all(), "the mean is not"


def test_posteriors_are_in_full_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = built(TINY).posterior(pictures(0, (1, 3, 16, 16)))
    assert mean.dtype == log_variance.dtype == torch.float32


def test_every_weight_learns():
    network = AutoencoderKL(TINY)
    mean, log_variance = network.posterior(pictures(0, (2, 3, 16, 16)))
    (network(mean + torch.randn_like(mean)).square().sum() + log_variance.square().sum()).backward()
    # What attention adds to every key alike, its softmax takes away again.
    without = {name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without <= {f"{part}.mid_block.attentions.0.to_k.bias" for part in ("encoder", "decoder")}


SHAPES = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)
OURS = {name: tuple(shape) for name, shape in CASES[0]["shapes"].items()}
THEIRS = shapes_of(in_latent_diffusion(weights_of(CASES[0])))
NAMES = st.sampled_from(
    [
        *(name for name in {**OURS, **THEIRS} if "conv" in name or "attn" in name or "attentions" in name),
        *(f"encoder.down_blocks.{block}.resnets.0.conv1.weight" for block in range(2, 12)),
        *(f"encoder.down_blocks.0.resnets.{layer}.conv1.weight" for layer in range(1, 12)),
        "decoder.up.99.block.0.conv1.weight",
        "weight",
        "decoder.conv_in",
    ]
)


@given(
    start=st.sampled_from([OURS, THEIRS]),
    changed=st.dictionaries(NAMES, SHAPES, max_size=4),
    missing=st.sets(NAMES, max_size=2),
)
def test_any_shapes_are_a_config_or_a_sentence(start, changed, missing):
    shapes = {name: shape for name, shape in {**start, **changed}.items() if name not in missing}
    assert not (LAYOUT.detect(shapes) and ARCHITECTURE.detect(shapes))
    if ARCHITECTURE.detect(shapes):
        try:
            config = ARCHITECTURE.config_from(shapes)
        except InputError:
            return
        meta(config)


def test_a_convolution_without_a_shape_is_refused():
    with pytest.raises(InputError, match="has no shape"):
        ARCHITECTURE.config_from({**OURS, "encoder.down_blocks.1.resnets.0.conv1.weight": ()})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 2}, r"must be 1, 3 or 4 \(got 2\)"),
        ({"side": 7}, r"must be 8 to 4096 pixels \(got 7\)"),
        ({"side": 4097}, r"must be 8 to 4096 pixels \(got 4097\)"),
        ({"classes": 2}, "has no classes"),
        ({"latent_channels": 0}, r"must be 1 to 64 \(got 0\)"),
        ({"latent_channels": 65}, r"must be 1 to 64 \(got 65\)"),
        ({"widths": ()}, "1 to 8 widths"),
        ({"widths": (32,) * 9}, "1 to 8 widths"),
        ({"layers": 0}, "1 to 8 layers"),
        ({"layers": 9}, "1 to 8 layers"),
        ({"widths": (32, 48)}, "multiples of 32 groups"),
        ({"widths": (32, 0)}, "multiples of 32 groups"),
        ({"widths": (32, 2**20)}, "groups, up to 4096"),
        ({"groups": 0}, "0 groups"),
        ({"groups": -1}, "-1 groups"),
        ({"quantisation": 2}, r"must be 0 or 1 \(got 2\)"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        AutoencoderKLConfig(**{"side": 64, **wrong})


@pytest.mark.parametrize("config", PUBLISHED, ids=["Stable Diffusion 1", "Stable Diffusion 3"])
def test_the_published_ones_are_of_the_size_that_is_published(config):
    parameters = sum(parameter.numel() for parameter in meta(config).parameters())
    assert parameters == (83_653_863 if config.quantisation else 83_819_683)
