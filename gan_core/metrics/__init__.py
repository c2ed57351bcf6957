"""Metrics of generators: features of real and generated images, and statistics that compare the two sets."""

from .features import Extractor
from .measure import Measuring, Report, measuring

__all__ = ["Extractor", "Measuring", "Report", "measuring"]
