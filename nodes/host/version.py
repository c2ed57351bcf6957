"""Oldest supported version of ComfyUI."""

import re

import comfyui_version

OLDEST_COMFYUI = (0, 18, 1)


def check_version() -> None:
    """Raises a clear error for an old ComfyUI, instead of failing later."""
    have = tuple(int(part) for part in re.findall(r"\d+", comfyui_version.__version__)[:3])
    if have < OLDEST_COMFYUI:
        wanted = ".".join(map(str, OLDEST_COMFYUI))
        raise RuntimeError(
            f"ComfyUI-GAN-Studio needs ComfyUI {wanted} or newer (got {comfyui_version.__version__}): update ComfyUI, "
            "and its nodes will appear."
        )
