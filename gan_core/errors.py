"""What a person is told when something cannot go on: one sentence that says what was wrong, where, and what to do."""

import re


class InputError(ValueError):
    """Something a person gave cannot be used: a folder, a file, a setting. The message is a sentence for them."""

    def __init__(self, message: str):
        # Names from a file may hold anything: line breaks, codes that command a terminal, halves of characters.
        super().__init__(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", message))


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a usable number. The run's last good checkpoint is untouched."""


class ProcessLost(RuntimeError):
    """Of several processes that train together, another has ended, so that this one cannot go on."""
