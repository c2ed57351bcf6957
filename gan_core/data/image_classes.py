"""Class labels of a data set, from StyleGAN's dataset.json or from sub-folders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..errors import InputError, cleaned, some
from .listing import INDEX, Listing

PART = re.compile(
    r"(train|training|test|testing|val|valid|validation|dev|eval|evaluation|holdout|held-?out)"
    r"([-_ ]?(set|data|images?|split))?([-_ ]?(19|20)\d\d)?",
    re.IGNORECASE,
)
"""Name of a folder that is a split of a data set, not a class."""

SHARD = re.compile(r"(shard|chunk|batch|part|split)s?[-_ ]?\d+([-_ ]?of[-_ ]?\d+)?", re.IGNORECASE)
"""Name of a folder that is a shard of a data set, not a class."""


@dataclass(frozen=True)
class Classes:
    """Classes of the images of a data set."""

    of_files: Mapping[str, str]
    """Class of each image, without the images that have none."""
    origin: str
    """Source of the classes, to follow "classes,"."""
    remarks: tuple[str, ...] = ()
    """Sentences on what the user should check."""

    def report(self, counts: Mapping[str, int]) -> list[str]:
        """Sentences on the classes that were found.

        counts: number of readable images of each class, in the order of the classes.
        """
        found = {name: count for name, count in counts.items() if count}
        listed = some([f"{name} ({count:,})" for name, count in found.items()], 20)
        said = [f"{len(found):,} {'class' if len(found) == 1 else 'classes'}, {self.origin}: {listed}."]
        if len(found) == 1:
            said.append("With a single class labels have no effect: turn them off, or add folders of other classes.")
        lost = [name for name, count in counts.items() if not count]
        if lost:
            said.append(f"None of the images in {some(lost)} can be read, so that they are not classes.")
        return said


def classes_of(listing: Listing) -> Classes:
    """Finds the classes of a data set. Raises InputError if it has none, or if they are ambiguous."""
    index = listing.index()
    if index is None:
        return _by_folders(listing)
    if index["labels"] is not None:
        return _by_index(listing, index)
    if _are_shards(_split(listing.files, index["folder"])):
        raise InputError(
            f"{listing.name} has no labels: its {INDEX} has none, and its folders are shards, not classes. Turn labels "
            "off."
        )
    return _by_folders(listing)


def in_natural_order(names: Collection[str]) -> list[str]:
    """Sorts names naturally: 2 before 10."""

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.split(r"([0-9]+)", name)  # texts, and numbers between them
        numbers = [part.lstrip("0") for part in parts[1::2]]
        texts = [(1, 0, part) for part in parts[::2]]
        mixed = [texts[0]]
        # Numbers are compared by length first, because int() rejects thousands of digits.
        for number, text in zip(numbers, texts[1:], strict=True):
            mixed += [(0, len(number), number), text]
        return [one for one in mixed if one != (1, 0, "")], name

    return sorted(names, key=key)


def _by_index(listing: Listing, index: Mapping[str, Any]) -> Classes:
    labels, folder = index["labels"], index["folder"]
    found: dict[str, str] = {}
    try:
        for file, label in labels:
            if type(label) is not int or label < 0:
                raise InputError(
                    f"The labels in {folder}{INDEX} must be whole numbers from 0 ({str(file)[:80]} has "
                    f"{str(label)[:40]}): correct them, or turn labels off."
                )
            found[folder + str(file).replace("\\", "/")] = str(label)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'"labels" in {folder}{INDEX} is not a list of files and numbers: turn labels off.') from None
    of_files = {file: found[file] for file in listing.files if file in found}
    if not of_files:
        raise InputError(
            f"{folder}{INDEX} has no label for any image in {listing.name}: it belongs to other files. Turn labels off."
        )
    remarks = []
    if len(of_files) < len(listing.files):
        lost = [file for file in listing.files if file not in found]
        remarks.append(f"{len(lost):,} images have no label in {INDEX} and were left out, such as {lost[0]}.")
    if len(of_files) < len(found):
        remarks.append(f"{len(found) - len(of_files):,} files with a label in {INDEX} are missing.")
    return Classes(of_files, f"by {folder}{INDEX}", tuple(remarks))


def _by_folders(listing: Listing) -> Classes:
    through = ""  # the folder whose sub-folders are the classes
    remarks = []
    while True:
        tops = _split(listing.files, through)
        loose = tops.pop("", None)
        if loose:
            raise InputError(
                f"Labels come from sub-folders, but {len(loose)} images are in "
                f"{PurePosixPath(through).name or listing.name} itself ({loose[0]}): move them, or turn labels off."
            )
        (only, files), *others = tops.items()
        if others or not {*_split(files, f"{through}{only}/")} - {""}:
            break
        through += f"{only}/"
        remarks.append(f"{only} contains all other folders and is not a class.")
    if _are_shards(tops):
        raise InputError(
            f"The folders {some(list(tops), 4)} in {listing.name} look like shards, not classes: add the {INDEX} that "
            "belongs to them, or turn labels off. If they are classes, rename them."
        )
    parts = [name for name in tops if PART.fullmatch(name)]
    names = list(tops)
    level, where = through.count("/"), through.rstrip("/")
    if len(parts) == len(tops):
        flat = [name for name in tops if "" in _split(tops[name], f"{through}{name}/")]
        if flat:
            whole = next((name for name in parts if name not in flat), None)
            advice = f"choose only {through}{whole}" if whole else "sort them into a folder for each class"
            raise InputError(
                f"{some(parts, 4)} in {listing.name} {_are(parts)} of a data set, and images in {some(flat, 4)} are "
                f"not in a folder of a class: {advice}, or turn labels off."
            )
        remarks.append(f"{some(parts, 4)} {_are(parts)} of a data set: the classes are the folders inside.")
        level, where = level + 1, some(parts, 4)
    elif len(parts) > 1:
        rest = [name for name in names if name not in parts]
        raise InputError(
            f"{some(parts, 4)} in {listing.name}, beside {some(rest, 4)}, look like splits of a data set, not like "
            "classes: move one or the other away, or turn labels off. If they are classes, rename them."
        )
    else:
        remarks += _on_folders_within(tops, through)
    of_files = {file: file.split("/")[level] for file in listing.files}
    clean = _clean({*of_files.values()})
    without_images = _without_images(listing, through, level, {*of_files.values()})
    if without_images:
        remarks.append(f"Folders without images are not classes: {some(without_images)}.")
    return Classes(
        {file: clean[name] for file, name in of_files.items()},
        "by the folders" + (f" in {where}" if where else ""),
        tuple(remarks),
    )


def _are(parts: Sequence[str]) -> str:
    return "is a split" if len(parts) == 1 else "are splits"


def _split(files: Sequence[str], folder: str) -> dict[str, list[str]]:
    """Groups files in a folder by its sub-folders; files in the folder itself are under ""."""
    found: dict[str, list[str]] = {}
    for file in files:
        name, slash, _ = file.removeprefix(folder).partition("/")
        found.setdefault(name if slash else "", []).append(file)
    return found


def _on_folders_within(tops: Mapping[str, Sequence[str]], through: str) -> list[str]:
    """A remark if the folders one level deeper may be the classes."""
    within = {name: {*_split(files, f"{through}{name}/")} for name, files in tops.items()}
    deep = [name for name, inner in within.items() if inner - {""}]
    if not deep:
        return []
    shared = set.intersection(*within.values())
    if len(shared) > 1 and "" not in set.union(*within.values()):
        return [
            f"All of them have the folders {some(in_natural_order(shared), 4)}: if those are the classes, choose a "
            "folder that has them at its top."
        ]
    return [f"Folders inside {some(deep, 4)} are not separate classes."]


def _are_shards(tops: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders are shards with a limited number of files each, not classes."""
    names = sorted(name for name in tops if name)
    if not names:
        return False
    if all(SHARD.fullmatch(name) for name in names):
        return True
    # Shards have numbers with leading zeros, and file numbers that continue from one folder to the next.
    if not all(re.fullmatch(r"[0-9]{3,}", name) for name in names) or int(names[0][:20]) > 1:
        return False
    last = -1
    for name in names:
        found = [re.fullmatch(r"\D*([0-9]{1,18})\.\w+", PurePosixPath(file).name) for file in tops[name]]
        if not all(found):
            return False
        numbers = [int(match[1]) for match in found if match]
        if min(numbers) <= last:
            return False
        last = max(numbers)
    return len(names) > 1 or names[0].startswith("00000")


def _without_images(listing: Listing, through: str, level: int, classes: Collection[str]) -> list[str]:
    """Folders at the level of the classes that have no images."""
    found = {
        folder.split("/")[level]
        for folder in listing.folders
        if folder.startswith(through) and folder.count("/") >= level and folder
    }
    return in_natural_order(found - {*classes})


def _clean(names: Collection[str]) -> dict[str, str]:
    """Class names from folder names: normalised, without invisible characters."""
    composed = {name: unicodedata.normalize("NFC", name) for name in names}
    folders: dict[str, str] = {}
    for name in composed.values():
        if folders.setdefault(cleaned(name), name) != name:
            raise InputError(f'Two folders would give the same class name "{cleaned(name)}": rename one of them.')
    return {name: cleaned(text) for name, text in composed.items()}
