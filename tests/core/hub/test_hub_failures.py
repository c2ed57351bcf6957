"""Every failure between here and the Hub is a sentence that names its cause, and comes soon."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hub_server import WRITER, Hub

from gan_core import Generator, InputError
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.hub import client as hub_client
from gan_core.hub import fetching, newest_commit, prepared, publishing, watch

ROOT = Path(__file__).parents[3]
DIGITS = (EXAMPLES / "digits.safetensors").read_bytes()
PAGE = "<html><body>Welcome to our hotel: please log in.</body></html>"

pytestmark = pytest.mark.usefixtures("client")


def fetched(name: str = "anna/digits") -> Generator:
    *_, last = fetching(name)
    assert last.generator is not None
    return last.generator


def said_of(act: Callable[[], Any], within: float = 15.0) -> str:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        act()
    said = str(caught.value)
    assert time.monotonic() - start < within
    assert "\n" not in said and said.endswith(".") and len(said) < 400
    assert "hf_" not in said and "Traceback" not in said
    return said


@pytest.fixture
def digits(hub: Hub) -> str:
    """A repository that would open."""
    return hub.add("anna/digits", {"model.safetensors": DIGITS})


@pytest.fixture
def cats(
    client: Path, new_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Any]]:
    """Publishes a generator."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with prepared(new_generator({"title": "cats"}), "anna/cats", "mit") as publication:
        yield lambda: list(publishing(publication))[-1]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds that stand behind the client's, short enough for tests."""
    monkeypatch.setattr(watch, "STALL", 1.0)
    monkeypatch.setattr(hub_client, "QUESTION", 1.0)
    monkeypatch.setattr("gan_core.hub.fetch.QUESTION", 0.8)


def test_all_bounds_together_end_within_15_seconds() -> None:
    assert watch.STALL + 2 * hub_client.POLL_SECONDS < 15
    assert hub_client.SECONDS < hub_client.QUESTION < watch.STALL


# Somebody does not answer, or not to the end.


@contextmanager
def strange_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does with each connection what it is told. Gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=[connection], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def silent(client: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that takes connections, and never says a word."""
    with strange_server(lambda connection: time.sleep(5)) as port:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        yield


@pytest.mark.usefixtures("soon", "silent")
def test_a_hub_that_never_answers_is_left(cats: Callable[[], Any]) -> None:
    assert said_of(fetched).startswith("127.0.0.1 does not answer for anna/digits")
    assert said_of(cats).startswith("127.0.0.1 does not answer for anna/cats")
    start = time.monotonic()
    assert newest_commit("anna/digits") == "" and time.monotonic() - start < 5


@pytest.mark.usefixtures("silent")
def test_the_stop_button_is_heard_while_nothing_answers() -> None:
    start = time.monotonic()
    with closing(fetching("anna/digits")) as steps:
        next(steps)
    assert time.monotonic() - start < hub_client.STOP_SECONDS + 1


@pytest.mark.usefixtures("soon", "digits")
@pytest.mark.parametrize("how", ["silence", "trickle"])
@pytest.mark.parametrize("part", ["GET /api/models", "GET /lfs/"])
def test_an_answer_that_does_not_come_to_its_end_is_left(hub: Hub, part: str, how: str) -> None:
    hub.answers(part, how)
    said = said_of(fetched)
    assert any(part in said for part in ("is not complete", "made no progress for", "does not answer"))


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    "part", ["GET /api/models", "/api/repos/create", "/preupload/", "/objects/batch", "PUT /lfs/", "/commit/"]
)
def test_each_step_of_an_upload_is_bounded(hub: Hub, cats: Callable[[], Any], part: str) -> None:
    hub.answers(part, "silence")
    said = said_of(cats)
    if part == "/commit/":
        assert said.startswith("The Hub has not confirmed the upload of anna/cats: check http://127.0.0.1")
    else:
        assert "is not complete" in said or "does not answer" in said


@pytest.mark.usefixtures("soon")
def test_what_was_answered_before_is_no_reason(hub: Hub, cats: Callable[[], Any]) -> None:
    """The first question, for what is there already, has been answered with 404."""
    hub.delays("/api/repos/create", 30)
    assert said_of(cats).startswith(("127.0.0.1 does not answer", "The Hub does not answer"))


@pytest.mark.usefixtures("soon", "digits")
def test_a_name_that_is_looked_up_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.example")
    assert said_of(fetched).startswith("hub.example does not answer for anna/digits")


@pytest.mark.usefixtures("soon")
def test_a_download_that_gets_ahead_may_take_as_long_as_it_needs(hub: Hub) -> None:
    hub.add("anna/slow", {"model.safetensors": DIGITS})
    hub.piece, hub.bytes_per_second = 8 << 10, 100_000
    start = time.monotonic()
    assert fetched("anna/slow").title == "digits"
    assert time.monotonic() - start > 3 * watch.STALL


@pytest.mark.usefixtures("soon", "digits")
def test_where_the_hub_hangs_the_cache_will_do(hub: Hub) -> None:
    fetched()
    hub.answers("/api/models", "trickle")
    *_, last = fetching("anna/digits")
    assert last.remark.startswith("from the cache of this machine") and last.generator is not None


@pytest.mark.usefixtures("soon", "digits")
def test_a_lock_that_another_program_keeps_is_said(hub: Hub, client: Path) -> None:
    from filelock import FileLock

    fetched()
    (blob,) = (each for each in client.glob("hub/models--*/blobs/*") if each.stat().st_size == len(DIGITS))
    with FileLock(client / "hub/.locks/models--anna--digits" / f"{blob.name}.lock"):
        blob.unlink()
        assert said_of(fetched).startswith("Another program is downloading anna/digits")
    assert fetched().title == "digits"


# Somebody asks to wait.


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("part", ["GET /api/models", "HEAD", "GET /lfs/"])
@pytest.mark.parametrize(
    ("status", "said"),
    [(429, "too many requests from here: wait 60 minutes"), (503, "(it answered 503): try again in 60 minutes")],
)
def test_nobody_waits_for_an_hour(hub: Hub, part: str, status: int, said: str) -> None:
    hub.fails(part, status, Retry_After="3600")
    assert said in said_of(fetched)


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/objects/batch", "PUT /lfs/", "/commit/"])
def test_nobody_waits_for_an_hour_to_upload(hub: Hub, cats: Callable[[], Any], part: str) -> None:
    hub.fails(part, 429, Retry_After="3600")
    assert "too many requests from here: wait 60 minutes" in said_of(cats)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5 seconds"), (89, "89 seconds"), (90, "2 minutes"), (7140, "119 minutes"), (7200, "2 hours")],
)
def test_a_wait_is_told_in_words(seconds: int, said: str) -> None:
    assert hub_client._how_long(seconds) == said


# Somebody else answers.


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("/api/models", PAGE), ("HEAD", PAGE), ("GET /lfs/", PAGE), ("/api/models", "not JSON"), ("/api/models", "[]"),
        ("/api/models", "{}"), ("/api/models", '{"id": "x"}'), ("/api/models", "\xff\xfe"), ("HEAD", "x"), ("", PAGE),
    ],
)  # fmt: skip
def test_a_page_in_place_of_the_hub_is_said(hub: Hub, part: str, answer: str) -> None:
    hub.answers(part, answer, Content_Type="text/html; charset=utf-8" if answer is PAGE else "application/json")
    said = said_of(fetched)
    assert (said.startswith("The answer at ") and "is not from the Hub" in said) or "did not understand" in said


def test_a_page_does_not_pass_for_an_upload(hub: Hub, cats: Callable[[], Any]) -> None:
    for part in ("/api/repos/create", "/preupload/", "/objects/batch", "PUT /lfs/"):
        hub.answers(part, PAGE, Content_Type="text/html")
        said = said_of(cats)
        assert said.startswith("The answer at ") and "is not from the Hub" in said
        hub.faults.clear()
    assert list(hub.files("anna/cats")) == [".gitattributes"]


@pytest.mark.usefixtures("digits")
def test_a_page_in_place_of_the_hub_is_no_reason_not_to_open_what_is_there(hub: Hub) -> None:
    fetched()
    hub.answers("", PAGE, Content_Type="text/html")
    *_, last = fetching("anna/digits")
    assert last.remark.startswith("from the cache of this machine")


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (403, {"Content-Type": "text/html"}, "A firewall or a proxy before 127.0.0.1 refused"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, "The Hub has closed anna/digits"),
        (407, {}, "The proxy does not let requests through"),
        (410, {}, "(it answered 410)"),
        (451, {}, "for legal reasons (it answered 451)"),
        (502, {"Content-Type": "text/html"}, "The Hub is having trouble (it answered 502)"),
        (511, {"Content-Type": "text/html"}, "is not from the Hub"),
    ],
)
def test_each_refusal_has_its_sentence(
    hub: Hub, status: int, headers: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.answers("GET /api/models", PAGE, status, **headers)
    assert said in said_of(fetched)


@pytest.mark.usefixtures("digits")
def test_addresses_that_lead_nowhere_are_said(hub: Hub) -> None:
    hub.answers("GET /api/models", "redirect")
    assert "because of endless redirects" in said_of(fetched)
    for location, said in {
        "http://127.0.0.1:9/": "cannot be reached", "http://nowhere.invalid/": "its name is unknown here", "ftp://a/b":
        "redirects to an invalid address", "http://[::1": "redirects to an invalid address",
    }.items():  # fmt: skip
        hub.faults.clear()
        hub.answers("GET /api/models", "x", 302, Location=location)
        found = said_of(fetched)
        assert said in found or "did not understand" in found or "breaks off" in found


# Connections and uploads that break.


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("part", ["GET /api/models", "HEAD", "GET /lfs/"])
def test_a_connection_that_is_reset_is_said(hub: Hub, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.answers(part, "reset")
    assert "breaks off" in said_of(fetched)


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/objects/batch", "PUT /lfs/", "/commit/"])
def test_an_upload_that_is_reset_is_said(
    hub: Hub, cats: Callable[[], Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.answers(part, "reset")
    said = said_of(cats)
    assert "has not confirmed the upload of anna/cats" in said if part == "/commit/" else "breaks off" in said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            403,
            "localhost, where the Hub keeps large files, refused one of anna/cats (it answered 403): check that this",
        ),
        (413, "localhost does not accept files as large as those of anna/cats"),
        (500, "The Hub is having trouble (it answered 500)"),
    ],
)
def test_an_upload_that_is_refused_is_said(
    hub: Hub, cats: Callable[[], Any], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.fails("PUT /lfs/", status)
    assert said in said_of(cats)


def test_an_upload_that_fails_once_is_tried_again(
    hub: Hub, cats: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.fails("PUT /lfs/", 500, times=1)
    assert cats().changed


def test_an_upload_tells_how_far_it_is(cats: Callable[[], Any], new_generator: Callable[..., Generator]) -> None:
    with prepared(new_generator({}), "anna/cats", "mit") as publication:
        seen = [step.done for step in publishing(publication)]
    assert seen == sorted(seen) and seen[-1] == sum(publication.files.values())


@pytest.mark.usefixtures("digits")
def test_a_server_that_cannot_be_trusted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(b"this is no TLS\r\n\r\n")
        connection.close()

    with strange_server(speak) as port:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"https://127.0.0.1:{port}")
        assert "The certificate or encryption of " in said_of(fetched)


def test_a_wrong_clock_is_said() -> None:
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed")
    expired.verify_code = 10
    assert "correct the clock of this machine" in hub_client._of_certificate([expired])


# Settings that cannot be.


@pytest.mark.parametrize(
    "token",
    ["hf_naïve", "hf_\N{GREEK SMALL LETTER ALPHA}" * 9, "hf_a b", "hf_a\x01b", "hf_a\tb", "\ufeffhf_abc", "“hf_abc”"],
)
def test_a_token_that_cannot_be_is_said(hub: Hub, digits: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.requests.clear()
    assert "has characters that no token has" in said_of(fetched)
    assert hub.requests == []


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("token", ["", " ", "\n", f"{WRITER}\n", f" {WRITER} ", f"\r\n{WRITER}\r\n"])
def test_blanks_around_a_token_do_no_harm(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert fetched().title == "digits"


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("content", [None, b"\xff\xfeh\x00f\x00", b"\x89PNG\r\n\x1a\n"])
def test_a_login_that_cannot_be_read_is_said(client: Path, content: bytes | None) -> None:
    client.mkdir()
    if content is None:
        (client / "token").mkdir()
    else:
        (client / "token").write_bytes(content)
    assert said_of(fetched).startswith("The login of the Hub's client ")


@pytest.mark.parametrize(
    "address",
    ["", "huggingface.co", "ftp://huggingface.co", "http://", "http:// a b", "http://a:b", "http://[::1", "h\xe4"],
)
def test_an_address_that_cannot_be_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    said = said_of(fetched)
    assert said.startswith("HF_ENDPOINT must be an address such as https://huggingface.co")
    assert said.endswith(f'(got "{address}").')


def test_a_password_in_an_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "ftp://anna:geheim@huggingface.co")
    assert "geheim" not in said_of(fetched)


@pytest.mark.parametrize("proxy", ["nonsense://x:1", "http://127.0.0.1:9", "http://anna:geheim@127.0.0.1:9"])
def test_a_proxy_that_cannot_be_is_said(digits: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import _http

    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    renewed = getattr(_http, "close_session", None) or _http.reset_sessions
    renewed()  # the client reads them when it makes a session
    try:
        said = said_of(fetched)
    finally:
        renewed()
    assert "proxy" in said.lower() and "geheim" not in said


def test_settings_that_the_client_cannot_even_begin_with_are_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gan_core", "fetch", "anna/digits"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://a:b"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("Error: "), done.stderr


# A cache that is broken.


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(
    "place",
    [
        "", "hub", "hub/models--anna--digits", "hub/models--anna--digits/blobs", "hub/models--anna--digits/refs",
        "hub/models--anna--digits/snapshots", "hub/.locks", "hub/.locks/models--anna--digits",
    ],
)  # fmt: skip
def test_a_file_where_the_cache_wants_a_folder_is_said(client: Path, place: str) -> None:
    path = client / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"in the way")
    said = said_of(fetched)
    assert said.startswith("The Hub's client cannot use its cache, at ")
    assert f"{str(path)[-40:]} (" in said  # a longer path is shortened
    path.unlink()
    assert fetched().title == "digits"


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"../../../etc", b"main\n", None])
def test_a_damaged_note_of_the_newest_commit_does_no_harm(
    hub: Hub, client: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    fetched()
    note = client / "hub/models--anna--digits/refs/main"
    note.unlink()
    if content is None:
        note.mkdir()
    else:
        note.write_bytes(content)
    assert newest_commit("anna/digits") == hub.repositories["anna/digits"].names["main"]
    if content is None:
        with suppress(InputError):  # from clients before 1.0, which cannot do without it
            assert fetched().title == "digits"
    hub.fails("/api/models", 503)
    assert newest_commit("anna/digits") == ""
    assert said_of(fetched).startswith("The Hub is having trouble")


@pytest.mark.parametrize("how", ["cut", "empty", "changed", "gone", "a folder"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_damaged_file_of_the_cache_is_fetched_again(
    hub: Hub, client: Path, digits: str, how: str, pinned: bool
) -> None:
    name = f"anna/digits@{digits}" if pinned else "anna/digits"
    fetched(name)
    (blob,) = (each for each in client.glob("hub/models--*/blobs/*") if each.stat().st_size == len(DIGITS))
    if how in ("gone", "a folder"):
        blob.unlink()
    if how == "a folder":
        blob.mkdir()
        assert said_of(lambda: fetched(name))
        return
    if how != "gone":
        damaged = {"cut": DIGITS[:1000], "empty": b"", "changed": b"\0" * 8 + DIGITS[8:]}[how]
        blob.write_bytes(damaged)
    assert fetched(name).title == "digits"
    assert blob.read_bytes() == DIGITS


@pytest.mark.usefixtures("digits")
def test_a_cache_that_may_not_be_written_is_said_and_read(hub: Hub, client: Path) -> None:
    """In a process of its own, whose cache is on a disk that may only be read."""
    fetched()
    hub.add("anna/new", {"model.safetensors": DIGITS})
    cache = client / "hub"
    mount = f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("no disk can be made read-only here: mounting needs Linux and its user namespaces")
    program = (
        "import sys; from gan_core.cli import main\nfor n in sys.argv[1:]: main(['fetch', n], standalone_mode=False)"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec {sys.executable} -c "{program}" anna/digits anna/new'],
        cwd=client,
        env={**os.environ, **hub.environment(client), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "digits: dcgan, 28x28x1" in done.stdout, done.stderr
    assert done.stderr.splitlines() == [f"Error: Cannot write to {cache}: no permission to write there."]


@pytest.mark.usefixtures("digits")
def test_a_cache_behind_a_link_opens(client: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    client.symlink_to(tmp_path / "elsewhere")
    first = fetched()
    assert fetched().card == first.card
    assert (tmp_path / "elsewhere/hub/models--anna--digits").is_dir()


@pytest.mark.usefixtures("digits")
def test_what_a_dead_download_left_is_removed_by_the_next(client: Path) -> None:
    from filelock import FileLock

    blobs = client / "hub/models--anna--digits/blobs"
    blobs.mkdir(parents=True)
    dead, living = (blobs / f"{letter * 64}.0123abcd.incomplete" for letter in "ab")
    for path in (dead, living):
        path.write_bytes(b"half")
    lock = client / "hub/.locks/models--anna--digits" / f"{'b' * 64}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        fetched()
    assert not dead.exists() and living.exists()


# What a thread that was left does to others.


def test_other_users_of_the_client_are_not_looked_at(hub: Hub, digits: str) -> None:
    from huggingface_hub import HfApi

    fetched()
    hub.answers("GET /api/models", "{}", times=1, Content_Type="text/html")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the client's own, whatever that is
        HfApi(endpoint=f"http://127.0.0.1:{hub.port}").model_info("anna/digits")
    assert not isinstance(caught.value, watch.NotTheHub | InputError)
