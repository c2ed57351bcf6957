"""Every kind of recipe does what it says, and goes on where it was stopped."""

import copy
import itertools
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig, train
from gan_core.architectures import by_name
from gan_core.losses import path_length
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.losses.gradient_penalties import ESTIMATES, PENALTIES
from gan_core.losses.path_length import path_lengths
from gan_core.training import checkpoint
from gan_core.training import ema as averaging
from gan_core.training import presets as recipes
from gan_core.training.augmentation import diffaugment
from gan_core.training.methods.adversarial import AdversarialRun
from gan_core.training.presets import GAN_PRESETS, AdversarialRecipe
from gan_core.training.schedule import SHAPES, Schedule

BATCH = 5
"""Does not divide the 24 images of the data set, so that batches cross from one epoch to the next."""

TINY = AdversarialRecipe("dcgan", {"width": 4, "latent_size": 4}, betas=(0.5, 0.9), batch_size=BATCH)

KINDS = {
    "lazy R1": replace(TINY, penalty="r1", penalty_every=3),
    "lazy R1 and R2": replace(TINY, objective="relativistic", penalty_every=2),
    "finite R1 and R2": replace(TINY, objective="relativistic", penalty_estimate="finite"),
    "lazy finite R1": replace(TINY, penalty="r1", penalty_every=3, penalty_estimate="finite"),
    "WGAN-GP": replace(TINY, objective="wgan", discriminator_steps=3, augment="diffaugment"),
    "lazy WGAN-GP": replace(TINY, objective="wgan", discriminator_steps=2, penalty_every=3),
    "LeCam": replace(TINY, objective="hinge", lecam=0.3, augment="ada"),
    "several batches, adaptive": replace(TINY, discriminator_steps=2, augment="ada"),
    "R3GAN": replace(
        TINY,
        objective="relativistic",
        learning_rate=Schedule(2e-3, 5e-4, kimg=0.04),
        betas=(0.0, Schedule(0.9, 0.99, kimg=0.04)),
        gamma=Schedule(2.0, 0.2, kimg=0.04),
        average_kimg=Schedule(0.0, 0.1, kimg=0.04),
        augment="ada",
        augment_p=Schedule(0.0, 0.5, kimg=0.04),
    ),
    "StyleGAN2": AdversarialRecipe(
        "stylegan2",
        {"base": 64, "largest": 8, "latent_size": 8, "w_dim": 8, "mapping_layers": 1},
        learning_rate=2e-3,
        betas=(0.0, 0.99),
        batch_size=BATCH,
        penalty="r1",
        penalty_every=3,
        path_length=2.0,
        augment="ada",
    ),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def use(monkeypatch):
    """Makes a recipe the preset "trial"."""

    def put(recipe: AdversarialRecipe) -> None:
        monkeypatch.setitem(recipes.PRESETS, "trial", recipe)

    return put


def config_for(folder: Path, kimg: float = 1.0, **changes) -> TrainConfig:
    return TrainConfig(folder / "run", **{"preset": "trial", "kimg": kimg, "precision": "fp32", **changes})


def begun(dataset: ImageDataset, folder: Path, **changes) -> AdversarialRun:
    return AdversarialRun(dataset, config_for(folder, **changes), torch.device("cpu"))


def stopped_after(dataset: ImageDataset, config: TrainConfig, steps: int) -> AdversarialRun:
    with closing(train(dataset, config, "cpu")) as progress:
        return next(itertools.islice(progress, steps, None)).run


def learned(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    del tensors["history"]  # whose means are over other steps where a run was stopped in between
    return tensors


def state_of(folder: Path) -> dict:
    found = checkpoint.read(folder / "run")
    assert found is not None
    return found.state


# Going on.


@EVERY_KIND
def test_a_run_of_any_kind_that_was_stopped_becomes_the_one_that_was_not(labelled_images, tmp_path, use, kind):
    use(KINDS[kind])
    stopped_after(labelled_images, config_for(tmp_path / "straight", precision="auto"), 8)
    # Between two lazy penalties, within four batches of ada, and within a schedule.
    stopped_after(labelled_images, config_for(tmp_path / "stopped", precision="auto"), 5)
    stopped_after(labelled_images, config_for(tmp_path / "stopped", precision="auto", resume=True), 3)
    straight, stopped = learned(tmp_path / "straight"), learned(tmp_path / "stopped")
    assert straight.keys() == stopped.keys()
    assert [name for name in straight if not torch.equal(straight[name], stopped[name])] == []
    assert state_of(tmp_path / "straight") == state_of(tmp_path / "stopped")


def test_a_checkpoint_without_means_of_logits_takes_up_lecam(noise_images, tmp_path, use):
    use(replace(TINY, objective="hinge"))
    stopped_after(noise_images, config_for(tmp_path), 2)
    assert "logit_means" not in state_of(tmp_path)
    stopped_after(noise_images, config_for(tmp_path, lecam=0.1, resume=True), 2)
    assert len(state_of(tmp_path)["logit_means"]) == 2


@pytest.mark.parametrize("means", [[1.0], ["high", "low"], 3, None])
def test_damaged_means_of_logits_are_a_sentence(noise_images, tmp_path, use, means):
    use(KINDS["LeCam"])
    stopped_after(noise_images, config_for(tmp_path), 2)
    found = checkpoint.read(tmp_path / "run")
    checkpoint.write(tmp_path / "run", {**found.state, "logit_means": means}, found.tensors)
    with pytest.raises(InputError, match="is damaged"):
        stopped_after(noise_images, config_for(tmp_path, resume=True), 1)


# Penalties.


def test_a_lazy_penalty_is_a_step_of_its_own_so_many_times_as_heavy(labelled_images, tmp_path, use, monkeypatch):
    use(replace(TINY, penalty="r1", penalty_every=3, gamma=32.0))
    run = begun(labelled_images, tmp_path)
    losses = []
    monkeypatch.setattr(run, "learn", lambda player, loss: losses.append((player, loss)))
    for _ in range(7):
        run.advance()
    discriminator = run.players["discriminator"]
    assert [player is discriminator for player, _ in losses] == [
        *(True, True, False, True, False, True, False),
        *(True, True, False, True, False, True, False, True, True, False),
    ]
    run.steps = 0
    run.images = 0
    real, labels = run.next_batch()
    real.requires_grad_()
    (gradient,) = torch.autograd.grad(run.discriminator(real, labels).sum(), real)
    steepness = gradient.square().sum(dim=(1, 2, 3)).mean().item()
    # 3 steps, half of gamma, and 16x16 pixels are a sixteenth of 64x64.
    assert losses[1][1].item() == pytest.approx(3 * 32 / 2 / 16 * steepness, rel=1e-4)


def test_a_player_with_steps_of_its_own_for_penalties_takes_shorter_ones(noise_images, tmp_path, use):
    use(replace(TINY, penalty="r1", penalty_every=4, learning_rate=1e-3, betas=(0.0, 0.99)))
    run = begun(noise_images, tmp_path)
    run.advance()
    (lazy,), (usual,) = (run.players[name].optimizer.param_groups for name in ("discriminator", "generator"))
    assert (lazy["lr"], lazy["betas"]) == (pytest.approx(0.8e-3), (0, pytest.approx(0.99**0.8)))
    assert (usual["lr"], usual["betas"]) == (1e-3, (0, 0.99))
    steps = [int(state["step"]) for state in run.players["discriminator"].optimizer.state.values()]
    assert max(steps) == 2


def test_an_estimated_penalty_is_on_average_the_exact_one(labelled_images, tmp_path, use):
    use(replace(TINY, objective="relativistic"))
    exact = begun(labelled_images, tmp_path / "exact")
    use(replace(TINY, objective="relativistic", penalty_estimate="finite"))
    run = begun(labelled_images, tmp_path / "finite")
    real, labels = run.next_batch()
    fake = run.made(run.noise(BATCH, 4), labels).detach()
    expected = exact.penalty(*(exact.judged(images, labels, 0, sloped=True) for images in (real, fake))).item()
    estimates = []
    for run.steps in range(150):  # other directions at each
        seen = [run.judged(images, labels, place, sloped=False) for place, images in enumerate((real, fake))]
        estimates.append(run.penalty(*seen).item())
    error = np.std(estimates) / len(estimates) ** 0.5
    assert np.mean(estimates) == pytest.approx(expected, abs=4 * error)
    assert error < expected / 10


def test_an_estimated_penalty_changes_both_points_alike(labelled_images, tmp_path, use):
    """Else the difference between two augmentations would be taken for a slope."""
    use(replace(TINY, objective="relativistic", penalty_estimate="finite", augment="diffaugment", gamma=2.0))
    run = begun(labelled_images, tmp_path)
    real, labels = run.next_batch()
    fake = run.made(run.noise(BATCH, 4), labels).detach()
    found = run.penalty(*(run.judged(images, labels, place, False) for place, images in enumerate((real, fake))))
    expected = 0.0
    for place, images in enumerate((real, fake)):
        direction = torch.randint(0, 2, images.shape, generator=run.torch_random(7, 0, place)).float() * 2 - 1
        here, there = (
            run.discriminator(diffaugment(at, run.random(5, 0, place)), labels).double()
            for at in (images, images + 0.01 * direction)
        )
        expected += ((there - here) / 0.01).square().mean().item()
    assert found.item() == pytest.approx(2.0 / 2 / 16 * expected, rel=1e-3)  # 16x16 are a sixteenth of 64x64


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("every", [1, 2])
def test_every_penalty_goes_with_every_objective(labelled_images, tmp_path, use, penalty, estimate, every):
    for objective in OBJECTIVES:
        use(replace(TINY, objective=objective, penalty=penalty, penalty_estimate=estimate, penalty_every=every))
        run = stopped_after(labelled_images, config_for(tmp_path / objective), 2)
        assert np.isfinite(run.history[-1].values["discriminator_loss"])


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp"])
def test_a_penalised_discriminator_has_no_batch_norm(noise_images, tmp_path, use, penalty):
    use(replace(TINY, penalty=penalty))
    run = begun(noise_images, tmp_path)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in run.discriminator.modules())


@pytest.mark.parametrize(
    ("objective", "penalty"), [("log", "r1"), ("hinge", "r1"), ("relativistic", "r1_r2"), ("wgan", "wgan_gp")]
)
def test_an_objective_whose_normalisation_a_family_cannot_have_is_given_a_penalty(objective, penalty):
    assert by_name("r3gan").normalisations == ("none",)
    recipe = AdversarialRecipe("r3gan", objective=objective)
    assert (recipe.normalisation, recipe.gradient_penalty) == ("none", penalty)


def test_an_objective_in_a_family_that_has_its_normalisation_keeps_it_without_a_penalty():
    for objective, normalisation in (("log", "batch"), ("hinge", "spectral")):
        recipe = replace(TINY, objective=objective)
        assert (recipe.normalisation, recipe.gradient_penalty) == (normalisation, "none")


# Several batches.


def test_a_critic_sees_other_images_and_other_fakes_in_each_of_its_batches(noise_images, tmp_path, use, monkeypatch):
    use(replace(TINY, objective="wgan"))
    run = begun(noise_images, tmp_path)
    shown, made, step = [], [], AdversarialRun.discriminator_step

    def watched(self, real, labels):
        shown.append(real)
        step(self, real, labels)
        made.append(self.fake.detach())

    monkeypatch.setattr(AdversarialRun, "discriminator_step", watched)
    run.advance()
    assert run.images == 5 * BATCH
    assert run.steps == 1
    assert all(not torch.equal(*pair) for pair in itertools.combinations(made, 2))
    epoch = torch.cat(shown)[: len(noise_images)].flatten(1)  # of the 25 images that were shown
    assert len(epoch.unique(dim=0)) == len(noise_images)


def test_a_step_of_several_batches_is_a_budget_of_as_many_images(noise_images, tmp_path, use):
    use(replace(TINY, objective="wgan"))
    *_, last = train(noise_images, config_for(tmp_path, kimg=0.05), "cpu")
    assert (last.images, last.run.steps) == (50, 2)


# Schedules.


def test_schedules_reach_the_optimiser_the_penalty_the_average_and_the_augmentation(
    noise_images, tmp_path, use, monkeypatch
):
    use(
        replace(
            KINDS["R3GAN"],
            learning_rate=Schedule(4e-3, 2e-3, kimg=0.02, shape="linear"),
            betas=(Schedule(0.5, 0.0, kimg=0.02, shape="linear"), Schedule(0.9, 0.98, kimg=0.02, shape="linear")),
            augment_p=Schedule(0.0, 0.4, kimg=0.02, shape="linear"),
            average_kimg=Schedule(0.0, 0.002, kimg=0.02, shape="linear"),
        )
    )
    run = begun(noise_images, tmp_path)
    half_lives = []
    monkeypatch.setattr(averaging, "update", lambda *settings: half_lives.append(settings[-1]))
    seen = []
    for _ in range(6):
        run.advance()
        for player in run.players.values():
            (group,) = player.optimizer.param_groups
            seen.append((group["lr"], *group["betas"]))
    done = [0, 0.25, 0.5, 0.75, 1, 1]  # of the 20 images, before each step of 5
    expected = [(4e-3 - 2e-3 * share, 0.5 - 0.5 * share, 0.9 + 0.08 * share) for share in done]
    assert seen[::2] == seen[1::2] == [pytest.approx(values) for values in expected]
    assert half_lives == [pytest.approx(2 * share) for share in [0.25, 0.5, 0.75, 1, 1, 1]]
    assert [record.values["augment_p"] for record in run.history] == [pytest.approx(0.4 * share) for share in done]


def test_the_weight_of_a_penalty_follows_its_schedule(labelled_images, tmp_path, use):
    use(replace(TINY, objective="relativistic", gamma=Schedule(2.0, 0.5, kimg=0.1)))
    run = begun(labelled_images, tmp_path)
    real, labels = run.next_batch()
    weights = []
    for run.images in (0, 50, 100, 1000):
        seen = run.judged(real, labels, 0, sloped=True)
        weights.append(run.penalty(seen, seen).item())
    assert [weight / weights[0] for weight in weights] == pytest.approx([1, 0.625, 0.25, 0.25])


# LeCam.


def test_lecam_holds_logits_near_the_mean_of_the_other_kind_before(labelled_images, tmp_path, use, monkeypatch):
    use(replace(TINY, objective="hinge", lecam=0.5))
    run = begun(labelled_images, tmp_path)
    run.logit_means = torch.tensor(0.7), torch.tensor(-0.9)
    losses = []
    monkeypatch.setattr(run, "learn", lambda player, loss: losses.append(loss.item()))
    twin = copy.deepcopy(run.discriminator)
    real, labels = run.next_batch()
    run.discriminator_step(real, labels)
    real_logits, fake_logits = twin(real, labels), twin(run.fake.detach(), labels)
    held = (real_logits + 0.9).relu().square().mean() + (0.7 - fake_logits).relu().square().mean()
    expected = OBJECTIVES["hinge"].loss(real_logits, fake_logits).discriminator + 0.5 * held
    assert losses == [pytest.approx(expected.item(), rel=1e-5)]
    after = [
        0.99 * before + 0.01 * logits.mean().item() for before, logits in ((0.7, real_logits), (-0.9, fake_logits))
    ]
    assert [mean.item() for mean in run.logit_means] == pytest.approx(after)


# Path length.


def test_a_style_based_generator_takes_a_step_for_the_length_of_its_paths(labelled_images, tmp_path, use, monkeypatch):
    use(KINDS["StyleGAN2"])
    run = begun(labelled_images, tmp_path)
    asked = []

    def lengths(images, styles, random):
        asked.append((images.shape, styles.shape))
        return path_lengths(images, styles, random)

    monkeypatch.setattr(path_length, "path_lengths", lengths)
    learn, losses = run.learn, []
    monkeypatch.setattr(run, "learn", lambda player, loss: (losses.append((player, loss.item())), learn(player, loss)))
    before = run.path_mean
    for _ in range(5):
        run.advance()
    assert asked == [((2, 3, 16, 16), (2, run.generator.num_ws, 8))] * 2  # after the first step and the fifth
    steps = [loss for player, loss in losses if player is run.players["generator"]]
    assert len(steps) == 5 + 2
    assert before.item() == 0 < run.path_mean.item()
    (group,) = run.players["generator"].optimizer.param_groups
    assert group["lr"] == pytest.approx(2e-3 * 4 / 5)


def test_the_mean_of_path_lengths_begins_at_zero_where_a_checkpoint_has_none(labelled_images, tmp_path, use):
    use(replace(KINDS["StyleGAN2"], path_length=0.0))
    stopped_after(labelled_images, config_for(tmp_path), 1)
    assert "path_mean" not in state_of(tmp_path)
    use(KINDS["StyleGAN2"])
    assert begun(labelled_images, tmp_path, resume=True).path_mean.item() == 0


# Networks that have something of their own.


def test_a_generator_that_draws_is_given_another_stream_for_every_batch(noise_images, tmp_path, use):
    use(replace(TINY, objective="wgan", discriminator_steps=2))
    run = begun(noise_images, tmp_path)
    run.architecture = replace(run.architecture, draws=True)
    drawn = []

    def generator(z, labels, random):
        drawn.append(torch.rand(1, generator=random).item())
        return z

    run.make = generator
    for run.steps, run.turn in ((0, 0), (0, 1), (1, 0), (0, 0)):
        run.made(torch.zeros(2, 4), None)
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


class SelfSupervised(torch.nn.Module):
    def __init__(self, discriminator: torch.nn.Module):
        super().__init__()
        self.discriminator = discriminator
        self.seen: list[torch.Tensor] = []

    def forward(self, images, labels=None):
        return self.discriminator(images, labels)

    def self_supervision(self, images, random):
        self.seen.append(images)
        return torch.rand((), generator=random) * 0 + 7


def test_self_supervision_is_added_with_its_weight_and_sees_real_images_as_the_discriminator_does(
    noise_images, tmp_path, use, monkeypatch
):
    use(replace(TINY, self_supervision=2.0, augment="diffaugment"))
    run = begun(noise_images, tmp_path)
    run.discriminator = SelfSupervised(run.discriminator)
    losses = []
    monkeypatch.setattr(run, "learn", lambda player, loss: losses.append(loss.item()))
    real, labels = run.next_batch()
    run.discriminator_step(real, labels)
    assert losses == [pytest.approx(run.discriminator_loss.item() + 14)]
    assert torch.equal(run.discriminator.seen[0], run.augmented(real, 0))


# What a person may change.


def test_another_objective_brings_its_own_penalty_and_the_same_one_keeps_the_preset_s(use):
    use(replace(TINY, penalty="r1", penalty_every=16, discriminator_steps=2))
    same, other = (TrainConfig("run", "trial", kimg=1, objective=name).recipe for name in ("log", "wgan"))
    assert (same.gradient_penalty, same.penalty_every, same.turns) == ("r1", 16, 2)
    assert (other.gradient_penalty, other.penalty_every, other.turns) == ("wgan_gp", 1, 5)


def test_another_augmentation_leaves_the_preset_s_schedule_of_p(use):
    use(replace(TINY, augment="ada", augment_p=0.3))
    assert TrainConfig("run", "trial", kimg=1).recipe.augment_p == 0.3
    assert TrainConfig("run", "trial", kimg=1, augment="diffaugment").recipe.augment_p is None


def test_a_person_s_learning_rate_and_gamma_stay_as_they_are(use):
    use(KINDS["R3GAN"])
    recipe = TrainConfig("run", "trial", kimg=1, learning_rate=1e-3, gamma=0.7, lecam=0.2).recipe
    assert (recipe.learning_rate, recipe.gamma, recipe.lecam) == (1e-3, 0.7, 0.2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gamma": -1}, "gamma is from 0 to a million, and mostly from 0.01 to 100, not -1"),
        ({"gamma": float("nan")}, "gamma is from 0 to a million"),
        ({"gamma": 1.0, "objective": "wgan"}, "trial does not have with the objective wgan: leave it, or choose rel"),
        ({"lecam": -0.1}, "The weight of LeCam is from 0 to 1000, and mostly from 0.01 to 1, not -0.1"),
        ({"lecam": float("inf")}, "The weight of LeCam is from 0 to 1000"),
        ({"preset": "conv_vae", "lecam": 0.1}, "conv_vae trains a VAE, which has no lecam to be set"),
    ],
    ids=str,
)
def test_weights_that_cannot_be_are_sentences(noise_images, tmp_path, use, changes, told):
    use(replace(TINY, objective="relativistic"))
    with pytest.raises(InputError, match=told):
        next(train(noise_images, config_for(tmp_path, **changes), "cpu"))
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_how_steep_the_discriminator_might_be(noise_images, tmp_path, use):
    use(replace(KINDS["R3GAN"], lecam=0.1))
    stopped_after(noise_images, config_for(tmp_path), 1)
    training = gan_core.load(tmp_path / "run" / "generator.safetensors").card["training"]
    assert training["penalty"] == "r1_r2"
    assert (training["gamma"], training["learning_rate"], training["lecam"]) == (2.0, 2e-3, 0.1)


@pytest.mark.parametrize("name", GAN_PRESETS)
def test_every_preset_is_a_recipe_that_can_be(name):
    recipe = GAN_PRESETS[name]
    TrainConfig("run", name, kimg=1).check()
    schedules = [value for value in vars(recipe).values() if isinstance(value, Schedule)]
    assert all(schedule.kimg > 0 and schedule.shape in SHAPES for schedule in schedules)
    if recipe.penalty_estimate == "finite":
        assert recipe.normalisation == "none"  # else the difference would be one between two discriminators
