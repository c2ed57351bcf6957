"""Measuring on a real server: first without the network that looks at the images, then with it."""

import subprocess

import numpy as np
import pytest
import torch
from comfyui_graphs import EXAMPLE_FOLDER, EXAMPLE_GENERATOR, differ, is_sentence, load_folder, pictures
from comfyui_server import Comfy, Graph, Output, Server, find_comfyui, find_python

import gan_core
from gan_core.examples import FOLDER, digits
from gan_core.media.image import to_pixels
from gan_core.metrics import Report, compare, measuring
from gan_core.metrics.features import PACKAGES
from gan_core.metrics.likelihood import elbo, importance_weighted

COUNT, SEED = 40, 3


def measure(graph: Graph, generator: str = EXAMPLE_GENERATOR, size: int = 28, count: int = COUNT) -> Output:
    loaded = graph("LoadGenerator", name=generator)
    dataset = load_folder(graph, EXAMPLE_FOLDER, size=size)
    return graph("MeasureGenerator", generator=loaded, dataset=dataset, count=count, seed=SEED)


@pytest.fixture(scope="module")
def absent(server: Server) -> str:
    """ComfyUI's Python, which has no network to measure with."""
    comfyui = find_comfyui()
    assert comfyui is not None
    python = find_python(comfyui)
    imports = "; ".join(f"import {package.replace('-', '_')}" for package in PACKAGES)
    installed = subprocess.run([python, "-c", imports], check=False, capture_output=True).returncode == 0
    if installed or any(server.packages.iterdir()):
        pytest.skip("the network is installed in ComfyUI's Python")
    return python


@pytest.fixture(scope="module")
def expected() -> tuple[Report, torch.Tensor]:
    """What gan_core finds by itself: the figures, and the panel of nearest images in 8 bits."""
    *_, last = measuring(gan_core.load(FOLDER / "digits.safetensors"), digits(), COUNT, SEED)
    assert last.report is not None and last.nearest is not None
    return last.report, torch.from_numpy(to_pixels(torch.cat(last.nearest)))


def test_without_the_network_a_sentence_says_how_to_install_it(comfy: Comfy, absent: str) -> None:
    graph = Graph()
    measure(graph)
    told = comfy.error_of(graph)
    assert is_sentence(told)
    assert f"{absent} -m pip install --no-deps {' '.join(PACKAGES)} " in told


@pytest.mark.usefixtures("network")
def test_the_figures_are_those_of_gan_core(comfy: Comfy, expected: tuple[Report, torch.Tensor]) -> None:
    graph = Graph()
    measured = measure(graph)
    kid, coverage, report = (graph("PreviewAny", source=measured[slot]) for slot in (3, 4, 1))
    panel = graph("PreviewImage", images=measured[2])
    graph("SaveGenerator", generator=measured, filename_prefix="measured")
    run = comfy.run(graph)
    shown = {node: run.outputs[node.node]["text"][0] for node in (kid, coverage, report)}
    assert float(shown[kid]) == pytest.approx(expected[0].kid, rel=1e-3)
    assert float(shown[coverage]) == pytest.approx(expected[0].coverage, abs=0.03)
    assert shown[report].splitlines()[-1] == str(expected[0]).splitlines()[-1]
    assert run.outputs[measured.node]["text"] == shown[report].splitlines()
    assert comfy.texts(run, measured)[-1] == shown[report]

    (sheet,) = pictures(comfy, run, panel)
    rows, columns = 2, 8
    side, factor = 28 + 2, sheet.shape[1] // (columns * 30 - 2)
    cells = [
        sheet[y * side * factor :: factor, x * side * factor :: factor][:28, :28]
        for y in range(rows)
        for x in range(columns)
    ]
    found = [np.concatenate(pair) for pair in zip(cells[:columns], cells[columns:], strict=True)]
    wanted = [
        np.concatenate(pair) for pair in zip(*expected[1].numpy().astype(int).reshape(2, 8, 28, 28, 3), strict=True)
    ]
    # Two torches may differ in a last digit, and so in the order of two that are equally near, or in which is the last.
    assert sum(any(not differ(pair, other) for other in wanted) for pair in found) >= columns - 2

    (saved,) = (comfy.output / "gan").glob("measured_*.safetensors")
    metrics = gan_core.load(saved).card.metrics
    assert [metric.name for metric in metrics] == [metric.name for metric in expected[0].as_metrics()]
    assert metrics[0].value == pytest.approx(float(shown[kid]))


def side_by_side(graph: Graph, names: list[str], **inputs: object) -> Output:
    loaded = [graph("LoadGenerator", name=f"example/{name}.safetensors") for name in names]
    columns = {f"generator_{place}": generator for place, generator in enumerate(loaded, 1)}
    return graph("CompareGenerators", **columns, seeds="0, 7", **inputs)


def test_generators_are_shown_side_by_side_without_the_network(comfy: Comfy) -> None:
    graph = Graph()
    compared = side_by_side(graph, ["digits", "stylegan2-digits", "vae-digits"])
    table = graph("PreviewAny", source=compared[1])
    shown = graph("PreviewImage", images=compared)
    run = comfy.run(graph)
    (sheet,) = comfy.images(run, compared)
    assert np.array_equal(np.asarray(sheet), np.asarray(comfy.images(run, shown)[0])), "on the node too"
    generators = [
        gan_core.load(FOLDER / f"{name}.safetensors") for name in ("digits", "stylegan2-digits", "vae-digits")
    ]
    images = [each.decode(gan_core.sample_noise(each, [0, 7])) for each in generators]
    assert sheet.size == compare.sheet(images, generators, [0, 7]).size
    text = run.outputs[table.node]["text"][0]
    assert text == compare.as_markdown(generators, ())
    assert comfy.texts(run, compared)[-1].splitlines() == compare.in_words(generators, ())


def test_a_comparison_of_one_generator_or_of_too_many_seeds_is_refused(comfy: Comfy) -> None:
    graph = Graph()
    side_by_side(graph, ["digits"])
    assert "generator_2" in comfy.refusal_of(graph)
    graph = Graph()
    loaded = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    graph("CompareGenerators", generator_1=loaded, generator_2=loaded, seeds="0-32")
    assert "A comparison must have at most 32 seeds (got 33)." in comfy.error_of(graph)


@pytest.mark.usefixtures("network")
def test_generators_are_measured_on_the_same_images(comfy: Comfy, expected: tuple[Report, torch.Tensor]) -> None:
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER, size=28)
    compared = side_by_side(graph, ["digits", "stylegan2-digits"], dataset=dataset, count=COUNT)
    text = graph("PreviewAny", source=compared[1])
    lines = comfy.run(graph).outputs[text.node]["text"][0].splitlines()
    *_, last = measuring(gan_core.load(FOLDER / "digits.safetensors"), digits(), COUNT, 0)
    assert last.report is not None
    kid = float(lines[2].split(" | ")[4].split(" ± ")[0])
    assert kid == pytest.approx(last.report.kid, abs=1e-3)
    assert "another size" in lines[3]
    assert lines[-1].startswith(f"{COUNT} generated, {COUNT} real of MNIST digits; efflite0@64.")


@pytest.mark.usefixtures("network")
def test_it_shows_how_far_it_is_and_stops_at_once(comfy: Comfy) -> None:
    graph = Graph()
    measured = measure(graph, count=10_000)
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len([node for node, done, _ in run.progress if node == measured.node and done]) > 2)
    comfy.interrupt()
    assert comfy.finish(run).state == "interrupted"
    assert any(line.startswith("features of real images: ") for line in comfy.texts(run, measured))


def test_another_size_is_answered_in_a_sentence(comfy: Comfy) -> None:
    graph = Graph()
    measure(graph, size=32)
    told = comfy.error_of(graph)
    assert is_sentence(told) and "load the images with a size of 28" in told


def test_counts_out_of_range_are_not_queued(comfy: Comfy) -> None:
    graph = Graph()
    measure(graph, count=10_001)
    assert "count" in comfy.refusal_of(graph)


# How likely a VAE finds images.


def likelihood_of(graph: Graph, generator: str, size: int = 28, **changes: object) -> Output:
    settings = {"likelihood": "bernoulli", "count": 50, "samples": 0, "seed": 4, **changes}
    loaded = graph("LoadGenerator", name=generator)
    return graph(
        "MeasureVAELikelihood", generator=loaded, dataset=load_folder(graph, EXAMPLE_FOLDER, size=size), **settings
    )


def test_a_vae_says_how_likely_it_finds_images(comfy: Comfy) -> None:
    chosen = np.sort(np.random.RandomState(4).permutation(10_000)[:50])
    vae, images = gan_core.load(FOLDER / "vae-digits.safetensors"), digits().batch(chosen)
    bound = elbo(vae, images, seed=4)
    estimate = float(importance_weighted(vae, images, 20, seed=4).mean())
    assert estimate < bound.nats

    graph = Graph()
    plain = likelihood_of(graph, "example/vae-digits.safetensors")
    weighted = likelihood_of(graph, "example/vae-digits.safetensors", samples=20)
    shown = [graph("PreviewAny", source=source) for source in (plain[0], plain[1], weighted[1], plain[2], plain[3])]
    run = comfy.run(graph)
    report, nats, tighter, bits, units = (run.outputs[one.node]["text"][0] for one in shown)
    assert report == f"{bound}\n50 images of MNIST digits, bernoulli"
    assert float(nats) == pytest.approx(bound.nats, rel=1e-5)
    assert float(tighter) == pytest.approx(estimate, rel=1e-5)
    assert float(bits) == pytest.approx(bound.bits_per_dimension, rel=1e-5)
    assert int(units) == bound.active_units
    assert "20 samples" in comfy.texts(run, weighted)[-1]
    assert [total for node, _, total in run.progress if node == weighted.node][-1] == 50


@pytest.mark.parametrize(
    ("generator", "size", "told"),
    [
        (EXAMPLE_GENERATOR, 28, "choose a VAE to measure a likelihood"),
        ("example/vae-digits.safetensors", 32, "needs images of 28x28x1 (got 32x32x1)"),
    ],
)
def test_what_cannot_say_how_likely_is_told_in_a_sentence(comfy: Comfy, generator: str, size: int, told: str) -> None:
    graph = Graph()
    likelihood_of(graph, generator, size)
    message = comfy.error_of(graph)
    assert told in message and is_sentence(message)
