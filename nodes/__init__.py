"""The ComfyUI layer: each file is one page of the node menu."""

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from . import convert, dataset, directions, generate, host, hub, latent, project, train


class GANStudio(ComfyExtension):
    @override
    async def on_load(self) -> None:
        host.register_folders()

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        steering = [*latent.NODES, *directions.NODES, *project.NODES]
        return [*dataset.NODES, *train.NODES, *generate.NODES, *steering, *convert.NODES, *hub.NODES]


async def comfy_entrypoint() -> GANStudio:
    host.check_version()
    return GANStudio()
