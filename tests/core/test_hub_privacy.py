"""Nothing private leaves with a published workflow or card, wherever in it somebody may have put it."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_core.hub.privacy import REMOVED, stripped, stripped_workflow, without_tokens

ROOT = Path(__file__).parents[2]
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
    prompt = {"1": {"class_type": "X", "inputs": {"repo": "anna/cats", "text": "anna's cats"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("getpass.getuser", lambda: "anna")
        found = stripped_workflow(prompt, public=["anna/cats"])
    assert found["1"]["inputs"] == {"repo": "anna/cats", "text": f"{REMOVED}'s cats"}


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
