"""AutoencoderKL: the VAE of Stable Diffusion and its successors (Esser et al. 2021; Rombach et al. 2022), with the
names of diffusers.

Residual blocks with group norm downsample the image several times, and upsample the latent back, with self-attention in
the middle. The encoder outputs mean and log variance of each value. It is opened and used here, and its decoder can be
fine-tuned; training from scratch needs many GPUs.

Latents are those of the network itself, without the scale factor of a diffusion model.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .architecture import Architecture, Shapes, has_tensors, padded
from .taesd_vae import SIDE_OF_A_BARE_FILE

MAX_WIDTH = 2**12
"""Maximum features of a layer, which limits configs from files."""

MAX_BLOCKS = 8
"""Maximum number of resolutions, and of residual blocks at each. Published networks have 4 and 2."""

MAX_LATENT_CHANNELS = 64

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -30.0, 20.0

EPSILON = 1e-6
"""Epsilon of the group norms."""


@dataclass(frozen=True)
class AutoencoderKLConfig:
    side: int
    """Height and width of its training images, 8 to 4096; it takes any other size too."""
    channels: int = 3
    """1 grey, 3 RGB, 4 RGBA."""
    classes: int = 0
    """Always 0: it has no class labels."""
    latent_channels: int = 4
    """Channels of the latent, 1 to 64: 4 in Stable Diffusion 1 and XL, 16 in Stable Diffusion 3 and Flux."""
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Features at the resolution of the image, at half of it and so on down to that of the latent."""
    layers: int = 2
    """Residual blocks at each resolution; the decoder has one more."""
    groups: int = 32
    """Groups of the group norms. No tensor shows their number."""
    quantisation: int = 1
    """1 for another 1x1 convolution before and after the latent, as in models with a codebook; 0 without."""

    def __post_init__(self) -> None:
        if self.channels not in (1, 3, 4):
            raise InputError(f"channels of autoencoder_kl must be 1, 3 or 4 (got {self.channels}).")
        if not 8 <= self.side <= 4096:
            raise InputError(f"side of autoencoder_kl must be 8 to 4096 pixels (got {self.side}).")
        if not 1 <= self.latent_channels <= MAX_LATENT_CHANNELS:
            raise InputError(
                f"latent_channels of autoencoder_kl must be 1 to {MAX_LATENT_CHANNELS} (got {self.latent_channels})."
            )
        if self.classes != 0:
            raise InputError(f"autoencoder_kl has no classes: classes must be 0 (got {self.classes}).")
        if not 1 <= len(self.widths) <= MAX_BLOCKS or not 1 <= self.layers <= MAX_BLOCKS:
            raise InputError(
                f"autoencoder_kl needs 1 to {MAX_BLOCKS} widths and 1 to {MAX_BLOCKS} layers for each (got "
                f"{len(self.widths)} and {self.layers})."
            )
        if self.groups < 1 or not all(1 <= width <= MAX_WIDTH and width % self.groups == 0 for width in self.widths):
            raise InputError(
                f"widths of autoencoder_kl must be multiples of {self.groups} groups, up to {MAX_WIDTH} (got "
                f"{list(self.widths)})."
            )
        if self.quantisation not in (0, 1):
            raise InputError(f"quantisation of autoencoder_kl must be 0 or 1 (got {self.quantisation}).")

    @property
    def pixels(self) -> int:
        """Downsampling factor: pixels of an image's side per value of the latent's side."""
        return 2 ** (len(self.widths) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """C, h, w of the latent of an image. A side that is not a multiple of `pixels` is rounded up."""
        places = -(-self.side // self.pixels)
        return self.latent_channels, places, places

    @property
    def latent_size(self) -> int:
        """Number of values in a latent."""
        channels, height, width = self.latent_shape
        return channels * height * width


class AutoencoderKL(nn.Module):
    def __init__(self, config: AutoencoderKLConfig):
        super().__init__()
        self.side, self.latent_shape, self.pixels = config.side, config.latent_shape, config.pixels
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1) if config.quantisation else nn.Identity()
        self.post_quant_conv = nn.Conv2d(channels, channels, 1) if config.quantisation else nn.Identity()

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decodes z [N, C, h, w] to images [N, channels, pixels * h, pixels * w], nominally in [-1, 1].

        A latent with the size of the config gives images without padding, [N, channels, side, side].
        """
        images = self.decoder(self.post_quant_conv(z))
        return images[:, :, : self.side, : self.side] if z.shape[1:] == self.latent_shape else images

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes images [N, channels, H, W] in [-1, 1] to mean and log variance of z, each [N, C, ceil(H / pixels),
        ceil(W / pixels)].

        A side that is not a multiple of `pixels` is padded by repeating the last row or column.
        """
        encoded = self.quant_conv(self.encoder(padded(images, self.pixels))).float()
        mean, log_variance = encoded.chunk(2, dim=1)
        return mean, log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


class Encoder(nn.Module):
    """[N, channels, H, W] -> [N, 2 * latent_channels, H / pixels, W / pixels]."""

    def __init__(self, config: AutoencoderKLConfig):
        super().__init__()
        widths = config.widths
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(narrow, wide, config.layers, config.groups, halves=index < len(widths) - 1)
            for index, (narrow, wide) in enumerate(pairwise((widths[0], *widths)))
        )
        self.mid_block = MidBlock(widths[-1], config.groups)
        self.conv_norm_out = nn.GroupNorm(config.groups, widths[-1], EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """[N, latent_channels, h, w] -> [N, channels, pixels * h, pixels * w]."""

    def __init__(self, config: AutoencoderKLConfig):
        super().__init__()
        widths = config.widths[::-1]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.up_blocks = nn.ModuleList(
            UpBlock(wide, narrow, config.layers + 1, config.groups, doubles=index < len(widths) - 1)
            for index, (wide, narrow) in enumerate(pairwise((widths[0], *widths)))
        )
        self.mid_block = MidBlock(widths[0], config.groups)
        self.conv_norm_out = nn.GroupNorm(config.groups, widths[-1], EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))


class DownBlock(nn.Module):
    """[N, inputs, H, W] -> [N, outputs, H, W], or half the side."""

    def __init__(self, inputs: int, outputs: int, layers: int, groups: int, halves: bool):
        super().__init__()
        self.resnets = _row(inputs, outputs, layers, groups)
        self.downsamplers = nn.ModuleList([Halve(outputs)] if halves else [])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class UpBlock(nn.Module):
    """[N, inputs, H, W] -> [N, outputs, H, W], or twice the side."""

    def __init__(self, inputs: int, outputs: int, layers: int, groups: int, doubles: bool):
        super().__init__()
        self.resnets = _row(inputs, outputs, layers, groups)
        self.upsamplers = nn.ModuleList([Double(outputs)] if doubles else [])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


def _row(inputs: int, outputs: int, layers: int, groups: int) -> nn.ModuleList:
    return nn.ModuleList(Residual(outputs if index else inputs, outputs, groups) for index in range(layers))


class MidBlock(nn.Module):
    def __init__(self, width: int, groups: int):
        super().__init__()
        self.attentions = nn.ModuleList([Attention(width, groups)])
        self.resnets = nn.ModuleList(Residual(width, width, groups) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.resnets
        return after(self.attentions[0](before(x)))


class Residual(nn.Module):
    """Pre-activation residual block: x + two convolutions of normalised and activated features."""

    def __init__(self, inputs: int, outputs: int, groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, EPSILON)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, EPSILON)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        changed = self.conv1(functional.silu(self.norm1(x)))
        changed = self.conv2(functional.silu(self.norm2(changed)))
        return self.conv_shortcut(x) + changed


class Attention(nn.Module):
    """Residual self-attention over all positions, with one head."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, EPSILON)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        places = self.group_norm(x).flatten(2).transpose(1, 2)  # [N, H * W, C]
        query, key, value = (to(places)[:, None] for to in (self.to_q, self.to_k, self.to_v))
        # torch's own, which stores no matrix of (H W) x (H W): for 1024x1024 images that would be a gigabyte.
        gathered = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        return x + self.to_out[0](gathered).transpose(1, 2).reshape(x.shape)


class Halve(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))  # padding only at the right and bottom, as in its training


class Double(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


QUERY = "encoder.mid_block.attentions.0.to_q.weight"
"""Name of a matrix that older files store as a 1x1 convolution."""


def _detect(shapes: Shapes) -> bool:
    required = {
        "encoder.conv_in.weight": 4,
        "encoder.conv_out.weight": 4,
        "encoder.down_blocks.0.resnets.0.conv1.weight": 4,
        QUERY: 2,
        "decoder.conv_in.weight": 4,
        "decoder.conv_out.weight": 4,
        "decoder.up_blocks.0.resnets.0.conv1.weight": 4,
    }
    return (
        has_tensors(shapes, required)
        # Otherwise its encoder outputs no variance, as in a VAE with a codebook.
        and shapes["encoder.conv_out.weight"][0] == 2 * shapes["decoder.conv_in.weight"][1]
    )


def _config_from(shapes: Shapes) -> AutoencoderKLConfig:
    blocks = [f"encoder.down_blocks.{block}.resnets.0.conv1.weight" for block in range(MAX_BLOCKS + 1)]
    layers = [f"encoder.down_blocks.0.resnets.{layer}.conv1.weight" for layer in range(MAX_BLOCKS + 1)]
    if not all(shapes.get(name, (1,)) for name in blocks):
        raise InputError("one of its convolutions has no shape.")
    return AutoencoderKLConfig(
        side=SIDE_OF_A_BARE_FILE,
        channels=shapes["encoder.conv_in.weight"][1],
        latent_channels=shapes["decoder.conv_in.weight"][1],
        widths=tuple(shapes[name][0] for name in blocks if name in shapes),
        layers=sum(name in shapes for name in layers),
        quantisation=int("quant_conv.weight" in shapes),
    )


ARCHITECTURE = Architecture(
    name="autoencoder_kl",
    config=AutoencoderKLConfig,
    generator=AutoencoderKL,
    detect=_detect,
    config_from=_config_from,
    encodes=True,
    spatial=True,
)
