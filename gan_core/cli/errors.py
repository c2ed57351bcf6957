"""Errors of commands in one line, with an exit code: 2 for an invalid input, 1 for a failed run."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ..errors import LINE, InputError, ProcessLost, TrainingDiverged, sentence, shown
from ..training.distributed import asked_to_stop
from .printing import say


class OneLineErrors(click.Group):
    """Group of commands that prints each error, also of options, in one line."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        _replace_what_cannot_be_printed()
        given = list(args)  # click removes what it has parsed
        with _in_one_line(given):
            context = super().make_context(info_name, args, *more, **extra)
            context.meta[GIVEN] = given
            return context

    def invoke(self, context: click.Context) -> Any:
        with _in_one_line(context.meta[GIVEN]), asked_to_stop(_interrupt):
            return super().invoke(context)


GIVEN = "gan_core.given"
"""Key of the words of the command in a context."""


@contextmanager
def _in_one_line(given: Sequence[str]) -> Iterator[None]:
    """Turns errors inside the block into one line and an exit code. given: words of the command, shortened in it."""

    def ends(code: int, message: str) -> click.exceptions.Exit:
        for word in given:
            for repeated in (word, repr(word)[1:-1]):  # click quotes words as Python does
                if len(repeated) > LINE:
                    message = message.replace(repeated, shown(word))
        say(sentence(message), err=True)
        return click.exceptions.Exit(code)

    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
            raise
        command = error.ctx.command_path if error.ctx else "python -m gan_core"
        raise ends(2, f"Error: {error.format_message()} ({command} --help explains.)") from None
    except InputError as error:
        raise ends(2, f"Error: {error}") from None
    except (TrainingDiverged, ProcessLost) as error:
        raise ends(1, f"Stopped: {error}") from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of the output has ended, such as head
            raise
        where = "" if error.filename is None else f"{shown(error.filename)}: "
        raise ends(2, f"Error: {where}{error.strerror or error}.") from None
    except MemoryError:
        raise ends(2, "Error: Not enough memory: ask for less at a time.") from None


def _interrupt(*_: object) -> None:
    """Ends the program as Ctrl-C does, so that unfinished work is cleaned up."""
    raise KeyboardInterrupt


def _replace_what_cannot_be_printed() -> None:
    """Makes the output replace characters that it cannot encode, instead of failing, as on Windows when redirected."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
