"""Files that are in a data set's folder or archive and are not training images."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from ...errors import some
from ...media import image_formats

RUN_FILES = frozenset(["checkpoint.safetensors", "generator.safetensors", "history.csv", "loss.png"])
"""Files of a training run. A folder with two of them is a run, whose sample sheets are not training images."""


SHEET = re.compile(r"\d{6,}\.\dkimg\.png")
"""Name of a sample sheet of a run, wherever it was copied to."""


SYSTEM_FOLDERS = frozenset(
    ["__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"]
)
"""Folders that systems and programs create by themselves, in lower case."""


ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".gz", ".xz", ".parquet")
"""Extensions of data sets in formats that are not read."""


def is_run(names: Collection[str]) -> bool:
    """Whether a folder with files of these names is that of a training run."""
    return len(RUN_FILES.intersection(names)) > 1


def counted(passed_over: Mapping[str, int]) -> str:
    """Numbers of files by extension, for a sentence: the most frequent first."""
    ranked = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    return some([f"{count:,} {ending}" for ending, count in ranked])


def hints(passed_over: Mapping[str, int]) -> list[str]:
    """Sentences on how to make ignored images readable."""
    here = image_formats.readable()
    missing = {image_formats.FORMATS[ending] for ending in passed_over if ending in image_formats.FORMATS} - {
        image_formats.FORMATS[ending] for ending in here
    }
    found = []
    if "HEIF" in missing:
        found.append("To read HEIC files, install pillow-heif: pip install pillow-heif.")
    if "AVIF" in missing:
        found.append("To read AVIF files, update Pillow to 11.3 or newer: pip install --upgrade Pillow.")
    archives = [ending for ending in passed_over if ending == ".zip" or ending in ARCHIVES]
    if archives:
        found.append(f"Archives in a folder are not opened: unpack the {' and '.join(sorted(archives))}.")
    return found
