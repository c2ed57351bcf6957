"""The command line: what it makes, and how it says what went wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from command_line import run
from foreign_files import nvidia_pickle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from stylegan2_networks import SMALL as STYLED
from stylegan2_networks import generator_of, original

import gan_core
from gan_core import InputError, sample_noise
from gan_core.architectures import stylegan3, taesd_vae
from gan_core.cli import main
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.latents import LAST_SEED
from gan_core.metrics import Extractor, measure
from gan_core.metrics.likelihood import elbo, importance_weighted
from gan_core.sampling.seeds import parse_seeds
from gan_core.training import PRESETS, TrainConfig, checkpoint

SMALL = ["--preset", "dcgan_small", "--size", "16", "--batch", "4", "--device", "cpu"]


def done(*arguments: object) -> Result:
    """The result of a command that succeeds."""
    result = run(*arguments)
    assert (result.exit_code, result.exception) == (0, None), result.output
    return result


def refused(*arguments: object) -> str:
    """The one line that a command says to bad input."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def weights(new_generator, tmp_path_factory) -> Path:
    """A generator of 3 classes and 16x16 pixels in colour."""
    generator = new_generator({"title": "猫"}, channels=3, classes=3)
    return generator.save(tmp_path_factory.mktemp("weights") / "cats.safetensors")


# Help.


@pytest.mark.parametrize("command", [[], ["demo"], ["train"], ["sample"], ["info"], ["measure"]], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(command, option):
    text = done(*command, option).stdout
    assert text.startswith("Usage: ")
    assert "Commands:" in text if not command else "Options:" in text


def test_every_option_is_explained():
    for name, command in main.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.opts}"


DEFAULTS = {
    "demo": {"out": Path("demo"), "minutes": 2.75, "seed": 0},
    "train": {
        **{"preset": "auto", "size": "64", "seed": 0, "channels": "auto", "fit": "crop"},
        **{"on_trouble": "stop", "mirror": False, "labels": False, "resume": False, "eager": False},
        **dict.fromkeys(
            ("kimg", "minutes", "batch_size", "learning_rate", "objective", "augment", "gamma", "lecam", "precision",
             "reconstruction", "beta", "latent_channels", "adversarial_kimg", "free_bits", "start", "measure_kimg",
             "patience_kimg", "device")
        ),
    },
    "sample": {
        **{"seeds": "0-127", "truncation": 1.0, "noise": "const", "noise_seed": 0, "rotate": 0.0, "scale": 1.0},
        **dict.fromkeys(("cutoff", "label", "class_weights", "translate", "columns")),
    },
    "likelihood": {"likelihood": "bernoulli", "samples": 0, "seed": 0, "fit": "crop"},
    "measure": {"count": 2000, "seed": 0, "labels": False, "fit": "crop", "save": False},
    "publish": {
        **{"title": "", "description": "", "public": False, "pull_request": False, "dry_run": False, "workflow": None},
    },
    "fetch": {"out": None},
    "convert": {"out": None},
}  # fmt: skip
"""What is done where nothing is said: in --help, in the documentation, and in scripts of people."""


@pytest.mark.parametrize("command", DEFAULTS)
def test_what_is_not_said_stays_as_it_was(command):
    needed = {"demo": [], "publish": ["a", "b", "--license", "mit"], "train": ["a", "--out", "b"]}
    needed |= {"sample": ["a", "--out", "b"], "likelihood": ["a", "b"], "measure": ["a", "b"]}
    found = main.commands[command]
    with found.make_context(command, needed.get(command, ["a"])) as context:
        values = {name: value for name, value in context.params.items() if name in DEFAULTS[command]}
    assert {**values, **({"size": "64"} if values.get("size") == (64, 64) else {})} == DEFAULTS[command]


def test_what_is_not_said_of_precision_is_the_same_in_all_presets():
    assert {recipe.precision for recipe in PRESETS.values()} == {"auto"}


def test_without_a_command_the_help_is_shown():
    result = run()
    assert "demo" in result.output
    assert "Traceback" not in result.output


def test_it_runs_as_a_module():
    process = subprocess.run(
        [sys.executable, "-m", "gan_core", "--help"], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert process.stdout.startswith("Usage: python -m gan_core")


# Train.


def test_a_folder_becomes_a_generator(photos, tmp_path):
    result = done("train", photos, "--out", tmp_path / "run", "--kimg", "0.008", *SMALL)
    generator = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert (generator.config.side, generator.config.channels) == (16, 3)
    assert generator.card.training["kimg"] == 0.008
    assert str(tmp_path / "run" / "generator.safetensors") in result.stdout
    with Image.open(tmp_path / "run" / "loss.png") as chart:
        assert chart.width > 300


def test_a_bundled_data_set_is_trained_on_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "portraits: 273 images 16x16x3" in done(*TRAIN_PORTRAITS, "--out", tmp_path / "run").stdout
    (tmp_path / "example" / "portraits").mkdir(parents=True)
    assert "image" in refused(*TRAIN_PORTRAITS, "--out", tmp_path / "other"), "a folder of this name goes first"


TRAIN_PORTRAITS = ["train", "example/portraits", *SMALL, "--kimg", "0.004"]


def test_every_option_of_train_reaches_the_training(photos, tmp_path):
    (photos / "a").mkdir()
    (photos / "b").mkdir()
    for i, picture in enumerate(sorted(photos.glob("*.png"))):
        picture.rename(photos / "ab"[i % 2] / picture.name)
    options = (
        "--objective relativistic --gamma 0.5 --lecam 0.3 --augment ada --seed 5 --learning-rate 0.001 --channels grey "
        "--fit pad --mirror --labels"
    )
    done("train", photos, "--out", tmp_path / "run", "--kimg", "0.004", *SMALL, *options.split(), "--precision", "fp32")
    generator = gan_core.load(tmp_path / "run" / "generator.safetensors")
    assert (generator.config.channels, generator.classes) == (1, 2)
    assert generator.card.class_names == ("a", "b")
    assert generator.card.data.mirror is True
    assert generator.card.training == {
        "preset": "dcgan_small",
        "objective": "relativistic",
        "augment": "ada",
        "penalty": "r1_r2",
        "gamma": 0.5,
        "lecam": 0.3,
        "batch_size": 4,
        "learning_rate": 0.001,
        "kimg": 0.004,
        "seed": 5,
    }


REACHING = {
    "preset": ("few", "few"),
    "kimg": ("3.5", 3.5),
    "minutes": ("2.5", 2.5),
    "batch": ("8", 8),
    "learning-rate": ("0.003", 0.003),
    "objective": ("wgan", "wgan"),
    "augment": ("ada", "ada"),
    "gamma": ("0.5", 0.5),
    "lecam": ("0.3", 0.3),
    "reconstruction": ("laplace", "laplace"),
    "beta": ("0.25", 0.25),
    "latent-channels": ("7", 7),
    "adversarial-kimg": ("4.5", 4.5),
    "free-bits": ("0.125", 0.125),
    "on-trouble": ("ignore", "ignore"),
    "measure-kimg": ("7.5", 7.5),
    "patience-kimg": ("6.5", 6.5),
    "seed": ("11", 11),
    "precision": ("fp32", "fp32"),
    "eager": (None, True),
    "resume": (None, True),
}
FIELDS = {"batch": "batch_size"}


@pytest.mark.parametrize("option", REACHING)
def test_an_option_of_train_is_that_of_its_name_and_changes_no_other(tmp_path, monkeypatch, option):
    checked = []

    def check(config):  # and then there is no such folder
        checked.append(config)

    monkeypatch.setattr(TrainConfig, "check", check)

    def configured(*arguments):
        assert "There is no folder" in refused("train", tmp_path / "none", "--out", tmp_path / "run", *arguments)
        return asdict(checked.pop())

    text, value = REACHING[option]
    plain = configured()
    assert (plain["kimg"], plain["settings"]) == (1000, {})
    field = FIELDS.get(option, option.replace("-", "_"))
    changed = {field: value} if field in plain else {"settings": {field: value}}
    changed |= {"kimg": None} if option == "minutes" else {}
    assert configured(f"--{option}", *([] if text is None else [text])) == {**plain, **changed}


def test_a_run_in_trouble_is_told_of_and_rolled_back(photos, tmp_path):
    options = "--kimg 0.04 --learning-rate 1 --objective relativistic --on-trouble rollback"
    result = done("train", photos, "--out", tmp_path / "run", *SMALL, *options.split())
    assert "Rolled back to 0.0 kimg, and on from there with the learning rate 0.25" in result.stdout
    assert checkpoint.read(tmp_path / "run").state["softened"] >= 1


def test_what_cannot_be_written_at_the_very_end_is_told_too(photos, tmp_path):
    (tmp_path / "run" / "history.csv").mkdir(parents=True)
    result = done("train", photos, "--out", tmp_path / "run", "--kimg", "0.004", *SMALL)
    assert "history.csv cannot be written: " in result.stdout
    assert "Training continues without it." in result.stdout


def test_the_decoder_of_another_programs_vae_is_tuned(photos, tmp_path):
    config = taesd_vae.ARCHITECTURE.config(side=16)
    tensors = taesd_vae.ARCHITECTURE.generator(config).state_dict()
    foreign = {
        name: tensor for name, tensor in tensors.items() if name.startswith(("taesd_encoder.", "taesd_decoder."))
    }
    save_file(foreign, tmp_path / "taesd.safetensors")
    settings = ["--preset", "finetune_decoder", "--size", "16", "--channels", "RGB", "--batch", "4", "--kimg", "0.008"]
    done("train", photos, "--start", tmp_path / "taesd.safetensors", *settings, "--out", tmp_path / "tuned")
    tuned = gan_core.load(tmp_path / "tuned" / "generator.safetensors")
    kept = tuned.module.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in foreign.items() if name.startswith("taesd_encoder."))
    assert not torch.equal(kept["taesd_decoder.1.weight"], foreign["taesd_decoder.1.weight"])


def test_a_run_is_resumed_where_it_stopped(photos, tmp_path):
    done("train", photos, "--out", tmp_path / "run", "--kimg", "0.004", *SMALL)
    done("train", photos, "--out", tmp_path / "run", "--kimg", "0.012", *SMALL, "--resume")
    assert checkpoint.read(tmp_path / "run").state["steps"] == 3


def test_a_budget_of_minutes_ends_a_training(photos, tmp_path):
    done("train", photos, "--out", tmp_path / "run", "--minutes", "0.002", *SMALL)
    assert checkpoint.read(tmp_path / "run").state["steps"] >= 1


def test_skipped_files_are_named(photos, tmp_path):
    (photos / "broken.png").write_text("not an image")
    result = done("train", photos, "--out", tmp_path / "run", "--kimg", "0.004", *SMALL)
    assert "skipped broken.png: " in result.stderr


@pytest.mark.parametrize("count", [10, 11, 13])
def test_of_skipped_files_ten_are_named_and_the_others_counted(photos, weights, count):
    for i in range(count):
        (photos / f"broken{i:02}.png").write_text("not an image")
    said = run("measure", weights, photos, "--count", "9").stderr.splitlines()
    assert [line.partition(":")[0] for line in said[:10]] == [f"  skipped broken{i:02}.png" for i in range(10)]
    assert said[10:-1] == ([] if count == 10 else [f"  and {count - 10} more"])


def test_a_run_that_diverges_says_so_in_a_sentence(photos, tmp_path):
    result = run(
        *("train", photos, "--out", tmp_path / "run", "--kimg", "10", *SMALL),
        *("--learning-rate", "1", "--objective", "relativistic"),
    )
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Stopped: Training run was stopped at ")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_keeps_what_was_learned(photos, tmp_path, monkeypatch):
    # A process started in the background may ignore the signal, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "gan_core", "train", photos, "--out", tmp_path / "run", "--minutes", "5", *SMALL],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        said = b""
        while b"loss D" not in said:
            said += (more := process.stderr.read1())
            assert more, said.decode()
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert said.decode().splitlines()[-1].endswith("and --resume continues from there.")
    steps = checkpoint.read(tmp_path / "run").state["steps"]
    assert steps >= 1
    done("train", photos, "--out", tmp_path / "run", "--kimg", (steps + 1) * 4 / 1000, *SMALL, "--resume")
    assert checkpoint.read(tmp_path / "run").state["steps"] == steps + 1


def test_the_demo_leaves_what_it_promises(tmp_path):
    result = done("demo", "--out", tmp_path / "demo", "--minutes", "0.02")
    for name in ("generator.safetensors", "samples.png", "loss.png"):
        assert str(tmp_path / "demo" / name) in result.stdout
    assert gan_core.load(tmp_path / "demo" / "generator.safetensors").config.side == 28
    with Image.open(tmp_path / "demo" / "samples.png") as sheet:
        assert sheet.size == (16 * 30 - 2, 8 * 30 - 2)
    with Image.open(tmp_path / "demo" / "loss.png") as chart:
        chart.verify()


def test_a_second_demo_leaves_the_first_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").touch()
    done("demo", "--out", tmp_path / "demo", "--minutes", "0.001")
    assert os.listdir(tmp_path / "demo") == ["mine.txt"]
    assert (tmp_path / "demo_2" / "samples.png").exists()


# Sample.


@pytest.mark.parametrize(
    ("options", "columns", "rows"),
    [
        (["--seeds", "0-9"], 4, 3),
        (["--seeds", "0-9", "--columns", "5"], 5, 2),
        (["--seeds", "0-2", "--columns", "9"], 3, 1),
        (["--seeds", "7"], 1, 1),
        ([], 12, 11),
    ],
    ids=str,
)
def test_samples_become_a_sheet(weights, tmp_path, options, columns, rows):
    done("sample", weights, "--out", tmp_path / "new" / "sheet.png", *options)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (columns * 18 - 2, rows * 18 - 2)
        assert sheet.mode == "RGB"


def test_samples_become_a_file_each_named_by_its_seed(weights, tmp_path):
    done("sample", weights, "--out", tmp_path / "new", "--seeds", "3,8,20-22,4294967295")
    assert sorted(os.listdir(tmp_path / "new")) == [
        "seed000003.png",
        "seed000008.png",
        "seed000020.png",
        "seed000021.png",
        "seed000022.png",
        "seed4294967295.png",
    ]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_seed_makes_the_same_picture_in_a_sheet_and_alone(weights, tmp_path):
    done("sample", weights, "--out", tmp_path / "sheet.png", "--seeds", "0-3", "--columns", "4")
    done("sample", weights, "--out", tmp_path / "alone", "--seeds", "2")
    sheet = pixels(tmp_path / "sheet.png")
    assert np.abs(sheet[:, 36:52] - pixels(tmp_path / "alone" / "seed000002.png")).max() <= 1


def test_truncation_and_label_reach_the_generator(weights, tmp_path):
    done("sample", weights, "--out", tmp_path / "a", "--seeds", "5", "--truncation", "0.5", "--label", "2")
    generator = gan_core.load(weights)
    image = generator.decode(gan_core.sample_noise(generator, [5], truncation=0.5, labels=2))[0]
    expected = ((image + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels(tmp_path / "a" / "seed000005.png") - expected).max() <= 1


# Info.


@pytest.fixture(scope="module")
def pickled(tmp_path_factory) -> Path:
    """A pickle of NVIDIA's with a StyleGAN2 of three classes."""
    path = tmp_path_factory.mktemp("pickles") / "cats.pkl"
    path.write_bytes(nvidia_pickle(original(replace(STYLED, classes=3)), conv_clamp=256))
    return path


def test_a_pickle_is_converted_and_sampled(pickled, tmp_path):
    out = tmp_path / "cats.safetensors"
    said = done("convert", pickled, "--out", out).output
    assert "cats: stylegan2, 16x16x3, 3 classes" in said and "a StyleGAN2 of NVIDIA's" in said and str(out) in said
    options = ["--truncation", 0.5, "--cutoff", 3, "--class-weights", "0:0.5, 2:0.5", "--noise", "random"]
    done("sample", out, "--seeds", "4-5", "--out", tmp_path / "new.png", *options, "--noise-seed", 7)
    generator = generator_of(replace(STYLED, classes=3))
    noise = sample_noise(generator, [4, 5], 0.5, torch.tensor([0.5, 0, 0.5]), cutoff=3)
    expected = gan_core.media.image.grid(generator.decode(noise, "random", 7))
    assert np.array_equal(pixels(tmp_path / "new.png"), np.asarray(expected))


def test_a_pickle_is_converted_beside_itself_but_over_nothing(pickled):
    done("convert", pickled)
    assert gan_core.load(pickled.with_suffix(".safetensors")).classes == 3
    assert "exists already: choose another file with --out" in refused("convert", pickled)


def test_pictures_of_a_stylegan3_are_moved(tmp_path):
    torch.manual_seed(0)
    config = stylegan3.StyleGAN3Config(16, 3, stylegan3.widths(16, 64, 6), latent_size=5, w_dim=6)
    module = stylegan3.StyleGAN3Generator(config).eval().requires_grad_(False)
    generator = gan_core.Generator(stylegan3.ARCHITECTURE, config, module)
    path = generator.save(tmp_path / "three.safetensors")
    motion = ["--translate", 0.25, -0.5, "--rotate", 30, "--scale", 1.5]
    done("sample", path, "--seeds", "0-3", "--out", tmp_path / "new.png", *motion)
    noise = sample_noise(generator, range(4))
    moved = generator.decode(noise, transform=gan_core.Transform(0.25, -0.5, 30, 1.5).matrices(4))
    assert np.array_equal(pixels(tmp_path / "new.png"), np.asarray(gan_core.media.image.grid(moved)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--noise", "none"], "has no noise maps"),
        (["--rotate", "5"], "only images of StyleGAN3 can be translated or rotated"),
        (["--cutoff", "2"], "without styles: leave cutoff out"),
        (["--scale", "0"], "scale must be greater than 0 (got 0)"),
        (["--class-weights", "1:1"], "trained without classes"),
    ],
)
def test_a_control_that_a_generator_does_not_have_is_refused(weights, tmp_path, options, told):
    if told == "trained without classes":
        weights = tmp_path / "plain.safetensors"
        weights.write_bytes((EXAMPLES / "digits.safetensors").read_bytes())
    assert told in refused("sample", weights, "--out", tmp_path / "new.png", *options)


def test_info_is_json_that_says_what_the_file_is(weights):
    facts = json.loads(done("info", weights).stdout)
    assert facts == {
        "architecture": "dcgan",
        "config": {"side": 16, "channels": 3, "classes": 3, "latent_size": 4, "width": 2, "refine": 0, "start": [4, 4]},
        "latent_shape": [4, 1, 1],
        "parameters": sum(parameter.numel() for parameter in gan_core.load(weights).module.parameters()),
        "bytes": weights.stat().st_size,
        "card": {"title": "猫"},
    }


# Measure.


@pytest.fixture
def cheap(monkeypatch) -> None:
    """Lets images be measured by their pixels instead of a network that may not be installed."""
    pixels = Extractor("pixels", (8, 16), lambda pictures: torch.nn.functional.avg_pool2d(pictures, 4).flatten(1))
    monkeypatch.setattr(measure, "efficientnet_lite0", lambda device: pixels)


@pytest.mark.usefixtures("cheap")
def test_figures_are_printed_and_with_save_kept_in_the_card(photos, weights, tmp_path):
    measured = gan_core.load(weights).save(tmp_path / "measured.safetensors")
    before = measured.read_bytes()
    text = done("measure", measured, photos, "--count", "20", "--seed", "3").stdout
    figures = json.loads(text[text.index("{") :])
    assert (figures["fake"], figures["real"], figures["backbone"], figures["side"]) == (20, 12, "pixels", 16)
    assert measured.read_bytes() == before
    done("measure", measured, photos, "--count", "20", "--seed", "3", "--save")
    card = gan_core.load(measured).card
    assert {metric.name: metric.value for metric in card.metrics}["kid"] == figures["kid"]
    assert card.title == "猫"
    done("sample", measured, "--out", tmp_path / "still.png")


@pytest.mark.usefixtures("cheap")
def test_a_folder_of_classes_is_measured_in_its_proportions(photos, weights):
    for name in ("a", "b", "c"):
        (photos / name).mkdir()
    for i, file in enumerate(sorted(photos.glob("*.png"))):
        file.rename(photos / "abc"[i % 3] / file.name)
    assert '"fake": 20' in done("measure", weights, photos, "--count", "20", "--labels").stdout


@pytest.mark.usefixtures("cheap")
def test_a_measurement_is_that_of_its_options(photos, weights):
    text = done("measure", weights, photos, "--count", "11", "--seed", "3", "--fit", "stretch").stdout
    dataset = gan_core.ImageDataset.from_folder(photos, 16, "RGB", "stretch")
    *_, last = measure.measuring(gan_core.load(weights), dataset, 11, 3)
    assert json.loads(text[text.index("{") :]) == pytest.approx(asdict(last.report))


@pytest.mark.parametrize(("options", "likelihood"), [([], "bernoulli"), (["--likelihood", "laplace"], "laplace")])
@pytest.mark.parametrize("samples", [0, 3])
def test_a_likelihood_is_that_of_its_options(photos, options, likelihood, samples):
    file = EXAMPLES / "vae-digits.safetensors"
    more = ["--samples", samples] if samples else []
    text = done("likelihood", file, photos, "--seed", "7", "--fit", "pad", *options, *more).stdout
    vae = gan_core.load(file)
    images = gan_core.ImageDataset.from_folder(photos, 28, "grey", "pad").images
    bound = elbo(vae, images, likelihood, 7)
    expected = {name: value for name, value in asdict(bound).items() if name != "of_each"}
    if samples:
        scale = None if likelihood == "bernoulli" else bound.scale
        estimate = importance_weighted(vae, images, samples, likelihood, 7, scale)
        expected |= {"importance_weighted_nats": float(estimate.mean()), "samples": samples}
    found = json.loads(text[text.index("{") :])
    assert (found.pop("images"), found.pop("likelihood")) == (12, likelihood)
    assert found == pytest.approx(expected)


# Seeds.

SEEDS = st.integers(0, LAST_SEED)
SPANS = st.builds(lambda first, more: (first, min(first + more, LAST_SEED)), SEEDS, st.integers(0, 50))


@given(st.lists(SEEDS.map(lambda seed: (seed, seed)) | SPANS, min_size=1, max_size=10))
def test_seeds_are_numbers_and_ranges_in_their_order(spans):
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    assert parse_seeds(text) == [seed for first, last in spans for seed in range(first, last + 1)]


@given(st.text("0123456789,- x", max_size=12))
def test_any_other_text_is_refused_or_gives_seeds_in_range(text):
    try:
        seeds = parse_seeds(text)
    except InputError:
        return
    assert seeds
    assert all(0 <= seed <= LAST_SEED for seed in seeds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a",
        "1-",
        "-1",
        "5-3",
        "1,,2",
        "1--2",
        "1.5",
        "1e3",
        "²",
        "٣",
        "4294967296",
        "9" * 5000,
        "0-" + "9" * 5000,
    ],
)
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(InputError):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("4294967295", [4294967295]),
        ("4294967294-4294967295", [4294967294, 4294967295]),
        (" 3 , 5-5 ", [3, 5]),
        ("7,7,0", [7, 7, 0]),
        ("0-99999", range(100_000)),
        ("0-49999,0-49999", [*range(50_000), *range(50_000)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_seeds_up_to_their_limits(text, seeds):
    assert parse_seeds(text) == list(seeds)


@pytest.mark.parametrize("text", ["4294967295-4294967296", "0-4294967296", "4294967296-4294967296"])
def test_seeds_beyond_the_last_are_refused(text):
    with pytest.raises(InputError, match="it must ascend, within 0 to 4294967295"):
        parse_seeds(text)


@pytest.mark.parametrize(
    "text", ["0-99999,0-99999", "0-99999,5", "0-4294967295", "0-100000", ",".join(["0-9999"] * 11)]
)
def test_more_pictures_than_can_be_meant_are_refused_at_once(text):
    with pytest.raises(InputError, match="at most 100,000 images"):
        parse_seeds(text)


# What a person can get wrong.


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["train", "{photos}/nowhere", "--out", "{tmp}/run"], "There is no folder"),
        (["train", "{photos}", "--out", "{tmp}/run", "--size", "25"], "use 24x24, for example"),
        (["train", "{photos}", "--out", "{tmp}/run", "--size", "16x9"], "use 16x8, for example"),
        (["train", "{photos}", "--out", "{tmp}/run", "--preset", "dcgan"], "12 images, fewer than a batch of 64"),
        (["train", "{photos}", "--out", "{tmp}/run", "--labels"], "Labels come from sub-folders, but"),
        (["train", "{photos}", "--out", "{photos}/00.png", *SMALL], "00.png is a file: --out must be the folder"),
        (["train", "{photos}", "--out", "{tmp}/run", *SMALL, "--device", "toaster"], "toaster"),
        (["train", "{photos}", "--out", "{tmp}/run", "--kimg", "0"], "kimg must be a number greater than 0"),
        (["train", "{photos}", "--out", "{tmp}/run", "--minutes", "nan"], "minutes must be a number greater than 0"),
        (
            ["train", "{photos}", "--out", "{tmp}/run", "--batch", "1"],
            "batch_size must be a whole number of at least 2",
        ),
        (
            ["train", "{photos}", "--out", "{tmp}/run", "--learning-rate", "7"],
            "learning_rate must be a number greater than 0",
        ),
        (["train", "{photos}", "--out", "{tmp}/run", "--preset", "biggan"], "'biggan' is not one of"),
        (["train", "{photos}", "--out", "{tmp}/run", "--size", "big"], 'such as 96x64 (got "big")'),
        (["train", "{photos}", "--out", "{tmp}/run", "--sise", "16"], "--sise"),
        (["train", "{photos}"], "Missing option '--out'"),
        (["train"], "Missing argument 'DATA'"),
        (["sample", "{tmp}/nowhere.safetensors", "--out", "{tmp}/a.png"], "There is no file"),
        (["sample", "{photos}/00.png", "--out", "{tmp}/a.png"], "00.png is a PNG image"),
        (["sample", "{weights}", "--out", "{tmp}/a.png", "--seeds", "one"], "Seeds are written like"),
        (["sample", "{weights}", "--out", "{tmp}/a.png", "--label", "3"], "has classes 0 to 2, but no class 3"),
        (["sample", "{weights}", "--out", "{tmp}/a.png", "--truncation", "nan"], "truncation"),
        (["sample", "{weights}", "--out", "{tmp}/a.png", "--columns", "0"], "0 is not in the range"),
        (["sample", "{weights}", "--out", "{weights}/a.png"], "cannot be written"),
        (["info", "{tmp}/nowhere.safetensors"], "There is no file"),
        (["info", "{photos}"], "Is a directory" if os.name != "nt" else "Error:"),
        (["measure", "{weights}", "{photos}", "--count", "9"], "The number of images must be 10 to 10,000 (got 9)"),
        (["measure", "{weights}", "{tmp}"], "There is no folder"),
        (["demo", "--minutes", "0"], "minutes must be a number greater than 0"),
        (["demo", "--seed", "-1"], "seed must be a whole number of at least 0 and at most 4294967295 (got -1)."),
        (["paint"], "No such command 'paint'"),
        (["--paint"], "--paint"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_answered_in_one_line(photos, weights, tmp_path, command, told):
    places = {"photos": photos, "tmp": tmp_path / "new", "weights": weights}
    assert told in refused(*(argument.format_map(places) for argument in command))
    assert not (tmp_path / "new").exists(), "and nothing is written"


def test_a_run_that_exists_is_not_overwritten(photos, tmp_path):
    done("train", photos, "--out", tmp_path / "run", "--kimg", "0.004", *SMALL)
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    assert "already holds a run" in refused("train", photos, "--out", tmp_path / "run", "--kimg", "0.008", *SMALL)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


# Classes by name, results beside data, archives.


def test_a_class_is_drawn_by_its_name(new_generator, tmp_path):
    generator = new_generator({"title": "few", "class_names": ["1", "2", "10"]}, classes=3, channels=3)
    weights = generator.save(tmp_path / "few.safetensors")
    arguments = ["sample", weights, "--seeds", "0-3", "--out", tmp_path / "a.png", "--label"]
    assert "4 images of the class 10 in" in done(*arguments, "10").output
    expected = gan_core.media.image.grid(generator.decode(sample_noise(generator, range(4), labels=2)))
    with Image.open(tmp_path / "a.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(expected))
    assert "few has the classes 1, 2, 10, but no class 0" in refused(*arguments, "0")


@pytest.fixture
def animals(tmp_path) -> Path:
    """A folder of two classes of six images each."""
    for i in range(12):
        path = tmp_path / "animals" / ("cats", "dogs")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (16, 16, 3), np.uint8)).save(path)
    return tmp_path / "animals"


def test_results_in_the_folder_of_the_data_are_no_data_and_classes_are_told_before_training(animals):
    arguments = ["train", animals, "--labels", "--out", animals / "run", *SMALL]
    for kimg in ("0.004", "0.008"):
        output = done(*arguments, "--kimg", kimg, *(["--resume"] if kimg == "0.008" else [])).output
        assert "animals: 12 images 16x16x3, 2 classes" in output
        assert output.index("2 classes, by the folders: cats (6), dogs (6).") < output.index("generator.safetensors")
    assert "not those that this run has learned from" not in output
    assert "belongs to a training" in refused("train", animals / "run", "--out", animals / "other", *SMALL)
    assert "is the folder for results" in refused("train", animals, "--out", animals, *SMALL)


def test_a_zip_archive_is_data(animals, tmp_path):
    shutil.make_archive(str(tmp_path / "packed"), "zip", animals)
    output = done(
        "train", tmp_path / "packed.zip", "--labels", "--out", tmp_path / "run", "--kimg", "0.004", *SMALL
    ).output
    assert "packed: 12 images 16x16x3, 2 classes" in output
    assert gan_core.load(tmp_path / "run" / "generator.safetensors").card.class_names == ("cats", "dogs")
