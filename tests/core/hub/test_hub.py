"""Generators from the Hub: the genuine client against a Hub on loopback, and all that can go wrong between them."""

import os
import shlex
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import run
from foreign_files import saved
from hub_server import READER, WRITER, Hub
from safetensors.torch import save

from gan_core import Generator, InputError, load, sample_noise
from gan_core.architectures import autoencoder_kl, taesd_vae
from gan_core.card import HubOrigin
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.hub import Fetching, HubId, fetching, newest_commit

ROOT = Path(__file__).parents[3]
DIGITS = (EXAMPLES / "digits.safetensors").read_bytes()
STYLEGAN = (EXAMPLES / "stylegan2-digits.safetensors").read_bytes()

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def cache(client: Path) -> Path:
    """Where the client keeps files."""
    return client / "hub"


def fetched(name: str, revision: str = "") -> Fetching:
    *_, last = fetching(name, revision)
    return last


def generator_of(name: str, revision: str = "") -> Generator:
    generator = fetched(name, revision).generator
    assert generator is not None
    return generator


def sentence_of(name: str) -> str:
    """What a person is told where it fails. It must be one sentence, soon, and without a token."""
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        fetched(name)
    said = str(caught.value)
    assert time.monotonic() - start < 10
    assert "\n" not in said and said.endswith(".") and len(said) < 400
    assert "hf_" not in said
    return said


def blobs(cache: Path) -> list[Path]:
    return [path for path in cache.glob("models--*/blobs/*") if path.stat().st_size > 1000]


# What is fetched.


def test_a_generator_comes_as_it_was_sent_and_says_from_where(hub: Hub, cache: Path) -> None:
    commit = hub.add("anna/digits", {"model.safetensors": DIGITS, "config.json": b'{"architecture": "dcgan"}'})
    generator = generator_of("anna/digits")
    assert [blob.read_bytes() for blob in blobs(cache)] == [DIGITS]
    assert generator.card.hub == HubOrigin("anna/digits", commit, "model.safetensors")
    assert generator.title == "digits"
    assert sample_noise(generator, [0]).samples.isfinite().all()


def test_what_was_fetched_is_not_downloaded_again(hub: Hub) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    fetched("anna/digits")
    hub.requests.clear()
    fetched("anna/digits")
    assert [line for line in hub.requests if "/lfs/" in line] == []


def test_progress_is_told_in_bytes(hub: Hub) -> None:
    hub.add("anna/slow", {"model.safetensors": DIGITS + bytes(30 << 20)})
    hub.bytes_per_second = 40e6
    seen = []
    with pytest.raises(InputError, match="anna/slow cannot be opened: model"):
        seen.extend((step.done, step.total) for step in fetching("anna/slow"))
    assert seen == sorted(seen) and len(seen) > 2
    assert {total for _, total in seen} <= {0, len(DIGITS) + (30 << 20)}
    assert any(0 < done < total for done, total in seen)


def test_a_pinned_commit_stays_when_the_branch_moves(hub: Hub) -> None:
    first = hub.add("anna/moving", {"model.safetensors": DIGITS})
    pinned = generator_of(f"anna/moving@{first}")
    hub.add("anna/moving", {"model.safetensors": STYLEGAN})
    assert generator_of("anna/moving").architecture.name == "stylegan2"
    hub.requests.clear()
    again = generator_of("anna/moving", first)
    assert again.card == pinned.card and again.architecture.name == "dcgan"
    assert hub.requests == []


def test_tags_and_pull_requests_are_revisions(hub: Hub) -> None:
    tagged = hub.add("anna/tagged", {"model.safetensors": DIGITS})
    repository = hub.repositories["anna/tagged"]
    repository.names["v1.0"] = tagged
    proposed = hub.add("anna/tagged", {"model.safetensors": STYLEGAN})
    repository.names |= {"refs/pr/1": proposed, "main": tagged}
    assert generator_of("anna/tagged@v1.0").card.hub.commit == tagged
    assert generator_of("anna/tagged@refs/pr/1").card.hub.commit == proposed


def test_the_newest_commit_is_asked_for(hub: Hub) -> None:
    first = hub.add("anna/newest", {"model.safetensors": DIGITS})
    fetched("anna/newest")
    second = hub.add("anna/newest", {"model.safetensors": STYLEGAN})
    assert newest_commit("anna/newest") == second
    hub.fails("/api/models", 500)
    assert newest_commit("anna/newest") == first  # the one in the cache
    assert newest_commit("anna/other") == newest_commit("no name") == ""
    assert newest_commit(f"anna/other@{second}") == second


def test_a_private_repository_opens_with_the_login_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("anna/private", {"model.safetensors": DIGITS}, private=True)
    assert "The Hub has no anna/private that you can see" in sentence_of("anna/private")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert generator_of("anna/private").title == "digits"


# Which file.


def test_ours_comes_before_others_and_nothing_else_is_downloaded(hub: Hub, cache: Path) -> None:
    files = {"a.safetensors": STYLEGAN, "b.pkl": b"cposix\nsystem\n", "model.safetensors": DIGITS, "model.py": b"1/0"}
    hub.add("anna/many", files)
    assert generator_of("anna/many").architecture.name == "dcgan"
    assert [blob.read_bytes() for blob in blobs(cache)] == [DIGITS]


def test_a_lone_safetensors_file_of_any_name_opens(hub: Hub) -> None:
    hub.add("anna/lone", {"weights/faces.safetensors": STYLEGAN, "old.pkl": b"N."})
    generator = generator_of("anna/lone")
    assert generator.card.hub.file == "weights/faces.safetensors"


def test_a_pickle_is_read_as_data(hub: Hub, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hub.add("anna/hostile", {"model.pkl": b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."})
    assert "names posix.system, which no generator needs" in sentence_of("anna/hostile")
    assert not mark.exists()


def test_a_pickled_generator_opens(hub: Hub, new_generator, tmp_path: Path) -> None:
    generator = new_generator()
    hub.add("anna/pickled", {"pytorch_model.bin": saved(generator.module.state_dict())})
    opened = generator_of("anna/pickled")
    noise = sample_noise(generator, range(3))
    assert torch.equal(opened.decode(noise), generator.decode(noise))
    assert opened.title == "pickled"


@pytest.mark.parametrize("folder", ["", "vae/"])
@pytest.mark.parametrize(("kind", "architecture"), [("AutoencoderKL", autoencoder_kl), ("AutoencoderTiny", taesd_vae)])
def test_the_vaes_of_diffusers_open(hub: Hub, kind: str, architecture: Any, folder: str) -> None:
    family = architecture.ARCHITECTURE
    settings = {"widths": (32, 32, 64), "layers": 1} if kind == "AutoencoderKL" else {}
    module = family.generator(family.config(64, **settings)).eval().requires_grad_(False)
    weights = module.state_dict()
    if kind == "AutoencoderTiny":
        weights = {str(family.twin(name)): each for name, each in weights.items() if name.startswith("taesd_")}
    content = save({name: each.clone() for name, each in weights.items()})
    config = b'{"_class_name": "%s"}' % kind.encode()
    hub.add("anna/vae", {f"{folder}diffusion_pytorch_model.safetensors": content, f"{folder}config.json": config})
    opened = generator_of("anna/vae")
    assert opened.architecture is family and opened.title == "vae"
    z = torch.ones(1, 4, 8, 8)
    assert torch.allclose(opened.decode(z), module(z), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b'{"_class_name": "UNet2DConditionModel"}', "is a UNet2DConditionModel by its config.json, not a generator"),
        (b'{"model_type": "bert"}', "is a bert by its config.json, not a generator"),
        (b'{"format_version": 1, "architecture": "hypergan"}', 'This version has no architecture "hypergan"'),
    ],
)
def test_what_cannot_be_a_generator_is_not_downloaded(hub: Hub, cache: Path, config: bytes, said: str) -> None:
    hub.add("anna/other", {"model.safetensors": DIGITS, "config.json": config})
    assert said in sentence_of("anna/other")
    assert blobs(cache) == []


@pytest.mark.parametrize("config", [b"", b"{", b"[1]", b'{"model_type": 3}', b"\xff", b"[" * 100_000])
def test_a_config_that_says_nothing_is_no_obstacle(hub: Hub, config: bytes) -> None:
    hub.add("anna/odd", {"model.safetensors": DIGITS, "config.json": config})
    assert generator_of("anna/odd").title == "digits"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": b"#", "model.py": b"1/0"}, "has no file of weights that could be a generator"),
        ({"a.pkl": b"N.", "b.pkl": b"N."}, "has 2 pickled files (a.pkl, b.pkl): download the one that you want"),
        ({f"{i}.safetensors": b"x" for i in range(4)}, "(0.safetensors, 1.safetensors, 2.safetensors ...)"),
        ({"model.safetensors": b"<html>" + bytes(99)}, "cannot be opened: model.safetensors is a web page"),
    ],
)
def test_a_repository_without_a_generator_is_named(hub: Hub, files: dict[str, bytes], said: str) -> None:
    hub.add("anna/without", files)
    assert said in sentence_of("anna/without")


# Names.


@pytest.mark.parametrize(
    ("text", "revision", "expected"),
    [
        ("anna/cats", "", HubId("anna/cats")),
        (" anna/cats@v1.0 ", "", HubId("anna/cats", "v1.0")),
        ("Anna-B/cats_2.0", "refs/pr/3", HubId("Anna-B/cats_2.0", "refs/pr/3")),
        ("anna/cats@main", "main", HubId("anna/cats")),
    ],
)
def test_a_name_is_read(text: str, revision: str, expected: HubId) -> None:
    assert HubId.parse(text, revision) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "cats", "/cats", "anna/", "anna/cats/tree", "../cats", "anna/..", "anna/cats@", "anna/cats@../../x",
        "anna/cats@-x", "anna/ca ts", "anna/cats.git", "https://huggingface.co/anna/cats", "anna/cats@a b", "a--b/c",
        "anna\\cats", "anna/cats@/etc", "anna/" + "c" * 100, "anna/cats\n", "änna/cats@\0",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_in_a_sentence(hub: Hub, text: str) -> None:
    if text != "anna/cats\n":  # which a line of a file ends with
        hub.requests.clear()
        assert sentence_of(text)
        assert hub.requests == []


def test_a_token_in_an_address_is_not_repeated() -> None:
    assert "hf_" not in sentence_of(f"https://anna:{WRITER}@huggingface.co/anna/cats")


def test_two_revisions_are_one_too_many() -> None:
    with pytest.raises(InputError, match='Two revisions are given, "v1" and "v2"'):
        fetched("anna/cats@v1", "v2")


# What goes wrong.


def test_what_is_not_there_is_said(hub: Hub) -> None:
    hub.add("anna/there", {"model.safetensors": DIGITS})
    assert sentence_of("anna/away").startswith("The Hub has no anna/away that you can see: check the name")
    assert sentence_of("anna/there@v9").startswith("anna/there has no revision v9: see its branches and commits at ")
    hub.fails("HEAD", 404, X_Error_Code="EntryNotFound")
    assert sentence_of("anna/there") == "A file of anna/there is missing, because it was just changed: try again."


def test_a_gated_repository_says_where_to_accept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("anna/gated", {"model.safetensors": DIGITS}, gated=True)
    said = sentence_of("anna/gated")
    assert "log in with the command hf auth login" in said and f"http://127.0.0.1:{hub.port}/anna/gated" in said
    monkeypatch.setenv("HF_TOKEN", READER)
    assert generator_of("anna/gated").title == "digits"
    hub.fails("/anna/barred", 403, X_Error_Code="GatedRepo")
    hub.add("anna/barred", {"model.safetensors": DIGITS})
    said = sentence_of("anna/barred")
    assert "accept them at" in said and "log in" not in said


def test_a_login_that_is_not_accepted_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    monkeypatch.setenv("HF_TOKEN", "hf_expiredEXPIREDexpiredEXPIRED012345")
    assert sentence_of("anna/digits").startswith("The Hub does not accept your login: log in again")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "Your login has no permission for this in anna/digits"),
        (409, "was changed at the same time by somebody else"),
        (418, "The Hub refused the request for anna/digits (it answered 418)"),
        (429, "The Hub received too many requests from here"),
        (503, "The Hub is having trouble (it answered 503)"),
    ],
)
def test_each_refusal_has_its_sentence(hub: Hub, status: int, said: str) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    hub.fails("GET /api/models", status)
    assert said in sentence_of("anna/digits")


def test_trouble_that_passes_is_waited_for(hub: Hub) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    hub.fails("GET /api/models", 503, times=1)
    assert fetched("anna/digits").remark == ""


def test_a_connection_that_is_cut_is_taken_up_again(hub: Hub, cache: Path) -> None:
    content = bytes(25 << 20)
    hub.add("anna/cut", {"model.safetensors": content})
    hub.fails("/lfs/", spoil="cut", times=1)
    said = sentence_of("anna/cut")
    if "ended early" in said:  # before 2.0 the client leaves that to the next try
        said = sentence_of("anna/cut")
    assert "cannot be opened" in said  # it came whole, and is no generator
    assert [blob.stat().st_size for blob in blobs(cache)] == [len(content)]


def test_a_connection_that_is_cut_again_and_again_is_said(hub: Hub, cache: Path) -> None:
    hub.add("anna/cut", {"model.safetensors": DIGITS})
    hub.fails("/lfs/", spoil="cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda seconds: None)  # the client waits a second before each of its five tries
        assert sentence_of("anna/cut").startswith(("The Hub cannot be reached", "The download of anna/cut ended"))
    assert [blob for blob in blobs(cache) if blob.suffix != ".incomplete"] == []  # kept by clients before 2.0


def test_a_file_with_a_wrong_hash_is_removed(hub: Hub, cache: Path) -> None:
    hub.add("anna/flipped", {"model.safetensors": DIGITS})
    hub.fails("/lfs/", spoil="flip", times=1)
    assert "its hash is not what the Hub says" in sentence_of("anna/flipped")
    assert blobs(cache) == []
    assert generator_of("anna/flipped").title == "digits"


def test_a_hub_that_is_away_is_said(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert sentence_of("anna/digits").startswith("The Hub cannot be reached at http://127.0.0.1:9")


@pytest.mark.parametrize("status", [429, 503])
def test_the_cache_will_do_where_the_hub_cannot_be_asked(hub: Hub, status: int) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    first = generator_of("anna/digits")
    hub.fails("/anna/digits", status)
    again = fetched("anna/digits")
    assert again.generator is not None and again.generator.card == first.card
    assert again.remark.startswith("from the cache of this machine")


def test_offline_the_cache_is_all_there_is(hub: Hub, client: Path) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    fetched("anna/digits")
    hub.requests.clear()
    program = (
        "import sys; from gan_core.cli import main; [main(['fetch', n], standalone_mode=False) for n in sys.argv[1:]]"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "anna/digits", "anna/other"],
        cwd=client,
        env={**os.environ, **hub.environment(client), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "from the cache of this machine" in done.stdout
    assert "Error: anna/other is not on this machine, and HF_HUB_OFFLINE is set: start once without" in done.stderr
    assert hub.requests == []


def test_a_full_disk_is_said(hub: Hub, client: Path) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    full = client / "hub"
    full.mkdir(parents=True)
    mount = shlex.join(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)])
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be made here: mounting needs Linux and its user namespaces")
    fetch = [sys.executable, "-m", "gan_core", "fetch", "anna/digits", "--out", f"{client}/digits.safetensors"]
    command = f"{mount} && exec {shlex.join(fetch)}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, **hub.environment(client)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 2
        and "Error: The disk is full: free some space for the files of the Hub's client" in done.stderr
    )
    assert not (client / "digits.safetensors").exists()


# On the command line.


def test_the_command_writes_one_file(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add("anna/digits", {"model.safetensors": DIGITS})
    monkeypatch.chdir(tmp_path)
    done = run("fetch", "anna/digits")
    assert done.exit_code == 0 and f"anna/digits@{commit}" in done.output
    generator = load(tmp_path / "digits.safetensors")
    assert generator.card.hub.commit == commit
    noise = sample_noise(generator, range(4))
    assert torch.equal(generator.decode(noise), load(EXAMPLES / "digits.safetensors").decode(noise))
    done = run("fetch", "anna/digits")
    assert done.exit_code == 2 and "exists already: choose another file with --out" in done.output


# At the same time, and left.


def test_two_at_once_both_get_it(hub: Hub) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    hub.bytes_per_second = 500_000
    found: list[Generator] = []
    threads = [threading.Thread(target=lambda: found.append(generator_of("anna/digits"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [generator.title for generator in found] == ["digits", "digits"]


def test_a_download_that_is_left_ends_and_leaves_nothing_half(hub: Hub, cache: Path) -> None:
    content = bytes(100 << 20)
    hub.add("anna/huge", {"model.safetensors": content})
    hub.bytes_per_second = 20e6
    with closing(fetching("anna/huge")) as steps:
        assert any(step.done > 1 << 20 for step in steps)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    # Before 2.0 the client keeps what has come so far, and goes on from there.
    assert [blob for blob in blobs(cache) if blob.suffix != ".incomplete"] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("gan_core.hub")] == []
    hub.bytes_per_second = 0
    assert "cannot be opened" in sentence_of("anna/huge")
    assert [blob.read_bytes() == content for blob in blobs(cache)] == [True]
