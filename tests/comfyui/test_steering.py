"""Steering on a real server: walks, mixes, directions and projections, and core's latent nodes between them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from comfyui_graphs import EXAMPLE_GENERATOR, decode, differ, is_sentence, pictures, sample
from comfyui_server import Comfy, Graph, Output
from safetensors.torch import save_file
from stylegan2_networks import SMALL, generator_of
from torch import Tensor

import gan_core
from gan_core import Generator, Latent, sample_noise
from gan_core.architectures.stylegan2 import StyleGAN2Config
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.sampling import directions as steering
from gan_core.sampling.mixing import mix_grid, mix_styles, truncate
from gan_core.sampling.spaces import to_styles
from gan_core.sampling.walks import walk

CONDITIONAL = StyleGAN2Config(**{**vars(SMALL), "classes": 3})


@pytest.fixture(scope="module")
def digits() -> Generator:
    return gan_core.load(EXAMPLES / "digits.safetensors")


@pytest.fixture(scope="module")
def styled(comfy: Comfy) -> Generator:
    """A style-based generator, which the server knows as styled.safetensors."""
    (comfy.models / "gan").mkdir(exist_ok=True)
    return gan_core.load(generator_of(SMALL).save(comfy.models / "gan" / "styled.safetensors"))


@pytest.fixture(scope="module")
def conditional(comfy: Comfy) -> Generator:
    """One with three classes, which the server knows as conditional.safetensors."""
    (comfy.models / "gan").mkdir(exist_ok=True)
    return gan_core.load(generator_of(CONDITIONAL).save(comfy.models / "gan" / "conditional.safetensors"))


STYLED, WITH_CLASSES = "styled.safetensors", "conditional.safetensors"


def drawn(generator: Generator, latent: Latent) -> np.ndarray:
    """What gan_core makes of latents by itself, as int [N, H, W, 3] by core's rule for 8 bits."""
    images = generator.decode(latent).add(1).div(2).clamp(0, 1)
    return (images.expand(-1, 3, -1, -1).movedim(1, -1) * 255).long().numpy()


def walked(graph: Graph, generator: Output, **changes: object) -> Output:
    settings = {
        "seeds": "3, 17-18",
        "frames": 4,
        "interpolation": "spherical",
        "closed": True,
        "space": "auto",
        **changes,
    }
    return graph("GANLatentWalk", generator=generator, **settings)


# Walks, mixes, truncation, seeds.


def test_a_walk_is_the_one_that_gan_core_makes(comfy: Comfy, digits: Generator, styled: Generator) -> None:
    graph = Graph()
    shown = []
    for name in (EXAMPLE_GENERATOR, STYLED):
        generator = graph("LoadGenerator", name=name)
        shown.append(decode(graph, generator, walked(graph, generator, interpolation="spline")))
        stops = sample(graph, generator, seed=5, batch_size=3)
        shown.append(decode(graph, generator, walked(graph, generator, latent=stops, closed=False, space="z")))
    run = comfy.run(graph)
    for place, generator in enumerate((digits, styled)):
        by_seeds = walk(generator, sample_noise(generator, [3, 17, 18]), 4, "spline")
        by_latents = walk(generator, sample_noise(generator, [5, 6, 7]), 4, closed=False, space="z")
        assert not differ(pictures(comfy, run, shown[2 * place]), drawn(generator, by_seeds))
        assert not differ(pictures(comfy, run, shown[2 * place + 1]), drawn(generator, by_latents))


def test_a_walk_between_classes_decodes(comfy: Comfy, conditional: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=WITH_CLASSES)
    shown = decode(graph, generator, walked(graph, generator, space="z"))
    part = graph("LatentFromBatch", samples=walked(graph, generator, space="z"), batch_index=5, length=3)
    cut = decode(graph, generator, part)
    run = comfy.run(graph)
    expected = drawn(conditional, walk(conditional, sample_noise(conditional, [3, 17, 18]), 4, space="z"))
    assert not differ(pictures(comfy, run, shown), expected)
    assert not differ(pictures(comfy, run, cut), expected[5:8])


def test_a_walk_becomes_a_video(comfy: Comfy) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    frames = graph("Decode", generator=generator, latent=walked(graph, generator))
    larger = graph("ImageScale", image=frames, upscale_method="nearest-exact", width=112, height=112, crop="disabled")
    video = graph("CreateVideo", images=larger, fps=12.0)
    saved = graph("SaveVideo", video=video, filename_prefix="loop", **{"format": "mp4", "format.codec": "h264"})
    (where,) = comfy.run(graph).outputs[saved.node]["images"]
    assert (comfy.output / where["subfolder"] / where["filename"]).stat().st_size > 1000


def test_styles_are_mixed_in_pairs_and_in_grids(comfy: Comfy, styled: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    a, b = sample(graph, generator, seed=0, batch_size=2), sample(graph, generator, seed=10, batch_size=3)
    settings = {"generator": generator, "latent": a, "styles": b, "layers": "2-4"}
    pairs = {**settings, "styles": sample(graph, generator, seed=10, batch_size=2), "mixing": "pairs"}
    shown = [decode(graph, generator, graph("MixGANStyles", **pairs))]
    shown += [
        decode(graph, generator, graph("MixGANStyles", **settings, mixing=mixing))
        for mixing in ("grid", "grid with sources")
    ]
    run = comfy.run(graph)
    rows, columns = sample_noise(styled, [0, 1]), sample_noise(styled, [10, 11, 12])
    expected = [mix_styles(styled, rows, columns[:2], 2, 4), mix_grid(styled, rows, columns, 2, 4)]
    expected.append(mix_grid(styled, rows, columns, 2, 4, sources=True))
    for node, latent in zip(shown, expected, strict=True):
        assert not differ(pictures(comfy, run, node), drawn(styled, latent))


def test_latents_are_drawn_towards_a_character(comfy: Comfy, digits: Generator, styled: Generator) -> None:
    graph = Graph()
    shown = []
    for name in (EXAMPLE_GENERATOR, STYLED):
        generator = graph("LoadGenerator", name=name)
        settings = {"generator": generator, "latent": sample(graph, generator), "truncation": 0.4}
        shown.append(decode(graph, generator, graph("TruncateLatent", **settings)))
        character = sample(graph, generator, seed=9, batch_size=1)
        shown.append(decode(graph, generator, graph("TruncateLatent", **settings, target=character)))
    run = comfy.run(graph)
    for place, generator in enumerate((digits, styled)):
        noise, character = sample_noise(generator, range(4)), sample_noise(generator, [9])
        expected = [truncate(generator, noise, 0.4), truncate(generator, noise, 0.4, target=character)]
        for node, latent in zip(shown[2 * place :], expected, strict=False):
            assert not differ(pictures(comfy, run, node), drawn(generator, latent))


def test_a_seed_grid_shows_and_gives_the_seeds_that_are_written(comfy: Comfy, digits: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    grid = graph("GANSeedGrid", generator=generator, seeds="3, 17, 40-42", truncation=1.0, columns=3, cell_size=112)
    sheet, batch = graph("PreviewImage", images=grid), decode(graph, generator, grid[1])
    run = comfy.run(graph)
    latent = sample_noise(digits, [3, 17, 40, 41, 42])
    assert not differ(pictures(comfy, run, batch), drawn(digits, latent))
    (picture,) = pictures(comfy, run, sheet)
    expected = gan_core.media.image.contact_sheet(digits.decode(latent), ["3", "17", "40", "41", "42"], 3, 112)
    assert picture.shape[:2] == (expected.height, expected.width)
    assert np.abs(picture - np.asarray(expected, np.int64)).mean() < 1


@pytest.mark.parametrize(
    ("name", "node", "inputs", "sentence"),
    [
        (EXAMPLE_GENERATOR, "GANLatentWalk", {"seeds": "7"}, "A walk needs at least two stops"),
        (EXAMPLE_GENERATOR, "GANLatentWalk", {"seeds": "a"}, "Seeds are written like"),
        (EXAMPLE_GENERATOR, "GANLatentWalk", {"space": "w"}, "has no style space w"),
        (EXAMPLE_GENERATOR, "MixGANStyles", {}, "has no style layers: walk or blend"),
        (STYLED, "MixGANStyles", {"layers": "50-last"}, "has style layers 0 to 5"),
        (EXAMPLE_GENERATOR, "TruncateLatent", {"cutoff": 2}, "without styles: leave cutoff out"),
        (EXAMPLE_GENERATOR, "GANSeedGrid", {"seeds": "0-2000"}, "at most 1024 images"),
        (EXAMPLE_GENERATOR, "FindLatentDirections", {"method": "pca"}, "and has no styles w"),
        (EXAMPLE_GENERATOR, "FindLatentDirections", {"method": "boundary"}, "A boundary needs latents"),
        (EXAMPLE_GENERATOR, "ProjectImageToLatent", {"space": "w"}, "set space to z"),
    ],
)
def test_what_a_generator_cannot_do_is_a_sentence(
    comfy: Comfy, styled: Generator, name: str, node: str, inputs: dict, sentence: str
) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=name)
    defaults = {
        "GANLatentWalk": lambda: {
            "seeds": "0-3", "frames": 2, "interpolation": "linear", "closed": True, "space": "auto",
        },
        "MixGANStyles": lambda: {
            "latent": sample(graph, generator), "styles": sample(graph, generator),
            "layers": "all", "mixing": "pairs",
        },
        "TruncateLatent": lambda: {"latent": sample(graph, generator), "truncation": 0.5},
        "GANSeedGrid": lambda: {"seeds": "0", "truncation": 1.0, "cell_size": 64},
        "FindLatentDirections": lambda: FIND,
        "ProjectImageToLatent": lambda: {
            **PROJECT, "images": graph("Decode", generator=generator, latent=sample(graph, generator)),
        },
    }  # fmt: skip
    made = graph(node, generator=generator, **{**defaults[node](), **inputs})
    if node == "GANSeedGrid":
        graph("PreviewImage", images=made)
    elif node == "FindLatentDirections":
        graph("SaveLatentDirections", directions=made, filename_prefix="never")
    else:
        decode(graph, generator, made)
    told = comfy.error_of(graph)
    assert sentence in told and is_sentence(told)


# Directions.

FIND = {"method": "sefa", "count": 4, "layers": "all", "samples": 500, "name": "smile"}
APPLY = {"direction": "1", "strength": 2.0}


@pytest.mark.parametrize("name", [EXAMPLE_GENERATOR, STYLED])
@pytest.mark.parametrize("method", ["sefa", "pca", "boundary"])
def test_directions_are_found_and_followed(
    comfy: Comfy, digits: Generator, styled: Generator, name: str, method: str
) -> None:
    core = digits if name == EXAMPLE_GENERATOR else styled
    if method == "pca" and core is digits:
        return  # which is refused, and tested above
    graph = Graph()
    generator = graph("LoadGenerator", name=name)
    sets = {"positive": sample(graph, generator, seed=20), "negative": sample(graph, generator, seed=30)}
    found = graph(
        "FindLatentDirections",
        generator=generator,
        **{**FIND, "method": method},
        **(sets if method == "boundary" else {}),
    )
    which = "smile" if method == "boundary" else f"{method} 1"
    apply = {**APPLY, "direction": which, "generator": generator, "directions": found}
    shown = decode(graph, generator, graph("ApplyLatentDirection", latent=sample(graph, generator), **apply))
    expected = {
        "sefa": lambda: steering.sefa(core, 4),
        "pca": lambda: steering.pca(core, 4, 500),
        "boundary": lambda: steering.boundary(
            core, sample_noise(core, range(20, 24)), sample_noise(core, range(30, 34)), "smile"
        ),
    }[method]()
    moved = steering.move(core, sample_noise(core, range(4)), expected, which, 2.0)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(core, moved))


def test_labels_give_a_direction_to_each_class(comfy: Comfy, conditional: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=WITH_CLASSES)
    noise = sample(graph, generator, batch_size=60)
    found = graph("FindLatentDirections", generator=generator, **{**FIND, "method": "boundary"}, positive=noise)
    apply = {**APPLY, "direction": "class 2", "generator": generator, "directions": found}
    shown = decode(graph, generator, graph("ApplyLatentDirection", latent=sample(graph, generator), **apply))
    expected = steering.class_boundaries(conditional, sample_noise(conditional, range(60)))
    moved = steering.move(conditional, sample_noise(conditional, range(4)), expected, "class 2", 2.0)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(conditional, moved))


def test_directions_are_saved_and_come_back(comfy: Comfy, styled: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    found = graph("FindLatentDirections", generator=generator, **FIND)
    saved = graph("SaveLatentDirections", directions=found, filename_prefix="mine/edits")
    (shown,) = comfy.run(graph).outputs[saved.node]["text"]
    assert shown == "output/gan_directions/mine/edits_00001_.safetensors"
    assert steering.load(comfy.output / "gan_directions/mine/edits_00001_.safetensors").belong_to(styled)
    info = comfy.node_info()
    assert "mine/edits_00001_.safetensors" in info["LoadLatentDirections"]["input"]["required"]["name"][1]["options"]
    assert not any("edits" in name for name in info["LoadGenerator"]["input"]["required"]["name"][1]["options"])

    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    back = graph("LoadLatentDirections", name="mine/edits_00001_.safetensors")
    apply = {**APPLY, "generator": generator, "directions": back}
    moved = graph("ApplyLatentDirection", latent=sample(graph, generator), **apply)
    node = decode(graph, generator, moved)
    run = comfy.run(graph)
    expected = steering.move(styled, sample_noise(styled, range(4)), steering.sefa(styled, 4), "1", 2.0)
    assert not differ(pictures(comfy, run, node), drawn(styled, expected))
    assert comfy.texts(run, moved) == []


def test_directions_of_another_generator_are_told(comfy: Comfy, styled: Generator, conditional: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    found = graph("FindLatentDirections", generator=graph("LoadGenerator", name=WITH_CLASSES), **FIND)
    apply = {**APPLY, "generator": generator, "directions": found}
    moved = graph("ApplyLatentDirection", latent=sample(graph, generator), **apply)
    decode(graph, generator, moved)
    assert comfy.texts(comfy.run(graph), moved) == ["these were found in another generator: conditional"]


@pytest.mark.parametrize("prefix", ["../../x", "/etc/x", "", ".", "x/", "a/../../../b"])
def test_directions_are_saved_nowhere_else(comfy: Comfy, prefix: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    found = graph("FindLatentDirections", generator=generator, **FIND)
    graph("SaveLatentDirections", directions=found, filename_prefix=prefix)
    assert f'"{prefix}" ' in comfy.refusal_of(graph)


@pytest.mark.parametrize("name", ["../../gan/x.safetensors", "/etc/passwd", "nothing.safetensors"])
def test_directions_are_loaded_from_nowhere_else(comfy: Comfy, name: str) -> None:
    graph = Graph()
    graph("SaveLatentDirections", directions=graph("LoadLatentDirections", name=name), filename_prefix="x")
    assert f'There are no directions "{name}" in models' in comfy.refusal_of(graph)


def test_a_direction_grid_is_one_picture_with_all_strengths(comfy: Comfy, styled: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    found = graph("FindLatentDirections", generator=generator, **FIND)
    point = sample(graph, generator, seed=7, batch_size=2)
    settings = {"rows": 3, "columns": 5, "strength": 2.0, "cell_size": 64}
    grid = graph("LatentDirectionGrid", generator=generator, latent=point, directions=found, **settings)
    shown = graph("PreviewImage", images=grid)
    (picture,) = pictures(comfy, comfy.run(graph), shown)
    core = steering.sefa(styled, 4)
    noise = Latent(sample_noise(styled, [7]).samples.expand(5, -1, -1, -1))
    rows = [styled.decode(steering.move(styled, noise, core, str(i), [-2, -1, 0, 1, 2])) for i in (1, 2, 3)]
    expected = gan_core.media.image.table(torch.cat(rows), core.names[:3], ["-2", "-1", "0", "+1", "+2"], 64)
    assert picture.shape[:2] == (expected.height, expected.width)
    assert np.abs(picture - np.asarray(expected, np.int64)).mean() < 1


# Projection.

PROJECT = {
    "space": "auto", "steps": 40, "seed": 0, "candidates": 32, "fit": "crop", "tuning_steps": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", [EXAMPLE_GENERATOR, STYLED])
def test_a_picture_is_found_and_the_latent_is_shown(
    comfy: Comfy, digits: Generator, styled: Generator, name: str
) -> None:
    core = digits if name == EXAMPLE_GENERATOR else styled
    graph = Graph()
    generator = graph("LoadGenerator", name=name)
    target = graph("Decode", generator=generator, latent=sample(graph, generator, seed=500, batch_size=2))
    found = graph("ProjectImageToLatent", generator=generator, images=target, **PROJECT)
    shown, made = graph("PreviewImage", images=found[1]), decode(graph, generator, found)
    same = decode(graph, found[2], found)
    run = comfy.run(graph)
    expected = drawn(core, sample_noise(core, [500, 501]))
    assert np.abs(pictures(comfy, run, shown) - expected).mean() < 16
    assert not differ(pictures(comfy, run, made), pictures(comfy, run, shown))
    assert not differ(pictures(comfy, run, same), pictures(comfy, run, shown))
    assert [node for node, _ in run.previews] and all(node == found.node for node, _ in run.previews)
    assert "PSNR" in comfy.texts(run, found)[-1]
    again = comfy.run(changed(graph, found, candidates=32))
    assert found.node in again.cached


def changed(graph: Graph, node: Output, **inputs: object) -> Graph:
    graph.prompt[node.node]["inputs"] |= inputs
    return graph


def test_tuning_gives_a_new_generator_and_leaves_the_loaded_one(comfy: Comfy, digits: Generator) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    target = graph(
        "ImageInvert", image=graph("Decode", generator=generator, latent=sample(graph, generator, batch_size=1))
    )
    settings = {**PROJECT, "tuning_steps": 30}
    found = graph("ProjectImageToLatent", generator=generator, images=target, **settings)
    untuned, tuned = decode(graph, generator, found), decode(graph, found[2], found)
    loaded = decode(graph, generator, sample(graph, generator, seed=3))
    graph("SaveGenerator", generator=found[2], filename_prefix="tuned")
    wanted = graph("PreviewImage", images=target)
    run = comfy.run(graph)
    goal = pictures(comfy, run, wanted)
    before, after = (np.square(pictures(comfy, run, node) - goal).mean() for node in (untuned, tuned))
    assert after < before
    assert not differ(pictures(comfy, run, loaded), drawn(digits, sample_noise(digits, range(3, 7))))


def test_a_projection_stops_at_once(comfy: Comfy) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    target = graph("Decode", generator=generator, latent=sample(graph, generator, seed=77, batch_size=1))
    found = graph("ProjectImageToLatent", generator=generator, images=target, **{**PROJECT, "steps": 100_000})
    decode(graph, generator, found)
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: bool(run.previews))
    comfy.interrupt()
    assert comfy.finish(run).state == "interrupted"


# Core's latent nodes in between: a and b are batches of four, in each space.

Between = Callable[[Graph, Output, Output], Output]
BETWEEN: dict[str, tuple[Between, Callable[[Tensor, Tensor], Tensor]]] = {
    "LatentBlend": (
        lambda graph, a, b: graph("LatentBlend", samples1=a, samples2=b, blend_factor=0.25),
        lambda a, b: 0.25 * a + 0.75 * b,
    ),
    "LatentAdd": (lambda graph, a, b: graph("LatentAdd", samples1=a, samples2=b), lambda a, b: a + b),
    "LatentSubtract": (lambda graph, a, b: graph("LatentSubtract", samples1=a, samples2=b), lambda a, b: a - b),
    "LatentMultiply": (lambda graph, a, b: graph("LatentMultiply", samples=a, multiplier=0.5), lambda a, b: 0.5 * a),
    "LatentBatch": (lambda graph, a, b: graph("LatentBatch", samples1=a, samples2=b), lambda a, b: torch.cat([a, b])),
    "LatentFromBatch": (
        lambda graph, a, b: graph("LatentFromBatch", samples=a, batch_index=1, length=2),
        lambda a, b: a[1:3],
    ),
    "RepeatLatentBatch": (
        lambda graph, a, b: graph("RepeatLatentBatch", samples=a, amount=2),
        lambda a, b: torch.cat([a, a]),
    ),
}
SPACES = {
    "z": lambda generator, latent: latent,
    "w": to_styles,
    "w+": lambda generator, latent: to_styles(generator, latent, 0.5, 2),
}


def in_space(graph: Graph, generator: Output, latent: Output, space: str) -> Output:
    if space == "z":
        return latent
    settings = {"w": {"truncation": 1.0}, "w+": {"truncation": 0.5, "cutoff": 2}}[space]
    return graph("MapLatent", generator=generator, latent=latent, **settings)


@pytest.mark.parametrize("labels", [False, True], ids=["no labels", "labels"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("node", BETWEEN)
def test_core_nodes_work_in_every_space(
    comfy: Comfy, styled: Generator, conditional: Generator, node: str, space: str, labels: bool
) -> None:
    build, compute = BETWEEN[node]
    core = conditional if labels else styled
    graph = Graph()
    generator = graph("LoadGenerator", name=WITH_CLASSES if labels else STYLED)
    ours = [in_space(graph, generator, sample(graph, generator, seed=seed), space) for seed in (0, 10)]
    between = build(graph, *ours)
    after = graph("TruncateLatent", generator=generator, latent=between, truncation=0.8)
    if labels and space == "z" and node == "LatentBatch":  # whose labels core drops
        decode(graph, generator, after)
        assert is_sentence(comfy.error_of(graph))
        return
    shown = decode(graph, generator, after)
    a, b = (SPACES[space](core, sample_noise(core, range(seed, seed + 4))) for seed in (0, 10))
    kept = None
    if labels and space == "z":
        kept = {"LatentFromBatch": a.labels[1:3], "RepeatLatentBatch": torch.cat([a.labels] * 2)}.get(node, a.labels)
    expected = truncate(core, Latent(compute(a.samples, b.samples), a.space, kept), 0.8)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(core, expected))


@pytest.mark.parametrize("space", SPACES)
def test_saved_latents_come_back_in_every_space(comfy: Comfy, styled: Generator, space: str) -> None:
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    latent = in_space(graph, generator, sample(graph, generator, seed=5), space)
    saved = graph("SaveLatent", samples=latent, filename_prefix=f"in {space}")
    file = comfy.run(graph).outputs[saved.node]["latents"][0]
    graph = Graph()
    generator = graph("LoadGenerator", name=STYLED)
    points = graph("LoadLatent", latent=f"{file['filename']} [output]")
    shown = decode(graph, generator, walked(graph, generator, latent=points, frames=2))
    expected = walk(styled, SPACES[space](styled, sample_noise(styled, range(5, 9))), 2)
    assert not differ(pictures(comfy, comfy.run(graph), shown), drawn(styled, expected))


def test_a_file_of_directions_from_a_stranger_is_read_as_data(comfy: Comfy) -> None:
    folder = comfy.clear(comfy.models / "gan_directions")
    save_file({"vectors": torch.zeros(1, 1)}, folder / "odd.safetensors", {"gan_core.directions_version": "1"})
    graph = Graph()
    graph("SaveLatentDirections", directions=graph("LoadLatentDirections", name="odd.safetensors"), filename_prefix="x")
    assert "odd.safetensors is damaged" in comfy.error_of(graph)
