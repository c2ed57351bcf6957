"""Publishing to a Hub on loopback: what is sent, what is not, and that it comes back as it was."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import run
from hub_server import READER, WRITER, Hub
from PIL import Image

from gan_core import Generator, InputError, load, sample_noise
from gan_core.architectures import taesd_vae
from gan_core.card import Card, HubOrigin, Metric
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.hub import LICENSES, Publishing, fetching, prepared, publishing
from gan_core.hub.card import public
from gan_core.hub.fetch import OURS
from gan_core.weights.native import opened

ROOT = Path(__file__).parents[3]
SENT = {
    "README.md", "config.json", "model.safetensors", "samples/seeds.png",
    "samples/seed00.png", "samples/seed01.png", "samples/seed02.png", "samples/seed03.png",
}  # fmt: skip
METRIC = {"name": "kid", "value": 0.0123456789, "extractor": "efflite0", "resolution": 64, "n": 10_000}

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
def login(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)


@pytest.fixture
def cats(new_generator: Callable[..., Generator]) -> Generator:
    data = {"name": "photos of cats", "images": 24, "fingerprint": "0" * 64, "mirror": True}
    card = {"title": "cats", "created": "2026-01-02T03:04:05+00:00", "data": data, "training": {"preset": "dcgan"}}
    return new_generator(card)


def published(
    generator: Generator, repo: str = "anna/cats", private: bool = True, as_pull_request: bool = False, **changes: Any
) -> Publishing:
    with prepared(generator, repo, **{"license": "cc-by-4.0", **changes}) as publication:
        *_, last = publishing(publication, private, as_pull_request)
    return last


def sentence_of(generator: Generator, repo: str = "anna/cats", **changes: Any) -> str:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        published(generator, repo, **changes)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and "hf_" not in said
    assert time.monotonic() - start < 10
    return said


def card_of(generator: Generator, **changes: Any) -> tuple[dict[str, Any], str]:
    """The card's head and its text."""
    with prepared(generator, "anna/cats", **{"license": "cc-by-4.0", **changes}) as publication:
        _, head, text = publication.card.split("---\n", 2)
        assert (publication.folder / "README.md").read_text(encoding="utf-8") == publication.card
    return yaml.safe_load(head), text


# There and back.


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("example", ["digits", "stylegan2-digits", "vae-digits"])
def test_what_is_published_comes_back_bit_for_bit(hub: Hub, client: Path, example: str) -> None:
    generator = load(EXAMPLES / f"{example}.safetensors")
    done = published(generator)
    *_, last = fetching("anna/cats")
    again = last.generator
    assert again is not None
    expected, _ = public(generator, "cats", class_names=False)
    assert again.card.to_json() == {
        **expected,
        "hub": {"id": "anna/cats", "commit": done.commit, "file": "model.safetensors"},
    }
    for name, weight in generator.module.state_dict().items():
        assert torch.equal(weight, again.module.state_dict()[name])
    (came,) = client.glob("hub/models--anna--cats/snapshots/*/model.safetensors")
    assert came.read_bytes() == hub.files("anna/cats")["model.safetensors"]


@pytest.mark.usefixtures("login")
def test_a_new_repository_is_private_unless_told_otherwise(hub: Hub, cats: Generator) -> None:
    assert published(cats).url == f"http://127.0.0.1:{hub.port}/anna/cats"
    assert hub.repositories["anna/cats"].private
    published(cats, "anna/open", private=False)
    assert not hub.repositories["anna/open"].private


@pytest.mark.usefixtures("login")
def test_only_what_is_listed_is_sent(hub: Hub, cats: Generator) -> None:
    published(cats)
    assert hub.files("anna/cats").keys() - {".gitattributes"} == SENT
    with prepared(cats, "anna/cats", "mit", workflow={"nodes": []}) as publication:
        assert publication.files.keys() == SENT | {"workflow.json"}
        sizes = {name: (publication.folder / name).stat().st_size for name in publication.files}
        assert publication.files == sizes
    assert not publication.folder.exists()


@pytest.mark.usefixtures("login")
def test_publishing_the_same_again_makes_no_commit(hub: Hub, cats: Generator) -> None:
    first = published(cats)
    again = published(cats)
    assert (first.changed, again.changed) == (True, False)
    assert again.commit == first.commit == hub.repositories["anna/cats"].names["main"]
    *_, last = fetching("anna/cats")
    assert last.generator is not None and not published(last.generator).changed


@pytest.mark.usefixtures("login")
def test_a_change_sends_what_has_changed_and_takes_away_what_is_no_longer_true(hub: Hub, cats: Generator) -> None:
    measured = replace(cats, card=replace(cats.card, metrics=(Metric.from_json(METRIC),)))
    published(measured, workflow={"nodes": []})
    assert hub.files("anna/cats").keys() >= {"metrics.json", "workflow.json"}
    before = hub.files("anna/cats")
    assert published(cats).changed
    after = hub.files("anna/cats")
    assert after.keys() - {".gitattributes"} == SENT
    assert {name for name in SENT if before[name] != after[name]} == {"README.md", "model.safetensors"}


@pytest.mark.usefixtures("login")
def test_a_pull_request_leaves_the_branch_alone(hub: Hub, cats: Generator) -> None:
    first = hub.add("berta/dogs", {"README.md": b"# dogs"})
    done = published(cats, "berta/dogs", as_pull_request=True)
    assert done.url.endswith("/berta/dogs/discussions/1")
    assert hub.repositories["berta/dogs"].names["main"] == first
    *_, last = fetching("berta/dogs@refs/pr/1")
    assert last.generator is not None and last.generator.card.hub.commit == done.commit


# The card.


def test_the_card_says_what_the_hub_asks_for(cats: Generator) -> None:
    head, text = card_of(cats, description="Made of *photos*.")
    assert head["license"] == "cc-by-4.0" and head["pipeline_tag"] == "unconditional-image-generation"
    assert {"gan", "dcgan", "comfyui", "pytorch_model_hub_mixin"} <= set(head["tags"])
    assert [each["output"]["url"] for each in head["widget"]] == [f"samples/seed0{seed}.png" for seed in range(4)]
    assert "model-index" not in head and "base_model" not in head
    for part in ("# cats\n", "Made of *photos*.", "(samples/seeds.png)", "<Gallery />", "Load Generator from Hub"):
        assert part in text
    for row in ("| data: images | 24 |", "| training: preset | dcgan |", "CC BY 4.0\n"):
        assert row in text
    assert "Metrics" not in text


def test_metrics_are_in_the_index_with_all_that_they_mean(cats: Generator) -> None:
    measured = replace(cats, card=replace(cats.card, metrics=(Metric.from_json(METRIC),)))
    head, text = card_of(measured)
    (index,) = head["model-index"]
    (metric,) = index["results"][0]["metrics"]
    assert metric == {"type": "kid", "value": METRIC["value"], "name": "kid (efflite0 at 64, n = 10000)"}
    assert "| kid | 0.0123457 | efflite0 | 64 | 10000 |" in text
    with prepared(measured, "anna/cats", "mit") as publication:
        assert json.loads((publication.folder / "metrics.json").read_bytes()) == [METRIC]


@pytest.mark.parametrize(
    "metrics", [3, [3], [{**METRIC, "n": "many"}], [{"name": "fid", "value": 3}], [{**METRIC, "value": float("nan")}]]
)
def test_a_number_without_its_meaning_is_not_published(cats: Generator, metrics: Any) -> None:
    measured = replace(cats, card=Card.from_json({"title": "cats", "metrics": metrics}))
    assert "metric" in sentence_of(measured)


def test_where_it_came_from_is_said(cats: Generator) -> None:
    origin = {"id": "berta/dogs", "commit": "0" * 40, "file": "model.safetensors"}
    fetched = replace(cats, card=replace(cats.card, hub=HubOrigin.from_json(origin)))
    assert card_of(fetched)[0]["base_model"] == "berta/dogs"


def test_a_card_cannot_be_broken_by_what_is_in_it(cats: Generator) -> None:
    card = {"title": "a|b\n---\n<script>", "data": {"name": "x|y\n\n# z<b>"}, "training": ["odd"], "class_names": 3}
    head, text = card_of(replace(cats, card=Card.from_json(card)), title=": [x\n---\n y")
    assert head["license"] == "cc-by-4.0"
    assert "<script>" not in text and "x\\|y" not in text
    assert "# : [x --- y\n" in text


def test_samples_are_what_the_seeds_mean(cats: Generator) -> None:
    with prepared(cats, "anna/cats", "mit") as publication:
        with Image.open(publication.folder / "samples/seed02.png") as shown:
            shown.load()
        assert shown.size == (256, 256) and not shown.info
        drawn = cats.decode(sample_noise(cats, [2]))[0, 0].mul(127.5).add(127.5).round()
        assert shown.resize((16, 16), Image.Resampling.NEAREST).tobytes() == drawn.byte().numpy().tobytes()


# The code on the card works.


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("kind", ["a GAN", "a VAE with spatial latents"])
def test_the_code_on_the_card_runs(hub: Hub, client: Path, cats: Generator, kind: str) -> None:
    if kind != "a GAN":
        config = taesd_vae.ARCHITECTURE.config(16)
        module = taesd_vae.ARCHITECTURE.generator(config).eval().requires_grad_(False)
        cats = Generator(taesd_vae.ARCHITECTURE, config, module, Card(title="cats"))
    published(cats)
    text = hub.files("anna/cats")["README.md"].decode()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    program = "\n".join(examples) + f"\nassert images.shape == (16, {cats.config.channels}, 16, 16)\n"
    environment = {**os.environ, **hub.environment(client), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("login")
def test_the_mixin_loads_and_saves_strictly(hub: Hub, tmp_path: Path, cats: Generator) -> None:
    from gan_core.hub.mixin import HubGenerator

    published(cats)
    network = HubGenerator.from_pretrained("anna/cats")
    noise = sample_noise(cats, range(3))
    assert torch.equal(network(noise.samples.flatten(1)), cats.decode(noise))
    network.save_pretrained(tmp_path / "copy")
    assert load(tmp_path / "copy" / "model.safetensors").config == cats.config
    assert torch.equal(HubGenerator.from_pretrained(tmp_path / "copy")(torch.ones(1, 4)), network(torch.ones(1, 4)))
    network.push_to_hub("anna/pushed")
    assert torch.equal(HubGenerator.from_pretrained("anna/pushed")(torch.ones(1, 4)), network(torch.ones(1, 4)))

    from safetensors.torch import save_file

    config = json.loads((tmp_path / "copy" / "config.json").read_bytes())
    assert HubGenerator(**config).generator.config == cats.config
    weights = dict(cats.module.state_dict())
    save_file({**weights, "one.more": torch.zeros(1)}, tmp_path / "copy" / "model.safetensors")
    with pytest.raises(InputError):
        HubGenerator.from_pretrained(tmp_path / "copy")
    with pytest.raises(InputError, match="This config is not valid for"):
        HubGenerator("dcgan", colour=3)


# What goes wrong.


def test_a_licence_is_chosen_by_the_person(cats: Generator) -> None:
    assert "Choose a licence for anna/cats" in sentence_of(cats, license="")
    assert "cc-by-4.0" in LICENSES


@pytest.mark.parametrize("repo", ["", "cats", "anna/cats@main/..", "anna/cats@v1", "https://huggingface.co/anna/cats"])
def test_a_name_that_cannot_be_published_to(hub: Hub, cats: Generator, repo: str) -> None:
    hub.requests.clear()
    assert sentence_of(cats, repo)
    assert hub.requests == []


def test_without_a_login_it_is_asked_for(cats: Generator) -> None:
    assert sentence_of(cats) == "The Hub needs a login: log in with the command hf auth login."


def test_a_login_that_may_only_read_is_said(hub: Hub, cats: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    assert sentence_of(cats).startswith("Your login has no permission for this in anna/cats: ")
    assert hub.repositories == {}


def test_a_bad_login_is_said(cats: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expiredEXPIREDexpiredEXPIRED012345")
    assert sentence_of(cats).startswith("The Hub does not accept your login")


@pytest.mark.usefixtures("login")
def test_nobody_elses_names_are_taken(hub: Hub, cats: Generator) -> None:
    assert sentence_of(cats, "berta/cats").startswith("Your login has no permission for this in berta/cats")
    assert "for a pull request" in sentence_of(cats, "berta/cats", as_pull_request=True)


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    "files", [{"model.safetensors": b"x"}, {"config.json": b'{"model_type": "bert"}'}, {"config.json": b"["}]
)
def test_a_repository_with_something_else_in_it_is_left_alone(
    hub: Hub, cats: Generator, files: dict[str, bytes]
) -> None:
    before = hub.add("anna/cats", files)
    assert "anna/cats has other files than those of a generator" in sentence_of(cats, private=False)
    assert hub.repositories["anna/cats"].names["main"] == before


@pytest.mark.usefixtures("login")
def test_what_was_meant_to_be_private_does_not_become_public(hub: Hub, cats: Generator) -> None:
    hub.add("anna/cats", {"README.md": b"# mine"})
    assert "anna/cats exists already and is public" in sentence_of(cats)
    assert hub.files("anna/cats").keys() == {"README.md"}
    assert published(cats, private=False).changed


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    ("part", "status", "said"),
    [
        ("/commit/", 409, "was changed at the same time by somebody else: try again"),
        ("/commit/", 412, "was changed at the same time by somebody else: try again"),
        ("/commit/", 429, "too many requests"),
        ("/api/repos/create", 503, "The Hub is having trouble (it answered 503)"),
        ("/commit/", 503, "The Hub is having trouble (it answered 503)"),
    ],
)
def test_each_refusal_has_its_sentence(hub: Hub, cats: Generator, part: str, status: int, said: str) -> None:
    hub.fails(part, status)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda seconds: None)
        assert said in sentence_of(cats)


@pytest.mark.usefixtures("login")
def test_a_repository_that_appears_meanwhile_is_used(hub: Hub, cats: Generator) -> None:
    """The answer to its creation is then 409."""
    published(cats)
    hub.fails("GET /api/models/anna/cats", 404, times=1, X_Error_Code="RepoNotFound")
    assert not published(cats).changed
    hub.repositories["anna/cats"].private = False  # made by somebody who meant it for everybody
    hub.fails("GET /api/models/anna/cats", 404, times=1, X_Error_Code="RepoNotFound")
    assert "anna/cats exists already and is public" in sentence_of(cats, license="mit")


@pytest.mark.usefixtures("login")
def test_what_somebody_else_does_meanwhile_is_not_written_over(hub: Hub, cats: Generator) -> None:
    published(cats)
    with prepared(cats, "anna/cats", "mit") as publication:
        hub.delays("/preupload/", 0.5)
        steps = publishing(publication)
        next(steps)
        other = hub.add("anna/cats", {"config.json": b"{}"})
        with pytest.raises(InputError, match="was changed at the same time by somebody else"):
            list(steps)
    assert hub.repositories["anna/cats"].names["main"] == other


@pytest.mark.usefixtures("login")
def test_leaving_before_the_end_publishes_nothing(hub: Hub, cats: Generator) -> None:
    published(cats)
    before = hub.repositories["anna/cats"].names["main"]
    with prepared(cats, "anna/cats", "mit") as publication:
        steps = publishing(publication)
        hub.delays("/preupload/", 1.0)
        next(steps)
        steps.close()
    assert hub.repositories["anna/cats"].names["main"] == before


# Nothing private.


@pytest.mark.usefixtures("login")
def test_nothing_private_is_in_what_is_sent(hub: Hub, cats: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "zacharias")
    card = {
        **cats.card.to_json(),
        "data": {"name": "/home/zacharias/photos"},
        "imported": {"from": f"a file of {WRITER}"},
    }
    generator = replace(cats, card=Card.from_json(card))
    workflow = {"nodes": [{"id": 1, "type": "X", "widgets_values": [WRITER, "C:\\Users\\zacharias", "me.png"]}]}
    published(generator, workflow=workflow, title=f"cats {WRITER}", description=f"{WRITER} was my key")
    sent = b"".join(hub.files("anna/cats").values())
    assert WRITER.encode() not in sent and b"zacharias" not in sent and b"me.png" not in sent


CANARY = "Qwertzuiop"


@pytest.fixture
def marked(new_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator:
    """A generator whose every name is that of something on its owner's disk."""
    monkeypatch.setattr("getpass.getuser", lambda: CANARY)
    monkeypatch.setattr("socket.gethostname", lambda: f"{CANARY}-pc")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / CANARY)
    data = {"name": CANARY, "images": 24, "fingerprint": CANARY, "mirror": True, CANARY: 3, "folder": f"a/{CANARY}"}
    training = {"preset": "dcgan", "start": f"{CANARY}.safetensors", "batch_size": 8, CANARY: 1}
    imported = {"file": f"{CANARY}.pkl", "from": f'a DCGAN, in a pickle, under "{CANARY}"', CANARY: CANARY}
    card = {
        "title": CANARY, "created": CANARY, "class_names": [CANARY, "b"], "data": data, "training": training,
        "imported": imported, "tuned": {"pictures": 3, "of": CANARY}, "notes": CANARY, CANARY: CANARY,
        "hub": {"id": "anna/origin", "file": CANARY},
    }  # fmt: skip
    return new_generator(card, classes=2)


def marked_workflows() -> list[dict[str, Any]]:
    """In the API's format and in the page's, with a canary wherever a node may have a name of a file or a folder."""
    settings = {"folder": CANARY, "path": f"{CANARY}/sub", "list": [CANARY, {"a": CANARY, CANARY: 1}], "width": 3}
    kinds = ("LoadGANImageFolder", "TrainGAN", "LoadImagesFromFolder", "SaveImage", "LoraLoader", "VHS_LoadVideo")
    prompt = {str(i): {"class_type": kind, "inputs": settings} for i, kind in enumerate(kinds)}
    nodes = [{"id": i, "type": kind, "widgets_values": list(settings.values())} for i, kind in enumerate(kinds)]
    by_name = [{"id": i, "type": kind, "widgets_values": settings} for i, kind in enumerate(kinds, 10)]
    subgraph = {"id": "s", "nodes": nodes, "extra": {"folder": CANARY}}
    page = {"name": CANARY, "nodes": nodes + by_name, "definitions": {"subgraphs": [subgraph]}, "extra": {"x": CANARY}}
    return [prompt, page]


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("workflow", marked_workflows())
def test_no_byte_of_what_is_sent_is_called_after_a_file_or_a_folder(
    hub: Hub, marked: Generator, workflow: dict[str, Any]
) -> None:
    with prepared(marked, "anna/cats", "mit", workflow=workflow) as publication:
        list(publishing(publication))
        shown = str(publication)
    files = hub.files("anna/cats")
    for name, content in files.items():
        assert CANARY not in name and CANARY.lower() not in name
        assert CANARY.lower().encode() not in content.lower(), name
    assert any(b"classes" in content for content in files.values())
    # The dry run says what is left out.
    for line in (
        f"- its title: {CANARY}",
        f"- the names of its 2 classes: {CANARY}, b",
        f"- data, name: {CANARY}",
        f"- imported, file: {CANARY}.pkl",
        f"- training, start: {CANARY}.safetensors",
        f"- notes: {CANARY}",
        f"- workflow, LoraLoader: {CANARY}/sub",
    ):
        assert f"\n{line}\n" in shown
    left, sent = shown.split("README.md:\n")
    assert CANARY not in sent and CANARY in left


@pytest.mark.usefixtures("login")
def test_what_the_person_types_goes_out(hub: Hub, marked: Generator) -> None:
    published(marked, title=f"my {CANARY}", description=f"Made of {CANARY}.", class_names=True)
    files = hub.files("anna/cats")
    page = files["README.md"].decode()
    assert f"# my {CANARY}\n" in page and f"Made of {CANARY}." in page and f"| classes | 2: {CANARY}, b |" in page
    *_, last = fetching("anna/cats")
    assert last.generator is not None
    assert last.generator.card.class_names == (CANARY, "b") and last.generator.title == f"my {CANARY}"


@pytest.mark.usefixtures("login")
def test_without_a_title_it_is_called_as_its_repository(hub: Hub, cats: Generator) -> None:
    head, text = card_of(replace(cats, card=Card.from_json({"title": "my_photos", "metrics": [METRIC]})))
    assert head["model-index"][0]["name"] == "cats" and "# cats\n" in text
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "unnamed"


@pytest.mark.usefixtures("login")
def test_the_mixin_publishes_no_names_either(hub: Hub, marked: Generator, tmp_path: Path) -> None:
    from gan_core.hub.mixin import HubGenerator

    path = marked.save(tmp_path / "a.safetensors")
    HubGenerator.from_pretrained(_folder_with(path)).push_to_hub("anna/pushed")
    for name, content in hub.files("anna/pushed").items():
        assert CANARY.encode() not in content, name


def _folder_with(path: Path) -> Path:
    path.rename(path.with_name(OURS))
    return path.parent


def test_the_dry_run_shows_every_text_that_would_be_sent(cats: Generator) -> None:
    with prepared(cats, "anna/cats", "mit", workflow={"nodes": [{"id": 1, "type": "X"}]}) as publication:
        shown = str(publication)
        for name in ("README.md", "workflow.json"):
            assert (publication.folder / name).read_text(encoding="utf-8") in shown
        with opened(publication.folder / OURS) as file:
            for key, value in file.metadata.items():
                assert json.dumps({key: value}, ensure_ascii=False)[1:-1] in shown


def test_pictures_have_nothing_in_them_but_pixels(cats: Generator) -> None:
    with prepared(cats, "anna/cats", "mit") as publication:
        for path in publication.folder.glob("samples/*.png"):
            with Image.open(path) as picture:
                assert not picture.info


def test_what_a_dead_publication_left_is_removed_by_the_next(cats: Generator) -> None:
    with prepared(cats, "anna/cats", "mit") as publication:
        place = publication.folder.parents[1]
        dead = place / "0123abcd"
        (dead / "files").mkdir(parents=True)
        (dead / "files" / "model.safetensors").write_bytes(b"left")
    with prepared(cats, "anna/cats", "mit"):
        assert not dead.exists()
    assert not place.exists()


def test_where_nothing_can_be_prepared_it_is_said(
    cats: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GAN_CORE_CACHE", str(tmp_path / "file"))
    assert sentence_of(cats).startswith("Cannot write to ")


@pytest.mark.usefixtures("login")
def test_a_file_that_is_sent_is_closed_when_the_work_is_left(hub: Hub, cats: Generator) -> None:
    """Windows removes no file that somebody has open."""
    hub.answers("PUT /lfs/", "silence")
    with prepared(cats, "anna/cats", "mit") as publication:
        steps = publishing(publication)
        while not any(line.startswith("PUT /lfs/") for line in hub.requests):
            next(steps)
        steps.close()
        if (opened_files := Path("/proc/self/fd")).is_dir():
            names = [os.readlink(each) for each in opened_files.iterdir() if os.path.lexists(each)]
            assert not any(str(publication.folder) in name for name in names)


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(("size", "is_ours"), [(1_000_000, True), (1_000_001, False)])
def test_a_config_too_large_to_be_ours_is_not_read(hub: Hub, cats: Generator, size: int, is_ours: bool) -> None:
    config = b'{"format_version": 1, "architecture": "dcgan"}'
    hub.add("anna/cats", {"config.json": config.ljust(size)})
    if is_ours:
        assert published(cats, private=False).changed
    else:
        assert "anna/cats has other files than those of a generator" in sentence_of(cats, private=False)
        assert not [line for line in hub.requests if "/resolve/" in line]


# On the command line.


def command(*arguments: str) -> Any:
    return run("publish", EXAMPLES / "digits.safetensors", *arguments)


@pytest.mark.usefixtures("login")
def test_the_command_publishes(hub: Hub, tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.json"
    workflow.write_text('{"nodes": [{"id": 1, "widgets_values": ["/home/anna/x"]}]}')
    done = command("anna/digits", "--license", "cc-by-sa-3.0", "--workflow", str(workflow))
    assert done.exit_code == 0, done.output
    assert f"http://127.0.0.1:{hub.port}/anna/digits" in done.output
    files = hub.files("anna/digits")
    assert json.loads(files["workflow.json"])["nodes"] == [{"id": 1, "widgets_values": ["removed"]}]
    assert hub.repositories["anna/digits"].private
    assert (
        "nothing has changed" in command("anna/digits", "--license", "cc-by-sa-3.0", "--workflow", str(workflow)).output
    )


def test_a_dry_run_shows_all_and_sends_nothing(hub: Hub) -> None:
    hub.requests.clear()
    done = command("anna/digits", "--licence", "cc-by-sa-3.0", "--dry-run")  # British spelling is taken too
    assert done.exit_code == 0 and "model.safetensors  317," in done.output and "license: cc-by-sa-3.0" in done.output
    assert hub.requests == []


def test_the_command_asks_for_a_licence(tmp_path: Path) -> None:
    assert "--license" in command("anna/digits").output
    bad = tmp_path / "no workflow"
    bad.write_text("[1]")
    done = command("anna/digits", "--license", "mit", "--workflow", str(bad), "--dry-run")
    assert done.exit_code == 2 and "no workflow is not a workflow" in done.output
