"""Publishing a generator to a repository on the Hub, with all that belongs to it and nothing private."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from .. import weights
from ..card import Card
from ..data.image_cache import default_cache
from ..errors import InputError
from ..files import replacing, temporary_folder
from ..generator import Generator as ImageGenerator
from ..generator import load
from ..media.image import grid, save_png, to_pil
from ..sampling.seeds import sample_noise
from ..weights.native import FORMAT_VERSION
from .card import GRID, LICENSES, SINGLE, public, written
from .client import SECONDS, check_client, login, patiently, status, working
from .fetch import CONFIG, OURS, has_hash
from .names import HubId
from .redaction import stripped_workflow, without_tokens
from .watch import Transfer

CARD, METRICS, WORKFLOW = "README.md", "metrics.json", "workflow.json"
SINGLES = range(4)
"""Seeds with an image of their own."""

NEW_REPOSITORY = {CARD, ".gitattributes"}
"""Files of a new, empty repository, which may be written to without asking."""

MIN_SIDE, MAX_SIDE = 256, 512
"""Range of the side of an image in the gallery, in pixels."""

MAX_GRID_SIDE = 1024
"""Maximum side of the grid, in pixels."""

GRID_COUNTS = {64: 64, 256: 16, math.inf: 4}
"""Number of images in the grid, by their maximum side. They are generated on the CPU, to be reproducible."""


@dataclass(frozen=True)
class Publication:
    """Files of a publication, ready in a folder to be uploaded."""

    repo: str
    title: str
    card: str
    """Text of README.md."""
    folder: Path
    files: Mapping[str, int]
    """Sizes of the files in bytes, by name."""
    header: str
    """Metadata in the header of the weights, as JSON."""
    workflow: str
    """Text of workflow.json; empty for none."""
    left_out: tuple[str, ...]
    """Lines on what is not uploaded, because it is named after local files and folders."""

    def __str__(self) -> str:
        """Everything that would be uploaded, for a review beforehand."""
        rows = [f"{name}  {size:,} bytes" for name, size in self.files.items()]
        parts = [f"{len(rows)} files would be uploaded to {self.repo}:", *rows, ""]
        if self.left_out:
            parts += ["left out, not uploaded:", *(f"- {line}" for line in self.left_out), ""]
        parts += ["README.md:", self.card, "header of model.safetensors:", self.header]
        return "\n".join([*parts, *(["", "workflow.json:", self.workflow] if self.workflow else [])])


@dataclass(frozen=True)
class Publishing:
    """Progress of a publication."""

    done: int
    """Bytes uploaded."""
    total: int
    """Bytes in all."""
    url: str = ""
    """Address of the repository or the pull request, in the last value."""
    commit: str = ""
    changed: bool = True
    """Whether a commit was created; False if the repository already had all files."""

    def __str__(self) -> str:
        return f"published: {self.url}" if self.changed else f"nothing has changed, nothing was uploaded: {self.url}"


@contextmanager
def prepared(
    generator: ImageGenerator,
    repo: str,
    license: str,
    title: str = "",
    description: str = "",
    workflow: Mapping[str, Any] | None = None,
    class_names: bool = False,
) -> Iterator[Publication]:
    """Writes all files of a publication to a temporary folder, which exists until the block ends. Uploads nothing.

    repo: owner/name. license: one of LICENSES. title: public title; empty for the name of the repository. description:
    more about it, in Markdown. workflow: the workflow that created it, from which everything private is removed.
    class_names: whether the names of its classes are published; else they are numbers.

    Except for these arguments nothing in it is named after a file or a folder of this machine.

    Raises InputError for an invalid name or licence.
    """
    hub_id = HubId.parse(repo)
    check_client()
    if hub_id != HubId(hub_id.repo):
        raise InputError(f'The repository must have no revision: write {hub_id.repo}, without "@" and what follows.')
    if license not in LICENSES:
        raise InputError(f"Choose a licence for {repo}: only you can decide what others may do with it.")
    # The user's own texts stay as they are, except for a token pasted by mistake.
    title = " ".join(without_tokens(title).split()) or hub_id.repo.partition("/")[2]
    description = without_tokens(description).strip()
    origin = generator.card.hub
    facts, left_out = public(generator, title, class_names)
    removed: list[str] = []
    public_workflow = _json(stripped_workflow(workflow, [hub_id.repo], removed)) if workflow else ""
    with _prepared_folder() as folder:
        replace(generator, card=Card.from_json(facts)).save(folder / OURS)
        # Loaded again as others will load it: the given one may have another memory format, and then rounds otherwise.
        sent = load(folder / OURS)
        _write(folder / CONFIG, _json(config_of(sent)))
        _draw(sent, folder)
        if "metrics" in facts:
            _write(folder / METRICS, _json(facts["metrics"]))
        if workflow:
            _write(folder / WORKFLOW, public_workflow)
        card = written(sent, hub_id.repo, license, title, description, SINGLES, origin, bool(workflow))
        _write(folder / CARD, card)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        with weights.opened(folder / OURS) as file:
            header = _json(dict(sorted(file.metadata.items())))
        left_out += [f"workflow, {line}" for line in dict.fromkeys(removed)]
        yield Publication(hub_id.repo, title, card, folder, files, header, public_workflow, tuple(left_out))


@contextmanager
def _prepared_folder() -> Iterator[Path]:
    """Empty folder for the files of a publication. Removes what dead processes left of earlier ones."""
    place = default_cache() / "publishing"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(place)) / "files"
            folder.mkdir()
        except OSError as error:
            raise InputError(
                f"Cannot write to {place}: {error.strerror or error}. Set GAN_CORE_CACHE to another folder."
            ) from None
        yield folder


def publishing(
    publication: Publication, private: bool = True, as_pull_request: bool = False
) -> Generator[Publishing, None, None]:
    """Uploads a publication to the Hub, with the login of the Hub's own client.

    private: whether a new repository is private; an existing one stays as it is. as_pull_request: whether to open a
    pull request in an existing repository instead.

    All changed files are uploaded in one commit; if none has changed, no commit is created. Yields several times a
    second; the last value has the address. Closing the iterator before that leaves the repository unchanged.

    Raises InputError with a sentence that says what to do.
    """
    total = Transfer(total=sum(publication.files.values()))
    steps = working(
        lambda transfer: _published(publication, private, as_pull_request, transfer), HubId(publication.repo), total
    )
    try:
        while True:
            transfer = next(steps)
            yield Publishing(transfer.done, transfer.total)
    except StopIteration as end:
        yield end.value
    finally:
        steps.close()


def config_of(generator: ImageGenerator) -> dict[str, Any]:
    """Content of config.json: the architecture, and the arguments of its network."""
    return {"architecture": generator.architecture.name, "format_version": FORMAT_VERSION, **asdict(generator.config)}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", "replace"))


def _draw(generator: ImageGenerator, folder: Path) -> None:
    """Writes images of the first seeds: a grid, and single images."""
    count = next(count for side, count in GRID_COUNTS.items() if max(generator.size) <= side)
    images = generator.decode(sample_noise(generator, range(count)))
    save_png(_at_most(_enlarged(grid(images), MAX_GRID_SIDE // 2), MAX_GRID_SIDE), folder / GRID)
    for seed in SINGLES:
        save_png(_single(images[seed : seed + 1]), folder / SINGLE.format(seed))


def _single(image: Tensor) -> Image.Image:
    return _at_most(_enlarged(to_pil(image)[0], MIN_SIDE), MAX_SIDE)


def _enlarged(image: Image.Image, side: int) -> Image.Image:
    factor = max(1, -(-side // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _at_most(image: Image.Image, side: int) -> Image.Image:
    image.thumbnail((side, side))
    return image


def _published(publication: Publication, private: bool, as_pull_request: bool, transfer: Transfer) -> Publishing:
    """Work of the thread. Nothing is visible on the Hub before its last step."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, repo = HfApi(), publication.repo
    existing = _existing(api, repo)
    if existing is None:
        if as_pull_request:
            raise InputError(f"There is no {repo} on the Hub for a pull request: check the name, or log in.")
        api.create_repo(repo, private=private, exist_ok=True)
        existing = api.model_info(repo, files_metadata=True, timeout=SECONDS)
    if private and not existing.private and not as_pull_request:
        raise InputError(f"{repo} exists already and is public: turn private off if everybody may see your files.")
    files = {each.rfilename: each for each in existing.siblings or []}
    if not as_pull_request and not files.keys() <= NEW_REPOSITORY and not _is_ours(repo, existing.sha, files):
        raise InputError(
            f"{repo} has other files than those of a generator, which would be lost: choose another name, or publish "
            "as a pull request."
        )
    changed = [name for name in publication.files if not _has(files.get(name), publication.folder / name, transfer)]
    stale = [name for name in (METRICS, WORKFLOW) if name in files and name not in publication.files]
    url = f"{api.endpoint}/{repo}"
    if not changed and not stale:
        return Publishing(transfer.total, transfer.total, url, existing.sha, changed=False)
    additions = []
    for name in changed:
        transfer.files.append(_Sent(publication.folder / name, transfer))
        additions.append(CommitOperationAdd(name, transfer.files[-1]))
    # One at a time: the client sends several in its own threads, where they cannot be watched or stopped.
    for addition in additions:
        transfer.go_on()
        api.preupload_lfs_files(repo, [addition], create_pr=as_pull_request)
    transfer.go_on()
    transfer.is_committing = True
    commit = api.create_commit(
        repo,
        [*additions, *(CommitOperationDelete(name) for name in stale)],
        commit_message=f"{publication.title}, by ComfyUI-GAN-Studio",
        create_pr=as_pull_request,
        parent_commit=existing.sha,
    )
    return Publishing(transfer.total, transfer.total, commit.pr_url or url, commit.oid)


class _Sent(io.BufferedReader):
    """A file to upload, whose reads report progress and can stop the upload."""

    def __init__(self, path: Path, transfer: Transfer):
        super().__init__(io.FileIO(path))
        self._transfer = transfer

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._transfer.sends(len(piece))
        return piece


def _existing(api: Any, repo: str) -> Any:
    from huggingface_hub.utils import RepositoryNotFoundError

    try:
        return patiently(lambda: api.model_info(repo, files_metadata=True, timeout=SECONDS))
    except RepositoryNotFoundError as error:
        if status(error) == 401 and login():  # the login is not accepted
            raise
        return None


def _is_ours(repo: str, commit: str, files: Mapping[str, Any]) -> bool:
    """Whether a repository has a generator that this package published."""
    from huggingface_hub import hf_hub_download

    if CONFIG not in files or (files[CONFIG].size or 0) > 1_000_000:
        return False
    try:
        config = json.loads(Path(hf_hub_download(repo, CONFIG, revision=commit)).read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "format_version" in config and "architecture" in config


def _has(described: Any, path: Path, transfer: Transfer) -> bool:
    """Whether the Hub has a file with the same content."""
    return described is not None and has_hash(path, described, transfer)
