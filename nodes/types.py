"""Sockets of this pack, and conversions between its values and those of ComfyUI."""

import torch
from comfy_api.latest import io

from ..gan_core import Generator, InputError, Latent
from .host import device

GENERATOR = io.Custom("GENERATOR")
"""A gan_core.Generator, its weights on the CPU."""

IMAGE_DATASET = io.Custom("IMAGE_DATASET")
"""A gan_core.ImageDataset."""

TRANSFORM = io.Custom("STYLEGAN3_TRANSFORM")
"""A gan_core.Transform: translation, rotation and scale of StyleGAN3 images."""

LATENT_DIRECTIONS = io.Custom("LATENT_DIRECTIONS")
"""A gan_core.sampling.directions.Directions: named vectors in the latent space of a generator."""

GAN_SETTINGS = io.Custom("GAN_SETTINGS")
"""What a training of a GAN does differently from its preset: values by the names of gan_core's settings."""

VAE_SETTINGS = io.Custom("VAE_SETTINGS")
"""The same for a VAE."""

LOSS_MAP = io.Custom("LOSS_MAP")
"""Core's map of names to lists of losses; its Plot Loss Graph draws the entry "loss"."""


def to_image(images: torch.Tensor) -> torch.Tensor:
    """Converts [B, C, H, W] in [-1, 1] to an IMAGE, [B, H, W, 3 or 4] in [0, 1]. Grey becomes RGB, as core expects."""
    images = images.add(1).div(2).clamp(0, 1).movedim(1, -1)
    return images.expand(*images.shape[:-1], 3).contiguous() if images.shape[-1] == 1 else images.contiguous()


def to_comfy(latent: Latent) -> dict:
    """Converts a latent to the dict of a LATENT socket, on the device of the values that pass between nodes."""
    samples = device.between_nodes(latent.samples)
    values = {"samples": samples, "space": latent.space}
    if latent.labels is not None:
        values |= {"labels": device.between_nodes(latent.labels), "labelled": samples}
    return values


def from_comfy(generator: Generator, values: dict, label: int | torch.Tensor | None = None) -> Latent:
    """Converts the dict of a LATENT socket to a latent of a generator.

    label: class of the whole batch, or weights [classes] of several, instead of the labels in the dict. Labels are
    matched to a batch that core's nodes have cut, repeated or computed with. A latent that core's nodes saved and
    loaded has lost the name of its space, which follows from its shape. Raises InputError if labels can no longer be
    matched.
    """
    samples = values["samples"]
    styled = generator.style_shape is not None and tuple(samples.shape[1:]) == generator.style_shape
    space = values.get("space", "w+" if styled else "z")
    labels = None
    if label is not None and space == "z":
        one = label[None] if isinstance(label, torch.Tensor) else torch.tensor([label])
        labels = one.repeat_interleave(len(samples), 0)
    elif "labels" in values:
        labels = _matched(values)
    return Latent(samples, space, labels)


def _matched(values: dict) -> torch.Tensor:
    """Labels of the points of a latent after core's nodes changed the batch.

    They copy unknown keys when they cut, repeat or append, and batch_index does not show which of these it was. Each
    point is therefore looked up among the labelled ones.
    """
    # Nodes of others may have moved one of them and not the others.
    samples, labels = values["samples"].cpu(), values["labels"].cpu()
    labelled = values.get("labelled", samples).cpu()
    if samples.shape == labelled.shape and torch.equal(samples, labelled):
        return labels
    places: dict[bytes, dict[bytes, int]] = {}
    for place, (point, label) in enumerate(zip(labelled, labels, strict=True)):
        places.setdefault(_bytes(point), {})[_bytes(label)] = place
    found = [places.get(_bytes(point), {}) for point in samples]
    if all(len(one) == 1 for one in found):
        return labels[[place for one in found for place in one.values()]]
    # The same number of new points: each was computed from the point at its index.
    if not any(found) and len(samples) == len(labels) and "batch_index" not in values:
        return labels
    raise InputError(
        "This latent was joined from several ones, which lost the class labels of its images: set a label on Decode, "
        "or decode each batch separately and join the images."
    )


def _bytes(point: torch.Tensor) -> bytes:
    return point.double().contiguous().numpy().tobytes()
