"""Weights as layers use them: prepared once for all that is judged together, and never stale."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_runs import begun

from gan_core import ImageDataset, TrainConfig
from gan_core.architectures.layers import weights
from gan_core.architectures.layers.convolution import Conv2d
from gan_core.architectures.layers.weights import prepared, prepared_once
from gan_core.training import devices


def parameter(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.linspace(-1, 1, 6, dtype=dtype).requires_grad_()


def test_within_a_block_a_weight_is_prepared_once() -> None:
    weight = parameter()
    with prepared_once():
        one = prepared(weight, torch.bfloat16, 3.0)
        assert prepared(weight, torch.bfloat16, 3.0) is one
        assert torch.equal(one, (3 * weight).bfloat16())
        assert prepared(weight, torch.bfloat16, 2.0) is not one
        assert prepared(weight, torch.float16, 3.0) is not one
    assert prepared(weight, torch.bfloat16, 3.0) is not one


def test_nothing_outlives_its_block() -> None:
    weight = parameter()
    with prepared_once():
        outer = prepared(weight, torch.bfloat16)
        with prepared_once():
            assert prepared(weight, torch.bfloat16) is not outer
        with pytest.raises(KeyError), prepared_once():
            raise KeyError
        assert prepared(weight, torch.bfloat16) is outer
    assert weights._MADE.get() is None


def test_a_weight_that_has_moved_is_prepared_anew() -> None:
    weight = parameter()
    optimizer = torch.optim.Adam([weight], lr=0.5, fused=True)  # which leaves the weight's version as it was
    with prepared_once():
        before = prepared(weight, torch.bfloat16)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    with prepared_once():
        after = prepared(weight, torch.bfloat16)
    assert not torch.equal(before, after) and torch.equal(after, weight.bfloat16())


def test_what_was_prepared_without_a_gradient_is_not_used_with_one() -> None:
    weight = parameter()
    with prepared_once():
        with torch.no_grad():
            assert not prepared(weight, torch.bfloat16).requires_grad
        assert prepared(weight, torch.bfloat16).requires_grad
        weight.requires_grad_(False)
        assert not prepared(weight, torch.bfloat16).requires_grad


def test_gradients_of_all_uses_are_added() -> None:
    weight = parameter(torch.float64)

    def gradients() -> tuple[Tensor, ...]:
        loss = prepared(weight, torch.float64, 3.0).pow(3).sum() * prepared(weight, torch.float64, 3.0).exp().sum()
        (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
        return slope, *torch.autograd.grad(slope.square().sum(), weight)

    with prepared_once():
        together = gradients()
    torch.testing.assert_close(together, gradients())


def test_real_and_generated_images_are_judged_by_the_same_weights() -> None:
    layer, images = Conv2d(3, 4, 3), torch.linspace(-1, 1, 2 * 3 * 25).reshape(2, 3, 5, 5)
    with prepared_once(), torch.autocast("cpu", torch.bfloat16), torch.profiler.profile() as profile:
        together = layer(images[:1]), layer(images[1:])
    # Both images, and the weight and the bias once.
    assert {event.key: event.count for event in profile.key_averages()}["aten::_to_copy"] == 4
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(one, layer(image[None])) for one, image in zip(together, images, strict=True))


@pytest.mark.parametrize("preset", ["r3gan_small", "stylegan2_small", "stylegan2", "dcgan"])
def test_a_run_learns_the_same_as_with_weights_prepared_at_each_use(
    labelled_images: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    settings = {"precision": "fp32", "batch_size": 4}

    def learned(name: str, steps: int) -> dict[str, Tensor]:
        session = begun(labelled_images, TrainConfig.of(tmp_path / name, preset=preset, kimg=1.0, **settings))
        for _ in range(steps):
            session.advance()
        return dict(session.run.method.networks["discriminator"].module.named_parameters())

    fresh, once = learned("fresh", 0), learned("once", 3)
    monkeypatch.setattr(devices, "prepared_once", nullcontext)
    for name, each in learned("each", 3).items():
        # Adam's first steps are as long for the smallest gradient, and rounding changes the sign of some.
        assert (once[name] - each).norm() <= 0.02 * (each - fresh[name]).norm(), name
