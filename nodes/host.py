"""Everything this pack asks of ComfyUI: its folders, its device and memory, its progress bar and its stop button.

The only file that imports ComfyUI's own modules; comfy_api is the language of schemas and is used by every node.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import comfyui_version
import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from PIL import Image
from server import PromptServer

from ..gan_core import Generator, ImageDataset, InputError, Progress, examples, pictures
from ..gan_core.errors import cleaned, shown
from ..gan_core.hub import consent
from ..gan_core.importing import ENDINGS, SAFETENSORS
from ..gan_core.locks import Owner, own, own_next_free
from ..gan_core.metrics import Measuring
from ..gan_core.names import bad_name
from ..gan_core.projection import Projecting
from ..gan_core.training import checkpoint

OLDEST_COMFYUI = (0, 18, 1)

CATEGORY = "GAN"

EXAMPLE_FOLDERS = {"example/digits": examples.digits, "example/portraits": examples.portraits}
"""Stand among the folders for the images that ship with the pack, so that a template runs at once."""

EXAMPLE_GENERATORS = tuple(
    f"example/{name}.safetensors" for name in ("digits", "stylegan2-digits", "stylegan3-digits", "vae-digits")
)
"""Generators that ship with the pack, listed with the others."""

DIRECTIONS = "gan_directions"
"""The folder of directions, beside that of generators: they are no generators, and are not offered as such."""

PREVIEW_SECONDS = 2.0
PREVIEW_SHARE = 0.03
"""Previews come this often, but rarer where they would take a greater share of the time."""

PREVIEW_SIDE = 512
"""Pixels of a preview's longer side, about."""

DECODE_BYTES = 1 << 30
"""Room for the activations of one decoding pass, generously."""


def check_version() -> None:
    """Says plainly what an old ComfyUI lacks, instead of failing somewhere inside."""
    have = tuple(int(part) for part in re.findall(r"\d+", comfyui_version.__version__)[:3])
    if have < OLDEST_COMFYUI:
        wanted = ".".join(map(str, OLDEST_COMFYUI))
        raise RuntimeError(
            f"ComfyUI-GAN-Studio needs ComfyUI {wanted} or newer, and this is {comfyui_version.__version__}: "
            "update ComfyUI, and its nodes will appear."
        )


# Folders.


def register_folders() -> None:
    """Makes models/gan and output/gan known as the places where generators lie."""
    for folder in (Path(folder_paths.models_dir) / "gan", _output()):
        folder_paths.add_model_folder_path("gan", str(folder))
    folder_paths.folder_names_and_paths["gan"][1].add(".safetensors")
    for folder in (Path(folder_paths.models_dir) / DIRECTIONS, _output(DIRECTIONS)):
        folder_paths.add_model_folder_path(DIRECTIONS, str(folder))
    folder_paths.folder_names_and_paths[DIRECTIONS][1].add(".safetensors")


def image_folders() -> list[str]:
    """The folders that Load Image Folder offers, by names that say where they lie."""
    found = [*EXAMPLE_FOLDERS]
    for kind, root in _image_roots():
        found += [f"{kind}/{name}" for name in _subfolders(root)]
    return list(dict.fromkeys(found))


def resolve_image_folder(name: str) -> Path:
    """The folder behind a name. Raises InputError for one that is missing or leads out of ComfyUI's folders."""
    kind, _, rest = name.partition("/")
    for root_kind, root in _image_roots():
        folder = root / rest
        if kind == root_kind and rest and folder_paths.is_within_directory(str(root), str(folder)) and folder.is_dir():
            return folder
    raise InputError(
        f'There is no image folder "{name}". Put a folder of images into ComfyUI\'s input or datasets folder, '
        "press R to refresh, and choose it."
    )


def dataset_cache() -> Path:
    """Where decoded images are kept between starts."""
    return Path(folder_paths.get_user_directory()) / "gan_studio" / "datasets"


def results() -> list[Path]:
    """The folders that ComfyUI writes pictures into, which are no data set's where they lie in one."""
    return [Path(folder_paths.get_output_directory()), Path(folder_paths.get_temp_directory())]


def generator_names() -> list[str]:
    """The generators that Load Generator offers."""
    names = [name.replace("\\", "/") for name in folder_paths.get_filename_list("gan")]
    return [*EXAMPLE_GENERATORS, *(name for name in names if Path(name).name != checkpoint.FILE)]


def resolve_generator(name: str) -> Path:
    """The file behind a name. Raises InputError for one that is missing or leads out of the folders."""
    return _resolved(name, (".safetensors",))


def foreign_names() -> list[str]:
    """The files that Import Generator offers: those of other programs first."""
    found = []
    for root in folder_paths.get_folder_paths("gan"):
        names, _ = folder_paths.recursive_search(root, excluded_dir_names=[".git"])
        found += folder_paths.filter_files_extensions(names, ENDINGS)
    return [*sorted({name.replace("\\", "/") for name in found}), *generator_names()]


def resolve_foreign(name: str) -> Path:
    """The file behind a name of foreign_names. Raises InputError as resolve_generator does."""
    return _resolved(name, (".safetensors", *ENDINGS))


def _resolved(name: str, endings: tuple[str, ...]) -> Path:
    if name in EXAMPLE_GENERATORS:
        return examples.FOLDER / Path(name).name
    path = _within("gan", name, endings)
    if path is None:
        raise InputError(f'There is no generator "{name}" in models/gan or output/gan. Press R to refresh the list.')
    return path


def _within(kind: str, name: str, endings: tuple[str, ...]) -> Path | None:
    """The file of that name in the folders of a kind; None for one that is missing or leads out of them."""
    for root in folder_paths.get_folder_paths(kind):
        path = Path(root) / name
        if path.suffix.lower() in endings and path.is_file() and folder_paths.is_within_directory(root, str(path)):
            return path
    return None


def vae_names() -> list[str]:
    """The files in models/vae that VAE to Generator offers."""
    names = folder_paths.filter_files_extensions(folder_paths.get_filename_list("vae"), (*SAFETENSORS, *ENDINGS))
    return [name.replace("\\", "/") for name in names]


def resolve_vae(name: str) -> Path:
    """The file behind a name of vae_names. Raises InputError for any other."""
    # By the list, not by where it lies: many keep their models elsewhere, with links to them.
    path = folder_paths.get_full_path("vae", name) if name in vae_names() else None
    if path is None:
        raise InputError(f'There is no VAE "{name}" in models/vae. Press R to refresh the list.')
    return Path(path)


def direction_names() -> list[str]:
    """The directions that Load Directions offers."""
    return [name.replace("\\", "/") for name in folder_paths.get_filename_list(DIRECTIONS)]


def resolve_directions(name: str) -> Path:
    """The file behind a name of direction_names. Raises InputError for one that is missing or leads out."""
    path = _within(DIRECTIONS, name, (".safetensors",))
    if path is None:
        raise InputError(
            f'There are no directions "{name}" in models/{DIRECTIONS} or output/{DIRECTIONS}. Press R to refresh the '
            "list."
        )
    return path


def fingerprint(resolve: Callable[[str], Path], name: str | None) -> str:
    """What changes when the file behind a name is replaced."""
    try:
        status = resolve(name or "").stat()
    except (InputError, OSError):
        return "missing"  # which is said when the node runs
    return f"{status.st_mtime_ns} {status.st_size}"


def save_beside(generator: Generator, path: Path) -> str:
    """Writes a generator as safetensors beside the file that it came from, and says so. What stands there stays."""
    target = path.with_suffix(".safetensors")
    if target.exists():
        return f"{target.name} is there already, and was left as it is"
    generator.save(target)
    return f"saved as {target.name} beside it"


def run_folder(name: str) -> Path:
    """The folder of the training run of that name."""
    reason = bad_run_name(name)
    if reason:
        raise InputError(reason)
    folder = _output() / "runs" / name
    if not folder_paths.is_within_directory(str(_output()), str(folder)):
        raise InputError(f'The run "{name}" lies outside of {_output().name}: choose another name.')
    return folder


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
    return _free_path(prefix, "gan")


def directions_path(prefix: str) -> Path:
    """A free name in output/gan_directions, numbered in the same way."""
    return _free_path(prefix, DIRECTIONS)


def _free_path(prefix: str, folder: str) -> Path:
    reason = bad_prefix(prefix, folder)
    if reason:
        raise InputError(reason)
    path, name, number, _, _ = folder_paths.get_save_image_path(prefix, str(_output(folder)))
    return Path(path) / f"{name}_{number:05}_.safetensors"


def bad_prefix(prefix: str, folder: str = "gan") -> str | None:
    """Why nothing can be saved under a name in a folder of output; None where it can."""
    parts = re.split(r"[/\\]", prefix)
    # Of the folders before the name, none and the one above are judged by where they lead.
    named = [part for part in parts[:-1] if part not in ("", ".", "..")] + parts[-1:]
    reason = next(filter(None, map(bad_name, named)), None)
    if reason:
        return f'"{shown(prefix)}" is no name for a file: use a short name, or folder/name. A part of it {reason}.'
    if not folder_paths.is_within_directory(str(_output(folder)), str(_output(folder) / prefix)):
        return f'"{shown(prefix)}" leads out of output/{folder}: use a name, or folder/name.'
    return None


def shown_path(path: Path) -> str:
    """A path as a person knows it, from ComfyUI's folder on."""
    output = Path(folder_paths.get_output_directory())
    return (Path(output.name) / path.relative_to(output)).as_posix()


def _output(folder: str = "gan") -> Path:
    return Path(folder_paths.get_output_directory()) / folder


def _image_roots() -> list[tuple[str, Path]]:
    roots = [("input", folder_paths.get_input_directory())]
    if "datasets" in folder_paths.folder_names_and_paths:  # since ComfyUI 0.29
        roots += [("datasets", root) for root in folder_paths.get_folder_paths("datasets")]
    return [(kind, Path(root)) for kind, root in roots]


def _subfolders(root: Path, depth: int = 2) -> list[str]:
    """Folders under a root by relative name; not deeper, as below the first levels are classes of one data set."""
    try:
        children = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:
        return []
    names = []
    for child in children:
        names.append(child.name)
        if depth > 1:
            names += [f"{child.name}/{name}" for name in _subfolders(child, depth - 1)]
    return names


# Publishing.


def refusal_to_publish() -> str | None:
    """How the person can allow publishing; None where that is done."""
    return consent.refusal(Path(folder_paths.get_user_directory()))


def workflow(hidden: Any) -> dict[str, Any] | None:
    """The workflow that is run, as the page has it, or else as it was sent; None where ComfyUI is to tell nobody."""
    if args.disable_metadata:
        return None
    page = (hidden.extra_pnginfo or {}).get("workflow")
    return page if isinstance(page, dict) else hidden.prompt


# Device and memory.


def device() -> torch.device:
    return comfy.model_management.get_torch_device()


@contextlib.contextmanager
def training() -> Iterator[None]:
    """Frees the device's memory for a training, and leaves the inference mode that ComfyUI runs nodes in."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        comfy.model_management.soft_empty_cache()


@contextlib.contextmanager
def on_device(generator: Generator, room: int = DECODE_BYTES) -> Iterator[None]:
    """Puts a generator's weights on ComfyUI's device for a while; between uses they take none of its memory.

    room: bytes that are freed for the activations.
    """
    there = device()
    if there.type != "cpu":
        weights = sum(tensor.nbytes for tensor in generator.module.state_dict().values())
        comfy.model_management.free_memory(weights + room, there)
    generator.module.to(there)
    try:
        yield
    finally:
        generator.module.to("cpu")


def is_out_of_memory(error: Exception) -> bool:
    """Whether it is the device's memory that an error is about."""
    return comfy.model_management.is_oom(error)


def in_tiles(
    function: Callable[[torch.Tensor], torch.Tensor],
    whole: torch.Tensor,
    sides: tuple[int, int],
    overlap: int,
    scale: float,
    channels: int,
    unit: int = 1,
) -> torch.Tensor:
    """What a function makes of something large, [B, C, H, W], put together from what it makes of parts, [1, C, h, w].

    sides, overlap: width and height of a part, and what it shares with the next, in units of so many values. scale: of
    a side, from a part to what is made of it. channels: of what is made.

    The mean of three ways to cut it, as core's own VAE does it: in upright, lying and square parts.
    """
    width, height = sides
    ways = [(width // 2, height * 2), (width * 2, height // 2), (width, height)]
    cuts = [(unit * x, unit * y, unit * min(overlap, x // 2, y // 2)) for x, y in ways]
    steps = sum(comfy.utils.get_tiled_scale_steps(whole.shape[3], whole.shape[2], *cut) for cut in cuts)
    bar = comfy.utils.ProgressBar(len(whole) * steps)
    there = comfy.model_management.intermediate_device()
    made = [
        comfy.utils.tiled_scale(whole, function, *cut, scale, channels, output_device=there, pbar=bar) for cut in cuts
    ]
    return (made[0] + made[1] + made[2]) / 3


def to_intermediate(tensor: torch.Tensor) -> torch.Tensor:
    """On the device and in the type that ComfyUI passes between nodes."""
    return tensor.to(comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype())


# What a person sees while a node works.


class NodeProgress:
    """The bar, the picture and the line of text on a node. Every call is also where the stop button works."""

    def __init__(self, node_id: str):
        self.node_id = node_id
        self.bar = comfy.utils.ProgressBar(1000, node_id)
        self.next_preview = 0.0
        self.logged = 0  # remarks of a training

    def reading(self, done: int, total: int) -> None:
        """Shows how many images of a folder are read."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)

    def training(self, progress: Progress) -> None:
        """Shows how far a training is, and now and then what it makes of always the same latents or images."""
        for remark in progress.remarks[self.logged :]:
            logging.info("GAN Studio: %s", _loggable(remark))
        self.logged = len(progress.remarks)
        self._at(progress.fraction, progress.preview, "\n".join([str(progress), *progress.remarks]))

    def ended(self, progress: Progress, folder: Path) -> None:
        """Says how a training ended, and where it is kept."""
        self.say("\n".join([str(progress), *progress.remarks, f"kept in {shown_path(folder)}"]))

    def projecting(self, step: Projecting) -> None:
        """Shows how far a projection is: the pictures looked for, and below them what was found."""

        def preview() -> tuple[torch.Tensor, int]:
            return torch.cat([step.targets[: len(step.images)], step.images]), len(step.images)

        self._at(step.fraction, preview, str(step))

    def measuring(self, step: Measuring) -> None:
        """Shows how far a measurement is: pictures that were just made; at the end the figures, and what looks most
        like real images, above these."""

        def preview() -> tuple[torch.Tensor, int | None]:
            return (torch.cat(step.nearest), len(step.nearest[0])) if step.nearest else (step.images, None)

        if len(step.images):
            self._at(step.fraction, preview, str(step))
        else:
            self.reading(step.done, step.total)
            self.say(str(step))

    def _at(self, fraction: float, preview: Callable[[], tuple[torch.Tensor, int | None]], text: str) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        done = int(1000 * fraction)
        start = time.monotonic()
        # The page keeps the last picture on the node, so the end is always shown.
        if start < self.next_preview and fraction < 1:
            self.bar.update_absolute(done)
            return
        picture = _enlarged(pictures.grid(*preview()))
        self.bar.update_absolute(done, preview=("JPEG", picture, max(picture.size)))
        self.say(text)
        took = time.monotonic() - start
        self.next_preview = start + max(PREVIEW_SECONDS, took / PREVIEW_SHARE)

    def say(self, text: str) -> None:
        """Shows a text on the node, in as many lines as it has."""
        text = "\n".join(map(cleaned, text.split("\n")))
        PromptServer.instance.send_progress_text(text, self.node_id)


def sheet(images: torch.Tensor, columns: int | None = None) -> torch.Tensor:
    """Images [N, C, H, W] in [-1, 1] as one picture in rows, an IMAGE of one."""
    return as_image(_enlarged(pictures.grid(images, columns)))


def as_image(picture: Image.Image) -> torch.Tensor:
    """A picture as an IMAGE of one."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]


def _enlarged(picture: Image.Image) -> Image.Image:
    """Whole-number enlargement of small pixels, on white where they are see-through: what a preview can show."""
    factor = max(1, PREVIEW_SIDE // max(picture.size))
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        picture = white
    return picture.convert("RGB").resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def report_skipped(dataset: ImageDataset) -> None:
    """Names the files that could not be used, in ComfyUI's log."""
    for file, reason in list(dataset.skipped.items())[:20]:
        logging.warning("GAN Studio: skipped %s", _loggable(f"{file}: {reason}"))


def _loggable(text: str) -> str:
    """A text that names files, as the console can print it: one that is redirected on Windows knows few characters."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return cleaned(text).encode(encoding, "replace").decode(encoding)
