"""Generators as core's VAEs, core's VAEs as generators, and files that both open."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_graphs import EXAMPLE_GENERATOR, decode, differ, folder_of_pictures, is_sentence, load_folder, sample
from comfyui_server import DEVICE, Comfy, Graph, Output, Run
from foreign_files import saved
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from vae_layouts import in_latent_diffusion

import gan_core
from gan_core import Card, Generator, Latent
from gan_core.architectures import autoencoder_kl, conv_vae, dcgan, taesd_vae
from gan_core.sampling.encoding import images_for

SIZES = [(28, 28), (48, 64), (100, 75), (5, 5)]
"""Height and width of images that somebody may have."""

CLOSE = {"rtol": 0, "atol": 1e-4}
"""What is ours, on any device, and core's VAEs on a CPU."""

LIKE_CORES = {"rtol": 0, "atol": 0.15} if DEVICE == "cuda" else CLOSE
"""What core's own VAEs make: on a GPU core computes them in bfloat16, of which images differ by up to 0.06."""


def tiny(architecture: gan_core.generator.Architecture, **settings: object) -> Generator:
    """A generator with random weights."""
    config = architecture.config(**settings)
    torch.manual_seed(0)
    module = architecture.generator(config).eval().requires_grad_(False)
    for name, last in {"taesd_vae": "taesd_decoder.19", "dcgan": "to_image"}.items():
        if architecture.name == name:
            module.get_submodule(last).weight.mul_(20)  # they begin as a plain grey
    return Generator(architecture, config, module, Card(title="it"))


SPATIAL = tiny(taesd_vae.ARCHITECTURE, side=28)
"""Its own images have latents of 4x4, and lose what is padding."""
GREY = tiny(conv_vae.ARCHITECTURE, side=28, channels=1, latent_size=5, width=4)
COLOURED = tiny(conv_vae.ARCHITECTURE, side=32, channels=4, latent_size=5, width=4)
CLASSES = tiny(dcgan.ARCHITECTURE, side=16, channels=3, classes=3, width=4, latent_size=5)
with torch.no_grad():
    CLASSES.module.embed.weight.mul_(10)  # as in one that has learned: at first a label changes an image by little
KL = tiny(autoencoder_kl.ARCHITECTURE, side=512, widths=(32, 32, 32, 64), layers=1)
VAES = {"spatial": SPATIAL, "grey": GREY, "coloured": COLOURED}
GENERATORS = {**VAES, "classes": CLASSES}


@pytest.fixture(scope="module", autouse=True)
def files(comfy: Comfy) -> Iterator[None]:
    """The generators above as vaes/<name>.safetensors, and models/vae to fill."""
    (comfy.models / "vae").mkdir(exist_ok=True)
    folder = comfy.clear(comfy.models / "gan" / "vaes")
    for name, generator in GENERATORS.items():
        generator.save(folder / f"{name}.safetensors")
    before = set((comfy.models / "vae").iterdir())
    yield
    shutil.rmtree(folder)
    for path in set((comfy.models / "vae").iterdir()) - before:
        path.unlink()


def ours(graph: Graph, name: str) -> Output:
    return graph("LoadGenerator", name=f"vaes/{name}.safetensors")


def as_vae(graph: Graph, name: str, **label: int) -> Output:
    return graph("GeneratorToVAE", generator=ours(graph, name), **label)


def picture(graph: Graph, comfy: Comfy, size: tuple[int, int]) -> tuple[Output, Tensor]:
    """An image of smooth colours: a node that loads it, and its values [1, H, W, 3] in [0, 1]."""
    path = comfy.input / f"colours {size}.png"
    if not path.exists():
        draw = np.random.RandomState(sum(size)).randint(0, 256, (3, 3, 3), np.uint8)
        Image.fromarray(draw).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return graph("LoadImage", image=path.name), torch.from_numpy(np.array(Image.open(path))).float()[None] / 255


def keep(graph: Graph, latent: Output) -> Output:
    return graph("SaveLatent", samples=latent, filename_prefix="vaes/latent")


def keep_images(graph: Graph, images: Output) -> Output:
    """As a latent too, which is not rounded to 8 bits: [B, 3, H, W] in [-1, 1]."""
    pixels = graph("VAELoader", vae_name="pixel_space")
    return keep(graph, graph("VAEEncode", pixels=images, vae=pixels))


def kept(comfy: Comfy, run: Run, node: Output) -> Tensor:
    (where,) = run.outputs[node.node]["latents"]
    return load_file(comfy.output / where["subfolder"] / where["filename"])["latent_tensor"]


def shown(images: Tensor) -> Tensor:
    """What a generator makes, as keep_images has it."""
    return images.clamp(-1, 1).expand(-1, max(3, images.shape[1]), -1, -1)[:, :3]


def points(generator: Generator, *places: int, batch_size: int = 2) -> Tensor:
    """Latents with random values, of its own shape or so many places high and wide."""
    shape = (generator.latent_shape[0], *places) if places else generator.latent_shape
    return torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(3))


def latent(graph: Graph, comfy: Comfy, samples: Tensor) -> Output:
    name = f"points {'x'.join(map(str, samples.shape))}.latent"
    save_file({"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}, comfy.input / name)
    return graph("LoadLatent", latent=name)


# A generator on the socket of a VAE.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VAES)
def test_core_encodes_and_decodes_pictures_of_any_size(comfy: Comfy, name: str, size: tuple[int, int]) -> None:
    graph, generator = Graph(), VAES[name]
    vae = as_vae(graph, name)
    loaded, pixels = picture(graph, comfy, size)
    encoded = graph("VAEEncode", pixels=loaded, vae=vae)
    nodes = keep(graph, encoded), keep_images(graph, graph("VAEDecode", samples=encoded, vae=vae))
    own = keep(graph, graph("EncodeWithGenerator", generator=ours(graph, name), images=loaded, fit="crop"))
    run = comfy.run(graph)
    expected = generator.encode(images_for(generator, pixels))
    for node in (nodes[0], own):
        torch.testing.assert_close(kept(comfy, run, node), expected.samples, **CLOSE)
    torch.testing.assert_close(kept(comfy, run, nodes[1]), shown(generator.decode(expected)), **CLOSE)


def test_sizes_are_those_of_the_help_page(comfy: Comfy) -> None:
    graph = Graph()
    vae = as_vae(graph, "spatial")
    kinds = {(28, 28): (28, 28), (48, 64): (48, 64), (100, 75): (104, 80), (5, 5): (8, 8), (32, 32): (28, 28)}
    nodes = {}
    for size in kinds:
        encoded = graph("VAEEncode", pixels=picture(graph, comfy, size)[0], vae=vae)
        nodes[size] = keep_images(graph, graph("VAEDecode", samples=encoded, vae=vae))
    run = comfy.run(graph)
    assert {size: tuple(kept(comfy, run, node).shape[2:]) for size, node in nodes.items()} == kinds


def test_tiles_are_put_together_as_core_does(comfy: Comfy) -> None:
    SPATIAL.save(comfy.models / "vae" / "tiles.safetensors")
    graph = Graph()
    vaes = as_vae(graph, "spatial"), graph("VAELoader", vae_name="tiles.safetensors")
    loaded, _ = picture(graph, comfy, (136, 72))
    samples = latent(graph, comfy, points(SPATIAL, 9, 17, batch_size=1))
    settings = {"tile_size": 128, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}
    encoding = [graph("VAEEncodeTiled", pixels=loaded, vae=vae, **settings) for vae in vaes]
    decoding = [graph("VAEDecodeTiled", samples=samples, vae=vae, **settings) for vae in vaes]
    encoded, decoded = ([keep(graph, each) for each in encoding], [keep_images(graph, each) for each in decoding])
    whole = keep_images(graph, graph("VAEDecode", samples=samples, vae=vaes[0]))
    run = comfy.run(graph)
    for mine, cores in (encoded, decoded):
        torch.testing.assert_close(kept(comfy, run, mine), kept(comfy, run, cores), **LIKE_CORES)
    # Otherwise nothing was cut at all.
    assert 1e-3 < (kept(comfy, run, decoded[0]) - kept(comfy, run, whole)).abs().mean() < 0.2
    tiles = {node: total for node, _, total in run.progress}
    for mine, cores in (encoding, decoding):
        assert tiles[mine.node] == tiles[cores.node] > 3


@pytest.mark.parametrize("places", [(4, 12), (12, 4), (4, 4), (13, 10)])
def test_a_tile_as_large_as_a_picture_of_its_own_loses_nothing(comfy: Comfy, places: tuple[int, int]) -> None:
    graph = Graph()
    vae, samples = as_vae(graph, "spatial"), latent(graph, comfy, points(SPATIAL, *places))
    tiled = graph("VAEDecodeTiled", samples=samples, vae=vae, tile_size=64, overlap=0, temporal_size=64,
                  temporal_overlap=8)  # fmt: skip
    nodes = keep_images(graph, tiled), keep_images(graph, graph("VAEDecode", samples=samples, vae=vae))
    run = comfy.run(graph)
    made, whole = (kept(comfy, run, node) for node in nodes)
    assert made.shape == whole.shape and made.isfinite().all()
    assert (made - whole).abs().mean() < 0.2


@pytest.mark.parametrize("size", SIZES)
def test_pictures_of_any_size_are_encoded_in_tiles(comfy: Comfy, size: tuple[int, int]) -> None:
    graph = Graph()
    loaded, pixels = picture(graph, comfy, size)
    nodes = {
        name: keep(graph, graph("VAEEncodeTiled", pixels=loaded, vae=as_vae(graph, name), tile_size=64, overlap=4096,
                                temporal_size=64, temporal_overlap=8))
        for name in VAES
    }  # fmt: skip
    run = comfy.run(graph)
    for name, generator in VAES.items():
        expected, made = generator.encode(images_for(generator, pixels)).samples, kept(comfy, run, nodes[name])
        assert made.shape == expected.shape
        assert (made - expected).abs().mean() < (0.2 * expected.std() if name == "spatial" else 1e-5)


@pytest.mark.parametrize("name", ["grey", "coloured"])
def test_vectors_are_decoded_whole_in_tiled_nodes(comfy: Comfy, name: str) -> None:
    graph, generator = Graph(), VAES[name]
    samples = points(generator)
    tiled = graph("VAEDecodeTiled", samples=latent(graph, comfy, samples), vae=as_vae(graph, name), tile_size=64,
                  overlap=32, temporal_size=64, temporal_overlap=8)  # fmt: skip
    node = keep_images(graph, tiled)
    torch.testing.assert_close(kept(comfy, comfy.run(graph), node), shown(generator.decode(samples)), **CLOSE)


@pytest.mark.parametrize("size", SIZES[:3])
def test_core_encodes_for_inpainting(comfy: Comfy, size: tuple[int, int]) -> None:
    graph = Graph()
    loaded, _ = picture(graph, comfy, size)
    mask = graph("SolidMask", value=1.0, width=size[1], height=size[0])
    nodes = {
        name: keep(graph, graph("VAEEncodeForInpaint", pixels=loaded, vae=as_vae(graph, name), mask=mask,
                                grow_mask_by=6))
        for name in VAES
    }  # fmt: skip
    run = comfy.run(graph)
    for name, generator in VAES.items():
        height, width = (side // 8 * 8 if name == "spatial" else side for side in size)
        grey = images_for(generator, torch.full((1, height, width, 3), 0.5))
        torch.testing.assert_close(kept(comfy, run, nodes[name]), generator.encode(grey).samples, rtol=0, atol=2e-3)


def test_a_gan_is_decoded_by_core(comfy: Comfy) -> None:
    graph = Graph()
    names = [EXAMPLE_GENERATOR, "example/stylegan2-digits.safetensors"]
    generators = [graph("LoadGenerator", name=name) for name in names]
    drawn = [sample(graph, each, seed=5, truncation=psi) for each, psi in zip(generators, (1.0, 0.7), strict=True)]
    vaes = [graph("GeneratorToVAE", generator=each) for each in generators]
    settings = {"tile_size": 64, "overlap": 0, "temporal_size": 64, "temporal_overlap": 8}
    nodes = [
        [
            keep_images(graph, graph("Decode", generator=generator, latent=samples)),
            keep_images(graph, graph("VAEDecode", samples=samples, vae=vae)),
            keep_images(graph, graph("VAEDecodeTiled", samples=samples, vae=vae, **settings)),
        ]
        for generator, samples, vae in zip(generators, drawn, vaes, strict=True)
    ]
    run = comfy.run(graph)
    for expected, *others in nodes:
        assert kept(comfy, run, expected).std() > 0.1
        for node in others:
            torch.testing.assert_close(kept(comfy, run, node), kept(comfy, run, expected), **CLOSE)


def test_a_label_is_for_all_that_is_decoded(comfy: Comfy) -> None:
    graph = Graph()
    samples = sample(graph, ours(graph, "classes"), seed=2, label=0)
    node = keep_images(graph, graph("VAEDecode", samples=samples, vae=as_vae(graph, "classes", label=2)))
    noise = gan_core.sample_noise(CLASSES, range(2, 6)).samples
    made = kept(comfy, comfy.run(graph), node)
    expected = [CLASSES.decode(Latent(noise, labels=torch.full((4,), label))) for label in (2, 0)]
    torch.testing.assert_close(made, shown(expected[0]), **CLOSE)
    assert differ(*(shown(images).mul(127).numpy() for images in expected))


Build = Callable[[Graph, Comfy], Output]
REFUSED: dict[str, tuple[Build, str]] = {
    "a class that nobody says": (
        lambda graph, comfy: graph(
            "VAEDecode", samples=sample(graph, ours(graph, "classes")), vae=as_vae(graph, "classes")
        ),
        "it has 3 classes, and core's nodes do not pass on which one a latent has: use Decode with the generator, or "
        "set a label on Generator to VAE.",
    ),
    "a class that there is not": (
        lambda graph, comfy: graph(
            "VAEDecode", samples=sample(graph, ours(graph, "classes")), vae=as_vae(graph, "classes", label=3)
        ),
        "it has classes 0 to 2, but no class 3.",
    ),
    "a class where there are none": (
        lambda graph, comfy: graph(
            "VAEDecode", samples=sample(graph, ours(graph, "grey")), vae=as_vae(graph, "grey", label=0)
        ),
        "it was trained without classes and takes no label.",
    ),
    "latents of another network": (
        lambda graph, comfy: graph(
            "VAEDecodeTiled", samples=sample(graph, ours(graph, "grey")), vae=as_vae(graph, "spatial"),
            tile_size=64, overlap=0, temporal_size=64, temporal_overlap=8,
        ),
        "it takes latents of shape [4, 4, 4] (got [5, 1, 1]): use Sample Noise with this generator.",
    ),
    "a generator without an encoder": (
        lambda graph, comfy: graph(
            "VAEDecode", vae=as_vae(graph, "classes", label=0),
            samples=graph(
                "VAEEncodeTiled", pixels=picture(graph, comfy, (28, 28))[0], vae=as_vae(graph, "classes"),
                tile_size=64, overlap=0, temporal_size=64, temporal_overlap=8,
            ),
        ),
        "it is a dcgan generator and has no encoder: choose a VAE.",
    ),
    "what only ComfyUI's own VAE has": (
        lambda graph, comfy: graph(
            "VAEDecode", samples=sample(graph, ours(graph, "grey")),
            vae=graph("SelectVAEDevice", vae=as_vae(graph, "grey"), device="default"),
        ),
        "This node needs a VAE's patcher, which a generator does not have: it can be decoded, encoded and saved.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_a_sentence(comfy: Comfy, kind: str) -> None:
    build, beginning = REFUSED[kind]
    graph = Graph()
    graph("PreviewImage", images=build(graph, comfy))
    sentence = comfy.error_of(graph)
    assert sentence.startswith(beginning) and is_sentence(sentence)


def test_what_core_saves_opens_in_core_and_here(comfy: Comfy) -> None:
    saving = Graph()
    for name in ("spatial", "classes"):
        saving("VAESave", vae=as_vae(saving, name), filename_prefix=f"vae/{name}")
    comfy.run(saving)
    (vae,), (gan,) = ((comfy.output / "vae").glob(f"{name}*.safetensors") for name in ("spatial", "classes"))
    shutil.copy(vae, comfy.models / "vae" / "saved.safetensors")
    gan.rename(comfy.models / "gan" / "vaes" / "saved by core.safetensors")
    graph = Graph()
    samples = points(SPATIAL, 3, 4)
    cores = graph("VAELoader", vae_name="saved.safetensors")
    mine = graph("VAEToGenerator", name="saved.safetensors")
    loaded = latent(graph, comfy, samples)
    nodes = [
        keep_images(graph, graph("VAEDecode", samples=loaded, vae=cores)),
        keep_images(graph, graph("Decode", generator=mine, latent=loaded)),
    ]
    generator = ours(graph, "saved by core")
    noise = sample(graph, generator, label=1)
    nodes.append(keep_images(graph, graph("Decode", generator=generator, latent=noise)))
    run = comfy.run(graph)
    for node, close in zip(nodes[:2], (LIKE_CORES, CLOSE), strict=True):
        torch.testing.assert_close(kept(comfy, run, node), shown(SPATIAL.decode(samples)), **close)
    expected = CLASSES.decode(gan_core.sample_noise(CLASSES, range(4), labels=1))
    torch.testing.assert_close(kept(comfy, run, nodes[2]), shown(expected), **CLOSE)


# A file of ours in core's own loader.


@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_load_vae_opens_a_file_of_ours(comfy: Comfy, size: tuple[int, int]) -> None:
    SPATIAL.save(comfy.models / "vae" / "ours.safetensors")
    graph = Graph()
    generator, vae = ours(graph, "spatial"), graph("VAELoader", vae_name="ours.safetensors")
    loaded, _ = picture(graph, comfy, size)
    encoded = [
        graph("VAEEncode", pixels=loaded, vae=vae),
        graph("EncodeWithGenerator", generator=generator, images=loaded, fit="crop"),
        graph("EncodeWithGenerator", generator=vae, images=loaded, fit="crop"),
    ]
    samples = latent(graph, comfy, points(SPATIAL, 5, 7))
    latents = [keep(graph, each) for each in encoded]
    images = [
        keep_images(graph, graph("VAEDecode", samples=samples, vae=vae)),
        keep_images(graph, graph("Decode", generator=generator, latent=samples)),
    ]
    run = comfy.run(graph)
    for row in (latents, images):
        first, *others = (kept(comfy, run, node) for node in row)
        assert first.std() > 0.1
        for other in others:
            torch.testing.assert_close(other, first, **LIKE_CORES)


# Core's files as generators.


def of_the_networks(generator: Generator, *beginnings: str) -> dict[str, Tensor]:
    return {name: each for name, each in generator.module.state_dict().items() if name.startswith(beginnings)}


def diffusers_taesd() -> dict[str, Tensor]:
    return {taesd_vae.twin(name): each for name, each in of_the_networks(SPATIAL, "taesd_").items()}


FOREIGN: dict[str, tuple[Generator, Callable[[], dict[str, Tensor]], str]] = {
    "taesd.safetensors": (SPATIAL, diffusers_taesd, "a TAESD, in a safetensors file"),
    "taesd.pt": (SPATIAL, lambda: of_the_networks(SPATIAL, "taesd_"), "a TAESD, in a state dict"),
    "kl.safetensors": (KL, lambda: of_the_networks(KL, ""), "an AutoencoderKL of diffusers, in a safetensors file"),
    "flux.sft": (KL, lambda: in_latent_diffusion(of_the_networks(KL, "")), "a VAE of Stable Diffusion, in a safeten"),
    "kl.ckpt": (
        KL,
        lambda: {
            f"first_stage_model.{name}": each for name, each in in_latent_diffusion(of_the_networks(KL, "")).items()
        },
        "a VAE of Stable Diffusion, in a state dict",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_vae_opens_as_a_generator(comfy: Comfy, name: str) -> None:
    generator, tensors, origin = FOREIGN[name]
    path = comfy.models / "vae" / name
    if path.suffix in (".safetensors", ".sft"):
        save_file({key: tensor.contiguous() for key, tensor in tensors().items()}, path)
    else:
        path.write_bytes(saved(tensors()))
    graph = Graph()
    opened = graph("VAEToGenerator", name=name)
    loaded, pixels = picture(graph, comfy, (48, 64))
    samples = graph("EncodeWithGenerator", generator=opened, images=loaded, fit="crop")
    nodes = keep(graph, samples), keep_images(graph, graph("Decode", generator=opened, latent=samples))
    run = comfy.run(graph)
    encoded = generator.encode(images_for(generator, pixels))
    torch.testing.assert_close(kept(comfy, run, nodes[0]), encoded.samples, **CLOSE)
    torch.testing.assert_close(kept(comfy, run, nodes[1]), shown(generator.decode(encoded)), **CLOSE)
    line = comfy.texts(run, opened)[-1]
    assert line.startswith(f"{Path(name).stem}: {generator.architecture.name}, 512x512x3\n{origin}")


def test_a_tuned_decoder_opens_in_core_and_keeps_its_latents(comfy: Comfy) -> None:
    save_file(diffusers_taesd(), comfy.models / "vae" / "before.safetensors")
    folder = folder_of_pictures(comfy, "to tune with", count=16)
    training = Graph()
    tuned = training(
        "TrainVAE", dataset=load_folder(training, folder), preset="finetune_decoder", kimg=0.008, minutes=10.0,
        batch_size=8, learning_rate=0.001, reconstruction="preset", beta=-1.0, latent_channels=0, seed=0,
        run_name="tuned", resume=False, start=training("VAEToGenerator", name="before.safetensors"),
    )  # fmt: skip
    written = training("SaveGenerator", generator=tuned, filename_prefix="tuned")
    path = comfy.output.parent / comfy.run(training).outputs[written.node]["text"][0]
    shutil.copy(path, comfy.models / "vae" / "after.safetensors")
    generator = gan_core.load(path)
    assert generator.card.title == "tuned"
    graph = Graph()
    vae = graph("VAELoader", vae_name="after.safetensors")
    loaded, pixels = picture(graph, comfy, (48, 64))
    samples = points(SPATIAL, 5, 7)
    nodes = [
        keep(graph, graph("VAEEncode", pixels=loaded, vae=vae)),
        keep_images(graph, graph("VAEDecode", samples=latent(graph, comfy, samples), vae=vae)),
    ]
    run = comfy.run(graph)
    encoded, decoded = (kept(comfy, run, node) for node in nodes)
    torch.testing.assert_close(encoded, SPATIAL.encode(images_for(SPATIAL, pixels)).samples, **LIKE_CORES)
    torch.testing.assert_close(decoded, shown(generator.decode(samples)), **LIKE_CORES)
    assert (decoded - shown(SPATIAL.decode(samples))).abs().max() > 1e-3


def test_what_is_no_vae_known_here_is_named(comfy: Comfy) -> None:
    save_file({"decoder.conv_in.weight": torch.ones(1)}, comfy.models / "vae" / "other.safetensors")
    (comfy.models / "vae" / "other.ckpt").write_bytes(saved({"encoder.conv_in.weight": torch.ones(1)}))
    for name, kind in [
        ("other.safetensors", "a VAE of another program (it has"),
        ("other.ckpt", "a VAE of another kind"),
    ]:
        graph = Graph()
        opened = graph("VAEToGenerator", name=name)
        decode(graph, opened, sample(graph, opened))
        sentence = comfy.error_of(graph)
        assert sentence.startswith(f"{name} is {kind}") and is_sentence(sentence)


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "../gan/vaes/grey.safetensors", "notes.txt", ""]
)
def test_a_name_that_is_not_offered_is_refused(comfy: Comfy, name: str) -> None:
    (comfy.models / "vae" / "notes.txt").write_text("no VAE")
    graph = Graph()
    opened = graph("VAEToGenerator", name=name)
    decode(graph, opened, sample(graph, opened))
    assert f'There is no VAE "{name}" in models' in comfy.refusal_of(graph)

    # ComfyUI does not check a name that comes over a link.
    text = graph("PrimitiveString", value=name)
    switch = graph("ComfySwitchNode", switch=True, on_true=text, on_false=text)
    graph.prompt[opened.node]["inputs"]["name"] = [switch.node, 0]
    assert comfy.error_of(graph) == f'There is no VAE "{name}" in models/vae. Press R to refresh the list.'


def test_a_link_to_a_file_elsewhere_opens(comfy: Comfy) -> None:
    path = SPATIAL.save(comfy.base / "elsewhere.safetensors")
    (comfy.models / "vae" / "link.safetensors").symlink_to(path)
    graph = Graph()
    opened = graph("VAEToGenerator", name="link.safetensors")
    decode(graph, opened, sample(graph, opened))
    assert comfy.texts(comfy.run(graph), opened)[-1].startswith("it: taesd_vae, 28x28x3")
