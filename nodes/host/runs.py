"""The runs in output/gan/runs, for the page. A run is named by its folder, and only one that exists is found."""

import functools
import os
import time
from pathlib import Path
from typing import Any

from ...gan_core import InputError
from ...gan_core.errors import shown
from ...gan_core.locks import is_owned
from ...gan_core.training import run_files, snapshot
from ...gan_core.training.film import Film
from ...gan_core.training.history import series
from . import graphs
from .live import LiveRun, for_browsers, in_short, live
from .paths import GENERATORS, TRASH, output, shown_path, without_folders

FOLDER = "runs"
"""Folder of the runs in that of the generators."""


class UnknownRun(InputError):
    """There is no run of a name, or no such sheet of it."""


def folder() -> Path:
    """Folder of all runs."""
    return output(GENERATORS) / FOLDER


def names() -> list[str]:
    """Names of the runs that there are, the one that was written to last first."""
    return sorted(_folders(), key=lambda name: (-_changed(folder() / name), name))


def summaries(only_at_work: bool = False) -> list[dict[str, Any]]:
    """Of every run, or of those at work in this program, what `snapshot_of` has, with the latest sheet and their number
    instead of all, and without charts. One that cannot be read has its name and what is wrong.

    kid: that of `snapshot.kid_of`. generator: its name for Load Generator, None before there is one. graph: whether
    the graph that it was started from is known. changed: when it was written to last, in seconds since 1970.
    """
    found = []
    for name in (name for name in names() if not only_at_work or live(name)):
        try:
            told = snapshot_of(name)
        except InputError as error:
            told = {"run": name, "state": "unreadable", "trouble": without_folders(str(error)), "sheets": []}
        of_its_folder = {
            "kid": _kid(name),
            "generator": _generator(name),
            "graph": (folder() / name / graphs.FILE).is_file(),
            "changed": _changed(folder() / name),
        }
        found.append({**in_short(told), **of_its_folder})
    return found


def snapshot_of(name: str) -> dict[str, Any]:
    """Where a run stands. Raises UnknownRun, and InputError where what it left cannot be read."""
    place, at_work = _found(name)
    told = at_work.snapshot() if at_work else for_browsers({**snapshot.of_folder(place).as_json(), "live": False})
    return {**told, "kept": shown_path(place)}


def records_of(name: str, since: int = 0) -> dict[str, Any]:
    """The records of a run from a number on, as columns. Raises UnknownRun.

    total: number of all its records.
    """
    place, at_work = _found(name)
    history = at_work.records() if at_work else snapshot.history_of(place)
    points = series(history[since:])
    return {"run": name, "since": since, "total": len(history), "images": points.images, "values": points.values}


def sheet_of(name: str, images: int) -> Path:
    """File of the sheet after that many images. Raises UnknownRun."""
    film = Film(_found(name)[0])
    if images not in film.sheets:
        raise UnknownRun(f"{shown(name)} has no sheet of its samples at {images / 1000:g} kimg.")
    return film.path(images)


def sheets_of(name: str) -> list[Path]:
    """Files of all its sheets, oldest first. Raises UnknownRun."""
    film = Film(_found(name)[0])
    return [film.path(images) for images in film.sheets]


def graph_of(name: str) -> dict[str, Any]:
    """The graph that a run was started from, by `graphs.of_folder`. Raises UnknownRun, also where it was not kept."""
    graph = graphs.of_folder(_found(name)[0])
    if graph is None:
        raise UnknownRun(f"The graph that {shown(name)} was started from was not kept.")
    return graph


def trash(name: str) -> str:
    """Moves the folder of a run into output/gan/trash, and returns where it lies there. Nothing is deleted.

    Raises UnknownRun, and InputError where it is at work, here or in another program, or cannot be moved.
    """
    place, at_work = _found(name)
    if at_work or is_owned(place):
        raise InputError(f"{shown(name)} is training: finish or stop it first.")
    target = _free_in_trash(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place.rename(target)
    except OSError as error:
        raise InputError(f"{shown(name)} cannot be moved to the trash: {error.strerror or 'it is in use'}.") from error
    return shown_path(target)


def not_there(name: str) -> str | None:
    """Reason why a name is invalid, for validate_inputs; None for that of a run."""
    try:
        _found(name)
    except UnknownRun as error:
        return str(error)
    return None


def state_of(name: str | None) -> str:
    """Text that changes when the run of a name writes another sheet."""
    try:
        return " ".join(path.name for path in sheets_of(name or ""))
    except UnknownRun:
        return "missing"  # the node raises the error when it runs


def at_work(name: str) -> LiveRun:
    """The training of a run that is at work in this program. Raises UnknownRun, and InputError where it is not."""
    found = _found(name)[1]
    if found is None:
        raise InputError(f"{shown(name)} is not training in this ComfyUI at the moment.")
    return found


def _found(name: str) -> tuple[Path, LiveRun | None]:
    """Folder of a run, and its training if it is at work."""
    if name not in _folders():
        raise UnknownRun(f'There is no run "{shown(name)}" in output/gan/runs.')
    return folder() / name, live(name)


def _folders() -> set[str]:
    """Names of the folders that hold a run, or where one has just begun."""
    try:
        with os.scandir(folder()) as entries:
            found = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return set()
    return {name for name in found if live(name) or snapshot.is_run(folder() / name)}


def _free_in_trash(name: str) -> Path:
    path = output(GENERATORS) / TRASH / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number, free = 2, path
    while os.path.lexists(free):
        free, number = path.with_name(f"{path.name}_{number}"), number + 1
    return free


def _kid(name: str) -> dict[str, Any] | None:
    at_work = live(name)
    if at_work:
        return snapshot.kid_of(at_work.records())
    try:
        status = (folder() / name / snapshot.HISTORY).stat()
    except OSError:
        return None
    return _kid_in(folder() / name, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1000)
def _kid_in(place: Path, mtime_ns: int, size: int) -> dict[str, Any] | None:
    """The KIDs in a folder. Lists are asked for often; a history is read once for each state of its file."""
    return snapshot.kid_of(snapshot.history_of(place))


def _generator(name: str) -> str | None:
    file = folder() / name / run_files.GENERATOR
    return file.relative_to(output(GENERATORS)).as_posix() if file.is_file() else None


def _changed(place: Path) -> float:
    """When a run was written to last, as seconds since 1970."""
    times = [0.0]
    for file in (snapshot.FILE, snapshot.HISTORY):
        try:
            times.append((place / file).stat().st_mtime)
        except OSError:
            continue
    return max(times)
