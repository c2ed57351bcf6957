"""Listing of the images in the folder or ZIP archive of a data set, and of the files that are ignored."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from ...errors import InputError
from .archive import list_archive, state_of_archive
from .folder import list_folder
from .left_out import counted, hints
from .listing import INDEX, Listing

__all__ = ["INDEX", "Listing", "list_images", "state_of"]


def list_images(root: Path, exclude: Collection[Path] = ()) -> Listing:
    """Lists a folder with its sub-folders, or a ZIP archive.

    exclude: folders whose content is never data, such as the folder of the run that is to be trained.

    Links are followed. Hidden files, system files and the files of training runs are left out. Raises InputError if
    there is no image.
    """
    listing: Listing = list_archive(root) if _is_archive(root) else list_folder(root, exclude)
    if not listing.files:
        listing.close()
        others = f" It has {counted(listing.passed_over)}." if listing.passed_over else ""
        raise InputError(
            f"There are no images in {root}: put PNG, JPEG or WebP files there.{others}"
            + "".join(f" {sentence}" for sentence in (*hints(listing.passed_over), *listing.remarks))
        )
    return listing


def state_of(root: Path, exclude: Collection[Path] = ()) -> str:
    """Listing.state, without opening an archive. Raises the errors of list_images."""
    if _is_archive(root):
        return state_of_archive(root)
    with closing(list_images(root, exclude)) as listing:
        return listing.state


def _is_archive(root: Path) -> bool:
    return root.is_file() and root.suffix.lower() == ".zip"
