"""Names that people and files give: which of them can be kept, and how they stand in a sentence."""

import ntpath
import os
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_core import InputError, TrainingDiverged
from gan_core.errors import LINE, MAX_SENTENCE, ProcessLost, cleaned, shown
from gan_core.names import bad_name, called, place

# Text with much of what does harm on a screen.
HOSTILE = st.text(st.one_of(st.characters(codec=None), st.sampled_from("\x1b\x07\r\n\x9b\x7f\u202e\u2066\ud800\udfff")))


# In a sentence.


@pytest.mark.parametrize("error", [InputError, TrainingDiverged, ProcessLost])
@pytest.mark.parametrize(
    "name",
    ["\x1b]0;owned\x07", "\x9b2J", "a\nb\r\u2028c", "\u202egnp.exe", "\u2067x\u2069", "\ud83d", "\x00", "a\u200bb"],
)
def test_no_sentence_commands_a_terminal_or_turns_its_text_around(error, name):
    message = str(error(f"There is no folder {name} here."))
    assert message.isprintable()
    assert message.startswith("There is no folder ") and message.endswith(" here.")
    message.encode()


def test_what_stands_between_two_names_is_said_whole():
    text = f'"a" {"is not what was asked for " * 6}"b".'
    assert str(InputError(text)) == text


@pytest.mark.parametrize("name", ["A" * 100_000, "a folder, " * 10_000, '"' * 9_999, "\x00" * 5_000, "👩‍🚀" * 5_000])
@pytest.mark.parametrize("text", ['There is no folder "{}" here.', "There is no folder {} here.", "{}"])
def test_a_sentence_repeats_no_endless_name(name, text):
    message = str(InputError(text.format(name)))
    assert len(message) <= MAX_SENTENCE
    message = str(InputError(text.format(shown(name))))
    assert len(message) <= len(text) + LINE
    if text != "{}":
        assert message.startswith("There is no folder ") and message.endswith(" here.")


def test_of_a_long_name_both_ends_are_told():
    name = "/somewhere/" + "deep/" * 100 + "faces.pkl"
    message = str(InputError(f"There is no file {name}: look there."))
    assert message.startswith("There is no file /somewhere/deep/") and message.endswith("deep/faces.pkl: look there.")


@pytest.mark.parametrize("name", ["猫", "Ñandú", "👩‍🚀", "می‌خواهم", "a  b", 'say "hi"', "x" * LINE])
def test_what_people_write_is_shown_as_it_is(name):
    assert cleaned(name) == shown(name) == name
    assert str(InputError(f'There is no folder "{name}".')) == f'There is no folder "{name}".'


@given(HOSTILE)
def test_whatever_is_shown_is_one_short_line_that_utf8_can_hold(text):
    line = shown(text)
    assert len(line) <= LINE and len(line.splitlines()) <= 1
    assert cleaned(line) == line
    line.encode()


# Of a run or a file.

DEVICES = [
    "CON",
    "con",
    "Con.txt",
    "con .x",
    "NUL",
    "nul.tar.gz",
    "PRN",
    "AUX",
    "COM1",
    "com9.png",
    "LPT0",
    "COM¹",
    "CONIN$",
]
ENDS = ["", " ", "  .", ".", "..", "a.", "a..", "a ", " a", "a\t", "a\u3000", "CON ", ".hidden"]
SIGNS = [f"a{sign}b" for sign in '/\\:*?<>|"\0\n\x1b\x9b\x7f\u2028\u202e\u2066\u200e\u200b\ufeff\ud800\udc80'] + ["C:"]
LONG = ["x" * 201, "é" * 101, "猫" * 67, "x" * 100_000]


@pytest.mark.parametrize("name", [*DEVICES, *ENDS, *SIGNS, *LONG], ids=lambda name: ascii(name[:20]))
def test_what_some_system_cannot_keep_or_nobody_can_read_is_no_name(name):
    assert bad_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "photos_2",
        "猫",
        "Ñandú",
        "a.b",
        "a b",
        "CONSOLE",
        "COM",
        "COM10",
        "nully",
        "console.txt",
        "x.con",
        "👩‍🚀",
        "x" * 200,
    ],
)
def test_a_name_that_every_system_keeps_is_one(name, tmp_path):
    assert bad_name(name) is None
    (tmp_path / name).mkdir()


@given(st.one_of(HOSTILE, st.from_regex(r"(?i)\A(con|prn|aux|nul|com.|lpt.)[ .]{0,2}[a-z]{0,2}\Z")))
def test_no_name_is_one_that_windows_keeps_for_itself(name):
    reserved = getattr(ntpath, "isreserved", None) or (lambda name: PureWindowsPath(name).is_reserved())  # since 3.13
    assert bad_name(name) or not reserved(name)


# Paths.


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "x" * 5_000, "a/" * 5_000, "\ud800", "a/\udfff/b"], ids=lambda text: ascii(text[:10])
)
def test_what_is_no_path_is_a_sentence(text):
    with pytest.raises(InputError) as refusal:
        place(text)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("text", [".", "..", "/", "C:", "~", "-", "CON", "nowhere/at/all", os.devnull, "a\nb", "猫"])
def test_what_may_be_a_path_is_one_whether_or_not_it_is_there(text):
    assert place(text) == Path(text)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_path_that_is_not_utf8_can_be_one(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    path.mkdir()
    assert place(path) == path
    assert called(path) == "caf\ufffd"


def test_a_folder_is_called_by_its_name_however_it_is_reached(tmp_path, monkeypatch):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "a")
    assert called(Path("b/c")) == "c"
    assert called(Path(".")) == "a"
    assert called(Path("..")) == "photos"
    assert called(Path("/")) == str(Path("/"))
