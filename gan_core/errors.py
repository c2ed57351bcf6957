"""What a person is told when something cannot go on: one sentence that says what was wrong, where, and what to do."""

import re
from collections.abc import Sequence

LINE = 120
"""Characters that are shown at most of a text that somebody else wrote: a name, a path, a title in a file."""

LONGEST_SENTENCE = 480
"""Characters. Ours have up to 350; what is longer repeats what it was given, and is cut in the middle."""

# Line breaks and codes that command a terminal.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Signs that nobody sees, some of which turn around how what follows is read, and halves of characters.
_UNSEEN = re.compile(r"[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
_QUOTE = re.compile('"[^"]*"')
_LONG_WORD = re.compile(rf'[^\s"]{{{LINE + 3},}}')  # a word, and what stands around it


def cleaned(text: str) -> str:
    """A text of a file or a person as it may stand on a screen: line breaks and codes that command a terminal become
    blanks, signs that nobody sees and halves of characters become U+FFFD."""
    return _UNSEEN.sub("\ufffd", _CONTROLS.sub(" ", text))


def shown(text: object) -> str:
    """The same, in a line: of a longer one its beginning and its end."""
    return _cut(cleaned(str(text)), LINE)


def sentence(text: str) -> str:
    """A sentence that names what somebody else wrote: cleaned, and no more than a line of that in it."""
    text = _QUOTE.sub(lambda found: f'"{_cut(found[0][1:-1], LINE)}"', cleaned(text))
    return _cut(_LONG_WORD.sub(lambda found: _cut(found[0], LINE), text), LONGEST_SENTENCE)


def some(names: Sequence[str], most: int = 8) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    listed = ", ".join(_cut(cleaned(name), 60) for name in names[:most])
    return listed + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[1 - limit // 2 :]}"


class InputError(ValueError):
    """Something a person gave cannot be used: a folder, a file, a setting. The message is a sentence for them."""

    def __init__(self, message: str):
        super().__init__(sentence(message))


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a usable number. The run's last good checkpoint is untouched."""

    def __init__(self, message: str):
        super().__init__(sentence(message))


class ProcessLost(RuntimeError):
    """Of several processes that train together, another has ended, so that this one cannot go on."""

    def __init__(self, message: str):
        super().__init__(sentence(message))
