"""Folders and archives of images, in ComfyUI's input and datasets folders."""

import os
from pathlib import Path

import folder_paths

from ...gan_core import InputError, examples, folders

EXAMPLE_FOLDERS = {"example/digits": examples.digits, "example/portraits": examples.portraits}
"""Data sets that ship with the pack, listed with the folders, so that a template runs at once."""


def image_folders() -> list[str]:
    """The folders that Load GAN Image Folder offers, by names that say where they lie.

    Two levels deep, as below these are classes of one data set.
    """
    found = [*EXAMPLE_FOLDERS]
    for kind, root in _image_roots():
        found += [f"{kind}/{name}" for name in folders.folders_in(root, depth=2)]
    return list(dict.fromkeys(found))


def resolve_image_folder(name: str) -> Path:
    """The folder behind a name. Raises InputError for one that is missing or leads out of ComfyUI's folders."""
    kind, _, rest = name.partition("/")
    for root_kind, root in _image_roots():
        folder = folders.within(root, rest)
        if kind == root_kind and folder is not None and os.path.isdir(folder):
            return folder
    raise InputError(
        f'There is no image folder "{name}". Put a folder of images into ComfyUI\'s input or datasets folder, '
        "press R to refresh, and choose it."
    )


def image_archives() -> list[str]:
    """The ZIP archives in the same places, but in none of the folders in them."""
    return [
        f"{kind}/{path.name}"
        for kind, root in _image_roots()
        for path in sorted(root.glob("*.[zZ][iI][pP]"))
        if path.is_file() and not path.name.startswith(".")
    ]


def resolve_images(name: str) -> Path:
    """The folder or the archive behind a name. Raises InputError for any that is not offered."""
    if name in image_archives():
        kind, _, file = name.partition("/")
        return next(root / file for each, root in _image_roots() if each == kind and (root / file).is_file())
    return resolve_image_folder(name)


def dataset_cache() -> Path:
    """Where decoded images are kept between starts."""
    return Path(folder_paths.get_user_directory()) / "gan_studio" / "datasets"


def results() -> list[Path]:
    """The folders that ComfyUI writes pictures into, which are no data set's where they lie in one."""
    return [Path(folder_paths.get_output_directory()), Path(folder_paths.get_temp_directory())]


def _image_roots() -> list[tuple[str, Path]]:
    roots = [("input", folder_paths.get_input_directory())]
    if "datasets" in folder_paths.folder_names_and_paths:  # since ComfyUI 0.29
        roots += [("datasets", root) for root in folder_paths.get_folder_paths("datasets")]
    return [(kind, Path(root)) for kind, root in roots]
