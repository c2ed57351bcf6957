"""Signal processing of StyleGAN3: bands, low-pass filters, and the filtered leaky ReLU.

Figures and sections refer to Karras et al. 2021.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MARGIN = 10
"""Samples of a grid beyond the image on each side, so that the surroundings of the image are not zero."""

FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3
"""Cutoff and stopband of the first layer, in cycles per image width, and the stopband of the last layer relative to
half the image's side (sec. 3.2)."""

CRITICAL_LAYERS = 2
"""Number of last layers with critical sampling, where sharpness matters more than aliasing."""

CLAMP = 256.0
"""Bound of the features' absolute values, for half precision."""

STRIP, MAX_STRIP = 32, 96
"""Rows of a result that are computed at a time. The cost of a filter grows with the length of its strip, but up to
MAX_STRIP splitting costs more than it saves."""

SAMPLES_PER_CORE, SAMPLES_ELSEWHERE = 2**21, 2**26
"""Samples of fine grids processed at a time, limited by the caches of a CPU, or by the memory of other devices."""


@dataclass(frozen=True)
class Band:
    """Band of a layer's features as a sampled signal. Frequencies are in cycles per image width."""

    cutoff: float
    """Cutoff frequency."""
    half_width: float
    """Width of the transition from cutoff to stopband."""
    rate: int
    """Samples per image width."""
    size: int
    """Samples along each side of the grid, including the margins."""


def bands(side: int, layers: int) -> list[Band]:
    """Bands of all layers, including the output layer (Karras et al. 2021, sec. 3.2).

    Cutoff and stopband grow geometrically up to the critically sampled layers; the rate is the smallest power of two
    for the stopband.
    """
    found = []
    for layer in range(layers + 1):
        progress = min(layer / (layers - CRITICAL_LAYERS), 1)
        cutoff = FIRST_CUTOFF * (side / 2 / FIRST_CUTOFF) ** progress
        stopband = FIRST_STOPBAND * (side / 2 * LAST_STOPBAND / FIRST_STOPBAND) ** progress
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, side)))
        size = side if layer >= layers - 1 else rate + 2 * MARGIN
        found.append(Band(cutoff, max(rate / 2, stopband) - cutoff, rate, size))
    return found


def low_pass(taps: int, band: Band, rate: int) -> Tensor:
    """Low-pass filter [taps] for a grid of a rate: a sinc in a Kaiser window, with sum 1."""
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    values = np.sinc(2 * band.cutoff * places) * kaiser(taps, band, rate)
    return torch.from_numpy(values / values.sum()).float()


def radial_low_pass(taps: int, band: Band, rate: int) -> Tensor:
    """Radially symmetric low-pass filter [taps, taps]: a jinc, the inverse transform of a disc (app. C)."""
    places = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(places, places[:, None])
    jinc = torch.special.bessel_j1(torch.from_numpy(2 * math.pi * band.cutoff * radius)).numpy() / radius
    window = kaiser(taps, band, rate)
    values = jinc * np.outer(window, window)
    return torch.from_numpy(values / values.sum()).float()


def kaiser(taps: int, band: Band, rate: int) -> np.ndarray:
    """Kaiser window of a length, for the transition width of a band (Oppenheim & Schafer, sec. 7.6)."""
    attenuation = 2.285 * (taps - 1) * math.pi * (2 * band.half_width) / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    return np.kaiser(taps, beta)


def filtered_leaky_relu(x: Tensor, up_filter: Tensor, down_filter: Tensor, up: int, size: int) -> Tensor:
    """Leaky ReLU on a grid finer by a factor `up`, between two low-pass filters (Karras et al. 2021, fig. 4b).

    x: planes [P, H, H]. up_filter: [taps]. down_filter: [taps], or [taps, taps] if it is not separable. Returns
    [P, size, size]: every second sample of the fine grid in both directions, around its centre.

    A filter along one side is a banded matrix. Matrix products are so fast that blocks of the band, most of them zeros,
    are faster than convolutions of single planes.
    """
    strip = size if size <= MAX_STRIP else max(STRIP, up // 2)
    strips = math.ceil(size / strip)
    up_taps, down_taps = len(up_filter), len(down_filter)
    fine = 2 * (size - 1) + down_taps  # samples of the fine grid along a side
    before = (fine - up * x.shape[1] + up_taps - 1 + up) // 2  # before the first of x, to align the centres

    # Rows of the fine grid and of x on which a strip depends. The next strip starts `step` rows of x further on.
    strip_fine = 2 * (strip - 1) + down_taps
    first = -(before // up)
    reach = (strip_fine - 1 + up_taps - 1 - before) // up - first + 1
    step = 2 * strip // up

    rise = banded(up_filter.flip(0) * up, strip_fine, reach, 1, up, before + first * up)
    across = rise if strips == 1 else rise[: 2 * strip]
    narrowed = _separable(down_filter, strip) if down_filter.ndim == 1 else _radial(down_filter)
    blocks = strips if strips == 1 else strips + 1  # horizontally, where blocks do not overlap
    after = (blocks - 1) * step + reach - x.shape[1] + first
    edges = (-first, after, -first, after)
    at_once = SAMPLES_PER_CORE * torch.get_num_threads() if x.device.type == "cpu" else SAMPLES_ELSEWHERE
    # A depthwise convolution processes 16 planes at a time.
    planes_at_once = max(1 if down_filter.ndim == 1 else 16, at_once // fine**2)

    results = []
    for planes in x.split(planes_at_once):
        wide = along_rows(functional.pad(planes, edges), across, step)
        rows = []
        for row in range(0, strips * step, step):
            samples = rise @ wide[:, row : row + reach]
            # In place, and clamped first: the gradient needs the output of the leaky ReLU unchanged.
            samples = functional.leaky_relu_(samples.clamp_(-CLAMP / 0.2, CLAMP), 0.2)
            rows.append(narrowed(samples))
        results.append(torch.cat(rows, dim=1)[:, :size, :size])
    return torch.cat(results)


def _separable(down_filter: Tensor, strip: int) -> Callable[[Tensor], Tensor]:
    taps = len(down_filter)
    fall = banded(down_filter.flip(0), strip, 2 * strip + taps - 2, 2, 1, 0)
    return lambda samples: along_rows(fall @ samples, fall, 2 * strip)


def _radial(down_filter: Tensor) -> Callable[[Tensor], Tensor]:
    kernel = down_filter.flip(0, 1)[None, None]

    def narrowed(samples: Tensor) -> Tensor:
        count = len(samples)
        return functional.conv2d(samples[None], kernel.expand(count, -1, -1, -1), stride=2, groups=count)[0]

    return narrowed


def banded(taps: Tensor, rows: int, columns: int, row_step: int, column_step: int, start: int) -> Tensor:
    """Filter as a banded matrix [rows, columns]: taps[start + column * column_step - row * row_step], else 0."""
    row, column = (torch.arange(count, device=taps.device) for count in (rows, columns))
    tap = start + column * column_step - row[:, None] * row_step
    inside = (tap >= 0) & (tap < len(taps))
    return taps[tap.clamp(0, len(taps) - 1)] * inside


def along_rows(x: Tensor, block: Tensor, step: int) -> Tensor:
    """Multiplies every row of x by a banded matrix of repeated blocks.

    x: [P, H, W]. block: [outputs, inputs]; the next one starts `step` inputs further on. Returns [P, H, blocks *
    outputs].
    """
    windows = x.unfold(2, block.shape[1], step)  # [P, H, blocks, inputs]
    # One large product instead of many small ones.
    return (windows.reshape(-1, block.shape[1]) @ block.T).view(*x.shape[:2], -1)
