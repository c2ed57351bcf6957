"""What lies in the folders that a person keeps files in, and which file a name means.

There is one rule for links: a link that somebody placed inside such a folder is theirs, and is followed, wherever it
leads. A name follows what is inside alone: it is relative and goes up nowhere.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

MOST_VISITS = 8
"""So often is a folder looked into that several links lead to: each may be meant, but links to links to links are
endless."""


def files_in(root: str | Path, endings: Collection[str]) -> list[str]:
    """Files with one of these endings in a folder and the folders in it: names relative to it, with forward slashes.

    Hidden ones are left out, and so are links that lead to a folder around them.
    """
    return sorted(
        name
        for name, path, is_folder in _inside(root)
        if not is_folder and os.path.splitext(name)[1].lower() in endings and os.path.isfile(path)
    )


def folders_in(root: str | Path, depth: int) -> list[str]:
    """The like of folders, so many levels deep, a folder before those in it."""
    return sorted(
        (name for name, path, is_folder in _inside(root, depth) if is_folder and os.access(path, os.R_OK | os.X_OK)),
        key=lambda name: name.split("/"),
    )


def within(root: str | Path, name: str) -> Path | None:
    """Where a name lies in a folder; None for one that leads out of it. Says nothing on whether it is there."""
    relative = Path(name)
    if not relative.parts or relative.anchor or ".." in relative.parts or "\0" in name:
        return None
    return Path(root) / relative


def real_folder(entry: os.DirEntry[str], above: Sequence[str]) -> str:
    """The folder that an entry is, or leads to. above: the real folders that lead to it, the last of which it is in."""
    # Windows has links of a kind of its own for folders, which are no symbolic links.
    linked = entry.is_symlink() or os.name == "nt"
    return os.path.realpath(entry.path) if linked else os.path.join(above[-1], entry.name)


def leads_back(real: str, above: Sequence[str]) -> bool:
    """Whether a real folder is around one of those that lead to it, or is one of them: a circle."""
    return any(step == real or step.startswith(real.rstrip(os.sep) + os.sep) for step in above)


def _inside(root: str | Path, depth: int | None = None) -> Iterator[tuple[str, str, bool]]:
    """Names, paths, and whether it is a folder."""
    visits: Counter[str] = Counter()
    # A folder to look into, its name, and the real folders that lead to it.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (os.path.realpath(root),))]
    while waiting:
        folder, place, above = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:  # it may not be read, or has gone
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{place}/{entry.name}" if place else entry.name
            if not os.path.isdir(entry.path):
                yield name, entry.path, False
                continue
            real = real_folder(entry, above)
            visits[real] += 1
            if visits[real] > MOST_VISITS or leads_back(real, above):
                continue
            yield name, entry.path, True
            if depth is None or name.count("/") + 1 < depth:
                waiting.append((entry.path, name, (*above, real)))
