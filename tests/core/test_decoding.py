"""Decoding in parts: each image is what it is alone, whatever is decoded beside it."""

import numpy as np
import pytest
import torch
from PIL import Image
from stylegan2_networks import SMALL, generator_of

from gan_core import InputError, Latent, sample_noise
from gan_core.examples import FOLDER, portraits


@pytest.fixture(scope="module")
def styled():
    return generator_of(SMALL)


@pytest.mark.parametrize(("pixels", "parts"), [(2**20, [64, 64, 2]), (64 * 256, [64, 64, 2]), (63 * 256, [63, 63, 4])])
def test_no_more_is_decoded_at_once_than_memory_allows(new_generator, monkeypatch, pixels, parts):
    generator, seen = new_generator(), []
    forward = type(generator.module).forward

    def counted(module, z, labels=None):
        seen.append(len(z))
        return forward(module, z, labels)

    monkeypatch.setattr(type(generator.module), "forward", counted)
    monkeypatch.setattr("gan_core.generator.PIXELS_DECODED_AT_ONCE", pixels)
    generator.decode(sample_noise(generator, range(130)))
    assert seen == parts


def test_image_i_has_the_noise_of_its_own_seed(styled, monkeypatch):
    latent = sample_noise(styled, [7] * 5)
    alone = torch.cat([styled.decode(latent[:1], "random", 40 + i) for i in range(5)])
    assert (alone[1:] - alone[:-1]).abs().amax((1, 2, 3)).min() > 0.01, "or the comparison says nothing"
    for at_once in (64, 2):
        monkeypatch.setattr("gan_core.generator.MAX_DECODED_AT_ONCE", at_once)
        torch.testing.assert_close(styled.decode(latent, "random", 40), alone, rtol=0, atol=1e-5)


def test_noise_is_that_of_the_file_unless_it_is_asked_for(styled):
    latent = sample_noise(styled, [7, 8])
    const, none, random = (styled.decode(latent, noise, 3) for noise in ("const", "none", "random"))
    assert torch.equal(styled.decode(latent), const)
    for one, other in ((const, none), (const, random), (none, random)):
        assert (one - other).abs().max() > 0.01


@pytest.mark.parametrize(("first", "allowed"), [(0, True), (2**32 - 2, True), (2**32 - 1, False), (-1, False)])
def test_seeds_of_noise_go_up_to_the_last(styled, first, allowed):
    latent = sample_noise(styled, [7, 8])
    if allowed:
        styled.decode(latent, "random", first)
    else:
        with pytest.raises(InputError, match=rf"noise_seed must be 0 to 4294967294 for 2 images \(got {first}\)"):
            styled.decode(latent, "random", first)


def test_a_noise_that_there_is_not_is_refused(styled):
    with pytest.raises(InputError, match=r'noise must be "const", "random" or "none" \(got "white"\)'):
        styled.decode(sample_noise(styled, [0]), "white")


@pytest.mark.parametrize("count", [2, 4])
def test_weights_of_another_number_of_classes_are_refused(new_generator, count):
    latent = Latent(torch.zeros(1, 4, 1, 1), labels=torch.ones(1, count))
    with pytest.raises(InputError, match=f"has 3 classes, but the latent has weights for {count}"):
        new_generator(classes=3).decode(latent)


def test_each_portrait_is_a_square_of_its_sheet():
    with Image.open(FOLDER / "portraits.webp") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    columns = pixels.shape[1] // 64
    for place in (0, 1, columns, 272):
        y, x = 64 * (place // columns), 64 * (place % columns)
        assert np.array_equal(portraits().images[place], pixels[y : y + 64, x : x + 64])
