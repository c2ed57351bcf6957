"""What judges the reconstructions of a VAE: whether each patch of a picture looks real (Isola et al. 2017)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 64


class PatchDiscriminator(nn.Module):
    """images [N, C, H, W] in [-1, 1], of 8x8 pixels or more -> logits [N, patches], one for each patch of about 32x32.

    Spectral norm (Miyato et al. 2018) where the paper has batch norm: reconstructions and originals then do not meet in
    its statistics.
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
