"""What does not fit into memory at once is done in parts, with the same result; what cannot be is said in a sentence.
The memory of a GPU is played by layers that fail above a number of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from gan_core import Generator, load, sample_noise
from gan_core.errors import InputError, OutOfMemory
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.memory import exhausted, in_parts, is_out_of_memory, room
from gan_core.metrics.features import Extractor
from gan_core.metrics.likelihood import elbo, importance_weighted
from gan_core.sampling import projection

CPU = torch.device("cpu")

Limit = Callable[[int], None]


@pytest.fixture
def limit() -> Iterator[Limit]:
    """Sets how many images a layer can take from then on."""
    hooks = []

    def set_to(most: int) -> None:
        def look(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            if (
                isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear)
                and len(inputs[0]) > most
            ):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        hooks.append(torch.nn.modules.module.register_module_forward_pre_hook(look))

    yield set_to
    for hook in hooks:
        hook.remove()


def example(name: str) -> Generator:
    return load(EXAMPLES / f"{name}.safetensors")


def pictures(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (count, 1, 28, 28), np.uint8))


@given(some.integers(1, 40), some.integers(1, 40), some.integers(1, 40))
def test_every_image_is_worked_on_once_and_in_order(count: int, at_once: int, most: int) -> None:
    def work(part: slice) -> list[int]:
        if part.stop - part.start > most:
            raise MemoryError
        return list(range(part.start, part.stop))

    parts = [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]
    done = list(in_parts(parts, work, "Work", CPU))
    assert [index for _, indices in done for index in indices] == list(range(count))
    assert all(indices == list(range(part.start, part.stop)) for part, indices in done)


def test_what_failed_once_is_not_tried_again() -> None:
    tried = []

    def work(part: slice) -> None:
        tried.append(part.stop - part.start)
        if tried[-1] > 2:
            raise MemoryError

    list(in_parts([slice(0, 8), slice(8, 16)], work, "Work", CPU))
    assert tried == [8, 4, *[2] * 8]


def test_other_errors_are_left_alone() -> None:
    def work(part: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(in_parts([slice(0, 2)], work, "Work", CPU))


@pytest.mark.parametrize("name", ["digits", "stylegan2-digits", "vae-digits"])
def test_a_batch_that_does_not_fit_is_decoded_in_parts_to_the_same_images(name: str, limit: Limit) -> None:
    generator = example(name)
    latent = sample_noise(generator, range(13))
    noise = "random" if name == "stylegan2-digits" else "const"
    expected = generator.decode(latent, noise, 5)
    limit(3)
    assert torch.allclose(generator.decode(latent, noise, 5), expected, atol=1e-5)


def test_an_image_that_does_not_fit_is_said_in_a_sentence(limit: Limit) -> None:
    generator = example("digits")
    latent = sample_noise(generator, range(4))
    limit(0)
    with pytest.raises(OutOfMemory) as failed:
        generator.decode(latent)
    assert isinstance(failed.value, InputError)
    assert str(failed.value).startswith("Decoding one image of 28x28 with digits takes more memory than the CPU has")
    assert str(failed.value).endswith(": close what else uses it, or compute on another device.")


def test_images_are_encoded_and_measured_in_parts_to_the_same_figures(limit: Limit) -> None:
    generator, images = example("vae-digits"), pictures(7)

    def figures() -> list[torch.Tensor]:
        encoded = generator.encode(images / 127.5 - 1).samples
        return [encoded, elbo(generator, images).of_each, importance_weighted(generator, images, 5)]

    expected = figures()
    limit(2)
    for found, wanted in zip(figures(), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-3)
    limit(0)
    with pytest.raises(OutOfMemory, match="Encoding one image of 28x28"):
        generator.encode(images / 127.5 - 1)
    with pytest.raises(OutOfMemory, match="Measuring the likelihood of one image takes"):
        elbo(generator, images)
    with pytest.raises(OutOfMemory, match="Measuring the likelihood of one image takes"):
        importance_weighted(generator, images, 5)


def test_features_are_measured_in_parts(limit: Limit) -> None:
    layer = torch.nn.Conv2d(3, 2, 1)
    extractor = Extractor("one layer", (8, 8), lambda images: layer(images).flatten(1).detach())
    images = pictures(5)
    expected = extractor.features(images)
    limit(2)
    assert torch.allclose(extractor.features(images), expected)
    limit(0)
    with pytest.raises(OutOfMemory, match="Measuring features of one image with one layer"):
        extractor.features(images)


def test_a_projection_that_does_not_fit_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = example("stylegan2-digits")
    target = generator.decode(sample_noise(generator, [1]))

    def generated(*inputs: Any) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(projection, "_generated", generated)
    with pytest.raises(
        OutOfMemory, match="Projecting an image of 32x32 into w\\+ of digits, stylegan2 takes more memory"
    ):
        list(projection.projecting(generator, target, projection.ProjectionConfig(steps=2, candidates=4)))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=lambda error: str(error)[:24],
)
def test_all_ways_to_say_that_memory_is_exhausted(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError(str(error)))


def test_the_allocator_of_this_torch_is_understood() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(failed.value)


def test_an_error_says_how_much_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(device: torch.device) -> tuple[int, int]:
        return 1_000_000_000, 24_000_000_000

    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700_000_000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500_000_000)
    assert str(exhausted("Work", torch.device("cuda", 0), "do less")) == (
        "Work takes more memory than cuda:0 has (1.2 of 24.0 GB are free): do less."
    )
    assert room(torch.device("meta")) is None
    assert str(exhausted("Work", torch.device("meta"), "do less")) == "Work takes more memory than meta has: do less."
