"""Fetching a generator from the Hub by its name."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..architectures import by_name
from ..card import HubOrigin
from ..errors import InputError
from ..foreign.import_generator import ENDINGS, importing
from ..generator import Generator as ImageGenerator
from .client import QUESTION, SECONDS, OutOfReach, check_client, finished, host, patiently, working
from .names import COMMIT, HubId
from .watch import NotTheHub, Transfer

OURS = "model.safetensors"
DIFFUSERS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
KNOWN_NAMES = (OURS, DIFFUSERS, f"vae/{DIFFUSERS}")
"""Usual names of weights, in the order in which they are looked for."""

OF_DIFFUSERS = ("AutoencoderKL", "AutoencoderTiny")
"""Supported classes of diffusers."""

MAX_CONFIG_BYTES = 1_000_000
"""Maximum size of config.json."""

CACHED_SECONDS = 3.0
"""Timeout of the question for the newest commit, in seconds, if the answer is not essential."""


@dataclass(frozen=True)
class Fetching:
    """Progress of fetching a generator."""

    done: int
    """Bytes downloaded."""
    total: int
    """Bytes in all."""
    generator: ImageGenerator | None = None
    """The generator, in the last value. Its card has its origin under `hub`: id, commit and file."""
    remark: str = ""
    """Sentence on the use of the cache if the Hub could not be reached."""


@dataclass(frozen=True)
class _Listing:
    """Files of a repository at one commit."""

    commit: str
    files: Mapping[str, Any]
    """Descriptions of the files by the client, by name; None for files of the cache."""
    is_of_the_hub: bool = False
    remark: str = ""


def fetching(name: str, revision: str = "") -> Generator[Fetching, None, None]:
    """Fetches a generator from the Hub, to the CPU. Nothing in the repository is executed.

    name: owner/name, or owner/name@revision. revision: a branch, a tag or a commit, if it is not in the name.

    One file is downloaded, besides a small config.json, into the cache of the Hub's own client; files in the cache are
    not downloaded again. For a commit in the cache the Hub is not contacted, and without a connection any revision in
    the cache is used. Yields several times a second; the last value has the generator. Closing the iterator stops the
    download.

    Raises InputError with a sentence that says what to do: for an invalid name, for a repository that does not exist or
    has no generator, and for every failure of the connection.
    """
    hub_id = HubId.parse(name, revision)
    check_client()
    held = _cached(hub_id) if hub_id.is_pinned else None
    if held is not None and OURS in held.files:
        try:
            path = _snapshot(hub_id.repo, held.commit) / OURS
            generator = yield from _opened(hub_id, path, OURS)
            yield _all_of(path, generator)
            return
        except InputError:
            pass  # the cached file may be damaged, which only the Hub can tell
    listing = yield from _listed(hub_id)
    file = _chosen(hub_id, listing.files)
    path = _snapshot(hub_id.repo, listing.commit) / file
    if listing.is_of_the_hub:
        if not path.exists():
            _check_config(hub_id, listing, file)
        path = yield from _kept(hub_id, listing, file)
    try:
        generator = yield from _opened(hub_id, path, file)
    except InputError:
        if not listing.is_of_the_hub or not (yield from _removed_as_damaged(hub_id, path, listing.files[file])):
            raise
        path = yield from _kept(hub_id, listing, file)
        generator = yield from _opened(hub_id, path, file)
    yield _all_of(path, generator, listing.remark)


def _all_of(path: Path, generator: ImageGenerator, remark: str = "") -> Fetching:
    size = path.stat().st_size
    return Fetching(size, size, generator, remark)


def newest_commit(name: str, revision: str = "") -> str:
    """Commit that would be fetched now, from the Hub, else from the cache; "" if neither knows one.

    Raises nothing: an invalid name raises its error when it is fetched.
    """
    try:
        hub_id = HubId.parse(name, revision)
    except InputError:
        return ""
    if hub_id.is_pinned:
        return hub_id.revision
    try:
        check_client()
        return finished(working(lambda transfer: _asked(hub_id, CACHED_SECONDS).sha, hub_id, within=CACHED_SECONDS))
    except InputError:
        held = _cached(hub_id)
        return held.commit if held else ""


def _steps(repo: str, steps: Generator[Transfer, None, Any]) -> Generator[Fetching, None, Any]:
    """Progress of work with the Hub, as values of fetching."""
    try:
        while True:
            transfer = next(steps)
            arrived = _arrived(repo)
            transfer.sees(arrived)
            yield Fetching(min(transfer.done or arrived, transfer.total), transfer.total)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def _arrived(repo: str) -> int:
    """Bytes of incomplete downloads, for clients that report no progress, and for other programs."""
    try:
        return sum(path.stat().st_size for path in (_folder(repo) / "blobs").glob("*.incomplete"))
    except OSError:  # it has just been completed
        return 0


def _asked(hub_id: HubId, timeout: float) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(hub_id.repo, revision=hub_id.revision, files_metadata=True, timeout=timeout)


def _listed(hub_id: HubId) -> Generator[Fetching, None, _Listing]:
    """Files on the Hub, or in the cache if the Hub cannot be reached."""
    try:
        return (yield from _steps(hub_id.repo, working(lambda transfer: _listing(hub_id), hub_id, within=QUESTION)))
    except OutOfReach:
        held = _cached(hub_id)
        if held is None:
            raise
        return replace(held, remark="from the cache of this machine: the Hub could not be asked for a newer version")


def _listing(hub_id: HubId) -> _Listing:
    info = patiently(lambda: _asked(hub_id, SECONDS))
    if not COMMIT.fullmatch(info.sha or ""):
        raise NotTheHub(host())
    return _Listing(info.sha, {each.rfilename: each for each in info.siblings or []}, is_of_the_hub=True)


def _folder(repo: str) -> Path:
    """Folder of a repository in the cache: refs/<revision> has its commit, snapshots/<commit> its files."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def _snapshot(repo: str, commit: str) -> Path:
    return _folder(repo) / "snapshots" / commit


def _cached(hub_id: HubId) -> _Listing | None:
    """Files of a revision in the cache; None if there are none, or if the cache is damaged."""
    try:
        named = _folder(hub_id.repo) / "refs" / hub_id.revision
        commit = hub_id.revision if hub_id.is_pinned else named.read_text().strip()
        if not COMMIT.fullmatch(commit):
            return None
        snapshot = _snapshot(hub_id.repo, commit)
        files = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    except (OSError, ValueError):
        return None
    return _Listing(commit, dict.fromkeys(files)) if files else None


def _chosen(hub_id: HubId, files: Mapping[str, Any]) -> str:
    """Name of the file with the generator. Raises InputError if there is none, or more than one candidate."""
    for name in KNOWN_NAMES:
        if name in files:
            return name
    for kind, endings in {"safetensors": (".safetensors",), "pickled": ENDINGS}.items():
        found = sorted(name for name in files if PurePosixPath(name).suffix.lower() in endings)
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
            raise InputError(
                f"{hub_id} has {len(found)} {kind} files ({shown}): download the one that you want from its page into "
                "models/gan, and open it with Import Generator."
            )
    raise InputError(f"{hub_id} has no file of weights that could be a generator: check the name.")


def _check_config(hub_id: HubId, listing: _Listing, file: str) -> None:
    """Raises InputError if config.json shows another kind of model, before gigabytes are downloaded for nothing."""
    name = str(PurePosixPath(file).with_name(CONFIG))
    described = listing.files.get(name)
    if described is None or not 0 < (described.size or 0) <= MAX_CONFIG_BYTES:
        return
    path = finished(working(lambda transfer: _download(hub_id, name, transfer), hub_id))
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # of another program; the weights will show what they are
    if not isinstance(config, dict):
        return
    if "format_version" in config and isinstance(config.get("architecture"), str):
        try:
            by_name(config["architecture"])
        except InputError as error:
            raise InputError(f"{hub_id} cannot be opened: {error} A newer version may open it.") from None
    kind = config.get("_class_name") or config.get("model_type")
    if isinstance(kind, str) and kind not in OF_DIFFUSERS:
        raise InputError(
            f"{hub_id} is a {kind[:60]} by its config.json, not a generator: use the loader for that kind of model."
        )


def _kept(hub_id: HubId, listing: _Listing, file: str) -> Generator[Fetching, None, Path]:
    """Path of the file in the cache, after a download if it is missing."""
    transfer = Transfer(total=listing.files[file].size or 0, receives=True)
    steps = working(lambda transfer: _downloaded(hub_id, listing, file, transfer), hub_id, transfer)
    return (yield from _steps(hub_id.repo, steps))


def _downloaded(hub_id: HubId, listing: _Listing, file: str, transfer: Transfer) -> Path:
    _clean(hub_id.repo)
    was_there = (_snapshot(hub_id.repo, listing.commit) / file).exists()
    path = _download(hub_id, file, transfer)
    commit = _commit(path, file)
    if commit != listing.commit:  # the branch has just moved
        listing = _listing(HubId(hub_id.repo, commit))
    elif was_there:
        return path
    described = listing.files.get(file)
    if described is not None and not _is_whole(path, described, transfer):
        _remove(path)
        raise InputError(
            f"{path.name} of {hub_id} was damaged in the download: its hash is not what the Hub says. It was removed: "
            "try again, with another connection if it happens again."
        )
    return path


def _download(hub_id: HubId, file: str, transfer: Transfer) -> Path:
    from huggingface_hub import hf_hub_download

    # By the requested revision, not its commit: only then the client records the commit of the branch, which the cache
    # needs without a network. Clients up to 1.0 accept no progress bar and cannot be stopped: their download continues
    # in the background and is complete the next time.
    bars: dict[str, Any] = (
        {"tqdm_class": _bar(transfer)} if "tqdm_class" in inspect.signature(hf_hub_download).parameters else {}
    )
    return Path(hf_hub_download(hub_id.repo, file, revision=hub_id.revision, etag_timeout=SECONDS, **bars))


def _bar(transfer: Transfer) -> type:
    """Class of the client's progress bar that also reports progress, and where a download can be stopped."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        counted = 0

        def update(self, n: float | None = 1) -> bool | None:
            transfer.go_on()
            self.counted += int(n or 0)
            if transfer.receives:
                transfer.gets(self.counted)  # one of two bars: received bytes, and stored bytes
            return super().update(n)

    return Bar


def has_hash(path: Path, described: Any, transfer: Transfer) -> bool:
    """Whether a file has the hash in the client's description of a file on the Hub."""
    lfs = described.lfs
    found = hashlib.sha256() if lfs else hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            transfer.go_on()
            transfer.gets_ahead()
            found.update(piece)
    return found.hexdigest() == (lfs.sha256 if lfs else described.blob_id)


def _is_whole(path: Path, described: Any, transfer: Transfer) -> bool:
    """Whether a file has the hash that the Hub declares, if it declares one: the client only compares sizes."""
    return not (described.lfs or described.blob_id) or has_hash(path, described, transfer)


def _removed_as_damaged(hub_id: HubId, path: Path, described: Any) -> Generator[Fetching, None, bool]:
    """Removes a file of the cache if its hash is not what the Hub declares. Returns whether it was removed."""

    def work(transfer: Transfer) -> bool:
        return not _is_whole(path, described, transfer) and _remove(path)

    return (yield from _steps(hub_id.repo, working(work, hub_id)))


def _remove(path: Path) -> bool:
    """Removes a file of the cache, and the blob that it links to."""
    for each in {path.resolve(), path}:
        each.unlink(missing_ok=True)
    return True


def _clean(repo: str) -> None:
    """Removes incomplete downloads of dead programs; clients from 1.12 on never resume them."""
    from filelock import FileLock
    from huggingface_hub import constants

    folder = _folder(repo)
    for partial in (folder / "blobs").glob(f"*.{'[0-9a-f]' * 8}.incomplete"):
        etag = partial.name.partition(".")[0]
        lock = FileLock(Path(constants.HF_HUB_CACHE) / ".locks" / folder.name / f"{etag}.lock", timeout=0)
        # A file that another process is downloading is locked, and stays.
        with suppress(OSError, NotImplementedError), lock:
            partial.unlink(missing_ok=True)


def _opened(hub_id: HubId, path: Path, file: str) -> Generator[Fetching, None, ImageGenerator]:
    """Opens a fetched file. Yields meanwhile, so that it can be stopped: a pickle may take a while."""
    size = path.stat().st_size if path.exists() else 0
    try:
        for last in importing(path):
            if last.generator is None:
                yield Fetching(size, size)
    except InputError as error:
        raise InputError(f"{hub_id} cannot be opened: {error}") from None
    opened = last.generator
    assert opened is not None
    card = replace(opened.card, hub=HubOrigin(hub_id.repo, _commit(path, file), file))
    if card.title == path.stem:  # the title was only the name of its file
        card = replace(card, title=hub_id.repo.partition("/")[2])
    return replace(opened, card=card)


def _commit(path: Path, file: str) -> str:
    """Commit of a file in the cache, from the end of its path, because the cache folder may be a link."""
    return path.parents[len(PurePosixPath(file).parts) - 1].name
