"""Pieces that many tests' graphs are made of."""

from typing import Any

import numpy as np
from comfyui_server import Comfy, Graph, Output, Run
from PIL import Image

EXAMPLE_FOLDER = "example/digits"
EXAMPLE_GENERATOR = "example/digits.safetensors"


def folder_of_pictures(comfy: Comfy, name: str, count: int = 16, classes: tuple[str, ...] = ()) -> str:
    """Makes input/name with small PNGs, in sub-folders where there are classes.

    Returns the name that Load GAN Image Folder has for it.
    """
    folder = comfy.clear(comfy.input / name)
    for part in classes or ("",):
        (folder / part).mkdir(exist_ok=True)
        for number in range(count):
            save_picture(folder / part / f"picture {number}.png", seed=number)
    return f"input/{name}"


def save_picture(path: Any, seed: int) -> None:
    """A PNG of coloured noise, wider than high."""
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (16, 20, 3), np.uint8)).save(path)


def load_folder(graph: Graph, folder: Any, **changes: Any) -> Output:
    settings = {"size": 16, "channels": "auto", "fit": "crop", "mirror": False, "labels": False, **changes}
    return graph("LoadGANImageFolder", folder=folder, **settings)


def train(graph: Graph, dataset: Output, run_name: str, **changes: Any) -> Output:
    """Train GAN with a budget for a test: the smallest preset, ten steps of eight images. What its own inputs are not
    is set by GAN Settings."""
    return trained(graph, "GAN", dataset, {"preset": "dcgan_small", "run_name": run_name, **changes})


def train_vae(graph: Graph, dataset: Output, run_name: str, **changes: Any) -> Output:
    """Train VAE with such a budget, and VAE Settings."""
    return trained(graph, "VAE", dataset, {"preset": "conv_vae", "run_name": run_name, **changes})


OF_THE_RUN = ("preset", "minutes", "kimg", "run_name", "resume", "seed", "on_trouble", "start")
"""Inputs of the nodes that train. All others are settings."""


def trained(graph: Graph, kind: str, dataset: Output, changes: dict[str, Any]) -> Output:
    inputs = {"kimg": "0.08", "minutes": "10", "batch_size": "8", "seed": 0, "resume": False, **changes}
    settings = {name: inputs.pop(name) for name in list(inputs) if name not in OF_THE_RUN}
    return graph(f"Train{kind}", dataset=dataset, settings=graph(f"{kind}Settings", **settings), **inputs)


def sample(graph: Graph, generator: Output, seed: int = 0, batch_size: int = 4, **changes: Any) -> Output:
    settings = {"truncation": 1.0, **changes}
    return graph("SampleNoise", generator=generator, seed=seed, batch_size=batch_size, **settings)


def decode(graph: Graph, generator: Output, latent: Output, **label: int) -> Output:
    """Decode, and a node that shows the images: the latter's output."""
    return graph("PreviewImage", images=graph("Decode", generator=generator, latent=latent, **label))


def pictures(comfy: Comfy, run: Run, node: Output) -> np.ndarray:
    """What a node shows, as int [N, H, W, 3]."""
    return np.stack([np.asarray(image.convert("RGB"), np.int64) for image in comfy.images(run, node)])


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether images differ by more than rounding: a value of 254.9999 is saved as 254, one of 255 as 255."""
    return one.shape != other.shape or bool(np.abs(one - other).max() > 1)


def is_sentence(text: str) -> bool:
    """Whether it is something to tell a person, and not a program's complaint."""
    return "\n" not in text and text.endswith(".") and "Error:" not in text
