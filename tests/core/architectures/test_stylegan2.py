"""StyleGAN2: the reference's numbers, every shape it promises, and how it is recognised."""

import contextlib
from dataclasses import asdict, replace
from typing import Any

import golden
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stylegan2_networks import SMALL, generator_of, original, shapes_of

from gan_core import InputError, Latent, sample_noise
from gan_core.architectures import detect, stylegan2
from gan_core.architectures.stylegan2 import ARCHITECTURE, StyleGAN2Config, StyleGAN2Generator
from gan_core.foreign.layouts.nvidia_stylegan2 import LAYOUT

# The reference's numbers.


def name_of(case: dict[str, Any]) -> str:
    return f"{case['weights']}-psi{case['truncation']}-{case['noise']}"


@pytest.mark.parametrize("case", golden.cases("stylegan2"), ids=name_of)
def test_pictures_are_those_of_the_reference(case: dict[str, Any]) -> None:
    settings_ = dict(case["config"])
    widths = stylegan2.widths(settings_["side"], settings_.pop("base"), settings_.pop("largest"))
    generator = generator_of(StyleGAN2Config(widths=widths, **settings_), case["weights"])
    noise = sample_noise(generator, case["seeds"], case["truncation"], case["labels"], cutoff=case["cutoff"])
    images = generator.decode(noise, case["noise"])
    assert golden.largest_difference(images, case["images"]) < golden.TOLERANCE


def test_noise_of_a_seed_is_what_nvidias_tools_draw() -> None:
    noise = sample_noise(generator_of(SMALL), [3, 4])
    assert noise.space == "z"
    torch.testing.assert_close(noise.samples.flatten(1), golden.noise([3, 4], 5), rtol=0, atol=0)


# Shapes.


@pytest.mark.parametrize("side", [8, 16, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_config_makes_images_and_is_recognised(side: int, channels: int, classes: int) -> None:
    config = replace(SMALL, side=side, channels=channels, classes=classes, widths=stylegan2.widths(side, 64, 8))
    generator = generator_of(config)
    assert generator.decode(sample_noise(generator, range(2))).shape == (2, channels, side, side)
    shapes = shapes_of(generator.module)
    assert detect(shapes) is ARCHITECTURE
    assert ARCHITECTURE.config_from(shapes) == config
    assert shapes["mapping.w_avg"] == (7,)
    assert ARCHITECTURE.styles and ARCHITECTURE.styles(config) == (7, 2 * len(config.widths))


@pytest.mark.parametrize(("start", "side"), [((4, 6), 16), ((7, 7), 28), ((5, 3), 40)])
def test_a_first_block_of_any_shape_grows_to_its_image(start: tuple[int, int], side: int) -> None:
    blocks = (side // start[0]).bit_length()
    config = replace(SMALL, side=side, start=start, widths=stylegan2.widths(4 * 2 ** (blocks - 1), 64, 8))
    generator = generator_of(config)
    width = side * start[1] // start[0]
    latent = sample_noise(generator, range(2), 0.7)
    for noise in ("const", "random", "none"):
        assert generator.decode(latent, noise).shape == (2, 3, side, width)
    shapes = shapes_of(generator.module)
    assert shapes["synthesis.b4.const"][1:] == start and f"synthesis.b{4 * 2 ** (blocks - 1)}.conv1.weight" in shapes
    assert detect(shapes) is ARCHITECTURE and ARCHITECTURE.config_from(shapes) == config


def test_a_file_from_before_there_were_other_first_blocks_has_one_of_4x4() -> None:
    config = StyleGAN2Config(16, 3, (8, 6, 4))
    assert config.start == (4, 4) and config.names == ["b4", "b8", "b16"]
    assert config.noise_sizes == [(4, 4), (8, 8), (8, 8), (16, 16), (16, 16)]


def test_widths_are_counted_as_nvidia_counts_them() -> None:
    assert stylegan2.widths(256, base=16384) == (512, 512, 512, 512, 256, 128, 64)
    assert stylegan2.widths(1024) == (512, 512, 512, 512, 512, 256, 128, 64, 32)


@pytest.mark.parametrize(
    "change",
    [{"side": 12}, {"side": 2}, {"side": 8192}, {"channels": 2}, {"widths": (8, 6)}, {"widths": (8, 6, 0)},
     {"latent_size": 0}, {"w_dim": 2**17}, {"classes": -1}, {"mapping_layers": 0}, {"mapping_layers": 100},
     {"clamp": -1}, {"start": (4,)}, {"start": (4, 4, 4)}, {"start": (0, 4)}, {"start": (8, 8)}, {"start": (4, 17)},
     {"side": 8, "start": (4, 2), "widths": (8, 6)}],
)  # fmt: skip
def test_a_config_that_cannot_be_is_refused_in_a_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^(\w+ of |Height and width of )?stylegan2 .*\.$"):
        replace(SMALL, **change)


NAMES = st.sampled_from([*shapes_of(StyleGAN2Generator(SMALL)), "synthesis.b99999.torgb.weight", "x.resample_filter"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, st.lists(st.integers(0, 2**40), max_size=5).map(tuple), max_size=30))
def test_any_shapes_are_taken_or_refused_in_a_sentence(changes: dict[str, tuple[int, ...]]) -> None:
    shapes = {**shapes_of(StyleGAN2Generator(SMALL)), **changes}
    LAYOUT.detect(shapes)
    if ARCHITECTURE.detect(shapes):
        with contextlib.suppress(InputError):
            assert isinstance(ARCHITECTURE.config_from(shapes), StyleGAN2Config)


# What the styles and the noise do.


def test_each_style_acts_on_its_own_layer_and_those_behind() -> None:
    generator = generator_of(SMALL)
    styles = torch.randn(1, 6, 7, generator=torch.Generator().manual_seed(0))
    before = generator.module.synthesis(styles)
    changed = styles.clone()
    changed[:, 5] += 1  # the last block's image, and nothing before it
    difference = (generator.module.synthesis(changed) - before).abs()
    assert difference.max() > 0.01
    features = torch.nn.functional.interpolate(difference, size=4)
    assert features.std() > 0


def test_random_noise_depends_on_its_seed_alone() -> None:
    generator = generator_of(SMALL)
    for name, parameter in generator.module.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    noise = sample_noise(generator, [7, 7, 7])
    images = generator.decode(noise, noise="random", noise_seed=5)
    assert not torch.equal(images[0], images[1])
    torch.testing.assert_close(
        generator.decode(noise[:1], noise="random", noise_seed=6)[0], images[1], rtol=0, atol=1e-5
    )
    plain = generator.decode(noise, noise="none")
    assert not torch.equal(plain[0], images[0]) and not torch.equal(plain[0], generator.decode(noise)[0])


def test_a_batch_is_its_images_one_by_one() -> None:
    generator = generator_of(SMALL)
    noise = sample_noise(generator, range(5))
    alone = torch.cat([generator.decode(noise[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(generator.decode(noise), alone, rtol=0, atol=1e-5)


def test_labels_by_number_and_by_weights_agree() -> None:
    generator = generator_of(replace(SMALL, classes=3))
    by_number = generator.decode(sample_noise(generator, [1], labels=2))
    by_weights = generator.decode(sample_noise(generator, [1], labels=torch.tensor([0.0, 0.0, 1.0])))
    mixed = generator.decode(sample_noise(generator, [1], labels=torch.tensor([0.0, 0.5, 0.5])))
    assert torch.equal(by_number, by_weights) and not torch.equal(by_number, mixed)


# It can be trained.


def test_fresh_weights_make_features_of_unit_scale() -> None:
    torch.manual_seed(0)
    module = StyleGAN2Generator(StyleGAN2Config(32, 3, (64, 64, 32, 16), latent_size=64, w_dim=64))
    images = module(torch.randn(64, 64))
    assert 0.3 < images.std() < 3
    w = module.mapping(torch.randn(64, 64))
    assert 0.3 < w.std() < 3


def test_gradients_reach_every_weight_and_can_be_differentiated_again() -> None:
    module = StyleGAN2Generator(replace(SMALL, classes=2))
    z = torch.randn(2, 5)
    w = module.mapping(z, torch.tensor([0, 1]))
    images = module.synthesis(w.unsqueeze(1).repeat(1, 6, 1))
    # Path length regularisation asks for the gradient of a gradient (Karras et al. 2020a, sec. 3.2).
    (slope,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), w, create_graph=True)
    (images.square().mean() + slope.square().sum()).backward()
    missing = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert missing == []


def test_the_gradient_is_that_of_the_function() -> None:
    module = StyleGAN2Generator(replace(SMALL, side=8, widths=(3, 2), channels=1, clamp=0)).double()
    module.synthesis.to(torch.float64)
    styles = torch.randn(1, 4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module.synthesis, (styles,))


# NVIDIA's own names.


def test_filters_are_known_and_left_out() -> None:
    weights = original(SMALL)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert LAYOUT.detect(shapes) and not ARCHITECTURE.detect(shapes)
    ours = LAYOUT.convert(weights)
    assert set(ours) == set(shapes_of(StyleGAN2Generator(SMALL)))


def test_another_filter_is_refused() -> None:
    weights = original(SMALL)
    name = next(name for name in weights if name.endswith("resample_filter"))
    weights[name] = torch.ones(4, 4) / 16
    with pytest.raises(InputError, match="is not the filter"):
        LAYOUT.convert(weights)


# Latents in w.


def test_w_is_the_same_style_for_every_layer() -> None:
    generator = generator_of(SMALL)
    latent = sample_noise(generator, [0, 1], space="w")
    assert latent.space == "w" and latent.samples.shape == (2, 7, 6, 1) == (2, *(generator.style_shape or ()))
    assert (latent.samples == latent.samples[:, :, :1]).all()
    torch.testing.assert_close(
        generator.decode(latent), generator.decode(sample_noise(generator, [0, 1])), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("latent", "sentence"),
    [
        (Latent(torch.zeros(1, 7, 6, 1), "w+", torch.tensor([0])), "is in w already"),
        (Latent(torch.zeros(1, 7, 5, 1), "w+"), "one style for each of its 6 layers"),
        (Latent(torch.zeros(1, 8, 6, 1), "w"), "one style for each of its 6 layers"),
        (Latent(torch.zeros(1, 5, 1, 1), "s"), "in z, w or w\\+ space \\(got s\\)"),
        (Latent(torch.zeros(1, 5, 1, 1), "z"), "has no class label"),
    ],
)
def test_a_latent_that_does_not_fit_is_refused(latent: Latent, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        generator_of(replace(SMALL, classes=2)).decode(latent)


def test_a_saved_generator_is_the_same(tmp_path: Any) -> None:
    import gan_core

    generator = generator_of(replace(SMALL, clamp=3))
    opened = gan_core.load(generator.save(tmp_path / "one.safetensors"))
    assert asdict(opened.config) == asdict(generator.config)
    noise = sample_noise(generator, range(3), 0.5)
    assert torch.equal(opened.decode(noise), generator.decode(noise))
