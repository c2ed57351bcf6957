"""Files in a user's folders: which exist, and which file a name refers to.

There is one rule for links: a link inside such a folder was placed by its owner and is followed, wherever it leads. A
name is relative and never leads out of its folder.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

MAX_VISITS = 8
"""Maximum visits to a folder that several links lead to. Each link may be intended, but nested links can multiply
without end."""


def files_in(root: str | Path, endings: Collection[str]) -> list[str]:
    """Names of the files with one of these extensions in a folder and its sub-folders, sorted.

    Names are relative to the folder, with forward slashes. Hidden files and links to an enclosing folder are left out.
    """
    return sorted(
        name
        for name, path, is_folder in _inside(root)
        if not is_folder and os.path.splitext(name)[1].lower() in endings and os.path.isfile(path)
    )


def folders_in(root: str | Path, depth: int) -> list[str]:
    """Names of the sub-folders of a folder down to a depth, each before its own sub-folders."""
    return sorted(
        (name for name, path, is_folder in _inside(root, depth) if is_folder and os.access(path, os.R_OK | os.X_OK)),
        key=lambda name: name.split("/"),
    )


def within(root: str | Path, name: str) -> Path | None:
    """Path of a name inside a folder; None if the name leads out of it. The file need not exist."""
    relative = Path(name)
    if not relative.parts or relative.anchor or ".." in relative.parts or "\0" in name:
        return None
    return Path(root) / relative


def real_folder(entry: os.DirEntry[str], above: Sequence[str]) -> str:
    """Real path of a folder or a link to a folder. above: the real folders that lead to it, its parent last."""
    # Windows has junctions, which are not symbolic links.
    linked = entry.is_symlink() or os.name == "nt"
    return os.path.realpath(entry.path) if linked else os.path.join(above[-1], entry.name)


def leads_back(real: str, above: Sequence[str]) -> bool:
    """Whether a real folder contains or equals one of the folders that lead to it: a circle."""
    return any(step == real or step.startswith(real.rstrip(os.sep) + os.sep) for step in above)


def _inside(root: str | Path, depth: int | None = None) -> Iterator[tuple[str, str, bool]]:
    """Yields name, path and whether it is a folder, for all entries."""
    visits: Counter[str] = Counter()
    # Folders still to visit: path, name, and the real folders that lead there.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (os.path.realpath(root),))]
    while waiting:
        folder, place, above = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:  # it is not readable, or has been removed
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
            if visits[real] > MAX_VISITS or leads_back(real, above):
                continue
            yield name, entry.path, True
            if depth is None or name.count("/") + 1 < depth:
                waiting.append((entry.path, name, (*above, real)))
