"""From what a pickle says to the weights in it: NVIDIA's networks, and state dicts however they were wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .pickles import PERSISTENT, Object, StoredTensor
from .torch_files import TorchFile

DEEPEST_MODULE = 40
MOST_TENSORS = 20_000


@dataclass(frozen=True)
class Weights:
    """A state dict, its tensors still in the file, and what else the file tells of its network."""

    tensors: Mapping[str, StoredTensor]
    kind: str
    """What it was found in, for people."""
    attributes: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    """Numbers and words that the modules of a network hold or were made with, by name, where the file has them."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}


def candidates(file: TorchFile) -> Iterator[Weights]:
    """Every state dict in the file that may be a generator's, averaged (EMA) weights first.

    Raises InputError for a network that is too large to be one.
    """
    yield from _in(file.name, file.root, "a state dict", 0)


def _in(name: str, value: Any, kind: str, depth: int) -> Iterator[Weights]:
    if type(value) is Object:
        module = _state_of(value)
        if module is not None:
            yield _network(name, value)
        return
    if type(value) is not dict or depth > 3:
        return
    for key in _AVERAGED_FIRST:
        if key in value:
            yield from _in(name, value[key], f'{kind}, under "{key}"', depth + 1)
            yield from _averages(value, key, kind)
    tensors = {str(key): item for key, item in value.items() if type(item) is StoredTensor}
    if len(tensors) > MOST_TENSORS:
        raise InputError(f"{name} has {len(tensors):,} tensors, far more than any generator.")
    if tensors:
        for prefix in _PREFIXES:
            part = {key.removeprefix(prefix): item for key, item in tensors.items() if key.startswith(prefix)}
            if part:
                yield Weights(part, f'{kind}, names beginning with "{prefix}"' if prefix else kind)


_AVERAGED_FIRST = (
    *("G_ema", "g_ema", "params_ema", "generator_ema", "ema", "GAN"),
    *("G", "g", "netG", "generator", "gen", "params", "state_dict", "model", "model_state_dict"),
)
"""Where checkpoints keep their generator, the averaged one first."""

_PREFIXES = ("GE.", "G_ema.", "generator_ema.", "module.", "", "G.", "netG.", "generator.", "model.")
"""What stands before a generator's names where they are kept together with other networks'."""

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")


def _averages(value: dict[Any, Any], key: str, kind: str) -> Iterator[Weights]:
    """FastGAN's checkpoints keep the averages of the weights in "g" as a bare list, in the same order."""
    averages, weights = value.get(key), value.get("g")
    if type(averages) is not list or type(weights) is not dict:
        return
    learned = [name for name in weights if type(name) is str and not name.endswith(_BUFFERS)]
    pairs = list(zip(learned, averages, strict=False))
    fits = len(learned) == len(averages) and all(
        type(average) is StoredTensor and type(weights[name]) is StoredTensor and average.shape == weights[name].shape
        for name, average in pairs
    )
    if fits:
        yield from _in("", {**weights, **dict(pairs)}, f'{kind}, under "{key}"', 3)


def _network(name: str, root: Object) -> Weights:
    """The state dict of a whole network, as its own state_dict() would give it."""
    tensors: dict[str, StoredTensor] = {}
    attributes: dict[str, set[Any]] = {}
    open_modules: list[tuple[str, Any, int]] = [("", root, 0)]
    seen = 0
    while open_modules:
        prefix, module, depth = open_modules.pop()
        state = _state_of(module) or {}
        seen += 1
        if depth > DEEPEST_MODULE or seen > MOST_TENSORS or len(tensors) > MOST_TENSORS:
            raise InputError(f"{name} holds a network that is nested or repeated beyond any generator's bounds.")
        for group in ("_parameters", "_buffers"):
            for key, tensor in _items(state.get(group)):
                if type(tensor) is StoredTensor:
                    tensors[prefix + key] = tensor
        for key, value in _told(state):
            attributes.setdefault(key, set()).add(value)
        open_modules += [(f"{prefix}{key}.", child, depth + 1) for key, child in _items(state.get("_modules"))]
    kind = f"a pickled network of the class {_class_of(root)}"
    return Weights(tensors, kind, {key: frozenset(values) for key, values in attributes.items()})


def _told(state: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Numbers and words that a module holds, and those that it was made with."""
    keywords = dict(_items(state.get("_init_kwargs")))
    # No deeper: a dict in a file may hold itself.
    for group in (state, keywords, keywords.get("synthesis_kwargs"), keywords.get("mapping_kwargs")):
        for key, value in _items(group):
            if type(value) in (int, float, bool, str, type(None)):
                yield key, value


def _items(group: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in group.items()] if type(group) is dict else []


def _state_of(module: Any) -> dict[Any, Any] | None:
    """A module's own dict, whichever way it was pickled."""
    if type(module) is not Object:
        return None
    state = module.state
    if module.maker == PERSISTENT:
        meta = module.arguments[0] if module.arguments else None
        state = meta.get("state") if type(meta) is dict else None
    return state if type(state) is dict else None


def _class_of(module: Object) -> str:
    if module.maker == PERSISTENT:
        return str(module.arguments[0].get("class_name"))[:100]
    return module.maker
