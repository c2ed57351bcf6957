"""From pictures to latents, and back."""

import pytest
import torch

from gan_core import Generator, InputError, Latent, sample_noise
from gan_core.architectures import by_name
from gan_core.encoding import pictures_for


def new_vae(name: str, **config: int) -> Generator:
    architecture = by_name(name)
    chosen = architecture.config(**{"side": 16, "channels": 3, **config})
    return Generator(architecture, chosen, architecture.generator(chosen).requires_grad_(False).eval())


@pytest.fixture(scope="module")
def flat() -> Generator:
    return new_vae("conv_vae", width=4)


@pytest.fixture(scope="module")
def spatial() -> Generator:
    return new_vae("taesd_vae")


@pytest.mark.parametrize("name", ["flat", "spatial"])
def test_a_picture_is_encoded_as_the_mean_of_its_posterior(name, request):
    vae = request.getfixturevalue(name)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    latent = vae.encode(images)
    assert latent.samples.shape == (3, *vae.latent_shape)
    torch.testing.assert_close(latent.samples.flatten(1), vae.module.posterior(images)[0].flatten(1))
    assert vae.decode(latent).shape == images.shape


def test_a_batch_of_any_size_is_encoded_in_parts(spatial, monkeypatch):
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    whole = spatial.encode(images).samples
    monkeypatch.setattr("gan_core.generator.PIXELS_DECODED_AT_ONCE", 300)
    torch.testing.assert_close(spatial.encode(images).samples, whole)
    torch.testing.assert_close(spatial.decode(Latent(whole))[4:], spatial.decode(Latent(whole[4:])))


@pytest.mark.parametrize(
    ("height", "width", "latent"), [(28, 28, (4, 4)), (48, 64, (6, 8)), (75, 100, (10, 13)), (1, 9, (1, 2))]
)
def test_a_spatial_latent_is_as_large_as_its_picture(spatial, height, width, latent):
    found = spatial.encode(torch.rand(1, 3, height, width) * 2 - 1)
    assert found.samples.shape == (1, 4, *latent)
    made = spatial.decode(found)
    padded = (8 * latent[0], 8 * latent[1])
    assert made.shape[2:] == padded


def test_a_side_that_was_padded_in_training_is_cut_to_what_it_was():
    vae = new_vae("taesd_vae", side=20)
    assert vae.latent_shape == (4, 3, 3)
    assert vae.decode(sample_noise(vae, [0])).shape == (1, 3, 20, 20)


def test_what_has_no_encoder_says_so(new_generator):
    with pytest.raises(InputError, match=r"is a dcgan generator: it has no encoder"):
        new_generator().encode(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("shape", [(1, 3, 17, 16), (1, 1, 16, 16), (3, 16, 16)])
def test_pictures_of_another_shape_are_refused_by_a_flat_latent(flat, shape):
    with pytest.raises(InputError, match=r"encodes images with 3 channels and a size of 16x16"):
        flat.encode(torch.zeros(shape))


def test_pictures_of_other_channels_are_refused_by_a_spatial_latent(spatial):
    with pytest.raises(InputError, match=r"encodes images with 3 channels, not of shape"):
        spatial.encode(torch.zeros(1, 4, 16, 16))


@pytest.mark.parametrize("shape", [(1, 16, 2, 1), (1, 5, 1, 1), (0, 16, 1, 1)])
def test_latents_of_another_shape_are_refused_by_a_flat_latent(flat, shape):
    with pytest.raises(InputError, match="takes latents of shape"):
        flat.decode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 5, 2, 2), (1, 4, 0, 2), (0, 4, 2, 2), (1, 4, 2)])
def test_latents_of_other_channels_are_refused_by_a_spatial_latent(spatial, shape):
    with pytest.raises(InputError, match="takes latents of shape"):
        spatial.decode(torch.zeros(shape))


def test_a_mixture_that_is_not_there_is_not_drawn_from(flat, new_generator):
    for generator in (flat, new_generator()):
        with pytest.raises(InputError, match="has no mixture to draw from"):
            sample_noise(generator, [0], prior="mixture")
        with pytest.raises(InputError, match='normal or mixture, not "uniform"'):
            sample_noise(generator, [0], prior="uniform")
        normal = sample_noise(generator, [0], prior="normal")
        assert torch.equal(normal.samples, sample_noise(generator, [0]).samples)


def test_pictures_keep_their_size_for_a_spatial_latent(spatial):
    images = torch.rand(2, 9, 13, 3)
    torch.testing.assert_close(pictures_for(spatial, images), images.movedim(3, 1) * 2 - 1)


def test_grey_becomes_colour_and_what_is_see_through_white(spatial):
    grey = pictures_for(spatial, torch.full((1, 2, 2, 1), 0.25))
    torch.testing.assert_close(grey, torch.full((1, 3, 2, 2), -0.5))
    clear = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 2, 2, 4)
    torch.testing.assert_close(pictures_for(spatial, clear), torch.ones(1, 3, 2, 2))


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 16, 2), (0, 16, 16, 3), (1, 0, 16, 3)])
def test_what_are_no_pictures_is_a_sentence(spatial, shape):
    with pytest.raises(InputError, match="Pictures are of shape"):
        pictures_for(spatial, torch.zeros(shape))
