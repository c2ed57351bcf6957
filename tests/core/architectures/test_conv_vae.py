"""The textbook VAE: what it makes, what it says of an image, and how its files are known."""

from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_core import InputError
from gan_core.architectures import conv_vae, detect
from gan_core.architectures.conv_vae import ARCHITECTURE, ConvVAE, ConvVAEConfig


def shapes_of(config: ConvVAEConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in ConvVAE(config).state_dict().items()}


@pytest.mark.parametrize("side", [8, 9, 28, 33, 100])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_any_side_become_z_and_z_becomes_pictures(side, channels):
    module = ConvVAE(ConvVAEConfig(side, channels, latent_size=5, width=2)).eval()
    mean, log_variance = module.posterior(torch.rand(3, channels, side, side) * 2 - 1)
    assert mean.shape == log_variance.shape == (3, 5)
    images = module(mean)
    assert images.shape == (3, channels, side, side)
    assert images.abs().max() <= 1


def test_the_output_is_the_mean_of_what_the_logits_are_odds_of():
    module = ConvVAE(ConvVAEConfig(8, 1, width=2)).eval()
    z = torch.randn(4, 16)
    torch.testing.assert_close(module(z), module.logits(z).sigmoid() * 2 - 1)


def test_a_posterior_is_never_too_narrow_or_wide_to_compute_with():
    module = ConvVAE(ConvVAEConfig(8, 1, width=2)).eval()
    with torch.no_grad():
        module.encoder[-1].weight.mul_(1e6)
    _, log_variance = module.posterior(torch.rand(50, 1, 8, 8))
    assert (log_variance.min().item(), log_variance.max().item()) == (-12.0, 8.0)


@given(
    side=st.integers(8, 70),
    channels=st.sampled_from([1, 3, 4]),
    latent_size=st.integers(1, 40),
    width=st.integers(1, 40),
    mixture=st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.none(),
)
def test_a_state_dict_tells_its_config(side, channels, latent_size, width, mixture):
    components, directions = mixture or (0, 0)
    config = ConvVAEConfig(side, channels, 0, latent_size, width, components, min(directions, latent_size))
    shapes = shapes_of(config)
    assert detect(shapes) is ARCHITECTURE
    assert ARCHITECTURE.config_from(shapes) == config


@given(st.data())
def test_damaged_shapes_are_another_kind_or_a_sentence(data):
    with torch.device("meta"):
        shapes = {
            name: tuple(tensor.shape) for name, tensor in ConvVAE(ConvVAEConfig(28, 1, width=2)).state_dict().items()
        }
    names = data.draw(st.lists(st.sampled_from(sorted(shapes)), min_size=1, max_size=4))
    for name in names:
        shape = data.draw(st.none() | st.lists(st.integers(0, 2**40), max_size=5).map(tuple))
        shapes.pop(name, None) if shape is None else shapes.update({name: shape})
    if ARCHITECTURE.detect(shapes):
        with suppress(InputError):
            assert isinstance(ARCHITECTURE.config_from(shapes), ConvVAEConfig)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"side": 7}, r"must be 8 to 256 pixels \(got 7\)"),
        ({"side": 257}, r"must be 8 to 256 pixels \(got 257\)"),
        ({"channels": 2}, r"must be 1, 3 or 4 \(got 2\)"),
        ({"classes": 3}, "trained without classes"),
        ({"latent_size": 0}, r"latent_size of conv_vae must be 1 to 4096 \(got 0\)"),
        ({"width": 2**13}, r"width of conv_vae must be 1 to 4096 \(got 8192\)"),
        ({"components": 2, "directions": 0}, r"must be 1 to the length of z, 16 \(got 0\)"),
        ({"components": 2, "directions": 17}, r"must be 1 to the length of z, 16 \(got 17\)"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_a_sentence(changes, told):
    with pytest.raises(InputError, match=told):
        ConvVAEConfig(**{"side": 28, "channels": 1, **changes})


@torch.no_grad()
def test_a_residual_block_adds_a_convolution_of_rectified_features_to_them():
    block, x = conv_vae.Residual(3).eval(), torch.randn(2, 3, 5, 5)
    block.norm.running_mean.fill_(0.5)
    block.norm.running_var.fill_(4.0)
    expected = x + torch.conv2d(((x - 0.5) / 2).clamp(min=0), block.conv.weight, padding=1)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    block.conv.weight.zero_()
    assert torch.equal(block(x), x)
