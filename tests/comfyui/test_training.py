"""Load GAN Image Folder, Images to GAN Dataset and Train GAN: what one sees, what is kept, and what a stop costs."""

import csv
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_graphs import (
    EXAMPLE_FOLDER,
    EXAMPLE_GENERATOR,
    decode,
    folder_of_pictures,
    is_sentence,
    load_folder,
    sample,
    save_picture,
    train,
)
from comfyui_server import DEVICE, Comfy, Graph, Output
from PIL import Image
from safetensors.torch import load_file

import gan_core
from gan_core.locks import own

STOP_SECONDS = 10.0
"""A few, on a machine that has something else to do; on an idle one it takes half of one."""


def run_folder(comfy: Comfy, name: str) -> Path:
    return comfy.output / "gan" / "runs" / name


def images_seen(comfy: Comfy, name: str) -> list[int]:
    """The first column of a run's history."""
    with (run_folder(comfy, name) / "history.csv").open(encoding="utf-8", newline="") as file:
        return [int(row["images"]) for row in csv.DictReader(file)]


def weights(comfy: Comfy, name: str) -> dict[str, torch.Tensor]:
    return load_file(run_folder(comfy, name) / "generator.safetensors")


# From images to a generator.


def test_a_folder_of_pictures_becomes_a_generator(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "мои фото 写真 é")
    (comfy.input / "мои фото 写真 é" / "битая 破損.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    graph = Graph()
    dataset = load_folder(graph, folder)
    trained = train(graph, dataset, "unicode")
    saved = graph("SaveGenerator", generator=trained, filename_prefix="unicode/写真")
    run = comfy.run(graph)

    assert "16 images 16x16x3" in comfy.texts(run, dataset)[-1]
    assert "1 files skipped" in comfy.texts(run, dataset)[-1]
    assert "skipped битая 破損.png" in comfy.server.log
    assert run.outputs[saved.node]["text"] == ["output/gan/unicode/写真_00001_.safetensors"]
    generator = gan_core.load(comfy.output / "gan" / "unicode" / "写真_00001_.safetensors")
    assert generator.card.data.images == 16
    assert generator.decode(gan_core.sample_noise(generator, [0])).shape == (1, 3, 16, 16)


def test_the_data_node_shows_what_will_be_learned_from(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "shown", 12, classes=("cats", "dogs"))  # each cat is a dog, too
    graph = Graph()
    dataset = load_folder(graph, folder, labels=True)
    trained = train(graph, dataset, "shown")
    run = comfy.run(graph)
    (sheet,) = comfy.images(run, dataset)
    assert sheet.width > 8 * 96 and sheet.height > 2 * 96, "a row for each class, in the preview's size"
    text = comfy.texts(run, dataset)[-1]
    few = "There are only 12 different images"
    assert "cats (12), dogs (12)" in text and few in text and "Duplicates: 12 exact among 24 images." in text
    plan, *others = comfy.texts(run, trained)
    assert plan.startswith("24 images of 16x16x3, preset dcgan_small, batches of 8, 10 minutes or 0.08 kimg\n")
    assert few in plan and few in others[-1]
    assert comfy.texts(comfy.run(graph), dataset) == [], "it is not read again"


def test_a_batch_of_images_from_core_becomes_a_generator(comfy: Comfy) -> None:
    save_picture(comfy.input / "one.png", seed=0)
    graph = Graph()
    loaded = graph("LoadImage", image="one.png")
    dataset = graph(
        "ImagesToGANDataset",
        images=graph("RepeatImageBatch", image=loaded, amount=8),
        size=16,
        channels="RGB",
        fit="stretch",
        mirror=True,
    )
    trained = train(graph, dataset, "batch")
    shown = decode(graph, trained, sample(graph, trained))
    run = comfy.run(graph)
    assert comfy.texts(run, dataset)[-1].startswith("images: 8 images 16x16x3")
    assert [image.size for image in comfy.images(run, shown)] == [(16, 16)] * 4


@pytest.mark.parametrize(("chosen", "used"), [("diffaugment", "diffaugment"), ("preset", "ada")])
def test_augmentation_is_the_one_chosen_or_that_of_the_preset(comfy: Comfy, chosen: str, used: str) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "few")), f"few {chosen}", preset="few", augment=chosen)
    comfy.run(graph)
    generator = gan_core.load(run_folder(comfy, f"few {chosen}") / "generator.safetensors")
    assert generator.card.training["augment"] == used


def test_a_folder_among_comfyuis_datasets_is_found(comfy: Comfy) -> None:
    folder = comfy.clear(comfy.base / "datasets" / "noise" / "train")
    for seed in range(8):
        save_picture(folder / f"{seed}.png", seed)
    graph = Graph()
    dataset = load_folder(graph, "datasets/noise/train", channels="grey", fit="pad")
    train(graph, dataset, "from datasets")
    assert comfy.texts(comfy.run(graph), dataset)[-1].startswith("train: 8 images 16x16x1")


def test_transparent_images_are_learned_as_rgba(comfy: Comfy) -> None:
    graph = Graph()
    image = graph("EmptyImage", width=16, height=16, batch_size=8, color=0x8040C0)
    joined = graph("JoinImageWithAlpha", image=image, alpha=graph("SolidMask", value=0.5, width=16, height=16))
    dataset = graph("ImagesToGANDataset", images=joined, size=16, channels="auto", fit="crop", mirror=False)
    trained = train(graph, dataset, "rgba")
    shown = decode(graph, trained, sample(graph, trained, batch_size=1))
    assert [image.mode for image in comfy.images(comfy.run(graph), shown)] == ["RGBA"]


def test_losses_and_samples_are_for_core_nodes(comfy: Comfy) -> None:
    graph = Graph()
    trained = train(graph, load_folder(graph, folder_of_pictures(comfy, "losses")), "losses")
    chart = graph("LossGraphNode", loss=trained[1], filename_prefix="losses")
    samples = graph("PreviewImage", images=trained[2])
    run = comfy.run(graph)
    drawing = np.asarray(comfy.images(run, chart)[0].convert("RGB"))
    assert (drawing == (0, 0, 255)).all(axis=2).sum() > 500, "there is no blue line of losses"
    assert [image.size for image in comfy.images(run, samples)] == [(16, 16)] * 64
    assert len(comfy.images(run, trained)) == 1, "Train GAN itself shows no sheet of samples"


# While it works.


def long_training(comfy: Comfy, run_name: str, **changes: object) -> tuple[Graph, Output]:
    """A training that ends only when it is stopped."""
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER)
    return graph, train(graph, dataset, run_name, kimg=100_000.0, minutes="no limit", batch_size=16, **changes)


def sheets_kept(comfy: Comfy, run_name: str) -> list[Path]:
    return sorted((run_folder(comfy, run_name) / "film").glob("*.jpg"))


def test_progress_pictures_and_text_come_while_it_learns(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "watched")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(sheets_kept(comfy, "watched")) >= 2 and len(comfy.texts(run, trained)) >= 2)
    comfy.interrupt()
    comfy.finish(run)
    done = [value for node, value, _ in run.progress if node == trained.node]
    assert done == sorted(done) and {total for node, _, total in run.progress if node == trained.node} == {1000}
    assert not run.previews, "the panel shows the sheets of the film; a preview would be a second picture beside it"
    assert "kimg" in comfy.texts(run, trained)[-1] and "images/s" in comfy.texts(run, trained)[-1]


def test_the_end_is_shown(comfy: Comfy) -> None:
    graph = Graph()
    purple = graph("EmptyImage", width=16, height=16, batch_size=8, color=0x8000FF)
    dataset = graph("ImagesToGANDataset", images=purple, size=16, channels="RGB", fit="crop", mirror=False)
    trained = train(graph, dataset, "bar", kimg=0.24, learning_rate=0.01)
    run = comfy.run(graph)
    assert [value for node, value, _ in run.progress if node == trained.node][-1] == 1000
    assert "kept in output/gan/runs/bar" in comfy.texts(run, trained)[-1].splitlines()
    # The panel keeps the last sheet, so it must be of the finished generator.
    sheet = comfy.images(run, trained)[0]
    pictures = [Image.open(path).resize(sheet.size, Image.Resampling.NEAREST) for path in sheets_kept(comfy, "bar")]
    first, last = (mean_difference(picture, sheet) for picture in (pictures[0], pictures[-1]))
    assert last < first / 3  # not 0: a sheet of the film is a JPEG


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def test_a_stop_keeps_what_was_learned_and_resume_goes_on(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "stopped")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)  # the first comes before the first step
    asked = time.monotonic()
    comfy.interrupt()
    comfy.finish(run)
    assert run.state == "interrupted"
    assert time.monotonic() - asked < STOP_SECONDS
    last = comfy.texts(run, trained)[-1]
    assert last.startswith("stopped, and kept in output/gan/runs/stopped: to go on, set run_name to stopped, turn on ")

    kept = run_folder(comfy, "stopped")
    seen = images_seen(comfy, "stopped")
    assert (kept / "checkpoint.safetensors").is_file() and any((kept / "samples").iterdir())
    assert seen[-1] >= 16
    assert gan_core.load(kept / "generator.safetensors").card.training["kimg"] == round(seen[-1] / 1000, 3)

    graph.prompt[trained.node]["inputs"] |= {"resume": True, "kimg": (seen[-1] + 160) / 1000}
    comfy.run(graph)
    assert images_seen(comfy, "stopped")[: len(seen)] == seen, "resuming began anew"
    assert images_seen(comfy, "stopped")[-1] == seen[-1] + 160
    assert not run_folder(comfy, "stopped_2").exists()


def test_run_again_with_resume_goes_on_again(comfy: Comfy) -> None:
    """The prompt is the same as before, and yet not done: it asks for some more minutes every time."""
    graph = Graph()
    dataset = load_folder(graph, folder_of_pictures(comfy, "more"))
    train(graph, dataset, "more", kimg="no limit", minutes=0.01, resume=True)
    comfy.run(graph)
    before = images_seen(comfy, "more")[-1]
    comfy.run(graph)
    assert images_seen(comfy, "more")[-1] > before


def test_a_new_run_of_a_taken_name_gets_a_number(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "twice")
    for seed in (0, 1):
        graph = Graph()
        train(graph, load_folder(graph, folder), "twice", seed=seed)
        comfy.run(graph)
    assert gan_core.load(run_folder(comfy, "twice") / "generator.safetensors").card.training["seed"] == 0
    assert gan_core.load(run_folder(comfy, "twice_2") / "generator.safetensors").card.training["seed"] == 1


def test_resume_goes_on_with_exactly_the_run_that_was_named(comfy: Comfy) -> None:
    """Not with the newest of those whose names begin alike: each can be reached."""
    folder = folder_of_pictures(comfy, "exact")
    for seed in (0, 1):
        graph = Graph()
        trained = train(graph, load_folder(graph, folder), "exact", seed=seed)
        run = comfy.run(graph)
    assert "The name exact is taken: this run is kept in exact_2." in comfy.texts(run, trained)[-1]
    for name, other in ("exact", "exact_2"), ("exact_2", "exact"):
        before = images_seen(comfy, name), images_seen(comfy, other)
        graph = Graph()
        train(graph, load_folder(graph, folder), name, resume=True, kimg=0.12)
        comfy.run(graph)
        assert images_seen(comfy, name)[-1] == 120 > before[0][-1]
        assert images_seen(comfy, other) == before[1]


def test_a_later_run_that_was_stopped_does_not_hide_the_one_that_is_resumed(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "earlier")
    graph = Graph()
    train(graph, load_folder(graph, folder), "earlier")
    comfy.run(graph)
    graph, trained = long_training(comfy, "earlier")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    comfy.interrupt()
    assert comfy.finish(run).state == "interrupted"
    later = images_seen(comfy, "earlier_2")

    graph = Graph()
    train(graph, load_folder(graph, folder), "earlier", resume=True, kimg=0.12)
    comfy.run(graph)
    assert images_seen(comfy, "earlier")[-1] == 120 and images_seen(comfy, "earlier_2") == later


def test_a_run_that_another_program_is_in_is_refused(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "held")), "held", resume=True)
    with own(run_folder(comfy, "held")):
        sentence = comfy.error_of(graph)
    assert f"held is in use by process {os.getpid()}, since 2" in sentence and is_sentence(sentence)
    comfy.run(graph)
    assert images_seen(comfy, "held")[-1] == 80


# Again.


def test_two_prompts_in_a_row_both_train(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "in a row")
    runs = []
    for seed in (0, 1):
        graph = Graph()
        train(graph, load_folder(graph, folder), f"row {seed}", seed=seed)
        runs.append(comfy.submit(graph))
    assert [comfy.finish(run).state for run in runs] == ["success", "success"]
    assert all(run_folder(comfy, f"row {seed}").is_dir() for seed in (0, 1))


def test_the_same_prompt_again_is_answered_from_the_cache(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, folder_of_pictures(comfy, "cached"))
    trained = train(graph, dataset, "cached")
    comfy.run(graph)
    again = comfy.run(graph)
    assert {dataset.node, trained.node} <= set(again.cached)
    assert not again.progress and not run_folder(comfy, "cached_2").exists()


def test_a_new_file_in_the_folder_is_noticed(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, folder_of_pictures(comfy, "growing"))
    trained = train(graph, dataset, "growing")
    comfy.run(graph)
    save_picture(comfy.input / "growing" / "one more.png", seed=99)
    again = comfy.run(graph)
    assert not {dataset.node, trained.node} & set(again.cached)
    assert "17 images" in comfy.texts(again, dataset)[-1]


def test_a_new_folder_is_offered_without_a_restart(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "brand new", classes=("a", "b"))
    offered = comfy.node_info()["LoadGANImageFolder"]["input"]["required"]["folder"][1]["options"]
    assert {EXAMPLE_FOLDER, folder, f"{folder}/a"} <= set(offered)


def test_a_run_is_offered_as_a_generator_without_its_checkpoint(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "offered")), "offered")
    comfy.run(graph)
    offered = comfy.node_info()["LoadGenerator"]["input"]["required"]["name"][1]["options"]
    assert {EXAMPLE_GENERATOR, "runs/offered/generator.safetensors"} <= set(offered)
    assert not any("checkpoint" in name for name in offered)


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_the_same_seed_gives_the_same_weights(comfy: Comfy, precision: str) -> None:
    """Whatever ran in between: core's samplers seed torch's global generator, and training must not listen to it."""
    folder = folder_of_pictures(comfy, "same seed")
    for run_name in (f"{precision} once", f"{precision} twice"):
        graph = Graph()
        train(graph, load_folder(graph, folder, mirror=True), run_name, seed=7, precision=precision)
        comfy.run(graph)
        between = Graph()
        disturb(between)
        comfy.run(between)
    first, second = weights(comfy, f"{precision} once"), weights(comfy, f"{precision} twice")
    assert first.keys() == second.keys()
    if DEVICE == "cpu":
        assert all(torch.equal(first[name], second[name]) for name in first)
    else:  # which may add numbers in another order each time
        one, other = (torch.cat([each.flatten().double() for each in kept.values()]) for kept in (first, second))
        assert (one - other).norm() < 0.01 * one.norm()


def disturb(graph: Graph) -> None:
    """Adds a node of core that seeds the global generator and draws from it."""
    image = graph("EmptyImage", width=8, height=8, batch_size=1, color=0)
    graph("PreviewImage", images=graph("ImageAddNoise", image=image, seed=1234, strength=0.5))


def test_another_seed_gives_other_weights(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "other seed")
    for seed in (1, 2):
        graph = Graph()
        train(graph, load_folder(graph, folder), f"seed {seed}", seed=seed)
        comfy.run(graph)
    assert any(
        not torch.equal(tensor, weights(comfy, "seed 2")[name]) for name, tensor in weights(comfy, "seed 1").items()
    )
