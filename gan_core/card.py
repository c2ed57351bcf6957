"""What a generator's card says: facts for people, kept in the header of its file (docs/file-format.md)."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

SomeFacts = TypeVar("SomeFacts", bound="Facts")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of a JSON object, one for each field. Each may be missing, and is None then.

    A file may say more than there are fields for, or say a fact in another type than its field has. That is kept in
    `other`, so that a file that is loaded and saved again says the same.
    """

    KEYS: ClassVar[Mapping[str, str]] = {}
    """What fields are called in JSON, where that is not their name."""

    other: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the object says, as JSON has it."""

    @classmethod
    def from_json(cls: type[SomeFacts], values: Mapping[str, Any]) -> SomeFacts:
        """The facts of a JSON object. Takes any: nothing that a file says here is an error."""
        other, read = dict(values), {}
        for name, kind in _facts(cls).items():
            read[name] = _read(kind, values.get(cls.KEYS.get(name, name)))
            if read[name] is not None:
                del other[cls.KEYS.get(name, name)]
        return cls(**read, other=other)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without the facts that are missing."""
        said = {self.KEYS.get(name, name): getattr(self, name) for name in _facts(type(self))}
        return {**self.other, **{key: _json(value) for key, value in said.items() if value is not None}}

    @property
    def missing(self) -> list[str]:
        """The names of the facts that are missing."""
        return [name for name in _facts(type(self)) if getattr(self, name) is None]


def _facts(kind: type[Facts]) -> dict[str, Any]:
    """The fields of facts, and the type that each has where it is not missing."""
    hints = get_type_hints(kind)
    return {name: get_args(hints[name])[0] for name in hints if name not in ("KEYS", "other")}


def _read(kind: Any, value: Any) -> Any:
    """A value of JSON as one of that type; None where it is of another."""
    if get_origin(kind) is tuple:
        values = [_read(get_args(kind)[0], each) for each in value] if isinstance(value, list | tuple) else [None]
        return None if None in values else tuple(values)
    if get_origin(kind) is abc.Mapping:
        return value if isinstance(value, Mapping) else None
    if issubclass(kind, Facts):
        return kind.from_json(value) if isinstance(value, Mapping) else None
    return value if type(value) is kind or (kind is float and type(value) is int) else None


def _json(value: Any) -> Any:
    if isinstance(value, Facts):
        return value.to_json()
    return [_json(each) for each in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Metric(Facts):
    """A figure that was measured of a generator. The value means nothing without the other four facts."""

    name: str | None = None
    """Such as "kid"."""
    value: float | None = None
    extractor: str | None = None
    """The network whose features were compared."""
    resolution: int | None = None
    """Height and width at which it was shown the images, in pixels."""
    n: int | None = None
    """Number of generated images."""


@dataclass(frozen=True)
class DataFacts(Facts):
    """The data set that a generator was trained on."""

    name: str | None = None
    """Of the folder, without its path."""
    images: int | None = None
    """How many there are."""
    fingerprint: str | None = None
    """SHA-256 of all pixels and labels, in hex."""
    mirror: bool | None = None
    """Whether images were also shown horizontally flipped."""


@dataclass(frozen=True)
class Imported(Facts):
    """The file of another program that a generator was read from."""

    KEYS: ClassVar[Mapping[str, str]] = {"source": "from"}

    file: str | None = None
    """Its name, without its path."""
    source: str | None = None
    """What it was: "a StyleGAN2 of NVIDIA's, in a pickled network of the class Generator"."""


@dataclass(frozen=True)
class HubOrigin(Facts):
    """Where on the Hugging Face Hub a generator was fetched."""

    id: str | None = None
    """The repository: "anna/digits"."""
    commit: str | None = None
    file: str | None = None
    """Its path in the repository."""


@dataclass(frozen=True)
class Tuned(Facts):
    """How a generator was tuned to images of its user."""

    pictures: int | None = None
    """Number of these images."""
    steps: int | None = None


@dataclass(frozen=True)
class Card(Facts):
    """What is known of a generator."""

    title: str | None = None
    """What to call it."""
    created: str | None = None
    """When its training wrote it, ISO 8601 in UTC."""
    class_names: tuple[str, ...] | None = None
    """The names of labels 0, 1, ...; empty without classes."""
    data: DataFacts | None = None
    training: Mapping[str, Any] | None = None
    """What its training method says: preset, objective, batch_size, kimg, seed and so on."""
    metrics: tuple[Metric, ...] | None = None
    imported: Imported | None = None
    hub: HubOrigin | None = None
    tuned: Tuned | None = None
