"""Images change at random before the discriminator sees them, and what is learned from them stays right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from augmented import ada, ada_matrices, diffaugment
from captured import Refused, captured
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import affine_grid
from training_runs import begun as begun_with
from training_runs import finish, steps_of

from gan_core import ImageDataset, InputError, TrainConfig
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.training import augmentation as augment
from gan_core.training import checkpoint
from gan_core.training.augmentation import Adaptive
from gan_core.training.run import Run
from gan_core.training.streams import Place

POLICIES = {"diffaugment": diffaugment, "ada": lambda images, random: ada(images, 0.8, random)}
EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
EVERY_NAME = pytest.mark.parametrize("name", POLICIES)
BATCH = 5


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 - 1


# What becomes of an image.


@EVERY_POLICY
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (28, 28), (16, 24), (24, 16)])
def test_images_change_and_keep_their_size(policy, channels, size):
    images = noise(6, channels, *size)
    changed = policy(images, stream())
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert changed.isfinite().all()
    assert all(not torch.equal(old, new) for old, new in zip(images, changed, strict=True))


@EVERY_POLICY
def test_the_same_stream_makes_the_same_changes_and_another_makes_others(policy):
    images = noise(6, 3, 16, 16)
    assert torch.equal(policy(images, stream(1)), policy(images, stream(1)))
    assert not torch.equal(policy(images, stream(1)), policy(images, stream(2)))


@EVERY_POLICY
def test_every_image_of_a_batch_is_changed_in_its_own_way(policy):
    changed = policy(noise(1, 3, 16, 16).expand(8, -1, -1, -1), stream())
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 8


@EVERY_POLICY
def test_grey_is_the_same_in_one_channel_and_in_three(policy):
    grey = noise(16, 1, 16, 16)
    in_colours = policy(grey.expand(-1, 3, -1, -1), stream())
    torch.testing.assert_close(in_colours, policy(grey, stream()).expand(-1, 3, -1, -1), rtol=0, atol=1e-5)


@EVERY_POLICY
def test_colours_never_change_in_the_alpha_channel_but_move_with_it(policy):
    grey = noise(16, 1, 16, 16)
    changed = policy(grey.expand(-1, 4, -1, -1), stream())
    colours, alpha = changed[:, 0].flatten(1).double(), changed[:, 3].flatten(1).double()
    for i in range(16):
        seen = alpha[i] != 0  # what is cut out is 0 in both
        assert (colours[i][~seen] == 0).all()
        assert np.corrcoef(colours[i][seen], alpha[i][seen])[0, 1] ** 2 == pytest.approx(1, abs=1e-6)
    assert set(alpha[alpha != 0].tolist()) <= set(grey.flatten().tolist()) or policy is not diffaugment
    assert not torch.allclose(colours, alpha)


@EVERY_POLICY
def test_derivatives_of_both_orders_are_those_of_finite_differences(policy):
    images = noise(1, 4, 5, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: policy(images, stream()), (images,))
    assert torch.autograd.gradgradcheck(lambda images: policy(images, stream()), (images,))


def test_ada_leaves_no_derivative_of_grid_sample_to_torch_as_old_versions_lack_the_second():
    images = noise(4, 3, 16, 16).requires_grad_()
    (slope,) = torch.autograd.grad(POLICIES["ada"](images, stream()).square().sum(), images, create_graph=True)
    seen, ahead = set(), [slope.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [before for before, _ in node.next_functions]
    names = {node.name() for node in seen}
    assert len(names) > 3 and not any("GridSampler" in name for name in names)


@EVERY_POLICY
def test_changes_are_not_rounded_where_networks_compute_in_bfloat16(policy):
    images = noise(4, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        changed = policy(images, stream())
    assert torch.equal(changed, policy(images, stream()))


def on_the_device(images: torch.Tensor, name: str) -> torch.Tensor:
    """Images after what a graph holds of the change, with draws and p that are somewhere in it."""
    if name == "diffaugment":
        return augment.diffaugment(images, images.new_empty(7, len(images), dtype=torch.float64))
    adaptive = Adaptive(images.device)
    changed = augment.ada(images, adaptive.p, images.new_empty(15, 2, len(images), dtype=torch.float64))
    adaptive.observe(changed.mean(), 50)
    return augment.ada(changed, images.new_empty(()), images.new_empty(15, 2, len(images), dtype=torch.float64))


@EVERY_NAME
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_gpu_neither_waits_nor_gets_anything_from_the_host(name, channels):
    with captured() as device:
        images = torch.empty(5, channels, 16, 24, device=device, requires_grad=True)
        changed = on_the_device(images, name)
        (slope,) = torch.autograd.grad(changed.square().sum(), images, create_graph=True)
        (slope_of_slope,) = torch.autograd.grad(slope.square().sum(), images)
        assert changed.shape == slope_of_slope.shape == images.shape


@pytest.mark.parametrize(
    "fault",
    [
        lambda images: images.sum().item(),
        lambda images: images if images.any() else None,
        lambda images: images.nonzero(),
        lambda images: images[images > 0],
        lambda images: torch.tensor(1.0).to(images.device),
        lambda images: torch.from_numpy(np.ones(3)).to(images.device),
        lambda images: images * torch.ones(24),
        lambda images: images.cpu(),
    ],
)
def test_a_graph_that_is_captured_refuses_what_it_cannot_replay(fault):
    with captured() as device:
        images = torch.empty(5, 3, 16, 24, device=device)
        with pytest.raises(Refused):
            fault(images)


# DiffAugment.


def test_diffaugment_shifts_brightness_by_up_to_a_half():
    changed = diffaugment(torch.ones(2000, 1, 16, 16), stream())
    brightness = changed.flatten(1).amax(dim=1) - 1  # a quarter of an image is cut out and 0, the rest is all alike
    assert brightness.min() == pytest.approx(-0.5, abs=0.01)
    assert brightness.max() == pytest.approx(0.5, abs=0.01)
    assert brightness.mean() == pytest.approx(0, abs=0.03)
    assert all(len(image.unique()) == 2 for image in changed[:50])


def test_diffaugment_weighs_contrast_and_saturation():
    images = torch.zeros(2000, 3, 16, 16)
    images[:, 0, ::2] = images[:, 1, 1::2] = 1  # stripes of red and green
    changed = diffaugment(images, stream())
    kept = changed.abs().sum(dim=1) > 1e-6
    red = [image[0][seen].max() - image[0][seen].min() for image, seen in zip(changed, kept, strict=True)]
    # In red the stripes differ by 1: times 0 to 2 for saturation, times 0.5 to 1.5 for contrast.
    assert min(red) < 0.05
    assert 2.7 < max(red) <= 3
    assert np.mean(red) == pytest.approx(1, abs=0.05)


def test_diffaugment_moves_by_an_eighth_and_cuts_out_half_a_side():
    changed = diffaugment(torch.ones(2000, 1, 16, 16), stream()).squeeze(1) != 0
    # A square of 8 is cut out around any point, whole only if it lies inside; up to 2 rows and columns are moved out.
    least, most = 14 * 14 - 8 * 8, 16 * 16 - 4 * 4
    counts = changed.flatten(1).sum(dim=1)
    assert (counts.min(), counts.max()) == (least, most)
    shares = changed.float().mean(dim=0)[2:-2, 2:-2]
    assert shares.max() - shares.min() < 0.1, "away from the edges no pixel is kept more often than others"


# ADA.


def test_ada_at_p_0_is_nothing():
    images = noise(4, 3, 16, 16)
    assert ada(images, 0.0, stream()) is images


@pytest.mark.parametrize("p", [0.02, 0.05, 0.3])
def test_what_need_not_be_computed_on_the_cpu_changes_nothing(monkeypatch, p):
    images = noise(60, 4, 16, 16).requires_grad_()
    found = [ada(images, p, stream())]
    monkeypatch.setattr(augment, "READ_FREELY", ())
    found.append(ada(images, p, stream()))
    assert torch.equal(*found)
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), images)[0] for each in found))


@pytest.mark.parametrize("channels", [1, 4])
def test_images_that_ada_draws_nothing_for_stay_as_they_are_to_the_bit(channels):
    images = noise(200, channels, 16, 16)
    same = [torch.equal(old, new) for old, new in zip(images, ada(images, 0.05, stream()), strict=True)]
    # Of 13 changes each has 1 chance in 20, and some of those are turns by nothing and the like.
    assert 0.5 < np.mean(same) < 0.7


def test_ada_moves_as_its_paper_says():
    moves = ada_matrices(stream(), 40_000, (32, 32), 1.0)[0]
    size = np.linalg.det(moves[:, :2, :2])
    assert (size < 0).mean() == pytest.approx(0.5, abs=0.01), "half are reversed"
    assert np.log2(np.abs(size)).std() == pytest.approx(2 * 0.2, abs=0.01)
    singular = np.linalg.svd(moves[:, :2, :2], compute_uv=False)
    # Of two scalings, by s and 1/s, the larger: |log2| of a normal number of 0.2.
    assert np.log2(singular[:, 0] / singular[:, 1]).mean() == pytest.approx(2 * 0.2 * np.sqrt(2 / np.pi), abs=0.01)
    angles = np.arctan2(moves[:, 1, 0], moves[:, 0, 0])
    assert np.histogram(angles, bins=8, range=(-np.pi, np.pi))[0] == pytest.approx(5000, rel=0.06)


def test_ada_moves_whole_pixels_where_only_that_is_drawn():
    moves = ada_matrices(stream(), 4000, (32, 32), 0.02)[0]
    ones = np.abs(moves[:, :2, :2]).round(12) == np.eye(2)
    alone = ones.all(axis=(1, 2)) & (moves[:, :2, 2] != 0).any(axis=1)
    by = moves[alone, :2, 2] * 16  # in pixels, half a side being 1
    whole = (by == by.round()).all(axis=1)
    assert np.abs(by[whole]).max() == 4
    assert 0.4 < whole.mean() < 0.6, "the others are moved by parts of a pixel"


def test_a_reversed_or_turned_image_has_the_same_pixels():
    images = noise(1, 1, 8, 8).expand(600, -1, -1, -1)
    changed = ada(images, 0.05, stream()).squeeze(1)
    ways = [turned for k in range(4) for turned in (images[0, 0].rot90(k), images[0, 0].flip(1).rot90(k))]
    found = {i for i, way in enumerate(ways) if (changed - way).abs().flatten(1).amax(dim=1).min() < 1e-5}
    assert len(found) >= 5, "the image itself, reversed, and by three turns; seldom both"


def test_ada_shades_as_its_paper_says():
    shades = ada_matrices(stream(), 40_000, (32, 32), 1.0)[1]
    grey = shades[:, :3, :3].sum(axis=2).mean(axis=1)
    assert shades[:, :3, :3].sum(axis=2) == pytest.approx(np.repeat(grey[:, None], 3, axis=1), abs=1e-12)
    assert (grey < 0).mean() == pytest.approx(0.5, abs=0.01), "luma is reversed in half"
    assert np.log2(np.abs(grey)).std() == pytest.approx(0.5, abs=0.01)
    assert (shades[:, 0, 3] / grey).std() == pytest.approx(0.2, abs=0.01)
    # What is not grey turns around the axis of greys, and is weighed with contrast and saturation.
    red = shades[:, :3, :3] @ (np.array([2, -1, -1]) / np.sqrt(6))
    assert np.log2(np.linalg.norm(red, axis=1)).std() == pytest.approx(np.hypot(0.5, 1), abs=0.02)
    hue = np.arctan2(red @ (np.array([0, 1, -1]) / np.sqrt(2)), red @ (np.array([2, -1, -1]) / np.sqrt(6)))
    assert np.histogram(hue, bins=8, range=(-np.pi, np.pi))[0] == pytest.approx(5000, rel=0.06)


# Images that are no squares.


def radii(height: int, width: int) -> torch.Tensor:
    """Of each pixel how far it is from the middle."""
    rows, columns = (torch.arange(side) - (side - 1) / 2 for side in (height, width))
    return (rows[:, None] ** 2 + columns**2).sqrt()


@pytest.mark.parametrize("size", [(32, 64), (64, 32)], ids=["wide", "tall"])
def test_a_turn_by_any_angle_leaves_a_disc_a_disc(size):
    draws = torch.from_numpy(augment.ada_draws(stream(), 50, size))
    draws[:, 0] = 1.0
    draws[2, 0] = 0.0  # a turn by any angle, and nothing else
    disc = torch.sigmoid(10 - radii(*size)).expand(50, 1, -1, -1)
    changed = augment.ada(disc, 0.5, draws)
    assert not torch.equal(changed, disc)
    # Farther out lies what is mirrored at the edge.
    assert (changed - disc)[..., radii(*size) < 15].abs().max() < 0.05


@pytest.mark.parametrize("size", [(16, 24), (24, 16)], ids=["wide", "tall"])
def test_an_image_that_is_no_square_is_turned_by_halves_and_reversed(size):
    images = noise(1, 1, *size).expand(600, -1, -1, -1)
    changed = ada(images, 0.05, stream()).squeeze(1)
    one = images[0, 0]
    ways = [one, one.flip(1), one.rot90(2)]
    assert all((changed - way).abs().flatten(1).amax(dim=1).min() < 1e-5 for way in ways)


def test_an_image_that_is_no_square_moves_by_an_eighth_of_each_side():
    moves = ada_matrices(stream(), 8000, (16, 48), 0.02)[0]
    alone = (moves[:, :2, :2] == np.eye(2)).all(axis=(1, 2)) & (moves[:, :2, 2] != 0).any(axis=1)
    by = moves[alone, :2, 2] * np.array([24, 8])  # in pixels across and down
    whole = (np.abs(by - by.round()) < 1e-9).all(axis=1)
    assert np.abs(by[whole]).max(axis=0).round(9).tolist() == [6, 2]


def test_diffaugment_of_an_image_that_is_no_square_moves_and_cuts_by_its_own_sides():
    changed = diffaugment(torch.ones(4000, 1, 8, 16), stream()).squeeze(1) != 0
    # 4 x 8 are cut out around any point, whole only if they lie inside; up to 1 row and 2 columns are moved out.
    least, most = 7 * 14 - 4 * 8, 8 * 16 - 2 * 4
    counts = changed.flatten(1).sum(dim=1)
    assert (counts.min(), counts.max()) == (least, most)


# ADA's p.


def observed(adaptive: Adaptive, sign: float, batches: int) -> float:
    for _ in range(batches):
        adaptive.observe(torch.tensor(sign), 50)
    return adaptive.p.item()


def adaptive_at(p: float) -> Adaptive:
    adaptive = Adaptive()
    adaptive.restore({"p": p, "signs": []})
    return adaptive


def test_p_grows_every_four_batches_while_the_discriminator_is_too_sure():
    adaptive = Adaptive()
    assert observed(adaptive, 0.7, 3) == 0
    assert observed(adaptive, 0.7, 1) == 200 / 500_000
    assert observed(adaptive, 0.7, 4) == pytest.approx(2 * 200 / 500_000)
    assert observed(adaptive, 0.5, 4) == pytest.approx(200 / 500_000)


def test_p_stays_between_0_and_what_does_not_leak():
    assert observed(Adaptive(), -1.0, 40) == 0
    assert observed(adaptive_at(0.7999), 1.0, 40) == 0.8


def test_p_counts_the_mean_of_the_four_batches():
    adaptive = Adaptive()
    for sign in (1.0, 1.0, 1.0, -0.7):
        adaptive.observe(torch.tensor(sign), 50)
    assert adaptive.p == 0, "their mean is 0.575"


def test_p_and_what_it_waits_for_survive_json():
    adaptive = adaptive_at(0.1 + 0.2)
    for waiting in range(augment.INTERVAL):
        state = json.loads(json.dumps(adaptive.state))
        assert state == {"p": 0.1 + 0.2, "signs": [torch.tensor(0.7).item()] * waiting}
        again = adaptive_at(0.5)
        again.observe(torch.tensor(-1.0), 50)
        again.restore(state)
        left = augment.INTERVAL - waiting
        assert observed(again, 0.7, left - 1) == 0.1 + 0.2
        assert observed(again, 0.7, 1) == 0.1 + 0.2 + 200 / 500_000
        adaptive.observe(torch.tensor(0.7), 50)


def test_p_stays_where_a_captured_step_writes_it():
    adaptive = Adaptive()
    places = [tensor.data_ptr() for tensor in adaptive.tensors]
    observed(adaptive, 0.7, 5)
    adaptive.restore({"p": 0.3, "signs": [0.1, 0.2]})
    adaptive.reset()
    assert adaptive.state == {"p": 0.0, "signs": []}
    assert [tensor.data_ptr() for tensor in adaptive.tensors] == places


# Training.


def config_for(folder: Path, steps: int = 4, **changes) -> TrainConfig:
    settings = {"preset": "dcgan_small", "batch_size": BATCH, "kimg": steps * BATCH / 1000, **changes}
    return TrainConfig.of(folder / "run", **settings)


def learned(folder: Path) -> dict[str, torch.Tensor]:
    """All that the next step depends on."""
    tensors = load_file(folder / "run" / "checkpoint.safetensors")
    del tensors["history"]  # whose means are over other steps where a run was stopped in between
    return tensors


def squared_gradients(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Squared length of D's gradient at the images."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1).norm(dim=1).square().mean()


def assert_same_gradients(module: torch.nn.Module, expected: torch.nn.Module) -> None:
    for parameter, other in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-6)


@pytest.fixture
def p_rises(monkeypatch) -> None:
    """Lets p go up by a tenth every four batches of these tests, whatever the discriminator says."""
    monkeypatch.setattr(augment, "RAMP_IMAGES", 40 * BATCH)
    monkeypatch.setattr(augment, "TARGET", -2.0)


def p_of(folder: Path) -> float:
    return checkpoint.read(folder / "run").state["ada"]["p"]


@EVERY_NAME
@pytest.mark.usefixtures("p_rises")
@pytest.mark.parametrize("objective", ["log", "relativistic"])
def test_a_stopped_run_reaches_the_weights_of_one_that_was_not(labelled_images, tmp_path, name, objective):
    settings = {"steps": 14, "objective": objective, "augment": name}
    finish(labelled_images, config_for(tmp_path / "straight", **settings))
    stopped = steps_of(labelled_images, config_for(tmp_path / "stopped", **settings), 6)
    assert stopped.last.images == 6 * BATCH
    finish(labelled_images, config_for(tmp_path / "stopped", **settings, resume=True))
    stopped, straight = learned(tmp_path / "stopped"), learned(tmp_path / "straight")
    assert stopped.keys() == straight.keys()
    assert [tensor for tensor in stopped if not torch.equal(stopped[tensor], straight[tensor])] == []
    if name == "ada":
        assert p_of(tmp_path / "stopped") == p_of(tmp_path / "straight") == pytest.approx(0.3)


@pytest.mark.usefixtures("p_rises")
def test_a_run_with_augmentation_learns_other_weights(noise_images, tmp_path):
    for name in augment.AUGMENTS:
        finish(noise_images, config_for(tmp_path / name, steps=8, augment=name))
    none, *others = (learned(tmp_path / name)["generator.project.weight"] for name in augment.AUGMENTS)
    assert not any(torch.equal(none, other) for other in others)
    assert not torch.equal(*others)


def begun(dataset: ImageDataset, folder: Path, name: str, objective: str) -> Run:
    run = begun_with(dataset, config_for(folder, objective=objective, augment=name, precision="fp32")).run
    run.method.adaptive.p.fill_(0.5)
    return run


def twin(dataset: ImageDataset, folder: Path, name: str, objective: str) -> Run:
    """A run whose networks are the same, to compute anew with."""
    return begun(dataset, folder / "twin", name, objective)


@EVERY_NAME
@pytest.mark.parametrize("objective", ["log", "hinge", "relativistic"])
def test_the_discriminator_sees_changed_images_and_is_penalised_at_the_images_themselves(
    labelled_images, tmp_path, name, objective
):
    run, other = (make(labelled_images, tmp_path, name, objective) for make in (begun, twin))
    method = run.method
    ((batch, context),) = run.shown()
    fake_images = method.generate(context.noise(BATCH, method.config.latent_size), batch.labels, context)
    method.discriminator_step(batch, fake_images, context)

    labels = batch.labels
    real, fake = batch.target.detach().requires_grad_(), fake_images.detach().requires_grad_()
    change = POLICIES["diffaugment"] if name == "diffaugment" else lambda images, random: ada(images, 0.5, random)
    seen = [change(images, np.random.default_rng([0, 5, 0, place])) for place, images in enumerate((real, fake))]
    real_logits, fake_logits = (other.method.discriminator(images, labels) for images in seen)
    loss = OBJECTIVES[objective].loss(real_logits, fake_logits).discriminator
    if objective == "relativistic":
        gamma = 1 / 16  # 1 at 64x64 pixels, and these are 16x16
        loss = loss + gamma / 2 * (squared_gradients(real_logits, real) + squared_gradients(fake_logits, fake))
    loss.backward()
    assert_same_gradients(method.discriminator, other.method.discriminator)


@EVERY_NAME
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_generator_learns_through_the_changes(labelled_images, tmp_path, name, objective):
    run, other = (make(labelled_images, tmp_path, name, objective) for make in (begun, twin))
    method, again = run.method, other.method
    batch, context = run.shown()[-1]  # the generator learns after the last of a step's batches
    size = method.config.latent_size
    fake_images = method.generate(context.noise(BATCH, size), batch.labels, context)
    _, real_logits = method.discriminator_step(batch, fake_images, context)
    again.discriminator.load_state_dict(method.discriminator.state_dict())
    _, context_again = other.shown()[-1]
    fake = again.generator(context_again.noise(BATCH, size), batch.labels)
    method.generator_step(batch, fake_images, real_logits, context)

    changed = [
        again.augment(images, place, context_again)
        for images, place in ((fake, Place.GENERATOR_FAKE), (batch.target, Place.GENERATOR_REAL))
    ]
    fake_logits, real_logits = (again.discriminator(images, batch.labels) for images in changed)
    OBJECTIVES[objective].loss(real_logits.detach(), fake_logits).generator.backward()
    assert_same_gradients(method.generator, again.generator)


def test_history_tells_how_sure_the_discriminator_is_and_p(noise_images, tmp_path):
    for name in augment.AUGMENTS:
        values = finish(noise_images, config_for(tmp_path / name, augment=name)).last.record.values
        assert -1 <= values["real_sign"] <= 1
        assert ("augment_p" in values) == (name == "ada")


def test_the_line_of_a_run_tells_p(noise_images, tmp_path):
    assert str(finish(noise_images, config_for(tmp_path, augment="ada")).last).endswith(", p 0.00")


def test_a_run_may_go_on_with_another_augmentation(noise_images, tmp_path):
    for steps, name in enumerate(("none", "ada", "diffaugment"), 1):
        config = config_for(tmp_path, steps=2 * steps, augment=name, resume=True)
        assert finish(noise_images, config).last.images == 2 * steps * BATCH


@pytest.mark.parametrize("damaged", [7, {}, {"p": 2, "signs": []}, {"p": 0.1, "signs": [0.1] * 4}], ids=str)
def test_a_checkpoint_with_a_damaged_p_is_a_sentence(noise_images, tmp_path, damaged):
    finish(noise_images, config_for(tmp_path, augment="ada"))
    found = checkpoint.read(tmp_path / "run")
    checkpoint.write(tmp_path / "run", {**found.state, "ada": damaged}, found.tensors)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged"):
        finish(noise_images, config_for(tmp_path, steps=6, augment="ada", resume=True))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augment": "mixup"}, r"augment must be one of none, diffaugment, ada \(got 'mixup'\)\."),
        (
            {"preset": "conv_vae", "augment": "ada"},
            "conv_vae trains a VAE, which has no setting augment: leave it unset",
        ),
    ],
    ids=str,
)
def test_an_augmentation_that_cannot_be_is_a_sentence(noise_images, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        finish(noise_images, config_for(tmp_path, **changes))


@given(st.integers(1, 5), st.integers(1, 7))
def test_places_are_those_of_torchs_affine_grid(height: int, width: int) -> None:
    moves = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(height * width), dtype=torch.float64)
    expected = affine_grid(moves, [3, 1, height, width], align_corners=False)
    of_half_heights = moves * torch.tensor([height / width, 1, 1])
    torch.testing.assert_close(augment._places(of_half_heights, height, width), expected)
