"""What a VAE says of unseen images is a bound on their likelihood, and many samples come down to the likelihood itself.

Held against small networks whose likelihood has a closed form.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_core.architectures import Architecture
from gan_core.errors import InputError
from gan_core.generator import Generator
from gan_core.latents import LAST_SEED
from gan_core.metrics.likelihood import bits_per_dimension, elbo, importance_weighted

NOISE = 0.25
"""Standard deviation of the linear model's pixels."""


@dataclass(frozen=True)
class Config:
    side: int = 4
    channels: int = 1
    latent_size: int = 3
    classes: int = 0


class Linear(nn.Module):
    """x = W z + b and normal noise: images and posteriors are normal, and the evidence is known."""

    def __init__(self, config: Config, widened: float = 1.0):
        """widened: how many times wider than the truth its posteriors are."""
        super().__init__()
        stream = np.random.RandomState(0)
        pixels = config.channels * config.side**2
        # Columns that are orthogonal make the true posterior one of independent units.
        columns = np.linalg.qr(stream.randn(pixels, config.latent_size))[0] * np.linspace(2, 0.5, config.latent_size)
        self.weight = nn.Parameter(torch.from_numpy(columns).float())
        self.bias = nn.Parameter(torch.from_numpy(0.1 * stream.randn(pixels)).float())
        self.shape, self.widened = (-1, config.channels, config.side, config.side), widened

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return (z @ self.weight.T + self.bias).view(self.shape)

    logits = forward

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        precision = 1 + self.weight.square().sum(0) / NOISE**2
        mean = (images.flatten(1) - self.bias) @ self.weight / NOISE**2 / precision
        return mean, (self.widened**2 / precision).log().expand_as(mean)


class OneUnit(Linear):
    """Black-and-white pixels that depend on one unit: their evidence is an integral along a line."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.weight.data.mul_(2)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = 0.1 * images.flatten(1) @ self.weight
        return mean, torch.zeros_like(mean)


def generator(module: nn.Module, config: Config | None = None, **described: bool) -> Generator:
    architecture = Architecture(
        name="linear_vae",
        config=Config,
        generator=Linear,
        detect=lambda shapes: False,
        config_from=lambda shapes: Config(),
        **{"encodes": True, **described},
    )
    return Generator(architecture, config or Config(), module.eval().requires_grad_(False))


def pictures(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, (count, *(shape or (1, 4, 4))), np.uint8))


def likely_pictures(count: int, module: Linear) -> Tensor:
    """Images that the linear model itself draws."""
    stream = np.random.RandomState(1)
    z = torch.from_numpy(stream.randn(count, module.weight.shape[1])).float()
    drawn = module(0.3 * z) + NOISE * torch.from_numpy(stream.randn(count, *module.shape[1:])).float()
    return (drawn.detach().clamp(-1, 1) * 127.5 + 127.5).round().byte()


def evidence(module: Linear, images: Tensor) -> Tensor:
    """-log p(x) of the linear model, exactly: [N]."""
    weight, bias = module.weight.double(), module.bias.double()
    covariance = weight @ weight.T + NOISE**2 * torch.eye(len(weight)).double()
    return -torch.distributions.MultivariateNormal(bias, covariance).log_prob(images.double().flatten(1) / 127.5 - 1)


# The bound.


@pytest.mark.parametrize("widened", [1.0, 1.5, 3.0])
def test_the_bound_is_its_closed_form_and_lies_above_the_evidence(widened):
    module = Linear(Config(), widened)
    images = likely_pictures(2000, module)
    bound = elbo(generator(module), images, "gaussian", scale=NOISE)
    real = images.double().flatten(1) / 127.5 - 1
    mean, log_variance = (part.double() for part in module.posterior(real.float().view(-1, 1, 4, 4)))
    weight = module.weight.double()
    errors = (real - mean @ weight.T - module.bias).square().sum(1) + log_variance.exp() @ weight.square().sum(0)
    reconstruction = errors / (2 * NOISE**2) + 16 * math.log(NOISE * math.sqrt(2 * math.pi))
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
    # One sample of each posterior: their mean is near, and how near is known from their spread.
    near = 5 * (bound.of_each - reconstruction - divergence).std().item() / math.sqrt(2000)
    assert bound.kl == pytest.approx(divergence.mean().item(), rel=1e-5)
    assert bound.reconstruction == pytest.approx(reconstruction.mean().item(), abs=near)
    assert bound.nats == pytest.approx(bound.reconstruction + bound.kl)
    truth = evidence(module, images).mean().item()
    if widened == 1:
        assert bound.nats == pytest.approx(truth, abs=near)
    else:
        # Each unit loses the divergence of its posterior from the true one.
        gap = 3 * (widened**2 - 1 - 2 * math.log(widened)) / 2
        assert bound.nats == pytest.approx(truth + gap, abs=near)
        assert bound.nats > truth + gap / 2


def test_the_sum_of_an_image_is_reported_and_its_mean_over_the_images():
    bound = elbo(generator(Linear(Config())), pictures(20), "laplace", scale=0.5)
    assert bound.of_each.shape == (20,)
    assert bound.of_each.dtype == torch.float64
    assert bound.nats == pytest.approx(bound.of_each.mean().item())


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "laplace"])
def test_an_image_has_the_same_bound_in_batches_of_any_size(likelihood):
    model, images = generator(Linear(Config())), pictures(21)
    whole = elbo(model, images, likelihood, scale=0.5)
    torch.testing.assert_close(elbo(model, images, likelihood, scale=0.5, batch=4).of_each, whole.of_each)
    torch.testing.assert_close(elbo(model, images[:5], likelihood, scale=0.5).of_each, whole.of_each[:5])


def test_the_seed_decides_the_draw():
    model, images = generator(Linear(Config())), pictures(5)
    first, again, other = (elbo(model, images, seed=seed).of_each for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_draw_is_that_of_the_seed_and_the_place_of_the_image():
    module, images = Linear(Config()), pictures(3)
    real = images.float() / 127.5 - 1
    mean, log_variance = module.posterior(real)
    e = torch.from_numpy(np.stack([np.random.RandomState([7, place]).randn(3) for place in range(3)])).float()
    output = module(mean + (log_variance / 2).exp() * e)
    expected = -torch.distributions.Normal(output, 0.5).log_prob(real).sum((1, 2, 3)).mean()
    bound = elbo(generator(module), images, "gaussian", seed=7, scale=0.5)
    assert bound.reconstruction == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_without_a_scale_the_best_for_all_the_images_is_taken(likelihood):
    model, images = generator(Linear(Config())), pictures(50)
    best = elbo(model, images, likelihood, batch=8)
    assert best.nats == pytest.approx(elbo(model, images, likelihood, scale=best.scale).nats)
    assert all(best.nats < elbo(model, images, likelihood, scale=factor * best.scale).nats for factor in (0.9, 1.1))


def test_arrays_of_a_data_set_are_taken_as_they_are():
    module = Linear(Config(channels=3, latent_size=3))
    model, images = generator(module, Config(channels=3)), pictures(6, 3, 4, 4)
    as_array = images.permute(0, 2, 3, 1).numpy()
    assert torch.equal(elbo(model, as_array).of_each, elbo(model, images).of_each)
    assert torch.equal(elbo(model, as_array[::-1]).of_each, elbo(model, images.flip(0)).of_each)


@pytest.mark.filterwarnings("error")
def test_a_data_set_that_is_mapped_from_disk_is_taken_without_a_warning():
    as_array = pictures(6).permute(0, 2, 3, 1).numpy()
    as_array.flags.writeable = False
    assert elbo(generator(Linear(Config())), as_array).of_each.isfinite().all()


def test_nothing_is_learned_from_the_images():
    model, images = generator(Linear(Config())), pictures(4)
    before = images.clone()
    model.module.requires_grad_(True)
    assert not elbo(model, images).of_each.requires_grad
    assert torch.equal(images, before)


# Bits.


def test_undecided_about_black_and_white_is_one_bit_for_each_value():
    module = Linear(Config())
    module.weight.data.zero_()
    module.bias.data.zero_()
    bound = elbo(generator(module), pictures(10))
    assert bound.reconstruction == pytest.approx(16 * math.log(2))
    assert bound.bits_per_dimension == pytest.approx(1 + bound.kl / (16 * math.log(2)))


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace"])
def test_bits_are_those_of_levels_in_8_bits_whose_probabilities_sum_to_one(likelihood):
    config = Config(side=1, latent_size=1)
    module = Linear(config)
    module.weight.data.zero_()  # so that z says nothing, and the posterior is the prior
    module.bias.data.zero_()
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    bits = [elbo(generator(module, config), level[None], likelihood, scale=0.15).bits_per_dimension for level in levels]
    assert sum(2**-bit for bit in bits) == pytest.approx(1, abs=0.002)


def test_bits_of_a_density_and_of_a_probability():
    assert bits_per_dimension(16 * math.log(2), 16, "bernoulli") == pytest.approx(1)
    # Any level as likely as any other: a density of 1/2 on [-1, 1], but for half a level at both ends.
    assert bits_per_dimension(16 * math.log(2), 16, "gaussian") == pytest.approx(math.log2(255))


def test_units_that_do_not_follow_the_images_are_not_counted_as_active():
    module = Linear(Config())
    module.weight.data[:, 1] = 0
    bound = elbo(generator(module), pictures(100), batch=7)
    assert (bound.active_units, bound.units) == (2, 3)
    # A mean that is far from 0 but never moves says nothing either.
    module.posterior = lambda images: (torch.full((len(images), 3), 2.0), torch.zeros(len(images), 3))
    assert elbo(generator(module), pictures(100)).active_units == 0


# The likelihood itself.


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_true_posterior_every_sample_knows_the_evidence(samples):
    module = Linear(Config())
    images = pictures(20)
    found = importance_weighted(generator(module), images, samples, "gaussian", scale=NOISE)
    torch.testing.assert_close(found, evidence(module, images), rtol=1e-4, atol=1e-3)


def test_many_samples_come_down_from_the_bound_to_the_evidence():
    module = Linear(Config(), widened=1.8)
    model, images = generator(module), likely_pictures(200, module)
    truth = evidence(module, images).mean().item()
    found = [
        importance_weighted(model, images, samples, "gaussian", scale=NOISE).mean().item() for samples in (1, 5, 500)
    ]
    bound = elbo(model, images, "gaussian", scale=NOISE).nats
    assert found[0] == pytest.approx(bound, abs=0.3)
    assert found[0] > found[1] + 0.3 > found[2] + 0.3
    assert found[2] == pytest.approx(truth, abs=0.02)


def test_laplace_noise_has_its_own_likelihood():
    """Along one unit, by numbers."""
    config = Config(latent_size=1)
    module = Linear(config)
    images = likely_pictures(10, module)
    found = importance_weighted(generator(module, config), images, 2000, "laplace", scale=0.3)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    output = z[:, None] @ module.weight.double().T + module.bias
    away = (output[None] - (images.double().flatten(1) / 127.5 - 1)[:, None]).abs().sum(2)
    log_joint = -away / 0.3 - 16 * math.log(0.6) - z.square() / 2 - math.log(2 * math.pi) / 2
    torch.testing.assert_close(found, -(log_joint.logsumexp(1) + math.log(16 / 4000)), rtol=0, atol=0.05)


def test_bernoulli_is_the_likelihood_of_the_image_that_is_drawn_from_the_greys():
    config = Config(latent_size=1)
    module, images = OneUnit(config), pictures(20)
    found = importance_weighted(generator(module, config), images, 10_000, seed=5, batch=2500)
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    logits = z[:, None] @ module.weight.double().T + module.bias
    for place, grey in enumerate(images):
        uniform = np.random.RandomState([5, place, 1]).random_sample((1, 4, 4))
        white = torch.from_numpy(uniform < grey.double().numpy() / 255).double().flatten()
        log_joint = (white * logits - nn.functional.softplus(logits)).sum(1) - z.square() / 2
        log_evidence = log_joint.logsumexp(0) - math.log(2 * math.pi) / 2 + math.log(16 / 4000)
        assert found[place].item() == pytest.approx(-log_evidence.item(), abs=0.05)


def test_bernoulli_lies_below_the_bound_of_the_grey_images():
    config = Config(latent_size=1)
    model, images = generator(OneUnit(config), config), pictures(500)
    assert importance_weighted(model, images, 50).mean().item() < elbo(model, images).nats


def test_black_stays_black_and_white_stays_white():
    config = Config(latent_size=1)
    module = OneUnit(config)
    module.weight.data.zero_()
    module.bias.data.fill_(2)
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    found = importance_weighted(generator(module, config), images, 5000)
    expected = [16 * math.log1p(math.exp(2)), 16 * math.log1p(math.exp(-2))]
    assert found.tolist() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_an_estimate_does_not_depend_on_how_it_is_divided(likelihood):
    model, images = generator(Linear(Config(), 2.0)), pictures(9)
    whole = importance_weighted(model, images, 20, likelihood, scale=0.5)
    for batch in (1, 7, 41):
        divided = importance_weighted(model, images, 20, likelihood, scale=0.5, batch=batch)
        torch.testing.assert_close(divided, whole, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(importance_weighted(model, images[:4], 20, likelihood, scale=0.5), whole[:4])


@pytest.mark.parametrize(("count", "samples", "batch"), [(9, 3, 7), (2, 20, 7), (9, 1, 4)])
def test_no_more_latents_are_decoded_at_once_than_the_batch_says(count, samples, batch):
    module = Linear(Config())
    decoded, forward = [], module.logits
    module.logits = lambda z: decoded.append(len(z)) or forward(z)
    importance_weighted(generator(module), pictures(count), samples, batch=batch)
    assert sum(decoded) == count * samples
    assert max(decoded) <= batch


def test_the_last_seed_can_be_asked_for():
    model, images = generator(Linear(Config())), pictures(2)
    assert elbo(model, images, seed=LAST_SEED).of_each.isfinite().all()
    assert importance_weighted(model, images, 1, seed=LAST_SEED).isfinite().all()


# Spatial latents.


class Halving(nn.Module):
    """A spatial VAE of nothing but averages: an odd side is padded by one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.gain * z.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        padded = nn.functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        mean = nn.functional.avg_pool2d(padded, 2)
        return mean, torch.full_like(mean, -4.0)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (1, 2)])
def test_a_spatial_latent_takes_pictures_of_any_size_and_its_padding_costs_nothing(height, width):
    model, images = generator(Halving(), spatial=True), pictures(5, 1, height, width)
    bound = elbo(model, images, "gaussian", scale=0.5)
    assert bound.units == -(-height // 2) * -(-width // 2)
    found = importance_weighted(model, images, 10, "gaussian", seed=3, scale=0.5, batch=7)
    real = images.double() / 127.5 - 1
    mean, _ = model.module.posterior(real)
    for place in range(5):
        e = torch.from_numpy(np.random.RandomState([3, place]).randn(10, bound.units)).view(10, *mean.shape[1:])
        z = mean[place] + math.exp(-2) * e
        output = model.module(z)[..., :height, :width]
        normal = torch.distributions.Normal(0.0, 1.0)
        log_weights = torch.distributions.Normal(output, 0.5).log_prob(real[place]).sum((1, 2, 3))
        log_weights = log_weights + normal.log_prob(z).sum((1, 2, 3))
        log_weights = log_weights - torch.distributions.Normal(mean[place], math.exp(-2)).log_prob(z).sum((1, 2, 3))
        assert found[place].item() == pytest.approx(-(log_weights.logsumexp(0) - math.log(10)).item(), rel=1e-5)
    flat = torch.full((5, 1, height, width), 200, dtype=torch.uint8)
    sharp = generator(Halving(), spatial=True)
    sharp.module.posterior = lambda images: (Halving().posterior(images)[0], torch.full((5, 1, 1, 1), -40.0))
    exact = elbo(sharp, flat, "gaussian", scale=0.5).reconstruction
    assert exact == pytest.approx(height * width * math.log(0.5 * math.sqrt(2 * math.pi)), rel=1e-5)


# What cannot be asked.


def refuse(why: str, model: Generator, images: Tensor | np.ndarray, **asked: object) -> None:
    with pytest.raises(InputError, match=why):
        elbo(model, images, **asked)
    with pytest.raises(InputError, match=why):
        importance_weighted(model, images, 2, **asked)


def test_a_generator_without_an_encoder_is_refused():
    refuse("choose a VAE", generator(Linear(Config()), encodes=False), pictures(2))


def test_bernoulli_without_logits_is_refused():
    refuse("gaussian", generator(Halving(), spatial=True), pictures(2), likelihood="bernoulli")


@pytest.mark.parametrize(
    "images",
    [
        pictures(2).float(),
        pictures(0),
        pictures(2)[0],
        pictures(2, 3, 4, 4),
        pictures(2, 1, 8, 8),
        pictures(2, 1, 4, 5),
        pictures(2).numpy(),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 1), np.float32),
    ],
    ids=[
        "floats",
        "none",
        "three axes",
        "RGB",
        "too large",
        "no square",
        "channels first",
        "no channels",
        "float array",
    ],
)
def test_images_that_are_not_its_own_are_refused(images):
    refuse("images", generator(Linear(Config())), images)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"likelihood": "poisson"}, "likelihood must be bernoulli"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 2**32}, "seed must be a whole number from 0"),
        ({"likelihood": "gaussian", "scale": 0.0}, "scale"),
        ({"likelihood": "gaussian", "scale": math.nan}, "scale"),
        ({"likelihood": "gaussian", "scale": math.inf}, "scale"),
    ],
)
def test_what_makes_no_sense_is_refused(asked, why):
    refuse(why, generator(Linear(Config())), pictures(2), **asked)


def test_an_estimate_needs_samples_and_a_scale():
    model, images = generator(Linear(Config())), pictures(2)
    for samples in (0, -1, 10**9):
        with pytest.raises(InputError, match="samples"):
            importance_weighted(model, images, samples)
    with pytest.raises(InputError, match="scale"):
        importance_weighted(model, images, 5, "gaussian")
