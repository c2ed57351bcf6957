"""The runs in output/gan/runs, for the page. A run is named by its folder, and only one that exists is found."""

import os
from pathlib import Path
from typing import Any

from ...gan_core import InputError
from ...gan_core.errors import shown
from ...gan_core.training import snapshot
from ...gan_core.training.film import Film
from ...gan_core.training.history import series
from .live import LiveRun, live
from .paths import GENERATORS, output, shown_path

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
    instead of all, and without charts. One that cannot be read has its name and what is wrong."""
    found = []
    for name in (name for name in names() if not only_at_work or live(name)):
        try:
            told = snapshot_of(name)
        except InputError as error:
            told = {"run": name, "state": "unreadable", "trouble": str(error), "sheets": []}
        told.pop("charts", None)
        sheets = told.pop("sheets")
        changed = _changed(folder() / name)
        found.append({**told, "sheet": sheets[-1] if sheets else None, "sheets": len(sheets), "changed": changed})
    return found


def snapshot_of(name: str) -> dict[str, Any]:
    """Where a run stands. Raises UnknownRun, and InputError where what it left cannot be read."""
    place, at_work = _found(name)
    told = at_work.snapshot() if at_work else {**snapshot.of_folder(place).as_json(), "live": False}
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


def _changed(place: Path) -> float:
    """When a run was written to last, as seconds since 1970."""
    times = [0.0]
    for file in (snapshot.FILE, snapshot.HISTORY):
        try:
            times.append((place / file).stat().st_mtime)
        except OSError:
            continue
    return max(times)
