"""From a generator to a repository on the Hub, with all that belongs to it and nothing else."""

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
from ..data.images import default_cache
from ..errors import InputError
from ..files import replacing, temporary_folder
from ..generator import Generator as ImageGenerator
from ..generator import load
from ..latents import sample_noise
from ..media import image as pictures
from ..weights.native import FORMAT_VERSION
from .card import GRID, LICENSES, SINGLE, public, written
from .client import SECONDS, check_client, login, patiently, status, working
from .fetch import CONFIG, OURS, has_hash
from .names import HubId
from .redaction import stripped_workflow, without_tokens
from .watch import Transfer

CARD, METRICS, WORKFLOW = "README.md", "metrics.json", "workflow.json"
SINGLES = range(4)
"""Seeds with a picture of their own."""

NEEDS_NO_LEAVE = {CARD, ".gitattributes"}
"""What a repository may have in it that anybody has just made, and we may write to."""

SMALLEST, LARGEST = 256, 512
"""Sides of a picture in the gallery."""

WIDEST = 1024
"""Pixels of the sheet."""

SHEET = {64: 64, 256: 16, math.inf: 4}
"""Pictures on it, by the side of one: they are drawn on the CPU, so that they are the same each time."""


@dataclass(frozen=True)
class Publication:
    """All that will be sent, ready in a folder."""

    repo: str
    title: str
    card: str
    """The text of README.md."""
    folder: Path
    files: Mapping[str, int]
    """Bytes of each."""
    header: str
    """What the header of the weights says of them, besides their shapes, as JSON."""
    workflow: str
    """The text of workflow.json; empty for none."""
    left_out: tuple[str, ...]
    """A line for each thing that stays here: what is called after the person's own files and folders."""

    def __str__(self) -> str:
        """All that would be sent, to be read before it is."""
        rows = [f"{name}  {size:,} bytes" for name, size in self.files.items()]
        parts = [f"{self.repo} would be sent these {len(rows)} files:", *rows, ""]
        if self.left_out:
            parts += ["left out, and not sent:", *(f"- {line}" for line in self.left_out), ""]
        parts += ["README.md:", self.card, "header of model.safetensors:", self.header]
        return "\n".join([*parts, *(["", "workflow.json:", self.workflow] if self.workflow else [])])


@dataclass(frozen=True)
class Publishing:
    """How far a publication is."""

    done: int
    """Bytes."""
    total: int
    url: str = ""
    """Where it is to be seen, once all is there: the repository, or the pull request."""
    commit: str = ""
    changed: bool = True
    """Whether a commit was made: not where the repository had all of it already."""

    def __str__(self) -> str:
        return f"published: {self.url}" if self.changed else f"nothing has changed, and nothing was sent: {self.url}"


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
    """Writes all that will be published to a temporary folder, which is there until the block ends. Sends nothing.

    repo: owner/name. license: one of LICENSES. title: what it is called; empty for the repository's name. description:
    more about it, in Markdown. workflow: what it was made by, from which everything private is removed. class_names:
    whether the names of its classes are published; otherwise they have numbers.

    Nothing of it is called after a file or a folder of this machine, but what is given here.

    Raises InputError for a name or a licence that cannot be.
    """
    hub_id = HubId.parse(repo)
    check_client()
    if hub_id != HubId(hub_id.repo):
        raise InputError(f'A repository is published to by its name alone, {hub_id.repo}: leave "@" and the rest out.')
    if license not in LICENSES:
        raise InputError(f"Choose a licence for {repo}: what others may do with it is for you to say.")
    # What the person wrote for the page stays as it is, but for a token pasted by mistake.
    title = " ".join(without_tokens(title).split()) or hub_id.repo.partition("/")[2]
    description = without_tokens(description).strip()
    origin = generator.card.get("hub")
    facts, left_out = public(generator, title, class_names)
    removed: list[str] = []
    drawn_by = _json(stripped_workflow(workflow, [hub_id.repo], removed)) if workflow else ""
    with _room() as folder:
        replace(generator, card=facts).save(folder / OURS)
        # As others will have it: the one at hand may lie in memory in another order, and then rounds otherwise.
        sent = load(folder / OURS)
        _write(folder / CONFIG, _json(config_of(sent)))
        _draw(sent, folder)
        if "metrics" in facts:
            _write(folder / METRICS, _json(facts["metrics"]))
        if workflow:
            _write(folder / WORKFLOW, drawn_by)
        card = written(sent, hub_id.repo, license, title, description, SINGLES, origin, bool(workflow))
        _write(folder / CARD, card)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        with weights.opened(folder / OURS) as file:
            header = _json(dict(sorted(file.metadata.items())))
        left_out += [f"workflow, {line}" for line in dict.fromkeys(removed)]
        yield Publication(hub_id.repo, title, card, folder, files, header, drawn_by, tuple(left_out))


@contextmanager
def _room() -> Iterator[Path]:
    """An empty folder for what is to be sent; what a process that died has left of one goes."""
    place = default_cache() / "publishing"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(place)) / "files"
            folder.mkdir()
        except OSError as error:
            raise InputError(
                f"Nothing can be prepared in {place}: {error.strerror or error}. Set GAN_CORE_CACHE to another folder."
            ) from None
        yield folder


def publishing(
    publication: Publication, private: bool = True, as_pull_request: bool = False
) -> Generator[Publishing, None, None]:
    """Sends a publication to the Hub, by the login of the Hub's own client.

    private: whether a new repository is for its owner's eyes alone; one that is there already stays what it is.
    as_pull_request: propose it to a repository that is there, for its owner to accept.

    One commit has all of it. Of what is there already only what has changed is sent; nothing at all, and no commit is
    made, where nothing has. Yields several times a second; the last value has the address. Closing the iterator before
    that leaves the repository as it was.

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
    """What config.json says: the architecture, and the arguments that its network is built from."""
    return {"architecture": generator.architecture.name, "format_version": FORMAT_VERSION, **asdict(generator.config)}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8", "replace"))


def _draw(generator: ImageGenerator, folder: Path) -> None:
    """Pictures of the first seeds: a sheet, and some by themselves."""
    count = next(count for side, count in SHEET.items() if max(generator.size) <= side)
    images = generator.decode(sample_noise(generator, range(count)))
    sheet = _at_most(_enlarged(pictures.grid(images), WIDEST // 2), WIDEST)
    pictures.save_png(sheet, folder / GRID)
    for seed in SINGLES:
        pictures.save_png(_single(images[seed : seed + 1]), folder / SINGLE.format(seed))


def _single(image: Tensor) -> Image.Image:
    return _at_most(_enlarged(pictures.to_pil(image)[0], SMALLEST), LARGEST)


def _enlarged(picture: Image.Image, side: int) -> Image.Image:
    factor = max(1, -(-side // max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _at_most(picture: Image.Image, side: int) -> Image.Image:
    picture.thumbnail((side, side))
    return picture


def _published(publication: Publication, private: bool, as_pull_request: bool, transfer: Transfer) -> Publishing:
    """What happens in the thread. Until the last step nobody sees anything of it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, repo = HfApi(), publication.repo
    there = _existing(api, repo)
    if there is None:
        if as_pull_request:
            raise InputError(f"There is no {repo} on the Hub to make a pull request to: check the name, or log in.")
        api.create_repo(repo, private=private, exist_ok=True)
        there = api.model_info(repo, files_metadata=True, timeout=SECONDS)
    if private and not there.private and not as_pull_request:
        raise InputError(f"{repo} is there already and public: turn private off if everybody may see what you send.")
    files = {each.rfilename: each for each in there.siblings or []}
    if not as_pull_request and not files.keys() <= NEEDS_NO_LEAVE and not _is_ours(repo, there.sha, files):
        raise InputError(
            f"{repo} holds something else than a generator of this kind, which would be lost: choose another name, or "
            "publish as a pull request."
        )
    changed = [name for name in publication.files if not _has(files.get(name), publication.folder / name, transfer)]
    stale = [name for name in (METRICS, WORKFLOW) if name in files and name not in publication.files]
    url = f"{api.endpoint}/{repo}"
    if not changed and not stale:
        return Publishing(transfer.total, transfer.total, url, there.sha, changed=False)
    additions = []
    for name in changed:
        transfer.files.append(_Sent(publication.folder / name, transfer))
        additions.append(CommitOperationAdd(name, transfer.files[-1]))
    # One at a time: several would be sent in threads of the client's own, where none is seen and none can be stopped.
    for addition in additions:
        transfer.go_on()
        api.preupload_lfs_files(repo, [addition], create_pr=as_pull_request)
    transfer.go_on()
    transfer.is_committing = True
    made = api.create_commit(
        repo,
        [*additions, *(CommitOperationDelete(name) for name in stale)],
        commit_message=f"{publication.title}, by ComfyUI-GAN-Studio",
        create_pr=as_pull_request,
        parent_commit=there.sha,
    )
    return Publishing(transfer.total, transfer.total, made.pr_url or url, made.oid)


class _Sent(io.BufferedReader):
    """A file that is sent: where it is read, progress is told, and the sending can be stopped."""

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
        if status(error) == 401 and login():  # a login that is not accepted; the Hub says no more than that
            raise
        return None


def _is_ours(repo: str, commit: str, files: Mapping[str, Any]) -> bool:
    """Whether a repository was published from here before."""
    from huggingface_hub import hf_hub_download

    if CONFIG not in files or (files[CONFIG].size or 0) > 1_000_000:
        return False
    try:
        config = json.loads(Path(hf_hub_download(repo, CONFIG, revision=commit)).read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "format_version" in config and "architecture" in config


def _has(described: Any, path: Path, transfer: Transfer) -> bool:
    """Whether the Hub has a file as it is here."""
    return described is not None and has_hash(path, described, transfer)
