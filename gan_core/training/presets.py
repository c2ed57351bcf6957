"""Presets: recipes that are known to work. docs/recipes.md says what each is for and what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from .schedule import Schedule
from .settings import AdversarialRecipe, Recipe, VariationalRecipe

GAN_PRESETS = {
    "dcgan": AdversarialRecipe("dcgan", {"refine": 1}, learning_rate=2e-4),
    "dcgan_small": AdversarialRecipe(
        "dcgan", {"width": 32, "latent_size": 64, "refine": 1}, betas=(0.5, 0.99), ema_kimg=20.0
    ),
    "digits": AdversarialRecipe(
        "dcgan", {"width": 24, "latent_size": 8, "refine": 1}, betas=(0.5, 0.99), ema_kimg=20.0, cpu_threads=1
    ),
    "dcgan_classic": AdversarialRecipe("dcgan", learning_rate=2e-4, ema_kimg=0.0, batch_size=128),
    "few": AdversarialRecipe(
        "dcgan",
        {"width": 32, "latent_size": 64, "refine": 1},
        betas=(0.5, 0.99),
        ema_kimg=20.0,
        batch_size=32,
        augment="ada",
    ),
    "r3gan_small": AdversarialRecipe(
        "r3gan",
        {"base": 512, "most": 128, "blocks": 1},
        learning_rate=Schedule(1e-3, 2e-4, kimg=80),
        betas=(0.0, Schedule(0.9, 0.99, kimg=80)),
        batch_size=32,
        ema_kimg=Schedule(0, 5, kimg=80),
        cpu_threads=1,
        objective="relativistic",
        # Ten times the paper's for 32x32 and more: its batches are 16 times as large, with less noise.
        gamma=Schedule(4.0, 0.5, kimg=80),
    ),
    "r3gan": AdversarialRecipe(
        "r3gan",
        {"base": 16384, "most": 512},
        learning_rate=Schedule(2e-4, 5e-5, kimg=2000),
        betas=(0.0, Schedule(0.9, 0.99, kimg=2000)),
        batch_size=64,
        ema_kimg=Schedule(0, 100, kimg=2000),
        objective="relativistic",
        gamma=Schedule(4.0, 0.4, kimg=2000),
        augment="ada",
        augment_p=Schedule(0.0, 0.3, kimg=2000),
    ),
    # The paper's for faces, whose gamma is 2 to 0.2 at 64x64 pixels and 9.4 to 0.94 in these units at 256x256.
    "r3gan_large": AdversarialRecipe(
        "r3gan",
        {"base": 24576, "most": 768},
        learning_rate=Schedule(2e-4, 5e-5, kimg=20_000),
        betas=(0.0, Schedule(0.9, 0.99, kimg=20_000)),
        batch_size=256,
        ema_kimg=Schedule(0, 500, kimg=20_000),
        objective="relativistic",
        gamma=Schedule(4.0, 0.4, kimg=20_000),
        augment="ada",
        augment_p=Schedule(0.0, 0.3, kimg=20_000),
    ),
    "stylegan2_small": AdversarialRecipe(
        "stylegan2",
        {"base": 512, "largest": 128, "latent_size": 64, "w_dim": 64, "mapping_layers": 2},
        # Weights that are kept at unit scale need steps of this size to get anywhere within minutes.
        learning_rate=Schedule(8e-3, 2e-3, kimg=200.0),
        betas=(0.0, 0.99),
        batch_size=16,
        ema_kimg=15.0,
        cpu_threads=1,
        # Under `log`, without labels, digits were of a few shapes only for the first 20 kimg.
        objective="relativistic",
        penalty="r1",
        gamma=2.0,
        penalty_every=16,
        augment="ada",
    ),
    # The small one's recipe for a GPU of anyone's, and files of 6 MB: styles of twice the length, features up to 64x64.
    "stylegan2_medium": AdversarialRecipe(
        "stylegan2",
        {"base": 4096, "largest": 128, "latent_size": 64, "w_dim": 128, "mapping_layers": 2},
        learning_rate=Schedule(4e-3, 1e-3, kimg=400.0),
        betas=(0.0, 0.99),
        batch_size=32,
        ema_kimg=15.0,
        objective="relativistic",
        penalty="r1",
        gamma=Schedule(2.0, 0.3, kimg=400.0),
        penalty_every=16,
        augment="ada",
    ),
    # For one GPU (Karras et al. 2020, appendix; gamma as they begin with it: 2e-4 times pixels, over the batch).
    "stylegan2": AdversarialRecipe(
        "stylegan2",
        {"base": 16384, "mapping_layers": 2},
        learning_rate=2.5e-3,
        betas=(0.0, 0.99),
        batch_size=32,
        penalty="r1",
        gamma=2e-4 * 64**2 / 32,
        penalty_every=16,
        path_length=2.0,
        augment="ada",
    ),
    # For a few hundred images and one GPU (Liu et al. 2021).
    "fastgan": AdversarialRecipe(
        "fastgan",
        learning_rate=2e-4,
        batch_size=8,
        ema_kimg=5.0,
        objective="hinge",
        self_supervision=1.0,
        augment="diffaugment",
    ),
    "fastgan_small": AdversarialRecipe(
        "fastgan",
        {"base": 8, "latent_size": 64},
        learning_rate=1e-3,
        batch_size=16,
        ema_kimg=5.0,
        objective="hinge",
        self_supervision=1.0,
        augment="diffaugment",
    ),
}

VAE_PRESETS = {
    "conv_vae": VariationalRecipe("conv_vae", learning_rate=1e-3, batch_size=128, ema_kimg=20.0, cpu_threads=1),
    "taesd_vae": VariationalRecipe(
        "taesd_vae",
        learning_rate=5e-4,
        batch_size=16,
        ema_kimg=20.0,
        reconstruction="multiscale",
        beta=0.1,
        adversarial_kimg=2000.0,
    ),
    "finetune_decoder": VariationalRecipe(
        None, learning_rate=1e-4, batch_size=8, ema_kimg=10.0, reconstruction="multiscale", adversarial_kimg=50.0
    ),
}

PRESETS: Mapping[str, Recipe] = {**GAN_PRESETS, **VAE_PRESETS}
"""All recipes by name, the most generally useful first."""


AUTO = "auto"
"""Stands for the preset that a probe of the data chooses: see probe.py."""
