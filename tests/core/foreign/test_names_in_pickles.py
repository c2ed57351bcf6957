"""Which names a pickle may use is fixed, and what each of them can do is nothing."""

import ast
import builtins
import sys
from pathlib import Path

import pytest
import torch
from hostile_pickles import HEAD, name

from gan_core import InputError
from gan_core.foreign import pickles, torch_files

MEANT = {
    "__builtin__.set",
    "_codecs.encode",
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "dnnlib.util.EasyDict",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.Size",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.device",
    "torch.storage._load_from_bytes",
    "torch_utils.persistence._reconstruct_persistent_obj",
}
"""What may be called and has a meaning of its own."""

BUILTINS = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range"}
BUILTINS |= {"set", "slice", "str", "tuple"}

LIBRARY = {
    *("argparse.Namespace", "collections.deque", "datetime.date", "datetime.datetime", "datetime.time"),
    *("datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "functools.partial"),
    *("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath"),
    *("pathlib.PureWindowsPath", "pathlib._local.Path", "pathlib._local.PurePath", "pathlib._local.PosixPath"),
    *("pathlib._local.WindowsPath", "pathlib._local.PurePosixPath", "pathlib._local.PureWindowsPath"),
    *("random.Random", "time.struct_time", "types.SimpleNamespace", "uuid.SafeUUID", "uuid.UUID"),
}
"""Of Python's own library, beside collections.OrderedDict and the like above."""

PROGRAMS = {
    *("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer", "numpy.random.__RandomState_ctor"),
    *("numpy.random._pickle.__bit_generator_ctor", "numpy.random._pickle.__generator_ctor"),
    *("numpy.random._pickle.__randomstate_ctor", "numpy.random.bit_generator.__pyx_unpickle_SeedSequence"),
    *("numpy.random.bit_generator.__pyx_unpickle_SeedlessSeedSequence", "numpy.bool_", "numpy.float16"),
    *("numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64", "numpy.uint8", "numpy.uint32"),
    *("torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_meta_tensor_no_storage"),
    *("torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_tensor_v3"),
    "torch.serialization._get_layout",
}
"""Functions and types of torch and numpy that stand for nothing but data."""


def said(tmp_path: Path, data: bytes) -> str:
    """How a pickle is refused; nothing where it is read."""
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    try:
        with torch_files.opened(path) as file:
            assert file.root is not NotImplemented
    except InputError as error:
        return str(error)
    return ""


def test_what_may_be_called_is_this_and_no_more() -> None:
    old = {f"__builtin__.{each}" for each in (BUILTINS - {"set"}) | {"long", "unicode", "xrange"}}
    assert set(pickles._MEANINGS) == MEANT
    assert LIBRARY | PROGRAMS | old | {f"builtins.{each}" for each in BUILTINS - {"set"}} == pickles._INERT
    assert all(type(each) is torch.dtype for each in pickles._STORAGES.values())
    values = {getattr(torch, each.removeprefix("torch."), torch.float32) for each in pickles._VALUES}
    assert all(isinstance(each, torch.dtype | torch.layout | torch.memory_format) for each in values)


def test_of_what_python_has_built_in_only_types_of_data_may_be_named(tmp_path: Path) -> None:
    for each in dir(builtins):
        refused = said(tmp_path, HEAD + name("builtins", each) + b".")
        assert (f" names builtins.{each}, " in refused) == (each not in BUILTINS), each


def test_of_pythons_library_only_what_is_listed_may_be_named(tmp_path: Path) -> None:
    allowed = LIBRARY | {each for each in MEANT if each.partition(".")[0] in sys.stdlib_module_names}
    for module in [*sorted(sys.stdlib_module_names), "__builtin__", "copy_reg", "commands", "cPickle", "popen2"]:
        for each in ("system", "Popen", "eval", "Class", "os.system", "path.Path"):
            refused = said(tmp_path, HEAD + name(module, each) + b".")
            assert (f" names {module}.{each}, " in refused) == (f"{module}.{each}" not in allowed), (module, each)


@pytest.mark.parametrize("full", [
    "torch.load", "torch.hub.load", "torch.os.system", "torch.jit.load", "torch.ops.load_library", "numpy.load",
    "numpy.f2py.diagnose.run", "torch._C._nn.gelu", "torch.nn.functional.torch.load", "gan_core.cli.main",
    "gan_core.foreign.pickles.Machine", "torch.utils.data.__builtins__.eval",
])  # fmt: skip
def test_functions_of_torch_and_numpy_and_what_is_ours_may_not_be_named(tmp_path: Path, full: str) -> None:
    module, _, each = full.rpartition(".")
    assert f" names {full}, " in said(tmp_path, HEAD + name(module, each) + b".")


NONE_SUCH = [("", "eval"), ("os ", "system"), ("a b", "C"), ("os\x00", "system"), ("a.", "B"), ("a", ""), ("a", ".B")]


@pytest.mark.parametrize(("module", "each"), NONE_SUCH)
def test_what_is_no_name_is_refused(tmp_path: Path, module: str, each: str) -> None:
    assert " names " in said(tmp_path, HEAD + name(module, each) + b".")


@pytest.mark.parametrize("made", [b")R.", b")\x81.", b")}\x92."], ids=["REDUCE", "NEWOBJ", "NEWOBJ_EX"])
@pytest.mark.parametrize("full", ["models.Net", "__main__.Config", "easydict.EasyDict", "torch.optim.adam.Adam",
                                  "argparse.Namespace", "a.b.c._Private", "Modelle.Größe"])  # fmt: skip
def test_a_class_becomes_an_object_that_holds_what_it_was_given(tmp_path: Path, full: str, made: bytes) -> None:
    module, _, each = full.rpartition(".")
    path = tmp_path / "file.pkl"
    path.write_bytes(HEAD + name(module, each) + made)
    with torch_files.opened(path) as file:
        assert type(file.root) is pickles.Object and file.root.maker == full


@pytest.mark.parametrize("full", ["models.load", "pandas.read_pickle", "joblib.load", "dill._dill._create_function",
                                  "torch.nn.functional.relu", "torch.float32", "torch.FloatStorage"])  # fmt: skip
def test_a_function_may_not_be_called(tmp_path: Path, full: str) -> None:
    """One of another program may be named: people keep their activations. None is ever called, ours included."""
    module, _, each = full.rpartition(".")
    assert said(tmp_path, HEAD + name(module, each) + b".") == ""
    assert f" calls {full}, " in said(tmp_path, HEAD + name(module, each) + b")R.")
    if module.startswith("torch"):
        assert f" calls {full}, " in said(tmp_path, HEAD + name(module, each) + b")\x81.")


def test_what_was_made_cannot_be_called(tmp_path: Path) -> None:
    partial = name("functools", "partial") + name("models", "run") + b"\x85R"
    assert "calls something that is not a name" in said(tmp_path, HEAD + partial + b")R.")
    nested = name("torch._tensor", "_rebuild_from_type_v2") + name("models", "run") + b"N)\x87R."
    assert "created in an unknown way" in said(tmp_path, HEAD + nested)


def test_a_tensor_in_a_tensor_in_a_tensor_is_refused(tmp_path: Path) -> None:
    """Each level would be one more call within ours."""
    itself = name("torch._tensor", "_rebuild_from_type_v2")
    assert "created in an unknown way" in said(tmp_path, HEAD + itself * 5000 + b")" + b"N2\x87" * 5000 + b"R.")


def test_the_reader_looks_nothing_up() -> None:
    """Nothing in its source imports by a name, gets an attribute by one, or runs a text."""
    forbidden = {"eval", "exec", "compile", "__import__", "import_module", "getattr", "setattr", "globals", "locals"}
    forbidden |= {"vars", "loads", "load", "Unpickler", "find_class", "attrgetter", "methodcaller"}
    for module in (pickles, sys.modules["gan_core.foreign.state_dicts"]):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {"compile"}  # of re
        imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
        assert not names & forbidden and not imported & {"importlib", "pickle", "marshal", "operator"}
