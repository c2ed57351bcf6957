"""A small convolutional VAE in the layout of TAESD, the tiny autoencoder for previews of Stable Diffusion.

Residual blocks of 64 features without normalisation encode an image to a latent of an eighth of its side, and back. The
encoder outputs the mean of the posterior; its variance is one learned value per latent channel (a homoscedastic
Gaussian; in Kingma & Welling 2014 it depends on the image). The encoder in its files is thus complete for other
programs.

The networks themselves use images in [0, 1]. Tensors have the names of ComfyUI; those of diffusers are their twins
(`twin`).
"""

import re
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from ..errors import InputError
from .architecture import Architecture, Shapes, check_proportions, padded, size_of
from .layers.mixture import GaussianMixture

WIDTH = 64
"""Features of every layer, the only number that ComfyUI opens."""

PIXELS = 8
"""Downsampling factor: pixels of an image's side per value of the latent's side."""

MAX_SIDE = 4096
"""Maximum height and width of the images, in pixels."""

MAX_LATENT_CHANNELS = 64

SIDE_OF_A_BARE_FILE = 512
"""Side assumed for a file that does not store it: that of Stable Diffusion's images."""

INITIAL_LOG_VARIANCE = -4.0
"""Initial log variance of the posterior. Latents start with a variance of about 1."""


@dataclass(frozen=True)
class TAESDVAEConfig:
    side: int
    """Height of its training images, 8 to 4096; it takes any other size too."""
    channels: int = 3
    """Always 3, RGB."""
    classes: int = 0
    """Always 0: it has no class labels."""
    latent_channels: int = 4
    """Channels of the latent, 1 to 64: 4 as in Stable Diffusion 1 and XL, 16 as in Stable Diffusion 3 and Flux."""
    components: int = 0
    """Components of the Gaussian mixture fitted to its posteriors; 0 for none."""
    directions: int = 0
    """Directions along which those components differ; 0 without a mixture."""
    start: tuple[int, int] = (4, 4)
    """Aspect ratio of its training images, height : width."""

    def __post_init__(self) -> None:
        if self.channels != 3:
            raise InputError(f"channels of taesd_vae must be 3, RGB (got {self.channels}).")
        check_proportions("taesd_vae", self.side, self.start, MAX_SIDE)
        if not 1 <= self.latent_channels <= MAX_LATENT_CHANNELS:
            raise InputError(
                f"latent_channels of taesd_vae must be 1 to {MAX_LATENT_CHANNELS} (got {self.latent_channels})."
            )
        if self.classes != 0:
            raise InputError(f"taesd_vae is trained without classes: classes must be 0 (got {self.classes}).")
        if self.components or self.directions:
            with torch.device("meta"):  # without memory: the mixture checks its own numbers
                GaussianMixture(self.latent_size, self.components, self.directions)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, h, w of the latent of an image. A side that is not a multiple of 8 is rounded up."""
        height, width = size_of(self)
        return self.latent_channels, -(-height // PIXELS), -(-width // PIXELS)

    @property
    def latent_size(self) -> int:
        """Number of values in a latent."""
        channels, height, width = self.latent_shape
        return channels * height * width


class TAESDVAE(nn.Module):
    vae_scale: Tensor
    vae_shift: Tensor

    def __init__(self, config: TAESDVAEConfig):
        super().__init__()
        self.size, self.latent_shape = size_of(config), config.latent_shape
        self.taesd_encoder = encoder(config.latent_channels)
        self.taesd_decoder = decoder(config.latent_channels)
        # Scale and shift from these latents to those of another model; 1 and 0 in all networks trained here.
        self.register_buffer("vae_scale", torch.ones(()))
        self.register_buffer("vae_shift", torch.zeros(()))
        self.log_variance = nn.Parameter(torch.full((config.latent_channels,), INITIAL_LOG_VARIANCE))
        self.mixture = (
            GaussianMixture(config.latent_size, config.components, config.directions) if config.components else None
        )
        self.apply(initialise)
        # The initial image is mid-grey with a little structure, whose gradient reaches every layer.
        last = self.taesd_decoder[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(last.weight, 0.0, 0.1 * (9 * WIDTH) ** -0.5)
        nn.init.constant_(last.bias, 0.5)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decodes z [N, C, h, w] to images [N, 3, 8h, 8w], nominally in [-1, 1].

        A latent with the size of the config gives images without padding, in the size of the config.
        """
        images = self.taesd_decoder((z - self.vae_shift) * self.vae_scale) * 2 - 1
        height, width = self.size
        return images[:, :, :height, :width] if z.shape[1:] == self.latent_shape else images

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes images [N, 3, H, W] in [-1, 1] to mean and log variance of z, each [N, C, ceil(H/8), ceil(W/8)].

        A side that is not a multiple of 8 is padded by repeating the last row or column.
        """
        encoded = self.taesd_encoder(padded(images, PIXELS) * 0.5 + 0.5)
        mean = (encoded / self.vae_scale + self.vae_shift).float()
        return mean, self.log_variance.float()[:, None, None].expand_as(mean)


def encoder(latent_channels: int) -> nn.Sequential:
    """Encoder: [N, 3, H, W] in [0, 1] -> [N, latent_channels, H/8, W/8]. The index of a layer is its name in a file."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        Residual(),
        *(layer for _ in range(3) for layer in (_halving(), Residual(), Residual(), Residual())),
        nn.Conv2d(WIDTH, latent_channels, 3, padding=1),
    )


def decoder(latent_channels: int) -> nn.Sequential:
    """Decoder: [N, latent_channels, h, w] -> [N, 3, 8h, 8w], nominally in [0, 1]."""
    return nn.Sequential(
        SoftClamp(),
        nn.Conv2d(latent_channels, WIDTH, 3, padding=1),
        nn.ReLU(inplace=True),
        *(
            layer
            for _ in range(3)
            for layer in (Residual(), Residual(), Residual(), nn.Upsample(scale_factor=2), _unbiased(stride=1))
        ),
        Residual(),
        nn.Conv2d(WIDTH, 3, 3, padding=1),
    )


class SoftClamp(nn.Module):
    """Bounds latents smoothly to [-3, 3], which covers nearly all of a standard normal distribution."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Residual(nn.Module):
    """Residual block: relu(x + three convolutions), [N, 64, H, W] -> the same."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), third)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) + x).relu_()


def _halving() -> nn.Conv2d:
    return _unbiased(stride=2)


def _unbiased(stride: int) -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=stride, padding=1, bias=False)


def initialise(module: nn.Module) -> None:
    """Sets the initial weights of a layer for ReLU features (He et al. 2015)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Residual):
        # Blocks start near the identity: without normalisation each would double the variance of the features (Zhang,
        # Dauphin & Ma 2019). A module is visited after its children.
        last = module.conv[-1]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight.mul_(0.1)


def twin(name: str) -> str | None:
    """Name of a tensor in diffusers' AutoencoderTiny; None for a tensor that it does not have.

    Its decoder clamps outside of the layers, whose indices are therefore smaller by 1.
    """
    found = _OURS.fullmatch(name)
    if found is None:
        return None
    part, number, rest = found.groups()
    return f"{part}.layers.{int(number) - (part == 'decoder')}.{rest}"


_OURS = re.compile(r"taesd_(encoder|decoder)\.([0-9]|[1-9][0-9])\.(.+)")


def is_complete(shapes: Shapes) -> bool:
    """Whether all tensors of the networks are present with the right shapes, under our names."""
    first = shapes.get("taesd_decoder.1.weight", ())
    if len(first) != 4 or not 1 <= first[1] <= MAX_LATENT_CHANNELS:
        return False
    return all(shapes.get(name) == shape for name, shape in network_shapes(first[1]).items())


@cache
def network_shapes(latent_channels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of encoder and decoder, by name."""
    with torch.device("meta"):
        networks = {"taesd_encoder": encoder(latent_channels), "taesd_decoder": decoder(latent_channels)}
    return {
        f"{part}.{name}": tuple(tensor.shape)
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def _detect(shapes: Shapes) -> bool:
    return "log_variance" in shapes and is_complete(shapes)


def _config_from(shapes: Shapes) -> TAESDVAEConfig:
    channels = shapes["taesd_decoder.1.weight"][1]
    mixture = [shapes.get(f"mixture.{name}", ()) for name in ("centre", "means")]
    if not any(mixture):
        return TAESDVAEConfig(SIDE_OF_A_BARE_FILE, latent_channels=channels)
    if [len(shape) for shape in mixture] != [1, 2]:
        raise InputError("its Gaussian mixture has no centre or no means.")
    (size,), (components, directions) = mixture
    places = _root(size // channels)
    if not places or channels * places**2 != size:
        raise InputError(
            f"its Gaussian mixture has {size} values, not those of a square latent of {channels} channels."
        )
    return TAESDVAEConfig(PIXELS * places, 3, 0, channels, components, directions)


def _root(number: int) -> int:
    """Root of a square number; 0 for other numbers, and for squares larger than any latent."""
    return next((root for root in range(1, MAX_SIDE // PIXELS + 1) if root**2 == number), 0)


ARCHITECTURE = Architecture(
    name="taesd_vae",
    config=TAESDVAEConfig,
    generator=TAESDVAE,
    detect=_detect,
    config_from=_config_from,
    encodes=True,
    spatial=True,
    twin=twin,
)
