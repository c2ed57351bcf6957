"""What a person, or a workflow from a stranger, gets wrong: answered in a sentence, with nothing touched."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

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
    train,
)
from comfyui_server import Comfy, Graph, Output
from safetensors.torch import save_file

from gan_core.errors import shown
from gan_core.examples import FOLDER as EXAMPLES

# Before it is queued.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preset": "stylegan9"}, "'stylegan9' not in ['auto', 'dcgan'"),
        ({"objective": "luck"}, "'luck' not in ['preset'"),
        (
            {"run_name": "../x"},
            '"../x" is not a valid name of a run, because it contains /: use a short name without slashes',
        ),
        ({"run_name": ""}, '"" is not a valid name of a run'),
        ({"run_name": "C:\\x"}, "is not a valid name of a run"),
        ({"run_name": "x" * 300}, "is not a valid name of a run"),
        ({"run_name": "x" * 100_000}, "is not a valid name of a run"),
        ({"run_name": "\ud800"}, "is not a valid name of a run"),
        ({"run_name": "COM1"}, "because it is the name of a device on Windows"),
        ({"seed": -1}, "Value -1 smaller than min of 0: seed"),
        ({"seed": 2**32}, "Value 4294967296 bigger than max of 4294967295: seed"),
        ({"on_trouble": "panic"}, "'panic' not in ['stop'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_setting_of_train_gan_is_not_queued(comfy: Comfy, changes: dict, reason: str) -> None:
    graph = Graph()
    train(graph, load_folder(graph, EXAMPLE_FOLDER), **{"run_name": "never", **changes})
    assert reason in comfy.refusal_of(graph)
    assert not (comfy.output / "gan" / "runs" / "never").exists()


def test_a_bad_name_is_said_once_on_the_page_and_on_the_node(comfy: Comfy) -> None:
    graph = Graph()
    trained = train(graph, load_folder(graph, EXAMPLE_FOLDER), "../x")
    graph("SaveGenerator", generator=trained, filename_prefix="never")
    reasons = [line for line in comfy.refusal_of(graph).splitlines() if "is not a valid name of a run" in line]
    # The last line is ComfyUI's summary of all that is wrong.
    assert len(reasons) == 2 and all("run_name - " in reason for reason in reasons)


@pytest.mark.parametrize("folder", ["", "input/nowhere", "input/../..", "input/..", "input", "/", "/etc", "../.."])
def test_a_folder_that_is_not_offered_is_not_queued(comfy: Comfy, folder: str) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder), "never")
    assert f"Value not in list: folder: '{folder}' not in" in comfy.refusal_of(graph)


@pytest.mark.parametrize("name", ["", "nothing.safetensors", "../../x", "../../outside.safetensors", "/etc/passwd"])
def test_a_generator_that_is_not_offered_is_not_queued(comfy: Comfy, name: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=name)
    decode(graph, generator, sample(graph, generator))
    assert f'name - There is no generator "{name}" in models/gan or output/gan.' in comfy.refusal_of(graph)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 2**32}, "bigger than max of 4294967295: seed"),
        ({"batch_size": 0}, "smaller than min of 1: batch_size"),
        ({"truncation": 2.5}, "bigger than max of 2.0: truncation"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_setting_of_sample_noise_is_not_queued(comfy: Comfy, changes: dict, reason: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    decode(graph, generator, sample(graph, generator, **changes))
    assert reason in comfy.refusal_of(graph)


@pytest.mark.parametrize(
    "prefix",
    ["", " ", "folder/", "..", ".hidden", "x" * 300, "a/CON", "nul.x/a", "a.", "\u202ex", "\ud800"],
    ids=lambda prefix: ascii(prefix[:30]),
)
def test_a_prefix_that_names_no_file_is_not_queued(comfy: Comfy, prefix: str) -> None:
    graph = Graph()
    graph("SaveGenerator", generator=graph("LoadGenerator", name=EXAMPLE_GENERATOR), filename_prefix=prefix)
    assert f'"{shown(prefix)}" is not a name for a file: use a short name, or folder/name.' in comfy.refusal_of(graph)


# Before it works.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kimg": "no limit", "minutes": ""}, "Set a budget: kimg (thousands of images), minutes, or both."),
        ({"kimg": "nan"}, 'kimg must be no limit or a number from 0 to 1e+09 (got "nan").'),
        ({"kimg": -1.0}, 'kimg must be no limit or a number from 0 to 1e+09 (got "-1.0").'),
        (
            {"kimg": "0"},
            "kimg must be a number greater than 0 and at most 1000000000, in thousands of images (got 0.0).",
        ),
        ({"minutes": "inf"}, 'minutes must be no limit or a number from 0 to 1e+06 (got "inf").'),
        ({"minutes": "soon"}, 'minutes must be no limit or a number from 0 to 1e+06 (got "soon").'),
        ({"batch_size": 1_000_000}, 'batch_size must be preset or a whole number from 2 to 4096 (got "1000000").'),
        ({"batch_size": "8.5"}, 'batch_size must be preset or a whole number from 2 to 4096 (got "8.5").'),
        ({"learning_rate": -0.1}, 'learning_rate must be preset or a number from 0 to 1 (got "-0.1").'),
        ({"learning_rate": "0"}, "learning_rate must be a number greater than 0 and at most 1 (got 0.0)."),
        ({"gamma": "2"}, "gamma is the weight of R1 and R2, which dcgan_small does not have with the objective log: "),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_a_sentence_before_anything_is_written(
    comfy: Comfy, changes: dict, reason: str
) -> None:
    graph = Graph()
    train(graph, load_folder(graph, EXAMPLE_FOLDER), **{"run_name": "never", **changes})
    sentence = comfy.error_of(graph)
    assert sentence.startswith(reason) and is_sentence(sentence)
    assert not (comfy.output / "gan" / "runs" / "never").exists()


def test_fewer_pictures_than_a_batch_is_a_sentence(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "few", count=5)), "few")
    sentence = comfy.error_of(graph)
    assert sentence.startswith("few has 5 images, fewer than a batch of 8: ") and is_sentence(sentence)


def test_an_empty_folder_is_a_sentence(comfy: Comfy) -> None:
    comfy.clear(comfy.input / "empty")
    graph = Graph()
    train(graph, load_folder(graph, "input/empty"), "empty")
    sentence = comfy.error_of(graph)
    assert sentence.startswith("There are no images in ") and is_sentence(sentence)


def test_loose_pictures_where_labels_are_asked_for_are_a_sentence(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "loose"), labels=True), "loose")
    sentence = comfy.error_of(graph)
    assert "turn labels off" in sentence and is_sentence(sentence)


def test_a_size_that_no_gan_can_grow_is_a_sentence(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "odd"), size=50), "odd")
    sentence = comfy.error_of(graph)
    assert "use 48x48, for example" in sentence and is_sentence(sentence)


def test_resuming_with_other_data_is_a_sentence(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "resumed")
    graph = Graph()
    train(graph, load_folder(graph, folder), "resumed")
    comfy.run(graph)
    graph = Graph()
    train(graph, load_folder(graph, folder, size=32), "resumed", resume=True)
    sentence = comfy.error_of(graph)
    assert sentence.startswith("resumed cannot be resumed with these settings: ") and is_sentence(sentence)
    assert "side 16" in sentence and "32" in sentence


# Out of ComfyUI's folders. A combo that is linked to a text is not checked by ComfyUI.


def linked(graph: Graph, text: str) -> Output:
    either = {way: graph("PrimitiveString", value=text) for way in ("on_true", "on_false")}
    return graph("ComfySwitchNode", switch=True, **either)


@pytest.fixture
def nothing_else_written(comfy: Comfy) -> Iterator[None]:
    """Fails where a file appears or goes anywhere in or beside ComfyUI's folder."""

    def files() -> set[Path]:
        skipped = {comfy.base / "user", comfy.base / "temp", comfy.server.log_file}
        return {path for path in comfy.base.parent.rglob("*") if not skipped & {path, *path.parents}}

    (comfy.base / "outside").mkdir(exist_ok=True)
    (comfy.base / "outside.safetensors").write_bytes((EXAMPLES / "digits.safetensors").read_bytes())
    folder_of_pictures(comfy, "../outside/pictures")
    before = files()
    yield
    assert files() == before


@pytest.mark.parametrize(
    "name",
    ["../../outside.safetensors", "../outside.safetensors", "{base}/outside.safetensors", "x\0.safetensors", ".."],
)
@pytest.mark.usefixtures("nothing_else_written")
def test_no_generator_is_loaded_from_outside(comfy: Comfy, name: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=linked(graph, name.replace("{base}", str(comfy.base))))
    decode(graph, generator, sample(graph, generator))
    sentence = comfy.error_of(graph)
    assert sentence.startswith("There is no generator ") and is_sentence(sentence)


@pytest.mark.parametrize(
    "folder",
    [
        "input/../outside",
        "input/../outside/pictures",
        "input/..",
        "input/",
        "{base}/outside",
        "../outside",
        "x" * 5000,
        "input/\0",
    ],
    ids=lambda value: value[:30],
)
@pytest.mark.usefixtures("nothing_else_written")
def test_no_picture_is_read_from_outside(comfy: Comfy, folder: str) -> None:
    graph = Graph()
    train(graph, load_folder(graph, linked(graph, folder.replace("{base}", str(comfy.base)))), "never")
    sentence = comfy.error_of(graph)
    assert sentence.startswith("There is no image folder ") and is_sentence(sentence)


@pytest.mark.parametrize("prefix", ["../../x", "../x", "a/../../../x", "{base}/x", "x/../../../../outside/x"])
@pytest.mark.usefixtures("nothing_else_written")
def test_no_generator_is_saved_outside(comfy: Comfy, prefix: str) -> None:
    prefix = prefix.replace("{base}", str(comfy.base))
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    saving = graph("SaveGenerator", generator=generator, filename_prefix=prefix)
    reason = f'"{prefix}" leads out of output/gan: use a name, or folder/name.'
    assert reason in comfy.refusal_of(graph)

    text = graph("PrimitiveString", value=prefix)
    graph.prompt[saving.node]["inputs"]["filename_prefix"] = [text.node, 0]
    assert comfy.error_of(graph) == reason


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "/x", "x\0"])
@pytest.mark.usefixtures("nothing_else_written")
def test_no_run_is_kept_outside(comfy: Comfy, name: str) -> None:
    graph = Graph()
    text = graph("PrimitiveString", value=name)
    train(graph, load_folder(graph, EXAMPLE_FOLDER, size=16), text, kimg=0.016)
    sentence = comfy.error_of(graph)
    assert "is not a valid name of a run" in sentence and is_sentence(sentence)


# Files that are not what they seem.


def hostile_files() -> dict[str, bytes]:
    good = (EXAMPLES / "digits.safetensors").read_bytes()
    header_length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + header_length])
    header["__metadata__"]["gan_core.format_version"] = "999"
    newer = json.dumps(header).encode()
    return {
        "empty": b"",
        "truncated": good[: len(good) // 2],
        "only_a_header": good[: 8 + header_length],
        "absurd_header": struct.pack("<Q", 2**62) + good[8:],
        "newer_format": struct.pack("<Q", len(newer)) + newer + good[8 + header_length :],
        "pickle": b"\x80\x04\x95cposix\nsystem\n",
        "zip": b"PK\x03\x04" + b"\0" * 100,
        "web_page": b"<!DOCTYPE html><html>404</html>" * 10,
    }


@pytest.mark.parametrize("kind", [*hostile_files(), "lora"])
def test_a_hostile_file_is_named_in_a_sentence(comfy: Comfy, kind: str) -> None:
    folder = comfy.models / "gan"
    folder.mkdir(exist_ok=True)
    file = folder / f"{kind}.safetensors"
    if kind == "lora":
        save_file({"unet.lora_up.weight": torch.zeros(4, 4), "unet.lora_down.weight": torch.zeros(4, 4)}, file)
    else:
        file.write_bytes(hostile_files()[kind])
    graph = Graph()
    generator = graph("LoadGenerator", name=file.name)
    decode(graph, generator, sample(graph, generator))
    sentence = comfy.error_of(graph)
    assert sentence.startswith(file.name) and is_sentence(sentence)
    if kind == "lora":
        assert "is a LoRA (it has unet.lora_up.weight), not a generator" in sentence
