"""Generated images become the pictures that people look at."""

import numpy as np
import pytest
import torch
from PIL import Image

from gan_core import InputError
from gan_core.charts import loss_chart
from gan_core.pictures import grid, save_png, to_pictures, to_pixels
from gan_core.training.history import Record


def test_minus_one_is_black_and_one_is_white():
    values = torch.tensor([-1.0, 0.0, 1.0, -7.0, 7.0]).reshape(5, 1, 1, 1)
    assert to_pixels(values).flatten().tolist() == [0, 128, 255, 0, 255]


def test_every_byte_survives_the_way_through_a_network():
    pixels = torch.arange(256).reshape(256, 1, 1, 1)
    assert np.array_equal(to_pixels(pixels.float() / 127.5 - 1).flatten(), np.arange(256))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_decide_the_kind_of_picture(channels, mode):
    (picture,) = to_pictures(torch.zeros(1, channels, 5, 7))
    assert (picture.mode, picture.size) == (mode, (7, 5))


def test_a_grid_runs_from_the_top_left_in_rows():
    shades = (torch.arange(5) * 50 / 127.5 - 1).reshape(5, 1, 1, 1).expand(5, 1, 4, 4)
    sheet = np.asarray(grid(shades, columns=3))
    assert sheet.shape == (10, 16)
    assert [sheet[0, 0], sheet[0, 6], sheet[0, 12], sheet[6, 0], sheet[6, 6]] == [0, 50, 100, 150, 200]


def test_images_in_a_grid_do_not_touch():
    sheet = np.asarray(grid(torch.ones(4, 1, 4, 4)))
    assert (sheet[4:6] == 0).all()
    assert (sheet[:, 4:6] == 0).all()
    assert (sheet[:4, :4] == 255).all()


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (9, 3), (10, 4), (64, 8)])
def test_a_grid_is_about_square(count, side):
    assert grid(torch.zeros(count, 1, 4, 4)).width == side * 6 - 2


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"a\.png cannot be written"):
        save_png(Image.new("L", (4, 4)), tmp_path / "file" / "a.png")


def test_the_chart_of_losses_is_a_picture(tmp_path):
    loss_chart([Record(i * 1000, 1.0 / i, i, 0.5, -0.5) for i in range(1, 20)], tmp_path / "loss.png", "cats")
    with Image.open(tmp_path / "loss.png") as chart:
        assert chart.format == "PNG"
        assert len(np.unique(np.asarray(chart.convert("RGB")).reshape(-1, 3), axis=0)) > 10, "and something is drawn"
