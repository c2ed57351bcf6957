"""Captured steps: what is repeated with other inputs is the step that an eager run takes.

A CPU has no CUDA graphs. In their place stands a recorder that calls the captured work again, with its contexts as they
were when it was captured. A step that takes anything from the host but by asking its context for it goes wrong with it
as it would on a GPU.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import begun

from gan_core import ImageDataset, TrainConfig
from gan_core.training import augmentation
from gan_core.training import presets as recipes
from gan_core.training.context import FromHost, StepContext
from gan_core.training.graphs import EAGER_STEPS, Learned, Work
from gan_core.training.loop import Session
from gan_core.training.monitor.diagnostics import gradient_norm
from gan_core.training.optimizer import ScheduledAdam
from gan_core.training.run import Run
from gan_core.training.schedule import Schedule
from gan_core.training.settings import AdversarialRecipe, Recipe, VariationalRecipe

BATCH = 4
STEPS = 8 * (EAGER_STEPS + 2)
"""As many as bring each kind of step often enough to be captured and repeated: R1 comes every 8."""


class Scalars(FromHost):
    """As on a GPU: numbers that change are scalars on the device."""

    def number(self, context: StepContext, make: Callable[[StepContext], float]) -> Tensor:
        return torch.tensor(make(context))


class Repeating:
    """See Recorder."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.recorded, self.repeated = 0, 0

    def eagerly(self, work: Work) -> Learned:
        return work()

    def record(self, work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        self.recorded += 1
        place: list[Learned] = []
        weights = [each for network in self.run.method.networks.values() for each in network.module.parameters()]

        def repeat() -> None:
            self.repeated += 1
            names, values = work()
            assert names == place[0].names
            place[0].values.copy_(values)
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    gradient.copy_(weight.grad)

        # A graph is captured without anything being computed: what the call has changed is put back.
        state = [(tensor, tensor.clone()) for group in self.run.written() for tensor in group]
        place.append(work())
        gradients = [weight.grad for weight in weights]
        with torch.no_grad():
            for tensor, before in state:
                tensor.copy_(before)
        return place[0], repeat


@pytest.fixture(scope="module")
def images() -> ImageDataset:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    return ImageDataset.from_images(pixels, mirror=True)


R3GAN = AdversarialRecipe(
    "r3gan",
    {"base": 64, "most": 16, "blocks": 1, "latent_size": 5},
    learning_rate=Schedule(2e-3, 5e-4, kimg=0.1),
    betas=(0.0, Schedule(0.9, 0.99, kimg=0.1)),
    batch_size=BATCH,
    ema_kimg=Schedule(0.0, 0.1, kimg=0.1),
    objective="relativistic",
    gamma=Schedule(2.0, 0.2, kimg=0.1),
    augment="ada",
    augment_p=Schedule(0.0, 0.5, kimg=0.1),
)
DCGAN = AdversarialRecipe("dcgan", {"width": 4, "latent_size": 5}, batch_size=BATCH)
VAE = VariationalRecipe("conv_vae", batch_size=BATCH, warm_up_kimg=0.1)
RECIPES = {
    "dcgan": DCGAN,
    "dcgan, ada": replace(DCGAN, augment="ada"),
    "dcgan, diffaugment, LeCam": replace(DCGAN, augment="diffaugment", lecam=0.3, objective="hinge"),
    "WGAN-GP": replace(DCGAN, objective="wgan", discriminator_steps=2),
    "lazy, by finite differences": replace(DCGAN, penalty="r1", penalty_every=3, penalty_estimate="finite"),
    "r3gan": R3GAN,
    "stylegan2": AdversarialRecipe(
        "stylegan2",
        {"base": 64, "largest": 16, "latent_size": 5, "w_dim": 8, "mapping_layers": 2},
        betas=(0.0, 0.99),
        batch_size=BATCH,
        penalty="r1",
        penalty_every=8,
        path_length=2.0,
        augment="ada",
    ),
    "conv_vae": VAE,
    "conv_vae, adversarial": replace(VAE, reconstruction="gaussian", adversarial_kimg=0.05),
}
EVERY_RECIPE = pytest.mark.parametrize("recipe", RECIPES)


def session_of(recipe: Recipe, images: ImageDataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setitem(recipes.PRESETS, "trial", recipe)  # type: ignore[index]
    session = begun(images, TrainConfig(folder, "trial", kimg=1e6, seed=3))
    if any(isinstance(beta, Schedule) for beta in recipe.betas):
        for network in session.run.method.networks.values():
            network.optimizer.__class__ = ScheduledAdam
    contexts, scalars = session.run.contexts, Scalars(session.run.device)

    def as_on_a_gpu() -> list[StepContext]:
        return [replace(context, inputs=scalars) for context in contexts()]

    monkeypatch.setattr(session.run, "contexts", as_on_a_gpu)
    return session


def recording(session: Session) -> Repeating:
    """Lets a session capture its steps."""
    recorder = Repeating(session.run)
    session.run.stepper.recorder = recorder
    return recorder


@EVERY_RECIPE
def test_replayed_steps_are_eager_ones(recipe, images, tmp_path, monkeypatch):
    eager, replayed = (session_of(RECIPES[recipe], images, tmp_path / name, monkeypatch) for name in ("a", "b"))
    recorder = recording(replayed)
    for _ in range(STEPS):
        eager.run.step()
        replayed.run.step()
    assert replayed.run.stepper.recorder is recorder, "it was given up"
    assert recorder.repeated > STEPS / 2
    # Not to the bit: how a CPU sums depends on where in memory the numbers lie.
    for group, same in zip(eager.run.written(), replayed.run.written(), strict=True):
        for tensor, other in zip(group, same, strict=True):
            assert float((tensor - other).detach().double().norm()) <= 1e-2 * float(tensor.detach().double().norm())
    assert replayed.run.pending.take() == pytest.approx(eager.run.pending.take(), rel=1e-3, abs=1e-5)


@EVERY_RECIPE
def test_a_step_changes_tensors_in_place(recipe, images, tmp_path, monkeypatch):
    run = session_of(RECIPES[recipe], images, tmp_path, monkeypatch).run
    for _ in range(EAGER_STEPS):
        run.step()
    before = [tensor.data_ptr() for group in run.written() for tensor in group]
    for _ in range(17):
        run.step()
    assert set(before) <= {tensor.data_ptr() for group in run.written() for tensor in group}


def test_each_kind_of_step_has_a_graph(images, tmp_path, monkeypatch):
    session = session_of(RECIPES["stylegan2"], images, tmp_path, monkeypatch)
    recorder = recording(session)
    for _ in range(STEPS):
        session.run.step()
    assert recorder.recorded == 3, "plain steps, steps with path length, and with R1 as well"


def test_a_run_that_is_taken_back_captures_anew(images, tmp_path, monkeypatch):
    session = session_of(RECIPES["dcgan"], images, tmp_path, monkeypatch)
    recorder = recording(session)
    for _ in range(EAGER_STEPS + 2):
        session.run.step()
    session.run.return_to(None)
    for _ in range(EAGER_STEPS):
        session.run.step()
    assert (recorder.recorded, recorder.repeated) == (1, 2)
    session.run.step()
    assert recorder.recorded == 2


def test_gradients_are_those_of_the_last_step(images, tmp_path, monkeypatch):
    eager, replayed = (session_of(RECIPES["stylegan2"], images, tmp_path / name, monkeypatch) for name in ("a", "b"))
    recording(replayed)
    for _ in range(STEPS):
        eager.run.step()
        replayed.run.step()
    for name, network in eager.run.method.networks.items():
        norm = gradient_norm(network.module)
        assert gradient_norm(replayed.run.method.networks[name].module) == pytest.approx(norm, rel=1e-3)


class Refusing(Repeating):
    def record(self, work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing\nand much else")


class Other(Repeating):
    """Does something else."""

    def record(self, work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        learned, repeat = super().record(work, generators)

        def something_else() -> None:
            repeat()
            for weight in self.run.method.generator.parameters():
                weight.data += 1e-3

        return learned, something_else


@pytest.mark.parametrize("recorder", [Refusing, Other])
def test_what_cannot_be_captured_goes_on_eagerly(recorder, images, tmp_path, monkeypatch, caplog):
    eager, other = (session_of(RECIPES["dcgan"], images, tmp_path / name, monkeypatch) for name in ("a", "b"))
    other.run.stepper.recorder = recorder(other.run)
    with caplog.at_level(logging.INFO):
        for _ in range(EAGER_STEPS + 3):
            eager.run.step()
            other.run.step()
    assert other.run.stepper.recorder is None
    [said] = caplog.messages
    assert said.startswith("Steps are not captured as CUDA graphs, and go on eagerly: ") and "\n" not in said
    for group, same in zip(eager.run.written(), other.run.written(), strict=True):
        assert all(map(torch.equal, group, same))


def test_adam_with_scheduled_rates_is_adam():
    torch.manual_seed(0)
    usual = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1, bias=False)).double()
    scheduled = copy.deepcopy(usual)
    expected, tried = torch.optim.Adam(usual.parameters()), ScheduledAdam(scheduled.parameters())
    for step in range(20):
        x = torch.randn(5, 3, dtype=torch.float64)
        for module, optimizer in ((usual, expected), (scheduled, tried)):
            optimizer.zero_grad()
            module(x).square().sum().backward()
            rates = 0.1 / (step + 1), (0.5, 0.9 + 0.004 * step)
            (group,) = optimizer.param_groups
            group["lr"], group["betas"] = rates
        group["lr"] = torch.tensor(rates[0], dtype=torch.float64)
        group["betas"] = tuple(torch.tensor(beta, dtype=torch.float64) for beta in rates[1])
        expected.step()
        tried.step()
    for a, b in zip(usual.parameters(), scheduled.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=0)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.allclose(expected.state[a][name].double(), tried.state[b][name].double(), rtol=1e-9)


WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "item"}
"""Operators whose result Python has to wait for."""


class Unread(TorchDispatchMode):
    """Refuses operators that a GPU would have to come to rest for."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        assert name not in WAITS, f"{name}: a GPU would be waited for"
        return operator(*args, **(kwargs or {}))


@EVERY_RECIPE
def test_nothing_in_a_step_waits_for_the_device_or_comes_from_the_host(recipe, images, tmp_path, monkeypatch):
    monkeypatch.setattr(augmentation, "READ_FREELY", ())
    session = session_of(RECIPES[recipe], images, tmp_path, monkeypatch)
    recorder = recording(session)
    record = recorder.record

    def guarded(work: Work, generators: Sequence[Generator]) -> tuple[Learned, Callable[[], None]]:
        def unread() -> Learned:
            with Unread(), monkeypatch.context() as patch:
                for made in ("tensor", "as_tensor", "from_numpy", "scalar_tensor"):
                    patch.setattr(torch, made, lambda *_, made=made, **__: pytest.fail(f"torch.{made} within a step"))
                return work()

        return record(unread, generators)

    monkeypatch.setattr(recorder, "record", guarded)
    for _ in range(STEPS):
        session.run.step()
    assert session.run.stepper.recorder is recorder and recorder.repeated
