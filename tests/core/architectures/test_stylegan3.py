"""StyleGAN3: the reference's numbers, where its images stand, every shape it promises, and how it is recognised."""

import contextlib
from dataclasses import replace
from typing import Any

import golden
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gan_core import Generator, InputError, Latent
from gan_core.architectures import dcgan, stylegan2, stylegan3
from gan_core.architectures.stylegan3 import (
    ARCHITECTURE,
    StyleGAN3Config,
    StyleGAN3Generator,
    signals,
    transform,
)
from gan_core.architectures.stylegan3.signals import filtered_leaky_relu

CASES = golden.cases("stylegan3")
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case["made_by"] for case in CASES])
DETAILED = pytest.mark.parametrize(
    "case", [case for case in CASES if "shapes" in case], ids=lambda case: case["made_by"]
)

SMALL = StyleGAN3Config(side=32, channels=3, widths=(10, 8, 6, 6), latent_size=5, w_dim=7)
BOTH_KINDS = pytest.mark.parametrize("conv_kernel", [3, 1], ids=["T", "R"])


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def network(config: StyleGAN3Config, seed: int = 0, own_filters: bool = False) -> StyleGAN3Generator:
    """A network with weights that make lively images; its filters are those it designs, or some of its own."""
    module = StyleGAN3Generator(config)
    tensors = golden.weights(shapes_of(module), seed)
    for name, tensor in tensors.items():
        if name.startswith("mapping.fc"):
            tensor.mul_(100)
        elif name.endswith("affine.bias"):
            tensor.add_(1)
        elif name.endswith("_filter"):
            tensor.mul_(0.3 if own_filters else 0).add_(1).mul_(module.state_dict()[name])
        elif name.endswith("transform") and not own_filters:
            tensor.copy_(torch.eye(3))
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def network_of(case: dict[str, Any]) -> StyleGAN3Generator:
    config = StyleGAN3Config(**{**case["config"], "widths": tuple(case["config"]["widths"])})
    module = network(config, case["weights"], case["own_filters"])
    *_, last_but_one, last = module.synthesis.children()
    last.weight.mul_(case["image_factor"])
    last_but_one.magnitude_ema.mul_(case["magnitude"])
    return module


def styles_for(module: StyleGAN3Generator, seeds: list[int]) -> torch.Tensor:
    z = golden.noise(seeds, module.mapping.fc0.weight.shape[1])
    return module.mapping(z).unsqueeze(1).repeat(1, module.num_ws, 1)


# The reference's numbers.


@EVERY_CASE
def test_pictures_are_those_of_the_reference(case: dict[str, Any]) -> None:
    module = network_of(case)
    labels = None if case["labels"] is None else torch.tensor(case["labels"])
    w = module.mapping(golden.noise(case["seeds"], case["config"]["latent_size"]), labels)
    styles = module.mapping.w_avg.lerp(w, case["truncation"]).unsqueeze(1).expand(-1, module.num_ws, -1)
    moves = case["moves"] and torch.stack([transform(*move) for move in case["moves"]])
    images = module.synthesis(styles, transform=moves)
    assert min(case["images"]["std"]) > 0.1, "pictures this faint would prove little"
    assert golden.largest_difference(images, case["images"]) < golden.TOLERANCE


@DETAILED
def test_tensors_have_the_names_and_shapes_of_the_references(case: dict[str, Any]) -> None:
    assert shapes_of(network_of(case)) == {name: tuple(shape) for name, shape in case["shapes"].items()}


@DETAILED
def test_filters_are_designed_as_the_references_are(case: dict[str, Any]) -> None:
    designed = network_of(case).state_dict()
    for name, taps in case["filters"].items():
        torch.testing.assert_close(designed[name].flatten()[:24], torch.tensor(taps), rtol=0, atol=1e-6)


@EVERY_CASE
def test_widths_are_counted_as_nvidia_counts_them(case: dict[str, Any]) -> None:
    counted = case["config"]["widths"]
    assert list(stylegan3.widths(case["config"]["side"], case["channel_base"], case["channel_max"], len(counted))) == (
        counted
    )


def test_the_layers_of_the_published_networks_are_known() -> None:
    with torch.device("meta"):
        names = StyleGAN3Generator(StyleGAN3Config(1024, 3, stylegan3.widths(1024))).synthesis.names
    assert names == [
        *("L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512", "L5_148_512", "L6_148_512", "L7_276_323"),
        *("L8_276_203", "L9_532_128", "L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3"),
    ]


# Filters.


def by_definition(
    x: torch.Tensor, up_filter: torch.Tensor, down_filter: torch.Tensor, up: int, size: int
) -> np.ndarray:
    """filtered_leaky_relu in the plainest way: zeros between samples, and convolutions along one line at a time."""
    fine = 2 * (size - 1) + len(down_filter)
    samples = np.zeros((len(x), up * x.shape[1], up * x.shape[2]))
    samples[:, ::up, ::up] = x
    taps = len(up_filter)
    start = taps - 1 - (fine + taps - 1 - up * x.shape[1] + up) // 2
    for axis in (1, 2):
        samples = np.apply_along_axis(np.convolve, axis, samples, up * up_filter.double())
        samples = samples.take(range(start, start + fine), axis)
    samples = np.clip(np.where(samples > 0, samples, 0.2 * samples), -256, 256)
    fall = down_filter if down_filter.ndim == 2 else torch.outer(down_filter, down_filter)
    kernel = fall.double().flip(0, 1)[None, None]
    return functional.conv2d(torch.from_numpy(samples)[:, None], kernel, stride=2)[:, 0].numpy()


@pytest.mark.parametrize("radial", [False, True], ids=["separable", "radial"])
@pytest.mark.parametrize(
    ("inputs", "up", "size"),
    [(20, 2, 18), (36, 4, 52), (24, 8, 100), (150, 2, 148), (86, 4, 150), (5, 128, 100), (120, 2, 97), (130, 2, 100)],
)
def test_a_large_plane_is_filtered_as_if_in_one_piece(inputs: int, up: int, size: int, radial: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = 30 * torch.randn(2, inputs, inputs, generator=generator)
    up_filter = torch.randn(6 * up, generator=generator) / up
    down_filter = torch.randn([12] * (1 + radial), generator=generator)
    expected = by_definition(x, up_filter, down_filter, up, size)
    found = filtered_leaky_relu(x, up_filter, down_filter, up, size).numpy()
    assert found.shape == (2, size, size)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@BOTH_KINDS
def test_planes_that_are_too_many_at_once_are_filtered_in_turns(
    conv_kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = network(replace(SMALL, conv_kernel=conv_kernel))
    styles = styles_for(module, [0, 1, 2])
    together = module.synthesis(styles)
    monkeypatch.setattr(signals, "SAMPLES_PER_CORE", 1)
    torch.testing.assert_close(module.synthesis(styles), together, rtol=0, atol=1e-6)


# Where the images stand.


def test_a_picture_moves_to_the_right_and_down() -> None:
    module = network(SMALL)
    styles = styles_for(module, [0])
    still = module.synthesis(styles, transform())
    middle = (..., slice(12, 20), slice(12, 20))
    for move, dimension in ((transform(translate_x=0.125), 3), (transform(translate_y=0.125), 2)):
        moved = module.synthesis(styles, move)
        difference = (moved - still.roll(4, dimension))[middle].abs().max()
        assert difference < 1e-2 * (moved - still)[middle].abs().max()
        assert difference < 1e-2 * (moved - still.roll(-4, dimension))[middle].abs().max()


def test_a_picture_of_r_turns_anticlockwise() -> None:
    module = network(replace(SMALL, widths=stylegan3.widths(32, 256, 16), conv_kernel=1))
    styles = styles_for(module, [0])
    still = module.synthesis(styles, transform())
    turned = module.synthesis(styles, transform(rotation=90))
    difference = (turned - torch.rot90(still, 1, (2, 3))).abs().max()
    assert difference < 1e-3 * (turned - torch.rot90(still, -1, (2, 3))).abs().max()


def test_waves_are_drawn_larger_about_the_middle() -> None:
    waves = network(SMALL).synthesis.input
    waves.freqs.mul_(0.1)
    w = golden.noise([0], 7)
    small, large = waves(w, transform())[0], waves(w, transform(scale=3))[0]
    middle = small.shape[1] // 2
    # Samples lie at 1/2, 3/2, 5/2 ... steps from the middle: what was at 1/2 is at 3/2.
    torch.testing.assert_close(
        large[:, middle + 1 :: 3, middle + 1 :: 3][:, :3, :3], small[:, middle:, middle:][:, :3, :3], rtol=0, atol=1e-4
    )
    assert (large - small).abs().max() > 0.1


def test_a_picture_is_scaled_and_turned_before_it_is_moved() -> None:
    # Backwards: a point in the middle of the moved image is the middle of the one that is not.
    middle = transform(0.25, -0.5, 30, 2) @ torch.tensor([0.25, -0.5, 1])
    torch.testing.assert_close(middle, torch.tensor([0.0, 0.0, 1.0]), rtol=0, atol=1e-6)


def test_no_move_leaves_everything_in_its_place() -> None:
    torch.testing.assert_close(transform(), torch.eye(3), rtol=0, atol=0)


def test_without_a_transform_the_stored_one_holds() -> None:
    module = network(SMALL)
    styles = styles_for(module, [0])
    move = transform(0.3, 0.1, 20, 1.5)
    moved = module.synthesis(styles, move)
    assert not torch.allclose(moved, module.synthesis(styles), atol=0.01)
    module.synthesis.input.transform.copy_(move)
    assert torch.equal(moved, module.synthesis(styles))


@BOTH_KINDS
def test_every_image_of_a_batch_can_be_moved_by_itself(conv_kernel: int) -> None:
    module = network(replace(SMALL, conv_kernel=conv_kernel))
    styles = styles_for(module, [0, 1, 2])
    moves = torch.stack([transform(0.1, 0.2), transform(rotation=30), transform(scale=0.5)])
    alone = torch.cat([module.synthesis(styles[i : i + 1], moves[i]) for i in range(3)])
    torch.testing.assert_close(module.synthesis(styles, moves), alone, rtol=0, atol=1e-5)
    one_for_all = module.synthesis(styles, moves[:1].expand(3, -1, -1))
    for move in (moves[0], moves[:1]):
        torch.testing.assert_close(module.synthesis(styles, move), one_for_all, rtol=0, atol=1e-5)


@pytest.mark.parametrize("move", [(float("nan"), 0), (0, float("inf")), (0, float("nan")), (0, 0, 1e9), (0, 0, 0, 0)])
def test_a_move_without_a_picture_is_refused_in_a_sentence(move: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"^A transform must have .*\.$"):
        transform(*move)


# Shapes.


@BOTH_KINDS
@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_config_makes_images_and_is_recognised(conv_kernel: int, side: int, channels: int, classes: int) -> None:
    config = replace(SMALL, conv_kernel=conv_kernel, side=side, channels=channels, classes=classes)
    module = network(config)
    labels = torch.arange(2) if classes else None
    assert module(golden.noise([0, 1], 5), labels).shape == (2, channels, side, side)
    assert ARCHITECTURE.detect(shapes_of(module))
    assert ARCHITECTURE.config_from(shapes_of(module)) == config
    assert ARCHITECTURE.styles and ARCHITECTURE.styles(config) == (7, 6)
    assert module.mapping.w_avg.shape == (7,)


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        StyleGAN3Config,
        side=st.sampled_from(stylegan3.SIDES),
        channels=st.sampled_from([1, 3, 4]),
        widths=st.lists(st.integers(1, 2000), min_size=3, max_size=20).map(tuple),
        classes=st.integers(0, 2000),
        latent_size=st.integers(1, 2000),
        w_dim=st.integers(1, 2000),
        mapping_layers=st.integers(1, 32),
        conv_kernel=st.sampled_from([1, 3]),
    )
)
def test_a_state_dict_says_its_config(config: StyleGAN3Config) -> None:
    with torch.device("meta"):
        shapes = shapes_of(StyleGAN3Generator(config))
    assert ARCHITECTURE.detect(shapes)
    assert ARCHITECTURE.config_from(shapes) == config


@pytest.mark.parametrize("side", stylegan3.SIDES)
def test_no_side_or_number_of_layers_is_beyond_the_filters(side: int) -> None:
    for layers in (3, 4, 14, 64):
        config = StyleGAN3Config(side, 1, (1,) * layers, latent_size=1, w_dim=1)
        with torch.device("meta"):
            tensors = StyleGAN3Generator(config).state_dict()
        filters = [tensor for name, tensor in tensors.items() if name.endswith("_filter")]
        assert len(filters) == 2 * layers
        assert all(torch.isfinite(taps).all() and abs(taps.sum().item() - 1) < 1e-4 for taps in filters)


@pytest.mark.parametrize(
    "change",
    [{"side": 24}, {"side": 8}, {"side": 8192}, {"channels": 2}, {"widths": (8, 6)}, {"widths": (8, 6, 0)},
     {"widths": (1,) * 65}, {"widths": (8, 6, 2**17)}, {"latent_size": 0}, {"w_dim": 2**17}, {"classes": -1},
     {"mapping_layers": 0}, {"mapping_layers": 100}, {"conv_kernel": 2}],
)  # fmt: skip
def test_a_config_that_cannot_be_is_refused_in_a_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^(\w+ of )?stylegan3 .*\.$"):
        replace(SMALL, **change)


NAMES = st.sampled_from(
    [
        *shapes_of(StyleGAN3Generator(SMALL)),
        *("synthesis.L4_32_999.weight", "synthesis.L999_99999_999999.weight", "mapping.embed.weight"),
    ]
)
ANY_SHAPE = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(NAMES, ANY_SHAPE, max_size=30), st.sets(NAMES, max_size=5))
def test_any_shapes_are_taken_or_refused_in_a_sentence(changes: dict[str, tuple[int, ...]], without: set[str]) -> None:
    whole = {**shapes_of(StyleGAN3Generator(SMALL)), **changes}
    shapes = {name: shape for name, shape in whole.items() if name not in without}
    if ARCHITECTURE.detect(shapes):
        with contextlib.suppress(InputError):
            assert isinstance(ARCHITECTURE.config_from(shapes), StyleGAN3Config)


def test_other_families_are_not_taken_for_it_nor_it_for_them() -> None:
    others = {
        dcgan.ARCHITECTURE: dcgan.DCGANConfig(16, 3, width=2),
        stylegan2.ARCHITECTURE: stylegan2.StyleGAN2Config(16, 3, widths=(8, 6, 4), latent_size=5, w_dim=7),
    }
    ours = shapes_of(StyleGAN3Generator(SMALL))
    for architecture, config in others.items():
        assert not ARCHITECTURE.detect(shapes_of(architecture.generator(config)))
        assert not architecture.detect(ours)
    assert not ARCHITECTURE.detect({})
    assert not ARCHITECTURE.detect({name: shape for name, shape in ours.items() if ".L" not in name})


def test_it_is_loaded_into_a_network_that_has_no_memory_yet() -> None:
    module = network(SMALL)
    with torch.device("meta"):
        loaded = StyleGAN3Generator(SMALL)
    loaded.load_state_dict(module.state_dict(), assign=True)
    z = golden.noise([0], 5)
    assert torch.equal(loaded(z), module(z))


# What the styles do.


def test_a_generator_decodes_noise_and_styles_and_moves_them() -> None:
    generator = Generator(ARCHITECTURE, SMALL, network(SMALL))
    z = golden.noise([0, 1], 5)
    noise, styles = Latent(z[:, :, None, None]), generator.mapped(Latent(z[:, :, None, None]))
    move = transform(0.2, 0, 10)
    moved = generator.decode(noise, transform=move)
    for same in (
        generator.decode(styles, transform=move),
        generator.module.synthesis(styles_for(generator.module, [0, 1]), move),
    ):
        torch.testing.assert_close(moved, same, rtol=0, atol=1e-5)
    assert not torch.allclose(moved, generator.decode(noise), atol=0.01)


def test_each_style_acts_on_its_own_layer_and_those_behind() -> None:
    module = network(SMALL)
    styles = styles_for(module, [0])
    seen: list[torch.Tensor] = []
    for layer in module.synthesis.children():
        layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    module.synthesis(styles)
    before = seen.copy()
    for i in range(module.num_ws):
        seen.clear()
        changed = styles.clone()
        changed[:, i] += 1
        module.synthesis(changed)
        assert [torch.equal(*pair) for pair in zip(before, seen, strict=True)] == [layer < i for layer in range(6)]


@BOTH_KINDS
def test_a_batch_is_its_images_one_by_one(conv_kernel: int) -> None:
    module = network(replace(SMALL, conv_kernel=conv_kernel))
    z = golden.noise([0, 1, 2], 5)
    alone = torch.cat([module(z[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(module(z), alone, rtol=0, atol=1e-5)


def test_labels_by_number_and_by_weights_agree() -> None:
    module = network(replace(SMALL, classes=3))
    z = golden.noise([0], 5)
    by_number = module(z, torch.tensor([2]))
    assert torch.equal(by_number, module(z, torch.tensor([[0.0, 0.0, 1.0]])))
    assert not torch.allclose(by_number, module(z, torch.tensor([[0.0, 0.5, 0.5]])), atol=1e-3)


def test_fresh_weights_make_pictures_of_unit_scale() -> None:
    torch.manual_seed(0)
    module = StyleGAN3Generator(StyleGAN3Config(32, 3, (64,) * 14, latent_size=64, w_dim=64))
    images = module(torch.randn(2, 64))
    assert torch.isfinite(images).all()
    assert 0.02 < images.std() < 2


@BOTH_KINDS
def test_a_gradient_says_how_styles_and_moves_change_a_picture(conv_kernel: int) -> None:
    module = network(replace(SMALL, conv_kernel=conv_kernel))
    styles = styles_for(module, [0]).double().requires_grad_()
    move = transform(0.1, 0.2, 5).double().requires_grad_()
    module.double()
    direction = torch.randn(styles.shape, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()

    def seen(step: float) -> torch.Tensor:
        return (module.synthesis(styles + step * direction, move + step) * weights).sum()

    to_styles, to_move = torch.autograd.grad(seen(0), [styles, move])
    slope = (to_styles * direction).sum() + to_move.sum()
    measured = (seen(1e-6) - seen(-1e-6)) / 2e-6
    assert measured.abs() > 0.1
    torch.testing.assert_close(slope, measured, rtol=1e-3, atol=0)


def test_a_dead_style_makes_no_picture_of_nothing_but_gaps() -> None:
    module = network(SMALL)
    for name, parameter in module.synthesis.named_parameters():
        if "affine" in name and "input" not in name:
            parameter.zero_()
    assert torch.isfinite(module(golden.noise([0], 5))).all()
