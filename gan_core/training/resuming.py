"""Whether a run can be resumed with other settings or other data than it was begun with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import weights
from ..data.dataset import Dataset
from ..errors import InputError, some
from .methods.method import Method


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """Facts about the data, for a card and a checkpoint."""
    return {
        "name": dataset.name,
        "images": len(dataset),
        "fingerprint": dataset.fingerprint,
        "mirror": dataset.mirror,
    }


def check_resumable(
    folder: Path, state: Mapping[str, Any], method: Method, dataset: Dataset, begun_with: Sequence[str]
) -> None:
    """Raises InputError, with what differs, unless a run in that state can continue with these networks and classes.

    begun_with: the names of the classes that it was begun with.
    """
    if begun_with and method.config.classes and list(begun_with) != list(dataset.class_names):
        ours = dataset.class_names
        others = "another order of the classes" if sorted(begun_with) == sorted(ours) else "other classes"
        raise InputError(
            f"{folder.name} cannot be resumed with {others}: it was begun with {some(begun_with)}, and "
            f"{dataset.name} has {some(ours)}. Use the run's own images, or start a new run."
        )
    identity = method.identity()
    wanted = {"architecture": method.architecture.name, **asdict(method.config), **identity}
    had = {"architecture": state["architecture"], **state["network"]}
    had |= {name: state.get(name) for name in identity}
    if "start" in wanted:
        had.setdefault("start", (4, 4))  # of runs from before there were others
    for name, value in had.items():
        # A config that was read from a checkpoint has lists where ours has tuples.
        if wanted.get(name) != (tuple(value) if isinstance(value, list) else value):
            raise InputError(
                f"{folder.name} cannot be resumed with these settings: it was begun with {name} {value}, and "
                f"preset, objective and data now ask for {wanted.get(name)}. Use the run's own, or start a new run."
            )


def classes_of_generator(folder: Path) -> list[str]:
    """The classes in a run's generator, for one whose checkpoint is from before these were kept there."""
    try:
        with weights.opened(folder / "generator.safetensors") as file:
            description = file.description
            names = description.card.get("class_names") if description else None
            return [str(name) for name in names] if isinstance(names, list) else []
    except InputError:
        return []


def remarks_on_other_data(state: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """A sentence where a run continues with other images than it has learned from so far."""
    had, now = state.get("data"), facts_of(dataset)
    if not isinstance(had, dict) or had.get("fingerprint") == now["fingerprint"]:
        return []
    return [
        f"The images are not those that this run has learned from so far: it continues with {now['images']:,} of "
        f"{now['name']} after {had.get('images')} of {had.get('name')}."
    ]
