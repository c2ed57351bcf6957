"""Errors and refusals, where a person reads them: on the node."""

import functools
from collections.abc import Callable
from typing import Any

from ...gan_core import InputError
from ...gan_core.errors import TrainingDiverged
from .texts import say


def says_errors(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a person read on the node itself what it could not do: the page's notice is cut short, and goes away."""

    @functools.wraps(execute)
    def saying(cls: Any, *args: Any, **inputs: Any) -> Any:
        try:
            return execute(cls, *args, **inputs)
        except (InputError, TrainingDiverged) as error:
            say(str(error))
            raise

    return saying


def refusal(reason: str | None) -> bool | str:
    """The answer of validate_inputs, which is shown on the node too: True, or why the value of its input cannot be.

    ComfyUI gives an answer for every input that validate_inputs takes, and checks neither the range nor the options
    of these. So validate_inputs takes one input: the one that only the node itself can judge.
    """
    if reason is None:
        return True
    say(reason)
    return reason
