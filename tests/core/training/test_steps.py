"""A step of every kind of training, against one that is written out here formula by formula.

The networks and the augmentations are the program's own, which are tested by themselves; losses, penalties, random
streams, the order of the images, Adam, the running means and the average are written anew. Adam's epsilon is large in
both, so that its steps grow with the gradient: a wrong factor in a loss is then seen in the weights.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from augmented import ada, diffaugment
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, logsigmoid
from training_runs import begun as begun_with

from gan_core import Generator, ImageDataset, TrainConfig
from gan_core.architectures import by_name
from gan_core.training import augmentation as augment
from gan_core.training import presets as recipes
from gan_core.training.loop import Session
from gan_core.training.methods.adversarial import Adversarial
from gan_core.training.methods.variational import Variational
from gan_core.training.run import Run
from gan_core.training.schedule import Schedule
from gan_core.training.settings import AdversarialRecipe, Recipe, VariationalRecipe

BATCH, STEPS = 5, 4
EPSILON, EPSILON_OF_NATS = 1e-3, 1.0
"""Adam's; the second for networks whose loss is in nats of an image, as their gradients are longer."""

RAMP = 2000
"""Images in which ADA's p could go from 0 to 1: few, so that a step of it is seen."""

NOISE, ORDER, MIRROR, AUGMENT, DRAWS, PENALTY, SUPERVISION, PATHS = 0, 1, 2, 5, 6, 7, 8, 9
"""Numbers of the random streams. They are part of what a seed means: with others, a resumed run would be another."""

Parts = dict[str, Tensor]


def mean_of_the_losses(objective: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What the discriminator and what the generator minimises."""
    if objective == "log":
        return -logsigmoid(real).mean() - logsigmoid(-fake).mean(), -logsigmoid(fake).mean()
    if objective == "hinge":
        return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(), -fake.mean()
    if objective == "relativistic":
        return -logsigmoid(real - fake).mean(), -logsigmoid(fake - real).mean()
    return fake.mean() - real.mean(), -fake.mean()


def cosine(value: float | Schedule, images: int) -> float:
    """A setting after so many images."""
    if not isinstance(value, Schedule):
        return value
    done = min(1, images / (1000 * value.kimg))
    return value.start + (value.end - value.start) * (0.5 - 0.5 * math.cos(math.pi * done))


class Adam:
    """Kingma & Ba 2015, algorithm 1; a weight that a loss does not depend on stays out of that step."""

    def __init__(self, module: nn.Module, epsilon: float):
        self.epsilon = epsilon
        self.weights = [weight for weight in module.parameters() if weight.requires_grad]
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = [0] * len(self.weights)

    @torch.enable_grad()
    def step(self, loss: Tensor, rate: float, betas: tuple[float, float]) -> None:
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True, retain_graph=True)
        for i, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
            if gradient is None:
                continue
            self.steps[i] += 1
            self.first[i] = betas[0] * self.first[i] + (1 - betas[0]) * gradient
            self.second[i] = betas[1] * self.second[i] + (1 - betas[1]) * gradient**2
            mean = self.first[i] / (1 - betas[0] ** self.steps[i])
            square = self.second[i] / (1 - betas[1] ** self.steps[i])
            weight.data -= rate * mean / (square.sqrt() + self.epsilon)


def epsilon_of(run: Run, network: str) -> float:
    return EPSILON_OF_NATS if network == "generator" and isinstance(run.method, Variational) else EPSILON


class Plain:
    """What all kinds of training have in common. It begins with the networks of a run, and as it stands."""

    recipe: Recipe

    def __init__(self, run: Run):
        self.dataset, self.seed = run.dataset, run.seed
        self.networks = {name: copy.deepcopy(each.module) for name, each in run.method.networks.items()}
        self.generator: nn.Module = self.networks["generator"]
        self.average = copy.deepcopy(run.ema["generator"])
        self.optimizers = {name: Adam(module, epsilon_of(run, name)) for name, module in self.networks.items()}
        self.images, self.steps, self.substep, self.batches_per_step = run.images, 0, 0, 1
        self.penalised_every: dict[str, int] = {}

    def stream(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    @property
    def now(self) -> tuple[int, ...]:
        return (self.steps, self.substep) if self.substep else (self.steps,)

    def torch_stream(self, *purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self.stream(*purpose).integers(2**63)))

    def normals(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.stream(NOISE, *self.now).standard_normal(shape, np.float32))

    def batch(self) -> tuple[Tensor, Tensor | None]:
        count = len(self.dataset)
        first = self.images + self.substep * BATCH
        places = [divmod(position, count) for position in range(first, first + BATCH)]
        indices = [self.stream(ORDER, epoch).permutation(count)[place] for epoch, place in places]
        pixels = self.dataset.images[indices]
        if self.dataset.mirror:
            mirrored = self.stream(MIRROR, *self.now).random(BATCH) < 0.5
            pixels = np.stack([p[:, ::-1] if m else p for p, m in zip(pixels, mirrored, strict=True)])
        real = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        labels = self.dataset.labels
        return real, None if labels is None else torch.from_numpy(labels[indices])

    def learn(self, name: str, loss: Tensor) -> None:
        every = self.penalised_every.get(name)
        share = every / (every + 1) if every else 1.0
        rate = cosine(self.recipe.learning_rate, self.images) * share
        first, second = (cosine(beta, self.images) ** share for beta in self.recipe.betas)
        self.optimizers[name].step(loss, rate, (first, second))

    def end_of_step(self) -> None:
        self.substep = 0
        self.steps += 1
        shown = self.batches_per_step * BATCH
        self.images += shown
        half_life = min(1000 * cosine(self.recipe.ema_kimg, self.images), 0.1 * self.images)
        kept = 0.5 ** (shown / half_life) if half_life else 0.0
        new = self.generator.state_dict()
        for name, tensor in self.average.state_dict().items():
            tensor.copy_(kept * tensor + (1 - kept) * new[name] if tensor.is_floating_point() else new[name])


class PlainGAN(Plain):
    recipe: AdversarialRecipe

    def __init__(self, run: Run, recipe: AdversarialRecipe, batches_per_step: int, penalty: str, p: float):
        super().__init__(run)
        self.recipe, self.batches_per_step, self.penalty_kind = recipe, batches_per_step, penalty
        self.discriminator: nn.Module = self.networks["discriminator"]
        self.p, self.signs = p, []
        self.means: tuple[float, float] | None = None
        self.path_mean = 0.0
        if recipe.penalty_every > 1:
            self.penalised_every["discriminator"] = recipe.penalty_every
        if recipe.path_length:
            self.penalised_every["generator"] = 4

    def changed(self, images: Tensor, place: int) -> Tensor:
        random = self.stream(AUGMENT, *self.now, place)
        if self.recipe.augment == "ada":
            scheduled = self.recipe.augment_p
            return ada(images, self.p if scheduled is None else cosine(scheduled, self.images), random)
        return diffaugment(images, random) if self.recipe.augment == "diffaugment" else images

    def made(self, z: Tensor, labels: Tensor | None) -> Tensor:
        draws = type(self.generator).__name__ in ("StyleGAN2Generator", "FastGANGenerator")
        return self.generator(z, labels, *([self.torch_stream(DRAWS, *self.now)] if draws else []))

    def steepness(self, images: Tensor, labels: Tensor | None, place: int, logits: Tensor | None) -> Tensor:
        """Of R1 or R2: the squared length of the gradient, or the square of its estimate."""
        images = images.detach().requires_grad_()
        if self.recipe.penalty_estimate == "exact":
            again = self.discriminator(self.changed(images, place), labels)
            (gradient,) = torch.autograd.grad(again.sum(), images, create_graph=True)
            return (gradient**2).sum() / len(images)
        if logits is None:
            logits = self.discriminator(self.changed(images, place), labels)
        coins = torch.randint(0, 2, images.shape, generator=self.torch_stream(PENALTY, *self.now, place)).float()
        moved = self.discriminator(self.changed(images + 0.01 * (2 * coins - 1), place), labels)
        return (((moved - logits) / 0.01) ** 2).mean()

    def penalty(self, batches: list[tuple[Tensor, Tensor | None]], labels: Tensor | None) -> Tensor:
        (real, _), (fake, _) = batches
        if self.penalty_kind == "wgan_gp":
            share = torch.from_numpy(self.stream(PENALTY, *self.now).random(BATCH, np.float32))[:, None, None, None]
            line = (share * real + (1 - share) * fake).requires_grad_()
            logits = self.discriminator(self.changed(line, 4), labels)
            (gradient,) = torch.autograd.grad(logits.sum(), line, create_graph=True)
            return 10 * ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        gamma = cosine(self.recipe.gamma, self.images) * self.dataset.height * self.dataset.width / 64**2
        kinds = [0, 1] if self.penalty_kind == "r1_r2" else [0]
        return gamma / 2 * sum(self.steepness(batches[i][0], labels, i, batches[i][1]) for i in kinds)

    def step(self) -> Parts:
        recipe, objective = self.recipe, self.recipe.objective
        p = self.p if recipe.augment_p is None else cosine(recipe.augment_p, self.images)
        for substep in range(self.batches_per_step):
            self.substep = substep
            real, labels = self.batch()
            fake = self.made(self.normals(BATCH, self.latent_size), labels)
            seen = fake.detach()
            real_logits = self.discriminator(self.changed(real, 0), labels)
            fake_logits = self.discriminator(self.changed(seen, 1), labels)
            loss, _ = mean_of_the_losses(objective, real_logits, fake_logits)
            cost = loss
            if self.penalty_kind != "none" and recipe.penalty_every == 1:
                cost = cost + self.penalty([(real, real_logits), (seen, fake_logits)], labels)
            if recipe.lecam:
                now = real_logits.mean().item(), fake_logits.mean().item()
                before = self.means or now
                self.means = 0.99 * before[0] + 0.01 * now[0], 0.99 * before[1] + 0.01 * now[1]
                above, below = real_logits - before[1], before[0] - fake_logits
                held = (above.clamp(min=0) ** 2).mean() + (below.clamp(min=0) ** 2).mean()
                cost = cost + recipe.lecam * held
            if recipe.self_supervision:
                random = self.torch_stream(SUPERVISION, *self.now)
                taught = self.discriminator.self_supervision(self.changed(real, 0), random)
                cost = cost + recipe.self_supervision * taught
            self.learn("discriminator", cost)
            lazy = self.penalty_kind != "none" and recipe.penalty_every > 1
            if lazy and (self.steps * self.batches_per_step + self.substep) % recipe.penalty_every == 0:
                self.learn("discriminator", recipe.penalty_every * self.penalty([(real, None), (seen, None)], labels))
            surely = real_logits if objective in ("log", "hinge") else real_logits - fake_logits
            sign = ((surely > 0).float() - (surely < 0).float()).mean().item()
            if recipe.augment == "ada" and recipe.augment_p is None:
                self.signs.append(sign)
                if len(self.signs) == 4:
                    self.p += float(np.sign(np.mean(self.signs) - 0.6)) * 4 * BATCH / RAMP
                    self.signs.clear()
        values = {
            "discriminator_loss": loss.item(),
            "real_score": real_logits.mean().item(),
            "fake_score": fake_logits.mean().item(),
            "real_sign": sign,
        }
        fake_logits = self.discriminator(self.changed(fake, 2), labels)
        if objective == "relativistic":
            real_logits = self.discriminator(self.changed(real, 3), labels)
        _, loss = mean_of_the_losses(objective, real_logits.detach(), fake_logits)
        self.learn("generator", loss)
        values["generator_loss"] = loss.item()
        if recipe.augment == "ada":
            values["augment_p"] = p
        if recipe.path_length and self.steps % 4 == 0:
            self.path_length_step(labels)
        self.end_of_step()
        return values

    def path_length_step(self, labels: Tensor | None) -> None:
        """Karras et al. 2020a, sec. 3.2, of half a batch."""
        count, random = BATCH // 2, self.torch_stream(PATHS, *self.now)
        z = torch.randn(count, self.latent_size, generator=random)
        styles = self.generator.mixed_styles(z, None if labels is None else labels[:count], random)
        images = self.generator.synthesis(styles, self.generator.fresh_noise(count, random))
        direction = torch.randn(images.shape, generator=random) / math.sqrt(images.shape[2] * images.shape[3])
        (moved,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
        lengths = ((moved**2).sum(dim=2).sum(dim=1) / styles.shape[1]).sqrt()
        self.path_mean = 0.99 * self.path_mean + 0.01 * lengths.mean().item()
        self.learn("generator", self.recipe.path_length * 4 * ((lengths - self.path_mean) ** 2).mean())

    @property
    def latent_size(self) -> int:
        return self.recipe.network["latent_size"]


TINY = AdversarialRecipe(
    "dcgan", {"width": 4, "latent_size": 4}, betas=(0.5, 0.9), batch_size=BATCH, ema_kimg=0.004, learning_rate=3e-3
)
STYLES = AdversarialRecipe(
    "stylegan2",
    {"base": 64, "largest": 8, "latent_size": 4, "w_dim": 8, "mapping_layers": 1},
    learning_rate=2e-3,
    betas=(0.0, 0.99),
    batch_size=BATCH,
    ema_kimg=0.004,
)
SCHEDULED = {
    "learning_rate": Schedule(3e-3, 5e-4, kimg=0.04),
    "betas": (Schedule(0.5, 0.1, kimg=0.03), Schedule(0.9, 0.99, kimg=0.04)),
    "gamma": Schedule(200.0, 20.0, kimg=0.04),
    "ema_kimg": Schedule(0.0, 0.003, kimg=0.04),  # below what is allowed so early, a tenth of the images
}

# A recipe, how many batches the discriminator learns from, and the penalty that goes with it.
GANS: dict[str, tuple[AdversarialRecipe, int, str]] = {
    "log": (TINY, 1, "none"),
    "log, diffaugment": (replace(TINY, augment="diffaugment"), 1, "none"),
    "log, ada, three batches": (replace(TINY, augment="ada", discriminator_steps=3), 3, "none"),
    "hinge, LeCam, ada": (replace(TINY, objective="hinge", lecam=0.7, augment="ada"), 1, "none"),
    "hinge, LeCam, two batches": (replace(TINY, objective="hinge", lecam=0.7, discriminator_steps=2), 2, "none"),
    "R1": (replace(TINY, penalty="r1", gamma=200.0), 1, "r1"),
    "R1, diffaugment": (replace(TINY, penalty="r1", gamma=200.0, augment="diffaugment"), 1, "r1"),
    "lazy R1, ada": (replace(TINY, penalty="r1", penalty_every=3, gamma=200.0, augment="ada"), 1, "r1"),
    "estimated R1": (replace(TINY, penalty="r1", gamma=40.0, penalty_estimate="finite"), 1, "r1"),
    "hinge, lazy R1, two batches": (
        replace(TINY, objective="hinge", penalty="r1", penalty_every=3, gamma=100.0, discriminator_steps=2),
        2,
        "r1",
    ),
    "relativistic": (replace(TINY, objective="relativistic", gamma=100.0), 1, "r1_r2"),
    "relativistic, ada, schedules": (
        replace(TINY, objective="relativistic", augment="ada", augment_p=Schedule(0.2, 0.8, kimg=0.04), **SCHEDULED),
        1,
        "r1_r2",
    ),
    "relativistic, lazy estimates, diffaugment": (
        replace(
            TINY,
            objective="relativistic",
            penalty_every=2,
            penalty_estimate="finite",
            gamma=20.0,
            augment="diffaugment",
        ),
        1,
        "r1_r2",
    ),
    "relativistic without a penalty": (replace(TINY, objective="relativistic", penalty="none"), 1, "none"),
    "WGAN": (replace(TINY, objective="wgan"), 5, "wgan_gp"),
    "WGAN, diffaugment": (replace(TINY, objective="wgan", discriminator_steps=2, augment="diffaugment"), 2, "wgan_gp"),
    "lazy WGAN": (replace(TINY, objective="wgan", discriminator_steps=2, penalty_every=3), 2, "wgan_gp"),
    "WGAN, ada": (replace(TINY, objective="wgan", discriminator_steps=2, augment="ada"), 2, "wgan_gp"),
    "R3GAN": (
        AdversarialRecipe(
            "r3gan",
            {"base": 64, "most": 16, "blocks": 1, "latent_size": 4},
            batch_size=BATCH,
            objective="relativistic",
            **{**SCHEDULED, "betas": (0.0, 0.9)},
        ),
        1,
        "r1_r2",
    ),
    "StyleGAN2": (replace(STYLES, penalty="r1", penalty_every=3, gamma=20.0, path_length=2.0), 1, "r1"),
    "StyleGAN2, relativistic": (
        replace(STYLES, objective="relativistic", penalty="r1", penalty_every=2, gamma=20.0),
        1,
        "r1",
    ),
    "FastGAN": (
        AdversarialRecipe(
            "fastgan",
            {"base": 1, "latent_size": 4},
            batch_size=BATCH,
            ema_kimg=0.004,
            objective="hinge",
            self_supervision=0.7,
            augment="diffaugment",
        ),
        1,
        "none",
    ),
}
UNLABELLED = {"hinge, LeCam, ada", "R1, diffaugment", "WGAN", "StyleGAN2, relativistic", "FastGAN"}


@pytest.fixture(scope="module")
def larger_images() -> ImageDataset:
    """12 grey images of noise, 64x64, that may be mirrored."""
    pixels = np.random.RandomState(2).randint(0, 256, (12, 64, 64, 1), np.uint8)
    return replace(ImageDataset.from_images(pixels, name="larger noise"), mirror=True)


def begun(dataset: ImageDataset, folder: Path, recipe: Recipe, start: Generator | None = None) -> Session:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.PRESETS, "trial", recipe)
        session = begun_with(
            dataset, TrainConfig.of(folder / "run", preset="trial", kimg=1, precision="fp32", seed=3), start
        )
    run = session.run
    assert run.recipe == replace(recipe, precision="fp32")
    for name, network in run.method.networks.items():
        assert network.optimizer.defaults["eps"] == 1e-8
        network.optimizer.param_groups[0]["eps"] = epsilon_of(run, name)
    return session


def assert_alike(run: Run, plain: Plain) -> None:
    networks = {name: network.module for name, network in run.method.networks.items()}
    for name, module in {**networks, "average": run.ema["generator"]}.items():
        expected = {**plain.networks, "average": plain.average}[name].state_dict()
        for tensor, value in module.state_dict().items():
            torch.testing.assert_close(
                value, expected[tensor], rtol=2e-3, atol=2e-5, msg=lambda text, at=f"{name}.{tensor}": f"{at}: {text}"
            )


@pytest.mark.parametrize("kind", GANS)
def test_steps_of_a_gan_are_those_of_its_formulas(
    kind, labelled_images, noise_images, larger_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(augment, "RAMP_IMAGES", RAMP)
    recipe, batches_per_step, penalty = GANS[kind]
    dataset = larger_images if recipe.architecture == "fastgan" else labelled_images
    if kind in UNLABELLED and dataset is labelled_images:
        dataset = replace(noise_images, mirror=True)
    session = begun(dataset, tmp_path, recipe)
    run, method = session.run, session.run.method
    assert isinstance(method, Adversarial)
    method.adaptive.p.fill_(0.5)
    plain = PlainGAN(run, recipe, batches_per_step, penalty, p=0.5)
    for _ in range(STEPS):
        session.advance()
        expected = plain.step()
        assert (run.images, run.steps) == (plain.images, plain.steps)
        assert run.history[-1].values.keys() == expected.keys()
        for name, value in expected.items():
            assert run.history[-1].values[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert_alike(run, plain)
    if recipe.augment == "ada" and recipe.augment_p is None:
        assert method.adaptive.state["p"] == pytest.approx(plain.p, abs=1e-9)
        assert method.adaptive.state["signs"] == pytest.approx(plain.signs)
    if recipe.lecam:
        assert method.logit_means is not None and plain.means is not None
        assert [float(mean) for mean in method.logit_means] == pytest.approx(plain.means, rel=1e-3, abs=1e-5)
    if recipe.path_length:
        assert float(method.path_mean) == pytest.approx(plain.path_mean, rel=1e-3)


# VAEs.


def nats(reconstruction: str, output: Tensor, images: Tensor) -> Tensor:
    """The loss of an image, for the noise that suits the batch best."""
    size, difference = output[0].numel(), output - images
    if reconstruction == "bernoulli":
        white = (images + 1) / 2
        return -(white * logsigmoid(output) + (1 - white) * logsigmoid(-output)).sum() / len(images)
    if reconstruction == "gaussian":
        return size / 2 * (2 * math.pi * math.e * (difference**2).mean()).log()
    if reconstruction == "multiscale":
        halves = [difference]
        for _ in range(3):
            halves.append(avg_pool2d(halves[-1], 2))
        error = sum(half.abs().mean() for half in halves) / 4
    else:
        error = difference.abs().mean()
    return size * (2 * math.e * error).log()


class PlainVAE(Plain):
    recipe: VariationalRecipe

    def __init__(self, run: Run, recipe: VariationalRecipe, last: Callable[[nn.Module], nn.Module]):
        super().__init__(run)
        self.recipe, self.tuned = recipe, recipe.architecture is None
        self.last = last(self.generator).weight

    def judge(self, images: Tensor) -> Tensor:
        return self.networks["discriminator"](images)

    def step(self) -> Parts:
        recipe = self.recipe
        images, _ = self.batch()
        mean, log_variance = self.generator.posterior(images)
        z = mean if self.tuned else mean + log_variance.exp().sqrt() * self.normals(*mean.shape)
        output = self.generator.logits(z) if recipe.reconstruction == "bernoulli" else self.generator(z)
        seen = output.tanh() if recipe.reconstruction != "bernoulli" else 2 * output.sigmoid() - 1
        seen = seen if recipe.reconstruction == "bernoulli" else output
        reconstruction = nats(recipe.reconstruction, output, images)
        divergence = ((mean**2 + log_variance.exp() - 1 - log_variance) / 2).flatten(1)
        cost = reconstruction
        if not self.tuned:
            weight = recipe.beta * min(1, self.images / (1000 * recipe.warm_up_kimg))
            paid = [each if each > recipe.free_bits else each * 0 + recipe.free_bits for each in divergence.mean(dim=0)]
            cost = cost + weight * torch.stack(paid).sum()
        values = {"reconstruction": reconstruction.item(), "kl": divergence.sum().item() / BATCH}
        start = recipe.adversarial_kimg
        judged = start is not None and self.images >= 1000 * start
        if judged:
            fooled = -self.judge(seen).mean()
            ours, theirs = (
                torch.autograd.grad(loss, self.last, retain_graph=True)[0].norm().item()
                for loss in (reconstruction, fooled)
            )
            cost = cost + recipe.adversarial_weight * min(1e4, ours / (theirs + 1e-6)) * fooled
        self.learn("generator", cost)
        if judged:
            real, fake = self.judge(images), self.judge(seen.detach())
            loss = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
            self.learn("discriminator", loss)
            values["discriminator_loss"] = loss.item()
        self.end_of_step()
        return values


SMALL_VAE = VariationalRecipe(
    "conv_vae",
    {"width": 4, "latent_size": 3},
    batch_size=BATCH,
    ema_kimg=0.004,
    learning_rate=2e-3,
    betas=(0.8, 0.95),
    warm_up_kimg=0.02,
    beta=0.7,
)
SPATIAL_VAE = replace(SMALL_VAE, architecture="taesd_vae", network={}, reconstruction="multiscale", learning_rate=1e-4)
TUNED = replace(SMALL_VAE, architecture=None, network={}, reconstruction="multiscale", learning_rate=1e-4)

VAES: dict[str, VariationalRecipe] = {
    "bernoulli": SMALL_VAE,
    "gaussian with free bits": replace(SMALL_VAE, reconstruction="gaussian", free_bits=0.02),
    "laplace, judged": replace(SMALL_VAE, reconstruction="laplace", adversarial_kimg=0.01),
    "bernoulli, judged": replace(SMALL_VAE, adversarial_kimg=0.0, adversarial_weight=0.8),
    "spatial, judged": replace(SPATIAL_VAE, adversarial_kimg=0.005),
    "a tuned spatial decoder": replace(TUNED, adversarial_kimg=0.0),
    "a tuned decoder of autoencoder_kl": replace(TUNED, reconstruction="laplace"),
}


def last_layer(module: nn.Module) -> nn.Module:
    """Of a decoder, the one that makes the image."""
    if hasattr(module, "taesd_decoder"):
        return module.taesd_decoder[-1]
    return module.decoder.conv_out if hasattr(module.decoder, "conv_out") else module.decoder[-1][-1]


@pytest.mark.parametrize("kind", VAES)
def test_steps_of_a_vae_are_those_of_its_formulas(kind, labelled_images, tmp_path):
    recipe, start = VAES[kind], None
    if recipe.architecture is None:
        family, settings = (
            ("autoencoder_kl", {"widths": (8, 8), "layers": 1, "groups": 4, "latent_channels": 2})
            if "autoencoder_kl" in kind
            else ("taesd_vae", {})
        )
        architecture = by_name(family)
        config = architecture.config(16, **settings)
        start = Generator(architecture, config, architecture.generator(config).requires_grad_(False).eval())
    session = begun(replace(labelled_images, labels=None, class_names=()), tmp_path, recipe, start)
    run = session.run
    assert isinstance(run.method, Variational)
    plain = PlainVAE(run, recipe, last_layer)
    generator = run.method.generator
    first = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    for _ in range(STEPS):
        session.advance()
        expected = plain.step()
        assert run.history[-1].values == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert_alike(run, plain)
    moved = {name.split(".")[0] for name, tensor in generator.state_dict().items() if not tensor.equal(first[name])}
    if "autoencoder_kl" in kind:
        assert moved == {"post_quant_conv", "decoder"}, "what a latent means stays as it was"
    elif start is not None:
        assert moved == {"taesd_decoder"}
    else:
        assert len(moved) >= 2
