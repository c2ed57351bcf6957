"""What a person is told when something cannot go on: one sentence that says what was wrong, where, and what to do."""


class InputError(ValueError):
    """Something a person gave cannot be used: a folder, a file, a setting. The message is a sentence for them."""


class TrainingDiverged(RuntimeError):
    """A loss or a weight is no longer a usable number. The run's last good checkpoint is untouched."""
