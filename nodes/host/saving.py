"""Places that the nodes write to: runs of training, generators and directions, in ComfyUI's folder of output."""

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
    """The folder of the training run of that name."""
    reason = bad_run_name(name)
    if reason:
        raise InputError(reason)
    return output(GENERATORS) / "runs" / name


def own_run(name: str, resume: bool) -> contextlib.AbstractContextManager[Owner]:
    """Takes the folder of a training run, of exactly that name to go on with it. A new run never takes the folder of
    another: it gets a number."""
    return own(run_folder(name)) if resume else own_next_free(run_folder(name))


def state_of_run(name: str) -> str:
    """What changes whenever the run that `name` resumes learns something."""
    try:
        return str((run_folder(name) / checkpoint.FILE).stat().st_mtime_ns)
    except (InputError, OSError):
        return "not begun"


def bad_run_name(name: str) -> str | None:
    """Why a name cannot be that of a run; None where it can."""
    reason = bad_name(name)
    return reason and (
        f'"{shown(name)}" cannot be the name of a run: it is used for a folder, so keep it short, and leave out '
        f"slashes, colons and leading dots; this one {reason}."
    )


def generator_path(prefix: str) -> Path:
    """A free name in output/gan for a generator to be saved, numbered as core numbers images."""
    return _free_path(prefix, GENERATORS)


def directions_path(prefix: str) -> Path:
    """A free name in output/gan_directions, numbered in the same way."""
    return _free_path(prefix, DIRECTIONS)


def _free_path(prefix: str, folder: str) -> Path:
    reason = bad_prefix(prefix, folder)
    if reason:
        raise InputError(reason)
    place = output(folder)
    *parts, last = Path(os.path.relpath(os.path.abspath(place / prefix), os.path.abspath(place))).parts
    while parts and (place / parts[0]).is_dir():  # for core nothing may lie behind a link
        place /= parts.pop(0)
    path, name, number, _, _ = folder_paths.get_save_image_path("/".join([*parts, last]), str(place))
    return Path(path) / f"{name}_{number:05}_.safetensors"


def save_beside(generator: Generator, path: Path) -> str:
    """Writes a generator as safetensors beside the file that it came from, and says so. What stands there stays."""
    target = path.with_suffix(".safetensors")
    if target.exists():
        return f"{target.name} is there already, and was left as it is"
    generator.save(target)
    return f"saved as {target.name} beside it"


def unusable_prefix(prefix: str | None, folder: str = GENERATORS) -> str | None:
    """Why a prefix cannot be queued, for validate_inputs; None where it can, or comes from a link."""
    return None if prefix is None else bad_prefix(prefix, folder)


def bad_prefix(prefix: str, folder: str = GENERATORS) -> str | None:
    """Why nothing can be saved under a name in a folder of output; None where it can."""
    parts = re.split(r"[/\\]", prefix)
    # Of the folders before the name, none and the one above are judged by where they lead.
    named = [part for part in parts[:-1] if part not in ("", ".", "..")] + parts[-1:]
    reason = next(filter(None, map(bad_name, named)), None)
    if reason:
        return f'"{shown(prefix)}" is no name for a file: use a short name, or folder/name. A part of it {reason}.'
    # By its name: a folder of output may be a link of the person's to another disk.
    if not _stays_in(output(folder), prefix):
        return f'"{shown(prefix)}" leads out of output/{folder}: use a name, or folder/name.'
    return None


def _stays_in(root: Path, prefix: str) -> bool:
    top, target = os.path.abspath(root), os.path.abspath(os.path.join(root, prefix))
    return target.startswith(top + os.sep)
