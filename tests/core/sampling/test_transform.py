"""Motion of a StyleGAN3's images, spread over a batch."""

import math

import pytest
import torch

from gan_core import Generator, InputError, Transform, sample_noise
from gan_core.architectures.stylegan3 import ARCHITECTURE, StyleGAN3Config, StyleGAN3Generator, widths


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    config = StyleGAN3Config(16, 3, widths(16, 64, 6), latent_size=5, w_dim=6)
    return Generator(ARCHITECTURE, config, StyleGAN3Generator(config).eval().requires_grad_(False))


def test_nothing_moved_is_the_identity() -> None:
    assert torch.equal(Transform().matrices(3), torch.eye(3).expand(3, 3, 3))


def test_a_still_motion_is_the_same_for_every_image() -> None:
    matrices = Transform(0.25, -0.5, rotation=30, scale=2).matrices(4)
    assert matrices.shape == (4, 3, 3)
    assert (matrices == matrices[0]).all()
    # The network asks where in the image a point of the image lies: the way back.
    there = torch.linalg.inv(matrices[0])
    assert there[:2, 2].tolist() == pytest.approx([0.25, -0.5], abs=1e-6)
    assert torch.linalg.det(there[:2, :2]).item() == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize(
    ("motion", "there"),
    [
        (Transform(rotation=90), (0, -1)),  # anticlockwise: what was at the right is at the top, where y is -1
        (Transform(rotation=-90), (0, 1)),
        (Transform(rotation=30), (math.cos(math.pi / 6), -0.5)),
        (Transform(translate_x=0.25), (1.25, 0)),
        (Transform(translate_y=0.25), (1, 0.25)),
        (Transform(scale=2), (2, 0)),
    ],
    ids=str,
)
def test_where_the_right_edge_goes(motion: Transform, there: tuple[float, float]) -> None:
    (matrix,) = motion.matrices(1)
    found = torch.linalg.inv(matrix) @ torch.tensor([1.0, 0.0, 1.0])
    assert found[:2].tolist() == pytest.approx(there, abs=1e-6)


def test_an_animated_turn_closes_into_a_loop() -> None:
    matrices = Transform(rotation=360, animate=True).matrices(8)
    assert torch.equal(matrices[0], torch.eye(3))
    torch.testing.assert_close(matrices[2], Transform(rotation=90).matrices(1)[0], rtol=0, atol=1e-6)
    step = matrices[1]
    torch.testing.assert_close(matrices[7] @ step, torch.eye(3), rtol=0, atol=1e-6)


def test_an_animated_scale_grows_by_equal_factors() -> None:
    matrices = Transform(scale=16, animate=True).matrices(4)
    assert [1 / matrix[0, 0].item() for matrix in matrices] == pytest.approx([1, 2, 4, 8])


def test_each_image_of_a_batch_is_moved_by_its_own_matrix(generator: Generator) -> None:
    noise = sample_noise(generator, [0, 0, 0, 0])
    matrices = Transform(0.5, 0.25, 45, animate=True).matrices(4)
    together = generator.decode(noise, transform=matrices)
    alone = torch.cat([generator.decode(noise[:1], transform=matrix) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together[0], generator.decode(noise)[0], rtol=0, atol=1e-6)
    assert (together[1] - together[0]).abs().max() > 0.001


@pytest.mark.parametrize(
    "motion",
    [
        Transform(scale=0),
        Transform(scale=-2, animate=True),
        Transform(translate_x=math.inf),
        Transform(rotation=math.nan),
    ],
)
def test_a_motion_that_cannot_be_is_refused(motion: Transform) -> None:
    with pytest.raises(InputError):
        motion.matrices(1)


def test_a_matrix_of_another_shape_is_refused(generator: Generator) -> None:
    with pytest.raises(InputError, match=r"one for each of the 2 images \(got \[3, 3, 3\]\)"):
        generator.decode(sample_noise(generator, [0, 1]), transform=torch.zeros(3, 3, 3))
