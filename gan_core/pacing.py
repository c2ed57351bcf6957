"""When a person is shown something new while a program works: often enough to trust it, and seldom enough to let it.

All times are seconds of one clock that never goes back, such as time.monotonic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TEXT_SECONDS = 1.0

PREVIEW_SECONDS = 2.0
PREVIEW_SHARE = 0.03
LONGEST_WAIT = 5.0
"""Pictures come every PREVIEW_SECONDS, or rarer where they would take a greater share of the time than PREVIEW_SHARE;
but never after more than LONGEST_WAIT, unless they would then take more than half of it."""


def preview_interval(took: float) -> float:
    """Seconds from the beginning of one preview to that of the next, where making the one took so long."""
    return min(max(PREVIEW_SECONDS, took / PREVIEW_SHARE), max(LONGEST_WAIT, 2 * took))


@dataclass
class Pace:
    """What is due. Texts never wait for pictures."""

    next_text: float = -math.inf
    next_preview: float = -math.inf

    def text_is_due(self, now: float) -> bool:
        """Whether a text should be shown, as one is before a picture is drawn too; the next is then due TEXT_SECONDS
        later."""
        if now < self.next_text and not self.preview_is_due(now):
            return False
        self.next_text = now + TEXT_SECONDS
        return True

    def preview_is_due(self, now: float) -> bool:
        return now >= self.next_preview

    def preview_made(self, began: float, now: float) -> None:
        """Notes what a preview cost, from when to when."""
        self.next_preview = began + preview_interval(now - began)
