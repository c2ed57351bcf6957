"""How good a generator's pictures are: features of real and generated images, and figures of the two sets of them."""

from .features import Extractor
from .measure import Measuring, Report, measuring

__all__ = ["Extractor", "Measuring", "Report", "measuring"]
