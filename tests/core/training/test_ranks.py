"""What one of several processes does by itself: which numbers it draws, and whom it listens to."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_runs import begun as begun_with

from gan_core import TrainConfig
from gan_core.losses import path_length
from gan_core.losses.path_length import path_lengths
from gan_core.training import presets as recipes
from gan_core.training.context import FromHost, Rates, StepContext
from gan_core.training.distributed import SIGNALS, WholeBatchNorm, World
from gan_core.training.methods.adversarial import Judged
from gan_core.training.run import Run
from gan_core.training.settings import AdversarialRecipe
from gan_core.training.streams import Place, Stream

BATCH = 6


class Pretended(World):
    """One of several processes, whose others say what it says."""

    def any_rank(self, fact: bool) -> bool:
        return fact

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.mul_(self.size)

    def broadcast(self, ask):
        return ask()

    def broadcast_tensors(self, tensors):
        return dict(tensors)

    def check_alike(self, facts) -> None:
        return


@pytest.fixture
def use(monkeypatch):
    def put(recipe: AdversarialRecipe) -> None:
        monkeypatch.setitem(recipes.PRESETS, "trial", recipe)

    return put


TINY = AdversarialRecipe("dcgan", {"width": 2, "latent_size": 2}, batch_size=BATCH)
STYLES = AdversarialRecipe(
    "stylegan2",
    {"base": 32, "largest": 4, "latent_size": 2, "w_dim": 2, "mapping_layers": 1},
    batch_size=BATCH,
    path_length=2.0,
)


def begun(dataset, folder: Path, world: World | None = None) -> Run:
    config = TrainConfig.of(folder / "run", preset="trial", kimg=1, precision="fp32")
    return begun_with(dataset, config, world=world).run


def of_each(dataset, folder: Path, size: int = 2) -> list[Run]:
    return [begun(dataset, folder, Pretended(rank, size)) for rank in range(size)]


def at_step(run: Run, step: int, substep: int = 0) -> StepContext:
    return StepContext(step, substep, 0, Rates(1e-3, (0.0, 0.9)), run.streams, run.world, FromHost(run.device))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_out_the_images_the_labels_and_the_noise_of_one(labelled_images, tmp_path, use, size):
    use(TINY)
    alone, parts = begun(labelled_images, tmp_path), of_each(labelled_images, tmp_path, size)
    for alone.steps in (0, 1):
        for run in parts:
            run.steps = alone.steps
        ((whole, _),) = alone.shown()
        shares = [batch for run in parts for batch, _ in run.shown()]
        assert [len(share) for share in shares] == [BATCH // size] * size
        assert torch.equal(torch.cat([share.target for share in shares]), whole.target)
        assert torch.equal(torch.cat([share.labels for share in shares]), whole.labels)
        noise = [at_step(run, alone.steps).noise(BATCH // size, 2) for run in parts]
        assert torch.equal(torch.cat(noise), at_step(alone, alone.steps).noise(BATCH, 2))


@pytest.mark.parametrize("augment", ["diffaugment", "ada"])
@pytest.mark.parametrize("place", [Place.REAL, Place.GENERATOR_REAL])
def test_they_change_their_images_as_one_process_would(labelled_images, tmp_path, use, augment, place):
    use(replace(TINY, augment=augment, augment_p=0.7))
    alone, parts = begun(labelled_images, tmp_path), of_each(labelled_images, tmp_path)
    images = torch.rand(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def changed(run: Run, part: Tensor) -> Tensor:
        return run.method.augment(part, place, at_step(run, 0))

    found = [changed(run, half) for run, half in zip(parts, images.chunk(2), strict=True)]
    torch.testing.assert_close(torch.cat(found), changed(alone, images))


@pytest.mark.parametrize("penalty", ["r1", "wgan_gp"])
def test_penalties_look_where_those_of_one_process_look(labelled_images, tmp_path, use, penalty):
    """The mean of both processes' penalties is that of the whole batch only then."""
    use(replace(TINY, penalty=penalty, penalty_estimate="finite"))
    alone, parts = begun(labelled_images, tmp_path), of_each(labelled_images, tmp_path)
    stream = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(BATCH, 3, 16, 16, generator=stream) * 2 - 1 for _ in range(2))
    labels = torch.arange(BATCH) % 3
    for run in (alone, *parts):  # as steep as one that has learned, so that halves of a batch differ
        for weight in run.method.discriminator.parameters():
            weight.data.mul_(4)

    def penalty_of(run: Run, part: slice) -> float:
        context = at_step(run, 0)

        def judged(images: Tensor, place: Place) -> Judged:
            return run.method.judge(images[part], labels[part], place, context, False)

        return run.method.penalty(judged(real, Place.REAL), judged(fake, Place.FAKE), context).item()

    whole = penalty_of(alone, slice(None))
    halves = [penalty_of(run, part) for run, part in zip(parts, (slice(0, 3), slice(3, 6)), strict=True)]
    assert sum(halves) / 2 == pytest.approx(whole, rel=1e-4)
    assert halves[0] != pytest.approx(halves[1], rel=1e-3)


def test_what_a_network_draws_by_itself_is_another_in_each_process_step_and_batch(labelled_images, tmp_path, use):
    use(STYLES)
    drawn = set()
    for run in of_each(labelled_images, tmp_path, 3):
        for step, substep in ((0, 0), (0, 1), (1, 0), (1, 1)):
            drawn.add(at_step(run, step, substep).own(Stream.NETWORK).initial_seed())
        z = torch.zeros(2, 2)
        drawn.add(tuple(run.method.generate(z, torch.tensor([0, 1]), at_step(run, 0)).flatten()[:5].tolist()))
    assert len(drawn) == 3 * 5
    alone = begun(labelled_images, tmp_path)
    always = alone.streams.torch(Stream.NETWORK, 0).initial_seed()
    assert at_step(alone, 0).own(Stream.NETWORK).initial_seed() == always, "one process draws what it always drew"


def regularise(run: Run) -> None:
    """The path length step of a run's next step."""
    ((batch, context),) = run.shown()
    run.method.path_length_step(batch.labels, context)


def test_each_process_measures_other_paths_of_its_share_of_half_a_batch(labelled_images, tmp_path, use, monkeypatch):
    use(STYLES)
    seeds, counts = [], []

    def noted(images: Tensor, styles: Tensor, random: torch.Generator) -> Tensor:
        seeds.append(random.initial_seed())
        counts.append(len(images))
        return path_lengths(images, styles, random)

    monkeypatch.setattr(path_length, "path_lengths", noted)
    for run in [begun(labelled_images, tmp_path), *of_each(labelled_images, tmp_path, 3)]:
        for run.steps in (0, 4):
            regularise(run)
    assert len(set(seeds)) == 2 + 2 * 3 - 2, "the first of several draws what one alone does"
    assert counts == [3, 3, *[1] * 6]


def test_a_batch_of_two_still_has_a_path(labelled_images, tmp_path, use, monkeypatch):
    use(replace(STYLES, batch_size=2))
    counts = []
    monkeypatch.setattr(
        path_length, "path_lengths", lambda *given: counts.append(len(given[0])) or path_lengths(*given)
    )
    for run in of_each(labelled_images, tmp_path, 2):
        regularise(run)
    assert counts == [1, 1]


# What asks a process to stop.


def own(*_: object) -> None:
    """A handler of the program that trains."""


@pytest.fixture
def _handled() -> Iterator[None]:
    """All signals that ask a process to stop are answered by `own`, however the tests were started."""
    before = {which: signal.signal(which, own) for which in SIGNALS}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.usefixtures("_handled")
def test_while_several_train_a_request_to_stop_is_kept_for_the_end_of_the_step():
    world = World(size=2)
    assert {signal.SIGINT, signal.SIGTERM} <= {*SIGNALS}
    for which in SIGNALS:
        world.stopped = True
        with world.listening():
            assert not world.stopped, "what was asked before is no concern of this run"
            signal.raise_signal(which)
            assert world.stopped
        assert [signal.getsignal(each) for each in SIGNALS] == [own] * len(SIGNALS)


@pytest.mark.usefixtures("_handled")
def test_afterwards_signals_are_answered_as_before_even_if_the_run_failed():
    def failing() -> None:
        with World(size=2).listening():
            assert all(signal.getsignal(which) is not own for which in SIGNALS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert [signal.getsignal(which) for which in SIGNALS] == [own] * len(SIGNALS)


def test_the_main_process_answers_as_if_it_were_alone(monkeypatch):
    told = []
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: told.append((tensor.tolist(), source)))
    world = World(size=2)
    assert world.broadcast(lambda: {"size": world.size}) == {"size": 1}
    assert world.size == 2
    assert told[0] == ([11], 0) and bytes(told[1][0]) == b'{"size": 1}'
    with pytest.raises(ZeroDivisionError):
        world.broadcast(lambda: 1 // 0)
    assert world.size == 2, "after an error too"


# Batch norm of several processes.


def test_a_norm_of_all_processes_counts_its_batches_and_moves_its_statistics_as_torch_does():
    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 5
    ours, theirs = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    whole = WholeBatchNorm(ours, Pretended(0, 1))
    for _ in range(3):
        torch.testing.assert_close(whole(x), theirs(x))
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, msg=name)
    averaging = nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3, momentum=None)
    whole = WholeBatchNorm(averaging[0], Pretended(0, 1))
    for i in range(3):
        whole(x + i), averaging[1](x + i)
    torch.testing.assert_close(averaging[0].running_mean, averaging[1].running_mean)


def test_gradients_are_averaged_and_so_is_what_else_a_network_keeps():
    sent = []

    class Second(World):
        def sum(self, tensor: Tensor) -> Tensor:
            sent.append(tensor.dtype)
            return tensor.add_(torch.ones_like(tensor))  # the other process has ones everywhere

    module = nn.BatchNorm1d(2)
    module.weight.grad = torch.tensor([3.0, 5.0])
    module.running_mean.copy_(torch.tensor([2.0, 4.0]))
    Second(size=2).average_gradients(module)
    assert module.weight.grad.tolist() == [2, 3]
    assert module.bias.grad is None
    assert module.running_mean.tolist() == [1.5, 2.5]
    assert sent == [torch.float32, torch.float64]
    assert Second(size=2).mean(torch.tensor([3.0])).item() == 2


def test_an_axis_of_shards_counts_from_either_end():
    values = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(World(1, 3).shard(values, axis=1), values[:, 1:2])
    assert np.array_equal(World(1, 2).shard(values, axis=-1), values[..., 2:])
    assert np.array_equal(World(1, 2).shard(values), values[1:])
