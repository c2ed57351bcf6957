"""Files that the nodes open: generators, VAEs and directions, in ComfyUI's folders of models and of output."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import folder_paths

from ...gan_core import InputError, examples, folders
from ...gan_core.foreign.import_generator import ENDINGS, SAFETENSORS, importable, may_be_weights
from ...gan_core.generator import architecture_of
from ...gan_core.sampling import directions as steering

GENERATOR_ENDINGS = (".safetensors",)
FOREIGN_ENDINGS = (".safetensors", *ENDINGS)
VAE_ENDINGS = (*SAFETENSORS, *ENDINGS)

EXAMPLE_GENERATORS = tuple(
    f"example/{name}.safetensors"
    for name in ("critters", "digits", "stylegan2-digits", "stylegan3-digits", "vae-digits")
)
"""Bundled generators, listed with the others."""

EXAMPLE_DIRECTIONS = ("example/critters-directions.safetensors",)
"""Bundled directions, listed with the others."""

GENERATORS = "gan"
"""Folder of generators, in models and in output."""

TRASH = "trash"
"""Folder of runs that were put away, in output/gan. What lies there is not offered."""

DIRECTIONS = "gan_directions"
"""Folder of directions, beside that of generators, so that directions are not offered as generators."""


def register_folders() -> None:
    """Registers the folders of generators and directions in ComfyUI: models/gan, output/gan, and those beside them."""
    for kind in (GENERATORS, DIRECTIONS):
        for folder in (Path(folder_paths.models_dir) / kind, output(kind)):
            folder_paths.add_model_folder_path(kind, str(folder))
        folder_paths.folder_names_and_paths[kind][1].add(".safetensors")


def generator_names() -> list[str]:
    """Names that Load Generator offers: files that it can open according to their header, the newest first, then the
    bundled ones."""
    return [*_offered(GENERATORS, GENERATOR_ENDINGS, architecture_of), *EXAMPLE_GENERATORS]


def resolve_generator(name: str) -> Path:
    """File of a name. Raises InputError if it is missing or outside of the folders."""
    return _resolved(name, GENERATOR_ENDINGS)


def foreign_names() -> list[str]:
    """Names that Import Generator offers: files of other programs first."""
    ours = generator_names()
    return [*(name for name in _offered(GENERATORS, FOREIGN_ENDINGS, _importable) if name not in ours), *ours]


def resolve_foreign(name: str) -> Path:
    """File of a name of foreign_names. Raises the errors of resolve_generator."""
    return _resolved(name, FOREIGN_ENDINGS)


def _resolved(name: str, endings: tuple[str, ...]) -> Path:
    if name in EXAMPLE_GENERATORS:
        return examples.FOLDER / Path(name).name
    path = _within(GENERATORS, name, endings)
    if path is None:
        raise InputError(f'There is no generator "{name}" in models/gan or output/gan. Press R to refresh the list.')
    return path


def vae_names() -> list[str]:
    """Names of the files in models/vae that VAE to Generator offers."""
    return _offered("vae", VAE_ENDINGS, _opens_as_vae)


def resolve_vae(name: str) -> Path:
    """File of a name of vae_names. Raises InputError if it is missing or outside of the folders."""
    path = _within("vae", name, VAE_ENDINGS)
    if path is None:
        raise InputError(f'There is no VAE "{name}" in models/vae. Press R to refresh the list.')
    return path


def direction_names() -> list[str]:
    """Names that Load Latent Directions offers."""
    return [*_offered(DIRECTIONS, GENERATOR_ENDINGS, steering.holds_directions), *EXAMPLE_DIRECTIONS]


def resolve_directions(name: str) -> Path:
    """File of a name of direction_names. Raises InputError if it is missing or outside of the folders."""
    if name in EXAMPLE_DIRECTIONS:
        return examples.FOLDER / Path(name).name
    path = _within(DIRECTIONS, name, GENERATOR_ENDINGS)
    if path is None:
        raise InputError(
            f'There are no directions "{name}" in models/{DIRECTIONS} or output/{DIRECTIONS}. Press R to refresh the '
            "list."
        )
    return path


def not_there(resolve: Callable[[str], Path], name: str | None) -> str | None:
    """Reason why a name is invalid, for validate_inputs; None for a valid one, or if it is not known yet.

    An existing file that cannot be opened is valid here: its error names its kind when it is opened.
    """
    try:
        if name is not None:
            resolve(name)
    except InputError as error:
        return str(error)
    return None


def fingerprint(resolve: Callable[[str], Path], name: str | None) -> str:
    """Text that changes when the file of a name is replaced."""
    try:
        status = resolve(name or "").stat()
    except (InputError, OSError):
        return "missing"  # the node raises the error when it runs
    return f"{status.st_mtime_ns} {status.st_size}"


def shown_path(path: Path) -> str:
    """Path relative to ComfyUI's folder, for the user."""
    output = Path(folder_paths.get_output_directory())
    return (Path(output.name) / path.relative_to(output)).as_posix()


def without_folders(text: str) -> str:
    """A sentence for a browser: paths in ComfyUI's output are relative to ComfyUI's folder."""
    output = Path(folder_paths.get_output_directory())
    return text.replace(f"{output}{os.sep}", f"{output.name}/")


def output(folder: str) -> Path:
    """Folder of this pack in ComfyUI's output."""
    return Path(folder_paths.get_output_directory()) / folder


def _offered(kind: str, endings: tuple[str, ...], opens: Callable[[Path], object]) -> list[str]:
    """Names of the files in the folders of a kind that can be opened, the newest first. Of equal names the first file
    counts."""
    found = {name for root in folder_paths.get_folder_paths(kind) for name in folders.files_in(root, endings)}
    if kind == GENERATORS:
        found = {name for name in found if not name.startswith(f"{TRASH}/")}
    written = {name: _when_written(opens, path) for name in found if (path := _within(kind, name, endings))}
    opening = {name: when for name, when in written.items() if when is not None}
    return sorted(opening, key=lambda name: (-opening[name], name))


def _within(kind: str, name: str, endings: tuple[str, ...]) -> Path | None:
    """File of a name in the folders of a kind; None if it is missing or outside of them."""
    for root in folder_paths.get_folder_paths(kind):
        path = folders.within(root, name)
        if path is not None and path.suffix.lower() in endings and os.path.isfile(path):
            return path
    return None


def _when_written(opens: Callable[[Path], object], path: Path) -> int | None:
    """Time of the last change of a file, in nanoseconds; None for one that cannot be opened."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns if _looked_at(opens, path, status.st_mtime_ns, status.st_size) else None


@functools.lru_cache(maxsize=100_000)
def _looked_at(opens: Callable[[Path], object], path: Path, mtime_ns: int, size: int) -> bool:
    """Whether a file can be opened. Lists are requested at every prompt; a header is read once for each file state."""
    return bool(opens(path))


def _importable(path: Path) -> bool:
    return importable(path) is not None if path.suffix.lower() in SAFETENSORS else may_be_weights(path)


def _opens_as_vae(path: Path) -> bool:
    if path.suffix.lower() not in SAFETENSORS:
        return may_be_weights(path)
    architecture = importable(path)
    return architecture is not None and architecture.encodes
