"""Reading a folder of images, for commands that train or measure on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..data.images import ImageDataset, reading
from ..examples import DATASETS
from ..media.image_files import FITS
from .printing import say

fit_option = click.option(
    "--fit",
    type=click.Choice(list(FITS)),
    default="crop",
    show_default=True,
    help="How images of another aspect ratio are fitted.",
)


def read_dataset(folder: Path, quiet: bool = False, **settings: Any) -> ImageDataset:
    """Reads the images in a folder with a progress bar, and prints what was found and skipped.

    A name of DATASETS is that data set, unless there is a folder of this name.
    """
    bundled = None if folder.exists() else DATASETS.get(folder.as_posix())
    if bundled is not None:
        shape = {name: settings[name] for name in ("size", "channels", "mirror", "labels") if name in settings}
        images = bundled(**shape)
        if not quiet:
            say(repr(images))
        return images
    with tqdm(desc="reading images", unit="image", leave=False, delay=1, disable=quiet) as bar:
        for step in reading(folder, **settings):
            bar.total = step.total
            bar.update(step.done - bar.n)
    dataset = step.dataset
    assert dataset is not None
    if quiet:
        return dataset
    say(repr(dataset))
    for file, reason in list(dataset.skipped.items())[:10]:
        say(f"  skipped {file}: {reason}", err=True)
    if len(dataset.skipped) > 10:
        say(f"  and {len(dataset.skipped) - 10} more", err=True)
    for remark in dataset.remarks:
        say(f"  {remark}")
    return dataset
