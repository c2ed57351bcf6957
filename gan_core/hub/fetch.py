"""From a name on the Hub to a generator."""

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
"""Files that hold the weights wherever they are, the first that is there."""

OF_DIFFUSERS = ("AutoencoderKL", "AutoencoderTiny")
"""What opens of diffusers, by the names of its classes."""

LARGEST_CONFIG = 1_000_000
"""Bytes."""

CACHED_SECONDS = 3.0
"""How long the question for the newest commit may take where an answer is only nice to have."""


@dataclass(frozen=True)
class Fetching:
    """How far a generator has come from the Hub."""

    done: int
    """Bytes."""
    total: int
    generator: ImageGenerator | None = None
    """The generator, once all is there. Its card says where it came from: `hub`, with id, commit and file."""
    remark: str = ""
    """For people, where the Hub could not be asked and the cache had to do."""


@dataclass(frozen=True)
class _Listing:
    """What a repository has at one commit."""

    commit: str
    files: Mapping[str, Any]
    """By name, the client's own description of each; None for those of the cache."""
    is_of_the_hub: bool = False
    remark: str = ""


def fetching(name: str, revision: str = "") -> Generator[Fetching, None, None]:
    """Opens a generator from the Hub, on the CPU. Nothing in the repository is executed.

    name: owner/name, or owner/name@revision. revision: a branch, a tag or a commit, if it is not in the name.

    One file is downloaded, besides a small config.json, into the cache of the Hub's own client; what is there already
    is not downloaded again. A commit that is there is not even asked for, and any revision that is there will do where
    the Hub cannot be reached. Yields several times a second; the last value has the generator. Closing the iterator
    stops the download.

    Raises InputError with a sentence that says what to do: for a name that cannot be, for a repository that is not
    there or holds no generator, and for whatever goes wrong on the way.
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
            pass  # what lies there may be damaged, which only the Hub can tell
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
    """The commit that would be fetched now: as the Hub says, or the cache where it cannot be asked; "" for neither.

    Raises nothing: what is wrong with a name is said when it is fetched.
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
    """How far work is, as what fetching yields."""
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
    """Bytes of what is being downloaded, by a client that tells nobody or by another program."""
    try:
        return sum(path.stat().st_size for path in (_folder(repo) / "blobs").glob("*.incomplete"))
    except OSError:  # it is complete
        return 0


def _asked(hub_id: HubId, timeout: float) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(hub_id.repo, revision=hub_id.revision, files_metadata=True, timeout=timeout)


def _listed(hub_id: HubId) -> Generator[Fetching, None, _Listing]:
    """What the Hub has, or what the cache has where the Hub cannot be asked."""
    try:
        return (yield from _steps(hub_id.repo, working(lambda transfer: _listing(hub_id), hub_id, within=QUESTION)))
    except OutOfReach:
        held = _cached(hub_id)
        if held is None:
            raise
        return replace(held, remark="from the cache of this machine: the Hub could not be asked for a newer one")


def _listing(hub_id: HubId) -> _Listing:
    info = patiently(lambda: _asked(hub_id, SECONDS))
    if not COMMIT.fullmatch(info.sha or ""):
        raise NotTheHub(host())
    return _Listing(info.sha, {each.rfilename: each for each in info.siblings or []}, is_of_the_hub=True)


def _folder(repo: str) -> Path:
    """Where the client keeps a repository: refs/<revision> with its commit, snapshots/<commit> with its files."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def _snapshot(repo: str, commit: str) -> Path:
    return _folder(repo) / "snapshots" / commit


def _cached(hub_id: HubId) -> _Listing | None:
    """What the cache has of a revision; None for nothing, and for a cache that is damaged."""
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
    """The one file that is the generator. Raises InputError where there is none, or no telling which."""
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
                f"{hub_id} has {len(found)} {kind} files ({shown}), and no telling which is meant: download the one "
                "that you want from its page into models/gan, and open it with Import Generator."
            )
    raise InputError(f"{hub_id} has no file of weights in it that a generator could be in: check the name.")


def _check_config(hub_id: HubId, listing: _Listing, file: str) -> None:
    """Refuses by what its config says, before gigabytes are downloaded for nothing."""
    name = str(PurePosixPath(file).with_name(CONFIG))
    described = listing.files.get(name)
    if described is None or not 0 < (described.size or 0) <= LARGEST_CONFIG:
        return
    path = finished(working(lambda transfer: _download(hub_id, name, transfer), hub_id))
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # of another program's; the weights say what they are
    if not isinstance(config, dict):
        return
    if "format_version" in config and isinstance(config.get("architecture"), str):
        try:
            by_name(config["architecture"])
        except InputError as error:
            raise InputError(f"{hub_id} cannot be opened: {error} A newer version may.") from None
    kind = config.get("_class_name") or config.get("model_type")
    if isinstance(kind, str) and kind not in OF_DIFFUSERS:
        raise InputError(
            f"{hub_id} is a {kind[:60]} by its config.json, not a generator: use the loader for that kind of model."
        )


def _kept(hub_id: HubId, listing: _Listing, file: str) -> Generator[Fetching, None, Path]:
    """The file in the cache, downloaded where it is not there yet."""
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
            f"{path.name} of {hub_id} came damaged: its hash is not what the Hub says. It was removed; try again, and "
            "by another connection if it happens again."
        )
    return path


def _download(hub_id: HubId, file: str, transfer: Transfer) -> Path:
    from huggingface_hub import hf_hub_download

    # By the revision as it was asked for, and not by its commit: only so the client notes what the branch was, which
    # is what the cache goes by when there is no network. Clients of 1.0 and before take no bar, and cannot be stopped:
    # the download then goes on unseen, and is there the next time.
    bars: dict[str, Any] = (
        {"tqdm_class": _bar(transfer)} if "tqdm_class" in inspect.signature(hf_hub_download).parameters else {}
    )
    return Path(hf_hub_download(hub_id.repo, file, revision=hub_id.revision, etag_timeout=SECONDS, **bars))


def _bar(transfer: Transfer) -> type:
    """The client's bar in the terminal, which also reports, and is where a download can be stopped."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        counted = 0

        def update(self, n: float | None = 1) -> bool | None:
            transfer.go_on()
            self.counted += int(n or 0)
            if transfer.receives:
                transfer.gets(self.counted)  # of two bars, one for what comes and one for what is kept
            return super().update(n)

    return Bar


def has_hash(path: Path, described: Any, transfer: Transfer) -> bool:
    """Whether a file is the one that the client's description of a file on the Hub means."""
    lfs = described.lfs
    found = hashlib.sha256() if lfs else hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            transfer.go_on()
            transfer.gets_ahead()
            found.update(piece)
    return found.hexdigest() == (lfs.sha256 if lfs else described.blob_id)


def _is_whole(path: Path, described: Any, transfer: Transfer) -> bool:
    """Whether a file is what the Hub says it is, where it says so: the client itself compares the sizes alone."""
    return not (described.lfs or described.blob_id) or has_hash(path, described, transfer)


def _removed_as_damaged(hub_id: HubId, path: Path, described: Any) -> Generator[Fetching, None, bool]:
    """Removes a file of the cache that is not what the Hub says. Returns whether it was one."""

    def work(transfer: Transfer) -> bool:
        return not _is_whole(path, described, transfer) and _remove(path)

    return (yield from _steps(hub_id.repo, working(work, hub_id)))


def _remove(path: Path) -> bool:
    """Removes a file of the cache, and the blob that it is a link to."""
    for each in {path.resolve(), path}:
        each.unlink(missing_ok=True)
    return True


def _clean(repo: str) -> None:
    """Removes what a program that died has left of a download; clients from 1.12 on never take that up again."""
    from filelock import FileLock
    from huggingface_hub import constants

    folder = _folder(repo)
    for partial in (folder / "blobs").glob(f"*.{'[0-9a-f]' * 8}.incomplete"):
        etag = partial.name.partition(".")[0]
        lock = FileLock(Path(constants.HF_HUB_CACHE) / ".locks" / folder.name / f"{etag}.lock", timeout=0)
        # Whoever still downloads it has it locked, and what is not ours stays.
        with suppress(OSError, NotImplementedError), lock:
            partial.unlink(missing_ok=True)


def _opened(hub_id: HubId, path: Path, file: str) -> Generator[Fetching, None, ImageGenerator]:
    """Opens what was fetched. Yields meanwhile, so that it can be stopped: a pickle may take a while."""
    size = path.stat().st_size if path.exists() else 0
    try:
        for last in importing(path):
            if last.generator is None:
                yield Fetching(size, size)
    except InputError as error:
        raise InputError(f"{hub_id} cannot be opened: {error}") from None
    made = last.generator
    assert made is not None
    card = {**made.card, "hub": {"id": hub_id.repo, "commit": _commit(path, file), "file": file}}
    if card.get("title") == path.stem:  # it was called after its file, for want of better
        card["title"] = hub_id.repo.partition("/")[2]
    return replace(made, card=card)


def _commit(path: Path, file: str) -> str:
    """The commit that a file in the cache belongs to. By its end, as the folder before it may be a link."""
    return path.parents[len(PurePosixPath(file).parts) - 1].name
