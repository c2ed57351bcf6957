"""What the core tests share: small networks, small data, and a cache that is not the person's own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_server import ROOT
from hub_server import Hub
from hypothesis import settings
from PIL import Image

from gan_core import Card, Generator, ImageDataset
from gan_core.architectures import by_name

# The same examples at every run: a red test then means a change of ours.
settings.register_profile("core", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("core")


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the image cache out of the home directory, and small networks on one thread, where they are fastest. The
    processes that tests start import this checkout, wherever they run and whatever is installed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")  # for the processes that tests start
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _same_weights_at_every_run() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def new_generator() -> Callable[..., Generator]:
    """Makes an untrained generator of few weights; the keywords are DCGANConfig's."""

    def make(card: dict[str, Any] | None = None, seed: int = 0, **config: int) -> Generator:
        architecture = by_name("dcgan")
        settings_of_network = architecture.config(**{"side": 16, "channels": 1, "latent_size": 4, "width": 2, **config})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = architecture.generator(settings_of_network)
            for tensor in module.state_dict().values():  # fresh weights make nothing but grey
                if tensor.is_floating_point():
                    tensor.add_(torch.rand_like(tensor) / 2)
        return Generator(
            architecture, settings_of_network, module.requires_grad_(False).eval(), Card.from_json(card or {})
        )

    return make


@pytest.fixture(scope="session")
def noise_images() -> ImageDataset:
    """24 grey images of noise, 16x16."""
    return ImageDataset.from_images(np.random.RandomState(0).randint(0, 256, (24, 16, 16, 1), np.uint8), name="noise")


@pytest.fixture(scope="session")
def labelled_images() -> ImageDataset:
    """24 images of noise in colour, 16x16, in 3 classes, that may be mirrored."""
    pixels = np.random.RandomState(1).randint(0, 256, (24, 16, 16, 3), np.uint8)
    return ImageDataset(
        pixels, "labelled noise", "0" * 64, np.arange(24, dtype=np.int64) % 3, ("red", "green", "blue"), mirror=True
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 12 small images in colour."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(np.random.RandomState(2).randint(0, 256, (12, 16, 16, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture
def client(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Makes the Hub's client speak to `hub`, without a login and with an empty cache. Returns its home folder.

    It reads its environment when it is imported, and other tests may have imported it.
    """
    from huggingface_hub import constants

    home, endpoint = tmp_path / "huggingface", hub.environment(tmp_path)["HF_ENDPOINT"]
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value, raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    yield home
    hub.reset()
