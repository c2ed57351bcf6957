"""Paths that the nodes write to: runs, generators and directions, in ComfyUI's output folder."""

import contextlib
import os
import re
from pathlib import Path

import folder_paths

from ...gan_core import Generator, InputError
from ...gan_core.errors import shown
from ...gan_core.locks import Owner, own, own_next_free
from ...gan_core.names import bad_name
from ...gan_core.training import checkpoint
from .paths import DIRECTIONS, GENERATORS, output


def run_folder(name: str) -> Path:
    """Folder of the training run of a name. Raises InputError for an invalid name."""
    reason = bad_run_name(name)
    if reason:
        raise InputError(reason)
    return output(GENERATORS) / "runs" / name


def own_run(name: str, resume: bool) -> contextlib.AbstractContextManager[Owner]:
    """Owns the folder of a training run: of exactly that name to resume it. A new run gets a number if the name is
    taken."""
    return own(run_folder(name)) if resume else own_next_free(run_folder(name))


def state_of_run(name: str) -> str:
    """Text that changes whenever the run of a name writes a checkpoint."""
    try:
        return str((run_folder(name) / checkpoint.FILE).stat().st_mtime_ns)
    except (InputError, OSError):
        return "not begun"


def bad_run_name(name: str) -> str | None:
    """Reason why a name is invalid for a run; None for a valid one."""
    reason = bad_name(name)
    return reason and (
        f'"{shown(name)}" is not a valid name of a run, because it {reason}: use a short name without slashes, colons '
        "and leading dots."
    )


def generator_path(prefix: str) -> Path:
    """Free path in output/gan for a generator, numbered as core numbers images."""
    return _free_path(prefix, GENERATORS)


def directions_path(prefix: str) -> Path:
    """Free path in output/gan_directions for directions, numbered in the same way."""
    return _free_path(prefix, DIRECTIONS)


def _free_path(prefix: str, folder: str) -> Path:
    reason = bad_prefix(prefix, folder)
    if reason:
        raise InputError(reason)
    place = output(folder)
    *parts, last = Path(os.path.relpath(os.path.abspath(place / prefix), os.path.abspath(place))).parts
    while parts and (place / parts[0]).is_dir():  # core accepts no path behind a link
        place /= parts.pop(0)
    path, name, number, _, _ = folder_paths.get_save_image_path("/".join([*parts, last]), str(place))
    return Path(path) / f"{name}_{number:05}_.safetensors"


def save_beside(generator: Generator, path: Path) -> str:
    """Writes a generator as safetensors beside its file, unless that exists. Returns a sentence on it."""
    target = path.with_suffix(".safetensors")
    if target.exists():
        return f"{target.name} exists already and was not changed"
    generator.save(target)
    return f"saved as {target.name} beside it"


def unusable_prefix(prefix: str | None, folder: str = GENERATORS) -> str | None:
    """Reason why a prefix is invalid, for validate_inputs; None for a valid one, or one from a link."""
    return None if prefix is None else bad_prefix(prefix, folder)


def bad_prefix(prefix: str, folder: str = GENERATORS) -> str | None:
    """Reason why a prefix is invalid in a folder of output; None for a valid one."""
    parts = re.split(r"[/\\]", prefix)
    # Empty parts and ".." are judged by where they lead.
    named = [part for part in parts[:-1] if part not in ("", ".", "..")] + parts[-1:]
    reason = next(filter(None, map(bad_name, named)), None)
    if reason:
        return f'"{shown(prefix)}" is not a name for a file: use a short name, or folder/name. A part of it {reason}.'
    # By its name only: the user may have linked a folder of output to another disk.
    if not _stays_in(output(folder), prefix):
        return f'"{shown(prefix)}" leads out of output/{folder}: use a name, or folder/name.'
    return None


def _stays_in(root: Path, prefix: str) -> bool:
    top, target = os.path.abspath(root), os.path.abspath(os.path.join(root, prefix))
    return target.startswith(top + os.sep)
