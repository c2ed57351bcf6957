"""Seeds are forever: what a seed stands for, and what a generator takes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_core import InputError, Latent, sample_noise
from gan_core.latents import LAST_SEED
from gan_core.sampling.labels import find_class, parse_class_weights

# What numpy's RandomState, frozen since 2019, gives for randn(4). NVIDIA's tools draw the same.
GOLDEN = {
    0: [1.764052345967664, 0.4001572083672233, 0.9787379841057392, 2.240893199201458],
    1: [1.6243453636632417, -0.6117564136500754, -0.5281717522634557, -1.0729686221561705],
    LAST_SEED: [0.6484086742306527, 0.6693235306338161, -1.0805437227474493, 0.2845010447986309],
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_a_seed_stands_for_the_same_numbers_for_ever(new_generator, seed):
    latent = sample_noise(new_generator(), [seed])
    assert latent.samples.flatten().tolist() == np.float32(GOLDEN[seed]).tolist()


def test_a_seed_stands_for_the_same_label_for_ever(new_generator):
    latent = sample_noise(new_generator(classes=10), range(8))
    assert latent.labels.tolist() == [9, 6, 8, 3, 7, 0, 9, 8]


def test_a_latent_is_a_comfyui_latent(new_generator):
    latent = sample_noise(new_generator(latent_size=7), range(5))
    assert latent.samples.shape == (5, 7, 1, 1)
    assert latent.samples.dtype == torch.float32
    assert latent.space == "z"
    assert len(latent) == 5


@given(st.lists(st.integers(0, LAST_SEED), min_size=1, max_size=12))
def test_same_seed_same_latent_in_every_batch_and_position(new_generator, seeds):
    together = sample_noise(new_generator(), seeds).samples
    assert all(
        torch.equal(together[i], sample_noise(new_generator(), [seed]).samples[0]) for i, seed in enumerate(seeds)
    )


def test_same_seed_same_picture_on_every_batch_size(new_generator):
    generator = new_generator()
    many = generator.decode(sample_noise(generator, range(70)))  # more than are decoded at once
    alone = torch.cat([generator.decode(sample_noise(generator, [seed])) for seed in range(70)])
    torch.testing.assert_close(many, alone, rtol=0, atol=1e-5)


def test_different_seeds_make_different_pictures(new_generator):
    generator = new_generator()
    images = generator.decode(sample_noise(generator, range(8)))
    assert len({image.numpy().tobytes() for image in images}) == 8


def test_classes_do_not_change_the_noise_of_a_seed(new_generator):
    with_classes = sample_noise(new_generator(classes=3), range(4))
    assert torch.equal(with_classes.samples, sample_noise(new_generator(), range(4)).samples)


@pytest.mark.parametrize("truncation", [0.0, 0.5, 2.0])
def test_truncation_scales_the_noise(new_generator, truncation):
    plain = sample_noise(new_generator(), range(4)).samples
    assert torch.equal(sample_noise(new_generator(), range(4), truncation).samples, plain * truncation)


@pytest.mark.parametrize("truncation", [float("nan"), float("inf"), -float("inf")])
def test_truncation_that_is_no_number_is_refused(new_generator, truncation):
    with pytest.raises(InputError, match="truncation"):
        sample_noise(new_generator(), [0], truncation)


def test_one_label_is_for_all_images(new_generator):
    assert sample_noise(new_generator(classes=3), range(4), labels=2).labels.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("as_type", [list, tuple, np.array, torch.tensor], ids=["list", "tuple", "numpy", "torch"])
def test_labels_go_to_images_in_order(new_generator, as_type):
    latent = sample_noise(new_generator(classes=3), range(4), labels=as_type([2, 0, 1, 0]))
    assert latent.labels.tolist() == [2, 0, 1, 0]


def test_every_class_is_drawn_where_no_label_is_given(new_generator):
    drawn = sample_noise(new_generator(classes=3), range(300)).labels
    assert (torch.bincount(drawn) > 70).tolist() == [True, True, True]


def test_no_labels_without_classes(new_generator):
    assert sample_noise(new_generator(), range(4)).labels is None


def test_a_label_is_refused_by_a_generator_without_classes(new_generator):
    with pytest.raises(InputError, match="noises was trained without classes"):
        sample_noise(new_generator({"title": "noises"}), range(4), labels=0)


def test_labels_that_do_not_match_the_seeds_are_refused(new_generator):
    with pytest.raises(InputError, match="3 labels were given for 4 images"):
        sample_noise(new_generator(classes=3), range(4), labels=[0, 1, 2])


@pytest.mark.parametrize("label", [-1, 3, [0, 3]])
def test_a_label_that_is_no_class_is_refused(new_generator, label):
    with pytest.raises(InputError, match=r"classes 0 to 2, but no class (-1|3)"):
        sample_noise(new_generator(classes=3), range(2), labels=label)


# Classes by their names.


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        (["ape", "cat"], "cat", 1),
        (["ape", "cat"], " cat ", 1),
        (["ape", "cat"], "Cat", 1),
        (["Cat", "cat"], "cat", 1),
        (["ape", "cat"], "0", 0),  # no class is called by a number
        (["1", "10", "2"], "10", 1),
        (["1", "10", "2"], "1", 0),
        (["1", "10", "2"], "2", 2),
        (["2", "0", "1"], "0", 1),
        (["e\u0301te\u0301", "hiver"], "\u00e9t\u00e9", 0),
        (["a:b", "-1", "c"], "-1", 1),
        (None, "2", 2),  # of a file that says no names
        (["only one", "of three"], "2", 2),  # nor does this one
    ],
    ids=str,
)
def test_a_class_is_known_by_its_name(new_generator, names, asked, found):
    generator = new_generator(
        {"class_names": names}, classes=3 if names in (None, ["only one", "of three"]) else len(names)
    )
    assert find_class(generator, asked) == found
    assert sample_noise(generator, range(2), labels=asked).labels.tolist() == [found] * 2


def test_classes_by_name_and_by_number_can_be_mixed(new_generator):
    generator = new_generator({"class_names": ["10", "cat", "dog"]}, classes=3)
    assert sample_noise(generator, range(3), labels=["dog", 0, "10"]).labels.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("names", "asked", "told"),
    [
        (["ape", "cat"], "dog", 'animals has the classes ape, cat, but no class "dog"'),
        (["ape", "cat"], "2", "animals has the classes ape, cat, but no class 2"),
        (["ape", "cat"], "-1", "animals has the classes ape, cat, but no class -1"),
        (["ape", "cat"], "", 'animals has the classes ape, cat, but no class ""'),
        (["1", "2"], "0", "animals has the classes 1, 2, but no class 0"),  # never the one that is called 1
        (["Cat", "cAT"], "cat", "animals has the classes Cat, cAT, but no class"),
        (["0", "1"], "2", "animals has classes 0 to 1, but no class 2"),
        (["ape", "cat"], "9" * 5000, "animals has the classes ape, cat, but no class"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_class_that_there_is_not_is_a_sentence_with_the_names(new_generator, names, asked, told):
    with pytest.raises(InputError, match=told):
        find_class(new_generator({"title": "animals", "class_names": names}, classes=2), asked)


def test_of_many_classes_a_sentence_names_some(new_generator):
    generator = new_generator({"class_names": [f"kind {i}" for i in range(1000)]}, classes=1000)
    with pytest.raises(InputError, match="kind 7 and 992 more, but no class"):
        find_class(generator, "another")


@pytest.mark.parametrize("label", [2, -1])
def test_a_latent_that_asks_for_no_class_there_is_names_those_that_there_are(new_generator, label):
    generator = new_generator({"class_names": ["ape", "cat"]}, classes=2)
    with pytest.raises(InputError, match="has the classes ape, cat, but the latent has a label beyond these"):
        generator.decode(Latent(torch.zeros(1, 4, 1, 1), labels=torch.tensor([label])))
    with pytest.raises(InputError, match="has no class label: choose one of the classes ape, cat"):
        generator.decode(torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("cat:0.7, ape:0.3", [0.3, 0.7, 0]),
        ("a:b:1", [0, 0, 1]),
        ("1:2", [0, 2, 0]),
        ("1, 0, 2", [1, 0, 2]),
        ("cat", [0, 1, 0]),
        (" a:b ", [0, 0, 1]),
    ],
)
def test_classes_are_weighed_by_their_names(new_generator, text, weights):
    generator = new_generator({"class_names": ["ape", "cat", "a:b"]}, classes=3)
    assert parse_class_weights(generator, text).tolist() == pytest.approx(weights)


@pytest.mark.parametrize("text", ["dog:1", "cat:0.5, Cat:0.5", "cat:much", "dog", "1, 2", "cat:1, 2", ""])
def test_what_does_not_weigh_the_classes_is_a_sentence_that_shows_how(new_generator, text):
    generator = new_generator({"class_names": ["ape", "cat", "gnu"]}, classes=3)
    with pytest.raises(InputError, match=r"write pairs such as ape:0\.7, gnu:0\.3, each class once, or 3 numbers"):
        parse_class_weights(generator, text)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_out_of_range_is_refused(new_generator, seed):
    with pytest.raises(InputError, match=rf"seed must be a whole number from 0 to 4294967295 \(got {seed}\)"):
        sample_noise(new_generator(), [0, seed])


def test_no_seeds_are_refused(new_generator):
    with pytest.raises(InputError, match="No seeds"):
        sample_noise(new_generator(), [])


def test_a_plain_tensor_can_be_decoded(new_generator):
    generator = new_generator()
    latent = sample_noise(generator, range(3))
    assert torch.equal(generator.decode(latent.samples), generator.decode(latent))


def test_decoding_noise_of_half_precision_gives_full_images(new_generator):
    generator = new_generator()
    images = generator.decode(sample_noise(generator, range(3)).samples.half())
    assert images.dtype == torch.float32
    assert images.shape == (3, 1, 16, 16)


def test_decoding_needs_no_gradient(new_generator):
    generator = new_generator()
    assert not generator.decode(torch.zeros(1, 4, 1, 1, requires_grad=True)).requires_grad


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (1, 4), (1, 4, 2, 1), (0, 4, 1, 1), (1, 4, 64, 64)], ids=str)
def test_a_latent_of_another_model_is_refused(new_generator, shape):
    with pytest.raises(InputError, match=r"takes latents of shape \[4, 1, 1\]"):
        new_generator().decode(torch.zeros(shape))


def test_a_latent_of_another_space_is_refused(new_generator):
    with pytest.raises(InputError, match=r"z space \(got w\)"):
        new_generator().decode(Latent(torch.zeros(1, 4, 1, 1), space="w"))


def test_a_latent_without_a_class_is_refused_by_a_generator_with_classes(new_generator):
    with pytest.raises(InputError, match="has no class label: choose one of 0 to 2"):
        new_generator(classes=3).decode(torch.zeros(1, 4, 1, 1))


def test_a_latent_with_a_class_is_refused_by_a_generator_without_classes(new_generator):
    with pytest.raises(InputError, match="trained without classes and takes no label"):
        new_generator().decode(Latent(torch.zeros(1, 4, 1, 1), labels=torch.tensor([0])))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_latent_that_asks_for_no_class_there_is_is_refused(new_generator, label):
    with pytest.raises(InputError, match="classes 0 to 2"):
        new_generator(classes=3).decode(Latent(torch.zeros(1, 4, 1, 1), labels=torch.tensor([label])))


def test_a_latent_with_too_few_labels_is_refused(new_generator):
    with pytest.raises(InputError, match="2 points but 1 labels"):
        new_generator(classes=3).decode(Latent(torch.zeros(2, 4, 1, 1), labels=torch.tensor([0])))


def test_the_label_decides_the_picture(new_generator):
    generator = new_generator(classes=3)
    first, second = (generator.decode(sample_noise(generator, [0], labels=label)) for label in (0, 1))
    assert not torch.equal(first, second)


def test_drawing_and_decoding_leave_the_global_streams_alone(new_generator):
    generator = new_generator(classes=3)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    generator.decode(sample_noise(generator, range(3)))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state


def test_a_generator_says_what_it_is(new_generator):
    assert repr(new_generator({"title": "cats"}, classes=3)) == "Generator(cats: dcgan, 16x16x1, 3 classes)"


def test_a_generator_says_the_shape_of_its_latents(new_generator):
    assert new_generator(latent_size=7).latent_shape == (7, 1, 1)
