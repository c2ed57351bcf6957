"""A small VAE of plain convolutions in the layout of TAESD, the tiny autoencoder that Stable Diffusion has previews by.

A picture becomes a latent of an eighth of its side and back, by residual blocks of 64 features without any
normalisation. The posterior's mean is what the encoder says; its variance is one learned number for each latent channel
(a homoscedastic Gaussian: Kingma & Welling 2014 let it depend on the picture), so that what other programs call this
file's encoder is the whole of it.

The networks themselves see pictures in [0, 1]. ComfyUI's names for their tensors are ours, those of diffusers their
twins (`twin`).
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
"""Features of every layer. ComfyUI opens no other."""

PIXELS = 8
"""Of a picture's side for each place of the latent."""

LARGEST_SIDE = 4096
"""Of the height and width of the pictures."""

MOST_LATENT_CHANNELS = 64

SIDE_OF_A_BARE_FILE = 512
"""Assumed of a file that does not say it: the side that Stable Diffusion's pictures have."""

FIRST_LOG_VARIANCE = -4.0
"""Of the posterior, before training: latents begin with a variance of about 1."""


@dataclass(frozen=True)
class TAESDVAEConfig:
    side: int
    """Height of the pictures it was trained on, 8 to 4096; it takes any other size too."""
    channels: int = 3
    """RGB."""
    classes: int = 0
    """None."""
    latent_channels: int = 4
    """Of the latent, 1 to 64: 4 as in Stable Diffusion 1 and XL, 16 as in Stable Diffusion 3 and Flux."""
    components: int = 0
    """Of the Gaussian mixture that latents can be drawn from; 0 for none."""
    directions: int = 0
    """In which those components differ; 0 where there are none."""
    start: tuple[int, int] = (4, 4)
    """As the height of those pictures is to their width."""

    def __post_init__(self) -> None:
        if self.channels != 3:
            raise InputError(f"taesd_vae makes RGB pictures only: choose 3 channels, not {self.channels}.")
        check_proportions("taesd_vae", self.side, self.start, LARGEST_SIDE)
        if not 1 <= self.latent_channels <= MOST_LATENT_CHANNELS:
            raise InputError(f"taesd_vae has 1 to {MOST_LATENT_CHANNELS} latent channels, not {self.latent_channels}.")
        if self.classes != 0:
            raise InputError(f"taesd_vae is trained without classes: their number is 0, not {self.classes}.")
        if self.components or self.directions:
            with torch.device("meta"):  # without memory: a mixture knows itself what it can be
                GaussianMixture(self.latent_size, self.components, self.directions)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, h, w of a picture's latent. A side that is no multiple of 8 is rounded up."""
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
        # What a latent is multiplied by and shifted to be one of another model's; 1 and 0 in all that we train.
        self.register_buffer("vae_scale", torch.ones(()))
        self.register_buffer("vae_shift", torch.zeros(()))
        self.log_variance = nn.Parameter(torch.full((config.latent_channels,), FIRST_LOG_VARIANCE))
        self.mixture = (
            GaussianMixture(config.latent_size, config.components, config.directions) if config.components else None
        )
        self.apply(initialise)
        # The picture begins as a plain mid-grey with a little structure, whose gradient reaches every layer.
        last = self.taesd_decoder[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(last.weight, 0.0, 0.1 * (9 * WIDTH) ** -0.5)
        nn.init.constant_(last.bias, 0.5)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z: [N, C, h, w]. Returns images [N, 3, 8h, 8w], nominally in [-1, 1]; of a latent as high and wide as the
        config's pictures have, only the pixels that are not padding."""
        images = self.taesd_decoder((z - self.vae_shift) * self.vae_scale) * 2 - 1
        height, width = self.size
        return images[:, :, :height, :width] if z.shape[1:] == self.latent_shape else images

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: [N, 3, H, W] in [-1, 1]. Returns the mean and the log variance of z, [N, C, ceil(H/8), ceil(W/8)].

        A height or width that is no multiple of 8 is made one by repeating the last row or column of pixels.
        """
        encoded = self.taesd_encoder(padded(images, PIXELS) * 0.5 + 0.5)
        mean = (encoded / self.vae_scale + self.vae_shift).float()
        return mean, self.log_variance.float()[:, None, None].expand_as(mean)


def encoder(latent_channels: int) -> nn.Sequential:
    """[N, 3, H, W] in [0, 1] -> [N, latent_channels, H/8, W/8]. A layer's place in the row is its name in a file."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1),
        Residual(),
        *(layer for _ in range(3) for layer in (_halving(), Residual(), Residual(), Residual())),
        nn.Conv2d(WIDTH, latent_channels, 3, padding=1),
    )


def decoder(latent_channels: int) -> nn.Sequential:
    """[N, latent_channels, h, w] -> [N, 3, 8h, 8w], nominally in [0, 1]."""
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
    """Keeps latents within 3 of 0, nearly all of a standard normal distribution."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Residual(nn.Module):
    """Three convolutions whose sum with what they were given is rectified, [N, 64, H, W] -> the same."""

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
    """Draws one layer's weights for rectified features (He et al. 2015), by torch's generator."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Residual):
        # Blocks begin near the identity, or without a normalisation each would double the features' variance (Zhang,
        # Dauphin & Ma 2019). A module is visited after those within it.
        last = module.conv[-1]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight.mul_(0.1)


def twin(name: str) -> str | None:
    """What diffusers' AutoencoderTiny calls a tensor of ours; None for one that it does not have.

    Its decoder clamps outside of the row of layers, whose numbers are therefore smaller by 1.
    """
    found = _OURS.fullmatch(name)
    if found is None:
        return None
    part, number, rest = found.groups()
    return f"{part}.layers.{int(number) - (part == 'decoder')}.{rest}"


_OURS = re.compile(r"taesd_(encoder|decoder)\.([0-9]|[1-9][0-9])\.(.+)")


def is_complete(shapes: Shapes) -> bool:
    """Whether the networks' tensors are there as they must be, under our names."""
    first = shapes.get("taesd_decoder.1.weight", ())
    if len(first) != 4 or not 1 <= first[1] <= MOST_LATENT_CHANNELS:
        return False
    return all(shapes.get(name) == shape for name, shape in network_shapes(first[1]).items())


@cache
def network_shapes(latent_channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the encoder's and the decoder's tensors."""
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
        raise InputError(f"its Gaussian mixture has {size} values, which are no square of {channels} channels.")
    return TAESDVAEConfig(PIXELS * places, 3, 0, channels, components, directions)


def _root(number: int) -> int:
    """Of a square; 0 where it is none, or larger than any latent."""
    return next((root for root in range(1, LARGEST_SIDE // PIXELS + 1) if root**2 == number), 0)


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
