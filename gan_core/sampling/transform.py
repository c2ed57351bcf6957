"""Translation, rotation and scaling of StyleGAN3 images through their input coordinates (Karras et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..architectures.stylegan3 import transform


@dataclass(frozen=True)
class Transform:
    """Translation, rotation and scale of the whole image, which is generated again in its new place."""

    translate_x: float = 0.0
    """Translation to the right, in image widths."""
    translate_y: float = 0.0
    """Translation downwards, in image heights."""
    rotation: float = 0.0
    """Rotation, anticlockwise, in degrees."""
    scale: float = 1.0
    """Scale factor, greater than 0."""
    animate: bool = False
    """Whether to spread the motion over a batch: image i of n gets i/n of it, so that a full rotation loops."""

    def matrices(self, count: int) -> Tensor:
        """One matrix for each image of a batch, [count, 3, 3], as an input of Generator.decode.

        Raises InputError for values that are not finite, and for a scale of 0 or less.
        """
        # The full transform is checked first: fractions of it may be valid although it is not.
        transform(self.translate_x, self.translate_y, self.rotation, self.scale)
        fractions = [i / count if self.animate else 1.0 for i in range(count)]
        return torch.stack(
            [
                transform(self.translate_x * part, self.translate_y * part, self.rotation * part, self.scale**part)
                for part in fractions
            ]
        )
