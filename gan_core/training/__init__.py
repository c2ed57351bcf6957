"""Training: the loop, what it keeps, and the recipes it follows."""

from .loop import Progress, train
from .recipes import PRESETS, Recipe, TrainConfig

__all__ = ["PRESETS", "Progress", "Recipe", "TrainConfig", "train"]
