"""The ComfyUI layer: each file is one page of the node menu."""

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from . import (
    convert,
    dataset,
    directions,
    evaluate,
    files,
    generate,
    hub,
    latent,
    project,
    runs,
    settings,
    sheets,
    train,
    transform,
)
from .host.paths import register_folders
from .host.routes import register_routes
from .host.version import check_version


class GANStudio(ComfyExtension):
    @override
    async def on_load(self) -> None:
        register_folders()
        register_routes()

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        training = (dataset, train, runs, settings, files)
        use = (generate, latent, transform, directions, sheets, project, convert, evaluate, hub)
        pages = (*training, *use)
        return [node for page in pages for node in page.NODES]


async def comfy_entrypoint() -> GANStudio:
    check_version()
    return GANStudio()
