"""Inputs that may be left unset.

A number widget is never empty, and no number should mean "all" or "the preset's". Such an input is therefore a text: a
word stands for unset, and a number replaces it and is shown as written. A link or the API may pass the number itself.

A DynamicCombo is not used: ComfyUI silently drops one with an unknown choice, and its number with it.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..gan_core import Generator, InputError
from ..gan_core.errors import shown
from ..gan_core.sampling.labels import find_class, parse_class_weights


@dataclass(frozen=True)
class _Optional:
    """Optional input, whose value is None if it is unset."""

    name: str
    unset: str
    """Word for unset. An empty text means the same."""

    LINKS: ClassVar[tuple[type, ...]] = (io.Int,)
    """Types that may be connected to it, besides a text."""

    def input(
        self, tooltip: str, advanced: bool = False, default: str | None = None, optional: bool = True
    ) -> io.Input:
        """Input for a schema.

        default: initial text, if it is not the word for unset. optional: whether a prompt may leave it out; the web
        page shows required inputs first.
        """
        text = io.String.Input(self.name, default=self.unset if default is None else default)
        return io.MultiType.Input(text, list(self.LINKS), optional=optional, tooltip=tooltip, advanced=advanced or None)

    def text(self, value: Any) -> str | None:
        """Text of a value; None if it is unset."""
        text = "" if value is None else str(value).strip()
        return None if text.casefold() in ("", self.unset.casefold()) else text


@dataclass(frozen=True)
class _OptionalNumber(_Optional):
    def read(self, value: Any) -> Any:
        """Parses a value; None if it is unset. Raises InputError for an invalid one."""
        raise NotImplementedError

    def reason(self, value: Any) -> str | None:
        """Reason why a value is invalid, for validate_inputs; None for a valid one, or one from a link."""
        try:
            self.read(value)
        except InputError as error:
            return str(error)
        return None

    def error(self, wanted: str, text: str) -> InputError:
        return InputError(f'{self.name} must be {self.unset} or {wanted} (got "{shown(text)}").')


@dataclass(frozen=True)
class OptionalInt(_OptionalNumber):
    """Whole number from min to max, or unset."""

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
    """Number from min to max, or unset."""

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
    """Range of layers of a style-based generator, inclusive, such as "2-5", "4-last" or "3"; or unset."""

    def read(self, value: Any) -> tuple[int | None, int | None]:
        """First and last layer; the last is None for "last", and both are None if it is unset."""
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
    """Class by name or number, or unset. Only an empty text means unset, because a class may have any name."""

    unset: str = ""

    def read(self, generator: Generator, value: Any) -> int | None:
        """Number of the class; None if it is unset. Raises InputError if there is no such class."""
        text = self.text(value)
        return None if text is None else find_class(generator, text)

    def read_mixture(self, generator: Generator, value: Any) -> int | Tensor | None:
        """Number of the class, or weights [classes] of a mixture such as "cat:0.7, dog:0.3"; None if it is unset."""
        text = self.text(value)
        if text is None or not (generator.classes and re.search("[:,]", text)) or text in generator.class_names:
            return self.read(generator, value)
        return parse_class_weights(generator, text)


LABEL = OptionalLabel("label")
