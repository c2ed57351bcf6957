"""The command line with any words: whatever a person gives, they get a sentence, and the terminal what it can print."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gan_core
from gan_core.cli import main
from gan_core.errors import LINE, cleaned
from gan_core.examples import FOLDER as EXAMPLES

DIGITS = EXAMPLES / "digits.safetensors"

PATHS = [
    "", " ", ".", "..", "/", "//", "~", "-", "C:", "C:\\", "\\", "a/", "nowhere", "nowhere/at/all", "a\0b", "\0",
    "x" * 300, "x" * 5_000, "a/" * 3_000, "a b " * 2_000, "\ud800", "caf\udce9", "a\nb", "\x1b[2J", "\u202egnp.exe",
    "CON", "nul.png", "a.", "a ", ".hidden", "猫", "s.jpg", "s.png", "/dev/null", "/dev/null/x", "/proc/self/mem",
]  # fmt: skip
NUMBERS = [
    "0", "-1", "1", "2", "0.5", "nan", "inf", "-inf", "1e400", "-0", "9" * 5_000, "1" + "0" * 30, "2147483648",
    "4294967296", "18446744073709551616", "", " ", "١", "0x10", "1_0", "one", "1,2", "\ud800",
]  # fmt: skip
TEXTS = [
    "",
    " ",
    "a/b",
    "a/b@main",
    "https://huggingface.co/a/b",
    "x" * 100_000,
    "\0",
    "\ud800",
    "\u202e",
    "0-5",
    "5-3",
    "a" * 90 + "/b",
]


def odd(parameter: click.Parameter) -> st.SearchStrategy[list[str]]:
    """Words for one parameter: mostly what nobody means."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return st.just([])
    number = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
    if isinstance(parameter.type, click.Choice):
        values = st.sampled_from([*parameter.type.choices, "", "biggan", "x" * 9_999])
    elif number:
        values = st.sampled_from(NUMBERS)
    elif parameter.type.name == "path":
        values = st.sampled_from(PATHS)
    else:
        values = st.sampled_from([*TEXTS, *NUMBERS]) | st.text(st.characters(codec=None), max_size=20)
    return st.lists(values, min_size=parameter.nargs, max_size=parameter.nargs)


@st.composite
def commands(draw: st.DrawFn, name: str) -> list[str]:
    words = [name]
    for parameter in main.commands[name].params:
        if isinstance(parameter, click.Argument):
            # Half of the time something that opens, so that the options are looked at too.
            sound = st.just([str(DIGITS)]) if parameter.name in ("weights", "file") else odd(parameter)
            words += draw(odd(parameter) | sound)
        elif parameter.required or draw(st.integers(0, 3)) == 0:
            words += [max(parameter.opts, key=len), *draw(odd(parameter))]
    return words


def is_answered(result: object, words: list[str]) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exc_info)
    assert "Traceback" not in result.output
    printed = result.stderr.replace("\r", "\n")  # by which a bar is drawn anew
    assert all(line == cleaned(line) for line in printed.split("\n"))
    if result.exit_code == 2:
        line = printed.splitlines()[-1]
        assert line.startswith("Error: ")
        assert len(line) < 500
        given = [word for word in words if len(word) > 2 * LINE]
        assert not any(word[: LINE + 1] in line for word in given)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write into. No training begins, the Hub cannot be reached, and nobody looks for images on the whole
    disk."""
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    reading = gan_core.data.images.reading

    def read(place: Path, **options: Any) -> Iterator[Any]:
        if place.resolve() == Path("/"):
            raise gan_core.InputError("There are no images.")
        return reading(place, **options)

    save_png = gan_core.media.image.save_png

    def saved(picture: Any, path: Path) -> None:
        if path.resolve().parent == Path("/"):
            raise gan_core.InputError("Nothing is written there.")
        save_png(picture, path)

    def refused(*_: object, **__: object) -> None:
        raise gan_core.InputError("Not here.")

    monkeypatch.setattr("gan_core.cli.datasets.reading", read)
    monkeypatch.setattr("gan_core.media.image.save_png", saved)
    for name in ("cli.train.train", "hub.fetching", "hub.publishing"):
        monkeypatch.setattr(f"gan_core.{name}", refused)
    return folder


@pytest.mark.parametrize("name", sorted(main.commands))
def test_whatever_is_given_is_answered_in_a_sentence(nowhere, name):
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(commands(name))
    def answered(words: list[str]) -> None:
        is_answered(run(*words), words)

    answered()


PLACES = [
    (name, parameter.name)
    for name, command in main.commands.items()
    for parameter in command.params
    if parameter.type.name == "path"
]


@pytest.mark.parametrize(("name", "place"), PLACES, ids=lambda value: value)
def test_every_odd_path_is_answered_wherever_one_is_given(nowhere, name, place):
    sound = {"weights": [str(DIGITS)], "file": [str(DIGITS)], "data": ["."], "repo": ["a/b"], "name": ["a/b"]}
    for path in PATHS:
        words = [name]
        for parameter in main.commands[name].params:
            if parameter.name == place:
                words += [path] if isinstance(parameter, click.Argument) else [max(parameter.opts, key=len), path]
            elif isinstance(parameter, click.Argument):
                words += sound[parameter.name]
            elif parameter.required:
                words += [parameter.opts[0], {"license": "mit"}.get(parameter.name, "new.png")]
        words += ["--seeds", "0"] if name == "sample" else []
        is_answered(run(*words), words)


# What is written has a name that every system keeps.


@pytest.mark.parametrize("name", ["CON", "nul.png", "a.", "a ", "\u202egnp.png", "a:b.png", ".png", "\x1b[2J.png"])
def test_what_some_system_cannot_keep_is_not_written(nowhere, name):
    result = run("sample", DIGITS, "--seeds", "0", "--out", name)
    assert result.exit_code == 2 and "is not a valid name for an output" in result.stderr
    assert list(nowhere.iterdir()) == []


def test_what_is_there_already_may_be_called_what_it_is(nowhere):
    (nowhere / "a.").mkdir()
    assert run("sample", DIGITS, "--seeds", "0", "--out", "a.").exit_code == 0
    assert len(list((nowhere / "a.").iterdir())) == 1


def test_the_folder_that_one_is_in_can_be_written_to(nowhere):
    assert run("sample", DIGITS, "--seeds", "0", "--out", ".").exit_code == 0
    assert [path.name for path in nowhere.iterdir()] == ["seed000000.png"]


# What is printed.

HOSTILE = "a\x1b]0;owned\x07\x9b2J\u202egnp\ud800猫"


@pytest.fixture
def titled(tmp_path: Path, new_generator) -> Path:
    """A generator whose title commands the terminal."""
    made = new_generator({"title": HOSTILE.replace("\ud800", ""), "imported": {"from": HOSTILE.replace("\ud800", "")}})
    return made.save(tmp_path / "titled.safetensors")


def test_what_a_title_commands_does_not_reach_the_terminal(titled, nowhere):
    told = run("info", titled)
    assert all(line == cleaned(line) for line in told.output.split("\n"))
    assert json.loads(told.stdout)["card"]["title"] == gan_core.load(titled).card.title, "and JSON says what it is"
    refusal = run("sample", titled, "--out", nowhere / "a.png", "--label", "1")
    assert refusal.exit_code == 2 and "猫" in refusal.stderr
    assert refusal.stderr.strip() == cleaned(refusal.stderr.strip())


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "cp437", "gbk", "utf-8"])
def test_a_terminal_that_cannot_print_a_name_gets_others_characters(titled, nowhere, charset):
    assert run("sample", DIGITS, "--seeds", "0", "--out", "猫é", charset=charset).exit_code == 0
    assert (nowhere / "猫é" / "seed000000.png").exists()
    told = run("info", titled, charset=charset)
    assert json.loads(told.stdout_bytes.decode(charset))["card"]["title"].endswith("猫")
    refusal = run("info", "猫/é", charset=charset)
    assert (refusal.exit_code, type(refusal.exception)) == (2, SystemExit)


def test_a_whole_program_whose_output_is_redirected_prints_what_it_can(nowhere):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "gan_core", "sample", str(DIGITS), "--seeds", "0", "--out", "猫"]
    done = subprocess.run(command, env=environment, cwd=nowhere, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"1 images in ?", b"")


def test_endless_words_are_not_repeated(nowhere):
    for words in (
        ["x" * 100_000],
        ["train", "x" * 100_000, "--out", "run"],
        ["train", "a b " * 30_000, "--out", "run"],
        ["sample", DIGITS, "--out", "a.png", "--seeds", "1, " * 50_000],
        ["sample", DIGITS, "--out", "a.png", "--class-weights", "0:1 " * 50_000],
        ["sample", DIGITS, "--out", "a.png", "--noise", "loud " * 50_000],
        ["train", ".", "--out", "run", "--size", "9" * 100_000],
        ["train", ".", "--out", "run", "--preset", "big gan " * 9_999],
        ["train", ".", "--out", "run", "--device", "toaster " * 9_999],
        ["fetch", "anna/" + "x" * 100_000],
        ["--" + "x" * 100_000],
    ):
        result = run(*words)
        assert result.exit_code == 2
        assert len(result.stderr) < 480, result.stderr
