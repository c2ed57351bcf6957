"""Import Generator, the space of styles, and what style-based generators can be told, on a real server."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from comfyui_graphs import EXAMPLE_GENERATOR, decode, differ, is_sentence, pictures, sample
from comfyui_server import Comfy, Graph, Output
from foreign_files import nvidia_pickle
from stylegan2_networks import SMALL, generator_of, original
from torch import Tensor

from gan_core import Card, Generator, Transform, sample_noise
from gan_core.architectures import stylegan3

NAME = "old/cats.pkl"
CLASSES = 3


@pytest.fixture(scope="module")
def cats(comfy: Comfy) -> Iterator[Generator]:
    """A StyleGAN2 with three classes that lies in models/gan/old as a pickle of NVIDIA's, and itself."""
    config = replace(SMALL, classes=CLASSES)
    folder = comfy.clear(comfy.models / "gan" / "old")
    data = nvidia_pickle(original(config), conv_clamp=256, activation="lrelu")
    (folder / "cats.pkl").write_bytes(data)
    yield generator_of(config)
    shutil.rmtree(folder)


def shown(images: Tensor) -> np.ndarray:
    """Images as core saves them: int [N, H, W, 3]."""
    return (images.add(1).div(2).clamp(0, 1).movedim(1, -1) * 255).long().numpy()


def opened(graph: Graph, name: str = NAME, save: bool = False) -> Output:
    return graph("ImportGenerator", name=name, save=save)


# Opening.


def test_a_pickle_gives_the_pictures_that_its_seeds_have(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    node = decode(graph, generator, sample(graph, generator, seed=5, batch_size=3, truncation=0.7, label=1))
    expected = cats.decode(sample_noise(cats, range(5, 8), 0.7, 1))
    assert not differ(pictures(comfy, comfy.run(graph), node), shown(expected))


def test_the_node_says_what_the_file_is(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    decode(graph, generator, sample(graph, generator, seed=99))
    again = comfy.models / "gan" / "old" / "cats.pkl"
    again.touch()  # or the server still has it
    run = comfy.run(graph)
    assert comfy.texts(run, generator)[-1] == (
        "cats: stylegan2, 16x16x3, 3 classes\na StyleGAN2 of NVIDIA's, in a pickled network of the class Generator"
    )
    done = [(value, total) for node, value, total in run.progress if node == generator.node]
    assert done and done[-1][0] == done[-1][1]


def test_a_saved_copy_opens_in_load_generator(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph, save=True)
    first = decode(graph, generator, sample(graph, generator, seed=1))
    run = comfy.run(graph)
    assert comfy.texts(run, generator)[-1].endswith("saved as cats.safetensors beside it")
    copy = comfy.models / "gan" / "old" / "cats.safetensors"
    before = copy.stat().st_mtime_ns

    loading = Graph()
    loaded = loading("LoadGenerator", name="old/cats.safetensors")
    second = decode(loading, loaded, sample(loading, loaded, seed=1))
    assert not differ(pictures(comfy, comfy.run(loading), second), pictures(comfy, run, first))

    (copy.parent / "cats.pkl").touch()
    run = comfy.run(graph)
    assert comfy.texts(run, generator)[-1].endswith("cats.safetensors exists already and was not changed")
    assert copy.stat().st_mtime_ns == before
    copy.unlink()


def test_files_of_other_programs_are_offered(comfy: Comfy, cats: Generator) -> None:
    options = comfy.node_info()["ImportGenerator"]["input"]["required"]["name"][1]["options"]
    assert NAME in options and EXAMPLE_GENERATOR in options


# Strangers' files.


def test_a_hostile_pickle_is_refused_by_name_and_not_run(comfy: Comfy, cats: Generator) -> None:
    mark = comfy.base / "ran"
    (comfy.models / "gan" / "old" / "hostile.pkl").write_bytes(
        b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    )
    graph = Graph()
    generator = opened(graph, "old/hostile.pkl")
    decode(graph, generator, sample(graph, generator))
    sentence = comfy.error_of(graph)
    assert sentence.startswith("hostile.pkl names posix.system, which no generator needs") and is_sentence(sentence)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "../outside.pkl", "old/../../outside.pkl", ""])
def test_a_name_that_leads_out_of_the_folders_is_not_queued(comfy: Comfy, cats: Generator, name: str) -> None:
    (comfy.models / "outside.pkl").write_bytes(b"N.")
    graph = Graph()
    decode(graph, opened(graph, name), graph("EmptyLatentImage", width=16, height=16, batch_size=1))
    assert f'There is no generator "{name}" in models' in comfy.refusal_of(graph)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"hello", "is not a file of weights, or damaged"),
        (b"<html>", "is a web page, perhaps from a failed download"),
        (b"", "is not a file of weights, or damaged"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81.", "is a StyleGAN file of the TensorFlow era"),
    ],
)
def test_what_is_no_generator_is_named(comfy: Comfy, cats: Generator, content: bytes, sentence: str) -> None:
    (comfy.models / "gan" / "old" / "thing.pkl").write_bytes(content)
    graph = Graph()
    decode(graph, opened(graph, "old/thing.pkl"), graph("EmptyLatentImage", width=16, height=16, batch_size=1))
    said = comfy.error_of(graph)
    assert said.startswith(f"thing.pkl {sentence}") and is_sentence(said)


# Styles.


def test_truncation_with_a_cutoff(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, seed=3, label=2)
    mapped = [
        graph("MapLatent", generator=generator, latent=latent, truncation=0.4, cutoff=cutoff) for cutoff in (2, " 2")
    ]
    nodes = [decode(graph, generator, one) for one in mapped]
    run = comfy.run(graph)
    expected = shown(cats.decode(sample_noise(cats, range(3, 7), 0.4, 2, cutoff=2)))
    assert not any(differ(pictures(comfy, run, node), expected) for node in nodes)


def test_z_and_w_of_a_seed_are_the_same_picture(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, seed=3, label=2)
    mapped = [
        graph("MapLatent", generator=generator, latent=latent, truncation=1.0, **more)
        for more in ({}, {"cutoff": "all"})
    ]
    nodes = [decode(graph, generator, one) for one in (latent, *mapped)]
    run = comfy.run(graph)
    first, second, third = (pictures(comfy, run, node) for node in nodes)
    assert not differ(first, second) and not differ(first, third)


CORE: dict[str, Callable[[Graph, Output, Output], Output]] = {
    "LatentBlend": lambda graph, one, other: graph("LatentBlend", samples1=one, samples2=other, blend_factor=0.25),
    "LatentAdd": lambda graph, one, other: graph("LatentAdd", samples1=one, samples2=other),
    "LatentSubtract": lambda graph, one, other: graph("LatentSubtract", samples1=one, samples2=other),
    "LatentMultiply": lambda graph, one, other: graph("LatentMultiply", samples=one, multiplier=0.5),
    "LatentBatch": lambda graph, one, other: graph("LatentBatch", samples1=one, samples2=other),
    "RepeatLatentBatch": lambda graph, one, other: graph("RepeatLatentBatch", samples=one, amount=2),
    "LatentFromBatch": lambda graph, one, other: graph("LatentFromBatch", samples=one, batch_index=1, length=1),
}
COMPUTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "LatentBlend": lambda one, other: 0.25 * one + 0.75 * other,
    "LatentAdd": lambda one, other: one + other,
    "LatentSubtract": lambda one, other: one - other,
    "LatentMultiply": lambda one, other: one * 0.5,
    "LatentBatch": lambda one, other: torch.cat([one, other]),
    "RepeatLatentBatch": lambda one, other: one.repeat(2, 1, 1, 1),
    "LatentFromBatch": lambda one, other: one[1:2],
}


@pytest.mark.parametrize("cutoff", ["all", 3], ids=["w", "w+"])
@pytest.mark.parametrize("name", CORE)
def test_cores_latent_nodes_work_on_styles(comfy: Comfy, cats: Generator, name: str, cutoff: str | int) -> None:
    graph = Graph()
    generator = opened(graph)
    one, other = (
        graph(
            "MapLatent",
            generator=generator,
            latent=sample(graph, generator, seed=seed, batch_size=2, label=1),
            truncation=0.5,
            cutoff=cutoff,
        )
        for seed in (10, 20)
    )
    node = decode(graph, generator, CORE[name](graph, one, other))
    ours = [
        sample_noise(cats, range(seed, seed + 2), 0.5, 1, cutoff=None if cutoff == "all" else cutoff)
        for seed in (10, 20)
    ]
    expected = replace(ours[0], samples=COMPUTED[name](ours[0].samples, ours[1].samples))
    assert not differ(pictures(comfy, comfy.run(graph), node), shown(cats.decode(expected)))


def test_styles_that_core_saved_and_loaded_are_known_by_their_shape(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, seed=4, truncation=0.5, label=0)
    before = decode(graph, generator, latent)
    saved = graph("SaveLatent", samples=latent, filename_prefix="styles")
    run = comfy.run(graph)
    (where,) = run.outputs[saved.node]["latents"]
    (comfy.input / "styles.latent").write_bytes((comfy.output / where["filename"]).read_bytes())
    loading = Graph()
    generator = opened(loading)
    after = decode(loading, generator, loading("LoadLatent", latent="styles.latent"))
    assert not differ(pictures(comfy, comfy.run(loading), after), pictures(comfy, run, before))


# Motion.


@pytest.fixture(scope="module")
def dogs(comfy: Comfy, cats: Generator) -> Generator:
    """A StyleGAN3 that lies beside the cats."""
    torch.manual_seed(0)
    config = stylegan3.StyleGAN3Config(16, 3, stylegan3.widths(16, 64, 6), latent_size=5, w_dim=6)
    module = stylegan3.StyleGAN3Generator(config).eval().requires_grad_(False)
    module.synthesis.L14_16_3.weight.mul_(20)
    generator = Generator(stylegan3.ARCHITECTURE, config, module, Card(title="dogs"))
    generator.save(comfy.models / "gan" / "old" / "dogs.safetensors")
    return generator


@pytest.mark.parametrize("animate", [False, True])
def test_pictures_are_moved_and_turned(comfy: Comfy, dogs: Generator, animate: bool) -> None:
    graph = Graph()
    generator = opened(graph, "old/dogs.safetensors")
    motion = {"translate_x": 0.25, "translate_y": -0.1, "rotation": 90.0, "scale": 1.5, "animate": animate}
    latent = graph("RepeatLatentBatch", samples=sample(graph, generator, seed=2, batch_size=1), amount=4)
    node = decode(graph, generator, latent, transform=graph("TransformStyleGAN3", **motion))
    plain = decode(graph, generator, latent)
    run = comfy.run(graph)
    noise = sample_noise(dogs, [2] * 4)
    expected = dogs.decode(noise, transform=Transform(*motion.values()).matrices(4))
    assert not differ(pictures(comfy, run, node), shown(expected))
    assert differ(pictures(comfy, run, plain)[1:], pictures(comfy, run, node)[1:])


# What else they can be told.


def test_noise_is_stored_random_or_none(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, seed=8, batch_size=2, label=1)
    nodes = [
        decode(graph, generator, latent, noise=noise, noise_seed=seed)
        for noise, seed in (("const", 0), ("none", 0), ("random", 4), ("random", 5))
    ]
    run = comfy.run(graph)
    ours = sample_noise(cats, [8, 9], labels=1)
    expected = [
        cats.decode(ours, noise, seed) for noise, seed in (("const", 0), ("none", 0), ("random", 4), ("random", 5))
    ]
    found = [pictures(comfy, run, node) for node in nodes]
    assert not any(differ(one, shown(other)) for one, other in zip(found, expected, strict=True))
    assert differ(found[0], found[1]) and differ(found[2], found[3])


def test_a_mixture_of_classes(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    node = decode(graph, generator, sample(graph, generator, seed=8, label="0:0.5, 2:0.5"))
    expected = cats.decode(sample_noise(cats, range(8, 12), labels=torch.tensor([0.5, 0, 0.5])))
    assert not differ(pictures(comfy, comfy.run(graph), node), shown(expected))


def test_a_mixture_goes_through_cores_batch_nodes(comfy: Comfy, cats: Generator) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, seed=8, batch_size=3, label="0:0.5, 2:0.5")
    node = decode(graph, generator, graph("LatentFromBatch", samples=latent, batch_index=1, length=2))
    expected = cats.decode(sample_noise(cats, range(9, 11), labels=torch.tensor([0.5, 0, 0.5])))
    assert not differ(pictures(comfy, comfy.run(graph), node), shown(expected))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": "7:1"}, '"7:1" are not class weights of cats'),
        ({"label": -1}, "cats has classes 0 to 2, but no class -1."),
        ({"label": "lion"}, 'cats has classes 0 to 2, but no class "lion".'),
        ({"cutoff": 60}, "cats has 6 styles: cutoff must be 0 to 6 (got 60)."),
    ],
)
def test_what_cannot_be_sampled_is_said(comfy: Comfy, cats: Generator, changes: dict, sentence: str) -> None:
    graph = Graph()
    generator = opened(graph)
    latent = sample(graph, generator, label=changes.get("label", ""))
    cutoff = changes.get("cutoff", "all")
    decode(graph, generator, graph("MapLatent", generator=generator, latent=latent, truncation=0.5, cutoff=cutoff))
    said = comfy.error_of(graph)
    assert said.startswith(sentence) and is_sentence(said)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda graph, digits: ("MapLatent", {"truncation": 0.5, "cutoff": "all"}), "and has no style space w"),
        (lambda graph, digits: ("Decode", {"noise": "none"}), "and has no noise maps: leave noise at const"),
        (
            lambda graph, digits: (
                "Decode",
                {
                    "transform": graph(
                        "TransformStyleGAN3", translate_x=0.1, translate_y=0.0, rotation=0.0, scale=1.0, animate=False
                    )
                },
            ),
            "only images of StyleGAN3 can be translated or rotated",
        ),
    ],
)
def test_a_generator_without_styles_says_so(comfy: Comfy, build: Callable, sentence: str) -> None:
    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    kind, inputs = build(graph, digits)
    result = graph(kind, generator=digits, latent=sample(graph, digits), **inputs)
    if kind == "MapLatent":
        decode(graph, digits, result)
    else:
        graph("PreviewImage", images=result)
    said = comfy.error_of(graph)
    assert sentence in said and is_sentence(said)
