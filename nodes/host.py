"""Everything this pack asks of ComfyUI: its folders, its device and memory, its progress bar and its stop button.

The only file that imports ComfyUI's own modules; comfy_api is the language of schemas and is used by every node.
"""

import contextlib
import functools
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import comfyui_version
import folder_paths
import numpy as np
import torch
from comfy.cli_args import args
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ..gan_core import Generator, ImageDataset, InputError, Latent, Progress, examples, folders
from ..gan_core.errors import TrainingDiverged, cleaned, shown
from ..gan_core.foreign.import_generator import ENDINGS, SAFETENSORS, importable, may_be_weights
from ..gan_core.generator import NOISES, architecture_of
from ..gan_core.hub import consent
from ..gan_core.locks import Owner, own, own_next_free
from ..gan_core.media import image as pictures
from ..gan_core.metrics import Measuring
from ..gan_core.names import bad_name
from ..gan_core.pacing import Pace
from ..gan_core.sampling import directions as steering
from ..gan_core.sampling.projection import Projecting
from ..gan_core.training import checkpoint

OLDEST_COMFYUI = (0, 18, 1)

GENERATOR_ENDINGS = (".safetensors",)
FOREIGN_ENDINGS = (".safetensors", *ENDINGS)
VAE_ENDINGS = (*SAFETENSORS, *ENDINGS)

CATEGORY = "GAN"

EXAMPLE_FOLDERS = {"example/digits": examples.digits, "example/portraits": examples.portraits}
"""Stand among the folders for the images that ship with the pack, so that a template runs at once."""

EXAMPLE_GENERATORS = tuple(
    f"example/{name}.safetensors" for name in ("digits", "stylegan2-digits", "stylegan3-digits", "vae-digits")
)
"""Generators that ship with the pack, listed with the others."""

DIRECTIONS = "gan_directions"
"""The folder of directions, beside that of generators: they are no generators, and are not offered as such."""

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


def dataset_cache() -> Path:
    """Where decoded images are kept between starts."""
    return Path(folder_paths.get_user_directory()) / "gan_studio" / "datasets"


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


def results() -> list[Path]:
    """The folders that ComfyUI writes pictures into, which are no data set's where they lie in one."""
    return [Path(folder_paths.get_output_directory()), Path(folder_paths.get_temp_directory())]


def generator_names() -> list[str]:
    """The generators that Load Generator offers: files whose header says that it opens them."""
    return [*EXAMPLE_GENERATORS, *_offered("gan", GENERATOR_ENDINGS, architecture_of)]


def resolve_generator(name: str) -> Path:
    """The file behind a name. Raises InputError for one that is missing or leads out of the folders."""
    return _resolved(name, GENERATOR_ENDINGS)


def foreign_names() -> list[str]:
    """The files that Import Generator offers: those of other programs first."""
    ours = generator_names()
    return [*(name for name in _offered("gan", FOREIGN_ENDINGS, _importable) if name not in ours), *ours]


def resolve_foreign(name: str) -> Path:
    """The file behind a name of foreign_names. Raises InputError as resolve_generator does."""
    return _resolved(name, FOREIGN_ENDINGS)


def _resolved(name: str, endings: tuple[str, ...]) -> Path:
    if name in EXAMPLE_GENERATORS:
        return examples.FOLDER / Path(name).name
    path = _within("gan", name, endings)
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
    return _output() / "runs" / name


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
    place = _output(folder)
    *parts, last = Path(os.path.relpath(os.path.abspath(place / prefix), os.path.abspath(place))).parts
    while parts and (place / parts[0]).is_dir():  # for core nothing may lie behind a link
        place /= parts.pop(0)
    path, name, number, _, _ = folder_paths.get_save_image_path("/".join([*parts, last]), str(place))
    return Path(path) / f"{name}_{number:05}_.safetensors"


def unusable_prefix(prefix: str | None, folder: str = "gan") -> str | None:
    """The same for validate_inputs, where a prefix that comes from a link is None."""
    return None if prefix is None else bad_prefix(prefix, folder)


def bad_prefix(prefix: str, folder: str = "gan") -> str | None:
    """Why nothing can be saved under a name in a folder of output; None where it can."""
    parts = re.split(r"[/\\]", prefix)
    # Of the folders before the name, none and the one above are judged by where they lead.
    named = [part for part in parts[:-1] if part not in ("", ".", "..")] + parts[-1:]
    reason = next(filter(None, map(bad_name, named)), None)
    if reason:
        return f'"{shown(prefix)}" is no name for a file: use a short name, or folder/name. A part of it {reason}.'
    # By its name: a folder of output may be a link of the person's to another disk.
    if not _stays_in(_output(folder), prefix):
        return f'"{shown(prefix)}" leads out of output/{folder}: use a name, or folder/name.'
    return None


def _stays_in(root: Path, prefix: str) -> bool:
    top, target = os.path.abspath(root), os.path.abspath(os.path.join(root, prefix))
    return target.startswith(top + os.sep)


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


def say(text: str, node_id: str | None = None) -> None:
    """Shows a text on a node, in as many lines as it has: on the one that is at work, where none is named."""
    context = get_executing_context()
    node_id = node_id or (context.node_id if context else None)
    if node_id is not None:
        PromptServer.instance.send_progress_text("\n".join(map(_plain, text.split("\n"))), node_id)


def _plain(line: str) -> str:
    """A line that is read as it is where the page takes it for Markdown: a title could name a picture to be loaded."""
    return cleaned(line).replace("<", "‹").replace("](", "] (")


def says_errors(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a person read on the node itself what it could not do: the page's notice is cut short, and goes away."""

    @functools.wraps(execute)
    def saying(cls: Any, *args: Any, **inputs: Any) -> Any:
        try:
            return execute(cls, *args, **inputs)
        except (InputError, TrainingDiverged) as error:
            say(str(error))
            raise

    return saying


class Refusal(str):
    """Why the value of an input cannot be: what validate_inputs returns, once, for the input that it is about.

    ComfyUI repeats an answer for every input that validate_inputs takes, but passes over those for which it is an
    ExecutionBlocker. So this is one, unless it is asked for its own input. Were it asked by other code, nothing would
    be refused before the node runs, and the node says the same.
    """

    about: str

    @classmethod
    def of(cls, **reasons: str | None) -> "Refusal | bool":
        """The first reason, by the name of its input, which is shown on the node too; True where there is none."""
        for name, reason in reasons.items():
            if reason is not None:
                say(reason)
                refusal = cls(reason)
                refusal.about = name
                return refusal
        return True

    @property  # type: ignore[misc] # mypy knows __class__ as a property that can be set
    def __class__(self) -> type:
        asked_for = sys._getframe(1).f_locals.get("x")
        return Refusal if asked_for == self.about else ExecutionBlocker


class NodeProgress:
    """The bar, the picture and the text on a node. Every call is also where the stop button works."""

    def __init__(self, node_id: str | None = None):
        """node_id: None for the node that is at work."""
        context = get_executing_context()
        self.node_id = node_id or (context.node_id if context else "")
        self.bar = comfy.utils.ProgressBar(1000, self.node_id)
        self.pace = Pace()
        self.progress: Progress | None = None  # of a training
        self.logged = 0  # of its remarks

    def reading(self, done: int, total: int, of: str = "") -> None:
        """Shows how much is done.

        of: what is counted, such as "images read"; nothing is said without it.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, total)
        if of and self.pace.text_is_due(time.monotonic()):
            self.say(f"{done:,} of {total:,} {of}")

    def receiving(self, done: int, total: int, of: str) -> None:
        """The like for bytes."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, max(1, total))
        if total and self.pace.text_is_due(time.monotonic()):
            self.say(f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB {of}")

    def training(self, progress: Progress) -> None:
        """Shows how far a training is, and now and then what it makes of always the same latents or images."""
        for remark in once(progress.remarks[self.logged :]):
            logging.info("GAN Studio: %s", _loggable(remark))
        self.progress, self.logged = progress, len(progress.remarks)
        self._at(progress.fraction, progress.preview, lambda: _lines(progress))

    @contextlib.contextmanager
    def until_stopped(self, folder: Path) -> Iterator[None]:
        """Says, where a training in the block is stopped, what is kept of it and how it goes on."""
        try:
            yield
        except comfy.model_management.InterruptProcessingException:
            said = "stopped before anything was learned"
            if (folder / checkpoint.FILE).is_file():
                said = (
                    f"stopped, and kept in {shown_path(folder)}: to go on, set run_name to {folder.name}, turn on "
                    "resume, and press Run"
                )
            self.say("\n".join([said, *([self.progress.figures] if self.progress else [])]))
            raise

    def ended(self, progress: Progress, folder: Path) -> None:
        """Says how a training ended, and where it is kept. Raises TrainingDiverged for one that went wrong."""
        kept = f"kept in {shown_path(folder)}"
        if progress.failed:
            raise TrainingDiverged(f"{progress.trouble} It is {kept}/generator.safetensors, for Load Generator.")
        self.say(_lines(progress, kept))

    def projecting(self, step: Projecting) -> None:
        """Shows how far a projection is: the pictures looked for, and below them what was found."""

        def preview() -> tuple[torch.Tensor, int]:
            return torch.cat([step.targets[: len(step.images)], step.images]), len(step.images)

        self._at(step.fraction, preview, lambda: str(step))

    def measuring(self, step: Measuring) -> None:
        """Shows how far a measurement is: pictures that were just made; at the end the figures, and what looks most
        like real images, above these."""

        def preview() -> tuple[torch.Tensor, int | None]:
            return (torch.cat(step.nearest), len(step.nearest[0])) if step.nearest else (step.images, None)

        if len(step.images):
            self._at(step.fraction, preview, lambda: str(step))
        else:
            self._at(step.done / max(1, step.total), None, lambda: str(step))

    def _at(
        self,
        fraction: float,
        preview: Callable[[], tuple[torch.Tensor, int | None]] | None,
        text: Callable[[], str],
    ) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        done, began = int(1000 * fraction), time.monotonic()
        # The page keeps the last text and picture on the node, so the end is always shown.
        if self.pace.text_is_due(began) or fraction >= 1:
            self.say(text())
        if preview is None or (fraction < 1 and not self.pace.preview_is_due(began)):
            self.bar.update_absolute(done, 1000)
            return
        picture = _enlarged(pictures.grid(*preview()))
        self.bar.update_absolute(done, 1000, ("JPEG", picture, max(picture.size)))
        self.pace.preview_made(began, time.monotonic())

    def say(self, text: str) -> None:
        """Shows a text on the node, in as many lines as it has."""
        say(text, self.node_id)


def _lines(progress: Progress, kept: str | None = None) -> str:
    """What is said of a training: the worst first, and each sentence once."""
    lines = [progress.trouble, progress.figures, kept, *progress.remarks]
    return "\n".join(once([line for line in lines if line]))


def once(lines: Sequence[str]) -> list[str]:
    """Those of some sentences that say more than the others; when a thing was seen is left out where it is said again
    with what came of it."""
    bare = [re.sub(r"^At [\d.]+ kimg: ", "", line) for line in lines]
    return [
        line
        for place, line in enumerate(lines)
        if not any(bare[place] in other for other in bare[:place])
        and not any(bare[place] in other and bare[place] != other for other in bare[place + 1 :])
    ]


def decoded(
    generator: Generator,
    latent: Latent,
    noise: str = NOISES[0],
    noise_seed: int = 0,
    transform: torch.Tensor | None = None,
) -> torch.Tensor:
    """Images [B, C, H, W] as generator.decode makes them, where the node says how far it is and can be stopped."""
    generator.check(latent)
    shown = NodeProgress()
    images: torch.Tensor | None = None
    for part in generator.passes(latent):
        shown.reading(part.start, len(latent), "pictures made" if part.start else "")
        matrices = transform if transform is None or len(transform) == 1 else transform[part]
        made = generator.decode(latent[part], noise, noise_seed + part.start, matrices)
        if images is None:
            # Once for all of them: joined at the end, thousands would take twice the memory.
            images = made if len(made) == len(latent) else made.new_empty(len(latent), *made.shape[1:])
        if images is not made:
            images[part] = made
    assert images is not None
    shown.reading(len(latent), len(latent))
    return images


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
