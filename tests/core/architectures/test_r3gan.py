"""R3GAN: equal to the authors' network, recognised in a file, and trained."""

import math
import re
from dataclasses import asdict
from typing import TypeVar

import golden
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import finish

from gan_core import InputError, TrainConfig, generator, weights
from gan_core.architectures import ARCHITECTURES, size_of, start_for
from gan_core.architectures.layers.resampling import doubled, halved
from gan_core.architectures.r3gan import (
    ARCHITECTURE,
    MAX_BLOCKS,
    MAX_WIDTH,
    R3GANConfig,
    R3GANDiscriminator,
    R3GANGenerator,
    design,
)
from gan_core.foreign.layouts.r3gan import LAYOUT
from gan_core.losses.gradient_penalties import gradient_penalty, image_gradients
from gan_core.training.presets import GAN_PRESETS

CASES = golden.cases("r3gan")
EVERY_CASE = pytest.mark.parametrize(
    "case", CASES, ids=[f"{case['config']['side']}-{case['config'].get('classes', 0)}" for case in CASES]
)
CONDITIONAL = next(case for case in CASES if case["config"]["side"] == 16)

SMALL = R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1), classes=3, latent_size=5, embedding=2)

PUBLISHED = [
    R3GANConfig(32, 3, (768,) * 4, (96,) * 4, (2,) * 4),
    R3GANConfig(32, 3, (768,) * 4, (96,) * 4, (2,) * 4, classes=10, embedding=64),
    R3GANConfig(64, 3, (768, 768, 768, 768, 384), (96, 96, 96, 96, 48), (2,) * 5),
    R3GANConfig(256, 3, (768, 768, 768, 768, 384, 192, 96), (96, 96, 96, 96, 48, 24, 12), (2,) * 7),
    R3GANConfig(32, 3, (1536,) * 4, (96,) * 4, (2,) * 4, classes=1000, embedding=64),
    R3GANConfig(64, 3, (1536,) * 5, (96,) * 5, (2,) * 5, classes=1000, embedding=64),
]


def config_of(case: dict) -> R3GANConfig:
    numbers = case["config"].items()
    return R3GANConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in numbers})


def original(case: dict) -> dict[str, torch.Tensor]:
    """The state dict that the authors' network had when it made the case's images."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    tensors = golden.weights(case["shapes"], case["weights_seed"])
    for name in tensors:
        if name.endswith("weight"):
            tensors[name] /= math.sqrt(tensors[name][0].numel())
        if name.endswith("Kernel"):
            tensors[name] = torch.outer(row, row) / 64
    tensors["Model.AggregationLayer.Layer.weight"] *= case["image_factor"]
    return tensors


def planned(config: R3GANConfig) -> R3GANGenerator:
    """A generator without memory."""
    with torch.device("meta"):
        return R3GANGenerator(config)


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


Network = TypeVar("Network", R3GANGenerator, R3GANDiscriminator)


def awake(config: R3GANConfig, dtype: torch.dtype = torch.float32) -> R3GANGenerator:
    """A generator whose blocks and biases are not zero any more, as after some training."""
    return woken(R3GANGenerator(config).to(dtype))


def judge(config: R3GANConfig, dtype: torch.dtype = torch.float32) -> R3GANDiscriminator:
    """Such a discriminator."""
    return woken(R3GANDiscriminator(config).to(dtype))


def woken(network: Network) -> Network:
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, 0, 0.3)
    return network


def inputs(config: R3GANConfig, count: int = 3) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.randn(count, config.latent_size), torch.arange(count) % config.classes if config.classes else None


@st.composite
def configs(draw: st.DrawFn) -> R3GANConfig:
    stages = draw(st.integers(1, 4))
    classes = draw(st.integers(0, 3))
    groups, expansion = draw(st.tuples(*[st.integers(1, 3)] * stages)), draw(st.integers(1, 3))
    start = draw(st.sampled_from([(4, 4), (4, 6), (7, 7), (5, 2), (16, 16)]))
    return R3GANConfig(
        side=start[0] * 2 ** (stages - 1),
        channels=draw(st.sampled_from([1, 3, 4])),
        widths=tuple(draw(st.integers(1, 3)) * number for number in groups),
        groups=groups,
        blocks=draw(st.tuples(*[st.integers(1, 3)] * stages)),
        classes=classes,
        latent_size=draw(st.integers(1, 9)),
        embedding=draw(st.integers(1, 5)) if classes else 0,
        expansion=expansion,
        start=start,
    )


SIZES = st.integers(0, 5) | st.sampled_from([16, 64, MAX_WIDTH, MAX_WIDTH + 1, 2**31, 2**63])
HOSTILE_SHAPES = st.lists(SIZES, max_size=5).map(tuple)


@EVERY_CASE
def test_images_are_those_of_the_authors_network(case):
    config = config_of(case)
    generator = R3GANGenerator(config).eval()
    generator.load_state_dict(LAYOUT.convert(original(case)))
    labels = torch.tensor(case["labels"]) if config.classes else None
    with torch.no_grad():
        images = generator(golden.noise(case["z_seeds"], config.latent_size), labels)
    assert golden.largest_difference(images, case["images"]) < golden.TOLERANCE


@EVERY_CASE
def test_the_authors_state_dict_says_its_config(case):
    shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
    assert LAYOUT.detect(shapes)
    assert not ARCHITECTURE.detect(shapes)
    renamed = {name: tuple(tensor.shape) for name, tensor in LAYOUT.convert(original(case)).items()}
    assert ARCHITECTURE.detect(renamed) and not LAYOUT.detect(renamed)
    assert ARCHITECTURE.config_from(renamed) == config_of(case)


# A label's embedding and z are one vector to the rest of the network: shapes cannot tell that there was no such part.
PARTS = [name for name in CONDITIONAL["shapes"] if name != "Model.EmbeddingLayer.weight"]


@pytest.mark.parametrize("name", PARTS)
def test_the_authors_state_dict_is_refused_where_a_part_is_missing_or_misshapen(name):
    tensors = original(CONDITIONAL)
    tensor = tensors.pop(name)
    with pytest.raises(InputError, match=r"\.$"):
        LAYOUT.convert(tensors)
    for wrong in (tensor[None], torch.cat([tensor, tensor])):
        with pytest.raises(InputError, match=r"\.$"):
            LAYOUT.convert({**tensors, name: wrong})


@pytest.mark.parametrize(
    "name",
    [
        "Model.ExtractionLayer.Layer.weight",
        "Model.MainLayers.0.Layers.0.Resampler.Kernel",
        "Model.MainLayers.1.Layers.0.LinearLayer.Layer.weight",
        "Model.MainLayers.1.Layers.01.NonLinearity1.Bias",
        f"Model.MainLayers.1.Layers.{MAX_BLOCKS + 1}.NonLinearity1.Bias",
        "Model.MainLayers.9.Layers.1.NonLinearity1.Bias",
        "stages.0.blocks.0.expand.bias",
    ],
)
def test_what_is_left_over_is_refused_by_name(name):
    tensors = original(CASES[0])
    assert name not in tensors
    with pytest.raises(InputError, match=f"it has {re.escape(name)}, which is not a part"):
        LAYOUT.convert({**tensors, name: torch.zeros(4, 4)})


def test_another_filter_is_refused():
    tensors = original(CASES[0])
    name = "Model.MainLayers.2.Layers.0.Resampler.Kernel"
    usual = tensors[name]
    others = [usual * 4, usual.flip(0) * 1.01, torch.full((4, 4), 1 / 16), usual[:3, :3], usual[None], usual * math.nan]
    for other in [*others, usual.to("meta"), usual.to_sparse(), usual.bool()]:
        with pytest.raises(InputError, match="Kernel is not the filter"):
            LAYOUT.convert({**tensors, name: other})
    for same in (usual.double(), usual.bfloat16(), torch.nn.Parameter(usual)):
        assert LAYOUT.convert({**tensors, name: same}).keys() == LAYOUT.convert(tensors).keys()


def test_renaming_changes_no_tensor_and_draws_no_number():
    tensors = original(CASES[1])
    before = torch.get_rng_state()
    renamed = LAYOUT.convert(tensors)
    assert torch.equal(before, torch.get_rng_state())
    assert {id(tensor) for tensor in renamed.values()} < {id(tensor) for tensor in tensors.values()}


@given(st.data())
def test_any_tensors_are_renamed_or_refused_in_a_sentence(data):
    tensors = {name: torch.empty(shape, device="meta") for name, shape in CASES[0]["shapes"].items()}
    names = st.sampled_from([*tensors, "Model.MainLayers.4.Layers.1.LinearLayer2.Layer.weight"]) | st.text(max_size=9)
    few = st.lists(st.integers(0, 5) | st.sampled_from([16, 128, 2**12]), max_size=5).map(tuple)
    changes = data.draw(st.dictionaries(names, st.none() | few, min_size=1, max_size=4))
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.empty(shape, device="meta")
    with pytest.raises(InputError, match=r"\.$"):  # tensors without numbers are no filter, if nothing else is amiss
        LAYOUT.convert(tensors)


@given(configs())
def test_a_bare_state_dict_says_its_config(config):
    shapes = shapes_of(planned(config))
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda config: f"{config.side}-{config.classes}")
def test_the_published_networks_can_be_built_and_recognised(config):
    shapes = shapes_of(planned(config))
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config


def test_the_published_network_for_faces_has_the_papers_size():
    assert sum(math.prod(shape) for shape in shapes_of(planned(PUBLISHED[3])).values()) == pytest.approx(
        23.06e6, rel=1e-3
    )


def test_no_other_family_is_taken_for_it_nor_it_for_another():
    shapes = shapes_of(planned(SMALL))
    others = [family for family in ARCHITECTURES if family.name != ARCHITECTURE.name]
    assert others
    assert [family.name for family in others if family.detect(shapes)] == []
    dcgan = next(family for family in others if family.name == "dcgan")
    assert not ARCHITECTURE.detect(shapes_of(dcgan.generator(dcgan.config(16, 3, classes=2, width=2))))


@given(configs(), st.data())
def test_a_shape_of_any_kind_is_refused_in_a_sentence_or_gives_a_config(config, data):
    shapes = shapes_of(planned(config))
    extra = st.builds("stages.{}.blocks.{}.{}.weight".format, st.integers(0, 13), st.integers(0, 40), st.just("mix"))
    changes = data.draw(st.dictionaries(st.sampled_from([*shapes]) | extra, st.none() | HOSTILE_SHAPES, max_size=4))
    for name, shape in changes.items():
        shapes.pop(name, None)
        if shape is not None:
            shapes[name] = shape
    if ARCHITECTURE.detect(shapes):
        try:
            found = ARCHITECTURE.config_from(shapes)
        except InputError:
            return
        assert isinstance(found, R3GANConfig)


@given(st.dictionaries(st.sampled_from([*shapes_of(planned(SMALL))]) | st.text(max_size=9), HOSTILE_SHAPES))
def test_shapes_at_random_raise_nothing_but_a_refusal(shapes):
    LAYOUT.detect(shapes)
    ARCHITECTURE.detect(shapes)
    with pytest.raises(InputError):
        ARCHITECTURE.config_from(shapes)


@pytest.mark.parametrize("name", ["project", "embed", "stages.1.blocks.0.expand", "stages.1.blocks.0.mix", "to_image"])
def test_a_tensor_of_no_numbers_is_refused(name):
    shapes = shapes_of(planned(SMALL))
    shape = shapes[f"{name}.weight"]
    for place in range(len(shape)):
        with pytest.raises(InputError):
            ARCHITECTURE.config_from({**shapes, f"{name}.weight": (*shape[:place], 0, *shape[place + 1 :])})


@pytest.mark.parametrize(("stages", "blocks"), [(12, 1), (3, MAX_BLOCKS + 1)])
def test_too_many_stages_or_blocks_are_refused_not_left_out(stages, blocks):
    shapes = shapes_of(planned(SMALL))
    for stage in range(stages):
        for block in range(blocks):
            shapes[f"stages.{stage}.blocks.{block}.mix.weight"] = (4, 2, 3, 3)
            shapes[f"stages.{stage}.blocks.{block}.expand.weight"] = (4, 2, 1, 1)
    with pytest.raises(InputError, match="r3gan"):
        ARCHITECTURE.config_from(shapes)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"side": side} for side in (0, -4, 2, 6, 24, 8, 32, 8192, 2**63)),
        *({"channels": channels} for channels in (0, 2, 5)),
        {"widths": (4, 4)},
        {"widths": ()},
        {"widths": (4, 0, 4)},
        {"widths": (4, 4, MAX_WIDTH + 1)},
        {"groups": (2, 2)},
        {"groups": (0, 2, 2)},
        {"groups": (-2, 2, 2)},
        {"groups": (3, 2, 2)},
        {"blocks": (1, 1, 1, 1)},
        {"blocks": (1, 0, 1)},
        {"blocks": (1, 1, MAX_BLOCKS + 1)},
        {"expansion": 0},
        {"expansion": 17},
        {"latent_size": 0},
        {"latent_size": MAX_WIDTH + 1},
        {"classes": -1, "embedding": 0},
        {"classes": MAX_WIDTH + 1},
        {"classes": 0},
        {"embedding": 0},
        {"embedding": MAX_WIDTH + 1},
        *(
            {"start": start}
            for start in ((), (4,), (4, 4, 4), (4, 1), (1, 4), (17, 4), (4, 17), (0, 0), (8, 8), (5, 4))
        ),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_is_refused(wrong):
    right = {"side": 16, "channels": 3, "widths": (4, 4, 4), "groups": (2, 2, 2), "blocks": (1, 1, 1), "classes": 2}
    assert R3GANConfig(**right, embedding=3)
    with pytest.raises(InputError, match=r"^(\w+ of )?r3gan .*\.$"):
        R3GANConfig(**{**right, "embedding": 3, **wrong})


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [4, 8, 16, 32, 64, 128])
def test_a_generator_makes_images_of_the_promised_shape(side, channels):
    stages = side.bit_length() - 2
    config = R3GANConfig(side, channels, (4,) * stages, (2,) * stages, (1,) * stages, latent_size=5)
    assert awake(config)(*inputs(config, 2)).shape == (2, channels, side, side)


def test_the_filter_keeps_what_is_even_and_fades_at_the_edges():
    image = doubled(torch.ones(1, 2, 3, 3))
    assert torch.equal(image[:, :, 1:-1, 1:-1], torch.ones(1, 2, 4, 4))
    assert torch.equal(image[0, 0, 0], torch.tensor([0.5625, 0.75, 0.75, 0.75, 0.75, 0.5625]))


def test_an_image_does_not_depend_on_the_others_in_its_batch():
    generator, (z, labels) = awake(SMALL), inputs(SMALL)
    alone = torch.cat([generator(z[i : i + 1], labels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(generator(z, labels), alone, rtol=0, atol=1e-5)


def test_a_label_may_be_a_number_or_a_weight_for_each_class():
    generator, (z, labels) = awake(SMALL), inputs(SMALL)
    torch.testing.assert_close(generator(z, labels), generator(z, torch.eye(3)))
    assert not torch.allclose(generator(z, labels), generator(z, labels.flip(0)))
    between = generator(z, torch.full((3, 3), 1 / 3))
    assert not any(torch.allclose(between, generator(z, torch.full((3,), label))) for label in range(3))


def test_every_block_begins_as_the_identity_so_that_the_first_image_is_linear_in_z():
    config = R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1), latent_size=5)
    generator, (z, _) = R3GANGenerator(config), inputs(config)
    torch.testing.assert_close(generator(z[:1] + 2 * z[1:2]), generator(z[:1]) + 2 * generator(z[1:2]))


def test_first_weights_are_drawn_as_the_paper_says():
    config = R3GANConfig(8, 3, (256, 128), (16, 8), (3, 2), classes=10, embedding=500, latent_size=500)
    generator = R3GANGenerator(config)
    block = generator.stages[0].blocks[0]
    deviation = math.sqrt(2 / 1.04) * 5 ** (-1 / 4)  # of a layer's outputs, for 5 blocks
    expected = [
        (generator.basis, 1),
        (generator.embed.weight, 0.1),  # however many classes there are
        (generator.project.weight, 1 / math.sqrt(1000)),
        (generator.stages[1].resize.weight, 1 / math.sqrt(256)),
        (generator.to_image.weight, 1 / math.sqrt(128)),
        (block.expand.weight, deviation / math.sqrt(256)),
        (block.mix.weight, deviation / math.sqrt(32 * 9)),
    ]
    for weight, std in expected:
        assert weight.mean().item() == pytest.approx(0, abs=0.2 * std)
        assert weight.std().item() == pytest.approx(std, rel=0.1)
    for zero in (block.contract.weight, block.expand.bias, block.mix.bias):
        assert not zero.any()


def test_first_weights_depend_on_the_seed_alone():
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(R3GANGenerator(SMALL).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["basis"], states[2]["basis"])


def test_every_weight_learns():
    generator = awake(SMALL)
    generator(*inputs(SMALL, 8)).square().sum().backward()
    assert [name for name, weight in generator.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_gradients_are_right_to_the_second_order():
    config = R3GANConfig(8, 1, (2, 3), (2, 1), (1, 1), latent_size=2, expansion=1)
    generator = awake(config, torch.float64)
    names = [name for name, _ in generator.named_parameters()]

    def images(z: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(generator, dict(zip(names, weights, strict=True)), (z,))

    z = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    weights = [parameter.detach().requires_grad_() for parameter in generator.parameters()]
    assert torch.autograd.gradcheck(images, (z, *weights))
    assert torch.autograd.gradgradcheck(images, (z, *weights), fast_mode=True)


# The discriminator.


@pytest.mark.parametrize("start", [(4, 4), (4, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_any_shape_are_made_and_judged(channels, classes, start):
    config = R3GANConfig(
        4 * start[0], channels, (8, 4, 4), (2, 1, 2), (1, 2, 1), classes, 5, 2 if classes else 0, start=start
    )
    z, labels = inputs(config)
    images = awake(config)(z, labels)
    assert images.shape == (3, channels, *size_of(config)) == (3, channels, 4 * start[0], 4 * start[1])
    logits = judge(config)(images, labels)
    assert logits.shape == (3,) and logits.dtype == torch.float32


def test_a_logit_depends_on_its_own_image_alone():
    discriminator, labels = judge(SMALL, torch.float64), torch.tensor([0, 1, 2])
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    logits = discriminator(images, labels)
    for i, logit in enumerate(logits):
        (gradient,) = torch.autograd.grad(logit, images, retain_graph=True)
        assert [bool(each.any()) for each in gradient] == [i == j for j in range(3)]
    alone = torch.cat([discriminator(images[i : i + 1], labels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(logits, alone)


def test_the_discriminators_gradients_are_right_to_the_second_order():
    config = R3GANConfig(8, 1, (2, 4), (2, 1), (1, 1), classes=2, latent_size=2, embedding=2, start=(4, 2))
    discriminator = judge(config, torch.float64)
    names = [name for name, _ in discriminator.named_parameters()]
    labels = torch.tensor([0, 1])

    def logits(images: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(discriminator, dict(zip(names, weights, strict=True)), (images, labels))

    def penalty(images: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return gradient_penalty(image_gradients(logits(images, *weights), images))

    images = torch.randn(2, 1, 8, 4, dtype=torch.float64, requires_grad=True)
    parameters = [parameter.detach().requires_grad_() for parameter in discriminator.parameters()]
    assert torch.autograd.gradcheck(logits, (images, *parameters), fast_mode=True)
    assert torch.autograd.gradcheck(penalty, (images, *parameters), fast_mode=True)


def test_a_discriminator_judges_an_image_by_its_label_where_there_are_classes():
    images = torch.randn(3, 3, 16, 16)
    discriminator = judge(SMALL)
    by_label = torch.stack([discriminator(images, torch.full((3,), label)) for label in range(3)])
    assert not any(torch.allclose(by_label[i], by_label[i - 1]) for i in range(3))
    plain = judge(R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1)))
    assert torch.equal(plain(images), plain(images, torch.tensor([0, 1, 2])))


def test_the_first_logit_is_linear_in_the_image():
    discriminator = R3GANDiscriminator(R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1)))
    one, other = torch.randn(2, 1, 3, 16, 16)
    torch.testing.assert_close(discriminator(one + 2 * other), discriminator(one) + 2 * discriminator(other))


def test_the_discriminators_first_weights_are_drawn_as_the_paper_says():
    discriminator = R3GANDiscriminator(R3GANConfig(8, 3, (128, 256), (8, 16), (2, 3), classes=50, embedding=7))
    block = discriminator.stages[0].blocks[0]
    deviation = math.sqrt(2 / 1.04) * 5 ** (-1 / 4)
    expected = [
        (discriminator.from_image.weight, 1 / math.sqrt(3)),
        (block.expand.weight, deviation / math.sqrt(256)),
        (block.mix.weight, deviation / math.sqrt(32 * 9)),
        (discriminator.stages[0].resize.weight, 1 / math.sqrt(256)),
        (discriminator.gather.weight, 1 / 4),
        (discriminator.head.weight, 1 / math.sqrt(128)),
        (discriminator.embed.weight, 1 / math.sqrt(128)),
    ]
    for weight, std in expected:
        assert weight.std().item() == pytest.approx(std, rel=0.1)
    assert not block.contract.weight.any()


def test_every_weight_of_the_discriminator_learns():
    discriminator = judge(SMALL)
    images = torch.randn(8, 3, 16, 16, requires_grad=True)
    logits = discriminator(images, torch.arange(8) % 3)
    (gradient_penalty(image_gradients(logits, images)) + logits.square().sum()).backward()
    weights = discriminator.named_parameters()
    assert [name for name, weight in weights if weight.grad is None or not weight.grad.any()] == []


def test_halving_is_doubling_the_other_way_round():
    small, large = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 8, 10, dtype=torch.float64)
    torch.testing.assert_close((doubled(small) * large).sum(), 4 * (small * halved(large)).sum())
    assert torch.equal(halved(torch.ones(1, 2, 8, 8))[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


# What a recipe makes of them.


@pytest.mark.parametrize("published", [PUBLISHED[0], PUBLISHED[2], PUBLISHED[3]], ids=lambda config: str(config.side))
def test_the_papers_numbers_design_the_papers_networks(published):
    assert design(published.side, (4, 4), 3, 0, base=24576, most=768) == published


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize("start", [(4, 4), (4, 7), (7, 5)])
@pytest.mark.parametrize("doublings", [2, 3, 4, 5, 6])
def test_a_network_is_designed_for_every_size(doublings, start, classes):
    config = design(start[0] * 2**doublings, start, 4, classes, base=128, most=16, latent_size=5)
    assert size_of(config) == (start[0] * 2**doublings, start[1] * 2**doublings)
    z, labels = inputs(config, 1)
    images = R3GANGenerator(config)(z, labels)
    assert images.shape == (1, 4, *size_of(config))
    assert R3GANDiscriminator(config)(images, labels).shape == (1,)


def test_a_file_from_before_there_were_other_shapes_opens_as_it_did(tmp_path):
    module = awake(SMALL)
    config = asdict(SMALL)
    del config["start"]
    weights.write(tmp_path / "old.safetensors", module.state_dict(), "r3gan", config, {}, f"{SMALL.side}x{SMALL.side}")
    opened = generator.load(tmp_path / "old.safetensors")
    assert opened.config == SMALL
    z, labels = inputs(SMALL)
    assert torch.equal(opened.module(z, labels), module(z, labels))


PRESETS = [name for name, recipe in GAN_PRESETS.items() if recipe.architecture == "r3gan"]


@pytest.mark.parametrize("side", [32, 64, 128, 256])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_network_for_every_side(preset, side):
    recipe = GAN_PRESETS[preset]
    config = design(side, start_for(side, side), 3, 0, **recipe.network)
    assert config.side == side
    assert recipe.normalisation == "none" and recipe.gradient_penalty == "r1_r2"


def test_the_presets_grow_from_a_desk_to_the_papers_scale():
    sizes = []
    for preset in ("r3gan_small", "r3gan", "r3gan_large"):
        config = design(256, (4, 4), 3, 0, **GAN_PRESETS[preset].network)
        sizes.append(sum(math.prod(shape) for shape in shapes_of(planned(config)).values()))
    assert sizes[0] < 0.5e6 and 9e6 < sizes[1] < 13e6 and sizes[2] == pytest.approx(23.06e6, rel=1e-3)


def test_a_run_that_was_stopped_reaches_the_same_weights_as_one_that_was_not(labelled_images, tmp_path):
    def learned(name: str, *kimg: float) -> dict[str, torch.Tensor]:
        for each in kimg:
            config = TrainConfig.of(tmp_path / name, preset="r3gan_small", kimg=each, batch_size=5, resume=True)
            training, _ = finish(labelled_images, config)
        assert training.run.method.config.classes
        tensors = load_file(tmp_path / name / "checkpoint.safetensors")
        del tensors["history"]
        return tensors

    straight, stopped = learned("straight", 0.03), learned("stopped", 0.015, 0.03)
    assert [name for name in straight if not torch.equal(straight[name], stopped[name])] == []
    opened = generator.load(tmp_path / "stopped" / "generator.safetensors")
    assert opened.architecture is ARCHITECTURE and opened.config.side == labelled_images.side
