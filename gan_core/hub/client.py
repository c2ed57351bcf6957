"""Calls to the Hub's own client: in a thread that can be stopped, with a time limit, and with every failure as one
sentence."""

from __future__ import annotations

import errno
import math
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import InputError
from . import watch
from .names import HubId
from .redaction import without_tokens
from .watch import BrokenOff, NotTheHub, Refused, Transfer, Unusable

SECONDS = 8.0
"""Timeout of one request to the Hub, in seconds."""

QUESTION = 12.0
"""Timeout of a question with all its retries, in seconds. It also ends a request that hangs in another way."""

TRIES = 3
"""Attempts at a question if the Hub has trouble, a second apart."""

POLL_SECONDS = 0.2
"""Seconds between two yields while work goes on in its thread."""

STOP_SECONDS = 2.0
"""Seconds to wait for work to notice that it is stopped."""

DISK_SECONDS = 60.0
"""Seconds that the disk may take after the last byte has arrived."""

T = TypeVar("T")


class OutOfReach(InputError):
    """The Hub could not be reached, or was too busy to answer."""


def working(
    work: Callable[[Transfer], T], hub_id: HubId, transfer: Transfer | None = None, within: float = math.inf
) -> Generator[Transfer, None, T]:
    """Runs work in its own thread and yields its progress several times a second. Returns the result of the work.

    within: maximum seconds. In any case work without progress is stopped after STALL seconds, however long the client
    would wait. Closing the generator stops the work.

    Raises InputError for every failure of the Hub, OutOfReach if it did not answer.
    """
    transfer = transfer or Transfer()
    future: Future[T] = Future()

    def run() -> None:
        try:
            check_settings()
            with watch.watched(transfer):
                future.set_result(work(transfer))
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            future.set_exception(error)

    # A daemon: some downloads cannot be stopped, and none may keep the program from ending.
    thread = Thread(target=run, name="gan_core.hub", daemon=True)
    deadline = time.monotonic() + within
    transfer.gets_ahead()
    thread.start()
    try:
        while not wait([future], POLL_SECONDS).done:
            if _has_hung(transfer) or time.monotonic() > deadline:
                transfer.stopped = True
                raise OutOfReach(_of_silence(transfer, hub_id))
            yield transfer
    finally:
        if not transfer.stopped:
            transfer.stopped = True
            thread.join(STOP_SECONDS)
        for file in transfer.files:  # Windows cannot remove an open file
            with suppress(OSError, ValueError):
                file.close()
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, InputError):
        raise error
    is_open = transfer.is_committing and not transfer.status and not isinstance(error, NotTheHub)
    silent = is_open and is_out_of_reach(error)
    sentence = _of_silence(transfer, hub_id) if silent else explained(error, hub_id, transfer)
    # The client's own messages contain addresses, request ids, possibly headers: none is passed on.
    if sentence is None:
        raise error
    raise (OutOfReach if is_out_of_reach(error) else InputError)(sentence) from None


def _has_hung(transfer: Transfer) -> bool:
    return transfer.idle > (
        DISK_SECONDS if transfer.receives and transfer.done and not transfer.asking else watch.STALL
    )


def finished(steps: Generator[Any, None, T]) -> T:
    """Runs a generator to its end, and returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def patiently(question: Callable[[], T]) -> T:
    """Repeats a question while the Hub answers with a server error."""
    from huggingface_hub.utils import HfHubHTTPError

    for _ in range(TRIES - 1):
        try:
            return question()
        except HfHubHTTPError as error:
            if status(error) < 500:
                raise
            time.sleep(1)
    return question()


def status(error: BaseException) -> int:
    """HTTP status of a failure; 0 if it is not an answer of the Hub."""
    return getattr(getattr(error, "response", None), "status_code", 0)


# Settings of the client: the environment and the login.


def check_client() -> None:
    """Raises InputError if the client cannot be imported, which reads its settings."""
    try:
        from huggingface_hub import HfApi, constants, hf_hub_download  # noqa: F401
    except Exception as error:  # noqa: BLE001 - a setting that is not a number or an address raises anything
        raise InputError(
            f"The Hub's client cannot be used ({type(error).__name__}): check the environment variables that begin "
            "with HF_, or reinstall huggingface_hub."
        ) from None


def check_settings() -> None:
    """Raises InputError for an invalid address or login, before the client uses it."""
    from huggingface_hub import constants

    endpoint = constants.ENDPOINT
    try:
        place = urlsplit(endpoint)
        is_address = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:
        is_address = False
    if not is_address or not endpoint.isascii() or any(each.isspace() for each in endpoint):
        raise InputError(
            f"HF_ENDPOINT must be an address such as https://huggingface.co, or unset (got "
            f'"{without_tokens(endpoint)[:100]}").'
        )
    token = login()
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(
            "The login of the Hub's client has characters that no token has: copy the token into HF_TOKEN again, or "
            "log in again with the command hf auth login."
        )


def login() -> str | None:
    """Token that the client would send; None without one. Raises InputError if it cannot be read."""
    from huggingface_hub import constants, get_token

    try:
        return get_token()
    except NotADirectoryError:  # the cache is missing too, and has a more useful error
        return None
    except Exception:  # noqa: BLE001 - a folder or a binary file in its place, or no permission
        raise InputError(
            f"The login of the Hub's client cannot be read from {constants.HF_TOKEN_PATH}: remove that file, and log "
            "in again with the command hf auth login."
        ) from None


# Failures as sentences.


def is_out_of_reach(error: BaseException) -> bool:
    """Whether an error means that the Hub could not be reached, or was too busy to answer."""
    from huggingface_hub.utils import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return status(error) in (407, 429) or status(error) >= 500
    if isinstance(error, Refused | BrokenOff | NotTheHub | Unusable):
        return True
    # Errors of requests are OSErrors; those of httpx are not, and the client's version decides which httpx it is. A web
    # page in place of the Hub's answer is not valid JSON.
    of_network = isinstance(error, OSError | ValueError) or _is(error, "RequestError", "InvalidURL")
    return of_network and _of_disk(error) is None


def explained(error: BaseException, hub_id: HubId, transfer: Transfer | None = None) -> str | None:
    """One sentence on an error that says what to do; None for an error of this package."""
    chain = list(_chain(error))
    for each in chain:
        sentence = _of_hub(each, hub_id) or _of_disk(each) or _of_connection(each, chain, hub_id, transfer)
        if sentence:
            return sentence
    if not _passes(error, "huggingface_hub"):
        return None
    return (
        f"The Hub's client did not understand the answer for {hub_id} ({type(error).__name__}): check HF_ENDPOINT and "
        "any proxy, then update huggingface_hub."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; errors that only pass on their cause come after it."""
    from huggingface_hub.utils import LocalEntryNotFoundError

    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        cause = error.__cause__ or error.__context__  # httpcore hides the cause
        if cause is None or not isinstance(error, LocalEntryNotFoundError):
            yield error
        error = cause


def _is(error: BaseException, *names: str) -> bool:
    """Whether an error is of a class with one of these names, in whichever HTTP library the client uses."""
    return any(each.__name__ in names for each in type(error).__mro__)


def _passes(error: BaseException, *packages: str) -> bool:
    """Whether an error was raised in one of these packages, or in code called by it."""
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] in packages:
            return True
        trace = trace.tb_next
    return False


def _of_hub(error: BaseException, hub_id: HubId) -> str | None:
    """Sentence on an error answered by the Hub, or by something in its place."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, page = hub_id.repo, f"{constants.ENDPOINT}/{hub_id.repo}"
    if isinstance(error, Refused):
        return _of_status(error.status, repo, error.host, error.seconds)
    if isinstance(error, NotTheHub):
        return _of_stranger(error.host, repo)
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        return f"{hub_id} is not on this machine, and HF_HUB_OFFLINE is set: start once without that setting."
    if isinstance(error, GatedRepoError):
        first = "" if login() else " log in with the command hf auth login and"
        return f"{repo} is only for those who accept its conditions:{first} accept them at {page}, then try again."
    if isinstance(error, RepositoryNotFoundError):
        if status(error) == 401 and login():
            return _bad_login()
        how = (
            "check that your account may see it" if login() else "log in with the command hf auth login if it is yours"
        )
        return f"The Hub has no {repo} that you can see: check the name, and {how}."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {hub_id.revision}: see its branches and commits at {page}/tree/main."
    if isinstance(error, EntryNotFoundError):
        return f"A file of {hub_id} is missing, because it was just changed: try again."
    if isinstance(error, HfHubHTTPError):
        return _of_answer(error, repo)
    if _is(error, "FileMetadataError"):
        return _of_stranger(host(), repo)
    return None


def _of_answer(error: BaseException, repo: str) -> str:
    from huggingface_hub import constants

    response: Any = getattr(error, "response", None)
    where = host(str(getattr(response, "url", "")))
    code, headers = status(error), getattr(response, "headers", {})
    if code == 403 and headers.get("X-Error-Message") == "Access to this resource is disabled.":
        return f"The Hub has closed {repo}: its page says why, {constants.ENDPOINT}/{repo}."
    if code == 403 and where != host():
        return (
            f"{where}, where the Hub keeps large files, refused one of {repo} (it answered 403): check that this "
            "machine's clock is right, then try again."
        )
    if code == 403 and headers.get("Content-Type", "").startswith("text/html"):
        return (
            f"A firewall or a proxy before {where} refused the request for {repo} (with a page, 403): ask its "
            "administrator, or try another connection."
        )
    return _of_status(code, repo, where)


def host(address: str = "") -> str:
    """Host of an address; by default that of the Hub."""
    from huggingface_hub import constants

    try:
        return urlsplit(address or constants.ENDPOINT).hostname or "the Hub"
    except ValueError:
        return "the Hub"


def _bad_login() -> str:
    return "The Hub does not accept your login: log in again with the command hf auth login, or correct HF_TOKEN."


def _of_stranger(where: str, repo: str) -> str:
    return (
        f"The answer at {where} for {repo} is not from the Hub: log in to your network first (open any page in a "
        "browser), or check the proxy and HF_ENDPOINT."
    )


def _of_status(code: int, repo: str, where: str = "the Hub", seconds: int = 0) -> str:
    if code == 401:
        return _bad_login() if login() else "The Hub needs a login: log in with the command hf auth login."
    if code == 403:
        return (
            f"Your login has no permission for this in {repo}: the owner must be you or your organisation, and the "
            "token needs write permission, from huggingface.co/settings/tokens."
        )
    if code == 407:
        return _of_proxy()
    if code in (409, 412):
        return f"{repo} was changed at the same time by somebody else: try again."
    if code == 413:
        return f"{where} does not accept files as large as those of {repo} (it answered 413): check the proxy."
    if code == 429:
        how_long = _how_long(seconds) if seconds else "a few minutes"
        return f"The Hub received too many requests from here: wait {how_long}; a login allows more."
    if code == 451:
        return f"The Hub does not provide {repo} for legal reasons (it answered 451)."
    if code == 511:
        return _of_stranger(where, repo)
    if code >= 500:
        when = f"in {_how_long(seconds)}" if seconds else "in a few minutes"
        return f"The Hub is having trouble (it answered {code}): try again {when}."
    return f"The Hub refused the request for {repo} (it answered {code}): update huggingface_hub, or try again later."


def _how_long(seconds: int) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{seconds} seconds" if seconds < 90 else f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EROFS, errno.EPERM)
_BROKEN = (
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ELOOP, errno.EIO, errno.ENAMETOOLONG, errno.EMFILE,
    errno.ENOTEMPTY, errno.EFBIG, errno.EBADF, errno.ENOTSUP, errno.EINVAL, errno.EBUSY,
)  # fmt: skip


def _of_disk(error: BaseException) -> str | None:
    """Sentence on an error of the client's files on this machine."""
    from huggingface_hub import constants

    if isinstance(error, UnicodeDecodeError) and not _passes(error, "json", "httpx", "httpx2", "requests"):
        return f"The Hub's cache, {constants.HF_HUB_CACHE}, is damaged: move it away to download all again."
    if not isinstance(error, OSError) or _is(error, "RequestException"):
        return None
    if error.errno in _FULL:
        return f"The disk is full: free some space for the files of the Hub's client, in {constants.HF_HUB_CACHE}."
    if error.errno in _FORBIDDEN:
        return f"Cannot write to {constants.HF_HUB_CACHE}: no permission to write there."
    if error.errno in _BROKEN and error.filename is not None:
        reason = (error.strerror or type(error).__name__).lower()
        return (
            f"The Hub's client cannot use its cache, at {_in_the_way(error.filename)} ({reason}): move that away, or "
            "set HF_HOME to another folder."
        )
    return None


def _in_the_way(name: str | bytes) -> Path:
    """File instead of a folder of a path, else the path itself."""
    path = Path(os.fsdecode(name))
    return next((each for each in reversed(path.parents) if each.exists() and not each.is_dir()), path)


def _of_connection(
    error: BaseException, chain: list[BaseException], hub_id: HubId, transfer: Transfer | None
) -> str | None:
    """Sentence on an error of the connection."""
    from huggingface_hub import constants

    at = f"{constants.ENDPOINT} for {hub_id.repo}{_by_proxy()}"
    if isinstance(error, BrokenOff):
        return _of_break(error.host, hub_id, transfer)
    if isinstance(error, Unusable):
        return (
            "The Hub's client cannot be set up: check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE "
            "in the environment."
        )
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return f"The download of {hub_id} has the wrong size: try again."
    if _is(error, "ProxyError", "InvalidProxyURL"):
        return _of_proxy()
    if isinstance(error, ssl.SSLError) or _is(error, "SSLError") or "CA certificate" in str(error):
        return _of_certificate(chain)
    if _is(error, "TooManyRedirects"):
        return f"The Hub was not found at {at}, because of endless redirects: check HF_ENDPOINT."
    if _is(error, "UnsupportedProtocol", "InvalidURL", "InvalidSchema", "MissingSchema", "LocationParseError"):
        return f"The Hub was not found at {at}, which redirects to an invalid address: check HF_ENDPOINT."
    if _is(error, "JSONDecodeError") or isinstance(error, UnicodeDecodeError):
        return _of_stranger(host(), hub_id.repo)
    if any(
        isinstance(each, TimeoutError) or _is(each, "TimeoutException", "Timeout", "ReadTimeoutError") for each in chain
    ):
        return f"The Hub does not answer at {at}: check the connection, then try again."
    if not _is(error, "TransportError", "RequestException", "ConnectionError", "gaierror"):
        return None
    if any(isinstance(each, ssl.SSLError) or _is(each, "SSLError") for each in chain):
        return _of_certificate(chain)
    if any(_is(each, "gaierror", "NameResolutionError") for each in chain):
        return f"The Hub was not found at {at}: its name is unknown here, so check the connection and HF_ENDPOINT."
    if _is(error, "ReadError", "WriteError", "ProtocolError", "ChunkedEncodingError") or any(
        isinstance(each, ConnectionResetError | ConnectionAbortedError | BrokenPipeError) for each in chain
    ):
        return _of_break(host(), hub_id, transfer)
    return f"The Hub cannot be reached at {at}: check the connection, then try again."


def _of_break(where: str, hub_id: HubId, transfer: Transfer | None) -> str:
    if transfer is not None and transfer.receives and transfer.done:
        return f"The download of {hub_id} ended early: the connection to {where} breaks off, so try again."
    return f"The connection to {where} for {hub_id} breaks off repeatedly{_by_proxy()}: check it, then try again."


def _of_proxy() -> str:
    return (
        "The proxy does not let requests through to the Hub: correct its address, name and password in HTTPS_PROXY "
        "(and HTTP_PROXY) in the environment, or remove it there."
    )


def _by_proxy() -> str:
    """Note that a connection uses a proxy, without its address, which may contain a password."""
    from huggingface_hub import constants

    place = urlsplit(constants.ENDPOINT)
    proxies = urllib.request.getproxies()
    if not (proxies.get(place.scheme) or proxies.get("all")) or urllib.request.proxy_bypass(place.hostname or ""):
        return ""
    return " through the proxy in the environment"


def _of_certificate(chain: list[BaseException]) -> str:
    codes = [each.verify_code for each in chain if isinstance(each, ssl.SSLCertVerificationError)]
    if any(code in _WRONG_TIMES for code in codes):
        return f"The certificate of {host()} is not valid at this time: correct the clock of this machine."
    return (
        f"The certificate or encryption of {host()} cannot be trusted: if a proxy or a virus scanner stands in "
        "between, add its certificate to SSL_CERT_FILE."
    )


_WRONG_TIMES = (9, 10)
"""OpenSSL's codes for certificates that are not valid yet, or no longer."""


def _of_silence(transfer: Transfer, hub_id: HubId) -> str:
    """Sentence on work that made no progress, or took too long."""
    from huggingface_hub import constants

    where, seconds = transfer.host or host(), f"{watch.STALL:.0f} seconds"
    if transfer.is_committing:
        return (
            f"The Hub has not confirmed the upload of {hub_id}: check {constants.ENDPOINT}/{hub_id.repo} before you "
            "try again."
        )
    if transfer.is_locked:
        return (
            f"Another program is downloading {hub_id}, or keeps it locked in {constants.HF_HUB_CACHE}/.locks: try "
            "again when it has ended."
        )
    if transfer.receives and transfer.done and not transfer.asking:
        return f"The disk takes too long to store {hub_id} in {constants.HF_HUB_CACHE}: check the disk."
    if transfer.status:
        return _of_status(transfer.status, hub_id.repo, where)
    if transfer.tries > 1:
        return _of_break(where, hub_id, transfer)
    if transfer.receives and transfer.done:
        return f"The download of {hub_id} made no progress for {seconds}: check the connection, then try again."
    if transfer.answered and transfer.asking:
        return f"The answer of {where} for {hub_id} is not complete{_by_proxy()}: try again."
    return f"{where} does not answer for {hub_id}{_by_proxy()}: check the connection, then try again."
