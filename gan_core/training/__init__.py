"""Training: the loop, what it keeps, and the recipes it follows."""

from .loop import Progress, train
from .presets import PRESETS, TrainConfig

__all__ = ["PRESETS", "Progress", "TrainConfig", "train"]
