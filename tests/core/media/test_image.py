"""Generated batches become images that people look at."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from gan_core import InputError
from gan_core.cli.charts import line_chart, loss_chart
from gan_core.media.image import GAP, contact_sheet, grid, save_png, table, to_pil, to_pixels
from gan_core.training.history import Record


def test_minus_one_is_black_and_one_is_white():
    values = torch.tensor([-1.0, 0.0, 1.0, -7.0, 7.0]).reshape(5, 1, 1, 1)
    assert to_pixels(values).flatten().tolist() == [0, 128, 255, 0, 255]


def test_every_byte_survives_the_way_through_a_network():
    pixels = torch.arange(256).reshape(256, 1, 1, 1)
    assert np.array_equal(to_pixels(pixels.float() / 127.5 - 1).flatten(), np.arange(256))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_decide_the_kind_of_picture(channels, mode):
    (picture,) = to_pil(torch.zeros(1, channels, 5, 7))
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


def test_a_value_is_rounded_to_the_nearest_level():
    levels = torch.tensor([0.4, 0.6, 99.4, 99.6, 254.4, 254.6]) / 127.5 - 1
    assert to_pixels(levels.reshape(6, 1, 1, 1)).flatten().tolist() == [0, 1, 99, 100, 254, 255]


def test_pixels_have_their_rows_columns_and_channels_in_order():
    images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    pixels = to_pixels(images / 127.5 - 1)
    assert pixels.shape == (2, 4, 5, 3)
    assert pixels[1, 2, 3].tolist() == images[1, :, 2, 3].tolist()
    for i, picture in enumerate(to_pil(images / 127.5 - 1)):
        assert picture.getpixel((3, 2)) == tuple(images[i, :, 2, 3].tolist())


@pytest.mark.parametrize(
    ("count", "columns", "gap", "places"),
    [
        (5, 3, 2, [(0, 0), (7, 0), (14, 0), (0, 5), (7, 5)]),
        (5, None, 0, [(0, 0), (5, 0), (10, 0), (0, 3), (5, 3)]),
        (2, 3, 1, [(0, 0), (6, 0)]),  # no columns that stay empty
        (3, 1, 4, [(0, 0), (0, 7), (0, 14)]),
        (1, None, 2, [(0, 0)]),
    ],
)
def test_every_pixel_of_a_grid_is_where_it_belongs(count, columns, gap, places):
    images = (torch.arange(count * 15).reshape(count, 1, 3, 5) + 1) / 127.5 - 1
    expected = np.zeros((max(y for _, y in places) + 3, max(x for x, _ in places) + 5), np.uint8)
    for i, (x, y) in enumerate(places):
        expected[y : y + 3, x : x + 5] = (np.arange(15).reshape(3, 5) + 1) + 15 * i
    assert np.array_equal(np.asarray(grid(images, columns, gap)), expected)


@pytest.mark.parametrize("channels", [3, 4])
def test_between_coloured_images_of_a_grid_is_black_or_nothing(channels):
    sheet = np.asarray(grid(torch.ones(2, channels, 3, 3)))
    assert sheet.shape == (3, 8, channels)
    assert (sheet[:, 3:5] == 0).all() and (sheet[:, 5:] == 255).all()


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (9, 3), (10, 4), (64, 8)])
def test_a_grid_is_about_square(count, side):
    assert grid(torch.zeros(count, 1, 4, 4)).width == side * 6 - 2


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"a\.png cannot be written"):
        save_png(Image.new("L", (4, 4)), tmp_path / "file" / "a.png")


def test_a_saved_picture_is_a_png_of_the_same_pixels_and_nothing_else(tmp_path):
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (6, 5, 3), np.uint8))
    picture.info["comment"] = "private"
    save_png(picture, tmp_path / "new" / "a.jpg")  # a PNG, whatever its name
    with Image.open(tmp_path / "new" / "a.jpg") as found:
        assert found.format == "PNG" and found.info == {}
        assert np.array_equal(np.asarray(found), np.asarray(picture))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.jpg"]


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


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, instead of their files."""
    saved = []

    def savefig(figure, path, format, dpi):
        saved.append(figure)
        path.write_bytes(f"{format} {dpi}".encode())

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
    return saved


@pytest.mark.parametrize("title", ["$", "$\\frac$", "$x_{$", "\x07\x1b[2J", "猫", ""])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_chart_takes_any_name_as_it_is(tmp_path, title):
    line_chart({"KID": {"kid": [(0, 1), (1, 2)]}}, tmp_path / "chart.png", title, "seconds")
    assert (tmp_path / "chart.png").stat().st_size > 1000


def lines_of(chart):
    """The lines of a panel: what each is called, and its points."""
    return {line.get_label(): [tuple(point) for point in line.get_xydata()] for line in chart.get_lines()}


def test_a_chart_has_each_value_where_it_was_measured(tmp_path, figures):
    history = [Record(500, {"d": 1.0, "g": 4.0}), Record(2000, {"d": 2.0, "kid": 7.0}), Record(3500, {"g": 5.0})]
    panels = {"losses": {"d": "loss D", "g": "loss G"}, "KID": {"kid": "KID"}, "rare": {"none": "none"}}
    loss_chart(history, panels, tmp_path / "loss.png", "cats")
    losses, kid = figures[0].axes
    assert lines_of(losses) == {"loss D": [(0.5, 1), (2, 2)], "loss G": [(0.5, 4), (3.5, 5)]}
    assert lines_of(kid) == {"KID": [(2, 7)]}
    assert (losses.get_title(), losses.get_ylabel(), losses.get_xlabel()) == ("cats", "losses", "")
    assert (kid.get_title(), kid.get_ylabel(), kid.get_xlabel()) == ("", "KID", "real images shown (thousands)")
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss D", "loss G"]
    assert figures[0].get_size_inches().tolist() == [9, 6]
    assert (tmp_path / "loss.png").read_text() == "png 110"


@pytest.mark.filterwarnings("ignore:No artists with labels")
def test_the_first_panel_is_there_before_anything_was_measured(tmp_path, figures):
    loss_chart([], {"losses": {"d": "loss D"}, "KID": {"kid": "KID"}}, tmp_path / "loss.png", "cats")
    (losses,) = figures[0].axes
    assert losses.get_ylabel() == "losses" and lines_of(losses) == {}


def test_only_a_panel_by_factors_is_logarithmic(tmp_path, figures):
    lines = {"ours": [(1, 100.0), (2, 10.0)]}
    line_chart({"KID": lines, "loss": lines}, tmp_path / "kid.png", "cats", "seconds", ["KID"])
    assert [chart.get_yscale() for chart in figures[0].axes] == ["log", "linear"]
    assert [chart.get_xlabel() for chart in figures[0].axes] == ["", "seconds"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("side", [28, 64, 300])
def test_a_contact_sheet_has_its_pictures_in_order_and_a_caption_under_each(channels, side):
    shades = (torch.arange(5) * 40 / 127.5 - 1).reshape(5, 1, 1, 1).repeat(1, channels, side, side)
    if channels == 4:
        shades[:, 3] = 1.0  # nothing is transparent
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


@pytest.mark.parametrize(("cell", "sharp"), [(20, True), (19, False), (40, True)])
def test_pixels_stay_sharp_from_twice_their_size_on(cell, sharp):
    """Two levels that are enlarged stay two; between those of an image that is smoothed lie others."""
    images = torch.where(torch.arange(10) % 4 < 2, -1.0, 1.0).expand(1, 1, 10, 10)
    pixels = np.asarray(contact_sheet(images, [""], cell_size=cell))[GAP : GAP + cell, GAP : GAP + cell]
    assert (len(np.unique(pixels)) == 2) == sharp


@pytest.mark.parametrize(("height", "width", "shown"), [(8, 16, (32, 64)), (16, 8, (64, 32)), (1, 300, (1, 64))])
def test_the_longer_side_of_a_picture_is_that_of_its_cell(height, width, shown):
    pixels = np.asarray(contact_sheet(torch.full((1, 3, height, width), -1.0), [""], cell_size=64))
    assert pixels.shape[1] == shown[1] + 2 * GAP
    assert (pixels[GAP : GAP + shown[0], GAP : GAP + shown[1]] == 0).all()
    frame = np.delete(np.delete(pixels, range(GAP, GAP + shown[0]), 0), range(GAP, GAP + shown[1]), 1)
    assert (frame == 255).all() and (pixels[GAP + shown[0] :] == 255).all()


@pytest.mark.parametrize(
    ("count", "columns", "expected"), [(5, None, 3), (4, None, 2), (2, 7, 2), (5, 2, 2), (1, 1, 1)]
)
def test_a_sheet_has_as_many_columns_as_are_asked_for(count, columns, expected):
    sheet = contact_sheet(torch.zeros(count, 1, 8, 8), [""] * count, columns, 16)
    assert sheet.width == expected * (16 + 2 * GAP)
    one = contact_sheet(torch.zeros(1, 1, 8, 8), [""], 1, 16).height
    assert sheet.height == -(-count // expected) * one


@pytest.mark.parametrize(("cell", "letters"), [(16, 10), (70, 10), (77, 11), (168, 24), (400, 24)])
def test_letters_grow_with_the_cells_from_10_to_24(cell, letters):
    def height(sheet):
        return sheet.height - cell - 2 * GAP

    font = ImageFont.load_default(letters)
    assert (
        height(contact_sheet(torch.zeros(1, 1, 8, 8), ["0"], cell_size=cell)) == math.ceil(font.getbbox("0g")[3]) + GAP
    )


def test_a_caption_stands_in_the_middle_below_its_picture():
    pixels = np.asarray(contact_sheet(torch.ones(2, 1, 8, 8), ["00000", ""], 2, 64))
    inked = np.argwhere((pixels < 128).any(2))
    assert inked[:, 0].min() >= GAP + 64 + GAP
    middle = (inked[:, 1].min() + inked[:, 1].max()) / 2
    assert middle == pytest.approx(GAP + 32, abs=1.5)


def test_a_caption_is_one_line_that_ends_in_dots_where_it_is_too_long():
    def inked(caption):
        pixels = np.asarray(contact_sheet(torch.ones(1, 1, 8, 8), [caption], 1, 64))
        return pixels[2 * GAP + 64 :].tobytes()

    assert inked("a  b\nc") == inked("a b c")
    font = ImageFont.load_default(10)
    count = max(n for n in range(40) if font.getlength("m" * n + "...") <= 64 + GAP)
    assert inked("m" * 40) == inked("m" * count + "...") != inked("m" * (count - 1) + "...")
    whole = max(n for n in range(40) if font.getlength("m" * n) <= 64 + GAP)
    assert inked("m" * whole) != inked("m" * (whole + 1)) == inked("m" * count + "...")


def test_a_tables_names_do_not_take_more_than_three_cells():
    def left(name):
        return table(torch.zeros(1, 1, 8, 8), [name], ["x"], 64).width - 64 - GAP

    font = ImageFont.load_default(10)
    assert left("short") == math.ceil(font.getlength("short")) + 2 * GAP
    assert left("long " * 100) == 3 * 64 + 2 * GAP


def test_what_is_half_clear_is_half_white_on_a_sheet():
    pixels = torch.tensor([0, 100, 200, 51]).reshape(1, 4, 1, 1).expand(1, 4, 8, 8) / 127.5 - 1
    found = np.asarray(contact_sheet(pixels, [""], cell_size=16))[GAP, GAP]
    assert found.tolist() == [204, 224, 244]


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
