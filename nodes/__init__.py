"""The ComfyUI layer: each file is one page of the node menu."""

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from . import convert, dataset, directions, evaluate, generate, hub, latent, project, train
from .host.paths import register_folders
from .host.version import check_version


class GANStudio(ComfyExtension):
    @override
    async def on_load(self) -> None:
        register_folders()

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        steering = [*latent.NODES, *directions.NODES, *project.NODES]
        pages = [*dataset.NODES, *train.NODES, *generate.NODES, *steering, *convert.NODES]
        return [*pages, *evaluate.NODES, *hub.NODES]


async def comfy_entrypoint() -> GANStudio:
    check_version()
    return GANStudio()
