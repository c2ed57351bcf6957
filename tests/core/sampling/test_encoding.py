"""From images to latents, and back."""

import pytest
import torch

from gan_core import Generator, InputError, Latent, sample_noise
from gan_core.architectures import by_name
from gan_core.sampling.encoding import images_for


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
    with pytest.raises(InputError, match=r"is a dcgan generator and has no encoder"):
        new_generator().encode(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("shape", [(1, 3, 17, 16), (1, 3, 16, 17), (1, 1, 16, 16), (3, 16, 16)])
def test_pictures_of_another_shape_are_refused_by_a_flat_latent(flat, shape):
    with pytest.raises(InputError, match=r"encodes images with 3 channels and 16x16 pixels"):
        flat.encode(torch.zeros(shape))


def test_pictures_of_other_channels_are_refused_by_a_spatial_latent(spatial):
    with pytest.raises(InputError, match=r"encodes images with 3 channels \(got shape"):
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
        with pytest.raises(InputError, match="has no mixture prior: set prior to normal"):
            sample_noise(generator, [0], prior="mixture")
        with pytest.raises(InputError, match=r'prior must be normal or mixture \(got "uniform"\)'):
            sample_noise(generator, [0], prior="uniform")
        normal = sample_noise(generator, [0], prior="normal")
        assert torch.equal(normal.samples, sample_noise(generator, [0]).samples)


def test_pictures_keep_their_size_for_a_spatial_latent(spatial):
    images = torch.rand(2, 9, 13, 3)
    torch.testing.assert_close(images_for(spatial, images), images.movedim(3, 1) * 2 - 1)


def test_grey_becomes_colour_and_what_is_see_through_white(spatial):
    grey = images_for(spatial, torch.full((1, 2, 2, 1), 0.25))
    torch.testing.assert_close(grey, torch.full((1, 3, 2, 2), -0.5))
    clear = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 2, 2, 4)
    torch.testing.assert_close(images_for(spatial, clear), torch.ones(1, 3, 2, 2))


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 16, 2), (0, 16, 16, 3), (1, 0, 16, 3)])
def test_what_are_no_pictures_is_a_sentence(spatial, shape):
    with pytest.raises(InputError, match="Images must have shape"):
        images_for(spatial, torch.zeros(shape))


def test_what_is_half_clear_is_laid_on_white(spatial):
    quarter = torch.tensor([0.2, 0.4, 1.0, 0.25]).expand(1, 2, 3, 4)
    expected = torch.tensor([0.8, 0.85, 1.0])[None, :, None, None] * 2 - 1
    torch.testing.assert_close(images_for(spatial, quarter), expected.expand(1, 3, 2, 3))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_picture_of_the_right_size_and_channels_is_not_rounded(new_generator, fit):
    values = torch.tensor([0.1234, 0.5001, 0.99999]).repeat(256)[:256].reshape(1, 16, 16, 1)
    assert torch.equal(images_for(new_generator(), values, fit), values.movedim(3, 1) * 2 - 1)


def test_other_pictures_are_rounded_to_the_nearest_of_256_levels(flat, new_generator):
    for value, level in ((76.4, 76), (76.6, 77), (254.6, 255), (0.4, 0)):
        grey = torch.full((1, 16, 16, 1), value / 255)
        assert images_for(flat, grey).flatten().tolist() == pytest.approx([level / 127.5 - 1] * 768)
        large = torch.full((2, 32, 32, 1), value / 255)
        assert images_for(new_generator(), large).flatten().tolist() == pytest.approx([level / 127.5 - 1] * 512)


@pytest.mark.parametrize(
    ("value", "made"),
    [(float("nan"), -1), (float("inf"), 1), (-float("inf"), -1), (1.5, 1), (-0.5, -1), (0, -1), (1, 1), (0.75, 0.5)],
)
@pytest.mark.parametrize("side", [16, 8])
def test_what_no_picture_can_have_becomes_black_or_white(new_generator, value, made, side):
    found = images_for(new_generator(), torch.full((1, side, side, 1), value))
    assert found.flatten().tolist() == pytest.approx([made] * 256, abs=0.004)


BARS = torch.tensor([0.0, 0.2, 0.4, 0.6]).repeat_interleave(8).expand(16, 32)[None, :, :, None]
"""An image twice as wide as high, of four upright bars."""


@pytest.mark.parametrize("upright", [False, True])
def test_each_fit_brings_a_picture_to_its_own_proportions(new_generator, upright):
    generator = new_generator()
    bars = BARS.transpose(1, 2) if upright else BARS

    def made(fit):
        found = (images_for(generator, bars, fit)[0, 0] + 1) / 2
        return found.T if upright else found

    middle = torch.tensor([0.2, 0.4]).repeat_interleave(8)
    torch.testing.assert_close(made("crop"), middle.expand(16, 16), rtol=0, atol=0.002)
    # Pulled: each bar 4 pixels wide, its colour pure where the neighbours do not reach.
    torch.testing.assert_close(made("stretch")[:, [0, 15]], torch.tensor([0.0, 0.6]).expand(16, 2), rtol=0, atol=0.02)
    assert made("stretch")[8, [5, 6, 9, 10]].tolist() == pytest.approx([0.2, 0.2, 0.4, 0.4], abs=0.02)
    padded = made("pad")
    assert (padded[[*range(4), *range(12, 16)]] == 1).all(), "white bars above and below"
    torch.testing.assert_close(padded[4:12, [0, 15]], torch.tensor([0.0, 0.6]).expand(8, 2), rtol=0, atol=0.02)


def test_bars_around_a_picture_with_transparency_are_clear(new_generator):
    found = images_for(new_generator(channels=4), torch.ones(1, 16, 32, 4), "pad")
    assert (found[:, :, [0, 15]] == -1).all()
    assert (found[:, :, 8] == 1).all()


def test_what_cannot_be_seen_is_black_where_there_is_transparency(new_generator):
    clear = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(1, 8, 8, 4)
    assert (images_for(new_generator(channels=4), clear) == -1).all()


def test_pictures_and_channels_keep_their_order(flat):
    colours = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.4, 1.0]])[:, None, None].expand(2, 8, 8, 3)
    found = (images_for(flat, colours) + 1) / 2
    for picture, colour in zip(found, colours, strict=True):
        torch.testing.assert_close(picture.mean((1, 2)), colour[0, 0], rtol=0, atol=0.002)


def test_no_more_pixels_are_encoded_at_once_than_memory_allows(spatial, monkeypatch):
    encoder, parts = spatial.module.posterior, []
    monkeypatch.setattr(spatial.module, "posterior", lambda part: parts.append(len(part)) or encoder(part))
    for pixels, expected in ((255, [1] * 5), (256, [1] * 5), (511, [1] * 5), (512, [2, 2, 1]), (5 * 256, [5])):
        monkeypatch.setattr("gan_core.generator.PIXELS_DECODED_AT_ONCE", pixels)
        parts.clear()
        spatial.encode(torch.zeros(5, 3, 16, 16))
        assert parts == expected
