"""Adapter from a generator to the VAE interface of core's nodes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..gan_core import Generator, InputError, Latent
from ..gan_core.architectures.architecture import padded
from ..gan_core.sampling.encoding import images_for
from .host import device
from .host.progress import decoded
from .types import from_comfy, to_image

DECODE_BYTES_OF_A_PIXEL = 4 * 2178
ENCODE_BYTES_OF_A_PIXEL = 4 * 1767
"""ComfyUI's estimates for the VAE of Stable Diffusion; TAESD's layout needs less."""

MIN_PLACES = 4
"""Minimum side of a tile, in latent positions. Tiles of half of it are used too."""


class GeneratorAsVAE:
    """Generator with the part of the interface of comfy.sd.VAE that core's nodes use.

    `samples` are latents [B, C, h, w], `pixels` an IMAGE [B, H, W, C] in [0, 1], as in core. Latents with the
    style_shape of a style-based generator are styles, others are z.

    A spatial VAE takes images of any size, padded to a multiple of its stride. For others images are cropped and
    resized, and tiling has no effect, because one latent position is a whole image.
    """

    latent_dim = 2

    def __init__(self, generator: Generator, label: int | Tensor | None = None):
        """label: class of all decoded images, or weights of several, for a generator with classes."""
        self.generator, self.label = generator, label
        self.latent_channels, self.output_channels = generator.latent_shape[0], generator.config.channels
        self.upscale_ratio = _pixels_of_a_place(generator)
        # Core crops images to a multiple of it, which would leave nothing of smaller images than the generator's.
        self.downscale_ratio = self.upscale_ratio if generator.architecture.spatial else 1

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"This node needs a VAE's {name}, which a generator does not have: it can be decoded, encoded and saved."
        )

    def spacial_compression_decode(self) -> int:
        return self.upscale_ratio

    def spacial_compression_encode(self) -> int:
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        """Not defined: it is not a VAE of videos."""

    def memory_used_decode(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> int:
        """Bytes needed to decode a latent [B, C, h, w], in float32 for any dtype."""
        if not self.generator.architecture.spatial:
            return device.DECODE_BYTES
        return DECODE_BYTES_OF_A_PIXEL * shape[2] * shape[3] * self.upscale_ratio**2

    def memory_used_encode(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> int:
        """Bytes needed to encode an image [B, C, H, W]."""
        return ENCODE_BYTES_OF_A_PIXEL * shape[2] * shape[3]

    def get_sd(self) -> dict[str, Tensor]:
        """State dict, which Load Generator recognises by names and shapes."""
        return self.generator.module.state_dict()

    def decode(self, samples: Tensor) -> Tensor:
        latent = self._latent(samples)
        with device.on_device(self.generator, self.memory_used_decode(samples.shape)):
            try:
                return _shown(decoded(self.generator, latent))
            except Exception as error:
                if not self.generator.architecture.spatial or not device.is_out_of_memory(error):
                    raise
        # Outside of the except clause, whose error would keep the memory of the attempt.
        return self.decode_tiled(samples)

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int = 64,
        tile_y: int = 64,
        overlap: int = 16,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Decodes in tiles. tile_x, tile_y, overlap: in latent positions. tile_t, overlap_t: only for videos."""
        if not self.generator.architecture.spatial:
            return self.decode(samples)
        self.generator.check(self._latent(samples))
        sides = max(MIN_PLACES, tile_x), max(MIN_PLACES, tile_y)
        with device.on_device(self.generator, self.memory_used_decode((1, self.latent_channels, *sides))):
            images = device.in_tiles(self._tile, samples, sides, overlap, self.upscale_ratio, self.output_channels)
        if tuple(samples.shape[1:]) == self.generator.latent_shape:
            height, width = self.generator.size
            images = images[..., :height, :width]
        return _shown(images)

    def encode(self, pixels: Tensor) -> Tensor:
        prepared = images_for(self.generator, pixels)
        with device.on_device(self.generator, self.memory_used_encode(prepared.shape)):
            try:
                return device.to_intermediate(self.generator.encode(prepared).samples)
            except Exception as error:
                if not self.generator.architecture.spatial or not device.is_out_of_memory(error):
                    raise
        return self.encode_tiled(pixels)

    def encode_tiled(
        self,
        pixels: Tensor,
        tile_x: int = 512,
        tile_y: int = 512,
        overlap: int = 64,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """Encodes in tiles. tile_x, tile_y, overlap: in pixels. tile_t, overlap_t: only for videos."""
        if not self.generator.architecture.spatial:
            return self.encode(pixels)
        place = self.downscale_ratio
        sides = max(MIN_PLACES, tile_x // place), max(MIN_PLACES, tile_y // place)
        prepared = padded(images_for(self.generator, pixels), place)
        tile = (1, self.output_channels, *(place * side for side in sides))
        with device.on_device(self.generator, self.memory_used_encode(tile)):
            samples = device.in_tiles(
                lambda part: self.generator.encode(part).samples,
                prepared, sides, overlap // place, 1 / place, self.latent_channels, place,
            )  # fmt: skip
        return device.to_intermediate(samples)

    def _latent(self, samples: Tensor) -> Latent:
        latent = from_comfy(self.generator, {"samples": samples}, self.label)
        if self.generator.classes and latent.space == "z" and latent.labels is None:
            raise InputError(
                f"{self.generator.title} has {self.generator.classes} classes, and core's nodes do not pass on which "
                "one a latent has: use Decode with the generator, or set a label on Generator to VAE."
            )
        return latent

    def _tile(self, z: Tensor) -> Tensor:
        """Decodes a tile of latents [1, C, h, w] to images [1, C, H, W], with all pixels of every latent position."""
        height, width = (size * self.upscale_ratio for size in z.shape[2:])
        if tuple(z.shape[1:]) == self.generator.latent_shape:
            # As a whole image it would lose its padding.
            z = functional.pad(z, (0, 1, 0, 0), mode="replicate")
        return self.generator.decode(z)[..., :height, :width]


def _pixels_of_a_place(generator: Generator) -> int:
    """Side in pixels of the image part of one latent position."""
    if not generator.architecture.spatial:
        return generator.config.side
    # Measured with the network itself. Two positions are not square, and never a padded image of its own size.
    return generator.decode(torch.zeros(1, generator.latent_shape[0], 1, 2)).shape[2]


def _shown(images: Tensor) -> Tensor:
    return device.to_intermediate(to_image(images))
