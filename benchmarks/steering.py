"""Claims: a walk spends under 3 % outside the network, directions of a 512-wide generator take under 2 s, and a small
generator's own samples are found again with a PSNR of more than 30 dB within a minute."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch

from .measure import Figures, interleaved, ratio, spread

SEEDS, FRAMES = 8, 30
MAX_OUTSIDE, MAX_SECONDS, MIN_PSNR = 0.03, 2.0, 30.0
SAMPLES = 8


def run(rounds: int, threads: int) -> Figures:
    """Walks, finds directions and projects, and tells what each took."""
    torch.set_num_threads(threads)
    return {"walk": _walk(rounds), "directions_cpu_s": _directions(), "projection": _projection()}


def _generator(side: int, base: int, largest: int):  # type: ignore[no-untyped-def]
    """A StyleGAN2 with random weights, w_dim 512 and a mapping network of 8 layers, as NVIDIA's are."""
    import gan_core
    from gan_core.architectures import stylegan2

    torch.manual_seed(0)
    config = stylegan2.StyleGAN2Config(side, 3, stylegan2.widths(side, base, largest))
    module = stylegan2.StyleGAN2Generator(config).eval().requires_grad_(False)
    return gan_core.Generator(stylegan2.ARCHITECTURE, config, module)


def _walk(rounds: int) -> Figures:
    import gan_core
    from gan_core.generator import MAX_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE
    from gan_core.sampling.walks import walk

    generator = _generator(256, 2048, 64)
    seeds = range(SEEDS)
    frames = walk(generator, gan_core.sample_noise(generator, seeds), FRAMES)
    styles = frames.samples.squeeze(3).transpose(1, 2)
    at_once = min(MAX_DECODED_AT_ONCE, PIXELS_DECODED_AT_ONCE // math.prod(generator.size))

    def walked() -> None:
        generator.decode(walk(generator, gan_core.sample_noise(generator, seeds), FRAMES))

    @torch.no_grad()
    def bare() -> list[torch.Tensor]:
        return [generator.module.synthesis(part) for part in styles.split(at_once)]

    def way() -> None:
        walk(generator, gan_core.sample_noise(generator, seeds), FRAMES)

    seconds = interleaved({"bare": bare, "walk": walked, "way": way}, rounds, 1)
    more, share = ratio(seconds["walk"], seconds["bare"]) - 1, ratio(seconds["way"], seconds["walk"])
    print(f"{len(frames)} frames of 256x256 by the bare network: {spread(seconds['bare'])} CPU seconds")
    print(f"with the walk, from seeds to images: {spread(seconds['walk'])}: {more:+.2%}; the aim is {MAX_OUTSIDE:.0%}")
    print(f"seeds, mapping and walk alone: {spread(seconds['way'])}, {share:.2%} of it")
    return {
        "frames": len(frames),
        "bare_cpu_s": round(statistics.median(seconds["bare"]), 3),
        "outside_the_network": round(more, 4),
        "share_of_the_way": round(share, 5),
        "target": MAX_OUTSIDE,
    }


def _directions() -> Figures:
    import gan_core
    from gan_core.sampling import directions

    generator = _generator(256, 32768, 512)
    positive, negative = (gan_core.sample_noise(generator, range(i, i + 200)) for i in (0, 1000))
    finders: dict[str, Callable[[], object]] = {
        "sefa": lambda: directions.sefa(generator, 10),
        "pca": lambda: directions.pca(generator, 10),
        "boundary": lambda: directions.boundary(generator, positive, negative),
    }
    found: Figures = {"target": MAX_SECONDS}
    for name, find in finders.items():
        start = time.process_time()
        find()
        found[name] = round(time.process_time() - start, 3)
        print(f"{name} of a generator of 256x256 and 512 wide: {found[name]} CPU seconds; the aim is {MAX_SECONDS:g}")
    return found


def _projection() -> Figures:
    import gan_core
    from gan_core.examples import FOLDER
    from gan_core.sampling.projection import ProjectionConfig, projecting, psnr

    found: Figures = {"target_db": MIN_PSNR}
    for path in sorted(FOLDER.glob("*.safetensors")):
        generator = gan_core.load(path)
        # Seeds that are not among the random latents that the search begins with.
        images = generator.decode(gan_core.sample_noise(generator, range(10**6, 10**6 + SAMPLES))).clamp(-1, 1)
        start, began = time.process_time(), time.monotonic()
        *_, step = projecting(generator, images, ProjectionConfig())
        cpu, wall = ((then - now) / SAMPLES for then, now in ((time.process_time(), start), (time.monotonic(), began)))
        each = [psnr(step.images[i : i + 1], images[i : i + 1]) for i in range(SAMPLES)]
        print(
            f"{path.name}: {SAMPLES} samples of its own found with {', '.join(f'{value:.1f}' for value in each)} dB, "
            f"in {cpu:.1f} CPU seconds ({wall:.1f} s) each; the aim is {MIN_PSNR:g} dB in 60"
        )
        found[path.stem] = {
            "psnr_db": [round(value, 1) for value in each], "cpu_s_each": round(cpu, 1), "wall_s_each": round(wall, 1),
        }  # fmt: skip
    return found
