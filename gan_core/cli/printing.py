"""Output of commands: lines and JSON, without control codes from foreign texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ..errors import cleaned


def say(text: str, err: bool = False) -> None:
    """Prints lines, without control codes from names or titles."""
    click.echo("\n".join(map(cleaned, text.split("\n"))), err=err)


def say_json(facts: object) -> None:
    """Prints a value as JSON, with escapes for characters that cannot or should not be printed."""
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(facts, indent=2)
    click.echo("".join(sign if sign == "\n" or cleaned(sign) == sign else f"\\u{ord(sign):04x}" for sign in text))


def say_where(folder: Path, *names: str) -> None:
    """Prints the paths of files in a folder, without those that could not be written."""
    for name in filter(lambda name: (folder / name).exists(), names):
        say(f"{name:24} {folder / name}")
