"""One file is a whole generator; whatever else a file is, it is refused in one sentence and harms nothing."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open

import gan_core
from gan_core import InputError, TrainConfig, examples
from gan_core.files import replacing

CONFIG = {"side": 16, "channels": 1, "classes": 0, "latent_size": 4, "width": 2, "refine": 0, "start": [4, 4]}
HEADER = {
    "format": "pt",
    "gan_core.format_version": "1",
    "gan_core.architecture": "dcgan",
    "gan_core.config": json.dumps(CONFIG),
    "gan_core.card": "{}",
}


def refused(path: Path) -> str:
    """What a person is told of a file that cannot be opened."""
    with pytest.raises(InputError) as caught:
        gan_core.load(path)
    message = str(caught.value)
    assert path.name in message
    assert len(message.splitlines()) == 1
    return message


def safetensors_file(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def with_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def good(new_generator, tmp_path_factory) -> Path:
    """A file that opens."""
    return new_generator({"title": "noises"}).save(tmp_path_factory.mktemp("good") / "noises.safetensors")


@pytest.fixture(scope="module")
def tensors(good) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(good)


@pytest.fixture
def saved_with(tensors, tmp_path):
    """Writes a file with the tensors and the header of a good one, but for what the keywords and changes say."""

    def save(changes=None, without=(), header=None) -> Path:
        contents = {name: tensor for name, tensor in {**tensors, **(changes or {})}.items() if name not in without}
        path = tmp_path / "changed.safetensors"
        metadata = {name: value for name, value in {**HEADER, **(header or {})}.items() if value is not None}
        safetensors.torch.save_file(contents, path, metadata or None)
        return path

    return save


# What is written.


@pytest.mark.parametrize("config", [{}, {"side": 28, "channels": 3}, {"classes": 3, "refine": 2}], ids=str)
def test_a_saved_generator_comes_back_bit_for_bit(new_generator, tmp_path, config):
    generator = new_generator({"title": "noises", "tags": ["猫", 1.5, None]}, **config)
    again = gan_core.load(generator.save(tmp_path / "noises.safetensors"))
    kept, read = generator.module.state_dict(), again.module.state_dict()
    assert list(kept) == list(read)
    assert all(torch.equal(kept[name], read[name]) and kept[name].dtype == read[name].dtype for name in kept)
    assert again.config == generator.config
    assert again.card == generator.card


def test_a_loaded_generator_is_ready_to_make_pictures(good, new_generator):
    again, latent = gan_core.load(good), gan_core.sample_noise(new_generator(), range(3))
    assert torch.equal(again.decode(latent), new_generator().decode(latent))
    assert not again.module.training
    assert not any(parameter.requires_grad for parameter in again.module.parameters())


def test_the_header_says_what_the_file_is(new_generator, tmp_path):
    path = new_generator({"title": "cats", "created": "2026-01-02T03:04:05+00:00"}, classes=3).save(tmp_path / "a.st")
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert json.loads(header.pop("gan_core.config")) == {**CONFIG, "classes": 3}
    assert json.loads(header.pop("gan_core.card")) == {"title": "cats", "created": "2026-01-02T03:04:05+00:00"}
    assert header == {
        "format": "pt",
        "gan_core.format_version": "1",
        "gan_core.architecture": "dcgan",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "gan/dcgan",
        "modelspec.implementation": "ComfyUI-GAN-Studio",
        "modelspec.title": "cats",
        "modelspec.resolution": "16x16",
        "modelspec.date": "2026-01-02T03:04:05+00:00",
    }


def test_the_same_generator_is_the_same_bytes(new_generator, tmp_path):
    generator = new_generator({"title": 'é 字 \x00 "quoted" \u2028 \x7f', "created": "2026-01-01"})
    written = {generator.save(tmp_path / f"{i}.safetensors").read_bytes() for i in range(8)}
    assert len(written) == 1
    assert gan_core.load(tmp_path / "0.safetensors").card == generator.card


def test_saving_leaves_the_file_and_nothing_else(new_generator, tmp_path):
    new_generator().save(tmp_path / "new" / "folder" / "a.safetensors")
    assert os.listdir(tmp_path / "new" / "folder") == ["a.safetensors"]


def test_saving_replaces_an_older_file(new_generator, tmp_path):
    path = tmp_path / "a.safetensors"
    new_generator({"title": "old"}).save(path)
    new_generator({"title": "new"}).save(path)
    assert gan_core.load(path).title == "new"
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no file that is being read")
def test_who_reads_a_file_while_it_is_replaced_reads_the_older_one_to_its_end(new_generator, tmp_path):
    path = new_generator({"title": "old"}).save(tmp_path / "a.safetensors")
    older = path.read_bytes()
    with path.open("rb") as file:
        start = file.read(20)
        new_generator({"title": "new"}, seed=1).save(path)
        assert start + file.read() == older


def test_a_file_that_fails_half_way_leaves_the_older_one(tmp_path):
    path = with_bytes(tmp_path / "a.txt", b"old")

    def fail_half_way():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_saving_where_nothing_can_be_written_is_a_sentence(new_generator, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"a\.safetensors cannot be written"):
        new_generator().save(tmp_path / "file" / "a.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a process's files")
def test_a_full_disk_is_a_sentence_and_leaves_the_older_file(new_generator, tmp_path):
    path = new_generator({"title": "old"}).save(tmp_path / "a.safetensors")
    program = """
        import resource, sys, gan_core
        generator = gan_core.load(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            generator.save(sys.argv[1])
        except gan_core.InputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "a.safetensors cannot be written" in done.stdout
    assert gan_core.load(path).title == "old"
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_card_can_hold_a_name_that_is_no_unicode(new_generator, tmp_path):
    name = os.fsdecode(b"caf\xe9")  # how Linux hands over a folder's name in Latin-1
    generator = new_generator({"title": name, "data": {"name": name}})
    assert gan_core.load(generator.save(tmp_path / "a.safetensors")).title.startswith("caf")


def test_a_loaded_generator_outlives_its_file(new_generator, tmp_path):
    generator = gan_core.load(new_generator().save(tmp_path / "a.safetensors"))
    latent = gan_core.sample_noise(generator, range(2))
    before = generator.decode(latent)
    path = tmp_path / "a.safetensors"
    with path.open("rb+") as file:  # in place, as cp does and a person may
        file.write(bytes(path.stat().st_size))
    assert torch.equal(generator.decode(latent), before)


# What opens.


def test_the_generator_that_ships_with_the_project_opens():
    generator = gan_core.load(examples.FOLDER / "digits.safetensors")
    assert generator.decode(gan_core.sample_noise(generator, range(2))).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("name", ["stylegan2-digits", "stylegan3-digits"])
def test_the_stylegans_that_ship_with_the_project_draw_each_class_alike(name):
    generator = gan_core.load(examples.FOLDER / f"{name}.safetensors")
    assert generator.classes == 10 and generator.card.class_names == tuple("0123456789")
    labels = [label for label in range(10) for _ in range(4)]
    images = generator.decode(gan_core.sample_noise(generator, range(40), 0.5, labels))
    means = images.unflatten(0, (10, 4)).mean(1)
    within = (images.unflatten(0, (10, 4)) - means[:, None]).square().mean()
    between = (means - means.mean(0)).square().mean()
    assert between > within, "pictures of a class are more alike than the classes"
    assert images.max() > 0.5 and images.flatten(1).min(1).values.max() < -0.8, "white on black"


@pytest.mark.parametrize("config", [{}, {"side": 28, "channels": 3}, {"classes": 3, "refine": 2}], ids=str)
def test_a_bare_file_opens_by_its_keys_and_shapes(new_generator, tmp_path, config):
    generator = new_generator(**config)
    safetensors.torch.save_file(generator.module.state_dict(), tmp_path / "bare.safetensors")
    again = gan_core.load(tmp_path / "bare.safetensors")
    assert again.config == generator.config
    assert again.title == "bare"
    kept, read = generator.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(kept[name], read[name]) for name in kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_weights_of_another_precision_open_in_full_precision(saved_with, tensors, dtype):
    changed = {name: tensor.to(dtype) for name, tensor in tensors.items() if tensor.is_floating_point()}
    generator = gan_core.load(saved_with(changed))
    read = generator.module.state_dict()
    assert all(torch.equal(read[name], tensor.float()) for name, tensor in changed.items())
    assert all(read[name].dtype == torch.float32 for name in changed)
    assert generator.decode(gan_core.sample_noise(generator, [0])).isfinite().all()


def test_weights_of_a_precision_that_torch_only_stores_are_refused(tensors, tmp_path, monkeypatch):
    header, data = {}, b""
    for name, tensor in tensors.items():  # two numbers of 4 bits make a byte
        dtype, size = ("F4", tensor.numel() // 2) if tensor.numel() % 2 == 0 else ("F32", tensor.numel() * 4)
        header[name] = {"dtype": dtype, "shape": [*tensor.shape], "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    file = with_bytes(tmp_path / "tiny.safetensors", safetensors_file(json.dumps(header).encode(), data))
    refused(file)
    monkeypatch.delattr(torch, "float4_e2m1fn_x2", raising=False)  # as in older versions of torch
    refused(file)


def test_a_file_without_a_title_is_called_by_its_name(saved_with):
    assert gan_core.load(saved_with()).title == "changed"


def test_opening_leaves_the_global_stream_alone(good):
    state = torch.get_rng_state()
    gan_core.load(good)
    assert torch.equal(torch.get_rng_state(), state)


# What does not.


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(good, tmp_path, share):
    content = good.read_bytes()
    refused(with_bytes(tmp_path / "short.safetensors", content[: int(len(content) * share)]))


@pytest.mark.parametrize("left", [1, 7, 8, 9, 16])
def test_a_file_of_a_few_bytes_is_refused(good, tmp_path, left):
    refused(with_bytes(tmp_path / "short.safetensors", good.read_bytes()[:left]))


def test_a_file_with_something_after_its_end_is_refused(good, tmp_path):
    refused(with_bytes(tmp_path / "long.safetensors", good.read_bytes() + b"more"))


@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, content):
    refused(with_bytes(tmp_path_factory.getbasetemp() / "random.safetensors", content))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(header=JSON)
def test_a_header_of_any_json_is_refused(tmp_path_factory, header):
    content = safetensors_file(json.dumps(header).encode())
    refused(with_bytes(tmp_path_factory.getbasetemp() / "json.safetensors", content))


@given(data=st.data())
def test_a_header_with_one_wrong_byte_opens_or_is_refused(tmp_path_factory, good, data):
    content = bytearray(good.read_bytes())
    length = int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
    path = with_bytes(tmp_path_factory.getbasetemp() / "bent.safetensors", content)
    try:
        gan_core.load(path)
    except InputError:
        refused(path)


@given(config=JSON | st.fixed_dictionaries({name: JSON for name in CONFIG}))
def test_a_config_of_any_json_opens_or_is_refused(tmp_path_factory, tensors, config):
    path = tmp_path_factory.getbasetemp() / "config.safetensors"
    safetensors.torch.save_file(tensors, path, {**HEADER, "gan_core.config": json.dumps(config)})
    if config != CONFIG:
        refused(path)


def tensor_header(**tensor) -> bytes:
    return json.dumps({"project.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **tensor}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (2**63).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        (1000).to_bytes(8, "little") + b"{}",
        bytes(16),
        safetensors_file(b"{}"),
        safetensors_file(b"{nonsense"),
        safetensors_file(b'{"a": "\xff\xfe"}'),
        safetensors_file(b'{"__metadata__": {"gan_core.format_version": 1}}'),
        safetensors_file(b'{"__metadata__": []}'),
        safetensors_file(b'{"__metadata__": {"gan_core.format_version": "1"}}'),
        safetensors_file(b"[" * 100_000),
        safetensors_file(b'{"a":' * 100_000),
        safetensors_file(tensor_header(shape=[2**40, 2**40]), bytes(4)),
        safetensors_file(tensor_header(shape=[-1]), bytes(4)),
        safetensors_file(tensor_header(data_offsets=[4, 0]), bytes(4)),
        safetensors_file(tensor_header(data_offsets=[0, 400]), bytes(4)),
        safetensors_file(tensor_header(data_offsets=[0, 2**64 - 1]), bytes(4)),
        safetensors_file(tensor_header(dtype="F33"), bytes(4)),
    ],
    ids=[
        "empty",
        "absurd length",
        "greatest length",
        "length beyond the end",
        "zeros",
        "no tensors",
        "no JSON",
        "no UTF-8",
        "metadata not text",
        "metadata not an object",
        "metadata only",
        "deep list",
        "deep object",
        "absurd shape",
        "negative shape",
        "offsets backwards",
        "offset beyond the end",
        "absurd offset",
        "unknown dtype",
    ],
)
def test_a_damaged_header_is_refused(tmp_path, content):
    refused(with_bytes(tmp_path / "hostile.safetensors", content))


def test_a_header_of_absurd_length_is_told_from_a_file_cut_short(good, tmp_path):
    content = good.read_bytes()
    assert "declares a header of" in refused(with_bytes(tmp_path / "a", b"\0\0\0\0\0\0\0\x7f" + content[8:]))
    assert "is incomplete, it ends within its header" in refused(with_bytes(tmp_path / "a", content[:100]))


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"gan_core.format_version": "2"}, "file format version 2, and this ComfyUI-GAN-Studio reads up to version 1"),
        ({"gan_core.format_version": "new"}, "damaged header"),
        ({"gan_core.format_version": "9" * 5000}, "damaged header"),
        ({"gan_core.architecture": "stylegan9"}, 'no architecture "stylegan9", only dcgan'),
        ({"gan_core.architecture": "two\nlines"}, "no architecture"),
        ({"gan_core.architecture": None}, "damaged header"),
        ({"gan_core.config": None}, "damaged header"),
        ({"gan_core.config": "{"}, "damaged header"),
        ({"gan_core.config": "[" * 100_000}, "damaged header"),
        ({"gan_core.config": "[]"}, "JSON objects"),
        ({"gan_core.config": '{"side": 16}'}, "has a config that is not valid for dcgan"),
        ({"gan_core.card": None}, "damaged header"),
        ({"gan_core.card": "[]"}, "JSON objects"),
        ({"gan_core.card": "nonsense"}, "damaged header"),
    ],
    ids=lambda value: str(value)[:40].replace("\n", " "),
)
def test_a_header_that_cannot_be_followed_is_refused_with_its_cause(saved_with, header, told):
    assert told in refused(saved_with(header=header))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 10**9},
        {"width": 10**18},
        {"width": 10**40},
        {"latent_size": 10**18},
        {"classes": 10**18},
        {"width": "2"},
        {"width": 2.0},
        {"width": True},
        {"width": None},
        {"width": [2]},
        {"width": -2},
        {"width": 0},
        {"side": 17},
        {"side": 2**31},
        {"channels": 2},
        {"refine": 10**9},
        {"classes": -1},
        {"depth": 3},
        {"a\nb": 3},
        {"self": 3},
    ],
    ids=str,
)
def test_a_config_that_lies_is_refused_at_once(saved_with, wrong):
    path = saved_with(header={"gan_core.config": json.dumps({**CONFIG, **wrong})})
    start = time.perf_counter()
    refused(path)
    assert time.perf_counter() - start < 5


def test_a_config_of_other_weights_is_refused_with_the_shapes(saved_with):
    path = saved_with(header={"gan_core.config": json.dumps({**CONFIG, "width": 4})})
    assert "must have shape [" in refused(path)


def test_a_missing_tensor_is_named(saved_with):
    assert "to_image.bias is missing" in refused(saved_with(without=["to_image.bias"]))


def test_an_extra_tensor_is_named(saved_with):
    assert "surprise is too many" in refused(saved_with({"surprise": torch.zeros(3)}))


def test_an_extra_tensor_with_a_name_of_two_lines_is_refused_in_one(saved_with):
    refused(saved_with({"two\nlines": torch.zeros(3)}))


def test_a_wrong_shape_is_named(saved_with):
    message = refused(saved_with({"to_image.bias": torch.zeros(2)}))
    assert "to_image.bias must have shape [1] (got [2])" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"to_image.weight": torch.zeros(2, 7, 4, 4)},
        {"to_image.weight": torch.zeros(0, 1, 4, 4)},
        {"embed.weight": torch.zeros(3)},
        {"embed.weight": torch.zeros(3, 400)},
        {"stages.0.conv.weight": torch.zeros(1, 1, 1, 1)},
        {"stages.1.conv.weight": torch.zeros(())},
        {"stages.99.conv.weight": torch.zeros(1, 1, 4, 4)},
        {f"stages.{i}.conv.weight": torch.zeros(0, 1, 4, 4) for i in range(20_000)},
        {"project.weight": torch.zeros(64, 0)},
    ],
    ids=lambda changes: f"{len(changes)} {next(iter(changes))} {list(next(iter(changes.values())).shape)}",
)
def test_a_bare_file_that_is_only_like_a_generator_is_refused(tensors, tmp_path, changes):
    safetensors.torch.save_file({**tensors, **changes}, tmp_path / "bare.safetensors")
    refused(tmp_path / "bare.safetensors")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
        ("base_model.model.q_proj.lora_A.weight", "a LoRA"),
        ("model.diffusion_model.out.0.weight", "a checkpoint of a diffusion model"),
        ("decoder.conv_in.weight", "a VAE"),
        ("anything", "an unknown kind"),
    ],
)
def test_a_file_of_another_kind_is_called_by_it(tmp_path, key, kind):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({key: torch.zeros(2, 2)}, path)
    message = refused(path)
    assert kind in message
    assert key in message


def test_the_checkpoint_of_a_run_points_to_the_generator_beside_it(noise_images, tmp_path):
    config = TrainConfig.of(tmp_path / "run", preset="dcgan_small", kimg=0.004, batch_size=4)
    list(gan_core.train(noise_images, config, "cpu"))
    message = refused(tmp_path / "run" / "checkpoint.safetensors")
    assert "checkpoint of a training run (choose the generator.safetensors beside it)" in message


def zip_archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data.pkl", "hello")
    return content.getvalue()


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zip_archive(), "a zip archive"),
        (pickle.dumps({"weights": [1.0, 2.0]}), "a Python pickle"),
        (pickle.dumps({"weights": [1.0, 2.0]}, protocol=0), "noises.safetensors"),
        (png(), "a PNG image"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page"),
        (b'{"error": "Repository not found", "status": 404}', "a JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (gzip.compress(b"hello" * 10), "noises.safetensors"),
    ],
    ids=["zip", "pickle", "pickle of protocol 0", "PNG", "HTML", "JSON", "LFS", "gzip"],
)
def test_a_file_of_another_format_is_called_by_it(tmp_path, content, kind):
    assert kind in refused(with_bytes(tmp_path / "noises.safetensors", content))


class Trap:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def legacy_torch_file(trap: Trap) -> bytes:
    content = io.BytesIO()
    torch.save(trap, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


def torch_file(trap: Trap) -> bytes:
    content = io.BytesIO()
    torch.save(trap, content)
    return content.getvalue()


@pytest.mark.parametrize(
    "written",
    [
        *(lambda trap, protocol=protocol: pickle.dumps(trap, protocol) for protocol in range(6)),
        legacy_torch_file,
        torch_file,
    ],
    ids=[*(f"protocol {protocol}" for protocol in range(6)), "torch, legacy", "torch"],
)
@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.safetensors"])
def test_no_pickle_is_ever_opened(tmp_path, written, name):
    sprung = tmp_path / "sprung"
    refused(with_bytes(tmp_path / name, written(Trap(sprung))))
    assert not sprung.exists()


def test_the_trap_of_the_test_above_is_set(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))  # noqa: S301 - it is our own
    assert (tmp_path / "sprung").exists()


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    assert "There is no file" in refused(tmp_path / "nowhere.safetensors")


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(InputError):
        gan_core.load("a\0b.safetensors")


def test_a_refused_file_is_closed_again(saved_with):
    path = saved_with(without=["to_image.bias"])
    refused(path)
    open_files = Path("/proc/self/fd")
    if not open_files.exists():
        pytest.skip("this system does not list a process's open files")
    assert not any(link.resolve() == path for link in open_files.iterdir() if link.exists())
