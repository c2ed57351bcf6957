"""Train VAE and what is made of it: reconstructions, samples, latents between images."""

import numpy as np
import torch
from comfyui_graphs import (
    EXAMPLE_FOLDER,
    EXAMPLE_GENERATOR,
    decode,
    differ,
    folder_of_pictures,
    is_sentence,
    load_folder,
    pictures,
    sample,
    train,
    train_vae,
)
from comfyui_server import Comfy, Graph, Output

import gan_core

VAE = "example/vae-digits.safetensors"


def digits(graph: Graph, count: int = 4, seed: int = 0) -> Output:
    """Images of digits, as no file of a person is there."""
    generator = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    return graph("Decode", generator=generator, latent=sample(graph, generator, seed, count))


def test_a_folder_becomes_a_vae_that_is_sampled_like_a_gan(comfy: Comfy) -> None:
    graph = Graph()
    trained = train_vae(graph, load_folder(graph, folder_of_pictures(comfy, "vae")), "vae")
    saved = graph("SaveGenerator", generator=trained, filename_prefix="vae")
    drawn = decode(graph, trained, sample(graph, trained))
    normal = decode(graph, trained, sample(graph, trained, prior="normal"))
    chart = graph("LossGraphNode", loss=trained[1], filename_prefix="vae")
    run = comfy.run(graph)
    assert [image.size for image in comfy.images(run, drawn)] == [(16, 16)] * 4
    assert differ(pictures(comfy, run, drawn), pictures(comfy, run, normal))
    assert comfy.images(run, chart)
    assert "reconstruction" in comfy.texts(run, trained)[-1] and "KL" in comfy.texts(run, trained)[-1]

    made = gan_core.load(comfy.base / run.outputs[saved.node]["text"][0])
    assert made.summary == "vae: conv_vae, 16x16x3"
    assert made.mixture is not None
    opened = Graph()
    loaded = opened("LoadGenerator", name="vae_00001_.safetensors")
    again = decode(opened, loaded, sample(opened, loaded))
    assert not differ(pictures(comfy, comfy.run(opened), again), pictures(comfy, run, drawn))


def test_originals_stand_above_what_is_made_of_them(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER, size=28)
    trained = train_vae(graph, dataset, "pairs", kimg=12.8, batch_size=64, learning_rate=0.003)
    made = graph("PreviewImage", images=trained[2])
    run = comfy.run(graph)
    reconstructions = pictures(comfy, run, made)
    assert reconstructions.shape == (32, 28, 28, 3)
    (sheet,) = comfy.images(run, trained)
    rows = np.asarray(sheet.convert("L"), np.float64)[::2, ::2]  # shown at twice its size
    assert rows.shape == (8 * 30 - 2, 8 * 30 - 2)
    alike = [
        np.corrcoef(rows[30 * row : 30 * row + 28].ravel(), rows[30 * other : 30 * other + 28].ravel())[0, 1]
        for row, other in ((0, 1), (0, 3))
    ]
    assert alike[0] > alike[1] + 0.2, "a row is like the one below it, and not like another's"
    below = np.concatenate([rows[30:58, 30 * column : 30 * column + 28][None] for column in range(8)])
    assert np.abs(below - reconstructions[:8, ..., 0]).max() <= 1
    assert "held out" not in comfy.texts(run, trained)[-1], "nothing was measured yet"


def test_pictures_are_made_anew(comfy: Comfy) -> None:
    graph = Graph()
    vae = graph("LoadGenerator", name=VAE)
    images = digits(graph)
    originals = graph("PreviewImage", images=images)
    made = decode(graph, vae, graph("EncodeWithGenerator", generator=vae, images=images, fit="crop"))
    run = comfy.run(graph)
    error = np.abs(pictures(comfy, run, made) - pictures(comfy, run, originals)).mean()
    assert error < 12, "of 255"


def test_latents_of_pictures_are_walked_between_and_added_up_by_cores_nodes(comfy: Comfy) -> None:
    graph = Graph()
    vae = graph("LoadGenerator", name=VAE)
    first, second = (
        graph("EncodeWithGenerator", generator=vae, images=digits(graph, 1, seed), fit="crop") for seed in (1, 2)
    )
    blended = graph("LatentBlend", samples1=first, samples2=second, blend_factor=0.5)
    half = graph("LatentMultiply", samples=graph("LatentAdd", samples1=first, samples2=second), multiplier=0.5)
    walk = graph(
        "GANLatentWalk", generator=vae, seeds="0", frames=2, interpolation="linear", closed=False, space="auto",
        latent=graph("LatentBatch", samples1=first, samples2=second),
    )  # fmt: skip
    shown = [decode(graph, vae, latent) for latent in (first, blended, half, walk)]
    run = comfy.run(graph)
    start, blend, sum_, walked = (pictures(comfy, run, one) for one in shown)
    assert not differ(blend, sum_)
    assert not differ(walked[1], blend[0]), "the middle of a straight way is half of both"
    assert differ(start, blend)


def test_a_vae_answers_at_once_where_a_gan_has_to_search(comfy: Comfy) -> None:
    graph = Graph()
    vae = graph("LoadGenerator", name=VAE)
    images = digits(graph)
    settings = {
        "space": "auto", "steps": 300, "seed": 0, "candidates": 256, "fit": "crop", "tuning_steps": 0,
    }  # fmt: skip
    found = graph("ProjectImageToLatent", generator=vae, images=images, **settings)
    made = graph("PreviewImage", images=found[1])
    anew = decode(graph, found[2], graph("EncodeWithGenerator", generator=vae, images=images, fit="crop"))
    core = graph("ProjectImageToLatent", generator=graph("GeneratorToVAE", generator=vae), images=images, **settings)
    cores = graph("PreviewImage", images=core[1])
    run = comfy.run(graph)
    assert not differ(pictures(comfy, run, made), pictures(comfy, run, anew))
    assert not differ(pictures(comfy, run, made), pictures(comfy, run, cores))
    assert not run.previews

    tuned = Graph()
    vae = tuned("LoadGenerator", name=VAE)
    found = tuned("ProjectImageToLatent", generator=vae, images=digits(tuned), **{**settings, "tuning_steps": 3})
    tuned("PreviewImage", images=found[1])
    assert "set tuning_steps to 0" in comfy.error_of(tuned)


def test_a_decoder_is_tuned_and_its_latents_stay(comfy: Comfy) -> None:
    graph = Graph()
    folder = folder_of_pictures(comfy, "tuned")
    start = train_vae(graph, load_folder(graph, folder), "start", preset="taesd_vae", kimg=0.016)
    tuned = train_vae(graph, load_folder(graph, folder), "tuned", preset="finetune_decoder", start=start, kimg=0.016)
    for name, generator in (("start", start), ("tuned", tuned)):
        graph("SaveGenerator", generator=generator, filename_prefix=f"tuning/{name}")
    comfy.run(graph)
    before, after = (
        gan_core.load(comfy.output / "gan" / "tuning" / f"{name}_00001_.safetensors") for name in ("start", "tuned")
    )
    images = torch.rand(1, 3, 24, 40) * 2 - 1
    latent = before.encode(images)
    assert torch.equal(after.encode(images).samples, latent.samples)
    assert not torch.equal(after.decode(latent), before.decode(latent))


def test_a_stopped_training_goes_on(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER)
    trained = train_vae(graph, dataset, "stopped vae", kimg=100_000.0, minutes="no limit", batch_size=16)
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    comfy.interrupt()
    comfy.finish(run)
    assert run.state == "interrupted"
    kept = gan_core.load(comfy.output / "gan" / "runs" / "stopped vae" / "generator.safetensors")
    seen = round(1000 * kept.card.training["kimg"])
    graph.prompt[trained.node]["inputs"] |= {"resume": True, "kimg": (seen + 160) / 1000}
    comfy.run(graph)
    kept = gan_core.load(comfy.output / "gan" / "runs" / "stopped vae" / "generator.safetensors")
    assert round(1000 * kept.card.training["kimg"]) == seen + 160


# What cannot be.


def test_what_cannot_be_trained_is_said_in_a_sentence(comfy: Comfy) -> None:
    folder = folder_of_pictures(comfy, "refused")
    for changes, told in (
        ({"preset": "finetune_decoder"}, "fine-tunes an existing VAE: connect one to start"),
        (
            {"preset": "taesd_vae", "reconstruction": "bernoulli"},
            "not Bernoulli probabilities: choose another reconstruction",
        ),
        ({"preset": "taesd_vae", "latent_channels": 100}, "latent_channels of taesd_vae must be 1 to 64 (got 100)."),
        ({"batch_size": 100}, "fewer than a batch of 100"),
    ):
        graph = Graph()
        train_vae(graph, load_folder(graph, folder), "refused", **changes)
        message = comfy.error_of(graph)
        assert told in message and is_sentence(message)
    graph = Graph()
    train_vae(graph, load_folder(graph, folder, channels="grey"), "refused", preset="taesd_vae")
    assert "channels of taesd_vae must be 3, RGB" in comfy.error_of(graph)
    graph = Graph()
    gan = train(graph, load_folder(graph, folder), "a gan")
    train_vae(graph, load_folder(graph, folder), "refused", preset="finetune_decoder", start=gan)
    assert "has no encoder" in comfy.error_of(graph)
    assert not (comfy.output / "gan" / "runs" / "refused" / "checkpoint.safetensors").exists()


def test_a_budget_of_nothing_is_refused_before_anything_is_written(comfy: Comfy) -> None:
    graph = Graph()
    train_vae(graph, load_folder(graph, EXAMPLE_FOLDER), "endless", kimg="no limit", minutes="no limit")
    assert comfy.error_of(graph).startswith("Set a budget: kimg (thousands of images), minutes, or both.")
    assert not (comfy.output / "gan" / "runs" / "endless").exists()


def test_what_has_no_encoder_says_what_has(comfy: Comfy) -> None:
    graph = Graph()
    gan = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    graph(
        "PreviewImage",
        images=graph(
            "Decode",
            generator=gan,
            latent=graph("EncodeWithGenerator", generator=gan, images=digits(graph), fit="crop"),
        ),
    )
    message = comfy.error_of(graph)
    assert "has no encoder" in message and is_sentence(message)
