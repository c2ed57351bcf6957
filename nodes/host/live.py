"""Trainings at work in nodes: what the page is told of them every second, and what it asks of them."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import comfy.model_management
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ...gan_core import InputError, Training
from ...gan_core.errors import TrainingDiverged
from ...gan_core.pacing import TEXT_SECONDS, Every
from ...gan_core.training.history import Record
from . import device
from .paths import without_folders
from .texts import log

EVENT = "gan_studio.training"

PAUSE_SECONDS = 0.1
"""Seconds between two looks at the stop button in a pause."""

ACTIONS = ("finish", "save", "pause", "resume")

STARTING: dict[str, Any] = {
    "state": "starting",
    "trouble": "",
    "remarks": [],
    "health": None,
    "charts": [],
    "records": 0,
    "sheets": [],
}
"""What is told of a run that has not taken its first step."""

_live: dict[str, "LiveRun"] = {}
"""Runs at work, by the names of their folders."""


class LiveRun:
    """A training at work in a node. It is told about once a second, whatever it is busy with."""

    def __init__(self, training: Training, folder: Path, node: str | None, workflow: str | None):
        """folder: the run's own. workflow: id of the workflow that the node is in, where it is known."""
        self.training, self.folder = training, folder
        context = get_executing_context()
        self.place = {
            "node": _shown_node(node or (context.node_id if context else "")),
            "prompt": context.prompt_id if context else None,
            "workflow": workflow,
        }
        self.memory = device.memory()
        self.measured = time.monotonic()
        self.paused = False
        self.error = ""
        self._last: dict[str, Any] | None = None  # once it is over
        self.over = False
        self._sheets: queue.SimpleQueue[tuple[int, Image.Image] | None] = queue.SimpleQueue()
        self._unwritten = False

    @contextlib.contextmanager
    def shown(self) -> Iterator["LiveRun"]:
        """Tells the page about it during the block and of its end, and can be found by `live`."""
        _live[self.folder.name] = self
        writer = threading.Thread(target=self._write_sheets, daemon=True, name="sheets of a run")
        writer.start()
        try:
            with Every(TEXT_SECONDS, self.tell):
                yield self
        except (InputError, TrainingDiverged) as error:
            self.error = str(error)
            raise
        finally:
            self._sheets.put(None)
            writer.join()
            self.over, self.paused = True, False
            del _live[self.folder.name]
            self._last = self._snapshot()  # its clock would go on
            self.tell()

    def step(self) -> None:
        """Between two steps: waits as long as it is paused. The stop button takes effect."""
        if time.monotonic() - self.measured > TEXT_SECONDS:
            self.memory, self.measured = device.memory(), time.monotonic()
        while self.paused:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self.training.wait(PAUSE_SECONDS)

    def add_sheet(self, images: int, sheet: Image.Image) -> None:
        """Adds a sheet to the film of the run. It is compressed and written while training goes on."""
        self._sheets.put((images, sheet))

    def ask(self, action: str) -> None:
        """Carries out one of ACTIONS after the step that it is in."""
        if action == "finish":
            self.training.finish()
        elif action == "save":
            self.training.save()
        self.paused = action == "pause" or (self.paused and action == "save")
        self.tell()

    def snapshot(self) -> dict[str, Any]:
        """Where it stands, all of it."""
        return self._last or self._snapshot()

    def tell(self) -> None:
        """Sends every page what changes from second to second."""
        PromptServer.instance.send_sync(EVENT, in_short(self.snapshot()))

    def records(self) -> list[Record]:
        """Its records so far, oldest first."""
        return list(self.training.history) if self.training.snapshot() else []

    def _snapshot(self) -> dict[str, Any]:
        found = self.training.snapshot()
        told: dict[str, Any] = found.as_json() if found else {**STARTING, "run": self.folder.name}
        if self.paused:
            told["state"] = "paused"
        if self.over and told["state"] in ("running", "starting"):
            told["state"], told["seconds_left"] = "stopped", None
        if self.error and self.over:
            told["trouble"] = self.error
        return for_browsers({**told, "live": not self.over, "memory": self.memory, **self.place})

    def _write_sheets(self) -> None:
        while (sheet := self._sheets.get()) is not None:
            try:
                self.training.film.add(*sheet)
            except InputError as error:
                if not self._unwritten:
                    log(f"{error} Training continues without it.")
                self._unwritten = True


def live(run: str) -> LiveRun | None:
    """The run of a name that is at work; None where it is not."""
    return _live.get(run)


def for_browsers(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot whose sentences have no path of this disk in them."""
    trouble, remarks = snapshot["trouble"], snapshot["remarks"]
    return {**snapshot, "trouble": without_folders(trouble), "remarks": [*map(without_folders, remarks)]}


def in_short(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot without its charts, and with the latest sheet and the number of sheets instead of all."""
    sheets = snapshot["sheets"]
    told = {name: value for name, value in snapshot.items() if name != "charts"}
    return {**told, "sheet": sheets[-1] if sheets else None, "sheets": len(sheets)}


def _shown_node(node: str) -> str:
    """Id of the node that the page shows for one that is at work, which another node may have made."""
    try:
        return str(get_progress_state().dynprompt.get_display_node_id(node))
    except (AttributeError, KeyError):
        return node
