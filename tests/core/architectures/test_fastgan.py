"""FastGAN and Projected GAN: their images against the public code's, and what files of theirs are taken for."""

import dataclasses
from contextlib import suppress

import golden
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gan_core import InputError
from gan_core.architectures import dcgan, fastgan, size_of
from gan_core.architectures.fastgan import ARCHITECTURE, SIDES, FastGANConfig, FastGANGenerator
from gan_core.architectures.layers.fastgan import Noise, fixed_noise, gated
from gan_core.foreign.layouts.fastgan import LAYOUT, over_spectral_norm

CASES = golden.cases("fastgan")
TOLERANCE = 3e-4
"""Of a pixel in [-1, 1]. The weights of the case at 1024 are so steep that float64 differs by 1.8e-4 from the public
code's float32."""

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case["made_by"] for case in CASES])

CONFIGS = [
    FastGANConfig(side, channels, (3,) * (side.bit_length() - 2), fastgan.convolutions(side), classes, 5, projected)
    for side in SIDES
    for channels, classes, projected in ((1, 0, 0), (3, 3, 0), (4, 0, 1), (3, 2, 1))
]
EVERY_CONFIG = pytest.mark.parametrize(
    "config",
    CONFIGS,
    ids=[f"{config.side}x{config.channels}-{config.classes}-{config.projected}" for config in CONFIGS],
)
SMALL = FastGANConfig(64, 3, (4, 4, 3, 3, 2), (2, 1, 2, 1), classes=3, latent_size=5)


def shapes_of(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


SMALL_SHAPES = shapes_of(FastGANGenerator(SMALL))


def originals(case):
    """The state dict that the public code's generator had in this case."""
    tensors = golden.weights({name: tuple(shape) for name, shape in case["shapes"].items()}, case["seed"])
    return as_trained(tensors, case["variance"], case["last"], case["factor"])


def as_trained(tensors, variance, last, factor):
    """Drawn tensors as they are in a trained network: the vectors of spectral norms found, the variances of batch norms
    near those of the features. The last layer is `factor` times as strong as it would be."""
    for name, tensor in tensors.items():
        if name.endswith("weight_orig"):
            u, v = (name.removesuffix("orig") + vector for vector in "uv")
            rows = 1 if "init." in name else 0
            matrix = tensor.transpose(0, rows).flatten(1)
            for _ in range(3):
                tensors[v] = nn.functional.normalize(matrix.T @ tensors[u], dim=0)
                tensors[u] = nn.functional.normalize(matrix @ tensors[v], dim=0)
            if name.startswith(last):
                tensors[u] /= factor
        elif name.endswith(("running_var", "stored_var")):
            tensors[name] = variance * (0.5 + tensor.abs())
        elif name.endswith(("running_mean", "stored_mean")):
            tensors[name] = 0.1 * tensor
        elif name.startswith(last) and name.endswith("bias"):
            tensors[name] = factor * tensor
        elif name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(1000)
    return tensors


def inputs(config, count=3):
    z = golden.noise(list(range(count)), config.latent_size)
    return z, torch.arange(count) % config.classes if config.classes else None


@EVERY_CASE
def test_an_original_gives_the_images_that_the_public_code_gives(case):
    tensors = LAYOUT.convert(originals(case))
    config = ARCHITECTURE.config_from({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    assert dataclasses.asdict(config) == {
        **{name: tuple(value) if isinstance(value, list) else value for name, value in case["config"].items()},
        "start": (4, 4),
    }
    generator = FastGANGenerator(config).eval()
    generator.load_state_dict(tensors)
    labels = None if case["labels"] is None else torch.tensor(case["labels"])
    with torch.no_grad():
        images = generator(golden.noise(case["images_of"], config.latent_size), labels)
    assert golden.largest_difference(images, case["images"]) < TOLERANCE


@EVERY_CASE
def test_what_shared_a_tensor_has_one_of_its_own(case):
    tensors = LAYOUT.convert(originals(case)).values()
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors), "or it could not be saved"


@EVERY_CASE
def test_an_original_is_recognised_as_one_and_not_as_ours(case):
    shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
    assert LAYOUT.detect(shapes)
    assert not ARCHITECTURE.detect(shapes)
    assert not dcgan.ARCHITECTURE.detect(shapes)


@EVERY_CASE
def test_an_original_of_several_devices_is_the_same(case):
    tensors = originals(case)
    parallel = {f"module.{name}": tensor for name, tensor in tensors.items()}
    assert LAYOUT.detect({name: tuple(tensor.shape) for name, tensor in parallel.items()})
    found, expected = LAYOUT.convert(parallel), LAYOUT.convert(tensors)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("vector", ["u", "v"])
def test_an_original_without_the_vectors_of_a_spectral_norm_is_refused(vector):
    tensors = originals(CASES[0])
    del tensors[f"feat_8.1.weight_{vector}"]
    with pytest.raises(InputError, match=r"feat_8\.1\.weight_orig but no"):
        LAYOUT.convert(tensors)


@pytest.mark.parametrize("wrong", [torch.zeros(7), torch.zeros(2, 2), torch.zeros([])])
def test_vectors_of_another_spectral_norm_are_refused(wrong):
    with pytest.raises(InputError, match=r"feat_8\.1\.weight_orig of shape .* does not fit"):
        LAYOUT.convert({**originals(CASES[0]), "feat_8.1.weight_u": wrong})


@pytest.mark.parametrize("norm", [0.0, float("nan"), float("inf")])
def test_a_spectral_norm_that_nothing_can_be_divided_by_is_refused(norm):
    tensors = originals(CASES[0])
    with pytest.raises(InputError, match=r"feat_8\.1\.weight_orig has a spectral norm of"):
        LAYOUT.convert({**tensors, "feat_8.1.weight_u": tensors["feat_8.1.weight_u"] * norm})


@EVERY_CASE
@pytest.mark.parametrize(
    "extra", ["feat_8.9.weight", "feat_2048.1.weight", "se_64.main.2.weight", "down_4.main.0.weight"]
)
def test_a_tensor_that_does_not_belong_is_refused_by_name(case, extra):
    with pytest.raises(InputError, match="which no known FastGAN has"):
        LAYOUT.convert({**originals(case), extra: torch.zeros(2, 2, 1, 1)})


def test_two_tensors_for_one_place_are_refused():
    with pytest.raises(InputError, match="which no known FastGAN has"):
        LAYOUT.convert({**originals(CASES[0]), "feat_8.conv1.weight": torch.zeros(2, 2, 3, 3)})


@EVERY_CASE
def test_a_missing_tensor_is_refused(case):
    tensors = originals(case)
    for missing in [name for name in tensors if "feat_32" in name and not name.endswith(("_u", "_v"))]:
        with pytest.raises(InputError, match=r"It is like a FastGAN|It has \S+ but no"):
            LAYOUT.convert({name: tensor for name, tensor in tensors.items() if name != missing})


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(5, 6, 3), nn.ConvTranspose2d(5, 6, 4), nn.Linear(5, 6)],
    ids=["convolution", "transposed", "linear"],
)
def test_a_weight_over_its_spectral_norm_is_what_torch_makes_of_it_in_evaluation(layer):
    layer = nn.utils.spectral_norm(layer)
    size = [4, 5] if isinstance(layer, nn.Linear) else [4, 5, 7, 7]
    layer(torch.randn(size))
    layer.eval()(torch.randn(size))
    stored = layer.state_dict()
    outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    weight = over_spectral_norm("", *(stored[f"weight_{part}"] for part in ("orig", "u", "v")), outputs)
    assert torch.equal(weight, layer.weight)


@EVERY_CONFIG
def test_a_generator_makes_images_of_the_promised_shape(config):
    with torch.no_grad():
        images = FastGANGenerator(config).eval()(*inputs(config, 2))
    assert images.shape == (2, config.channels, config.side, config.side)


@EVERY_CONFIG
def test_a_bare_state_dict_says_its_family_and_config(config):
    with torch.device("meta"):
        shapes = shapes_of(FastGANGenerator(config))
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config
    assert not LAYOUT.detect(shapes)
    assert not dcgan.ARCHITECTURE.detect(shapes)


@st.composite
def configs(draw):
    start = draw(st.tuples(st.integers(2, 16), st.integers(2, 16)))
    stages = draw(st.integers(4, 8))
    return FastGANConfig(
        side=start[0] * 2**stages,
        channels=draw(st.sampled_from((1, 3, 4))),
        widths=tuple(draw(st.lists(st.integers(1, 2**16), min_size=stages + 1, max_size=stages + 1))),
        convolutions=tuple(draw(st.lists(st.integers(1, 2), min_size=stages, max_size=stages))),
        classes=draw(st.integers(0, 2**16)),
        latent_size=draw(st.integers(1, 2**16)),
        projected=draw(st.integers(0, 1)),
        start=start,
    )


@given(configs())
@settings(max_examples=50, deadline=None)
def test_any_config_is_read_back_from_names_and_shapes(config):
    with torch.device("meta"):
        shapes = shapes_of(FastGANGenerator(config))
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config


SHAPES = st.lists(st.sampled_from((0, 1, 2, 3, 4, 7, 2**31, 2**63 - 1)), max_size=5).map(tuple)
HOSTILE = st.data()


@given(HOSTILE)
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


@given(HOSTILE)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_tensors_a_file_has_they_are_translated_or_refused(data):
    case = data.draw(st.sampled_from([case for case in CASES if case["config"]["side"] <= 256]))
    tensors = {name: torch.zeros(shape) for name, shape in case["shapes"].items()}
    for name in tensors:
        if name.endswith(("_u", "_v", "_orig")):
            tensors[name] += 1
    small = st.lists(st.integers(0, 3), max_size=4)
    dtypes = st.sampled_from((torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64))
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=3)):
        tensors[name] = torch.ones(data.draw(small), dtype=data.draw(dtypes))
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=2)):
        tensors.pop(name, None)
    for name in data.draw(st.lists(st.text(max_size=8), max_size=1)):
        tensors[name] = torch.ones(data.draw(small))
    with suppress(InputError):
        LAYOUT.convert(tensors)


@pytest.mark.parametrize("config", [config for config in CONFIGS if config.side == 128], ids=repr)
def test_an_image_does_not_depend_on_the_others_in_its_batch(config):
    generator = with_noise(FastGANGenerator(config)).eval()
    z, labels = inputs(config)
    together = generator(z, labels)
    alone = torch.cat([generator(z[i : i + 1], None if labels is None else labels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def with_noise(generator):
    for name, parameter in generator.named_parameters():
        if name.endswith("noise.strength"):
            parameter.data.fill_(1.0)
        if name.endswith("conv.weight"):
            nn.init.orthogonal_(parameter)
    return generator


def test_a_finished_generator_adds_the_same_noise_always():
    generator = with_noise(FastGANGenerator(SMALL)).eval()
    z, labels = inputs(SMALL)
    torch.manual_seed(0)
    first = generator(z, labels)
    torch.manual_seed(1)
    assert torch.equal(first, generator(z, labels))


def test_the_fixed_noise_is_the_numbers_that_files_were_proven_with():
    assert fixed_noise(8, 8, 0).shape == (8, 8)
    assert fixed_noise(8, 8, 0)[0, :3].tolist() == pytest.approx([0.12795, -1.52847, -0.59447], abs=1e-4)
    assert not (fixed_noise(8, 8, 0) == fixed_noise(8, 8, 1)).any()
    assert fixed_noise(8, 12, 0).shape == (8, 12)


def test_noise_makes_a_difference_where_it_is_strong():
    generator = FastGANGenerator(SMALL).eval()
    z, labels = inputs(SMALL)
    without = generator(z, labels)
    assert not torch.allclose(without, with_noise(generator)(z, labels))


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format], ids=str)
def test_a_gated_linear_unit_is_torch_s_and_its_gradient_keeps_the_order_of_axes(order):
    x = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=order)
    x.requires_grad_()
    inner, orders = x * 1, []
    inner.register_hook(lambda gradient: orders.append(gradient.is_contiguous(memory_format=order)))
    y = gated(inner)
    torch.testing.assert_close(y, nn.functional.glu(x, dim=1), rtol=0, atol=1e-6)
    y.backward(torch.ones_like(y))
    assert orders == [True]


def test_noise_that_is_drawn_is_every_image_s_own():
    noise = Noise(position=0)
    noise.strength.data.fill_(1.0)
    first, second = noise(torch.zeros(2, 3, 8, 8), torch.Generator().manual_seed(0))
    assert not torch.equal(first, second)
    assert torch.equal(first[0], first[1]), "but all channels of an image the same"


@pytest.mark.parametrize("projected", [0, 1])
@pytest.mark.parametrize("side", [64, 128])
def test_every_weight_learns(side, projected):
    stages = side.bit_length() - 3
    config = FastGANConfig(side, 3, (8,) * (stages + 1), (2,) * stages, classes=3, latent_size=5, projected=projected)
    generator = FastGANGenerator(config).train()
    generator(*inputs(config, 8)).square().sum().backward()
    learning = generator.named_parameters()
    assert [name for name, parameter in learning if parameter.grad is None or not parameter.grad.any()] == []


def test_training_moves_the_running_averages():
    generator = FastGANGenerator(SMALL).train()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    generator(*inputs(SMALL, 8))
    after = generator.state_dict()
    still = [name for name in after if "running" in name and torch.equal(before[name], after[name])]
    assert still == []


def test_a_projected_gan_looks_at_the_direction_of_z_alone():
    config = dataclasses.replace(SMALL, projected=1)
    z, labels = inputs(config)
    generator = FastGANGenerator(config).eval()
    torch.testing.assert_close(generator(z, labels), generator(3 * z, labels), rtol=0, atol=1e-6)


def test_one_weight_for_one_class_is_that_class():
    generator = FastGANGenerator(SMALL).eval()
    z, labels = inputs(SMALL)
    one_hot = nn.functional.one_hot(labels, 3).float()
    assert torch.equal(generator(z, labels), generator(z, one_hot))
    assert not torch.equal(generator(z, labels), generator(z, one_hot.roll(1, dims=1)))


def test_only_an_image_of_1024_is_bounded_by_a_tanh_and_none_of_a_projected_gan():
    for side, projected in [(64, 0), (512, 0), (1024, 0), (1024, 1)]:
        config = FastGANConfig(side, 1, (1,) * (side.bit_length() - 2), (1,) * (side.bit_length() - 3), 0, 4, projected)
        generator = FastGANGenerator(config).eval()
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.fill_(1.0)
            bounded = generator(*inputs(config, 1)).abs().max() <= 1
        assert bounded == (side == 1024 and not projected)


def test_widths_and_convolutions_are_those_of_the_paper():
    assert fastgan.widths(1024) == (1024, 512, 256, 128, 128, 64, 32, 16, 8)
    assert fastgan.widths(256, base=128) == (2048, 1024, 512, 256, 256, 128, 64)
    assert fastgan.convolutions(1024) == (2, 1, 2, 1, 2, 1, 2, 1)
    assert fastgan.convolutions(256) == (2, 1, 2, 1, 2, 1)


def test_first_weights_are_drawn_as_the_authors_do():
    config = FastGANConfig(64, 3, (64, 64, 64, 64, 64), (2, 1, 2, 1))
    generator = FastGANGenerator(config)
    for weight in (generator.project.weight, generator.stages[0].layers[0].conv.weight):
        assert weight.mean().item() == pytest.approx(0, abs=1e-3)
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert generator.norm.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert generator.stages[0].layers[0].noise.strength.item() == 0


@pytest.mark.parametrize("side", [0, 8, 32, 100, 2048, -64])
def test_a_side_that_it_cannot_make_is_refused_with_those_it_can(side):
    with pytest.raises(InputError, match=rf"64, 128, 256, 512 or 1024 pixels \(got {side}\)\."):
        dataclasses.replace(SMALL, side=side)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 2},
        {"widths": (4, 4, 3, 3)},
        {"widths": (4, 4, 3, 3, 0)},
        {"widths": (4, 4, 3, 3, 10**9)},
        {"convolutions": (2, 1, 2)},
        {"convolutions": (2, 1, 2, 3)},
        {"convolutions": (2, 1, 2, 0)},
        {"classes": -1},
        {"classes": 10**9},
        {"latent_size": 0},
        {"projected": 2},
    ],
    ids=repr,
)
def test_a_network_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="fastgan"):
        dataclasses.replace(SMALL, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": ()},
        {"start": (4, 4, 4)},
        {"start": (4, 1)},
        {"start": (4, 17)},
        {"start": (0, 4), "side": 0},
        {"start": (17, 4), "side": 17 * 16},
        {"start": (8, 8)},
        {"start": (6, 4)},
    ],
    ids=repr,
)
def test_a_first_block_that_it_cannot_begin_with_is_refused(wrong):
    with pytest.raises(InputError, match="fastgan"):
        dataclasses.replace(SMALL, **wrong)


def test_a_config_from_before_there_was_a_choice_of_first_blocks_means_4x4():
    values = dataclasses.asdict(SMALL)
    del values["start"]
    assert FastGANConfig(**values) == SMALL


WIDE = fastgan.design(96, (6, 4), 3, 3, base=1, latent_size=5)
LANDSCAPES = [fastgan.design(64, (4, 6), 4, 0, base=1, latent_size=5), WIDE, fastgan.design(160, (5, 5), 1, 2, base=1)]


@pytest.mark.parametrize("config", LANDSCAPES, ids=lambda config: f"{config.start[0]}x{config.start[1]}")
def test_a_picture_of_any_shape_is_made_and_read_back(config):
    height, width = size_of(config)
    generator = FastGANGenerator(config).eval()
    z, labels = inputs(config, 2)
    with torch.no_grad():
        images = generator(z, labels)
    assert images.shape == (2, config.channels, height, width)
    assert ARCHITECTURE.config_from(shapes_of(generator)) == config


def test_a_design_is_the_paper_s_for_the_number_of_doublings():
    config = fastgan.design(256, (4, 4), 3, 0)
    assert config == FastGANConfig(256, 3, fastgan.widths(256), fastgan.convolutions(256))
    portrait = fastgan.design(384, (6, 4), 3, 0)
    assert dataclasses.replace(config, side=384, start=(6, 4)) == portrait
    assert size_of(portrait) == (384, 256)


def test_a_design_for_images_too_small_is_refused_with_the_sides_it_can_make():
    with pytest.raises(InputError, match=r"64, 128, 256, 512 or 1024 pixels \(got 32\)"):
        fastgan.design(32, (4, 4), 3, 0)
