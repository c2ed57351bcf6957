"""Nothing private leaves with a published workflow or card, wherever in it somebody may have put it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_core.data.images import CHANNELS
from gan_core.generator import NOISES
from gan_core.hub.redaction import REMOVED, WORDS, stripped, stripped_workflow, without_tokens
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.losses.reconstruction import LIKELIHOODS, LOSSES
from gan_core.media.image_files import FITS
from gan_core.sampling.seeds import PRIORS
from gan_core.sampling.walks import INTERPOLATIONS
from gan_core.training.augmentation import AUGMENTS
from gan_core.training.config import ON_TROUBLE
from gan_core.training.presets import GAN_PRESETS, VAE_PRESETS

ROOT = Path(__file__).parents[3]
TEMPLATES = {
    path.relative_to(ROOT).as_posix(): json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "workflows").rglob("*.json"))
}

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TOKENS = st.one_of(
    st.text(ALPHABET, min_size=34, max_size=34).map("hf_{}".format),
    st.text(ALPHABET, min_size=36, max_size=36).map("ghp_{}".format),
    st.text(ALPHABET, min_size=40, max_size=48).map("sk-{}".format),
    st.text(ALPHABET, min_size=30, max_size=30).map("Bearer {}".format),
    st.text(ALPHABET, min_size=8, max_size=20).map("https://anna:{}@example.org/x".format),
    st.text(ALPHABET, min_size=8, max_size=20).map("https://example.org/file?token={}".format),
)
PEOPLE = st.sampled_from(["Anna", "zacharias", "r2d2"])
PATHS = st.builds(
    str.format,
    st.sampled_from(
        ["/home/{0}/{1}", "/Users/{0}/{1}.png", "C:\\Users\\{0}\\{1}", "d:/{0}/{1}", "~/{0}/{1}", "\\\\{0}\\{1}",
         "file:///{0}/{1}", "../{0}/{1}", "%APPDATA%\\{0}\\{1}", "$HOME/{0}/{1}", "/{0} {1}"]
    ),
    st.just("Zacharias"),
    st.just("Qwertz"),
)  # fmt: skip
AROUND = st.sampled_from(["", " ", "a photo of ", ": ", "\n", "(", '"', "="])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value a text could be put."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], text: str, as_key: bool) -> Any:
    value = copy.deepcopy(value)
    *above, last = path
    place = value
    for key in above:
        place = place[key]
    if as_key and isinstance(place, dict):
        place[text] = place.pop(last)
    else:
        place[last] = text
    return value


def with_secret(data: st.DataObject, secret: str) -> str:
    """What becomes of a workflow that has a secret somewhere."""
    workflow = TEMPLATES[data.draw(st.sampled_from(sorted(TEMPLATES)))]
    text = data.draw(AROUND) + secret + data.draw(st.sampled_from(["", " ", "\n", ")", '"']))
    spoiled = put(workflow, data.draw(st.sampled_from(places(workflow))), text, data.draw(st.booleans()))
    return json.dumps(stripped_workflow(spoiled), ensure_ascii=False)


@given(st.data(), TOKENS)
def test_a_token_is_nowhere_in_a_stripped_workflow(data: st.DataObject, token: str) -> None:
    secret = re.split(r"[_ :=-]", token.removesuffix("@example.org/x"))[-1]
    assert secret not in with_secret(data, token)


@given(st.data(), PATHS)
def test_a_path_is_nowhere_in_a_stripped_workflow(data: st.DataObject, path: str) -> None:
    found = with_secret(data, path)
    assert "Zacharias" not in found and "Qwertz" not in found


@given(st.data(), PEOPLE, st.sampled_from(["{}", "{}'s", "by {}", "of_{}", "{}-pc", "{}@example.org", "({})"]))
def test_the_user_is_nowhere_in_a_stripped_workflow(data: st.DataObject, person: str, how: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("getpass.getuser", lambda: person)
        patch.setattr("socket.gethostname", lambda: f"{person}-pc")
        for shown in (person, person.upper()):
            assert shown not in with_secret(data, how.format(shown))


@given(st.data(), st.text(ALPHABET, min_size=24, max_size=40).filter(lambda key: re.search("[0-9].*[a-z]", key)))
def test_a_key_of_an_unknown_service_is_in_no_setting(data: st.DataObject, key: str) -> None:
    workflow = TEMPLATES["workflows/api/sample_a_generator.json"]
    spoiled = put(workflow, data.draw(st.sampled_from([("1", "inputs", "name"), ("6", "inputs", "x")])), key, False)
    assert key not in json.dumps(stripped_workflow(spoiled))


@pytest.mark.parametrize(
    "name",
    [
        "me.png", "holiday/me.JPG", "me.png [input]", "clips/we.mp4", "input/our wedding", "datasets/faces of clients",
        "voice.wav", "list of names.txt",
    ],
)  # fmt: skip
def test_a_persons_own_files_are_not_named(name: str) -> None:
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}
    page = {"nodes": [{"id": 1, "type": "LoadImage", "widgets_values": [name, "image"]}]}
    assert stripped_workflow(prompt)["1"]["inputs"] == {"image": REMOVED}
    assert stripped_workflow(page)["nodes"][0]["widgets_values"] == [REMOVED, "image"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_workflow_without_secrets_stays_as_it_is(name: str) -> None:
    """But for what the page writes beside it."""
    before, after = TEMPLATES[name], stripped_workflow(TEMPLATES[name], public=["input/example.png", "example.png"])
    nodes, kept = (each["nodes"] if "nodes" in each else list(each.values()) for each in (before, after))
    assert len(nodes) == len(kept)
    for one, other in zip(nodes, kept, strict=True):
        for key in ("id", "type", "class_type", "inputs", "outputs", "widgets_values", "pos", "mode"):
            assert other.get(key) == one.get(key)
    assert after.get("links") == before.get("links")


def test_what_the_page_writes_beside_a_workflow_is_left_out() -> None:
    extra = {"ds": {"scale": 1, "offset": [3, 4]}, "node_versions": {}, "reroutes": [{"id": 1}], "author": "anybody"}
    properties = {"cnr_id": "gan-studio", "aux_id": "anybody/pack", "last_output": "x"}
    node = {"id": 1, "type": "X", "properties": properties, "preview": "x"}
    found = stripped_workflow({"nodes": [node], "extra": extra, "author": "anybody"})
    assert found == {
        "nodes": [{"id": 1, "type": "X", "properties": {"cnr_id": "gan-studio"}}],
        "extra": {"reroutes": [{"id": 1}]},
    }


def test_subgraphs_are_stripped_too() -> None:
    inner = {"id": "a", "nodes": [{"id": 1, "widgets_values": ["/home/anna/x"]}], "extra": {"ds": 1}}
    found = stripped_workflow({"nodes": [], "definitions": {"subgraphs": [inner]}})
    assert found["definitions"] == {"subgraphs": [{"id": "a", "nodes": [{"id": 1, "widgets_values": [REMOVED]}]}]}


def test_what_is_public_stays() -> None:
    prompt = {"1": {"class_type": "PublishGenerator", "inputs": {"repo": "anna/cats", "title": "anna's cats"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("getpass.getuser", lambda: "anna")
        found = stripped_workflow(prompt, public=["anna/cats"])
    assert found["1"]["inputs"] == {"repo": "anna/cats", "title": f"{REMOVED}'s cats"}


@pytest.mark.parametrize("text", ["24/7", "and/or", "models: v1-5-pruned-emaonly-fp16", "a:b", "50% off", "3.5 / 2"])
def test_plain_text_stays(text: str) -> None:
    assert without_tokens(text) == text
    assert stripped(text) in (text, "3.5 / 2")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
)
def test_any_json_can_be_stripped(value: Any) -> None:
    again = stripped(value)
    assert stripped(again) == again
    for whole in ({"nodes": value}, {"nodes": [value], "definitions": value, "extra": value}, {"1": value}):
        json.dumps(stripped_workflow(whole))


# One by one: each kind of secret in its shortest form, and what is a letter too short to be one.

SECRETS = [
    ("hf_", 6),
    ("api_org_", 6),
    ("sk-", 12),
    ("pk-", 12),
    ("rk-", 12),
    ("ghp_", 12),
    ("gho_", 12),
    ("github_pat_", 12),
    ("glpat-", 12),
    ("xoxb-", 8),
    ("xapp-1-xoxp-", 8),
    ("AKIA", 12),
]


@pytest.mark.parametrize(("start", "length"), SECRETS)
def test_a_token_is_known_by_how_it_begins_and_by_its_length(start: str, length: int) -> None:
    token = f"{start}{'A1B2C3D4E5F6'[:length]}"
    before = start.rpartition("xox")[0]
    assert without_tokens(f"say {token}, please") == f"say {before}{REMOVED}, please"
    assert without_tokens(f"{token[:-1]}") == token[:-1]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("eyJhbGciOiJ.eyJzdWIi.c2ln", REMOVED),
        ("eyJhbGciOiJ.eyJzdWIi", REMOVED),
        ("eyJhbGc.eyJzdWIi", "eyJhbGc.eyJzdWIi"),
        ("Authorization: Bearer a.b-c d", f"Authorization: {REMOVED} d"),
        ("bearer x", REMOVED),
        ("https://anna:pass@host/x", f"https://{REMOVED}@host/x"),
        ("https://host/a@b", "https://host/a@b"),
        *((f"{word}=x1", REMOVED) for word in ("token", "TOKEN", "api_key", "apikey", "password", "passwd", "pwd")),
        ("secret: x1, and more", f"{REMOVED} and more"),
        ("a?key=x1&b=2", f"a?{REMOVED}&b=2"),
        *((f"https://h/a?{word}=x1&b=2", f"https://h/a?{REMOVED}&b=2") for word in ("signature", "sig", "auth")),
        ("key: c minor", "key: c minor"),
        ("hf_ABC, ask-for-a-long-name, tokens of appreciation", "hf_ABC, ask-for-a-long-name, tokens of appreciation"),
    ],
)
def test_a_secret_is_taken_out_and_nothing_else(text: str, left: str) -> None:
    assert without_tokens(text) == left


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine and an account without names of their own."""
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    monkeypatch.setattr(Path, "home", lambda: Path("/root"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see /mnt/data/a b.png\nnext", f"see {REMOVED}\nnext"),
        ("file:///a/b c", REMOVED),
        ("(C:\\Users\\a b)\nnext", f"({REMOVED}\nnext"),
        ("d:/x", REMOVED),
        ("\\\\server\\share", REMOVED),
        ("./a/b", REMOVED),
        ("..\\a", REMOVED),
        ("~/a", REMOVED),
        ("%TEMP%\\a", REMOVED),
        ("$HOME/a and $USER", REMOVED),
        ("and/or 3 / 4, 1./2.", "and/or 3 / 4, 1./2."),
        ("write to anna.b+c@mail.example.org now", f"write to {REMOVED} now"),
        ("me@home", "me@home"),
        ("http://localhost:8188/x y", f"{REMOVED} y"),
        ("https://192.168.0.3:80/x", REMOVED),
        ("http://[fe80::1]:80", REMOVED),
        ("https://example.org/x", "https://example.org/x"),
        ("hf_123456", REMOVED),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_a_path_or_an_address_is_taken_out_and_nothing_else(text: str, left: str) -> None:
    assert stripped(text) == left
    assert stripped({"a": [text, 1, None, True, 2.5]}) == {"a": [left, 1, None, True, 2.5]}
    assert stripped({text: (text,)}) == {left: [left]}


@pytest.mark.parametrize(
    ("user", "machine", "home", "text", "left"),
    [
        ("anna", "x1", "/root", "anna, Anna_2, hanna, annas", f"{REMOVED}, {REMOVED}_2, hanna, annas"),
        ("root", "tower", "/root", "the tower of root", f"the {REMOVED} of root"),
        ("root", "localhost", "/home/berta", "berta", REMOVED),
        ("al", "x1", "/root", "al x1", "al x1"),  # of two letters are too many words
        ("ann", "x12", "/root", "ann x12", f"{REMOVED} {REMOVED}"),
        ("a.b", "localhost", "/root", "a.b axb", f"{REMOVED} axb"),
    ],
)
def test_names_of_the_user_the_machine_and_the_home_are_taken_out(
    monkeypatch: pytest.MonkeyPatch, user: str, machine: str, home: str, text: str, left: str
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: user)
    monkeypatch.setattr("socket.gethostname", lambda: machine)
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    assert stripped(text) == left


@pytest.mark.parametrize(
    "name", ["root", "user", "admin", "comfy", "comfyui", "home", "localhost", "ubuntu", "runner", "docker"]
)
def test_names_that_say_nothing_stay(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: name)
    monkeypatch.setattr("socket.gethostname", name.upper)
    monkeypatch.setattr(Path, "home", lambda: Path("/root"))
    assert stripped(f"my {name}") == f"my {name}"


def test_an_account_without_a_name_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("socket.gethostname", lambda: "tower")
    assert stripped("tower") == REMOVED


ENDINGS = (
    *("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "mp4", "mov", "mkv", "webm", "avi"),
    *("wav", "mp3", "flac", "ogg", "m4a", "psd", "glb", "obj", "txt", "csv", "json", "zip", "latent", "npy", "npz"),
)


def setting(text: str) -> Any:
    """What becomes of a text that somebody has typed into a node."""
    return stripped_workflow({"1": {"class_type": "CLIPTextEncode", "inputs": {"a": text}}})["1"]["inputs"]["a"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("nobody")
def test_a_file_of_the_persons_own_is_named_in_no_setting(ending: str) -> None:
    assert setting(f"our trip.{ending}") == setting(f"our trip.{ending.upper()} and") == REMOVED
    assert setting(f"two lines\nour trip.{ending}") == f"two lines\n{REMOVED}"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        *((f"our trip [{kind}]", REMOVED) for kind in ("input", "output", "temp")),
        *((f"{kind}/our trip", REMOVED) for kind in ("input", "output", "temp", "datasets")),
        ("v1-5.safetensors", "v1-5.safetensors"),
        ("the input/output of it", "the input/output of it"),
        ("a1b2c3d4e5f6g7h8i9j0", REMOVED),  # 20 letters and digits
        ("a1b2c3d4e5f6g7h8i9j", "a1b2c3d4e5f6g7h8i9j"),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("hf_123456", REMOVED),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_what_a_setting_may_say(text: str, left: str) -> None:
    assert setting(text) == left


@pytest.mark.usefixtures("nobody")
def test_what_is_no_setting_may_be_called_like_a_file() -> None:
    node = {"id": 1, "title": "shows me.png", "widgets_values": ["me.png"]}
    assert stripped_workflow({"nodes": [node]})["nodes"] == [{**node, "widgets_values": [REMOVED]}]


GRAPH = (
    *("id", "name", "revision", "last_node_id", "last_link_id", "links", "floatingLinks", "groups", "config"),
    *("version", "state", "inputs", "outputs", "inputNode", "outputNode", "widgets", "reroutes"),
)
NODE = (
    *("id", "type", "class_type", "pos", "size", "flags", "order", "mode", "inputs", "outputs", "title", "color"),
    *("bgcolor", "widgets_values"),
)
PROPERTIES = ("Node name for S&R", "cnr_id", "ver", "proxyWidgets")


@pytest.mark.usefixtures("nobody")
def test_a_published_workflow_has_these_parts_and_no_others() -> None:
    more = ("thumbnail", "preview", "models", "author", "aux_id", "properties_", "ds", "comment")
    node = dict.fromkeys((*NODE, *more), "x") | {"properties": dict.fromkeys((*PROPERTIES, *more), "x")}
    extra = dict.fromkeys(("reroutes", "linkExtensions", *more), "x")
    subgraph = dict.fromkeys((*GRAPH, *more), "x")
    node["widgets_values"] = "fixed"
    page = dict.fromkeys((*GRAPH, *more), "x") | {
        "nodes": [node],
        "extra": extra,
        "definitions": {"subgraphs": [subgraph], "more": "x"},
    }
    graph = dict.fromkeys(GRAPH, "x")
    del graph["name"]  # of the page's file; a subgraph's was typed
    assert stripped_workflow(page) == graph | {
        "nodes": [dict.fromkeys(NODE, "x") | {"properties": dict.fromkeys(PROPERTIES, "x"), "widgets_values": "fixed"}],
        "extra": {"reroutes": "x", "linkExtensions": "x"},
        "definitions": {"subgraphs": [dict.fromkeys(GRAPH, "x")]},
    }


# Names of files and folders in the settings of any node, whatever they look like.


CANARIES = (
    "wedding",
    "our wedding",
    "wedding/raw",
    "wedding\\raw",
    "raw.png/wedding",
    "wedding [input]",
    "2019 wedding",
)


@pytest.mark.parametrize("name", CANARIES)
@pytest.mark.parametrize("kind", ["LoadImagesFromFolder", "TrainGAN", "LoadGenerator", "SaveImage", "PrimitiveString"])
def test_a_word_that_may_be_a_folder_is_in_no_setting(kind: str, name: str) -> None:
    """Be it a setting, in a list, in a value by name, or a name itself; in the API's format and in the page's."""
    nested = [name, {"path": name, name: [name]}, [[name]]]
    prompt = {"1": {"class_type": kind, "inputs": {"folder": name, "more": nested, "width": 64, "mode": "fixed"}}}
    removed: list[str] = []
    found = stripped_workflow(prompt, removed=removed)
    assert "wedding" not in json.dumps(found)
    assert found["1"]["inputs"]["width"] == 64 and found["1"]["inputs"]["mode"] == "fixed"
    assert f"{kind}: {name}" in removed
    for values in ([name, *nested, 64], {"folder": name, "more": nested}):
        assert "wedding" not in json.dumps(
            stripped_workflow({"nodes": [{"id": 1, "type": kind, "widgets_values": values}]})
        )


def test_links_of_the_api_stay() -> None:
    prompt = {
        "1": {"class_type": "X", "inputs": {}},
        "2:7": {"class_type": "X", "inputs": {"a": ["1", 0], "b": ["wedding", 0], "c": ["1", "wedding"]}},
    }
    assert stripped_workflow(prompt)["2:7"]["inputs"] == {
        "a": ["1", 0],
        "b": [REMOVED, 0],
        "c": ["1", REMOVED],
    }


def test_what_a_list_of_files_offers_is_not_published() -> None:
    """Older pages write it into sockets and links."""
    options = ["wedding.png", "b.png"]
    socket = {"name": "image", "type": options, "link": 3, "widget": {"name": "image", "config": [options, {}]}}
    node = {"id": 1, "type": "PrimitiveNode", "inputs": [socket], "outputs": [{"name": "COMBO", "type": options}]}
    found = stripped_workflow({"nodes": [node], "links": [[3, 1, 0, 2, 0, options], [4, 1, 0, 2, 0, "IMAGE"]]})
    assert found["nodes"][0]["inputs"] == [{"name": "image", "type": "COMBO", "link": 3, "widget": {"name": "image"}}]
    assert found["nodes"][0]["outputs"] == [{"name": "COMBO", "type": "COMBO"}]
    assert found["links"] == [[3, 1, 0, 2, 0, "COMBO"], [4, 1, 0, 2, 0, "IMAGE"]]


def test_seeds_and_weights_of_classes_stay() -> None:
    prompt = {"1": {"class_type": "GANSeedGrid", "inputs": {"seeds": "3, 17, 40-43"}}}
    assert stripped_workflow(prompt) == prompt
    prompt["1"] = {"class_type": "LoadImagesFromFolder", "inputs": {"seeds": "5, 18-20"}}
    assert stripped_workflow(prompt)["1"]["inputs"] == {"seeds": REMOVED}


def test_words_to_choose_from_stay() -> None:
    """Whatever there is to choose here is known, and says nothing of anybody."""
    choices = {
        *GAN_PRESETS, *VAE_PRESETS, *OBJECTIVES, *AUGMENTS, *FITS, *CHANNELS, *ON_TROUBLE, *LOSSES, *LIKELIHOODS,
        *PRIORS, *NOISES, *INTERPOLATIONS,
    }  # fmt: skip
    assert choices <= WORDS
