"""Pacing of progress texts and previews: frequent enough to follow, rare enough not to slow down the work.

All times are seconds of a monotonic clock, such as time.monotonic.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

TEXT_SECONDS = 1.0

PREVIEW_SECONDS = 2.0
PREVIEW_SHARE = 0.03
MAX_WAIT = 5.0
"""A preview comes every PREVIEW_SECONDS, or less often if it would take more than PREVIEW_SHARE of the time; but at
least every MAX_WAIT seconds, unless it would then take more than half of the time."""


def preview_interval(took: float) -> float:
    """Seconds from the start of a preview to the start of the next. took: seconds that the preview took."""
    return min(max(PREVIEW_SECONDS, took / PREVIEW_SHARE), max(MAX_WAIT, 2 * took))


@dataclass
class Pace:
    """Times of the next text and the next preview. A text never waits for a preview."""

    next_text: float = -math.inf
    next_preview: float = -math.inf

    def text_is_due(self, now: float) -> bool:
        """Whether a text should be shown now, which is also the case before every preview. If so, the next one is due
        TEXT_SECONDS later."""
        if now < self.next_text and not self.preview_is_due(now):
            return False
        self.next_text = now + TEXT_SECONDS
        return True

    def preview_is_due(self, now: float) -> bool:
        return now >= self.next_preview

    def preview_made(self, began: float, now: float) -> None:
        """Records start and end of a preview, which set the time of the next."""
        self.next_preview = began + preview_interval(now - began)


class Every:
    """Calls a function at regular intervals, on a thread of its own, during a with block."""

    def __init__(self, seconds: float, function: Callable[[], None]):
        self.seconds, self.function = seconds, function
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True, name="every so often")

    def __enter__(self) -> Every:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _call(self) -> None:
        while True:
            self.function()
            if self._ended.wait(self.seconds):
                return
