"""Every kind of recipe does what it says, and goes on where it was stopped."""

import copy
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from augmented import diffaugment
from safetensors.torch import load_file
from training_runs import begun, finish, steps_of

import gan_core
from gan_core import ImageDataset, InputError, TrainConfig, train
from gan_core.architectures import by_name
from gan_core.data.dataset import Batch
from gan_core.losses import path_length
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.losses.gradient_penalties import ESTIMATES, PENALTIES
from gan_core.losses.path_length import path_lengths
from gan_core.training import checkpoint, ema, presets
from gan_core.training.loop import Session
from gan_core.training.methods.adversarial import Adversarial
from gan_core.training.optimizer import TrainedNetwork
from gan_core.training.presets import GAN_PRESETS
from gan_core.training.run import Run
from gan_core.training.schedule import SHAPES, Schedule
from gan_core.training.settings import AdversarialRecipe
from gan_core.training.streams import Place

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
        ema_kimg=Schedule(0.0, 0.1, kimg=0.04),
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
        monkeypatch.setitem(presets.PRESETS, "trial", recipe)

    return put


def config_for(folder: Path, kimg: float = 1.0, **changes) -> TrainConfig:
    return TrainConfig.of(folder / "run", **{"preset": "trial", "kimg": kimg, "precision": "fp32", **changes})


def session_of(dataset: ImageDataset, folder: Path, **changes) -> Session:
    return begun(dataset, config_for(folder, **changes))


def stopped_after(dataset: ImageDataset, config: TrainConfig, steps: int) -> Run:
    return steps_of(dataset, config, steps).training.run


@pytest.fixture
def losses(monkeypatch) -> list[tuple[TrainedNetwork, float]]:
    """Networks do not learn: whose weights would have been updated, and against which loss, is noted instead."""
    noted: list[tuple[TrainedNetwork, float]] = []
    monkeypatch.setattr(
        TrainedNetwork, "update", lambda network, losses, *_: noted.append((network, sum(losses).item()))
    )
    return noted


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


def test_a_lazy_penalty_is_a_step_of_its_own_so_many_times_as_heavy(labelled_images, tmp_path, use, losses):
    use(replace(TINY, penalty="r1", penalty_every=3, gamma=32.0))
    session = session_of(labelled_images, tmp_path)
    run, discriminator = session.run, session.run.method.networks["discriminator"]
    for _ in range(7):
        session.advance()
    assert [network is discriminator for network, _ in losses] == [
        *(True, True, False, True, False, True, False),
        *(True, True, False, True, False, True, False, True, True, False),
    ]
    run.steps = 0
    run.images = 0
    ((batch, _),) = run.shown()
    real = batch.target.requires_grad_()
    (gradient,) = torch.autograd.grad(run.method.discriminator(real, batch.labels).sum(), real)
    squared = gradient.square().sum(dim=(1, 2, 3)).mean().item()
    # 3 steps, half of gamma, and 16x16 pixels are a sixteenth of 64x64.
    assert losses[1][1] == pytest.approx(3 * 32 / 2 / 16 * squared, rel=1e-4)


def test_a_network_with_steps_of_its_own_for_penalties_takes_shorter_ones(noise_images, tmp_path, use):
    use(replace(TINY, penalty="r1", penalty_every=4, learning_rate=1e-3, betas=(0.0, 0.99)))
    session = session_of(noise_images, tmp_path)
    session.advance()
    networks = session.run.method.networks
    (lazy,), (usual,) = (networks[name].optimizer.param_groups for name in ("discriminator", "generator"))
    assert (lazy["lr"], lazy["betas"]) == (pytest.approx(0.8e-3), (0, pytest.approx(0.99**0.8)))
    assert (usual["lr"], usual["betas"]) == (1e-3, (0, 0.99))
    steps = [int(state["step"]) for state in networks["discriminator"].optimizer.state.values()]
    assert max(steps) == 2


def first_batch(run: Run) -> tuple[Batch, torch.Tensor]:
    """The real images of a run's next step, of one batch, and the generated ones."""
    ((batch, context),) = run.shown()
    return batch, run.method.generate(context.noise(BATCH, 4), batch.labels, context).detach()


def test_an_estimated_penalty_is_on_average_the_exact_one(labelled_images, tmp_path, use):
    use(replace(TINY, objective="relativistic"))
    exact = session_of(labelled_images, tmp_path / "exact").run
    use(replace(TINY, objective="relativistic", penalty_estimate="finite"))
    run = session_of(labelled_images, tmp_path / "finite").run
    batch, fake = first_batch(run)
    both = ((Place.REAL, batch.target), (Place.FAKE, fake))

    def penalty(of: Run, differentiated: bool) -> float:
        ((_, context),) = of.shown()
        judged = [of.method.judge(images, batch.labels, at, context, differentiated) for at, images in both]
        return of.method.penalty(*judged, context).item()

    expected = penalty(exact, differentiated=True)
    estimates = []
    for run.steps in range(150):  # other directions at each
        estimates.append(penalty(run, differentiated=False))
    error = np.std(estimates) / len(estimates) ** 0.5
    assert np.mean(estimates) == pytest.approx(expected, abs=4 * error)
    assert error < expected / 10


def test_an_estimated_penalty_changes_both_points_alike(labelled_images, tmp_path, use):
    """Else the difference between two augmentations would be taken for a gradient."""
    use(replace(TINY, objective="relativistic", penalty_estimate="finite", augment="diffaugment", gamma=2.0))
    run = session_of(labelled_images, tmp_path).run
    method = run.method
    ((_, context),) = run.shown()
    batch, fake = first_batch(run)
    both = list(enumerate((batch.target, fake)))
    judged = [method.judge(images, batch.labels, Place(place), context, False) for place, images in both]
    found = method.penalty(*judged, context)
    expected = 0.0
    for place, images in both:
        direction = torch.randint(0, 2, images.shape, generator=run.streams.torch(7, 0, place)).float() * 2 - 1
        here, there = (
            method.discriminator(diffaugment(at, run.streams.numpy(5, 0, place)), batch.labels).double()
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
    method = session_of(noise_images, tmp_path).run.method
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in method.discriminator.modules())


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
    session = session_of(noise_images, tmp_path)
    shown, made, step = [], [], Adversarial.discriminator_step

    def watched(self, batch, fake_images, *others):
        shown.append(batch.target)
        made.append(fake_images.detach())
        return step(self, batch, fake_images, *others)

    monkeypatch.setattr(Adversarial, "discriminator_step", watched)
    session.advance()
    assert session.run.images == 5 * BATCH
    assert session.run.steps == 1
    assert len(made) == 5
    assert all(not torch.equal(*pair) for pair in itertools.combinations(made, 2))
    epoch = torch.cat(shown)[: len(noise_images)].flatten(1)  # of the 25 images that were shown
    assert len(epoch.unique(dim=0)) == len(noise_images)


def test_a_step_of_several_batches_is_a_budget_of_as_many_images(noise_images, tmp_path, use):
    use(replace(TINY, objective="wgan"))
    training, last = finish(noise_images, config_for(tmp_path, kimg=0.05))
    assert (last.images, training.run.steps) == (50, 2)


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
            ema_kimg=Schedule(0.0, 0.002, kimg=0.02, shape="linear"),
        )
    )
    session = session_of(noise_images, tmp_path)
    half_lives = []
    share_of = ema.share_of

    def noted(batch_size: int, images: int, half_life: float) -> float:
        half_lives.append(half_life)
        return share_of(batch_size, images, half_life)

    monkeypatch.setattr(ema, "share_of", noted)
    seen = []
    for _ in range(6):
        session.advance()
        for network in session.run.method.networks.values():
            (group,) = network.optimizer.param_groups
            seen.append((group["lr"], *group["betas"]))
    done = [0, 0.25, 0.5, 0.75, 1, 1]  # of the 20 images, before each step of 5
    expected = [(4e-3 - 2e-3 * share, 0.5 - 0.5 * share, 0.9 + 0.08 * share) for share in done]
    assert seen[::2] == seen[1::2] == [pytest.approx(values) for values in expected]
    assert half_lives == [pytest.approx(2 * share) for share in [0.25, 0.5, 0.75, 1, 1, 1]]
    assert [record.values["augment_p"] for record in session.run.history] == [
        pytest.approx(0.4 * share) for share in done
    ]


def test_the_weight_of_a_penalty_follows_its_schedule(labelled_images, tmp_path, use):
    use(replace(TINY, objective="relativistic", gamma=Schedule(2.0, 0.5, kimg=0.1)))
    run = session_of(labelled_images, tmp_path).run
    ((batch, _),) = run.shown()
    weights = []
    for run.images in (0, 50, 100, 1000):
        ((_, context),) = run.shown()
        judged = run.method.judge(batch.target, batch.labels, Place.REAL, context, differentiated=True)
        weights.append(run.method.penalty(judged, judged, context).item())
    assert [weight / weights[0] for weight in weights] == pytest.approx([1, 0.625, 0.25, 0.25])


# LeCam.


def test_lecam_holds_logits_near_the_mean_of_the_other_kind_before(labelled_images, tmp_path, use, losses):
    use(replace(TINY, objective="hinge", lecam=0.5))
    run = session_of(labelled_images, tmp_path).run
    method = run.method
    ((_, context),) = run.shown()
    method.logit_means = torch.tensor(0.7), torch.tensor(-0.9)
    twin = copy.deepcopy(method.discriminator)
    batch, fake = first_batch(run)
    method.discriminator_step(batch, fake, context)
    real_logits, fake_logits = twin(batch.target, batch.labels), twin(fake, batch.labels)
    held = (real_logits + 0.9).relu().square().mean() + (0.7 - fake_logits).relu().square().mean()
    expected = OBJECTIVES["hinge"].loss(real_logits, fake_logits).discriminator + 0.5 * held
    assert [loss for _, loss in losses] == [pytest.approx(expected.item(), rel=1e-5)]
    after = [
        0.99 * before + 0.01 * logits.mean().item() for before, logits in ((0.7, real_logits), (-0.9, fake_logits))
    ]
    assert [mean.item() for mean in method.logit_means] == pytest.approx(after)


# Path length.


def test_a_style_based_generator_takes_a_step_for_the_length_of_its_paths(labelled_images, tmp_path, use, monkeypatch):
    use(KINDS["StyleGAN2"])
    session = session_of(labelled_images, tmp_path)
    method, asked = session.run.method, []

    def lengths(images, styles, random):
        asked.append((images.shape, styles.shape))
        return path_lengths(images, styles, random)

    monkeypatch.setattr(path_length, "path_lengths", lengths)
    update, updated = TrainedNetwork.update, []

    def noted(network, *settings):
        updated.append(network)
        update(network, *settings)

    monkeypatch.setattr(TrainedNetwork, "update", noted)
    before = method.path_mean.clone()
    for _ in range(5):
        session.advance()
    assert asked == [((2, 3, 16, 16), (2, method.generator.num_ws, 8))] * 2  # after the first step and the fifth
    assert [network is method.networks["generator"] for network in updated].count(True) == 5 + 2
    assert before.item() == 0 < method.path_mean.item()
    (group,) = method.networks["generator"].optimizer.param_groups
    assert group["lr"] == pytest.approx(2e-3 * 4 / 5)


def test_the_mean_of_path_lengths_begins_at_zero_where_a_checkpoint_has_none(labelled_images, tmp_path, use):
    use(replace(KINDS["StyleGAN2"], path_length=0.0))
    stopped_after(labelled_images, config_for(tmp_path), 1)
    assert "path_mean" not in state_of(tmp_path)
    use(KINDS["StyleGAN2"])
    assert session_of(labelled_images, tmp_path, resume=True).run.method.path_mean.item() == 0


# Networks that have something of their own.


def test_a_generator_that_draws_is_given_another_stream_for_every_batch(noise_images, tmp_path, use):
    use(replace(TINY, objective="wgan", discriminator_steps=2))
    run = session_of(noise_images, tmp_path).run
    method = run.method
    method.architecture = replace(method.architecture, draws=True)
    drawn = []

    def generator(z, labels, random):
        drawn.append(torch.rand(1, generator=random).item())
        return z

    method.generator = generator
    (_, context), *_ = run.shown()
    for step, substep in ((0, 0), (0, 1), (1, 0), (0, 0)):
        method.generate(torch.zeros(2, 4), None, replace(context, step=step, substep=substep))
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
    noise_images, tmp_path, use, losses
):
    use(replace(TINY, self_supervision=2.0, augment="diffaugment"))
    run = session_of(noise_images, tmp_path).run
    method = run.method
    ((_, context),) = run.shown()
    method.discriminator = SelfSupervised(method.discriminator)
    batch, fake = first_batch(run)
    values, _ = method.discriminator_step(batch, fake, context)
    assert [loss for _, loss in losses] == [pytest.approx(values["discriminator_loss"].item() + 14)]
    assert torch.equal(method.discriminator.seen[0], method.augment(batch.target, Place.REAL, context))


# What a person may change.


def test_another_objective_brings_its_own_penalty_and_the_same_one_keeps_the_preset_s(use):
    use(replace(TINY, penalty="r1", penalty_every=16, discriminator_steps=2))
    same, other = (TrainConfig.of("run", preset="trial", kimg=1, objective=name).recipe for name in ("log", "wgan"))
    assert (same.gradient_penalty, same.penalty_every, same.batches_per_step) == ("r1", 16, 2)
    assert (other.gradient_penalty, other.penalty_every, other.batches_per_step) == ("wgan_gp", 1, 5)


def test_another_augmentation_leaves_the_preset_s_schedule_of_p(use):
    use(replace(TINY, augment="ada", augment_p=0.3))
    assert TrainConfig("run", "trial", kimg=1).recipe.augment_p == 0.3
    assert TrainConfig.of("run", preset="trial", kimg=1, augment="diffaugment").recipe.augment_p is None


def test_a_person_s_learning_rate_and_gamma_stay_as_they_are(use):
    use(KINDS["R3GAN"])
    recipe = TrainConfig.of("run", preset="trial", kimg=1, learning_rate=1e-3, gamma=0.7, lecam=0.2).recipe
    assert (recipe.learning_rate, recipe.gamma, recipe.lecam) == (1e-3, 0.7, 0.2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gamma": -1}, "gamma must be a number of at least 0 and at most 1000000 (got -1)."),
        ({"gamma": float("nan")}, "gamma must be a number of at least 0 and at most 1000000 (got nan)."),
        (
            {"gamma": 1.0, "objective": "wgan"},
            "trial does not have with the objective wgan: leave gamma unset, or choose relativistic.",
        ),
        ({"lecam": -0.1}, "lecam must be a number of at least 0 and at most 1000 (got -0.1)."),
        ({"lecam": float("inf")}, "lecam must be a number of at least 0 and at most 1000 (got inf)."),
        ({"preset": "conv_vae", "lecam": 0.1}, "conv_vae trains a VAE, which has no setting lecam: leave it unset."),
    ],
    ids=str,
)
def test_weights_that_cannot_be_are_sentences(noise_images, tmp_path, use, changes, told):
    use(replace(TINY, objective="relativistic"))
    with pytest.raises(InputError, match=re.escape(told)):
        next(train(noise_images, config_for(tmp_path, **changes), "cpu"))
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_how_steep_the_discriminator_might_be(noise_images, tmp_path, use):
    use(replace(KINDS["R3GAN"], lecam=0.1))
    stopped_after(noise_images, config_for(tmp_path), 1)
    training = gan_core.load(tmp_path / "run" / "generator.safetensors").card.training
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


@pytest.mark.parametrize("kind", ["R3GAN", "LeCam with R1 and R2", "self-supervised"])
def test_by_parts_the_discriminator_learns_the_same(kind, labelled_images, tmp_path, use):
    recipes = {
        **KINDS,
        "LeCam with R1 and R2": replace(KINDS["R3GAN"], objective="hinge", penalty="r1_r2", lecam=0.3),
        "self-supervised": replace(KINDS["R3GAN"], self_supervision=0.5),
    }
    use(replace(recipes[kind], betas=(0.5, 0.9)))
    runs = [session_of(labelled_images, tmp_path / name).run for name in ("whole", "parts")]
    runs[1].method.discriminator_step = runs[1].method.discriminator_step_by_parts
    for run in runs:
        first = next(run.method.discriminator.parameters())
        run.method.discriminator.self_supervision = lambda images, _, of=first: images.square().mean() * of.sum()
    for _ in range(4):
        values = []
        for run in runs:
            if run is runs[1]:
                run.method.discriminator.requires_grad_(True)
            values.append(run.method.step(run.shown()).values)
            run.steps, run.images = run.steps + 1, run.images + BATCH
        for name, value in values[0].items():
            torch.testing.assert_close(values[1][name], value, rtol=1e-4, atol=1e-6, msg=name)
    for one, other in zip(*(run.method.discriminator.parameters() for run in runs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
