"""What a training is of: how stored examples become a network's targets, and how generated ones are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Medium:
    """A kind of data, such as images. A training knows nothing else of it."""

    name: str
    """What one example is called: "image"."""
    normalise: Callable[[Tensor], Tensor]
    """Stored examples, on the device -> a network's targets, float32."""
    sheet: Callable[[Tensor, int | None], Image.Image]
    """Generated examples, and how many stand in a row (None: about as many as rows) -> an image that shows them."""
    save_sheet: Callable[[Tensor, int | None, Path], None]
    """The same, and a path without ending -> a file that shows them to a person. Raises InputError where it cannot be
    written."""
