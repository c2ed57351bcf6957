"""A seed is one image on all devices and in a batch of any size: what makes images computes in float32 with all digits,
whatever the process allows, and leaves the process as it was. TF32 itself needs a GPU: here its flags are watched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import begun

from gan_core import Generator, ImageDataset, TrainConfig, load, sample_noise
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.metrics.features import Extractor
from gan_core.metrics.likelihood import elbo, weighing
from gan_core.platforms import all_digits_of_float32
from gan_core.sampling.projection import ProjectionConfig, projecting
from gan_core.sampling.spaces import to_styles

NEW = hasattr(torch.backends.cudnn, "conv")
"""Whether this torch has the flags of 2.9."""


def flags() -> tuple[Any, Any]:
    """Those of CUDA's convolutions and products."""
    if NEW:
        return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


ALLOWED, FULL = (("tf32", "tf32"), ("ieee", "ieee")) if NEW else ((True, True), (False, False))


@pytest.fixture(autouse=True)
def tf32_is_allowed() -> Iterator[None]:
    """As in a process that wants speed."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    assert flags() == ALLOWED
    yield
    assert flags() == ALLOWED
    # What is read with torch's old flags is still whole.
    assert torch.backends.cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "high"
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


@pytest.fixture
def seen() -> Iterator[set[tuple[Any, Any]]]:
    """The flags at each layer that is called."""
    found: set[tuple[Any, Any]] = set()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(lambda module, inputs: found.add(flags()))
    yield found
    hook.remove()


def example(name: str) -> Generator:
    return load(EXAMPLES / f"{name}.safetensors")


def pictures(generator: Generator) -> torch.Tensor:
    shape = (2, generator.config.channels, *generator.size)
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, shape, np.uint8))


@pytest.mark.parametrize("name", ["digits", "stylegan2-digits", "stylegan3-digits", "vae-digits"])
def test_latents_are_decoded_with_all_digits(name: str, seen: set[tuple[Any, Any]]) -> None:
    generator = example(name)
    generator.decode(sample_noise(generator, [0, 1]))
    assert seen == {FULL}


def test_noise_is_mapped_with_all_digits(seen: set[tuple[Any, Any]]) -> None:
    generator = example("stylegan2-digits")
    to_styles(generator, sample_noise(generator, [0, 1]), 0.7)
    assert seen == {FULL}


def test_images_are_encoded_with_all_digits(seen: set[tuple[Any, Any]]) -> None:
    generator = example("vae-digits")
    generator.encode(pictures(generator) / 127.5 - 1)
    assert seen == {FULL}


def test_likelihoods_are_measured_with_all_digits(seen: set[tuple[Any, Any]]) -> None:
    generator = example("vae-digits")
    images = pictures(generator)
    elbo(generator, images)
    for _ in weighing(generator, images, 2, batch=1):
        assert flags() == ALLOWED  # whoever looks at the parts computes as before
    assert seen == {FULL}


@pytest.mark.parametrize("name", ["digits", "stylegan2-digits"])
def test_images_are_projected_with_all_digits(name: str, seen: set[tuple[Any, Any]]) -> None:
    generator = example(name)
    target = generator.decode(sample_noise(generator, [1]))
    for _ in projecting(generator, target, ProjectionConfig(steps=2, candidates=2, tuning_steps=1)):
        assert flags() == ALLOWED
    assert seen == {FULL}


def test_features_are_measured_with_all_digits(seen: set[tuple[Any, Any]]) -> None:
    layer = torch.nn.Conv2d(3, 2, 1)
    Extractor("one layer", (8, 8), lambda images: layer(images).flatten(1)).features(
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    )
    assert seen == {FULL}


def test_samples_of_a_training_are_made_as_those_of_its_file(
    noise_images: ImageDataset, tmp_path: Path, seen: set[tuple[Any, Any]]
) -> None:
    session = begun(noise_images, TrainConfig.of(tmp_path / "run", preset="dcgan_small", batch_size=4, kimg=1))
    session.advance()
    assert ALLOWED in seen  # a step is as fast as torch is
    seen.clear()
    session.run.samples()
    assert seen == {FULL}


# The flags belong to the process.


def test_an_error_leaves_the_flags_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), all_digits_of_float32():
        _ = 1 / 0
    assert flags() == ALLOWED


def test_a_block_within_a_block_changes_nothing() -> None:
    with all_digits_of_float32():
        with all_digits_of_float32():
            pass
        assert flags() == FULL
    assert flags() == ALLOWED


def test_the_last_of_several_threads_restores_the_flags() -> None:
    inside, may_leave = threading.Event(), threading.Event()

    def other() -> None:
        with all_digits_of_float32():
            inside.set()
            may_leave.wait(60)

    thread = threading.Thread(target=other)
    with all_digits_of_float32():
        thread.start()
        assert inside.wait(60)
    assert flags() == FULL
    may_leave.set()
    thread.join(60)
    assert flags() == ALLOWED


def test_flags_of_older_versions_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn, products = SimpleNamespace(allow_tf32=True), SimpleNamespace()
    monkeypatch.setattr(torch, "backends", SimpleNamespace(cudnn=cudnn, cuda=SimpleNamespace(matmul=products)))
    with all_digits_of_float32():
        assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (False, "highest")
    assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    monkeypatch.undo()


@pytest.mark.skipif(not NEW, reason="this torch has no such flags")
def test_a_precision_set_for_all_of_torch_is_overruled() -> None:
    torch.backends.fp32_precision = "tf32"
    try:
        with all_digits_of_float32():
            assert flags() == FULL
        assert flags() == ALLOWED
    finally:
        torch.backends.fp32_precision = "none"
