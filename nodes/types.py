"""The sockets of this pack, and how its values become ComfyUI's and back."""

import torch
from comfy_api.latest import io

from ..gan_core import InputError, Latent

GENERATOR = io.Custom("GENERATOR")
"""A gan_core.Generator, its weights on the CPU."""

IMAGE_DATASET = io.Custom("IMAGE_DATASET")
"""A gan_core.ImageDataset."""

LOSS_MAP = io.Custom("LOSS_MAP")
"""Core's map of names to lists of losses; its Plot Loss Graph draws the one called "loss"."""


def to_image(images: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] in [-1, 1] -> IMAGE: [B, H, W, 3 or 4] in [0, 1]. Grey becomes RGB, which core nodes expect."""
    images = images.add(1).div(2).clamp(0, 1).movedim(1, -1)
    return images.expand(*images.shape[:-1], 3).contiguous() if images.shape[-1] == 1 else images.contiguous()


def to_comfy(latent: Latent) -> dict:
    """A latent as the dict of a LATENT socket."""
    values = {"samples": latent.samples, "space": latent.space}
    return values if latent.labels is None else {**values, "labels": latent.labels}


def from_comfy(values: dict, label: int | None = None) -> Latent:
    """A LATENT socket's dict as a latent.

    label: a class for the whole batch, whatever labels the dict has. Labels that core's batch nodes have cut or
    repeated are matched; InputError where they no longer can be.
    """
    samples = values["samples"]
    labels = values.get("labels")
    if label is not None:
        labels = torch.full((len(samples),), label, dtype=torch.int64)
    elif labels is not None:
        labels = _matched(labels, len(samples), values.get("batch_index"))
    return Latent(samples, values.get("space", "z"), labels)


def _matched(labels: torch.Tensor, count: int, positions: list[int] | None) -> torch.Tensor:
    """The labels of `count` images, after what core's nodes did to the batch.

    They copy the keys that they do not know: Latent From Batch cuts the samples and says in batch_index which it kept,
    Repeat Latent Batch repeats them, and Batch Latents appends others of whose labels nothing is left.
    """
    if positions is None and count % len(labels) == 0:
        return labels.repeat(count // len(labels))
    cut = positions is not None and len(positions) == count and positions == sorted(set(positions))
    if cut and positions[0] >= 0 and positions[-1] < len(labels):
        return labels[torch.tensor(positions)]
    raise InputError(
        "This latent was put together from several, and which image has which class was lost on the way: "
        "set a label on Decode, or decode each batch by itself and join the images."
    )
