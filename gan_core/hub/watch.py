"""What the Hub's client asks and is answered, seen from outside: it says nothing itself while it waits or tries again.

Its requests are seen where its HTTP library lets one look: at the client of httpx, which all threads share, and at the
session of requests (before huggingface_hub 1.0), which each thread has for itself. Only the requests of threads that
are `watched` are looked at.
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
"""Seconds without progress after which work with the Hub is given up, so that its end is told within 15."""

LEAST = 1024
"""Bytes that count as progress: a byte a second is none."""

TRIES = 3
"""Times that a request is sent where nothing, or nothing but trouble, comes back."""

LONGEST_WAIT = 5.0
"""Seconds that the client may wait because a server asks for it."""


class Stopped(Exception):
    """The work is no longer wanted."""


class Refused(Exception):
    """A server had trouble of its own, again and again or for long, with this HTTP status."""

    def __init__(self, status: int, host: str, seconds: int = 0):
        super().__init__(status)
        self.status, self.host, self.seconds = status, host, seconds


class BrokenOff(Exception):
    """The connection to this host broke, again and again."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host


class NotTheHub(Exception):
    """A page for people came from this host, where the Hub sends data."""

    def __init__(self, host: str):
        super().__init__(host)
        self.host = host


class Unusable(Exception):
    """The client's HTTP library cannot be set up, for what the environment says of proxies and certificates."""


@dataclass
class Transfer:
    """How far work with the Hub is; written by the thread that works, read by the one that waits."""

    done: int = 0
    """Bytes of a file that have come, or of all files that were sent."""
    total: int = 0
    receives: bool = False
    """Whether what comes is the file that is waited for, and not only answers to questions."""
    stopped: bool = False
    progressed: float = field(default_factory=time.monotonic)
    """When it last got ahead."""
    host: str = ""
    """Of the last request."""
    asking: bool = False
    """Whether a request is on its way, or its answer, which may have broken off."""
    answered: bool = True
    """Whether the last request has had an answer."""
    status: int = 0
    """Of the last answer, where that was trouble."""
    tries: int = 0
    """Of the last request."""
    is_committing: bool = False
    """Whether the Hub may have taken what was sent, though it has not answered."""
    files: list[BinaryIO] = field(default_factory=list)
    """That are open to be sent."""
    _request: tuple[str, str] = ("", "")
    _got: int = 0
    _got_before: int = 0
    _marked: int = 0
    _seen: int = 0

    def go_on(self) -> None:
        """Raises Stopped where the work is no longer wanted."""
        if self.stopped:
            raise Stopped

    @property
    def idle(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self.progressed

    @property
    def is_locked(self) -> bool:
        """Whether nothing but another program's lock can be waited for: all has been answered, and nothing comes."""
        return bool(self.host) and not self.asking and self.status < 400 and not self.done

    def gets_ahead(self) -> None:
        self.progressed = time.monotonic()

    def sees(self, size: int) -> None:
        """Takes note of the size of what somebody is writing: it is progress where it grows."""
        if size > self._seen:
            self.gets_ahead()
        self._seen = size

    def asks(self, method: str, url: str) -> None:
        """A request begins. Raises Stopped, and Refused or BrokenOff where it has been sent often enough."""
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
        """An answer begins. Raises Refused where the client would wait for long, NotTheHub for a page."""
        self.answered, self.status = True, status if status >= 400 else 0
        if status >= 400:
            seconds = _seconds(headers.get("Retry-After", ""))
            if status == 429 or seconds > LONGEST_WAIT:
                raise Refused(status, self.host, seconds)
        elif status < 300:
            if headers.get("Content-Type", "").startswith("text/html"):
                raise NotTheHub(self.host)
            self.gets_ahead()

    def gets(self, place: int) -> None:
        """Bytes have come, up to this place of a file. Raises Stopped where they are no longer wanted."""
        self.go_on()
        self._got = max(self._got, place)
        if self._got >= self._marked + LEAST:
            self._marked = self._got
            self.gets_ahead()
        if self.receives:
            self.done = max(self.done, self._got)

    def sends(self, count: int) -> None:
        """Bytes are about to be sent. Raises Stopped where they shall not."""
        self.go_on()
        self.gets_ahead()
        if self.asking:  # before that it is only read for its hash
            self.done = min(self.done + count, self.total)

    def is_over(self) -> None:
        """The answer has ended."""
        self.asking = False


_here = local()


@contextmanager
def watched(transfer: Transfer) -> Iterator[None]:
    """Within the block, `transfer` hears of the requests that the client makes in this thread."""
    look()
    _here.transfer = transfer
    try:
        yield
    finally:
        del _here.transfer


def look() -> bool:
    """Begins to look at the requests of the client's HTTP library; where that is done already, does nothing.

    Returns whether all threads share it, so that any may look again: the client replaces it after some failures.
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
    # The client gives uploads, and the answers to them, all the time in the world.
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
    """A stream of httpx that tells what comes."""

    # Of whichever httpx the client uses; the answer takes no other.
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
    """The like for requests, where the session of a thread has all its requests pass here."""

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
        # The client asks for ten megabytes at once, and until they are there one would see nothing come.
        for piece in stream(min(amount, 4 * LEAST), **settings):
            place += len(piece)
            transfer.gets(place)
            yield piece
        transfer.is_over()

    return pieces


def _start(headers: Mapping[str, str]) -> int:
    """Where in the file an answer begins."""
    start = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isascii() and start.isdigit() else 0


def _seconds(text: str) -> int:
    """Of a Retry-After header that gives them; it may also give a date, for which no client waits."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
