"""What lies in a folder or an archive is taken for what it is: images, classes, or neither, and a person is told."""

import ast
import io
import json
import os
import sys
import types
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageFile, PngImagePlugin, features

from gan_core import ImageDataset, InputError
from gan_core.data import image_cache, images
from gan_core.data.image_classes import in_natural_order
from gan_core.data.images import fingerprint_of_folder, reading
from gan_core.media import image_formats

ROOT = Path(__file__).parents[3]
links = pytest.mark.skipif(os.name == "nt", reason="Windows lets only administrators make symbolic links")

SHARDS = ["00000/img00000000.png", "00000/img00000001.png", "00001/img00001000.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def put(folder: Path, *files: str) -> Path:
    """Puts small images into a folder, the first black, each next one a little less."""
    for i, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / file)
    return folder


def put_texts(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("no image")
    return folder


def labelled(folder: Path, labels: object) -> Path:
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def packed(folder: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """The like of a folder as a ZIP archive."""
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder).as_posix())
    return archive


def read(folder: Path, labels: bool = True, **settings: object) -> ImageDataset:
    return ImageDataset.from_folder(folder, 8, labels=labels, **settings)


def classes_of(folder: Path) -> list[str]:
    """The name of each image's class."""
    found = read(folder)
    return [found.class_names[label] for label in found.labels]


def told(folder: Path, labels: bool = True) -> str:
    return "\n".join(read(folder, labels).remarks)


def refusal(folder: Path, labels: bool = True) -> str:
    with pytest.raises(InputError) as raised:
        read(folder, labels)
    return str(raised.value)


# Classes that a dataset.json says.


def test_labels_of_stylegans_layout_are_those_of_its_dataset_json(folder):
    labelled(put(folder, *SHARDS), [[SHARDS[0], 10], [SHARDS[1], 2], [SHARDS[2], 10]])
    found = read(folder)
    assert found.class_names == ("2", "10")
    assert classes_of(folder) == ["10", "2", "10"]
    assert "2 classes, by dataset.json: 2 (1), 10 (2)." in found.remarks


def test_paths_in_a_dataset_json_may_have_backslashes(folder):
    labelled(put(folder, *SHARDS), [[file.replace("/", "\\"), i] for i, file in enumerate(SHARDS)])
    assert classes_of(folder) == ["0", "1", "2"]


def test_a_dataset_json_in_the_only_folder_counts_from_there(folder):
    put(folder, *(f"cars/{file}" for file in SHARDS))
    labelled(folder / "cars", [[file, i] for i, file in enumerate(SHARDS)])
    assert classes_of(folder) == ["0", "1", "2"]


def test_a_dataset_json_without_labels_says_that_shards_are_no_classes(folder):
    assert "has no labels: its dataset.json has none" in refusal(labelled(put(folder, *SHARDS), None))
    assert len(read(folder, labels=False)) == 3


def test_a_dataset_json_without_labels_leaves_named_folders_classes(folder):
    assert classes_of(labelled(put(folder, "cats/1.png", "dogs/1.png"), None)) == ["cats", "dogs"]


def test_a_dataset_json_of_another_program_is_not_asked(folder):
    put(folder, "cats/1.png", "dogs/1.png")
    for content in ({"images": 3}, [1, 2]):
        (folder / "dataset.json").write_text(json.dumps(content))
        assert classes_of(folder) == ["cats", "dogs"]


def test_images_without_a_label_and_labels_without_an_image_are_told(folder):
    labelled(put(folder, *SHARDS), [[SHARDS[0], 0], [SHARDS[1], 1], ["gone.png", 2]])
    found = read(folder)
    assert len(found) == 2 and found.class_names == ("0", "1")
    assert f"1 images have no label in dataset.json and were left out, such as {SHARDS[2]}." in found.remarks
    assert "1 files with a label in dataset.json are missing." in found.remarks


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([[SHARDS[0], 0.5]], "has 0.5"),
        ([[SHARDS[0], True]], "has True"),
        ([[SHARDS[0], -1]], "has -1"),
        ([[SHARDS[0], [0, 1]]], r"has \[0, 1\]"),
        ([[SHARDS[0], None]], "has None"),
        ([SHARDS[0]], "is not a list of files and numbers"),
        ("all of them", "is not a list of files and numbers"),
        (7, "is not a list of files and numbers"),
        ([], "has no label for any image"),
        ([["gone.png", 1]], "has no label for any image"),
    ],
    ids=str,
)
def test_labels_that_are_no_classes_are_a_sentence(folder, labels, told):
    labelled(put(folder, *SHARDS), labels)
    with pytest.raises(InputError, match=told):
        read(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"labels": ' + b"1" * 5000],
    ids=["empty", "cut", "bytes", "deep", "long"],
)
def test_a_damaged_dataset_json_is_a_sentence(folder, content):
    (put(folder, *SHARDS) / "dataset.json").write_bytes(content)
    with pytest.raises(InputError, match=r"dataset\.json in images cannot be read"):
        read(folder)


def test_a_dataset_json_of_any_size_is_not_read_whole(folder, monkeypatch):
    monkeypatch.setattr("gan_core.data.listing.listing.MAX_INDEX_BYTES", 100)
    labelled(put(folder, *SHARDS), [[SHARDS[0], 0]] * 100)
    assert "more than 100 bytes" in refusal(folder)


def test_a_changed_dataset_json_is_noticed(folder):
    labelled(put(folder, *SHARDS), [[file, 0] for file in SHARDS])
    read(folder)
    labelled(folder, [[file, 12] for file in SHARDS])
    assert read(folder).class_names == ("12",)


# Classes by folders, and folders that are no classes.


def test_what_was_taken_for_a_class_is_told_with_names_and_counts(folder):
    put(folder, "ape/1.png", "ape/2.png", "zebra/1.png")
    assert told(folder) == "2 classes, by the folders: ape (2), zebra (1)."
    assert told(folder, labels=False) == ""


def test_of_a_thousand_classes_some_are_told(folder):
    put(folder, *(f"{i}/{i}.png" for i in range(100)))
    assert told(folder).startswith("100 classes, by the folders: 0 (1), 1 (1), 2 (1), 3 (1)")
    assert told(folder).endswith("and 80 more.")


@pytest.mark.parametrize(
    "files",
    [
        SHARDS,
        ["00000/00000.png", "00000/00001.png", "01000/01000.png", "01000/01001.png"],  # FFHQ's
        ["000/a0001.jpg", "001/a0002.jpg", "002/a0003.jpg"],
        ["shard_0/a.png", "shard_1/b.png"],
        ["batch-1/a.png", "batch-2/b.png", "batch-10/b.png"],
        ["part-00000-of-00002/a.png", "part-00001-of-00002/b.png"],
        ["00000/img00000000.png"],
    ],
    ids=lambda files: files[0].split("/")[0],
)
def test_shards_are_no_classes(folder, files):
    assert "look like shards, not classes" in refusal(put(folder, *files))


@pytest.mark.parametrize(
    "files",
    [
        ["00000/00000_00000.png", "00000/00000_00001.png", "00001/00000_00000.png"],  # of traffic signs, GTSRB
        ["0/1.png", "0/21.png", "1/3.png", "1/40.png"],  # of MNIST
        ["000/1.png", "001/1.png"],
        ["n01440764/n01440764_10026.JPEG", "n01443537/n01443537_10007.JPEG"],  # of ImageNet
        ["10/a.png", "11/b.png"],
    ],
    ids=lambda files: files[0],
)
def test_numbers_and_codes_may_well_be_names_of_classes(folder, files):
    put(folder, *files)
    assert classes_of(folder) == [file.split("/")[0] for file in sorted(files)]


@pytest.mark.parametrize(
    "parts", [["train", "test"], ["Training", "Validation"], ["train2017", "val2017"], ["train_set", "test-images"]]
)
def test_parts_of_a_data_set_are_looked_through(folder, parts):
    put(folder, *(f"{part}/{name}/{i}.png" for part in parts for i, name in enumerate(("cats", "dogs"))))
    assert sorted(set(classes_of(folder))) == ["cats", "dogs"]
    assert "cats (2), dogs (2)" in told(folder)
    assert "are splits of a data set" in told(folder)


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (["train/1.png", "test/2.png"], "sort them into a folder for each class"),
        (["train/1.png"], "sort them into a folder for each class"),
        (["train/cats/1.png", "train/dogs/1.png", "test/1.png"], "choose only train"),
        (["images/train/1.png", "images/val/1.png"], "sort them into a folder for each class"),
        (["train/1.png", "test/1.png", "cats/1.png"], "move one or the other away"),
    ],
    ids=str,
)
def test_parts_of_a_data_set_are_no_classes(folder, files, advice):
    assert advice in refusal(put(folder, *files))


def test_a_vehicle_may_be_a_train(folder):
    assert classes_of(put(folder, "bus/1.png", "train/1.png")) == ["bus", "train"]


def test_a_folder_that_holds_all_others_is_no_class(folder):
    put(folder, "photos/2024/cats/1.png", "photos/2024/dogs/1.png")
    assert classes_of(folder) == ["cats", "dogs"]
    assert "by the folders in photos/2024: cats (1), dogs (1)" in told(folder)


def test_a_loose_image_among_classes_further_down_is_a_sentence_too(folder):
    put(folder, "photos/2024/cats/1.png", "photos/2024/dogs/1.png", "photos/2024/loose.png")
    assert "1 images are in 2024 itself (photos/2024/loose.png): move them, or turn labels off" in refusal(folder)


def test_folders_within_classes_are_told_to_be_none(folder):
    put(folder, "cat/wild/1.png", "cat/tame/1.png", "dog/1.png", "dog/wild/1.png", "emu/1.png")
    assert classes_of(folder) == ["cat", "cat", "dog", "dog", "emu"]
    assert "Folders inside cat, dog are not separate classes." in told(folder)


def test_years_with_the_same_folders_in_each_are_told(folder):
    put(folder, *(f"{year}/{name}/1.png" for year in (2019, 2020) for name in ("cats", "dogs")))
    assert "All of them have the folders cats, dogs: if those are the classes" in told(folder)


def test_one_class_alone_is_told_to_be_of_no_use(folder):
    assert "With a single class labels have no effect" in told(put(folder, "cats/1.png"))


def test_what_systems_put_beside_peoples_files_is_neither_image_nor_class(folder):
    put(folder, "cats/1.png", "dogs/1.png", "__MACOSX/cats/1.png", "@eaDir/cats/1.png", ".thumbs/1.png")
    put(folder, "$RECYCLE.BIN/1.png", "lost+found/1.png", "cats/@eaDir/1.png", "cats/._1.png")
    put_texts(folder, ".DS_Store", "cats/.DS_Store")
    assert classes_of(folder) == ["cats", "dogs"]
    assert told(folder) == "2 classes, by the folders: cats (1), dogs (1)."


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "1", "2"], ["1", "2", "9", "10"]),
        (["b2", "b10", "a", "b1"], ["a", "b1", "b2", "b10"]),
        (["Zebra", "ape"], ["Zebra", "ape"]),
        (["007", "7", "08"], ["007", "7", "08"]),
        (["9" * 5000, "8" * 5000, "1" * 5001], ["8" * 5000, "9" * 5000, "1" * 5001]),
        (["²", "1", "x²y"], ["1", "x²y", "²"]),
    ],
    ids=lambda names: names[0][:8],
)
def test_classes_are_in_the_order_of_people(names, ordered):
    assert in_natural_order(names) == ordered


@settings(max_examples=20)
@given(st.sets(st.text(max_size=6), max_size=5))
def test_every_name_has_one_place_in_that_order(names):
    ordered = in_natural_order(names)
    assert sorted(ordered) == sorted(names)
    assert in_natural_order(reversed(ordered)) == ordered


def test_a_name_that_a_mac_writes_in_two_signs_is_the_same_class(folder):
    put(folder, "train/\u00e9t\u00e9/1.png", "test/e\u0301te\u0301/1.png", "test/hiver/1.png")
    assert read(folder).class_names == ("hiver", "\u00e9t\u00e9")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_of_classes_can_be_written_and_those_that_then_look_alike_are_refused(folder):
    put(folder, "a\u202eb/1.png", "c/1.png")
    assert read(folder).class_names == ("a\ufffdb", "c")
    put(folder, "a\u202db/1.png")
    assert "Two folders would give the same class name" in refusal(folder)


# Classes without images.


def test_a_class_of_which_nothing_can_be_read_cannot_be_asked_for(folder):
    put(folder, "a/1.png", "c/1.png", "c/2.png")
    put_texts(folder, "b/1.png", "b/2.png", "d/notes.txt")
    (folder / "e" / "f").mkdir(parents=True)
    found = read(folder)
    assert found.class_names == ("a", "c")
    assert found.labels.tolist() == [0, 1, 1]
    assert "None of the images in b can be read, so that they are not classes." in found.remarks
    assert "Folders without images are not classes: d, e." in found.remarks


def test_a_class_of_dataset_json_of_which_nothing_can_be_read_cannot_be_asked_for_either(folder):
    put_texts(labelled(put(folder, *SHARDS[:2]), [[file, i] for i, file in enumerate(SHARDS)]), SHARDS[2])
    assert read(folder).class_names == ("0", "1")


# Links.


@links
def test_linked_folders_and_files_are_read_wherever_the_links_lead(folder, tmp_path):
    put(tmp_path, "elsewhere/dogs/1.png", "elsewhere/2.png")
    put(folder, "cats/1.png")
    (folder / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    (folder / "cats" / "linked.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    assert classes_of(folder) == ["cats", "cats", "dogs"]
    (tmp_path / "link").symlink_to(folder)
    assert classes_of(tmp_path / "link") == ["cats", "cats", "dogs"]


@links
def test_a_class_that_is_a_link_to_another_one_is_read_too(folder):
    (put(folder, "cats/1.png") / "dogs").symlink_to(folder / "cats")
    assert classes_of(folder) == ["cats", "dogs"]


@links
def test_links_in_a_circle_end(folder, tmp_path):
    put(folder, "cats/1.png")
    put(tmp_path, "other/1.png")
    (folder / "cats" / "up").symlink_to(folder)
    (folder / "cats" / "same").symlink_to(folder / "cats")
    (folder / "around").symlink_to(tmp_path)
    (folder / "there").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    found = read(folder, labels=False)
    assert len(found) == 2
    (remark,) = (remark for remark in found.remarks if "Links to an enclosing folder" in remark)
    for link in ("cats/up", "cats/same", "around", "there/back"):
        assert link in remark


@links
def test_links_that_double_at_every_step_end_too(folder):
    put(folder, "0/1.png")
    for i in range(1, 30):
        (folder / str(i)).mkdir()
        for name in ("a", "b"):
            (folder / str(i) / name).symlink_to(folder / str(i - 1))
    assert 1 <= len(read(folder, labels=False)) < 1000


@links
def test_a_link_to_nowhere_is_told_where_a_class_is_missing(folder):
    put(folder, "cats/1.png", "apes/1.png")
    (folder / "dogs").symlink_to(folder.parent / "usb" / "dogs")
    assert "Broken links were left out: dogs." in told(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
def test_a_pipe_with_the_ending_of_an_image_is_not_waited_for(folder):
    os.mkfifo(put(folder, "1.png") / "2.png")
    assert "Pipes and other special files were left out: 2.png." in told(folder, labels=False)


# A run's own output.


def run_in(folder: Path) -> Path:
    """What a training leaves in its folder."""
    put_texts(folder, "checkpoint.safetensors", "generator.safetensors", "best.safetensors", "history.csv")
    return put(folder, "samples/000001.3kimg.png", "samples/000012.0kimg.png", "loss.png", "samples.png")


def test_a_run_in_the_data_is_not_learned_from(folder):
    put(folder, "cats/1.png", "dogs/1.png")
    before = read(folder)
    run_in(folder / "runs" / "first")
    run_in(folder / "cats" / "second")
    after = read(folder)
    assert after.fingerprint == before.fingerprint
    assert after.class_names == ("cats", "dogs")
    assert fingerprint_of_folder(folder) == fingerprint_of_folder(folder)
    assert "were left out: cats/second, runs/first." in "\n".join(after.remarks)


@pytest.mark.parametrize("removed", ["checkpoint.safetensors", "generator.safetensors", "history.csv", "loss.png"])
def test_a_run_is_known_though_one_of_its_files_was_removed(folder, removed):
    run_in(put(folder, "1.png") / "run")
    (folder / "run" / removed).unlink()
    assert len(read(folder, labels=False)) == 1


def test_a_copied_sheet_of_samples_is_not_learned_from(folder):
    put(folder, "1.png", "000012.0kimg.png", "best/001000.5kimg.png", "kimg.png", "12.0kimg.png")
    assert len(read(folder, labels=False)) == 3


def test_the_folder_of_a_run_and_its_samples_are_no_data(folder):
    run_in(folder)
    for place in (folder, folder / "samples"):
        assert "belongs to a training" in refusal(place, labels=False)


def test_what_is_kept_in_the_data_of_a_run_is_data(folder):
    put(run_in(folder), "data/1.png")
    assert len(read(folder / "data", labels=False)) == 1


@pytest.mark.parametrize("through_a_link", [False, pytest.param(True, marks=links)])
def test_a_place_for_results_is_no_data_before_there_are_any(folder, through_a_link):
    put(folder, "1.png", "out/2.png")
    out = folder / "out"
    if through_a_link:
        out = folder.parent / "link"
        out.symlink_to(folder / "out")
    *_, last = reading(folder, 8, exclude=[out])
    assert len(last.dataset) == 1
    assert fingerprint_of_folder(folder, [out]) != fingerprint_of_folder(folder)
    with pytest.raises(InputError, match="is the folder for results"):
        list(reading(folder / "out", 8, exclude=[out]))


# Archives.


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_archive_is_read_as_a_folder_is(folder, tmp_path, compression):
    put_texts(labelled(put(folder, *SHARDS), [[file, 3 - i] for i, file in enumerate(SHARDS)]), "00000/notes.txt")
    archive = packed(folder, tmp_path / "images.ZIP", compression)
    assert read(archive).fingerprint == read(folder).fingerprint
    assert read(archive).remarks == read(folder).remarks
    assert read(archive).name == "images"


def test_class_folders_in_an_archive_of_a_folder_are_classes(folder, tmp_path):
    put(folder, "photos/cats/1.png", "photos/dogs/1.png", "__MACOSX/photos/cats/._1.png")
    assert classes_of(packed(folder, tmp_path / "a.zip")) == ["cats", "dogs"]


def test_a_run_in_an_archive_is_not_learned_from(folder, tmp_path):
    run_in(put(folder, "1.png") / "run")
    assert len(read(packed(folder, tmp_path / "a.zip"), labels=False)) == 1


def test_a_changed_archive_is_noticed(folder, tmp_path):
    archive = packed(put(folder, "1.png"), tmp_path / "a.zip")
    before = fingerprint_of_folder(archive)
    assert len(read(archive, labels=False)) == 1
    packed(put(folder, "2.png"), archive)
    assert fingerprint_of_folder(archive) != before
    assert len(read(archive, labels=False)) == 2


def test_names_that_lead_out_of_an_archive_are_left_out_and_nothing_is_written(folder, tmp_path):
    archive = packed(put(folder, "1.png"), tmp_path / "a.zip")
    content = (folder / "1.png").read_bytes()
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png", "a//evil.png"):
            file.writestr(name, content)
    before = sorted(tmp_path.rglob("*"))
    assert len(read(archive, labels=False)) == 1
    assert "6 entries of the archive have names that lead out of it" in told(archive, labels=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_made_by_windows_has_folders_too(folder, tmp_path):
    content = (put(folder, "1.png") / "1.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("cats\\1.png", "dogs\\1.png"):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            file.writestr(entry, content)
    assert classes_of(tmp_path / "a.zip") == ["cats", "dogs"]


def test_files_in_an_archive_that_cannot_be_unpacked_are_skipped_and_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("gan_core.data.listing.archive.MAX_FILE_BYTES", 100_000)
    archive = tmp_path / "a.zip"
    content = (put(folder, "1.png") / "1.png").read_bytes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.png", content)
        file.writestr("bomb.png", content + bytes(10_000_000))
        file.writestr("other.png", content, zipfile.ZIP_BZIP2)
        file.writestr("sum.png", content, zipfile.ZIP_STORED)
        file.writestr("locked.png", content, zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    place = raw.index(content, raw.index(b"sum.png"))
    raw[place + 40] ^= 255
    entry = raw.rindex(b"locked.png") - 46
    raw[entry + 8] |= 1  # says that it is encrypted
    archive.write_bytes(raw)
    found = read(archive, labels=False)
    assert len(found) == 1
    assert {name: reason.split(":")[0] for name, reason in found.skipped.items()} == {
        "bomb.png": "it has more than 100,000 bytes",
        "locked.png": "it is encrypted",
        "other.png": "its compression is not deflate",
        "sum.png": "the archive is damaged there",
    }


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_what_only_ends_as_an_archive_does_is_a_sentence(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    assert any(text in refusal(tmp_path / "a.zip") for text in ("is not a readable ZIP archive", "no images in"))


@pytest.mark.parametrize("name", ["faces.tar.gz", "faces.7z", "faces.rar", "faces.tar"])
def test_other_archives_are_to_be_unpacked(tmp_path, name):
    (tmp_path / name).touch()
    assert "but an archive of that name: unpack it, or pack it as a .zip file" in refusal(tmp_path / name)


def test_an_archive_beside_images_is_told(folder):
    put_texts(put(folder, "1.png"), "more.zip")
    assert "Archives in a folder are not opened: unpack the .zip." in told(folder, labels=False)


# What was passed over.


def test_what_was_passed_over_is_counted_by_ending(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_formats.readable.cache_clear()
    put_texts(put(folder, "1.jpg", "2.JPG"), *(f"{i}.HEIC" for i in range(12)), "a.txt", "b.txt", "README")
    assert told(folder, labels=False) == (
        "Ignored: 12 .heic, 2 .txt, 1 without an extension.\n"
        "To read HEIC files, install pillow-heif: pip install pillow-heif."
    )
    image_formats.readable.cache_clear()


def test_a_folder_of_heic_alone_is_told_what_to_do(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_formats.readable.cache_clear()
    assert "It has 2 .heic. To read HEIC files, install pillow-heif" in refusal(put_texts(folder, "1.heic", "2.heic"))
    image_formats.readable.cache_clear()


def test_heic_is_read_where_pillow_heif_is_installed(folder, monkeypatch):
    class Heif(PngImagePlugin.PngImageFile):
        format = "HEIF"

    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: Image.register_open("HEIF", Heif)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    image_formats.readable.cache_clear()
    put(folder, "1.png")
    (folder / "1.png").rename(folder / "1.HEIC")
    found = read(folder, labels=False)
    assert (len(found), found.remarks, found.skipped) == (1, (), {})
    image_formats.readable.cache_clear()


@pytest.mark.skipif("avif" not in features.get_supported(), reason="this Pillow reads no AVIF")
def test_avif_is_read_where_pillow_can(folder):
    Image.new("RGB", (8, 8), (200, 30, 30)).save(folder / "1.avif")
    assert np.abs(read(folder, labels=False).images.astype(int) - (200, 30, 30)).max() < 8


# A file is opened as what its ending promises.


def eps() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "EPS")
    return content.getvalue()


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done on the way to starting Ghostscript."""
    done: list[str] = []
    Image.init()
    opened = EpsImagePlugin.EpsImageFile._open

    def notice(image: ImageFile.ImageFile) -> None:
        done.append("opened as EPS")
        opened(image)  # type: ignore[arg-type]

    monkeypatch.setattr(EpsImagePlugin.EpsImageFile, "_open", notice)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: done.append("started Ghostscript"))
    return done


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("channels", ["auto", "RGB"])
def test_an_eps_by_whatever_name_never_starts_a_program(folder, tmp_path, programs, channels, archived):
    put(folder, "good.png")
    names = [f"bad{ending}" for ending in sorted(image_formats.readable())]
    for name in names:
        (folder / name).write_bytes(eps())
    where = packed(folder, tmp_path / "a.zip") if archived else folder
    found = read(where, labels=False, channels=channels)
    assert programs == []
    assert len(found) == 1 and sorted(found.skipped) == names
    assert "it is a PostScript file, not PNG as its extension says" in found.skipped["bad.png"]


@pytest.mark.parametrize(
    ("format", "ending", "told"),
    [
        ("JPEG", "png", "a JPEG"),
        ("PNG", "jpg", "a PNG"),
        ("GIF", "png", "a GIF"),
        ("TIFF", "png", "a TIFF"),
        ("WEBP", "png", "a WebP"),
        ("BMP", "gif", "a BMP"),
        ("ICO", "png", "not a readable PNG"),
        ("PCX", "tga", "not a readable TGA"),
    ],
)
def test_a_picture_under_the_ending_of_another_kind_is_skipped_and_named(folder, format, ending, told):
    Image.new("RGB", (16, 16)).save(put(folder, "good.png") / f"bad.{ending}", format)
    assert told in read(folder, labels=False).skipped[f"bad.{ending}"]


def test_every_picture_is_opened_as_what_it_is_promised_to_be():
    calls = []
    for path in [*ROOT.glob("gan_core/**/*.py"), *ROOT.glob("nodes/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                calls.append((path.name, [keyword.arg for keyword in node.keywords]))
    assert len(calls) >= 2
    assert all("formats" in keywords for _, keywords in calls), calls


# What is true of all files is asked of all of them.


@pytest.fixture
def few_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_core.data.image_decoding.PROBED", 2)


def put_modes(folder: Path, modes: Sequence[tuple[str, object]]) -> Path:
    for i, (mode, color) in enumerate(modes):
        Image.new(mode, (8, 8), color).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize(
    ("usual", "odd", "channels"),
    [
        (("L", 7), ("RGB", (1, 2, 3)), 3),
        (("L", 7), ("LA", (9, 0)), 4),
        (("RGB", (1, 2, 3)), ("RGBA", (1, 2, 3, 254)), 4),
        (("RGBA", (1, 2, 3, 255)), ("RGBA", (1, 2, 3, 0)), 4),
    ],
    ids=["colour", "see-through grey", "see-through", "one of many with alpha"],
)
def test_one_image_decides_wherever_it_lies(folder, few_are_probed, usual, odd, channels, place):
    modes = [usual] * 7
    modes[place] = odd
    found = read(put_modes(folder, modes), labels=False)
    assert found.channels == channels
    assert len(found) == 7


def test_a_damaged_image_decides_nothing(folder):
    put_modes(folder, [("L", 7)] * 3)
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)).save(folder / "bad.png")
    (folder / "bad.png").write_bytes((folder / "bad.png").read_bytes()[:3000])
    found = read(folder, labels=False)
    assert (found.channels, len(found), list(found.skipped)) == (1, 3, ["bad.png"])


def test_a_guess_that_was_wrong_leaves_the_pixels_of_the_right_one(folder, few_are_probed):
    put_modes(folder, [("RGB", (9, 9, 9))] * 5 + [("RGBA", (1, 2, 3, 0))] + [("RGB", (9, 9, 9))])
    automatic, asked = (read(folder, labels=False, channels=channels) for channels in ("auto", "RGBA"))
    assert automatic.fingerprint == asked.fingerprint


@pytest.mark.parametrize(
    ("values", "pixels", "told"),
    [
        (
            [0.1, 0.9],
            [26, 230],
            "2 TIFF files have floating-point numbers from 0.1 to 0.9: 0 is read as black and 1 as white.",
        ),
        ([0.5, 255.0], [0, 255], "0 is read as black and 255 as white"),
        ([0.5, 1000.0], [0, 4], "0 is read as black and 65535 as white"),
        ([1.0, 51.0], [1, 51], "0 is read as black and 255 as white"),
        ([-1.0, 1.0], [0, 255], "-1 is read as black and 1 as white"),
        ([-0.5, 0.0], [64, 128], "-1 is read as black and 1 as white"),
        ([0.0, 1.02], [0, 255], "0 is read as black and 1 as white"),
        ([1.0, 4.0], [64, 255], "0 is read as black and 4 as white"),
        ([-100.0, 900.0], [0, 255], "-100 is read as black and 900 as white"),
        ([0.0, 1e9], [0, 255], "0 is read as black and 1e+09 as white"),
        ([0.0, 0.0], [0, 0], "0 is read as black and 1 as white"),
        ([float("nan"), 1.0], [0, 255], "from 1 to 1"),
        ([float("inf"), 0.5], [255, 128], "0 is read as black and 1 as white"),
    ],
    ids=str,
)
def test_what_floats_mean_is_decided_by_all_of_them(folder, values, pixels, told):
    for i, value in enumerate(values):
        Image.fromarray(np.full((8, 8), value, np.float32)).save(folder / f"{i}.tif")
    found = read(folder, labels=False, channels="grey")
    assert found.images[:, 0, 0, 0].tolist() == pixels
    assert told in "\n".join(found.remarks)


@pytest.mark.parametrize(
    ("values", "pixels", "white"),
    [
        ([10, 200], [10, 200], 255),
        ([10, 65535], [0, 255], 65535),
        ([257, 514], [1, 2], 65535),
        ([0, 2**31 - 1], [0, 255], None),
    ],
)
def test_what_whole_numbers_of_32_bits_mean_is_decided_by_all_of_them(folder, values, pixels, white):
    for i, value in enumerate(values):
        Image.fromarray(np.full((8, 8), value, np.int32)).save(folder / f"{i}.tiff")
    found = read(folder, labels=False, channels="grey")
    assert found.images[:, 0, 0, 0].tolist() == pixels
    assert "2 TIFF files have 32-bit whole numbers" in found.remarks[0]
    assert white is None or f"{white} as white" in found.remarks[0]


def test_how_far_numbers_of_16_bits_go_is_told(folder):
    for i, value in enumerate((10, 4095)):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(folder / f"{i}.png")
    assert told(folder, labels=False) == "2 images have 16 bits and go up to 4,095: 65,535 is read as white."


def test_a_dark_deep_pgm_stays_dark(folder):
    (folder / "a.pgm").write_bytes(b"P5 8 8 65535 " + np.full((8, 8), 200, ">u2").tobytes())
    assert (read(folder, labels=False, channels="grey").images == 1).all()


# The cache, while files change and while it is in use.


def test_an_image_that_changes_while_it_is_read_is_read_again(photos, tmp_path):
    steps = reading(photos, 16, cache=tmp_path / "cache")
    next(steps)
    Image.new("RGB", (16, 16), (255, 0, 0)).save(photos / "00.png")
    (photos / "01.png").unlink()
    *_, last = steps
    assert len(last.dataset) == 11
    assert (last.dataset.images[0] == (255, 0, 0)).all()
    assert last.dataset.skipped == {}


def test_an_image_that_comes_and_goes_while_others_are_read_changes_nothing(photos, tmp_path):
    steps = reading(photos, 16, cache=tmp_path / "cache")
    next(steps)
    content = (photos / "00.png").read_bytes()
    (photos / "zz.png").write_bytes(content)
    other = ImageDataset.from_folder(photos, 16, cache=tmp_path / "cache")
    (photos / "zz.png").unlink()
    *_, last = steps
    assert (len(last.dataset), len(other)) == (12, 13)


def test_images_that_never_stop_changing_are_a_sentence(photos, tmp_path):
    def change() -> None:
        for i, _ in enumerate(reading(photos, 16, cache=tmp_path / "cache")):
            os.utime(photos / "00.png", ns=(i, i))

    with pytest.raises(InputError, match="change while they are read: wait until all of them are copied"):
        change()


def test_a_cache_entry_that_another_process_removes_at_once_is_built_again(photos, tmp_path, monkeypatch):
    cache, publish, removed = tmp_path / "cache", images.publish, []

    def publish_and_lose(partial: Path, entry: Path) -> None:
        publish(partial, entry)
        if not removed:
            removed.append(entry)
            image_cache._drop(entry)

    monkeypatch.setattr(images, "publish", publish_and_lose)
    assert len(ImageDataset.from_folder(photos, 16, cache=cache)) == 12
    assert removed


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Makes the system refuse to remove these files, as Windows does with those that are mapped, and to rename the
    folders that they lie in."""
    in_use: set[Path] = set()
    unlink, rename = os.unlink, os.rename

    def refuse(path: object) -> None:
        if any(Path(os.fspath(path)).name in (file.name, file.parent.name) for file in in_use if file.exists()):  # type: ignore[call-overload]
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    def guarded_unlink(path: object, **where: object) -> None:
        refuse(path)
        unlink(path, **where)  # type: ignore[arg-type]

    def guarded_rename(source: object, target: object, **where: object) -> None:
        refuse(source)
        rename(source, target, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", guarded_unlink)
    monkeypatch.setattr(os, "rename", guarded_rename)
    monkeypatch.setattr("gan_core.files.PATIENCE", 0.0)
    return in_use


def test_the_cache_of_a_data_set_in_use_stays_whole_and_goes_later(photos, tmp_path, windows):
    cache = tmp_path / "cache"
    first = ImageDataset.from_folder(photos, 16, cache=cache)
    (old,) = cache.iterdir()
    windows.add(old / "images.u8")
    (photos / "zz.png").write_bytes((photos / "00.png").read_bytes())
    assert len(ImageDataset.from_folder(photos, 16, cache=cache)) == 13
    (photos / "zz.png").unlink()
    again = ImageDataset.from_folder(photos, 16, cache=cache)
    assert again.fingerprint == first.fingerprint and len(again) == 12
    windows.clear()
    (photos / "zy.png").write_bytes((photos / "00.png").read_bytes())
    ImageDataset.from_folder(photos, 16, cache=cache)
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_is_damaged_and_in_use_is_a_plan_and_no_assertion(photos, tmp_path, windows):
    cache = tmp_path / "cache"
    ImageDataset.from_folder(photos, 16, cache=cache)
    (entry,) = cache.iterdir()
    (entry / "index.json").write_text("{}")
    windows.add(entry / "images.u8")
    assert len(ImageDataset.from_folder(photos, 16, cache=cache)) == 12
    assert len(list(reading(photos, 16, cache=cache))) == 1  # and is not decoded every time
    windows.clear()


def test_what_a_dead_process_left_of_a_cache_is_removed_by_the_next(photos, tmp_path):
    cache = tmp_path / "cache"
    left = cache / ".partial" / "0123abcd" / "new"
    left.mkdir(parents=True)
    (left / "images.u8").write_bytes(bytes(1000))
    (left.parent / "lock").touch()
    ImageDataset.from_folder(photos, 16, cache=cache)
    assert not left.parent.exists()


def test_a_cache_that_was_decoded_by_other_rules_is_replaced(photos, tmp_path):
    cache = tmp_path / "cache"
    ImageDataset.from_folder(photos, 16, cache=cache)
    (entry,) = cache.iterdir()
    index = json.loads((entry / "index.json").read_text())
    (entry / "index.json").write_text(json.dumps({**index, "version": index["version"] - 1}))
    assert len(list(reading(photos, 16, cache=cache))) > 1
    assert list(cache.iterdir()) == [entry]
