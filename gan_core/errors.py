"""Errors for the user: one sentence each that says what is wrong, where, and what to do."""

import re
from collections.abc import Sequence

LINE = 120
"""Maximum characters shown of a foreign text: a name, a path, a title in a file."""

MAX_SENTENCE = 480
"""Maximum characters of an error. Ours have up to 350; a longer one repeats its input and is cut in the middle."""

# Line breaks and terminal control codes.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Invisible characters, some of which reverse the reading direction, and unpaired surrogates.
_UNSEEN = re.compile(r"[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
_QUOTE = re.compile('"[^"]*"')
_LONG_WORD = re.compile(rf'[^\s"]{{{LINE + 3},}}')  # a word with its punctuation


def cleaned(text: str) -> str:
    """Makes a foreign text safe to print: line breaks and control codes become spaces, invisible characters and
    unpaired surrogates U+FFFD."""
    return _UNSEEN.sub("\ufffd", _CONTROLS.sub(" ", text))


def shown(text: object) -> str:
    """Cleans a text and shortens it to LINE characters, keeping its beginning and its end."""
    return _cut(cleaned(str(text)), LINE)


def sentence(text: str) -> str:
    """Cleans a sentence that quotes foreign texts, and shortens each quotation or long word to LINE characters."""
    text = _QUOTE.sub(lambda found: f'"{_cut(found[0][1:-1], LINE)}"', cleaned(text))
    return _cut(_LONG_WORD.sub(lambda found: _cut(found[0], LINE), text), MAX_SENTENCE)


def some(names: Sequence[str], limit: int = 8) -> str:
    """Lists names for a sentence: the first ones up to a limit, and the number of the others."""
    listed = ", ".join(_cut(cleaned(name), 60) for name in names[:limit])
    return listed + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[1 - limit // 2 :]}"


class InputError(ValueError):
    """An input of the user cannot be used: a folder, a file, a setting. The message is a sentence for the user."""

    def __init__(self, message: str):
        super().__init__(sentence(message))


class OutOfMemory(InputError):
    """The memory of a device does not suffice. The message says what was tried, and what would fit."""


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer finite. The last good checkpoint of the run is untouched."""

    def __init__(self, message: str):
        super().__init__(sentence(message))


class ProcessLost(RuntimeError):
    """Another process of a distributed training has ended, so that this one cannot continue."""

    def __init__(self, message: str):
        super().__init__(sentence(message))
