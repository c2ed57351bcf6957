"""DCGAN generators as PyTorch's example names their tensors: what they are translated to, and what is left alone."""

from itertools import pairwise

import golden
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gan_core import InputError
from gan_core.architectures.dcgan import ARCHITECTURE, SIDES, DCGANConfig, DCGANDiscriminator, DCGANGenerator
from gan_core.foreign.layouts.dcgan import LAYOUT

# Kernel, stride and padding of each layer, and features in multiples of the last hidden ones.
DOUBLING = (4, 2, 1)
EXAMPLES = {
    16: ((2, 1), ((4, 1, 0), DOUBLING, DOUBLING)),
    28: ((4, 2, 1), ((4, 1, 0), (3, 2, 1), DOUBLING, DOUBLING)),
    32: ((4, 2, 1), ((4, 1, 0), DOUBLING, DOUBLING, DOUBLING)),
    64: ((8, 4, 2, 1), ((4, 1, 0), *4 * [DOUBLING])),
    128: ((8, 8, 4, 2, 1), ((4, 1, 0), *5 * [DOUBLING])),
}


def sequence(side, width=5, channels=3, latent_size=7, bias=False):
    """PyTorch's example, built of its own layers."""
    multiples, layers = EXAMPLES[side]
    features = [latent_size, *(width * multiple for multiple in multiples), channels]
    built = []
    for (inputs, outputs), layer in zip(pairwise(features), layers, strict=True):
        built += [nn.ConvTranspose2d(inputs, outputs, *layer, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*built[:-2], nn.Tanh())


def example(side, **changes):
    """The same with drawn weights, in evaluation."""
    network = sequence(side, **changes).eval()
    drawn = golden.weights({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, seed=0)
    for name, tensor in drawn.items():
        if tensor.ndim == 4:
            drawn[name] = tensor * (2 / (tensor.shape[0] * (16 if name == "0.weight" else 4))) ** 0.5
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(1000)
    network.load_state_dict(drawn)
    return network


def named(network, prefix="main."):
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def translated(tensors):
    ours = LAYOUT.convert(tensors)
    generator = DCGANGenerator(ARCHITECTURE.config_from(shapes_of(ours))).eval()
    generator.load_state_dict(ours)
    return generator


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("side", SIDES)
def test_a_translated_generator_makes_the_same_images(side, bias):
    network = example(side, bias=bias)
    generator = translated(named(network))
    z = golden.noise([0, 1, 2], 7)
    with torch.no_grad():
        expected, images = network(z[:, :, None, None]), generator(z)
    assert images.shape == (3, 3, side, side)
    assert images.std() > 0.1, "or the comparison says little"
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["main.", "model.", "", "module.main.", "net.layers."])
@pytest.mark.parametrize("side", SIDES)
def test_a_generator_is_recognised_whatever_it_is_called_in(side, prefix):
    tensors = named(example(side), prefix)
    assert LAYOUT.detect(shapes_of(tensors))
    assert not ARCHITECTURE.detect(shapes_of(tensors))
    config = ARCHITECTURE.config_from(shapes_of(LAYOUT.convert(tensors)))
    assert config == DCGANConfig(side, 3, latent_size=7, width=5)


def test_the_layers_are_taken_in_the_order_of_their_numbers():
    tensors = named(example(64))
    backwards = dict(sorted(tensors.items(), reverse=True))
    expected, found = LAYOUT.convert(tensors), LAYOUT.convert(backwards)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_file_from_before_batches_were_counted_opens():
    tensors = {name: tensor for name, tensor in named(example(64)).items() if "num_batches" not in name}
    assert LAYOUT.detect(shapes_of(tensors))
    translated(tensors)


def test_the_example_s_own_size_is_known():
    with torch.device("meta"):
        network = sequence(side=64, width=64, latent_size=100)
    assert LAYOUT.detect(shapes_of(network.state_dict()))


def discriminator():
    features = (3, 5, 10, 20, 40)
    built = []
    for inputs, outputs in pairwise(features):
        built += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    del built[1]  # none on the image itself
    return nn.Sequential(*built, nn.Conv2d(40, 1, 4, 1, 0, bias=False))


OTHERS = {
    "its discriminator": named(discriminator()),
    "our discriminator": DCGANDiscriminator(DCGANConfig(64, 3, width=2)).state_dict(),
    "our generator": DCGANGenerator(DCGANConfig(64, 3, width=2)).state_dict(),
    "nothing": {},
    "other features": {**named(example(64)), "main.9.weight": torch.zeros(10, 6, 4, 4)},
    "another kernel": {**named(example(64)), "main.6.weight": torch.zeros(20, 10, 5, 5)},
    "a first block of 7x7": {**named(example(64)), "main.0.weight": torch.zeros(7, 40, 7, 7)},
    "a second network": {**named(example(64)), **named(example(64), "extra.")},
    "a linear layer": {**named(example(64)), "main.13.weight": torch.zeros(2, 2)},
    "a missing norm": {name: tensor for name, tensor in named(example(64)).items() if not name.startswith("main.4.")},
    "a missing mean": {name: tensor for name, tensor in named(example(64)).items() if name != "main.4.running_mean"},
    "five channels": named(example(64, channels=5)),
    "two sequences": {name.replace("main.12", "last.12"): tensor for name, tensor in named(example(64)).items()},
    "an odd bias": {**named(example(64)), "main.0.bias": torch.zeros(3)},
    "a tensor of another kind": {**named(example(64)), "main.0.weight_orig": torch.zeros(3)},
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_cannot_be_ours_is_not_recognised_and_refused(other):
    assert not LAYOUT.detect(shapes_of(OTHERS[other]))
    with pytest.raises(InputError, match="not a DCGAN generator"):
        LAYOUT.convert(OTHERS[other])


SHAPES = st.lists(st.sampled_from((0, 1, 2, 3, 4, 7, 20, 2**31, 2**63 - 1)), max_size=5).map(tuple)
EXAMPLE_SHAPES = shapes_of(named(example(64)))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_dcgan_is_recognised_by_all_of_its_shapes_and_by_no_others(data):
    shapes = dict(EXAMPLE_SHAPES)
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=3)):
        shapes[name] = data.draw(SHAPES)
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=3)):
        shapes.pop(name, None)
    shapes.update(data.draw(st.dictionaries(st.text(max_size=12), SHAPES, max_size=2)))
    # None of the other shapes fits any DCGAN, and only the counts of batches may be missing.
    required = {name: shape for name, shape in EXAMPLE_SHAPES.items() if "num_batches" not in name}
    assert LAYOUT.detect(shapes) == (required.items() <= shapes.items() <= EXAMPLE_SHAPES.items())


@given(st.dictionaries(st.one_of(st.text(max_size=8), st.from_regex(r"\A[a-z]{0,3}\.?[0-9]{1,5}\.weight\Z")), SHAPES))
def test_numbered_layers_without_norms_are_no_dcgan(shapes):
    assert not LAYOUT.detect(shapes)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_tensors_a_file_has_they_are_translated_or_refused(data):
    tensors = named(example(16, bias=True))
    dtypes = st.sampled_from((torch.float16, torch.bfloat16, torch.int64, torch.bool))
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=3)):
        tensors[name] = tensors[name].to(data.draw(dtypes))
    missing = data.draw(st.sampled_from((None, *sorted(tensors))))
    tensors.pop(missing, None)
    # A convolution may have no bias, and no image depends on how many batches there were.
    dispensable = [f"main.{layer}.bias" for layer in (0, 3, 6)]
    if missing is not None and missing not in dispensable and "num_batches" not in missing:
        with pytest.raises(InputError, match="not a DCGAN generator"):
            LAYOUT.convert(tensors)
    else:
        ours = LAYOUT.convert(tensors)
        assert ARCHITECTURE.config_from(shapes_of(ours)) == DCGANConfig(16, 3, latent_size=7, width=5)
        weight = tensors["main.0.weight"].permute(1, 2, 3, 0).reshape(-1, 7)
        assert torch.equal(ours["project.weight"], weight)
        shift = tensors.get("main.0.bias", torch.zeros(1))
        torch.testing.assert_close(ours["norm.running_mean"], tensors["main.1.running_mean"].float() - shift.float())


@given(
    side=st.sampled_from(SIDES),
    width=st.integers(1, 512),
    latent_size=st.integers(1, 2**16),
    channels=st.sampled_from((1, 3, 4)),
)
@settings(max_examples=50, deadline=None)
def test_any_size_is_read_from_names_and_shapes(side, width, latent_size, channels):
    with torch.device("meta"):
        tensors = sequence(side, width, channels, latent_size).state_dict()
        ours = LAYOUT.convert(tensors)
    assert ARCHITECTURE.config_from(shapes_of(ours)) == DCGANConfig(side, channels, 0, latent_size, width)
