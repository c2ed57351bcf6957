"""lightweight-gan: its images against the public code's, and what files of it are taken for."""

import dataclasses
import math
from contextlib import suppress

import golden
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_core import InputError
from gan_core.architectures import dcgan, fastgan, lightweight_gan
from gan_core.architectures.lightweight_gan import (
    ARCHITECTURE,
    SIDES,
    LightweightGANConfig,
    LightweightGANGenerator,
)
from gan_core.foreign.layouts import fastgan as fastgan_layout
from gan_core.foreign.layouts.lightweight_gan import LAYOUT

CASES = golden.cases("lightweight_gan")
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case["made_by"] for case in CASES])

CONFIGS = [
    LightweightGANConfig(
        side,
        channels,
        widths=(3,) * (side.bit_length() - 3),
        latent_size=5,
        attention=attention,
        frequencies=int(design == 2 and side >= 128),
        blurred=int(design == 1),
        design=design,
    )
    for side in SIDES
    for channels, attention, design in ((1, (), 1), (3, (4, 8), 2), (4, (8,), 3))
]
EVERY_CONFIG = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{config.side}x{config.channels}-{config.design}" for config in CONFIGS]
)
SMALL = LightweightGANConfig(128, 3, (6, 6, 4, 4, 3), latent_size=5, attention=(8,), design=2)


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def originals(case):
    """The state dict that the public code's generator had in this case."""
    tensors = golden.weights({name: tuple(shape) for name, shape in case["shapes"].items()}, case["seed"])
    return as_trained(tensors, case["variance"], case["factor"])


def as_trained(tensors, variance, factor):
    """Drawn tensors at the scale of a trained network's, the variances of batch norms near those of the features. The
    last layer is `factor` times as strong."""
    for name, tensor in tensors.items():
        if name.endswith("dct_weights"):
            tensors[name] = tensor / tensor.shape[-1]
        elif tensor.ndim == 4 and not name.endswith(("norm.g", "norm.b")):
            inputs = tensor.shape[0] if name.startswith("initial_conv") else tensor[0].numel()
            tensors[name] = tensor * math.sqrt(2 / inputs)
        elif name.endswith(".f"):
            tensors[name] = torch.tensor([1.0, 2.0, 1.0])
        elif name.endswith("running_var"):
            tensors[name] = variance * tensor
        elif name.endswith("running_mean"):
            tensors[name] = 0.1 * tensor
        elif name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(1000)
    tensors["out_conv.weight"] *= factor
    return tensors


def inputs(config, count=3):
    return golden.noise(list(range(count)), config.latent_size)


@EVERY_CASE
def test_an_original_gives_the_images_that_the_public_code_gives(case):
    tensors = LAYOUT.convert(originals(case))
    config = ARCHITECTURE.config_from(shapes_of(tensors))
    assert dataclasses.asdict(config) == {
        name: tuple(value) if isinstance(value, list) else value for name, value in case["config"].items()
    }
    generator = LightweightGANGenerator(config).eval()
    generator.load_state_dict(tensors)
    with torch.no_grad():
        images = generator(golden.noise(case["images_of"], config.latent_size))
    # Theirs are in [0, 1].
    assert golden.largest_difference((images + 1) / 2, case["images"]) < golden.TOLERANCE


@EVERY_CASE
def test_an_original_is_recognised_as_one_and_not_as_another_s(case):
    shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
    assert LAYOUT.detect(shapes)
    assert not fastgan_layout.LAYOUT.detect(shapes)
    assert not ARCHITECTURE.detect(shapes)
    assert not fastgan.ARCHITECTURE.detect(shapes)
    assert not dcgan.ARCHITECTURE.detect(shapes)


@EVERY_CASE
def test_of_a_whole_network_the_averaged_generator_is_taken(case):
    averaged = originals(case)
    other = {name: tensor + 1 for name, tensor in averaged.items()}
    judge = {"D.to_logits.0.weight": torch.zeros(2, 2, 1, 1), "D_aug.D.to_logits.0.weight": torch.zeros(2, 2, 1, 1)}
    whole = {
        **{f"G.{name}": tensor for name, tensor in other.items()},
        **judge,
        **{f"GE.{name}": tensor for name, tensor in averaged.items()},
    }
    assert LAYOUT.detect(shapes_of(whole))
    found, expected = LAYOUT.convert(whole), LAYOUT.convert(averaged)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    without = {name: tensor for name, tensor in whole.items() if not name.startswith("GE.")}
    assert torch.equal(LAYOUT.convert(without)["to_image.bias"], other["out_conv.bias"])


@EVERY_CASE
@pytest.mark.parametrize("extra", ["layers.0.0.7.weight", "layers.0.2.g", "layers.12.0.2.weight", "mapping.0.weight"])
def test_a_tensor_that_does_not_belong_is_refused_by_name(case, extra):
    with pytest.raises(InputError, match="lightweight-gan, but has"):
        LAYOUT.convert({**originals(case), extra: torch.zeros(2, 2, 1, 1)})


@EVERY_CASE
def test_a_missing_tensor_is_refused(case):
    tensors = originals(case)
    for missing in [name for name in tensors if "dct_weights" not in name and not name.endswith(".f")]:
        with pytest.raises(InputError, match="It is like a lightweight-gan, but"):
            LAYOUT.convert({name: tensor for name, tensor in tensors.items() if name != missing})


def test_releases_that_are_not_known_are_refused_by_name():
    early = originals(next(case for case in CASES if case["config"]["design"] == 1))
    with pytest.raises(InputError, match=r"from 0\.21\.0 to 0\.21\.2"):
        LAYOUT.convert({**early, "layers.0.0.3.weight": torch.zeros(1)})
    late = originals(next(case for case in CASES if case["config"]["design"] == 3))
    outputs = late["layers.0.0.2.1.weight"].shape[0] // 2
    with pytest.raises(InputError, match=r"release 1\.0 of"):
        LAYOUT.convert({**late, "layers.0.0.2.1.weight": torch.zeros(2 * outputs, outputs + 1, 4, 4)})


@EVERY_CONFIG
def test_a_generator_makes_images_of_the_promised_shape(config):
    with torch.no_grad():
        images = LightweightGANGenerator(config).eval()(inputs(config, 2))
    assert images.shape == (2, config.channels, config.side, config.side)


@EVERY_CONFIG
def test_a_bare_state_dict_says_its_family_and_config(config):
    with torch.device("meta"):
        shapes = shapes_of(LightweightGANGenerator(config).state_dict())
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config
    assert not LAYOUT.detect(shapes)
    assert not dcgan.ARCHITECTURE.detect(shapes)
    assert not fastgan.ARCHITECTURE.detect(shapes)


def test_fastgan_s_generator_is_not_taken_for_one():
    config = fastgan.FastGANConfig(64, 3, (4, 4, 4, 4, 4), (1, 1, 1, 1), projected=1)
    assert not ARCHITECTURE.detect(shapes_of(fastgan.FastGANGenerator(config).state_dict()))


@st.composite
def configs(draw):
    side = draw(st.sampled_from(SIDES))
    stages = side.bit_length() - 3
    return LightweightGANConfig(
        side=side,
        channels=draw(st.sampled_from((1, 3, 4))),
        widths=tuple(draw(st.lists(st.integers(1, 2**16), min_size=stages, max_size=stages))),
        latent_size=draw(st.integers(1, 2**16)),
        attention=tuple(sorted(draw(st.sets(st.sampled_from([4 * 2**stage for stage in range(stages)]))))),
        frequencies=draw(st.integers(0, 1)) if side >= 128 else 0,
        blurred=draw(st.integers(0, 1)),
        design=draw(st.integers(1, 3)),
    )


@given(configs())
@settings(max_examples=50, deadline=None)
def test_any_config_is_read_back_from_names_and_shapes(config):
    with torch.device("meta"):
        shapes = shapes_of(LightweightGANGenerator(config).state_dict())
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config


SHAPES = st.lists(st.sampled_from((0, 1, 2, 3, 4, 7, 2**31, 2**63 - 1)), max_size=5).map(tuple)
SMALL_SHAPES = shapes_of(LightweightGANGenerator(SMALL).state_dict())


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_shapes_a_file_has_it_is_recognised_or_refused(data):
    shapes = dict(SMALL_SHAPES)
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=4)):
        shapes[name] = data.draw(SHAPES)
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=4)):
        shapes.pop(name, None)
    shapes.update(data.draw(st.dictionaries(st.text(max_size=12), SHAPES, max_size=2)))
    LAYOUT.detect(shapes)
    if ARCHITECTURE.detect(shapes):
        with suppress(InputError):
            ARCHITECTURE.config_from(shapes)


@given(st.dictionaries(st.text(max_size=20), SHAPES, max_size=5))
def test_shapes_of_nothing_in_particular_are_not_recognised(shapes):
    assert not ARCHITECTURE.detect(shapes)
    assert not LAYOUT.detect(shapes)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_tensors_a_file_has_they_are_translated_or_refused(data):
    case = data.draw(st.sampled_from(CASES))
    tensors = {name: torch.zeros(shape) for name, shape in case["shapes"].items()}
    small = st.lists(st.integers(0, 3), max_size=4)
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=3)):
        tensors[name] = torch.ones(data.draw(small))
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=2)):
        tensors.pop(name, None)
    for name in data.draw(st.lists(st.text(max_size=8), max_size=1)):
        tensors[name] = torch.ones(data.draw(small))
    with suppress(InputError):
        LAYOUT.convert(tensors)


@pytest.mark.parametrize("config", [config for config in CONFIGS if config.side == 128], ids=repr)
def test_an_image_does_not_depend_on_the_others_in_its_batch(config):
    generator = LightweightGANGenerator(config).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise.strength"):
            parameter.data.fill_(1.0)
    z = inputs(config)
    together = generator(z)
    assert not torch.allclose(together[0], together[1])
    alone = torch.cat([generator(z[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_the_frequencies_are_the_first_waves_of_a_cosine_transform():
    side, channels = 16, 35
    waves = lightweight_gan.frequencies(channels, side)[0]
    assert waves.shape == (channels, side, side)
    assert not waves[32:].any(), "what is left over of the channels"
    places = (torch.arange(side) + 0.5) / side
    across, down = waves[2 * 3], waves[2 * (8 + 5)]
    flat = math.sqrt(1 / side)
    torch.testing.assert_close(across[7], flat * math.sqrt(2 / side) * torch.cos(3 * math.pi * places))
    torch.testing.assert_close(down[:, 7], flat * math.sqrt(2 / side) * torch.cos(5 * math.pi * places))
    once = waves[[0, *range(2, 16, 2), *range(18, 32, 2)]].flatten(1)
    torch.testing.assert_close(once @ once.T, torch.eye(15), rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [0, 8, 100, 2048, -64])
def test_a_side_that_it_cannot_make_is_refused_with_those_it_can(side):
    with pytest.raises(InputError, match=rf"power of two from 16 to 1024 pixels \(got {side}\)\."):
        dataclasses.replace(SMALL, side=side)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 2},
        {"classes": 3},
        {"widths": (4, 4, 4, 4)},
        {"widths": (4, 4, 4, 4, 0)},
        {"widths": (4, 4, 4, 4, 10**9)},
        {"latent_size": 0},
        {"attention": (128,)},
        {"attention": (5,)},
        {"attention": (16, 8)},
        {"attention": (8, 8)},
        {"frequencies": 2},
        {"frequencies": 1, "side": 64, "widths": (4, 4, 4, 4)},
        {"blurred": 2},
        {"design": 0},
        {"design": 4},
    ],
    ids=repr,
)
def test_a_network_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="lightweight_gan"):
        dataclasses.replace(SMALL, **wrong)
