"""What a card says is typed, and what a file says stays as it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gan_core
from gan_core import Card
from gan_core.card import DataFacts, HubOrigin, Imported, Metric, Tuned

SAID = {
    "title": "猫 of mine",
    "created": "2026-11-23T21:23:20+00:00",
    "class_names": ["cat", "犬"],
    "data": {"name": "pets", "images": 273, "fingerprint": "00ff", "mirror": True, "licence": "CC0"},
    "training": {"preset": "few", "objective": "hinge", "learning_rate": 0.0002, "kimg": 12.5, "gamma": None},
    "metrics": [{"name": "kid", "value": 0.1, "extractor": "pixels", "resolution": 16, "n": 8}, {"name": "old"}],
    "imported": {"file": "cats.pkl", "from": "a DCGAN, in a state dict"},
    "hub": {"id": "anna/digits", "commit": "0123", "file": "model.safetensors", "tag": "v1"},
    "tuned": {"pictures": 2, "steps": 100},
    "a fact of tomorrow": [1, {"b": None}],
}

HEADER = {
    "format": "pt",
    "gan_core.architecture": "dcgan",
    "gan_core.card": '{"a fact of tomorrow": [1, {"b": null}], "class_names": ["cat", "犬"], "created": '
    '"2026-11-23T21:23:20+00:00", "data": {"fingerprint": "00ff", "images": 273, "licence": "CC0", "mirror": true, '
    '"name": "pets"}, "hub": {"commit": "0123", "file": "model.safetensors", "id": "anna/digits", "tag": "v1"}, '
    '"imported": {"file": "cats.pkl", "from": "a DCGAN, in a state dict"}, "metrics": [{"extractor": "pixels", "n": 8, '
    '"name": "kid", "resolution": 16, "value": 0.1}, {"name": "old"}], "title": "猫 of mine", "training": {"gamma": '
    'null, "kimg": 12.5, "learning_rate": 0.0002, "objective": "hinge", "preset": "few"}, "tuned": {"pictures": 2, '
    '"steps": 100}}',
    "gan_core.config": '{"channels": 1, "classes": 0, "latent_size": 4, "refine": 0, "side": 16, "start": [4, 4], '
    '"width": 2}',
    "gan_core.format_version": "1",
    "modelspec.architecture": "gan/dcgan",
    "modelspec.date": "2026-11-23T21:23:20+00:00",
    "modelspec.implementation": "ComfyUI-GAN-Studio",
    "modelspec.resolution": "16x16",
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.title": "猫 of mine",
}
"""What was written for this card when a card was a dict, in this order."""


def header_of(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def test_a_header_has_the_bytes_that_it_had_before_cards_were_typed(new_generator, tmp_path):
    generator = replace(new_generator(), card=Card.from_json(SAID))
    header = header_of(generator.save(tmp_path / "cats.safetensors"))
    written = json.dumps(HEADER, ensure_ascii=False, separators=(",", ":")).encode()
    assert header.startswith(b'{"__metadata__":' + written + b",")
    again = gan_core.load(tmp_path / "cats.safetensors").save(tmp_path / "again.safetensors")
    assert header_of(again) == header


def test_each_fact_has_a_type():
    card = Card.from_json(SAID)
    assert card == Card(
        title="猫 of mine",
        created="2026-11-23T21:23:20+00:00",
        class_names=("cat", "犬"),
        data=DataFacts("pets", 273, "00ff", True, other={"licence": "CC0"}),
        training=SAID["training"],
        metrics=(Metric("kid", 0.1, "pixels", 16, 8), Metric("old")),
        imported=Imported("cats.pkl", "a DCGAN, in a state dict"),
        hub=HubOrigin("anna/digits", "0123", "model.safetensors", other={"tag": "v1"}),
        tuned=Tuned(2, 100),
        other={"a fact of tomorrow": [1, {"b": None}]},
    )
    assert card.metrics is not None and [metric.missing for metric in card.metrics] == [
        [],
        ["value", "extractor", "resolution", "n"],
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", 5),
        ("title", None),
        ("created", ["today"]),
        ("class_names", 3),
        ("class_names", ["a", 1]),
        ("data", "photos"),
        ("training", ["odd"]),
        ("metrics", {"kid": 0.1}),
        ("metrics", [{"name": "kid"}, 0.1]),
        ("imported", None),
        ("hub", "anna/digits"),
        ("other", {"other": 1}),
    ],
)
def test_a_fact_of_another_type_is_kept_and_counts_as_missing(name, value):
    card = Card.from_json({"title": "cats", name: value})
    assert card.other == {name: value} and card.to_json() == {"title": "cats", name: value}
    assert name == "other" or getattr(card, name) is None


def test_an_inner_fact_of_another_type_is_kept_too():
    card = Card.from_json({"data": {"images": "many", "mirror": 1}})
    assert card.data == DataFacts(other={"images": "many", "mirror": 1})
    assert card.to_json() == {"data": {"images": "many", "mirror": 1}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*SAID, "other", "KEYS", "from", "name", "value", "n", "id", "file"])


@given(st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON) | st.lists(st.dictionaries(KEYS, JSON), max_size=2)))
def test_whatever_a_file_says_is_written_again(said):
    written = json.dumps(said, sort_keys=True)
    assert json.dumps(Card.from_json(said).to_json(), sort_keys=True) == written
    assert Card.from_json(json.loads(written)) == Card.from_json(said)
