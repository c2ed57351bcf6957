"""Errors shown on the node itself."""

import functools
from collections.abc import Callable
from typing import Any

from ...gan_core import InputError
from ...gan_core.errors import OutOfMemory, TrainingDiverged
from . import device
from .texts import say


def says_errors(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that shows errors on the node itself: the notice of the web page is cut short and disappears."""

    @functools.wraps(execute)
    def saying(cls: Any, *args: Any, **inputs: Any) -> Any:
        try:
            return execute(cls, *args, **inputs)
        except (InputError, TrainingDiverged) as error:
            say(str(error))
            if isinstance(error, OutOfMemory):
                device.free_all()  # for the next attempt
            raise

    return saying


def refusal(reason: str | None) -> bool | str:
    """Result of validate_inputs, shown on the node too: True, or the reason why the value of its input is invalid.

    ComfyUI reports the result for every input that validate_inputs takes, and checks neither range nor options of
    these. validate_inputs therefore takes only the input that the node itself must check.
    """
    if reason is None:
        return True
    say(reason)
    return reason
