"""Inputs that may be left unset.

A widget of numbers is never empty, and no number is to stand for "all" or "the preset's". So such an input is a text: a
word says what holds while nothing is set, and a number is written in its place, and shown as it was written. A link or
the API may bring the number itself.

Not a DynamicCombo: ComfyUI drops one whose choice it does not know, and the number with it, without a word.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..gan_core import Generator, InputError
from ..gan_core.errors import shown
from ..gan_core.latents import find_class
from ..gan_core.sampling.seeds import parse_class_weights


@dataclass(frozen=True)
class _Optional:
    """An optional input. Its node reads what it means: None where it is unset."""

    name: str
    unset: str
    """The word that it holds while it is unset. An empty text means the same."""

    LINKS: ClassVar[tuple[type, ...]] = (io.Int,)
    """Types that may be connected to it, besides a text."""

    def input(
        self, tooltip: str, advanced: bool = False, default: str | None = None, optional: bool = True
    ) -> io.Input:
        """The input for a schema.

        default: what it holds at first, where that is not the word for unset. optional: whether a prompt may leave it
        out; the page shows inputs that it may not leave out first.
        """
        text = io.String.Input(self.name, default=self.unset if default is None else default)
        return io.MultiType.Input(text, list(self.LINKS), optional=optional, tooltip=tooltip, advanced=advanced or None)

    def text(self, value: Any) -> str | None:
        """The text of a value; None where it is unset."""
        text = "" if value is None else str(value).strip()
        return None if text.casefold() in ("", self.unset.casefold()) else text


@dataclass(frozen=True)
class _OptionalNumber(_Optional):
    def read(self, value: Any) -> Any:
        """The meaning of a value; None where it is unset. Raises InputError for one that has none."""
        raise NotImplementedError

    def reason(self, value: Any) -> str | None:
        """Why a value cannot be queued, for validate_inputs; None where it can, or comes from a link."""
        try:
            self.read(value)
        except InputError as error:
            return str(error)
        return None

    def error(self, wanted: str, text: str) -> InputError:
        return InputError(f'{self.name} must be {self.unset} or {wanted} (got "{shown(text)}").')


@dataclass(frozen=True)
class OptionalInt(_OptionalNumber):
    """A whole number from min to max, or nothing."""

    min: int
    max: int

    def read(self, value: Any) -> int | None:
        text = self.text(value)
        if text is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not self.min <= int(text) <= self.max:
            raise self.error(f"a whole number from {self.min} to {self.max}", text)
        return int(text)


@dataclass(frozen=True)
class OptionalFloat(_OptionalNumber):
    """A number from min to max, or nothing."""

    LINKS: ClassVar[tuple[type, ...]] = (io.Float, io.Int)

    min: float
    max: float

    def read(self, value: Any) -> float | None:
        text = self.text(value)
        if text is None:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not self.min <= number <= self.max:
            raise self.error(f"a number from {self.min:g} to {self.max:g}", text)
        return number


@dataclass(frozen=True)
class OptionalLayers(_OptionalNumber):
    """A range of a style-based generator's layers, the last one too, such as "2-5", "4-last" or "3"; or nothing."""

    def read(self, value: Any) -> tuple[int | None, int | None]:
        """The first and the last layer; None for a last one that is the very last, and for both where it is unset."""
        text = self.text(value)
        if text is None:
            return None, None
        found = re.fullmatch(r"([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}|last))?", text.casefold())
        if not found or (found[2] and found[2] != "last" and int(found[2]) < int(found[1])):
            raise self.error("a range of layers, such as 2-5, 4-last or 3", text)
        first, last = found[1], found[2] or found[1]
        return int(first), None if last == "last" else int(last)


@dataclass(frozen=True)
class OptionalLabel(_Optional):
    """A class by its name or its number, or nothing. An empty text is its only word, as a class may have any name."""

    unset: str = ""

    def read(self, generator: Generator, value: Any) -> int | None:
        """The number of the class; None where it is unset. Raises InputError where there is no such class."""
        text = self.text(value)
        return None if text is None else find_class(generator, text)

    def read_mixture(self, generator: Generator, value: Any) -> int | Tensor | None:
        """The same, or the weights [classes] of a mixture of classes, such as "cat:0.7, dog:0.3"."""
        text = self.text(value)
        if text is None or not (generator.classes and re.search("[:,]", text)) or text in generator.class_names:
            return self.read(generator, value)
        return parse_class_weights(generator, text)


LABEL = OptionalLabel("label")
