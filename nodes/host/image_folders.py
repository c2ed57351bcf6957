"""Folders and archives of images, in ComfyUI's input and datasets folders."""

import os
from pathlib import Path

import folder_paths

from ...gan_core import ImageDataset, InputError, examples, folders


def _critters(size: tuple[int, int], channels: str, mirror: bool, labels: bool) -> ImageDataset:
    return examples.critters(size, channels, mirror, labels, cache=dataset_cache())


EXAMPLE_FOLDERS = {**examples.DATASETS, "example/critters": _critters}
"""Bundled data sets, listed with the folders, so that a template runs at once."""


def image_folders() -> list[str]:
    """Names of the folders that Load GAN Image Folder offers, with the root as a prefix.

    Two levels deep, because deeper folders are classes of a data set.
    """
    found = [*EXAMPLE_FOLDERS]
    for kind, root in _image_roots():
        found += [f"{kind}/{name}" for name in folders.folders_in(root, depth=2)]
    return list(dict.fromkeys(found))


def resolve_image_folder(name: str) -> Path:
    """Folder of a name. Raises InputError if it is missing or outside of ComfyUI's folders."""
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
    """Names of the ZIP archives in the same roots, but not in their sub-folders."""
    return [
        f"{kind}/{path.name}"
        for kind, root in _image_roots()
        for path in sorted(root.glob("*.[zZ][iI][pP]"))
        if path.is_file() and not path.name.startswith(".")
    ]


def resolve_images(name: str) -> Path:
    """Folder or archive of a name. Raises InputError if it is not offered."""
    if name in image_archives():
        kind, _, file = name.partition("/")
        return next(root / file for each, root in _image_roots() if each == kind and (root / file).is_file())
    return resolve_image_folder(name)


def dataset_cache() -> Path:
    """Folder for decoded images, which is kept between starts."""
    return Path(folder_paths.get_user_directory()) / "gan_studio" / "datasets"


def results() -> list[Path]:
    """Folders that ComfyUI writes images to, which are not part of a data set that contains them."""
    return [Path(folder_paths.get_output_directory()), Path(folder_paths.get_temp_directory())]


def _image_roots() -> list[tuple[str, Path]]:
    roots = [("input", folder_paths.get_input_directory())]
    if "datasets" in folder_paths.folder_names_and_paths:  # since ComfyUI 0.29
        roots += [("datasets", root) for root in folder_paths.get_folder_paths("datasets")]
    return [(kind, Path(root)) for kind, root in roots]
