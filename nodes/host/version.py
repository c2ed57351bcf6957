"""The oldest ComfyUI that has what the nodes use."""

import re

import comfyui_version

OLDEST_COMFYUI = (0, 18, 1)


def check_version() -> None:
    """Says plainly what an old ComfyUI lacks, instead of failing somewhere inside."""
    have = tuple(int(part) for part in re.findall(r"\d+", comfyui_version.__version__)[:3])
    if have < OLDEST_COMFYUI:
        wanted = ".".join(map(str, OLDEST_COMFYUI))
        raise RuntimeError(
            f"ComfyUI-GAN-Studio needs ComfyUI {wanted} or newer, and this is {comfyui_version.__version__}: "
            "update ComfyUI, and its nodes will appear."
        )
