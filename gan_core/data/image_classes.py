"""Which class each image of a data set is of: by StyleGAN's dataset.json, or by the folders that the images lie in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..errors import InputError, cleaned, some
from .image_listing import INDEX, Listing

PART = re.compile(
    r"(train|training|test|testing|val|valid|validation|dev|eval|evaluation|holdout|held-?out)"
    r"([-_ ]?(set|data|images?|split))?([-_ ]?(19|20)\d\d)?",
    re.IGNORECASE,
)
"""Name of a folder that is one part of a data set, and no class."""

SHARD = re.compile(r"(shard|chunk|batch|part|split)s?[-_ ]?\d+([-_ ]?of[-_ ]?\d+)?", re.IGNORECASE)
"""Name of a folder that holds images only because they were too many for one."""


@dataclass(frozen=True)
class Classes:
    """What the images of a data set show."""

    of_files: Mapping[str, str]
    """The class of each image; one that has none is not among them."""
    origin: str
    """Where that was read, to follow "classes,"."""
    remarks: tuple[str, ...] = ()
    """What a person should look at, a sentence each."""

    def report(self, counts: Mapping[str, int]) -> list[str]:
        """Sentences on what was taken for a class.

        counts: images of each class that could be read, in the order of the classes.
        """
        found = {name: count for name, count in counts.items() if count}
        listed = some([f"{name} ({count:,})" for name, count in found.items()], 20)
        said = [f"{len(found):,} {'class' if len(found) == 1 else 'classes'}, {self.origin}: {listed}."]
        if len(found) == 1:
            said.append("With one class alone labels change nothing: turn them off, or add folders of other classes.")
        lost = [name for name, count in counts.items() if not count]
        if lost:
            said.append(f"None of the images in {some(lost)} can be read: not among the classes.")
        return said


def classes_of(listing: Listing) -> Classes:
    """The classes of a data set. Raises InputError where it does not say, or where what it says is not sure."""
    index = listing.index()
    if index is None:
        return _by_folders(listing)
    if index["labels"] is not None:
        return _by_index(listing, index)
    if _are_shards(_split(listing.files, index["folder"])):
        raise InputError(
            f"{listing.name} has no labels: its {INDEX} says so, and its folders only keep the number of files in "
            "each small. Turn labels off."
        )
    return _by_folders(listing)


def in_natural_order(names: Collection[str]) -> list[str]:
    """Names as people order them: 2 before 10."""

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.split(r"([0-9]+)", name)  # texts, and numbers between them
        numbers = [part.lstrip("0") for part in parts[1::2]]
        texts = [(1, 0, part) for part in parts[::2]]
        mixed = [texts[0]]
        # By the length of a number first, as int() refuses thousands of digits.
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
                    f"The labels in {folder}{INDEX} are whole numbers from 0, one for each image; "
                    f"{str(file)[:80]} has {str(label)[:40]}. Turn labels off to learn without them."
                )
            found[folder + str(file).replace("\\", "/")] = str(label)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'"labels" in {folder}{INDEX} is no list of files and numbers: turn labels off.') from None
    of_files = {file: found[file] for file in listing.files if file in found}
    if not of_files:
        raise InputError(f"{folder}{INDEX} labels none of the images in {listing.name}: it belongs to other files.")
    remarks = []
    if len(of_files) < len(listing.files):
        lost = [file for file in listing.files if file not in found]
        remarks.append(f"{len(lost):,} images have no label in {INDEX} and were left out, such as {lost[0]}.")
    if len(of_files) < len(found):
        remarks.append(f"{len(found) - len(of_files):,} files that {INDEX} labels are not there.")
    return Classes(of_files, f"by {folder}{INDEX}", tuple(remarks))


def _by_folders(listing: Listing) -> Classes:
    through = ""  # where the folders are that are classes
    remarks = []
    while True:
        tops = _split(listing.files, through)
        loose = tops.pop("", None)
        if loose:
            raise InputError(
                f"With labels from sub-folders every image lies in one, but {len(loose)} lie in "
                f"{PurePosixPath(through).name or listing.name} itself ({loose[0]}): move them, or turn labels off."
            )
        (only, files), *others = tops.items()
        if others or not {*_split(files, f"{through}{only}/")} - {""}:
            break
        through += f"{only}/"
        remarks.append(f"{only} holds all the other folders, and so is no class.")
    if _are_shards(tops):
        raise InputError(
            f"The folders {some(list(tops), 4)} in {listing.name} look as if they only kept the number of files in "
            f"each small, and not like classes: add the {INDEX} that belongs to them, or turn labels off. If they are "
            "classes, give them names."
        )
    parts = [name for name in tops if PART.fullmatch(name)]
    names = list(tops)
    level, where = through.count("/"), through.rstrip("/")
    if len(parts) == len(tops):
        flat = [name for name in tops if "" in _split(tops[name], f"{through}{name}/")]
        if flat:
            whole = next((name for name in parts if name not in flat), None)
            advice = f"give {through}{whole} alone" if whole else "sort them into a folder for each class"
            raise InputError(
                f"{some(parts, 4)} in {listing.name} {_are(parts)} of a data set and no class, and images in "
                f"{some(flat, 4)} lie in no folder of a class: {advice}, or turn labels off."
            )
        remarks.append(f"{some(parts, 4)} {_are(parts)} of a data set and no class: the folders in there are.")
        level, where = level + 1, some(parts, 4)
    elif len(parts) > 1:
        rest = [name for name in names if name not in parts]
        raise InputError(
            f"{some(parts, 4)} in {listing.name} look like parts of a data set, beside {some(rest, 4)}, and not like "
            "classes: move one or the other away, or turn labels off. If they are classes, give them other names."
        )
    else:
        remarks += _on_folders_within(tops, through)
    of_files = {file: file.split("/")[level] for file in listing.files}
    clean = _clean({*of_files.values()})
    without_images = _without_images(listing, through, level, {*of_files.values()})
    if without_images:
        remarks.append(f"No images lie in {some(without_images)}: not among the classes.")
    return Classes(
        {file: clean[name] for file, name in of_files.items()},
        "by the folders" + (f" in {where}" if where else ""),
        tuple(remarks),
    )


def _are(parts: Sequence[str]) -> str:
    return "is a part" if len(parts) == 1 else "are parts"


def _split(files: Sequence[str], folder: str) -> dict[str, list[str]]:
    """Files in a folder, by the first name after it; those that lie in itself under ""."""
    found: dict[str, list[str]] = {}
    for file in files:
        name, slash, _ = file.removeprefix(folder).partition("/")
        found.setdefault(name if slash else "", []).append(file)
    return found


def _on_folders_within(tops: Mapping[str, Sequence[str]], through: str) -> list[str]:
    """A sentence where it may be the folders in the folders that are classes."""
    within = {name: {*_split(files, f"{through}{name}/")} for name, files in tops.items()}
    deep = [name for name, inner in within.items() if inner - {""}]
    if not deep:
        return []
    shared = set.intersection(*within.values())
    if len(shared) > 1 and "" not in set.union(*within.values()):
        return [
            f"All of them have the folders {some(in_natural_order(shared), 4)}: if those are the classes, give a "
            "folder that has them at its top."
        ]
    return [f"Folders within {some(deep, 4)} are no classes of their own."]


def _are_shards(tops: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders go by the number of their files, and not by what these show."""
    names = sorted(name for name in tops if name)
    if not names:
        return False
    if all(SHARD.fullmatch(name) for name in names):
        return True
    # Numbers with leading zeros, and files that are counted on from one folder to the next.
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
    """Folders that would be classes if there were an image in them."""
    found = {
        folder.split("/")[level]
        for folder in listing.folders
        if folder.startswith(through) and folder.count("/") >= level and folder
    }
    return in_natural_order(found - {*classes})


def _clean(names: Collection[str]) -> dict[str, str]:
    """What classes are called whose folders have these names: what can be typed, written and compared."""
    composed = {name: unicodedata.normalize("NFC", name) for name in names}
    folders: dict[str, str] = {}
    for name in composed.values():
        if folders.setdefault(cleaned(name), name) != name:
            raise InputError(f'Two folders of classes would both be called "{cleaned(name)}": rename one of them.')
    return {name: cleaned(text) for name, text in composed.items()}
