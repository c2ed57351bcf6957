"""What a file costs its reader is bounded by items touched, not by what the file can make of them; and reading pauses.

Work is counted in lines of ours that run, so that no test depends on the speed of a machine.
"""

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from foreign_files import saved
from hostile_pickles import HEAD, HOSTILE, TENSOR, archive, items, name, network, number, recall, remember, text

import gan_core
from gan_core import InputError
from gan_core.foreign import pickles, torch_files
from gan_core.foreign import state_dicts as foreign
from gan_core.foreign.import_generator import Reading, importing

OURS = str(Path(gan_core.__file__).parent)
FEW = 5_000
"""Items that a file may touch, in these tests: first while it is read, then while it is searched."""

LINES_OF_AN_ITEM = 50


class TooMuch(Exception):
    """The bound of a test was passed."""


@contextmanager
def at_most(lines: int) -> Iterator[list[int]]:
    """Ends what runs within by TooMuch after so many lines of ours. Gives their number, in a list."""
    count = [0]

    def each(frame: FrameType, event: str, argument: Any) -> Any:
        count[0] += event == "line"
        if count[0] > lines:
            raise TooMuch(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return each

    def calls(frame: FrameType, event: str, argument: Any) -> Any:
        return each if frame.f_code.co_filename.startswith(OURS) else None

    before = sys.gettrace()
    sys.settrace(calls)
    try:
        yield count
    finally:
        sys.settrace(before)


def file_with(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return path


def ended(path: Path) -> str:
    """Reads a file to its end, or to where it is refused; returns the sentence."""
    with pytest.raises(InputError) as caught:
        for _ in importing(path):
            pass
    assert str(caught.value).startswith("file.pkl ") and str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_file_costs_is_bounded_by_the_items_that_it_may_touch(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_files, "MAX_STEPS", FEW)
    monkeypatch.setattr(torch_files, "MAX_ENTRIES", FEW)
    monkeypatch.setattr(foreign, "MAX_SEARCHED", FEW)
    for count in (20, 150, 1000):
        path = file_with(tmp_path, HOSTILE[kind](min(count, 200) if kind == "long lines" else count))
        with at_most(2 * FEW * LINES_OF_AN_ITEM):
            ended(path)


def test_the_count_of_lines_sees_what_is_not_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would prove nothing."""
    monkeypatch.setattr(pickles.Work, "charge", lambda work, items: None)
    with pytest.raises(TooMuch), at_most(2 * FEW * LINES_OF_AN_ITEM):
        ended(file_with(tmp_path, HOSTILE["pairs again and again"](1000)))


@pytest.mark.parametrize("kind", ["pairs again and again", "settings of every module", "a module of modules"])
def test_a_file_that_wants_more_work_than_any_generator_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_files, "MAX_STEPS", 30_000)
    monkeypatch.setattr(foreign, "MAX_SEARCHED", 30_000)
    assert "cannot be trusted: reading it takes far more work" in ended(file_with(tmp_path, HOSTILE[kind](1000)))


def test_an_honest_file_is_far_from_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of 100 tensors with Adam's moments passes with a fiftieth of what a file may cost."""
    monkeypatch.setattr(torch_files, "MAX_STEPS", pickles.MAX_STEPS // 50)
    monkeypatch.setattr(foreign, "MAX_SEARCHED", foreign.MAX_SEARCHED // 50)
    weights = {f"layers.{i}.conv.weight": torch.ones(1) for i in range(100)}
    moments = {i: {"step": torch.ones(1), "exp_avg": torch.ones(1), "exp_avg_sq": torch.ones(1)} for i in range(100)}
    file = {"net": weights, "ema": {**weights}, "training": {"state": moments}}
    assert "100 tensors" in ended(file_with(tmp_path, saved(file)))


def test_nothing_is_looked_at_twice(tmp_path: Path) -> None:
    """One state dict under many names, among them its own, is one candidate."""
    inner = {"a.weight": torch.ones(2), "b.weight": torch.ones(2)}
    inner["itself"] = inner
    file = {**{key: inner for key in ("G_ema", "ema", "model", "state_dict")}, "list": [inner, inner]}
    with torch_files.opened(file_with(tmp_path, saved(file))) as opened:
        (found,) = foreign.candidates(opened)
    assert found.tensors.keys() == {"a.weight", "b.weight"}


def test_candidates_are_made_one_by_one(tmp_path: Path) -> None:
    """Networks that nobody asked for are not walked through."""
    tensors = items(*((f"weight{i}", recall(1)) for i in range(20)))
    networks = items(*((f"net{i}", network(("_parameters", tensors))) for i in range(30)))
    with torch_files.opened(file_with(tmp_path, archive(HEAD + TENSOR + remember(1) + b"0" + networks + b"."))) as file:
        assert len(file.root) == 30
        with at_most(10**6) as all_of_them:
            assert len([*foreign.candidates(file)]) == 30
        with at_most(10**6) as first:
            next(foreign.candidates(file))
    assert first[0] < all_of_them[0] / 4


# Whoever waits can stop.


def test_reading_pauses_so_that_it_can_be_stopped(tmp_path: Path) -> None:
    operations = 20 * pickles.STEPS_AT_ONCE
    path = file_with(tmp_path, HEAD + b"N0" * (operations // 2) + b"N.")
    steps: list[Reading] = []
    with pytest.raises(InputError, match="without weights"):
        steps.extend(importing(path))
    assert 19 <= len(steps) <= 21
    assert steps == [Reading(0, path.stat().st_size)] * len(steps)


@pytest.mark.parametrize("kind", ["a module of modules", "dicts that name each other", "lists of tensors"])
def test_between_two_pauses_little_is_done(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while networks and state dicts are looked for."""
    monkeypatch.setattr(pickles, "STEPS_AT_ONCE", 200)
    monkeypatch.setattr(foreign, "MAX_SEARCHED", 20_000)
    steps = importing(file_with(tmp_path, HOSTILE[kind](50)))
    for _ in range(200):
        with at_most(600 * LINES_OF_AN_ITEM):
            try:
                if next(steps, None) is None:
                    break
            except InputError:
                break


def test_a_reading_that_is_stopped_closes_its_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, HEAD + b"N0" * 20_000 + b"N.")
    steps = importing(path)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    path.rename(tmp_path / "other.pkl")  # Windows refuses it for an open file
    assert list(steps) == []


def test_what_comes_from_the_hub_can_be_stopped_while_it_is_opened(tmp_path: Path) -> None:
    fetch = pytest.importorskip("gan_core.hub.fetch")
    path = file_with(tmp_path, HEAD + b"N0" * 20_000 + b"N.")
    steps = fetch._opened(fetch.HubId.parse("somebody/cats"), path, path.name)
    assert next(steps) == fetch.Fetching(path.stat().st_size, path.stat().st_size)
    with pytest.raises(InputError, match=r"^somebody/cats cannot be opened: file\.pkl is a pickle without weights"):
        list(steps)


# Limits.


def root_of(tmp_path: Path, data: bytes) -> Any:
    with torch_files.opened(file_with(tmp_path, data)) as file:
        return file.root


def test_texts_have_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "MAX_STEPS", 1000)
    one = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"0"
    assert root_of(tmp_path, HEAD + one * 2 + b"N.") is None
    with pytest.raises(InputError, match="cannot be trusted"):
        root_of(tmp_path, HEAD + one * 3 + b"N.")


@pytest.mark.parametrize("length", [1, 4094, 4095, 4096, 4097, 8191, 8192, pickles.MAX_LINE])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_line_is_read_wherever_it_ends(tmp_path: Path, length: int, before: int) -> None:
    line = b"V" + b"a" * length + b"\n"
    assert root_of(tmp_path, b"N0" * before + line + b".") == "a" * length


def test_a_name_has_a_limit(tmp_path: Path) -> None:
    assert root_of(tmp_path, HEAD + name("models", "A" * (pickles.MAX_NAME - 6)) + b".")
    with pytest.raises(InputError, match="a name that is too long"):
        root_of(tmp_path, HEAD + name("models", "A" * (pickles.MAX_NAME - 5)) + b".")


def test_keys_that_python_would_take_for_one_are_left_out(tmp_path: Path) -> None:
    keys = {2**31 - 1: "kept", -(2**31) + 1: "kept", 2**31: "left", 2**61 - 1: "left", 2**500: "left"}
    made = b"".join(number(key) + text(value) for key, value in keys.items())
    assert root_of(tmp_path, HEAD + b"}(" + made + b"u.") == {2**31 - 1: "kept", -(2**31) + 1: "kept"}


def test_a_tensor_in_a_pickle_in_a_pickle_has_a_limit(tmp_path: Path) -> None:
    row = b"N0" * torch_files.MAX_NESTED_STEPS + b"N."
    nested = name("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(row)) + row + b"\x85R"
    with pytest.raises(InputError, match="cannot be trusted"):
        root_of(tmp_path, HEAD + nested + b".")


def test_settings_that_are_no_settings_are_left_out(tmp_path: Path) -> None:
    """Facts of modules are short: a long text, or a huge number, is none."""
    state = [("conv_clamp", number(2**60)), ("activation", text("a" * 600)), ("use_noise", b"\x88")]
    data = HEAD + name("training.networks", "G") + b")\x81" + items(*state, ("_modules", b"}")) + b"b."
    with torch_files.opened(file_with(tmp_path, data)) as file:
        assert [*foreign.candidates(file)] == []
