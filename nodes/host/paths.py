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
    f"example/{name}.safetensors" for name in ("digits", "stylegan2-digits", "stylegan3-digits", "vae-digits")
)
"""Generators that ship with the pack, listed with the others."""

GENERATORS = "gan"
"""The folder of generators, in models and in output."""

DIRECTIONS = "gan_directions"
"""The folder of directions. It stands beside that of generators, which directions must not be offered as."""


def register_folders() -> None:
    """Makes folders of generators and of directions known to ComfyUI: models/gan, output/gan and those beside them."""
    for kind in (GENERATORS, DIRECTIONS):
        for folder in (Path(folder_paths.models_dir) / kind, output(kind)):
            folder_paths.add_model_folder_path(kind, str(folder))
        folder_paths.folder_names_and_paths[kind][1].add(".safetensors")


def generator_names() -> list[str]:
    """The generators that Load Generator offers: files whose header says that it opens them."""
    return [*EXAMPLE_GENERATORS, *_offered(GENERATORS, GENERATOR_ENDINGS, architecture_of)]


def resolve_generator(name: str) -> Path:
    """The file behind a name. Raises InputError for one that is missing or leads out of the folders."""
    return _resolved(name, GENERATOR_ENDINGS)


def foreign_names() -> list[str]:
    """The files that Import Generator offers: those of other programs first."""
    ours = generator_names()
    return [*(name for name in _offered(GENERATORS, FOREIGN_ENDINGS, _importable) if name not in ours), *ours]


def resolve_foreign(name: str) -> Path:
    """The file behind a name of foreign_names. Raises InputError as resolve_generator does."""
    return _resolved(name, FOREIGN_ENDINGS)


def _resolved(name: str, endings: tuple[str, ...]) -> Path:
    if name in EXAMPLE_GENERATORS:
        return examples.FOLDER / Path(name).name
    path = _within(GENERATORS, name, endings)
    if path is None:
        raise InputError(f'There is no generator "{name}" in models/gan or output/gan. Press R to refresh the list.')
    return path


def vae_names() -> list[str]:
    """The files in models/vae that VAE to Generator offers."""
    return _offered("vae", VAE_ENDINGS, _opens_as_vae)


def resolve_vae(name: str) -> Path:
    """The file behind a name of vae_names. Raises InputError for one that is missing or leads out of the folders."""
    path = _within("vae", name, VAE_ENDINGS)
    if path is None:
        raise InputError(f'There is no VAE "{name}" in models/vae. Press R to refresh the list.')
    return path


def direction_names() -> list[str]:
    """The directions that Load Latent Directions offers."""
    return _offered(DIRECTIONS, GENERATOR_ENDINGS, steering.holds_directions)


def resolve_directions(name: str) -> Path:
    """The file behind a name of direction_names. Raises InputError for one that is missing or leads out."""
    path = _within(DIRECTIONS, name, GENERATOR_ENDINGS)
    if path is None:
        raise InputError(
            f'There are no directions "{name}" in models/{DIRECTIONS} or output/{DIRECTIONS}. Press R to refresh the '
            "list."
        )
    return path


def not_there(resolve: Callable[[str], Path], name: str | None) -> str | None:
    """Why a name cannot be queued, for validate_inputs; None where it can, or is not known yet.

    A file that is there and does not open may be queued: what it is instead is said when it is opened.
    """
    try:
        if name is not None:
            resolve(name)
    except InputError as error:
        return str(error)
    return None


def fingerprint(resolve: Callable[[str], Path], name: str | None) -> str:
    """What changes when the file behind a name is replaced."""
    try:
        status = resolve(name or "").stat()
    except (InputError, OSError):
        return "missing"  # which is said when the node runs
    return f"{status.st_mtime_ns} {status.st_size}"


def shown_path(path: Path) -> str:
    """A path as a person knows it, from ComfyUI's folder on."""
    output = Path(folder_paths.get_output_directory())
    return (Path(output.name) / path.relative_to(output)).as_posix()


def output(folder: str) -> Path:
    """A folder of ComfyUI's output that is this pack's own."""
    return Path(folder_paths.get_output_directory()) / folder


def _offered(kind: str, endings: tuple[str, ...], opens: Callable[[Path], object]) -> list[str]:
    """Names of the files in the folders of a kind that open. Of two with one name it is the first that is meant."""
    found = {name for root in folder_paths.get_folder_paths(kind) for name in folders.files_in(root, endings)}
    return sorted(name for name in found if (path := _within(kind, name, endings)) and _known(opens, path))


def _within(kind: str, name: str, endings: tuple[str, ...]) -> Path | None:
    """The file of that name in the folders of a kind; None for one that is missing or leads out of them."""
    for root in folder_paths.get_folder_paths(kind):
        path = folders.within(root, name)
        if path is not None and path.suffix.lower() in endings and os.path.isfile(path):
            return path
    return None


def _known(opens: Callable[[Path], object], path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return _looked_at(opens, path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=100_000)
def _looked_at(opens: Callable[[Path], object], path: Path, mtime_ns: int, size: int) -> bool:
    """Whether a file opens. Lists are asked for at every prompt, and a header is read once for each state of a file."""
    return bool(opens(path))


def _importable(path: Path) -> bool:
    return importable(path) is not None if path.suffix.lower() in SAFETENSORS else may_be_weights(path)


def _opens_as_vae(path: Path) -> bool:
    if path.suffix.lower() not in SAFETENSORS:
        return may_be_weights(path)
    architecture = importable(path)
    return architecture is not None and architecture.encodes
