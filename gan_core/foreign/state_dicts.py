"""State dicts in parsed pickles: those of NVIDIA's networks, and others in any nesting.

Checkpoints store their generator under arbitrary names. A state dict is therefore recognised by its content, names with
tensors. The names above it only decide which one is examined first, and which one belongs to a discriminator.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from typing import Any

from ..errors import InputError
from ..weights.native import MAX_TENSORS
from .pickles import MAX_NAME, PERSISTENT, Object, StoredTensor, Work
from .torch_files import TorchFile

MAX_MODULE_DEPTH = 40
"""Maximum nesting of the modules of a network."""

MAX_VALUE_DEPTH = 8
"""Maximum nesting of dicts, lists and objects around a state dict."""

MAX_SEARCHED = 1_000_000
"""Maximum items touched in the search for state dicts."""

ITEMS_OF_A_MODULE = 10
"""Cost of a module of a network in items, besides its content."""

ITEMS_OF_A_CANDIDATE = 100
"""Cost of each candidate in items: it is compared with all known layouts."""

ITEMS_OF_A_TENSOR = 4
"""Cost of each tensor of a candidate in items."""

MIN_TENSORS = 4
"""Minimum tensors of a part of a state dict that is examined only because its names share a prefix."""

MAX_WRAPPINGS = 4
"""Maximum prefixes shared by all names of a network, such as "module."."""

MAX_BRANCHES = 2
"""Maximum levels at which the names in a state dict with several networks branch."""

MAX_FACT = 1 << 53
"""Maximum whole numbers among the attributes of a module. A file could choose larger ones that collide in a set."""


@dataclass(frozen=True)
class Candidate:
    """State dict with tensors still in the file, and attributes of its network."""

    tensors: Mapping[str, StoredTensor]
    kind: str
    """Description of where it was found, for a sentence."""
    attributes: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    """Numbers and texts among the attributes and arguments of the network's modules, by name, if the file has them."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}


class Rank(IntEnum):
    """Kind of weights according to their name. Lower ranks are examined first."""

    AVERAGED = 0
    GENERATOR = 1
    UNKNOWN = 2
    PART = 3
    """Possibly a network: names that share a prefix."""


def candidates(file: TorchFile) -> Iterator[Candidate]:
    """Yields the state dicts in a file that may be a generator, EMA weights first, without those of discriminators.

    Raises InputError for a network that is too large for a generator, and for a file with too much to search.
    """
    for found in searching(file):
        if found is not None:
            yield found


def searching(file: TorchFile) -> Iterator[Candidate | None]:
    """Yields the candidates of a file, and None from time to time, so that the caller can stop."""
    work = Work(file.name, MAX_SEARCHED)
    places: list[_Place] = []
    for place in _places(file.root, work):
        if place is None:
            yield None
        else:
            places.append(place)
    dicts = [place for place in places if type(place.value) is dict]
    ways: list[tuple[Rank, Iterator[Candidate | None]]] = []
    for place in places:
        if type(place.value) is list:
            if place.rank == Rank.AVERAGED:
                ways.append((place.rank, _listed_averages(place, dicts, work)))
        elif type(place.value) is Object:
            ways.append((place.rank, _network(file.name, place, work)))
        else:
            found = _state_dict(file.name, place, work)
            ways += [(part.rank, _part(found, part, work)) for part in prefixes(found.tensors, place.rank, work)]
            if place.rank == Rank.AVERAGED:
                ways.append((place.rank, _averages_alone(place, dicts, work)))
    for _, way in sorted(ways, key=lambda way: way[0]):  # stable: outer ones come first
        yield from way


def names_of_candidates(file: str, names: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yields the candidates of a safetensors file, the most likely first: tensor name in the candidate -> in the file.

    file: name of the file, for errors. names: names of all its tensors. Raises the errors of `candidates`.
    """
    work = Work(file, MAX_SEARCHED)
    for part in prefixes(names, Rank.UNKNOWN, work):
        work.charge(ITEMS_OF_A_CANDIDATE + ITEMS_OF_A_TENSOR * len(part.names))
        yield {name.removeprefix(part.text): name for name in part.names}


def discriminator_in(file: TorchFile) -> str | None:
    """Name under which a file has weights that were ignored as a discriminator's; None without such weights."""
    passed_over: list[str] = []
    for _ in _places(file.root, Work(file.name, MAX_SEARCHED), passed_over):
        pass
    return next(iter(passed_over), None)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Common prefix of the names of one network, in a state dict that may have several."""

    text: str
    """Prefix with its last dot; empty for all names."""
    rank: Rank
    names: list[str]
    """Names with this prefix."""


def prefixes(names: Iterable[str], rank: Rank, work: Work) -> list[Prefix]:
    """Possible prefixes of a generator's names, the most likely first, without those of discriminators.

    rank: rank of the state dict.
    """
    whole = Prefix("", rank, list(names))
    found = [whole, *_inner(whole, work, branches=MAX_BRANCHES, wrappings=MAX_WRAPPINGS)]
    return sorted(found, key=lambda prefix: (prefix.rank, not prefix.text.endswith(_WRAPPINGS)))


def _inner(outer: Prefix, work: Work, branches: int, wrappings: int) -> Iterator[Prefix]:
    work.charge(len(outer.names))
    parts: dict[str, list[str]] = {}
    for name in outer.names:
        head, dot, _ = name[len(outer.text) :].partition(".")
        if dot:
            parts.setdefault(head, []).append(name)
    wrapped = any(len(part) == len(outer.names) for part in parts.values())
    if not (wrappings if wrapped else branches):
        return
    for head, part in parts.items():
        rank = rank_of(head)
        if rank is None or (rank == Rank.UNKNOWN and not wrapped and len(part) < MIN_TENSORS):
            continue
        if rank == Rank.UNKNOWN and not wrapped:
            rank = Rank.PART
        elif outer.rank != Rank.PART:
            rank = min(rank, outer.rank)
        inner = Prefix(f"{outer.text}{head}.", rank, part)
        yield inner
        yield from _inner(inner, work, branches - (not wrapped), wrappings - wrapped)


def rank_of(key: str) -> Rank | None:
    """Rank of the weights under a name. None for those of a discriminator, and for the state of an optimizer."""
    return _rank_of(key[:MAX_NAME])


@lru_cache(1 << 12)
def _rank_of(key: str) -> Rank | None:
    words = _words(key)
    if words & (_DISCRIMINATOR | _OPTIMISER):
        return None
    return Rank.AVERAGED if words & _AVERAGED else Rank.GENERATOR if words & _GENERATOR else Rank.UNKNOWN


def _words(key: str) -> set[str]:
    """Words of a name: net, g, state, dict for "netG2_state_dict"."""
    return {word.lower().rstrip("0123456789") for word in _WORD.findall(key)}


_WORD = re.compile(r"(?:[A-Z]+(?![a-z])|[A-Z]?[a-z]+)(?:[0-9]+[A-Za-z]*)?")

_AVERAGED = {"ema", "gs", "ge", "avg", "average", "averaged", "averages", "swa", "shadow", "running"}
_GENERATOR = {"g", "gen", "generator", "generators", "netg", "gnet", "modelg"}
_DISCRIMINATOR = {"d", "dis", "disc", "discriminator", "discriminators", "netd", "dnet", "modeld", "critic"}
_OPTIMISER = {
    *("opt", "optim", "optimizer", "optimizers", "optimiser", "optimisers", "optimg", "optimd", "adam", "sgd"),
    *("scheduler", "schedulers", "scaler"),
}

_WRAPPINGS = ("module.", "_orig_mod.")
"""Prefixes that torch's DataParallel and compile add to all names."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")


@dataclass(frozen=True, slots=True)
class _Place:
    """A value in a file."""

    value: Any
    path: str
    """Names above it, for a sentence."""
    rank: Rank
    depth: int


def _places(root: Any, work: Work, passed_over: list[str] | None = None) -> Iterator[_Place | None]:
    """Yields the dicts of tensors, networks and lists of tensors in a file, from outside to inside, each once; and None
    from time to time.

    passed_over: list to which the names of ignored discriminators are added.
    """
    seen: set[int] = set()
    to_see = deque([_Place(root, "", Rank.UNKNOWN, 0)])
    while to_see:
        place = to_see.popleft()
        if work.pause_is_due:
            yield None
        identity = object.__hash__(place.value)  # the address; id() itself triggers Python's audit hooks
        if identity in seen:
            continue
        seen.add(identity)
        if _is_network(place.value):
            yield place
            continue
        children = _children(place.value, work)
        tensors = [(key, child) for key, child in children if type(child) is StoredTensor]
        if type(place.value) not in (list, tuple) and tensors:
            yield replace(place, value=dict(tensors))
        elif tensors and len(tensors) == len(children):
            yield replace(place, value=[tensor for _, tensor in tensors])
        inner = []
        for key, child in children if place.depth < MAX_VALUE_DEPTH else []:
            if type(child) not in (dict, list, tuple, Object):
                continue
            rank = rank_of(key)
            if rank is not None:
                path = f"{place.path}.{key[:100]}".strip(".")
                inner.append(_Place(child, path, min(rank, place.rank), place.depth + 1))
            elif passed_over is not None and _words(key[:MAX_NAME]) & _DISCRIMINATOR and _has_tensors(child, work):
                passed_over.append(key[:100])
        to_see += sorted(inner, key=lambda place: place.rank)  # of two names of a value the better one counts


def _has_tensors(value: Any, work: Work) -> bool:
    return _is_network(value) or any(type(child) is StoredTensor for _, child in _children(value, work))


def _children(value: Any, work: Work) -> list[tuple[str, Any]]:
    """Children of a value, by name or number."""
    if type(value) is Object:
        return [*_children(value.items, work), *_items(_state_of(value), work)]
    if type(value) in (list, tuple):
        work.charge(1 + len(value))
        return [(str(number), child) for number, child in enumerate(value)]
    return _items(value, work)


def _state_dict(name: str, place: _Place, work: Work) -> Candidate:
    tensors = place.value
    if len(tensors) > MAX_TENSORS:
        raise InputError(f"{name} has {len(tensors):,} tensors, far more than any generator.")
    for key in tensors:
        _check_name(name, key)
    return Candidate(tensors, f'a state dict, under "{place.path[:200]}"' if place.path else "a state dict")


def _part(found: Candidate, prefix: Prefix, work: Work) -> Iterator[Candidate]:
    """State dict of the network with a prefix."""
    work.charge(ITEMS_OF_A_CANDIDATE + ITEMS_OF_A_TENSOR * len(prefix.names))
    if prefix.names:
        kind = f'{found.kind}, names beginning with "{prefix.text[:100]}"' if prefix.text else found.kind
        yield Candidate({key[len(prefix.text) :]: found.tensors[key] for key in prefix.names}, kind, found.attributes)


def _listed_averages(place: _Place, dicts: list[_Place], work: Work) -> Iterator[Candidate | None]:
    """EMA weights that are stored as a list, in the order of the parameters, as in FastGAN and torch_ema."""
    for other in dicts:
        work.charge(1 + len(other.value))
        if work.pause_is_due:
            yield None
        learned = [name for name in other.value if not name.endswith(_BUFFERS)]
        averages = dict(zip(learned, place.value, strict=False))
        if len(learned) == len(place.value) and _fit(averages, other.value):
            yield from _averaged({**other.value, **averages}, place, work)


def _averages_alone(place: _Place, dicts: list[_Place], work: Work) -> Iterator[Candidate | None]:
    """EMA weights of the parameters only, beside a state dict that also has buffers, such as those of batch norm."""
    for other in dicts:
        work.charge(1)
        if work.pause_is_due:
            yield None
        if len(place.value) < len(other.value):
            work.charge(len(place.value) + len(other.value))
            if _fit(place.value, other.value):
                yield from _averaged({**other.value, **place.value}, place, work)


def _fit(averages: dict[str, StoredTensor], weights: dict[str, StoredTensor]) -> bool:
    return all(name in weights and weights[name].shape == average.shape for name, average in averages.items())


def _averaged(tensors: dict[str, StoredTensor], place: _Place, work: Work) -> Iterator[Candidate]:
    found = Candidate(tensors, f'a state dict, under "{place.path[:200]}"')
    for prefix in prefixes(tensors, Rank.AVERAGED, work):
        yield from _part(found, prefix, work)


def _is_network(value: Any) -> bool:
    state = _state_of(value) if type(value) is Object else None
    groups = ("_parameters", "_buffers", "_modules")
    return state is not None and any(type(state.get(group)) is dict for group in groups)


def _network(name: str, place: _Place, work: Work) -> Iterator[Candidate | None]:
    """State dict of a pickled network, equal to its state_dict(), and those of networks inside it."""
    tensors: dict[str, StoredTensor] = {}
    attributes: dict[str, set[Any]] = {}
    open_modules: list[tuple[str, Any, int]] = [("", place.value, 0)]
    seen = 0
    while open_modules:
        prefix, module, depth = open_modules.pop()
        work.charge(ITEMS_OF_A_MODULE)
        if work.pause_is_due:
            yield None
        state = _state_of(module) or {}
        seen += 1
        if depth > MAX_MODULE_DEPTH or seen > MAX_TENSORS or len(tensors) > MAX_TENSORS:
            raise InputError(f"{name} has a network that is nested or repeated far more than any generator.")
        passing = state.get("_non_persistent_buffers_set")
        left_out = {key for _, key in _children(passing, work) if type(key) is str}
        kept = [buffer for buffer in _items(state.get("_buffers"), work) if buffer[0] not in left_out]
        for key, tensor in _items(state.get("_parameters"), work) + kept:
            if type(tensor) is StoredTensor:
                _check_name(name, prefix + key[: MAX_NAME + 1])
                tensors[prefix + key] = tensor
        for key, value in _told(state, work):
            attributes.setdefault(key, set()).add(value)
        for key, child in _items(state.get("_modules"), work):
            if type(child) is Object:
                _check_name(name, prefix + key[: MAX_NAME + 1])
                open_modules.append((f"{prefix}{key}.", child, depth + 1))
    kind = f"a pickled network of the class {_class_of(place.value)}"
    found = Candidate(tensors, kind, {key: frozenset(values) for key, values in attributes.items()})
    for part in prefixes(tensors, place.rank, work):
        yield from _part(found, part, work)


def _check_name(name: str, tensor: str) -> None:
    if len(tensor) > MAX_NAME:
        raise InputError(f"{name} has a tensor whose name is longer than any generator's.")


def _told(state: dict[Any, Any], work: Work) -> Iterator[tuple[str, Any]]:
    """Numbers and texts among the attributes of a module, and among the arguments of its constructor."""
    keywords = dict(_items(state.get("_init_kwargs"), work))
    # No deeper: a dict in a file may hold itself.
    for group in (state, keywords, keywords.get("synthesis_kwargs"), keywords.get("mapping_kwargs")):
        for key, value in _items(group, work):
            if (
                type(value) in (float, bool, type(None))
                or (type(value) is int and abs(value) < MAX_FACT)
                or (type(value) is str and len(value) < MAX_NAME)
            ):
                yield key, value


def _items(group: Any, work: Work) -> list[tuple[str, Any]]:
    if type(group) is not dict:
        return []
    work.charge(1 + len(group))
    return [(str(key), value) for key, value in group.items()]


def _state_of(module: Any) -> dict[Any, Any] | None:
    """Attributes of a module, in any of the ways to pickle it."""
    if type(module) is not Object:
        return None
    state = module.state
    if module.maker == PERSISTENT:
        meta = module.arguments[0] if module.arguments else None
        state = meta.get("state") if type(meta) is dict else None
    return state if type(state) is dict else None


def _class_of(module: Object) -> str:
    if module.maker != PERSISTENT:
        return module.maker[:100]
    name = module.arguments[0].get("class_name")
    return name[:100] if type(name) is str else "Generator"
