"""The field's words: what the project once called otherwise stays out of its code, its interface and its documents."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {
    r"by heart": "memorised (a generator), overfitting (a discriminator)",
    r"(?:no|any) squares?": "non-square",
    r"see-through": "transparent",
    r"slopes?": "gradient",
    r"(?:left-right|sideways) reversed|reversed left-right": "horizontally flipped",
    r"(?:first|fresh) weights": "initial weights",
    r"players?": "network and optimizer",
    r"pictures?": "image",
    r"made (?:images?|ones)": "generated",
    r"(?:the )?average(?:d)? (?:network|weights|generator)": "EMA",
    r"sound (?:state|run|training)": "healthy",
    r"(?:discriminator's|D's) turns?|turns? of (?:the discriminator|D)": "discriminator step",
    r"anew": "again",
    r"so many": "this many, or the number of",
    r"so (?:many|few) (?:thousand|hundred)": "this many thousand",
    r"some (?:thousands?|hundreds?|dozens?)": "a few thousand, several hundred",
    r"(?<!there )(?:is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|larger\b|greater\b|worse\b|better\b)\w+": (
        "is not a"
    ),
    r"(?<!there )(?:is|are) none": "must be",
    r"(?:says?|tells?|said) (?:something|nothing|anything|of)": "has, contains, describes",
    r"has something to say": "is active",
    r"goes on (?:from|with)|go on (?:from|with)|going on (?:from|with)": "continue, resume",
    r"in the place of": "instead of",
    r"(?:rooms?|arrows?|doors?|games?) of the (?:house|project|core)": "plain words, no in-house metaphors",
    r"the game": "the loss, training",
    r"digit reader": "digit classifier",
    r"for your eyes": "private",
    r"wavers?": "oscillates",
    r"licence file": "license file",
}
"""Word -> the word of the field. Each is looked for as whole words, in small letters or with a capital first letter."""

NAMES = re.compile(r"\b_?(?:MOST|FEWEST|LARGEST|SMALLEST|LONGEST|WIDEST|DEEPEST|LEAST)(?:_[A-Z_]+)?\b")
"""Constants: limits are called MAX_ and MIN_."""

CHINESE = re.compile(
    "背下来|死记硬背|免费比特|附加组件|模式坍塌|后验坍|左右镜像|自带的|画(?:出|得|成)|说出|告诉每|这么多千张|拉向|白用|「|」"
)

ALLOWED = {
    ("pictures", "gan_core/card.py"): "a key of cards, which are a file format",
    ("pictures", "gan_core/hub/card.py"): "a key of cards, which are a file format",
    ("pictures", "docs/file-format.md"): "a key of cards, which are a file format",
}
"""(word as found, file) -> why it stays."""

EXCEPT = re.compile(r"leaky ReLU's slope|negative_slope|find_my_picture|Find my picture", re.IGNORECASE)
"""Terms of the field that have a banned word in them, and names of files."""


def english() -> Iterator[tuple[str, str]]:
    """Files and texts of the project in English."""
    for folder, pattern in (
        ("gan_core", "*.py"),
        ("nodes", "*.py"),
        ("web", "en.md"),
        ("docs", "*.md"),
        ("benchmarks", "*.py"),
    ):
        for path in sorted((ROOT / folder).rglob(pattern)):
            if not path.name.endswith(".zh-CN.md"):
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for name in ("README.md", "CONTRIBUTING.md"):
        yield name, (ROOT / name).read_text(encoding="utf-8")
    for folder, pattern in (("locales/en", "*.json"), ("workflows", "*.json")):
        for path in sorted((ROOT / folder).rglob(pattern)):
            yield path.relative_to(ROOT).as_posix(), "\n".join(_strings(json.loads(path.read_bytes())))


def chinese() -> Iterator[tuple[str, str]]:
    """Files and texts of the project in Chinese."""
    for pattern in ("web/docs/*/zh.md", "docs/*.zh-CN.md", "README.zh-CN.md", "locales/zh/*.json", "workflows/*.json"):
        for path in sorted(ROOT.glob(pattern)):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


@cache
def lines() -> dict[str, str]:
    """Each file as one line: a phrase may be broken into two, in a comment or in the parts of a text."""
    joined = {file: re.sub(r'"\s*\n\s*f?r?"|\n\s*#|\s+', " ", text) for file, text in english()}
    return {file: EXCEPT.sub("", re.sub(r"\bNone\b|\s+", " ", text)) for file, text in joined.items()}


def found(word: str) -> list[str]:
    """Where a banned word stands, with what is around it."""
    pattern = re.compile(rf"(?<![\w/.-])(?:{word})(?![\w/-])", re.IGNORECASE)
    places = []
    for file, flat in lines().items():
        for hit in pattern.finditer(flat):
            if (hit.group().lower(), file) not in ALLOWED:
                places.append(f"{file}: {flat[max(0, hit.start() - 40) : hit.end() + 20]}")
    return places


@pytest.mark.parametrize("word", BANNED)
def test_the_field_has_a_word_for_it(word: str) -> None:
    assert found(word) == [], f"write: {BANNED[word]}"


def test_limits_are_called_max_and_min() -> None:
    sources = (text for file, text in english() if file.endswith(".py"))
    assert sorted({hit for text in sources for hit in NAMES.findall(text)}) == []


def test_chinese_is_written_in_the_words_of_the_field() -> None:
    assert [(file, hit.group()) for file, text in chinese() for hit in CHINESE.finditer(text)] == []


def test_an_exception_is_still_needed() -> None:
    texts = dict(english())
    assert [key for key in ALLOWED if key[0] not in texts[key[1]].lower()] == []
