"""Consent of the user to publishing from workflows. It is given outside of them, where no workflow can give it."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from ..errors import shown

VARIABLE, FILE, WORD = "GAN_STUDIO_ALLOW_PUBLISH", Path("gan_studio", "publish.txt"), "allow"

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""Byte order marks written by editors and shells; echo in PowerShell writes UTF-16."""

_READ_BYTES = 1000
"""Maximum number of bytes of the file that are read."""


def refusal(user_folder: Path) -> str | None:
    """Sentences on how to allow publishing, and on a wrong setting so far; None if it is allowed.

    user_folder: the user folder of ComfyUI, which neither a node nor the web page can write to.
    """
    variable = os.environ.get(VARIABLE, "").strip()
    file, told = _file(user_folder)
    if variable == "1" or file.strip("\"'").casefold() == WORD:
        return None
    if variable:
        told = f'{VARIABLE} is "{shown(variable)}", not 1. {told}'
    elif file:
        told = f'{FILE.as_posix()} says "{shown(file)}", not {WORD}.'
    how = (
        f"To publish from workflows, start ComfyUI with {VARIABLE}=1 in its environment, or write the word {WORD} into "
        f"the file {FILE.as_posix()} in ComfyUI's user folder; then run this again."
    )
    return f"{how} {told}".strip()


def _file(user_folder: Path) -> tuple[str, str]:
    """Content of the file, stripped, and the reason if it cannot be read."""
    try:
        with (user_folder / FILE).open("rb") as file:
            return decoded(file.read(_READ_BYTES)).strip(), ""
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        return "", f"{FILE.as_posix()} cannot be read: {error.strerror or type(error).__name__}."


def decoded(content: bytes) -> str:
    """Decodes a text in the encoding in which an editor or a shell has written it."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    half = content[1:2] == b"\0", content[:1] == b"\0"  # UTF-16 of Latin letters, without a byte order mark
    return content.decode("utf-16-le" if half[0] else "utf-16-be" if half[1] else "utf-8", "replace")
