"""Directions: found as the papers say, followed exactly, and kept in files that say whose they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from stylegan2_networks import SMALL, generator_of

from gan_core import Card, Generator, InputError, Latent, architectures, sample_noise
from gan_core.architectures.dcgan import DCGANConfig
from gan_core.architectures.fastgan import FastGANConfig
from gan_core.architectures.lightweight_gan import LightweightGANConfig
from gan_core.architectures.r3gan import R3GANConfig
from gan_core.architectures.stylegan3 import StyleGAN3Config, StyleGAN3Generator
from gan_core.sampling import directions as of
from gan_core.sampling.directions import Directions
from gan_core.sampling.spaces import to_styles

LAST = SMALL.num_ws - 1
CONDITIONAL = replace(SMALL, classes=3)


@pytest.fixture(scope="module")
def styled():
    return generator_of(SMALL)


@pytest.fixture(scope="module")
def conditional():
    return generator_of(CONDITIONAL)


def assert_same_lines(found, expected):
    """Unit vectors that are the same but for their sign."""
    torch.testing.assert_close((found * expected).sum(1).abs(), torch.ones(len(found)), rtol=0, atol=1e-5)


# SeFa.


@pytest.mark.parametrize(("first", "last"), [(0, None), (0, 1), (2, 4), (LAST, LAST)])
def test_sefa_is_the_eigen_decomposition_of_the_layers_weights(styled, first, last):
    found = of.sefa(styled, 4, first, last)
    names = ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1", "b16.torgb"]
    assert len(names) == SMALL.num_ws
    state = styled.module.synthesis.state_dict()
    chosen = names[first : None if last is None else last + 1]
    a = np.concatenate([state[f"{name}.affine.weight"].double() for name in chosen]) / np.sqrt(SMALL.w_dim)
    values, vectors = np.linalg.eig(a.T @ a)  # a general one, where ours is for symmetric matrices
    order = np.argsort(-values.real)[:4]
    assert_same_lines(found.vectors, torch.from_numpy(vectors.real[:, order].T.copy()).float())
    np.testing.assert_allclose(found.strengths, np.sqrt(values.real[order]), rtol=1e-4)
    assert found.layers == (first, LAST if last is None else last)


def test_each_layer_has_the_weights_that_its_style_meets(styled):
    """A style that lies in the null space of its layer's weights changes nothing, and others do."""
    for layer in range(SMALL.num_ws):
        weights = of._weights(of._affines(styled)[layer])
        style = torch.zeros(1, SMALL.w_dim, SMALL.num_ws, 1)
        before = of._affines(styled)[layer](style[:, :, layer, 0])
        style[0, :, layer, 0] = torch.randn(SMALL.w_dim)
        met = []
        hook = of._affines(styled)[layer].register_forward_hook(lambda module, inputs, out, met=met: met.append(out))
        styled.decode(Latent(style, "w+"))
        hook.remove()
        torch.testing.assert_close(met[0] - before, style[:, :, layer, 0] @ weights)


def test_the_layers_of_a_stylegan3_meet_their_styles_in_order():
    config = StyleGAN3Config(16, 3, widths=(6, 6, 4), latent_size=5, w_dim=7)
    module = StyleGAN3Generator(config).eval().requires_grad_(False)
    generator = Generator(architectures.by_name("stylegan3"), config, module)
    layers = of._affines(generator)
    assert len(layers) == generator.style_shape[1]
    styles = sample_noise(generator, range(len(layers))).samples[:, :1, 0, 0] * torch.arange(7)  # [num_ws, 7]
    met = []

    def look(module, inputs):
        met.append((module, inputs[0]))

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    generator.decode(Latent(styles.T[None, :, :, None], "w+"))
    for hook in hooks:
        hook.remove()
    for layer, style in zip(layers, styles, strict=True):
        assert [torch.equal(inputs[0], style) for module, inputs in met if module is layer] == [True]
    assert len(of.sefa(generator, 3, 1, 2)) == 3


NETWORKS = {
    "dcgan": DCGANConfig(16, 1, latent_size=6, width=2),
    "dcgan with classes": DCGANConfig(16, 1, latent_size=6, width=2, classes=3),
    "r3gan": R3GANConfig(16, 3, (4, 6, 8), (2, 3, 1), (1, 2, 1), classes=3, latent_size=5, embedding=2),
    "fastgan": FastGANConfig(64, 3, (4, 4, 3, 3, 2), (2, 1, 2, 1), classes=3, latent_size=5),
    "lightweight_gan": LightweightGANConfig(128, 3, (6, 6, 4, 4, 3), latent_size=5, attention=(8,), design=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_sefa_of_a_generator_without_styles_is_of_its_first_layer(name):
    architecture, config = architectures.by_name(name.split()[0]), NETWORKS[name]
    generator = Generator(architecture, config, architecture.generator(config).eval().requires_grad_(False))
    found = of.sefa(generator, 4)
    weight = generator.module.project.weight.double()
    a = weight[:, : config.latent_size] if weight.ndim == 2 else weight.flatten(1).T
    _, values, vectors = torch.linalg.svd(a)
    assert_same_lines(found.vectors, vectors[:4].float())
    torch.testing.assert_close(found.strengths, values[:4].float())
    assert found.space == "z" and found.layers is None
    assert (found.deviations == 1).all()


# Principal components.


def test_components_are_those_of_a_reference(styled):
    found = of.pca(styled, 4, samples=300, seed=5)
    z = np.random.RandomState(5).randn(300, SMALL.latent_size).astype(np.float32)
    w = styled.module.mapping(torch.from_numpy(z)).double().numpy()
    _, values, vectors = np.linalg.svd(w - w.mean(0), full_matrices=False)
    assert_same_lines(found.vectors, torch.from_numpy(vectors[:4]).float())
    np.testing.assert_allclose(found.strengths, (values**2 / (values**2).sum())[:4], rtol=1e-4)
    np.testing.assert_allclose(found.deviations, (values / np.sqrt(299))[:4], rtol=1e-4)
    _, _, library = torch.pca_lowrank(torch.from_numpy(w), q=SMALL.w_dim)
    assert_same_lines(found.vectors, library[:, :4].T.float())


def test_directions_are_at_right_angles_and_the_same_every_time(styled, conditional):
    for generator in (styled, conditional):
        for find in (of.sefa, of.pca):
            found = find(generator, 100)
            assert len(found) == SMALL.w_dim  # as many as there can be
            torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(SMALL.w_dim), rtol=0, atol=1e-5)
            assert torch.equal(find(generator, 100).vectors, found.vectors)
            assert (found.strengths[:-1] >= found.strengths[1:]).all()


def test_components_need_styles(new_generator):
    with pytest.raises(InputError, match=r"and has no styles w: choose sefa"):
        of.pca(new_generator())


def test_as_many_are_found_as_are_asked_for(styled):
    for find in (of.sefa, of.pca):
        assert [len(find(styled, count)) for count in (1, 2, SMALL.w_dim, SMALL.w_dim + 1)] == [1, 2, 7, 7]
        with pytest.raises(InputError, match=r"count must be at least 1 \(got 0\)"):
            find(styled, 0)
    assert of.sefa(styled, 3).names == ("sefa 1", "sefa 2", "sefa 3")
    assert of.pca(styled, 2).names == ("pca 1", "pca 2")
    assert (of.sefa(styled).method, of.pca(styled).method) == ("sefa", "pca")
    assert of.pca(styled).layers is None


def test_components_are_found_of_two_styles_or_more_but_not_of_any_number(styled, monkeypatch):
    assert of.pca(styled, 1, samples=2).strengths.tolist() == pytest.approx([1])
    for samples in (1, 100_001):
        with pytest.raises(InputError, match=rf"samples must be 2 to 100,000 \(got {samples}\)"):
            of.pca(styled, samples=samples)
    monkeypatch.setattr(of, "MAX_SAMPLES", 300)  # so that the greatest number is drawn in a moment
    of.pca(styled, samples=300)
    with pytest.raises(InputError, match=r"\(got 301\)"):
        of.pca(styled, samples=301)


@pytest.mark.parametrize("find", [of.sefa, of.pca])
def test_the_largest_number_of_a_direction_that_was_computed_is_above_zero(styled, find):
    """An eigenvector has two signs: the one that is kept is the same on every machine."""
    vectors = find(styled, SMALL.w_dim).vectors
    assert (vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(SMALL.w_dim))


def styles_drawn_for_deviations(generator):
    """[1024, w_dim] in float64: z, and then labels, from the stream of the seed 0."""
    stream = np.random.RandomState(0)
    z = torch.from_numpy(stream.randn(1024, SMALL.latent_size).astype(np.float32))
    labels = torch.from_numpy(stream.randint(generator.classes, size=1024)) if generator.classes else None
    return generator.module.mapping(z, labels).double()


@pytest.mark.parametrize("kind", ["styled", "conditional"])
def test_deviations_are_those_of_the_generators_own_styles_with_labels_of_all_classes(request, kind):
    generator = request.getfixturevalue(kind)
    w = styles_drawn_for_deviations(generator)
    found = of.sefa(generator, 3)
    expected = (w @ found.vectors.double().T).std(0)
    torch.testing.assert_close(found.deviations.double(), expected, rtol=1e-5, atol=0)


def test_components_of_a_generator_with_classes_are_of_styles_of_all_classes(conditional):
    found = of.pca(conditional, 3, samples=1024, seed=0)
    w = styles_drawn_for_deviations(conditional)
    expected = (w @ found.vectors.double().T).std(0)
    torch.testing.assert_close(found.deviations.double(), expected, rtol=1e-4, atol=0)


# Boundaries.


def fisher(x, y):
    """Fisher's discriminant of two sets, with its covariance drawn to a multiple of the identity, and its own side."""
    x, y = x.double().numpy(), y.double().numpy()
    inner = np.concatenate([x - x.mean(0), y - y.mean(0)])
    count, size = inner.shape
    covariance = inner.T @ inner / max(1, count - 2)
    share = size / (size + count)
    mixed = (1 - share) * covariance + share * np.trace(covariance) / size * np.eye(size)
    normal = np.linalg.solve(mixed, x.mean(0) - y.mean(0))
    middle = (x.mean(0) + y.mean(0)) @ normal / 2
    right = np.mean(np.concatenate([x @ normal > middle, y @ normal < middle]))
    return torch.from_numpy(normal / np.linalg.norm(normal)).float(), right


def test_a_boundary_is_fishers_discriminant_from_the_negative_to_the_positive(new_generator):
    generator = new_generator(latent_size=3)
    points = sample_noise(generator, range(11)).samples
    points[:4, 0] += 1.0
    found = of.boundary(generator, Latent(points[:4]), Latent(points[4:]), "smile")
    normal, right = fisher(points[:4].flatten(1), points[4:].flatten(1))
    torch.testing.assert_close(found.vectors[0], normal)
    assert found.strengths.tolist() == pytest.approx([right])
    assert 0.5 < right < 1  # so that the share says something
    assert (found.method, found.layers, found.space) == ("boundary", None, "z")
    back = of.boundary(generator, Latent(points[4:]), Latent(points[:4]))
    torch.testing.assert_close(back.vectors[0], -normal)


def test_a_boundary_of_styles_is_found_in_w(styled):
    positive, negative = sample_noise(styled, range(9)), sample_noise(styled, range(20, 32))
    found = of.boundary(styled, positive, negative)
    x, y = (to_styles(styled, each).samples[:, :, 0, 0] for each in (positive, negative))
    normal, right = fisher(x, y)
    torch.testing.assert_close(found.vectors[0], normal, rtol=1e-4, atol=1e-5)
    assert found.strengths.tolist() == pytest.approx([right])
    assert found.space == "w"


def test_points_whose_styles_differ_count_by_their_mean(styled):
    stream = torch.Generator().manual_seed(0)
    ways = [torch.randn(4, SMALL.w_dim, SMALL.num_ws, 1, generator=stream) for _ in range(2)]
    found = of.boundary(styled, *(Latent(way, "w+") for way in ways))
    torch.testing.assert_close(
        found.vectors[0], fisher(*(way.mean(2).flatten(1) for way in ways))[0], rtol=1e-4, atol=1e-5
    )


def test_a_boundary_without_points_on_a_side_is_refused(new_generator):
    generator = new_generator()
    some, none = sample_noise(generator, [0]), Latent(torch.zeros(0, 4, 1, 1))
    for sides in ((some, none), (none, some)):
        with pytest.raises(InputError, match="one of them is empty"):
            of.boundary(generator, *sides)


def test_each_classs_boundary_leads_from_all_the_others_to_it(conditional):
    named = replace(conditional, card=Card(class_names=("cat", "dog")))  # and the third has no name
    noise = sample_noise(named, range(60))
    found = of.class_boundaries(named, noise)
    assert found.names == ("class cat", "class dog", "class 2")
    w = to_styles(named, noise).samples[:, :, 0, 0]
    for label in range(3):
        normal, right = fisher(w[noise.labels == label], w[noise.labels != label])
        torch.testing.assert_close(found.vectors[label], normal, rtol=1e-4, atol=1e-5)
        assert float(found.strengths[label]) == pytest.approx(right)
    mixed = torch.nn.functional.one_hot(noise.labels, 3) * 0.6 + 0.1
    weighed = of.class_boundaries(named, replace(noise, labels=mixed))
    assert weighed.names == found.names  # by the class that weighs most


def test_latents_of_one_class_have_no_boundary(conditional):
    with pytest.raises(InputError, match="All latents have the same class"):
        of.class_boundaries(conditional, sample_noise(conditional, range(5), labels=1))
    assert len(of.class_boundaries(conditional, sample_noise(conditional, range(4), labels=[0, 0, 2, 2]))) == 2


@pytest.mark.parametrize(("name", "allowed"), [("x" * 100, True), ("x" * 101, False), ("a\nb", False), ("12a", True)])
def test_a_boundarys_name_is_a_short_line(new_generator, name, allowed):
    generator = new_generator()
    sides = sample_noise(generator, [0]), sample_noise(generator, [1])
    if allowed:
        assert of.boundary(generator, *sides, f" {name} ").names == (name,)
    else:
        with pytest.raises(InputError, match="is not a valid name"):
            of.boundary(generator, *sides, name)


def test_a_boundary_finds_the_way_that_parts_two_sets(new_generator):
    generator = new_generator(latent_size=8)
    way = torch.nn.functional.normalize(torch.arange(8.0) - 3, dim=0)
    points = sample_noise(generator, range(2000)).samples
    positive = points.flatten(1) @ way > 0
    found = of.boundary(generator, Latent(points[positive]), Latent(points[~positive]), "smile")
    assert found.names == ("smile",)
    assert float(found.vectors[0] @ way) > 0.995
    assert found.strengths[0] > 0.97


def test_a_boundary_of_two_points_is_the_way_from_one_to_the_other(new_generator):
    generator = new_generator(latent_size=8)
    points = sample_noise(generator, [3, 8]).samples
    found = of.boundary(generator, Latent(points[:1]), Latent(points[1:]))
    expected = torch.nn.functional.normalize((points[0] - points[1]).flatten(), dim=0)
    torch.testing.assert_close(found.vectors[0], expected)


def test_labels_give_a_direction_for_each_class(conditional):
    noise = sample_noise(conditional, range(400))
    found = of.class_boundaries(conditional, noise)
    assert found.names == ("class 0", "class 1", "class 2")
    assert (found.strengths > 0.75).all()
    for label in range(3):
        means = [
            float((to_styles(conditional, sample_noise(conditional, range(50), labels=each)).samples.mean(2).flatten(1)
            @ found.vectors[label]).mean())
            for each in range(3)
        ]  # fmt: skip
        assert means.index(max(means)) == label


def test_labels_say_nothing_in_z(new_generator, styled):
    generator = new_generator(classes=3)
    for latent in (sample_noise(generator, range(9)), Latent(torch.randn(4, 5, 1, 1))):
        with pytest.raises(InputError, match="connect the second one to negative"):
            of.class_boundaries(generator if latent.labels is not None else styled, latent)


@pytest.mark.parametrize(
    ("seeds", "name", "sentence"),
    [
        (([0], [0]), "x", "The two sets of x cannot be separated"),
        (([0], [1]), " ", "is not a valid name"),
        (([0], [1]), "7", "is not a valid name"),
    ],
)
def test_a_boundary_that_cannot_be_is_refused(new_generator, seeds, name, sentence):
    generator = new_generator()
    with pytest.raises(InputError, match=sentence):
        of.boundary(generator, *(sample_noise(generator, each) for each in seeds), name)


# Following them.


def test_a_step_is_one_deviation_of_the_generators_own_styles(styled):
    found = of.pca(styled, 3)
    noise = sample_noise(styled, [0, 1])
    moved = of.move(styled, noise, found, "pca 2", [1.0, -2.5])
    step = moved.samples - to_styles(styled, noise).samples
    expected = torch.tensor([1.0, -2.5])[:, None] * (found.vectors[1] * found.deviations[1])
    torch.testing.assert_close(step, expected[:, :, None, None].expand_as(step), rtol=1e-4, atol=1e-5)
    assert moved.space == "w"


def test_only_the_chosen_layers_move(styled):
    found, noise = of.sefa(styled, 3, 1, 2), sample_noise(styled, [0])
    before = to_styles(styled, noise).samples
    for layers, expected in (((None, None), {1, 2}), ((0, None), {0, 1, 2}), ((4, LAST), {4, LAST})):
        moved = of.move(styled, noise, found, "1", 2.0, *layers)
        assert {i for i in range(SMALL.num_ws) if not torch.equal(moved.samples[:, :, i], before[:, :, i])} == expected
        assert moved.space == "w+"


def test_noise_moves_and_keeps_its_class(new_generator):
    generator = new_generator(classes=3)
    noise = sample_noise(generator, [0, 1])
    moved = of.move(generator, noise, of.sefa(generator), "1", 1.0)
    torch.testing.assert_close((moved.samples - noise.samples).norm(dim=1).flatten(), torch.ones(2))
    assert torch.equal(moved.labels, noise.labels)
    assert torch.equal(of.move(generator, noise, of.sefa(generator), "1", 0.0).samples, noise.samples)


def test_a_direction_is_known_by_its_name_or_its_number(new_generator):
    found = of.sefa(new_generator(), 3)
    assert [found.place(which) for which in ("1", " 2 ", "3", "sefa 1", " sefa 3 ")] == [0, 1, 2, 0, 2]
    named = replace(found, names=("2", "b", "c"))  # a name comes first
    assert named.place("2") == 0


def test_a_strength_is_one_for_all_or_one_for_each(new_generator):
    generator = new_generator()
    noise, found = sample_noise(generator, [0, 1]), of.sefa(generator, 2)
    for strength, expected in ((2.0, [2, 2]), (-1, [-1, -1]), ([3.0], [3, 3]), ([1.0, -4.0], [1, -4])):
        step = of.move(generator, noise, found, "2", strength).samples - noise.samples
        along = step.flatten(1) @ found.vectors[1]
        torch.testing.assert_close(along, torch.tensor(expected, dtype=torch.float32))


def test_a_latent_that_is_moved_stays_in_its_space_and_as_it_was(styled):
    w, found = to_styles(styled, sample_noise(styled, [0])), of.sefa(styled, 2)
    before = w.samples.clone()
    assert of.move(styled, w, found, "1", 1.0).space == "w"
    assert of.move(styled, w, found, "1", 1.0, 0, LAST).space == "w"
    assert of.move(styled, w, found, "1", 1.0, 0, LAST - 1).space == "w+"
    assert of.move(styled, replace(w, space="w+"), found, "1", 1.0).space == "w+"
    assert torch.equal(w.samples, before)


@pytest.mark.parametrize("which", ["0", "4", "sefa 9", "", "-1", "1.5", "9" * 5000])
def test_a_direction_that_is_not_there_is_refused(new_generator, which):
    generator = new_generator()
    with pytest.raises(InputError, match="write a number from 1 to 3, or one of the names sefa 1, sefa 2, sefa 3"):
        of.move(generator, sample_noise(generator, [0]), of.sefa(generator, 3), which, 1.0)


def test_strengths_and_layers_that_cannot_be_are_refused(new_generator, styled):
    generator = new_generator()
    noise, found = sample_noise(generator, [0, 1, 2]), of.sefa(generator, 3)
    for strength in (float("nan"), float("inf"), [1.0, 2.0]):
        with pytest.raises(InputError, match="strength must be a finite number, one for all 3 latents"):
            of.move(generator, noise, found, "1", strength)
    with pytest.raises(InputError, match="has no style layers"):
        of.move(generator, noise, found, "1", 1.0, first=1)
    with pytest.raises(InputError, match="has no style layers"):
        of.sefa(generator, 3, 1)
    with pytest.raises(InputError, match=f"has style layers 0 to {LAST}"):
        of.move(styled, sample_noise(styled, [0]), of.sefa(styled), "1", 1.0, last=99)
    with pytest.raises(InputError, match="count must be at least 1"):
        of.sefa(styled, 0)


def test_directions_of_another_space_are_refused(new_generator, styled):
    with pytest.raises(InputError, match=r"whose w has 7 dimensions; .* needs directions in z with 4: find its own"):
        of.move(new_generator(), sample_noise(new_generator(), [0]), of.sefa(styled), "1", 1.0)


# Keeping them.


def test_directions_come_back_from_their_file(styled, tmp_path):
    found = of.sefa(styled, 3, 1, 2)
    back = of.load(of.save(found, tmp_path / "smiles.safetensors"))
    for field in ("names", "space", "method", "layers", "generator", "fingerprint"):
        assert getattr(back, field) == getattr(found, field)
    for field in ("vectors", "deviations", "strengths"):
        assert torch.equal(getattr(back, field), getattr(found, field))


def test_directions_know_whose_they_are(styled):
    found = of.sefa(styled)
    assert found.belong_to(styled)
    assert not found.belong_to(generator_of(SMALL, seed=1))
    tuned = generator_of(SMALL)
    tuned.module.synthesis.b4.const.add_(1)  # its space of styles is still the same
    assert found.belong_to(tuned)


def test_a_file_of_something_else_is_refused_with_what_it_is(new_generator, tmp_path):
    path = tmp_path / "x.safetensors"
    new_generator().save(path)
    with pytest.raises(InputError, match=r"x\.safetensors is a generator and contains no directions"):
        of.load(path)
    save_file({"a.lora_up.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"is a LoRA .* and contains no directions"):
        of.load(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputError, match="a Python pickle"):
        of.load(path)


@pytest.mark.parametrize(
    "damage",
    ["names", "space", "layers", "vectors", "deviations", "nan", "json", "whole numbers", "not a list"],
)
def test_a_damaged_file_of_directions_is_refused(new_generator, tmp_path, damage):
    path = of.save(of.sefa(new_generator(), 3), tmp_path / "x.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    facts = json.loads(metadata["gan_core.directions"])
    changes = {
        "names": lambda: facts.update(names=["one"]),
        "space": lambda: facts.update(space="q"),
        "layers": lambda: facts.update(layers=["a", 1]),
        "vectors": lambda: tensors.pop("vectors"),
        "deviations": lambda: tensors.update(deviations=torch.zeros(2)),
        "nan": lambda: tensors["vectors"].fill_(float("nan")),
        "json": lambda: None,
        "whole numbers": lambda: tensors.update(vectors=torch.zeros(3, 4, dtype=torch.int64)),
        "not a list": lambda: facts.update(names=3),
    }
    changes[damage]()
    metadata["gan_core.directions"] = "{" if damage == "json" else json.dumps(facts)
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=r"x\.safetensors is damaged"):
        of.load(path)


def test_a_newer_format_asks_for_an_update(new_generator, tmp_path):
    path = of.save(of.sefa(new_generator(), 3), tmp_path / "x.safetensors")
    save_file({"vectors": torch.zeros(1, 1)}, path, {"gan_core.directions_version": "2"})
    with pytest.raises(InputError, match="format version 2"):
        of.load(path)


def test_nine_directions_are_told_as_eight_and_one_more(styled):
    found = of.pca(styled, 7)
    names = tuple("abcdefghi")
    shown = {count: replace(found, names=names[:count]).summary for count in (8, 9)}
    assert shown[8] == "a, b, c, d, e, f, g, h in w of this stylegan2 generator"
    assert shown[9] == "a, b, c, d, e, f, g, h and 1 more in w of this stylegan2 generator"


def test_the_file_says_what_it_is(styled, tmp_path):
    found = of.sefa(styled, 3, 1, 2)
    with safe_open(of.save(found, tmp_path / "x.safetensors"), "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["gan_core.directions_version"] == "1"
    assert metadata["modelspec.title"] == "directions of this stylegan2 generator"
    assert json.loads(metadata["gan_core.directions"])["layers"] == [1, 2]


def test_a_fingerprint_is_of_all_weights_and_of_the_family(new_generator):
    generator = new_generator()
    found = of.sefa(generator)
    assert found.belong_to(new_generator())
    for name, tensor in generator.module.state_dict().items():
        changed = new_generator()
        changed.module.state_dict()[name].flatten()[-1:].add_(1)
        assert not found.belong_to(changed), (name, tensor.shape)
    assert not found.belong_to(replace(generator, architecture=architectures.by_name("fastgan")))


def test_directions_introduce_themselves(styled):
    assert repr(of.sefa(styled, 2)) == "Directions(sefa 1, sefa 2 in w of this stylegan2 generator)"
    assert isinstance(of.sefa(styled, 2), Directions)
