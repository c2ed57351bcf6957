"""Monitoring of the requests of the Hub's client, which itself reports nothing while it waits or retries.

Requests are observed with hooks of its HTTP library: in the client of httpx, which all threads share, or in the session
of requests (before huggingface_hub 1.0), which each thread has its own. Only threads inside `watched` are observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import local
from typing import Any, BinaryIO
from urllib.parse import urlsplit

STALL = 13.0
"""Seconds without progress after which work with the Hub is stopped, so that the error appears within 15 seconds."""

MIN_PROGRESS = 1024
"""Minimum number of bytes that count as progress: a byte per second is not progress."""

TRIES = 3
"""Maximum attempts at a request that gets no answer, or a server error."""

MAX_WAIT = 5.0
"""Maximum seconds that the client may wait on request of a server."""


class Stopped(Exception):
    """The work was stopped."""


class Refused(Exception):
    """A server answered repeatedly, or with a long waiting time, with this HTTP status."""

    def __init__(self, status: int, host: str, seconds: int = 0):
        super().__init__(status)
        self.status, self.host, self.seconds = status, host, seconds


class BrokenOff(Exception):
    """The connection to this host broke repeatedly."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host


class NotTheHub(Exception):
    """This host answered with a web page, where the Hub sends data."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host


class Unusable(Exception):
    """The client's HTTP library cannot be set up, because of proxies or certificates in the environment."""


@dataclass
class Transfer:
    """Progress of work with the Hub, written by the working thread, read by the waiting one."""

    done: int = 0
    """Bytes received of a file, or sent of all files."""
    total: int = 0
    """Bytes in all."""
    receives: bool = False
    """Whether the received bytes belong to the wanted file, not only to answers."""
    stopped: bool = False
    progressed: float = field(default_factory=time.monotonic)
    """Time of the last progress."""
    host: str = ""
    """Host of the last request."""
    asking: bool = False
    """Whether a request or its answer is in progress, or broke off."""
    answered: bool = True
    """Whether the last request was answered."""
    status: int = 0
    """HTTP status of the last answer if it was an error, else 0."""
    tries: int = 0
    """Attempts at the last request."""
    is_committing: bool = False
    """Whether the Hub may have accepted the upload although it has not answered."""
    files: list[BinaryIO] = field(default_factory=list)
    """Files that are open for the upload."""
    _request: tuple[str, str] = ("", "")
    _got: int = 0
    _got_before: int = 0
    _marked: int = 0
    _seen: int = 0

    def go_on(self) -> None:
        """Raises Stopped if the work was stopped."""
        if self.stopped:
            raise Stopped

    @property
    def idle(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self.progressed

    @property
    def is_locked(self) -> bool:
        """Whether it can only be waiting for a lock of another program: all is answered, and no bytes arrive."""
        return bool(self.host) and not self.asking and self.status < 400 and not self.done

    def gets_ahead(self) -> None:
        self.progressed = time.monotonic()

    def sees(self, size: int) -> None:
        """Records the size of a file that is being written; growth is progress."""
        if size > self._seen:
            self.gets_ahead()
        self._seen = size

    def asks(self, method: str, url: str) -> None:
        """Records the start of a request. Raises Stopped, and Refused or BrokenOff after too many attempts."""
        self.go_on()
        place = urlsplit(url)
        request = method, f"{place.netloc}{place.path}"
        stuck = self.receives and method == "GET" and self._got == self._got_before
        again = request == self._request and (not self.answered or self.status >= 400 or stuck)
        self.tries, self.status = (self.tries + 1, self.status) if again else (1, 0)
        self._request, self._got_before = request, self._got
        self.host, self.asking, self.answered = place.hostname or "", True, False
        if self.tries > TRIES:
            raise Refused(self.status, self.host) if self.status >= 500 else BrokenOff(self.host)

    def is_answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Records the start of an answer. Raises Refused if the client would wait for long, NotTheHub for a web
        page."""
        self.answered, self.status = True, status if status >= 400 else 0
        if status >= 400:
            seconds = _seconds(headers.get("Retry-After", ""))
            if status == 429 or seconds > MAX_WAIT:
                raise Refused(status, self.host, seconds)
        elif status < 300:
            if headers.get("Content-Type", "").startswith("text/html"):
                raise NotTheHub(self.host)
            self.gets_ahead()

    def gets(self, place: int) -> None:
        """Records received bytes up to a position in a file. Raises Stopped if the work was stopped."""
        self.go_on()
        self._got = max(self._got, place)
        if self._got >= self._marked + MIN_PROGRESS:
            self._marked = self._got
            self.gets_ahead()
        if self.receives:
            self.done = max(self.done, self._got)

    def sends(self, count: int) -> None:
        """Records bytes that are about to be sent. Raises Stopped if the work was stopped."""
        self.go_on()
        self.gets_ahead()
        if self.asking:  # before a request the file is only read for its hash
            self.done = min(self.done + count, self.total)

    def is_over(self) -> None:
        """Records the end of the answer."""
        self.asking = False


_here = local()


@contextmanager
def watched(transfer: Transfer) -> Iterator[None]:
    """Records the requests of the client in this thread in `transfer`, inside the block."""
    look()
    _here.transfer = transfer
    try:
        yield
    finally:
        del _here.transfer


def look() -> bool:
    """Installs the hooks in the client's HTTP library, if they are not installed.

    Returns whether all threads share its client. Any of them may then call this again, because the library's client is
    replaced after some failures.
    """
    from huggingface_hub.utils import get_session

    try:
        session: Any = get_session()
    except Exception as error:
        raise Unusable from error
    hooks = getattr(session, "event_hooks", None)
    if hooks is None:
        if not getattr(session.send, "is_watched", False):
            session.send = _watched_send(session.send)
        return False
    if _before not in hooks["request"]:
        hooks["request"].append(_before)
        hooks["response"].append(_after)
    return True


def _transfer() -> Transfer | None:
    return getattr(_here, "transfer", None)


def _before(request: Any) -> None:
    transfer = _transfer()
    if transfer is None:
        return
    transfer.asks(request.method, str(request.url))
    # The client sets no timeout for uploads and their answers.
    bounds = request.extensions.get("timeout") or {}
    bounds = {part: bounds.get(part) or STALL for part in ("connect", "read", "write", "pool")}
    request.extensions = {**request.extensions, "timeout": bounds}


def _after(response: Any) -> None:
    transfer = _transfer()
    if transfer is None:
        return
    transfer.is_answered(response.status_code, response.headers)
    response.stream = _watched_stream(response.stream, transfer, _start(response.headers))


def _watched_stream(stream: Any, transfer: Transfer, start: int) -> Any:
    """Stream of httpx that records the received bytes."""

    # The base class of the httpx that the client uses, which the answer requires.
    base: Any = next(each for each in type(stream).__mro__ if each.__name__ == "SyncByteStream")

    class Stream(base):
        def __iter__(self) -> Iterator[bytes]:
            place = start
            for piece in stream:
                place += len(piece)
                transfer.gets(place)
                yield piece
            transfer.is_over()

        def close(self) -> None:
            stream.close()

    return Stream()


def _watched_send(send: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `send` of a session of requests, through which all requests of its thread pass."""

    def watched_send(request: Any, **settings: Any) -> Any:
        transfer = _transfer()
        if transfer is None:
            return send(request, **settings)
        transfer.asks(request.method, request.url)
        settings["timeout"] = settings.get("timeout") or STALL
        response = send(request, **settings)
        transfer.is_answered(response.status_code, response.headers)
        if settings.get("stream"):
            response.raw.stream = _pieces(response.raw.stream, transfer, _start(response.headers))
        else:
            transfer.is_over()
        return response

    watched_send.is_watched = True  # type: ignore[attr-defined]
    return watched_send


def _pieces(stream: Callable[..., Iterable[bytes]], transfer: Transfer, start: int) -> Callable[..., Iterator[bytes]]:
    def pieces(amount: int, **settings: Any) -> Iterator[bytes]:
        place = start
        # The client reads ten megabytes at once; smaller parts show progress.
        for piece in stream(min(amount, 4 * MIN_PROGRESS), **settings):
            place += len(piece)
            transfer.gets(place)
            yield piece
        transfer.is_over()

    return pieces


def _start(headers: Mapping[str, str]) -> int:
    """Position in the file at which an answer begins."""
    start = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isascii() and start.isdigit() else 0


def _seconds(text: str) -> int:
    """Seconds of a Retry-After header; 0 for a date, for which no client waits."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
