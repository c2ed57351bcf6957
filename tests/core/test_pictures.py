"""Generated images become the pictures that people look at."""

import numpy as np
import pytest
import torch
from PIL import Image

from gan_core import InputError
from gan_core.charts import line_chart, loss_chart
from gan_core.pictures import GAP, contact_sheet, grid, save_png, table, to_pictures, to_pixels
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
    history = [Record(i * 1000, {"loss": 1.0 / i} | ({"rare": i} if i % 5 == 0 else {})) for i in range(1, 20)]
    panels = {"losses": {"loss": "of all", "never": "of none"}, "what is rare": {"rare": "now and then"}}
    loss_chart(history, panels, tmp_path / "loss.png", "cats")
    with Image.open(tmp_path / "loss.png") as chart:
        assert chart.format == "PNG"
        assert len(np.unique(np.asarray(chart.convert("RGB")).reshape(-1, 3), axis=0)) > 10, "and something is drawn"


def test_a_panel_of_which_nothing_was_measured_is_not_drawn(tmp_path):
    history = [Record(i * 1000, {"loss": 1.0 / i}) for i in range(1, 20)]
    heights = []
    for panels in ({"losses": {"loss": "of all"}}, {"losses": {"loss": "of all"}, "KID": {"kid": "KID"}}):
        loss_chart(history, panels, tmp_path / "loss.png", "cats")
        with Image.open(tmp_path / "loss.png") as chart:
            heights.append(chart.height)
    assert heights[0] == heights[1]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [28, 64, 300])
def test_a_contact_sheet_has_its_pictures_in_order_and_a_caption_under_each(channels, side):
    shades = (torch.arange(5) * 40 / 127.5 - 1).reshape(5, 1, 1, 1).repeat(1, channels, side, side)
    if channels == 4:
        shades[:, 3] = 1.0  # nothing is see-through
    sheet = contact_sheet(shades, ["0", "17", "4294967295", "a caption that is far too long for a picture", ""], 3, 112)
    width, height = 112 + 2 * GAP, sheet.height // 2
    assert sheet.width == 3 * width
    pixels = np.asarray(sheet)
    captions = []
    for i in range(5):
        x, y = i % 3 * width, i // 3 * height
        assert (pixels[y + GAP : y + GAP + 112, x + GAP : x + GAP + 112] == 40 * i).all()
        captions.append(pixels[y + GAP + 112 : y + height, x : x + width])
    assert [caption.min() < 128 for caption in captions] == [True, True, True, True, False]
    assert (captions[3][:, [0, -1]] == 255).all()  # it was cut


def test_a_table_has_names_at_its_rows_and_columns():
    shades = (torch.arange(6) * 40 / 127.5 - 1).reshape(6, 1, 1, 1).expand(6, 1, 8, 8)
    pixels = np.asarray(table(shades, ["one", "other"], ["-1", "0", "1"], 64))
    left, top = pixels.shape[1] - 3 * (64 + GAP), pixels.shape[0] - 2 * (64 + GAP)
    for i in range(2):
        for j in range(3):
            y, x = top + i * (64 + GAP), left + j * (64 + GAP)
            assert (pixels[y : y + 64, x : x + 64] == 40 * (3 * i + j)).all()
            assert pixels[:top, x : x + 64].min() < 128
        assert pixels[top + i * (64 + GAP) : top + i * (64 + GAP) + 64, :left].min() < 128


def test_a_sheet_can_be_made_of_batches():
    images = torch.rand(5, 3, 8, 8) * 2 - 1
    captions = ["a", "b", "c", "d", "e"]
    assert contact_sheet(images.split(2), captions).tobytes() == contact_sheet(images, captions).tobytes()
    assert table(iter(images[:4].split(2)), ["a", "b"], ["c", "d"]).tobytes() == (
        table(images[:4], ["a", "b"], ["c", "d"]).tobytes()
    )


def test_what_is_see_through_is_white_on_a_sheet():
    clear = torch.full((1, 4, 8, 8), -1.0)
    assert (np.asarray(contact_sheet(clear, [""])) == 255).all()


def test_a_panel_by_factors_has_another_axis_and_bears_a_0(tmp_path):
    def drawn(by_factors):
        lines = {"ours": [(1, 100.0), (2, 10.0), (3, 0.0)], "none": []}
        line_chart({"KID": lines}, tmp_path / "kid.png", "cats", "seconds", by_factors)
        with Image.open(tmp_path / "kid.png") as chart:
            return np.asarray(chart.convert("RGB"))

    assert (drawn([]) != drawn(["KID"])).any()
    assert (drawn([]) == drawn(["another"])).all()
