"""Run by ComfyUI's own Python in ComfyUI's folder: times the node Decode. Its last line is JSON, for decode.py."""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACK = "gan_studio"


def main(rounds: int, threads: int) -> None:
    # ComfyUI's modules are found from its folder; this script's own folder is not the place for them.
    sys.path[0], sys.argv = os.getcwd(), ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    _load_pack()
    core, decode, generate, types = (
        importlib.import_module(f"{PACK}.{name}")
        for name in ("gan_core", "benchmarks.decode", "nodes.generate", "nodes.types")
    )

    def node(generator: Any, latent: Any) -> Callable[[], object]:
        import torch

        values = types.to_comfy(latent)

        @torch.inference_mode()  # as ComfyUI runs its nodes
        def execute() -> object:
            return generate.Decode.execute(generator, values)

        return execute

    print(json.dumps(decode.compared(core, node, rounds, threads)))


def _load_pack() -> None:
    """Imports the checkout as one package, as ComfyUI does."""
    root = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location(PACK, root / "__init__.py", submodule_search_locations=[str(root)])
    assert spec is not None and spec.loader is not None
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
