"""Patch discriminator for the reconstructions of a VAE (PatchGAN: Isola et al. 2017)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 64


class PatchDiscriminator(nn.Module):
    """Images [N, C, H, W] in [-1, 1] of at least 8x8 pixels -> logits [N, patches], one per patch of about 32x32.

    Spectral norm (Miyato et al. 2018) replaces the batch norm of the paper, whose statistics would mix reconstructions
    and originals.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, WIDTH, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(WIDTH, 2 * WIDTH, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * WIDTH, 4 * WIDTH, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(4 * WIDTH, 1, 3, padding=1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten(1)
