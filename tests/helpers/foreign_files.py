"""Files as other programs write them, made anew for the tests: pickles are never kept in the project.

Python's own pickle module writes them, given stand-ins of the classes that those programs have. They hold what the real
ones hold: the layout was checked against pickles that NVIDIA's own code wrote.
"""

import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SOURCE = "raise SystemExit('the source code in the pickle was run')"
"""What stands where NVIDIA's pickles hold the program of a network."""


class Network:
    """A network as NVIDIA's persistence pickles it: by a function, and a dict that says everything."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = SOURCE):
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)  # type: ignore[attr-defined]


@contextmanager
def stand_ins() -> Iterator[None]:
    """Modules by the names of NVIDIA's, with what pickles refer to."""
    before = dict(sys.modules)
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("a pickle was run")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})  # type: ignore[attr-defined]
    for source in ("R3GAN.Networks", "pg_modules.networks_fastgan"):
        networks = types.ModuleType(source)
        networks.Generator = type("Generator", (), {"__module__": source})  # type: ignore[attr-defined]
        sys.modules |= {source.partition(".")[0]: types.ModuleType(source.partition(".")[0]), source: networks}
    sys.modules |= {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    try:
        yield
    finally:
        sys.modules.clear()
        sys.modules.update(before)


def network(tensors: Mapping[str, Tensor], class_name: str = "Generator", **attributes: Any) -> Network:
    """A network with these tensors by the names of a state dict, every module holding these attributes."""
    state: dict[str, Any] = {
        "training": False,
        "_parameters": OrderedDict(),
        "_buffers": OrderedDict(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict(),
        "_init_args": (),
        "_init_kwargs": sys.modules["dnnlib.util"].EasyDict(attributes),  # type: ignore[attr-defined]
        **attributes,
    }
    children: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        child, dot, rest = name.partition(".")
        if dot:
            children.setdefault(child, {})[rest] = tensor
        elif name in ("w_avg", "noise_const", "resample_filter", "up_filter", "down_filter", "transform", "freqs"):
            state["_buffers"][name] = tensor
        else:
            state["_parameters"][name] = torch.nn.Parameter(tensor, requires_grad=False)
    for child, part in children.items():
        state["_modules"][child] = network(part, f"{child}Layer", **attributes)
    return Network(class_name, state)


def plain_modules(tensors: Mapping[str, Tensor], source: str = "R3GAN.Networks", **attributes: Any) -> Any:
    """A network as Python pickles any object: a class by name, and its __dict__. R3GAN's authors do so.

    source: the module that the class is from.
    """
    kind = sys.modules[source].Generator  # type: ignore[attr-defined]
    module = kind.__new__(kind)
    module.__dict__ |= {"training": False, "_parameters": OrderedDict(), "_buffers": OrderedDict(), **attributes}
    children: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        child, dot, rest = name.partition(".")
        if dot:
            children.setdefault(child, {})[rest] = tensor
        else:
            module._parameters[name] = torch.nn.Parameter(tensor, requires_grad=False)
    # The attributes are the whole network's, and not its parts'.
    module._modules = OrderedDict((child, plain_modules(part, source)) for child, part in children.items())
    return module


def r3gan_pickle(tensors: Mapping[str, Tensor], **attributes: Any) -> bytes:
    """A snapshot of R3GAN's training, with what it keeps of the optimisers."""
    with stand_ins():
        content = {
            "G": plain_modules({name: tensor + 1 for name, tensor in tensors.items()}, **attributes),
            "G_ema": plain_modules(tensors, **attributes),
            "training_set_kwargs": sys.modules["dnnlib.util"].EasyDict(path="/data/faces.zip"),  # type: ignore[attr-defined]
            "cur_nimg": 5_000_000,
            "G_opt_state": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": []},
        }
        return pickle.dumps(content)


def nvidia_pickle(tensors: Mapping[str, Tensor], **attributes: Any) -> bytes:
    """A snapshot of NVIDIA's training: generator, discriminator, and the averaged generator with these tensors."""
    with stand_ins():
        other = {name: tensor + 1 for name, tensor in tensors.items() if tensor.is_floating_point()}
        content = {
            "G": network(other, **attributes),
            "D": network({"b4.fc.weight": torch.ones(2, 3)}, "Discriminator"),
            "G_ema": network(tensors, **attributes),
            "augment_pipe": None,
            "training_set_kwargs": sys.modules["dnnlib.util"].EasyDict(path="/data/faces.zip"),  # type: ignore[attr-defined]
        }
        return pickle.dumps(content)


def saved(value: Any, zipped: bool = True) -> bytes:
    """What torch.save writes, as a zip archive or as before torch 1.6."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()
