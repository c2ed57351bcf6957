"""The TAESD layout: equal to diffusers' AutoencoderTiny, whole in a file, and a VAE that can be trained."""

import dataclasses
import json
import math

import golden
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from gan_core import InputError
from gan_core.architectures.architecture import padded
from gan_core.architectures.taesd_vae import (
    ARCHITECTURE,
    INITIAL_LOG_VARIANCE,
    SIDE_OF_A_BARE_FILE,
    TAESDVAE,
    TAESDVAEConfig,
    twin,
)
from gan_core.foreign.layouts.taesd import LAYOUT, LOG_VARIANCE_OF_A_POINT

CASES = golden.cases("taesd_vae")
EVERY_CASE = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case['config']['latent_channels']} latent channels" for case in CASES]
)
MIXED = TAESDVAEConfig(24, latent_channels=2, components=3, directions=4)


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def built(config: TAESDVAEConfig, seed: int = 0) -> TAESDVAE:
    torch.manual_seed(seed)
    return TAESDVAE(config).eval()


def pictures(seed: int, shape) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, shape)).float()


def both_names(module: TAESDVAE) -> dict[str, torch.Tensor]:
    """Its tensors as they are in a file: under our names and under those of other programs."""
    ours = module.state_dict()
    return {**ours, **{other: tensor.clone() for name, tensor in ours.items() if (other := twin(name)) is not None}}


def trained(case: dict) -> tuple[TAESDVAE, dict[str, torch.Tensor]]:
    """The network of a golden case, and its tensors under diffusers' names."""
    network = built(TAESDVAEConfig(64, **case["config"]))
    shapes = {twin(name): shape for name, shape in shapes_of(network.state_dict()).items() if twin(name) is not None}
    tensors = golden.weights(shapes, case["seed"])
    tensors = {
        name: tensor * (case["gain"] * tensor[0].numel() ** -0.5) if tensor.ndim == 4 else tensor
        for name, tensor in tensors.items()
    }
    network.load_state_dict(LAYOUT.convert(tensors))
    return network, tensors


ORIGINAL = trained(CASES[1])[1]
"""A TAESD of 4 latent channels as diffusers keeps it."""
OURS = shapes_of(built(TAESDVAEConfig(64)).state_dict())


@EVERY_CASE
@torch.no_grad()
def test_pictures_and_latents_are_those_of_diffusers(case):
    network, _ = trained(case)
    mean, _ = network.posterior(pictures(case["seed"], case["pictures"]))
    assert golden.largest_difference(mean, case["mean"]) < golden.TOLERANCE
    z = golden.noise([0, 1], math.prod(case["latents"][1:])).reshape(case["latents"])
    assert golden.largest_difference(network(z), case["images"]) < golden.TOLERANCE


@pytest.mark.parametrize("latent_channels", [1, 4, 16])
@torch.no_grad()
def test_a_file_with_both_key_sets_opens_in_diffusers_and_is_the_same_there(latent_channels, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    network = built(TAESDVAEConfig(64, latent_channels=latent_channels))
    save_file(both_names(network), tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    config = {"_class_name": "AutoencoderTiny", "latent_channels": latent_channels}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    theirs, loading = diffusers.AutoencoderTiny.from_pretrained(tmp_path, output_loading_info=True)
    assert loading["missing_keys"] == loading["mismatched_keys"] == []
    images = pictures(0, (2, 3, 64, 48))
    torch.testing.assert_close(network.posterior(images)[0], theirs.encode(images).latents, rtol=0, atol=1e-4)
    z = torch.randn(2, latent_channels, 3, 5)
    torch.testing.assert_close(network(z), theirs.decode(z).sample, rtol=0, atol=1e-4)


def test_every_tensor_of_the_two_networks_has_a_twin_of_its_own_and_no_other_has_one():
    module = TAESDVAE(MIXED)
    names = list(module.state_dict())
    twins = [twin(name) for name in names if name.startswith("taesd_")]
    assert None not in twins
    assert len(set(twins)) == len(twins)
    assert not set(twins) & set(names)
    assert [name for name in names if twin(name) is not None and not name.startswith("taesd_")] == []
    assert twin("taesd_encoder.1.conv.2.bias") == "encoder.layers.1.conv.2.bias"
    assert twin("taesd_decoder.1.weight") == "decoder.layers.0.weight"


@pytest.mark.parametrize("side", [8, 28, 32, 75, 100])
@pytest.mark.parametrize("latent_channels", [1, 5])
@torch.no_grad()
def test_pictures_of_its_side_come_back_in_that_size(side, latent_channels):
    config = TAESDVAEConfig(side, latent_channels=latent_channels)
    network = built(config)
    mean, log_variance = network.posterior(pictures(0, (2, 3, side, side)))
    assert mean.shape == log_variance.shape == (2, *config.latent_shape)
    assert mean[0].numel() == config.latent_size
    assert network(mean).shape == (2, 3, side, side)


@torch.no_grad()
def test_pictures_of_any_other_size_come_back_with_their_padding():
    network = built(TAESDVAEConfig(28))
    mean, _ = network.posterior(pictures(0, (1, 3, 75, 100)))
    assert mean.shape == (1, 4, 10, 13)
    assert network(mean).shape == (1, 3, 80, 104)


@torch.no_grad()
def test_padding_repeats_the_pixels_at_the_right_and_at_the_bottom():
    images = pictures(0, (1, 3, 13, 3))
    whole = padded(images, 8)
    assert whole.shape == (1, 3, 16, 8)
    assert torch.equal(whole[:, :, :13, :3], images)
    assert torch.equal(whole[:, :, 13:, :3], images[:, :, -1:].expand(-1, -1, 3, -1))
    assert torch.equal(whole[:, :, :, 3:], whole[:, :, :, 2:3].expand(-1, -1, -1, 5))
    network = built(TAESDVAEConfig(16))
    assert torch.equal(network.posterior(images)[0], network.posterior(whole)[0])


@torch.no_grad()
def test_latents_of_another_scale_are_scaled_on_both_ways():
    network, plain = built(TAESDVAEConfig(16)), built(TAESDVAEConfig(16))
    network.vae_scale.fill_(1.5305)
    network.vae_shift.fill_(0.0609)
    images, z = pictures(0, (1, 3, 16, 16)), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(network(z), plain((z - 0.0609) * 1.5305))
    torch.testing.assert_close(network.posterior(images)[0], plain.posterior(images)[0] / 1.5305 + 0.0609)


def test_the_log_variance_is_one_number_for_each_channel():
    network = built(TAESDVAEConfig(16, latent_channels=3))
    assert TAESDVAE(TAESDVAEConfig(16, latent_channels=3)).log_variance.tolist() == [-4.0] * 3, "before training"
    network.log_variance.data = torch.tensor([-1.0, 0.0, 2.0])
    _, log_variance = network.posterior(pictures(0, (2, 3, 16, 24)))
    assert torch.equal(log_variance, torch.tensor([-1.0, 0.0, 2.0])[:, None, None].expand(2, 3, 2, 3))


def test_latents_are_in_full_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = built(TAESDVAEConfig(16)).posterior(pictures(0, (1, 3, 16, 16)))
    assert mean.dtype == log_variance.dtype == torch.float32


@pytest.mark.parametrize("latent_channels", [1, 4, 16, 64])
@torch.no_grad()
def test_a_new_network_makes_moderate_latents_and_pictures(latent_channels):
    for seed in range(2):
        network = built(TAESDVAEConfig(32, latent_channels=latent_channels), seed)
        smooth = torch.nn.functional.interpolate(pictures(seed, (2, 3, 4, 4)), size=32, mode="bilinear")
        mean, log_variance = network.posterior(smooth)
        assert 0.05 < mean.std() < 3
        assert (log_variance == INITIAL_LOG_VARIANCE).all()
        images = network(torch.randn(2, *network.latent_shape))
        assert 0.02 < images.std() < 0.5
        assert images.abs().max() < 1.5


def test_every_weight_learns():
    network = TAESDVAE(TAESDVAEConfig(16))
    mean, log_variance = network.posterior(pictures(0, (2, 3, 16, 16)))
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    network(z).square().sum().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_it_learns_to_reconstruct():
    torch.manual_seed(0)
    network = TAESDVAE(TAESDVAEConfig(16))
    images = torch.nn.functional.interpolate(pictures(0, (4, 3, 2, 2)), size=16, mode="bilinear")
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    errors = []
    for _ in range(30):
        error = (network(network.posterior(images)[0]) - images).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.75 * errors[0]


def test_an_image_does_not_depend_on_the_others_in_its_batch():
    network, z = built(TAESDVAEConfig(16)), torch.randn(3, 4, 2, 2)
    alone = torch.cat([network(one[None]) for one in z])
    torch.testing.assert_close(network(z), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [TAESDVAEConfig(SIDE_OF_A_BARE_FILE, latent_channels=7), MIXED])
def test_a_bare_state_dict_says_its_family_and_config(config):
    with torch.device("meta"):
        module = TAESDVAE(config)
    assert ARCHITECTURE.detect(shapes_of(module.state_dict()))
    assert ARCHITECTURE.config_from(shapes_of(module.state_dict())) == config
    assert not LAYOUT.detect(shapes_of(module.state_dict()))


def test_the_side_of_a_bare_file_with_a_mixture_is_that_with_its_padding():
    with torch.device("meta"):
        module = TAESDVAE(dataclasses.replace(MIXED, side=20))
    assert ARCHITECTURE.config_from(shapes_of(module.state_dict())) == MIXED


def test_no_tensor_of_a_mixture_is_there_without_one():
    assert not [name for name in OURS if name.startswith("mixture.")]
    assert {name for name in OURS if not name.startswith("taesd_")} == {"vae_scale", "vae_shift", "log_variance"}


@EVERY_CASE
def test_a_foreign_file_is_recognised_under_either_names_and_both(case):
    _, theirs = trained(case)
    comfyui = {name: tensor for name, tensor in LAYOUT.convert(theirs).items() if name.startswith("taesd_")}
    scales = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.1)}
    for tensors in (theirs, comfyui, {**theirs, **comfyui}, {**comfyui, **scales}):
        assert LAYOUT.detect(shapes_of(tensors))
        assert not ARCHITECTURE.detect(shapes_of(tensors))
        ours = LAYOUT.convert(tensors)
        assert ARCHITECTURE.config_from(shapes_of(ours)).latent_channels == case["config"]["latent_channels"]
        assert shapes_of(ours) == shapes_of(trained(case)[0].state_dict())
        assert all(torch.equal(ours[name], tensor) for name, tensor in comfyui.items())
        assert ours["vae_scale"] == tensors.get("vae_scale", torch.tensor(1.0))
        assert ours["vae_shift"] == tensors.get("vae_shift", torch.tensor(0.0))
        assert (ours["log_variance"] == LOG_VARIANCE_OF_A_POINT).all()


def test_where_both_names_of_a_tensor_are_there_ours_counts():
    ours = {"taesd_encoder.0.bias": torch.full((64,), 7.0)}
    for tensors in ({**ours, **ORIGINAL}, {**ORIGINAL, **ours}):
        assert (LAYOUT.convert(tensors)["taesd_encoder.0.bias"] == 7).all()


def test_a_scale_of_one_element_in_half_precision_is_a_number_too():
    ours = LAYOUT.convert({**ORIGINAL, "vae_scale": torch.tensor([0.5], dtype=torch.float16)})
    assert ours["vae_scale"].shape == ()
    assert ours["vae_scale"] == 0.5


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"vae_scale": torch.tensor(0.0)}, "vae_scale must not be 0"),
        ({"vae_scale": torch.tensor(float("nan"))}, "vae_scale is not a number"),
        ({"vae_shift": torch.tensor(float("inf"))}, "vae_shift is not a number"),
        ({"vae_shift": torch.zeros(2)}, "vae_shift is not a number"),
        ({"encoder.layers.12.pool.0.weight": torch.zeros(1)}, "taesd_encoder.12.pool.0.weight"),
        ({"encoder.layers.01.conv.0.bias": torch.zeros(64)}, "encoder.layers.01.conv.0.bias"),
        ({"quant_conv.weight": torch.zeros(1)}, "quant_conv.weight"),
    ],
)
def test_a_foreign_file_that_would_compute_otherwise_is_refused(extra, message):
    with pytest.raises(InputError, match=message):
        LAYOUT.convert({**ORIGINAL, **extra})


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder.layers.14.weight": (5, 64, 3, 3)},
        {"decoder.layers.0.weight": (64, 65, 3, 3)},
        {"decoder.layers.0.weight": (64, 0, 3, 3)},
        {"decoder.layers.0.weight": (64, 4)},
        {"encoder.layers.1.conv.2.weight": (32, 64, 3, 3)},
        {"encoder.layers.0.weight": (64, 1, 3, 3)},
    ],
)
def test_other_shapes_are_not_taken_for_a_taesd(wrong):
    assert not LAYOUT.detect({**shapes_of(ORIGINAL), **wrong})


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_half_a_file_is_not_taken_for_a_taesd(part):
    half = {name: shape for name, shape in shapes_of(ORIGINAL).items() if name.startswith(part)}
    assert not LAYOUT.detect(half)
    assert not ARCHITECTURE.detect(half)


SHAPES = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)
NAMES = st.sampled_from(
    [*OURS, "mixture.centre", "mixture.means", "mixture.basis", "decoder.layers.0.weight", "encoder.layers.3"]
)


@given(changed=st.dictionaries(NAMES, SHAPES, max_size=4), missing=st.sets(NAMES, max_size=2))
def test_any_shapes_are_a_config_or_a_sentence(changed, missing):
    shapes = {name: shape for name, shape in {**OURS, **changed}.items() if name not in missing}
    networks = {name: shape for name, shape in OURS.items() if name.startswith("taesd_")}
    whole = networks.items() <= shapes.items()
    assert ARCHITECTURE.detect(shapes) == (whole and "log_variance" in shapes)
    assert LAYOUT.detect(shapes) == (whole and "log_variance" not in shapes)
    if not whole:
        return
    mixture = {name: shape for name, shape in shapes.items() if name in ("mixture.centre", "mixture.means")}
    try:
        config = ARCHITECTURE.config_from(shapes)
    except InputError:
        assert any(mixture.values())
        return
    with torch.device("meta"):
        built = shapes_of(TAESDVAE(config).state_dict())
    assert networks.items() <= built.items()
    assert {name: shape for name, shape in mixture.items() if shape}.items() <= built.items()


@pytest.mark.parametrize("means", [(3, 0), (0, 4), (2**40, 2**40), (3, 10**6), (3, 4, 4), ()])
def test_a_mixture_that_cannot_be_is_refused(means):
    with pytest.raises(InputError):
        ARCHITECTURE.config_from({**OURS, "mixture.centre": (4 * 9,), "mixture.means": means})


@pytest.mark.parametrize("size", [0, 3, 4 * 8, 4 * 9 + 1, 2**60])
def test_a_mixture_of_no_square_is_refused(size):
    with pytest.raises(InputError, match="not those of a square latent of 4 channels"):
        ARCHITECTURE.config_from({**OURS, "mixture.centre": (size,), "mixture.means": (1, 1)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 1}, r"must be 3, RGB \(got 1\)"),
        ({"side": 7}, r"must be 8 to 4096 pixels \(got 7\)"),
        ({"side": 4097}, r"must be 8 to 4096 pixels \(got 4097\)"),
        ({"classes": 2}, "without classes"),
        ({"latent_channels": 0}, r"must be 1 to 64 \(got 0\)"),
        ({"latent_channels": 65}, r"must be 1 to 64 \(got 65\)"),
        ({"components": 3}, "mixture"),
        ({"directions": 3}, "mixture"),
        ({"components": -1, "directions": 1}, "mixture"),
        ({"components": 1, "directions": 257}, "mixture"),
        ({"components": 10**12, "directions": 10}, "mixture"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        TAESDVAEConfig(**{"side": 64, **wrong})
