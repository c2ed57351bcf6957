"""What each discriminator says, in numbers: logits of weights and images that are the same everywhere.

Those of StyleGAN2 and of R3GAN are what the authors' own programs say of the same weights under their names; those of
the other families were written down once, and DCGAN's agree with its layers written out one after the other.
"""

import math
from typing import Any

import golden
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_core.architectures import by_name
from gan_core.architectures.patch_discriminator import PatchDiscriminator

CASES = golden.cases("discriminators")
CLOSE = {"rel": 1e-3, "abs": 2e-4}
"""How near logits are in float32 on any CPU."""


def built(case: dict[str, Any]) -> nn.Module:
    """The network with the case's weights, as training has it, unless the case says otherwise."""
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in case["config"].items()}
    if case["family"] == "patches":
        network: nn.Module = PatchDiscriminator(**settings)
    else:
        family = by_name(case["family"])
        assert family.discriminator
        network = family.discriminator(family.config(**settings), case["normalisation"])
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if value.is_floating_point()}
    drawn = golden.weights(shapes, case["seed"])
    if case["family"] != "stylegan2":  # which scales its weights itself
        drawn = {
            name: value / math.sqrt(value[0].numel()) if value.ndim > 1 else value for name, value in drawn.items()
        }
    network.load_state_dict({**network.state_dict(), **drawn})
    return network.train(case.get("training", True))


def images_of(case: dict[str, Any]) -> Tensor:
    return torch.from_numpy(np.random.RandomState(case["seed"]).uniform(-1, 1, case["images"])).float()


@torch.no_grad()
def said(case: dict[str, Any]) -> dict[str, list[float]]:
    """What the network says of the images, and what drawing them costs where it draws."""
    network, images = built(case), images_of(case)
    labels = [torch.tensor(case["labels"])] if "labels" in case else []
    found = {"logits": network(images, *labels).flatten().tolist()}
    if hasattr(network, "self_supervision"):
        found["drawn"] = [
            network.self_supervision(images, torch.Generator().manual_seed(seed)).item() for seed in (0, 1)
        ]
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_logits_are_those_that_were_written_down(case):
    found = said(case)
    assert found.keys() == case["says"].keys()
    for name, values in case["says"].items():
        assert found[name] == pytest.approx(values, **CLOSE), name


def test_every_family_that_is_trained_is_here_with_each_of_its_normalisations_and_labels():
    here = {(case["family"], case["normalisation"], "labels" in case) for case in CASES}
    for name in ("dcgan", "r3gan", "stylegan2", "fastgan"):
        for normalisation in by_name(name).normalisations:
            assert {(name, normalisation, False), (name, normalisation, True)} <= here
