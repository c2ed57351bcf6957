"""A run on disk: everything that the next step depends on, in one safetensors file.

Noise and the order of the images are functions of the seed and the step (see streams.py), so no random state is kept;
the networks, their EMA, Adam's moments and the counters are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from .. import weights
from ..errors import InputError
from ..weights.native import CHECKPOINT_KEY
from .distributed import World

FILE = "checkpoint.safetensors"
VERSION = 1

STATE = {"images": int, "steps": int, "seed": int, "architecture": str, "network": dict}
"""Counters and settings that every checkpoint has."""

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps for each weight."""


@dataclass(frozen=True)
class Checkpoint:
    """What `write` wrote."""

    state: dict[str, Any]
    """Counters and settings, as JSON."""
    tensors: dict[str, Tensor]

    def restore(self, module: nn.Module, prefix: str) -> None:
        """Copies the tensors under a prefix into a module."""
        length = len(prefix) + 1
        found = {name[length:]: tensor for name, tensor in self.tensors.items() if name.startswith(f"{prefix}.")}
        module.load_state_dict(found)

    def restore_optimizer(self, optimizer: Adam, module: nn.Module, prefix: str) -> None:
        """Gives an optimiser of the module's parameters the moments that it had, if it had begun."""
        if not any(name.startswith(f"{prefix}.") for name in self.tensors):
            return
        group = optimizer.param_groups[0]
        for name, parameter in _optimized(optimizer, module):
            first, second, step = (self.tensors[f"{prefix}.{moment}.{name}"] for moment in MOMENTS)
            optimizer.state[parameter] = {
                # Fused Adam walks through memory: moments must lie in it just as their weights do.
                "exp_avg": torch.empty_like(parameter, requires_grad=False).copy_(first),
                "exp_avg_sq": torch.empty_like(parameter, requires_grad=False).copy_(second),
                "step": step.to(parameter.device if group["fused"] or group["capturable"] else "cpu"),
            }


def optimizer_tensors(optimizer: Adam, module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Adam's moments by the names of the weights they belong to; none of an optimiser that has not begun."""
    if not optimizer.state:
        return {}
    return {
        f"{prefix}.{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in _optimized(optimizer, module)
        for moment in MOMENTS
    }


def module_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's state under a prefix."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def write(folder: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str = FILE) -> None:
    """Replaces the folder's checkpoint of that name, whole or not at all."""
    weights.write_tensors(folder / name, tensors, {CHECKPOINT_KEY: str(VERSION), "state": json.dumps(dict(state))})


def read(folder: Path, name: str = FILE) -> Checkpoint | None:
    """The folder's checkpoint of that name; None where there is none. Raises InputError for a damaged one, and
    for one with numbers that are not finite."""
    path = folder / name
    if not path.exists():
        return None
    with weights.opened(path) as file:
        state, tensors = _state(path, file.metadata), file.tensors()
    # A record has no number where nothing was measured.
    weights.check_finite(str(path), {key: tensor for key, tensor in tensors.items() if key != "history"})
    return Checkpoint(state, tensors)


def shared(folder: Path, world: World, name: str = FILE) -> Checkpoint | None:
    """As `read`, for all processes: the main one reads it, as others may be on machines without it."""
    found = read(folder, name) if world.is_main else None
    state = world.broadcast(lambda: found and found.state)
    return state and Checkpoint(state, world.broadcast_tensors(found.tensors if found else {}))


def state_of(folder: Path) -> dict[str, Any] | None:
    """The state of the folder's checkpoint, without its tensors. None and InputError as of `read`."""
    path = folder / FILE
    if not path.exists():
        return None
    with weights.opened(path) as file:
        return _state(path, file.metadata)


def _state(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    version = metadata.get(CHECKPOINT_KEY)
    if version != str(VERSION):
        raise InputError(f"{path} is not a checkpoint that this version can resume (its version is {version}).")
    try:
        state = json.loads(metadata["state"])
        whole = all(isinstance(state[name], kind) for name, kind in STATE.items())
    except (KeyError, ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise InputError(f"{path} is damaged: its state cannot be read.")
    return state


def _optimized(optimizer: Adam, module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The weights of a module that an optimiser moves: in one whose encoder is frozen, some."""
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [(name, parameter) for name, parameter in module.named_parameters() if id(parameter) in moved]
