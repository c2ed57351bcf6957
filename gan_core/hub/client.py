"""Asking the Hub by its own client: in a thread that can be left, with every failure as a sentence."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Any, TypeVar

from ..errors import InputError
from .names import HubId

SECONDS = 8.0
"""How long the Hub may take to answer a question."""

TRIES = 3
"""Of a question that the Hub could not answer for reasons of its own, a second apart."""

LOOKED_AT = 0.2
"""Seconds between two looks at work that goes on in its thread."""

LEFT_AFTER = 2.0
"""Seconds that work which is no longer wanted may take to notice."""

T = TypeVar("T")


class Stopped(Exception):
    """The work is no longer wanted."""


@dataclass
class Transfer:
    """How far a download or an upload is; written by the thread that works, read by the one that waits."""

    done: int = 0
    """Bytes."""
    total: int = 0
    stopped: bool = False

    def go_on(self) -> None:
        """Raises Stopped where the work is no longer wanted."""
        if self.stopped:
            raise Stopped


def working(
    work: Callable[[Transfer], T], hub_id: HubId, transfer: Transfer | None = None
) -> Generator[Transfer, None, T]:
    """Does work in a thread of its own and yields how far it is, several times a second. Returns what work returns.

    Closing the generator stops the work. Raises InputError, with a sentence, for what can go wrong with the Hub.
    """
    transfer = transfer or Transfer()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work(transfer))
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            future.set_exception(error)

    # A daemon: not every download can be stopped, and none shall keep a program from ending.
    thread = Thread(target=run, name="gan_core.hub", daemon=True)
    thread.start()
    try:
        while not wait([future], LOOKED_AT).done:
            yield transfer
    finally:
        transfer.stopped = True
        thread.join(LEFT_AFTER)
    error = future.exception()
    if error is not None:
        sentence = explained(error, hub_id)
        # The client's own messages hold addresses and request ids, and in the worst case a header: none is passed on.
        raise error if sentence is None else InputError(sentence) from None
    return future.result()


def finished(steps: Generator[Any, None, T]) -> T:
    """Pulls a generator to its end, and returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def patiently(question: Callable[[], T]) -> T:
    """Asks again where the Hub has trouble of its own."""
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
    """The HTTP status of a failure; 0 for one that is no answer of the Hub's."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def is_out_of_reach(error: BaseException) -> bool:
    """Whether the Hub could not be asked, or was too busy to answer: what it would have said is open."""
    from huggingface_hub.utils import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return status(error) == 429 or status(error) >= 500
    # requests' errors are OSErrors. httpx's are not, and which httpx it is depends on the client's version.
    return isinstance(error, OSError) or any(each.__name__ == "RequestError" for each in type(error).__mro__)


def explained(error: BaseException, hub_id: HubId) -> str | None:
    """What a person is told, in one sentence that says what to do; None for what is nobody's mistake but ours."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, page, login = hub_id.repo, f"{constants.ENDPOINT}/{hub_id.repo}", get_token() is not None
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return explained(error.__cause__, hub_id)
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        return (
            f"{hub_id} is not on this machine, and HF_HUB_OFFLINE forbids asking the Hub: start once without that "
            "setting."
        )
    if isinstance(error, GatedRepoError):
        first = "" if login else " log in with the command hf auth login and"
        return f"{repo} is only for those who accept its conditions:{first} accept them at {page}, then try again."
    if isinstance(error, RepositoryNotFoundError):
        if status(error) == 401 and login:
            return _bad_login()
        how = "check that your account may see it" if login else "log in with the command hf auth login if it is yours"
        return f"The Hub has no {repo} that you can see: check the name, and {how}."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {hub_id.revision}: see its branches and commits at {page}/tree/main."
    if isinstance(error, EntryNotFoundError):
        return f"A file of {hub_id} is gone: it was changed just now, so try again."
    if isinstance(error, HfHubHTTPError):
        return _of_status(status(error), repo)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: make room where the Hub's client keeps its files, {constants.HF_HUB_CACHE}."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"Nothing can be kept in {constants.HF_HUB_CACHE}: you may not write there."
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return f"The download of {hub_id} ended too early: try again."
    if is_out_of_reach(error):
        return f"The Hub cannot be reached at {constants.ENDPOINT} for {repo}: check the connection, then try again."
    return None


def _bad_login() -> str:
    return "The Hub does not accept your login: log in anew with the command hf auth login, or correct HF_TOKEN."


def _of_status(code: int, repo: str) -> str:
    if code == 401:
        from huggingface_hub import get_token

        return _bad_login() if get_token() else "The Hub asks who you are: log in with the command hf auth login."
    if code == 403:
        return (
            f"Your login may not do this with {repo}: the owner must be you or an organisation of yours, and the token "
            "one with permission to write, from huggingface.co/settings/tokens."
        )
    if code in (409, 412):
        return f"{repo} was changed by somebody else at the same moment: try again."
    if code == 429:
        return "The Hub has had too many requests from here: wait some minutes; with a login more are allowed."
    if code >= 500:
        return f"The Hub is having trouble (it answered {code}): try again in a few minutes."
    return f"The Hub refused the request for {repo} (it answered {code}): update huggingface_hub, or try again later."
