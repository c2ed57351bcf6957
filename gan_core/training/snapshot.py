"""Where a run stands, as JSON: what a person is shown of it while it runs, and of its folder afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import replacing
from ..locks import is_owned
from . import checkpoint
from .film import Film
from .history import Charts, Record, columns, read_csv
from .methods import METHODS
from .monitor.verdict import Health, counted, health
from .run import Run

FILE = "snapshot.json"
HISTORY = "history.csv"

_OF_A_VALUE = ("name", "label", "meaning")

STATES = ("running", "finished", "finished early", "stopped", "diverged")


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands."""

    run: str
    """Name of its folder."""
    title: str
    preset: str
    state: str
    """One of STATES."""
    images: int
    """Real images shown so far."""
    fraction: float
    """Share of the budget that is spent, 0 to 1."""
    images_per_second: float
    seconds_left: float | None
    trouble: str
    """What is wrong, or why it ended early, in a sentence; empty where nothing is."""
    remarks: tuple[str, ...]
    """What happened that a person should know, oldest first."""
    health: Health | None
    """None where the method's health is not judged."""
    charts: tuple[dict[str, Any], ...]
    """axis: its title. values: name, label and meaning of each value that belongs to it."""
    records: int
    """Records in its history."""
    rollbacks: int
    """How often its history was cut short, because the run went back to a healthy state."""
    record: dict[str, Any] | None
    """images and values of the latest record."""
    sheets: tuple[int, ...]
    """Images that had been shown at each sheet of its film, ascending."""

    def as_json(self) -> dict[str, Any]:
        """All of it as values that JSON has."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: Any) -> Snapshot:
        """The inverse of as_json. Raises KeyError, TypeError or ValueError for anything else."""
        verdict, record = told["health"], told["record"]
        if told["state"] not in STATES:
            raise ValueError(told["state"])
        left = told["seconds_left"]
        return cls(
            run=str(told["run"]),
            title=str(told["title"]),
            preset=str(told["preset"]),
            state=told["state"],
            images=int(told["images"]),
            fraction=_finite(told["fraction"]),
            images_per_second=_finite(told["images_per_second"]),
            seconds_left=None if left is None else _finite(left),
            trouble=str(told["trouble"]),
            remarks=tuple(map(str, told["remarks"])),
            health=None if verdict is None else Health(str(verdict["word"]), str(verdict["sentence"])),
            charts=tuple(
                {
                    "axis": str(chart["axis"]),
                    "values": [
                        {key: str(value[key]) for key in ("name", "label", "meaning")} for value in chart["values"]
                    ],
                }
                for chart in told["charts"]
            ),
            records=int(told["records"]),
            rollbacks=int(told["rollbacks"]),
            record=None if record is None else _record(Record(int(record["images"]), dict(record["values"]))),
            sheets=tuple(map(int, told["sheets"])),
        )


def of_run(run: Run, sheets: Sequence[int], over: bool = False) -> Snapshot:
    """Where a run stands now. May be called from any thread.

    over: whether it takes no more steps, so that one which is not at its end was stopped.
    """
    history = list(run.history)  # which goes on growing meanwhile
    record = history[-1] if history else None
    return Snapshot(
        run=run.folder.name,
        title=run.title,
        preset=run.config.preset,
        state=_state(run, over),
        images=run.images,
        fraction=run.fraction,
        images_per_second=run.images_per_second,
        seconds_left=None if over else run.seconds_left,
        trouble=run.diverged or run.ended or str(run.verdict or ""),
        remarks=tuple(run.remarks),
        health=health(history, run.verdict),
        charts=described(run.method.charts, run.method.meanings),
        records=len(history),
        rollbacks=run.standing.rollbacks,
        record=None if record is None else _record(record),
        sheets=tuple(sheets),
    )


def write(snapshot: Snapshot, folder: Path) -> None:
    """Writes it into the run's folder. Raises InputError where it cannot be written."""
    with replacing(folder / FILE) as partial:
        partial.write_text(json.dumps(snapshot.as_json()), encoding="utf-8")


def of_folder(folder: Path) -> Snapshot:
    """Where the run in a folder stands. One that is not at its end and that nobody is at work in was stopped.

    Raises InputError where there is no run, or what it left cannot be read.
    """
    try:
        found = Snapshot.of_json(json.loads((folder / FILE).read_bytes()))
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        found = _of_checkpoint(folder)
    if found.state == "running" and not is_owned(folder):
        found = replace(found, state="stopped", seconds_left=None)
    return replace(found, run=folder.name, sheets=tuple(Film(folder).sheets))


def history_of(folder: Path) -> list[Record]:
    """The records of the run in a folder; empty where there are none."""
    try:
        return read_csv(folder / HISTORY)
    except (OSError, ValueError):
        return []


def kid_of(history: Sequence[Record]) -> dict[str, Any] | None:
    """latest and best KID in a history, each as value and the images that were shown then; None where it was not
    measured. best is None as long as no KID counts (see `verdict.counted`)."""
    history = [record for record in history if math.isfinite(record.values.get("kid", 0.0))]
    measured = [record for record in history if "kid" in record.values]
    if not measured:
        return None
    best = min(counted(history), key=lambda record: record.values["kid"], default=None)
    return {"latest": _kid(measured[-1]), "best": best and _kid(best)}


def is_run(folder: Path) -> bool:
    """Whether a training has left anything in a folder."""
    return any((folder / name).is_file() for name in (FILE, checkpoint.FILE, HISTORY))


def described(charts: Charts, meanings: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """Charts with the names, labels and meanings of their values."""
    return tuple(
        {
            "axis": axis,
            "values": [{"name": name, "label": label, "meaning": meanings[name]} for name, label in labels.items()],
        }
        for axis, labels in charts.items()
    )


def _of_checkpoint(folder: Path) -> Snapshot:
    """The snapshot of a run from before there were any, or of a damaged one."""
    state = checkpoint.state_of(folder)
    if state is None:
        raise InputError(f"There is no run in {folder.name}.")
    history = history_of(folder)
    measured = set(columns(history))
    methods: list[Any] = [*METHODS.values()]
    method = max(methods, key=lambda method: len(measured & method.meanings.keys()))
    return Snapshot(
        run=folder.name,
        title=folder.name,
        preset=str(state.get("preset", "")),
        state="stopped",
        images=state["images"],
        fraction=0.0,
        images_per_second=0.0,
        seconds_left=None,
        trouble="",
        remarks=(),
        health=health(history, None),
        charts=described(method.charts, method.meanings),
        records=len(history),
        rollbacks=0,
        record=_record(history[-1]) if history else None,
        sheets=(),
    )


def _state(run: Run, over: bool) -> str:
    if run.diverged or run.failed:
        return "diverged"
    if run.fraction >= 1 and not run.ended:
        return "finished"
    if run.finished:
        return "finished early"
    return "stopped" if over else "running"


def _kid(record: Record) -> dict[str, Any]:
    return {"value": record.values["kid"], "images": record.images}


def _record(record: Record) -> dict[str, Any]:
    values = {name: value for name, value in record.values.items() if math.isfinite(value)}  # JSON has no others
    return {"images": record.images, "values": values}


def _finite(number: Any) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value
