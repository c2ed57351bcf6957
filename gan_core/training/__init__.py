"""Training: the loop, what it keeps, and the recipes it follows."""

from .config import TrainConfig
from .loop import Progress, Training, train
from .presets import PRESETS

__all__ = ["PRESETS", "Progress", "TrainConfig", "Training", "train"]
