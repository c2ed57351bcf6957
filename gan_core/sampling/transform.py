"""Where the pictures of a StyleGAN3 stand: its coordinates can be moved, turned and scaled (Karras et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..architectures.stylegan3 import transform


@dataclass(frozen=True)
class Transform:
    """A motion of the whole picture, which is drawn anew in its new place."""

    translate_x: float = 0.0
    """To the right, in widths of the picture."""
    translate_y: float = 0.0
    """Down, in heights of the picture."""
    rotation: float = 0.0
    """Anticlockwise, in degrees."""
    scale: float = 1.0
    """How many times as large."""
    animate: bool = False
    """Spread the motion over a batch: image i of n goes i/n of the way, so that a full turn closes into a loop."""

    def matrices(self, count: int) -> Tensor:
        """One matrix for each image of a batch, [count, 3, 3], as Generator.decode takes them.

        Raises InputError for a motion that is not finite, and for a scale that is not above 0.
        """
        # The whole way first: parts of it could go where the whole does not.
        transform(self.translate_x, self.translate_y, self.rotation, self.scale)
        ways = [i / count if self.animate else 1.0 for i in range(count)]
        return torch.stack(
            [
                transform(self.translate_x * way, self.translate_y * way, self.rotation * way, self.scale**way)
                for way in ways
            ]
        )
