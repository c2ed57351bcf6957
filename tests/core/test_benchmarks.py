"""What the comparisons with other programs rest on: turns that are kept, and rivals that learn as they should."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import gpu, others, quality, speed
from benchmarks.__main__ import main
from benchmarks.measure import Figures
from benchmarks.peers.turns import all_in_memory
from benchmarks.peers.without_cuda import TorchOnCPU
from gan_core.training.presets import PRESETS

ROOT = Path(__file__).parents[2]

COUNTING = """
from benchmarks.peers.turns import Turns
turns, taken = Turns(), []
print("of its own")
turns.taken(lambda: taken.append(sum(range(10_000))), {"steps": 0})
"""


def test_a_program_takes_as_many_steps_as_it_is_told_and_says_what_they_cost() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", COUNTING],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, errors = program.communicate("1\n2000\n")
    told, one, many = map(json.loads, out.splitlines())
    assert told == {"steps": 0}
    assert 0 <= one["seconds"] < many["seconds"]
    assert one["peak_mb"] > 1
    assert program.returncode == 0
    assert errors == "of its own\n"


def test_what_is_kept_in_memory_is_read_once_and_by_its_index() -> None:
    reads: list[int] = []

    class Files:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            reads.append(index)
            return 10 * index

    read, files = all_in_memory(Files.__getitem__), Files()
    assert [read(files, index) for index in (2, 0, 2)] == [20, 0, 20]
    assert reads == [0, 1, 2]


@pytest.mark.parametrize("name", others.RECIPES)
@pytest.mark.parametrize("side", [28, 32])
def test_every_rival_learns_and_makes_images_of_the_size_of_its_data(name: str, side: int) -> None:
    rival = others.Plain(others.RECIPES[name], torch.rand(130, 1, side, side) * 2 - 1, seed=0)
    before = [parameter.clone() for parameter in rival.generator.parameters()]
    rival.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, rival.generator.parameters(), strict=True))
    assert rival.images == others.BATCH * rival.recipe.critic_steps
    samples = rival.samples(3)
    assert samples.shape == (3, 1, side, side)
    assert samples.abs().max() <= 1


def test_spectral_norm_holds_a_rivals_steepness_at_one() -> None:
    rival = others.Plain(others.RECIPES["hinge"], torch.rand(130, 1, 32, 32) * 2 - 1, seed=0)
    for _ in range(15):
        rival.discriminator(rival.loader.dataset[0][0][None])  # each pass in training moves the estimate on
    first = rival.discriminator[0].weight.flatten(1)
    assert torch.linalg.matrix_norm(first, 2).item() == pytest.approx(1, abs=0.05)


def test_when_a_course_comes_to_a_figure_is_read_off_between_its_marks() -> None:
    course = [(10.0, 0.5), (20.0, 0.3), (30.0, 0.4)]
    assert quality._reached(course, 0.4) == pytest.approx(15)
    assert quality._reached(course, 0.6) == 10
    assert quality._reached(course, 0.2) is None


def test_a_module_that_sees_no_cuda_still_sees_torch() -> None:
    seen = TorchOnCPU()
    assert seen.device("cuda", 0) == torch.device("cpu")
    assert seen.randn is torch.randn
    assert seen.cuda.max_memory_allocated() / 2**30 == 0


def test_the_steps_of_a_preset_are_timed_on_any_device_and_json_comes_last() -> None:
    result = CliRunner().invoke(main, ["gpu", "--device", "cpu", "--only", "digits", "--seconds", "0.01"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])["digits"]["eager"]
    assert found["batch"] == PRESETS["digits"].batch_size
    assert found["images_per_second"] == pytest.approx(1e3 * found["batch"] / found["ms"], rel=0.01)


def test_a_preset_that_fails_is_told_and_the_next_one_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {"absent": gpu.Case("absent", 28), "digits": gpu.CASES["digits"]}
    monkeypatch.setattr(gpu, "CASES", cases)
    figures = gpu.run((), 0.01, "cpu")
    assert 'There is no preset "absent"' in capsys.readouterr().out
    assert "images_per_second" in figures["digits"]["eager"]  # type: ignore[index]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "measure", [lambda: gpu.run((), 1.0, "cuda"), lambda: speed.run(None, (), 1, 1, "cuda")], ids=["gpu", "speed"]
)
def test_where_there_is_no_gpu_a_sentence_says_so(
    measure: Callable[[], Figures], capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure() == {"skipped": "no GPU"}
    assert "there is no GPU" in capsys.readouterr().out


@pytest.mark.parametrize("contest", speed.CONTESTS.values(), ids=speed.CONTESTS)
def test_a_contest_on_a_gpu_is_the_same_one_with_at_least_as_much_to_do(contest: speed.Contest) -> None:
    there = contest.on("cuda")
    assert contest.on("cpu") == contest
    assert replace(there, side=contest.side, batch=contest.batch) == contest
    assert there.side >= contest.side
    assert there.batch >= contest.batch


@pytest.mark.parametrize(("preset", "steps"), [("digits", 1), ("conv_vae", 1), ("stylegan2", 16)])
def test_a_cycle_of_steps_has_each_lazy_regulariser(preset: str, steps: int) -> None:
    assert gpu.cycle_of(PRESETS[preset]) == steps


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_kernels_side_by_side_keep_a_gpu_busy_once(kernels: list[tuple[int, int]]) -> None:
    spans = [gpu.Span("kernel", start, start + length) for start, length in kernels]
    covered = {moment for start, length in kernels for moment in range(start, start + length)}
    assert gpu.busy_time(spans) == len(covered)


def test_images_to_time_with_are_the_same_each_time_and_differ_from_one_another() -> None:
    first = gpu.images(16, 3).images.copy()
    gpu.images.cache_clear()
    assert (gpu.images(16, 3).images == first).all()
    assert first.shape == (gpu.IMAGES, 16, 16, 3)
    assert first.std(axis=0).min() > 20
