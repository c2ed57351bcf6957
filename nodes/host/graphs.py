"""The graph that a run was started from, kept in its folder so that the page can open it again."""

import json
from pathlib import Path
from typing import Any

from comfy.cli_args import args

from ...gan_core import InputError
from ...gan_core.files import replacing
from .texts import log

FILE = "graph.json"


def keep(folder: Path, workflow: Any, prompt: Any) -> None:
    """Writes the graph into a run's folder, unless ComfyUI was told to keep no metadata. Where it cannot be written,
    the log says so.

    workflow: what the page had, or None where a program has queued the prompt.
    """
    if args.disable_metadata:
        return
    try:
        with replacing(folder / FILE) as partial:
            partial.write_text(json.dumps({"workflow": workflow, "prompt": prompt}), encoding="utf-8")
    except InputError as error:
        log(f"{error} The run is kept without its graph.")


def of_folder(folder: Path) -> dict[str, Any] | None:
    """workflow and prompt of the run in a folder, of which one may be None; None where no graph was kept, or it cannot
    be read."""
    try:
        told = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    found = {name: told[name] for name in ("workflow", "prompt") if isinstance(told, dict) and told.get(name)}
    graphs = {name: graph if isinstance(graph, dict) else None for name, graph in found.items()}
    return {"workflow": None, "prompt": None, **graphs} if any(graphs.values()) else None
