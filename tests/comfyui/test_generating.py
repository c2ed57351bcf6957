"""Load Generator, Sample Noise and Decode, and core's own nodes between and beside them."""

from collections.abc import Callable

import numpy as np
import psutil
import pytest
import torch
from comfyui_graphs import (
    EXAMPLE_GENERATOR,
    decode,
    differ,
    folder_of_pictures,
    is_sentence,
    load_folder,
    pictures,
    sample,
    train,
)
from comfyui_server import Comfy, Graph, Output
from safetensors.torch import save_file
from torch import Tensor

import gan_core
from gan_core.examples import FOLDER as EXAMPLES

DIGITS = EXAMPLES / "digits.safetensors"
CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def conditional(comfy: Comfy) -> str:
    """The name of a generator with three classes, trained and saved by ComfyUI and then made to show strong colours."""
    folder = folder_of_pictures(comfy, "three classes", count=8, classes=CLASSES)
    graph = Graph()
    trained = train(graph, load_folder(graph, folder, labels=True), "three classes")
    saved = graph("SaveGenerator", generator=trained, filename_prefix="classes/three")
    name = comfy.run(graph).outputs[saved.node]["text"][0].removeprefix("output/gan/")
    generator = gan_core.load(comfy.output / "gan" / name)
    pictures_so_far = generator.decode(gan_core.sample_noise(generator, range(16)))  # after ten steps, a grey noise
    generator.module.to_image.weight.mul_(0.5 / pictures_so_far.std())
    generator.save(comfy.output / "gan" / "vivid.safetensors")
    return "vivid.safetensors"


def drawn(path: object, samples: Tensor, labels: Tensor | None = None) -> np.ndarray:
    """What gan_core makes of latents by itself, as int [N, H, W, 3] by core's rule for 8 bits."""
    images = gan_core.load(path).decode(gan_core.Latent(samples, labels=labels)).add(1).div(2).clamp(0, 1)
    return (images.expand(-1, 3, -1, -1).movedim(1, -1) * 255).long().numpy()


# Seeds.


def test_same_seed_same_picture_on_every_batch_size(comfy: Comfy) -> None:
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    batch = decode(graph, digits, sample(graph, digits, seed=100, batch_size=9))
    alone = [decode(graph, digits, sample(graph, digits, seed=seed, batch_size=1)) for seed in (100, 104, 108)]
    run = comfy.run(graph)
    expected = pictures(comfy, run, batch)[[0, 4, 8]]
    assert not differ(np.concatenate([pictures(comfy, run, node) for node in alone]), expected)
    assert differ(expected[:1], expected[1:2])


def test_a_picture_is_the_one_that_gan_core_makes_without_comfyui(comfy: Comfy) -> None:
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    shown = decode(graph, digits, sample(graph, digits, seed=2**32 - 2, batch_size=2, truncation=0.7))
    noise = gan_core.sample_noise(gan_core.load(DIGITS), [2**32 - 2, 2**32 - 1], truncation=0.7)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(DIGITS, noise.samples))


def test_more_pictures_than_seeds_are_left_is_refused_in_a_sentence(comfy: Comfy) -> None:
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    decode(graph, digits, sample(graph, digits, seed=2**32 - 1, batch_size=2))
    assert comfy.error_of(graph) == "seed must be a whole number from 0 to 4294967295 (got 4294967296)."


# Core's latent nodes. a and b are batches of four, of seeds 0 to 3 and 10 to 13.

CoreNode = Callable[[Graph, Output, Output], Output]
CORE_NODES: dict[str, tuple[CoreNode, Callable[[Tensor, Tensor], Tensor]]] = {
    "LatentFromBatch": (
        lambda graph, a, b: graph("LatentFromBatch", samples=a, batch_index=1, length=2),
        lambda a, b: a[1:3],
    ),
    "RepeatLatentBatch": (
        lambda graph, a, b: graph("RepeatLatentBatch", samples=a, amount=2),
        lambda a, b: torch.cat([a, a]),
    ),
    "RepeatLatentBatch of a part": (
        lambda graph, a, b: graph(
            "RepeatLatentBatch", samples=graph("LatentFromBatch", samples=a, batch_index=0, length=2), amount=2
        ),
        lambda a, b: torch.cat([a[:2], a[:2]]),
    ),
    "LatentBlend": (
        lambda graph, a, b: graph("LatentBlend", samples1=a, samples2=b, blend_factor=0.25),
        lambda a, b: 0.25 * a + 0.75 * b,
    ),
    "LatentAdd": (lambda graph, a, b: graph("LatentAdd", samples1=a, samples2=b), lambda a, b: a + b),
    "LatentMultiply": (lambda graph, a, b: graph("LatentMultiply", samples=a, multiplier=0.5), lambda a, b: 0.5 * a),
    "LatentBatch": (
        lambda graph, a, b: graph("LatentBatch", samples1=a, samples2=b),
        lambda a, b: torch.cat([a, b]),
    ),
    "BatchLatentsNode": (
        lambda graph, a, b: graph("BatchLatentsNode", **{"latents.latent0": a, "latents.latent1": b}),
        lambda a, b: torch.cat([a, b]),
    ),
    "BatchLatentsNode of parts": (
        lambda graph, a, b: graph(
            "BatchLatentsNode",
            **{
                "latents.latent0": graph("LatentFromBatch", samples=a, batch_index=0, length=2),
                "latents.latent1": graph("LatentFromBatch", samples=b, batch_index=2, length=2),
            },
        ),
        lambda a, b: torch.cat([a[:2], b[2:]]),
    ),
    "RebatchLatents": (lambda graph, a, b: graph("RebatchLatents", latents=a, batch_size=3), lambda a, b: a),
}

KEEP_LABELS = {
    "LatentFromBatch": slice(1, 3),
    "RepeatLatentBatch": [0, 1, 2, 3, 0, 1, 2, 3],
    "RepeatLatentBatch of a part": [0, 1, 0, 1],
    "LatentBlend": slice(None),
    "LatentAdd": slice(None),
    "LatentMultiply": slice(None),
}
"""Nodes after which an image still has its class, and which of a's labels are then whose."""


def two_batches(graph: Graph, generator: Output) -> tuple[Output, Output]:
    return sample(graph, generator, seed=0), sample(graph, generator, seed=10)


@pytest.mark.parametrize("node", CORE_NODES)
def test_core_nodes_work_on_our_latents(comfy: Comfy, node: str) -> None:
    build, compute = CORE_NODES[node]
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    shown = decode(graph, digits, build(graph, *two_batches(graph, digits)))
    a, b = (gan_core.sample_noise(gan_core.load(DIGITS), range(first, first + 4)).samples for first in (0, 10))
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(DIGITS, compute(a, b)))


@pytest.mark.parametrize("node", CORE_NODES)
def test_classes_survive_core_nodes_or_a_sentence_says_what_to_do(comfy: Comfy, conditional: str, node: str) -> None:
    build, compute = CORE_NODES[node]
    graph = Graph()
    generator = graph("LoadGenerator", name=conditional)
    latent = build(graph, *two_batches(graph, generator))
    shown = decode(graph, generator, latent)
    path = comfy.output / "gan" / conditional
    a, b = (gan_core.sample_noise(gan_core.load(path), range(first, first + 4)) for first in (0, 10))
    points = compute(a.samples, b.samples)
    if node in KEEP_LABELS:
        assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(path, points, a.labels[KEEP_LABELS[node]]))
        return

    sentence = comfy.error_of(graph)
    assert "label" in sentence and is_sentence(sentence)
    way_out = decode(graph, generator, latent, label=1)
    del graph.prompt[shown.node]
    labels = torch.ones(len(points), dtype=torch.int64)
    assert not differ(pictures(comfy, comfy.run(graph), way_out), drawn(path, points, labels))


@pytest.mark.parametrize("label", [None, 2], ids=["without classes", "with classes"])
def test_saved_latents_come_back(comfy: Comfy, conditional: str, label: int | None) -> None:
    name, path = (EXAMPLE_GENERATOR, DIGITS) if label is None else (conditional, comfy.output / "gan" / conditional)
    saving = Graph()
    latent = sample(saving, saving("LoadGenerator", name=name), seed=5)
    saved = saving("SaveLatent", samples=latent, filename_prefix="points")
    file = comfy.run(saving).outputs[saved.node]["latents"][0]["filename"]

    graph = Graph()
    generator = graph("LoadGenerator", name=name)
    points = graph("LoadLatent", latent=f"{file} [output]")
    shown = decode(graph, generator, points, **({} if label is None else {"label": label}))
    expected = gan_core.sample_noise(gan_core.load(path), range(5, 9)).samples
    labels = None if label is None else torch.full((4,), label)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(path, expected, labels))


# Classes.


def test_a_label_chooses_the_class(comfy: Comfy, conditional: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=conditional)
    shown = [decode(graph, generator, sample(graph, generator, label=label)) for label in range(len(CLASSES))]
    run = comfy.run(graph)
    path = comfy.output / "gan" / conditional
    assert tuple(gan_core.load(path).card.class_names) == CLASSES
    noise = gan_core.sample_noise(gan_core.load(path), range(4), labels=0).samples
    for label, node in enumerate(shown):
        assert not differ(pictures(comfy, run, node), drawn(path, noise, torch.full((4,), label)))
    assert differ(pictures(comfy, run, shown[0]), pictures(comfy, run, shown[1]))


@pytest.mark.parametrize(
    ("classes", "label", "sentence"),
    [
        (True, 3, "three classes has the classes blue, green, red, but no class 3."),
        (False, 3, "was trained without classes and takes no label."),
    ],
)
def test_a_label_that_cannot_be_is_refused(
    comfy: Comfy, conditional: str, classes: bool, label: int, sentence: str
) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=conditional if classes else EXAMPLE_GENERATOR)
    decode(graph, generator, sample(graph, generator, label=label))
    assert comfy.error_of(graph).endswith(sentence)


def test_truncation_to_nothing_still_knows_the_classes(comfy: Comfy, conditional: str) -> None:
    """All points are then the same one, the average, and only their places tell their classes."""
    graph = Graph()
    generator = graph("LoadGenerator", name=conditional)
    shown = decode(graph, generator, sample(graph, generator, batch_size=8, truncation=0.0))
    path = comfy.output / "gan" / conditional
    noise = gan_core.sample_noise(gan_core.load(path), range(8), truncation=0.0)
    assert len(set(noise.labels.tolist())) > 1
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(path, noise.samples, noise.labels))


def test_a_replaced_file_is_loaded_again(comfy: Comfy, conditional: str) -> None:
    (comfy.models / "gan").mkdir(exist_ok=True)
    file = comfy.models / "gan" / "replaced.safetensors"
    graph = Graph()
    generator = graph("LoadGenerator", name=file.name)
    shown = decode(graph, generator, sample(graph, generator, batch_size=1))
    seen = []
    for source in (DIGITS, comfy.output / "gan" / conditional):
        file.write_bytes(source.read_bytes())
        seen.append(pictures(comfy, comfy.run(graph), shown))
    assert [one.shape[1] for one in seen] == [28, 16]
    assert generator.node in comfy.run(graph).cached


# Core's VAEs.


@pytest.fixture(scope="module")
def tiny_vae(comfy: Comfy) -> str:
    """The name of a VAE that core loads: a TAESD decoder with random weights, two million of them."""
    draw = torch.Generator().manual_seed(0)

    def conv(inputs: int, outputs: int, size: int = 3) -> Tensor:
        return torch.randn(outputs, inputs, size, size, generator=draw) / (inputs * size * size) ** 0.5

    tensors = {"1.weight": conv(4, 64), "1.bias": torch.zeros(64), "19.weight": conv(64, 3), "19.bias": torch.zeros(3)}
    for block in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        for layer in (0, 2, 4):
            tensors[f"{block}.conv.{layer}.weight"] = conv(64, 64)
            tensors[f"{block}.conv.{layer}.bias"] = torch.zeros(64)
    tensors |= {f"{after}.weight": conv(64, 64) for after in (7, 12, 17)}
    tensors = {f"taesd_decoder.{name}": tensor for name, tensor in tensors.items()}
    (comfy.models / "vae").mkdir(exist_ok=True)
    save_file(
        {**tensors, "vae_scale": torch.tensor(0.5), "vae_shift": torch.tensor(0.1)},
        comfy.models / "vae" / "tiny.safetensors",
    )
    return "tiny.safetensors"


@pytest.fixture(scope="module")
def image_latent(comfy: Comfy) -> str:
    """The name of a latent that core loads: two points of an image model's space, 4x4."""
    samples = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}, comfy.input / "image.latent")
    return "image.latent"


def test_decode_takes_a_vae_and_makes_what_vae_decode_makes(comfy: Comfy, tiny_vae: str, image_latent: str) -> None:
    graph = Graph()
    vae = graph("VAELoader", vae_name=tiny_vae)
    latent = graph("LoadLatent", latent=image_latent)
    ours = decode(graph, vae, latent)
    cores = graph("PreviewImage", images=graph("VAEDecode", vae=vae, samples=latent))
    run = comfy.run(graph)
    expected = pictures(comfy, run, cores)
    assert expected.shape == (2, 32, 32, 3) and expected.std() > 10
    assert np.array_equal(pictures(comfy, run, ours), expected)


def test_latents_of_another_model_are_refused_in_a_sentence(comfy: Comfy, tiny_vae: str, image_latent: str) -> None:
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    decode(graph, digits, graph("LoadLatent", latent=image_latent))
    assert "(got [4, 4, 4]): use Sample Noise with this generator" in comfy.error_of(graph)

    graph = Graph()
    vae = graph("VAELoader", vae_name=tiny_vae)
    decode(graph, vae, sample(graph, graph("LoadGenerator", name=EXAMPLE_GENERATOR)))
    assert is_sentence(comfy.error_of(graph))


# Memory.


def test_fifty_prompts_leave_no_memory_behind(comfy: Comfy) -> None:
    server = psutil.Process(comfy.server.process.pid)

    def sample_once(seed: int) -> None:
        graph = Graph()
        digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
        decode(graph, digits, sample(graph, digits, seed=seed, batch_size=64))
        comfy.run(graph)

    for seed in range(10):
        sample_once(1000 + seed)
    before = server.memory_info().rss
    for seed in range(50):
        sample_once(2000 + seed)
    grown = (server.memory_info().rss - before) / 2**20
    # Fifty batches of images are 29 MB; the server's own history of prompts takes a little.
    assert grown < 8, f"the server grew by {grown:.1f} MiB"
