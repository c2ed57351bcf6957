"""The sockets of this pack, and how its values become ComfyUI's and back."""

import torch
from comfy_api.latest import io

from ..gan_core import Generator, InputError, Latent

GENERATOR = io.Custom("GENERATOR")
"""A gan_core.Generator, its weights on the CPU."""

IMAGE_DATASET = io.Custom("IMAGE_DATASET")
"""A gan_core.ImageDataset."""

TRANSFORM = io.Custom("STYLEGAN3_TRANSFORM")
"""A gan_core.Transform: where the pictures of a StyleGAN3 are moved and turned to."""

LATENT_DIRECTIONS = io.Custom("LATENT_DIRECTIONS")
"""A gan_core.sampling.directions.Directions: vectors with names in a generator's latent space."""

GAN_SETTINGS = io.Custom("GAN_SETTINGS")
"""What a training of a GAN does differently from its preset: values by the names of gan_core's settings."""

VAE_SETTINGS = io.Custom("VAE_SETTINGS")
"""The same for a VAE."""

LOSS_MAP = io.Custom("LOSS_MAP")
"""Core's map of names to lists of losses; its Plot Loss Graph draws the one called "loss"."""


def to_image(images: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] in [-1, 1] -> IMAGE: [B, H, W, 3 or 4] in [0, 1]. Grey becomes RGB, which core nodes expect."""
    images = images.add(1).div(2).clamp(0, 1).movedim(1, -1)
    return images.expand(*images.shape[:-1], 3).contiguous() if images.shape[-1] == 1 else images.contiguous()


def to_comfy(latent: Latent) -> dict:
    """A latent as the dict of a LATENT socket."""
    values = {"samples": latent.samples, "space": latent.space}
    if latent.labels is not None:
        values |= {"labels": latent.labels, "labelled": latent.samples}
    return values


def from_comfy(generator: Generator, values: dict, label: int | torch.Tensor | None = None) -> Latent:
    """A LATENT socket's dict as a latent of a generator.

    label: a class for the whole batch, or weights [classes] of several, whatever labels the dict has. Labels of a
    batch that core's nodes have cut, repeated or computed with are matched; InputError where they no longer can be. A
    latent that was saved and loaded by core's nodes has lost the name of its space, and is told by its shape.
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
    """The labels of a latent's points, after what core's nodes did to the batch.

    They copy the keys that they do not know, whatever they cut, repeat or append, and batch_index does not tell which
    of these it was. So each point is looked up among those that the labels were given to.
    """
    samples, labels = values["samples"], values["labels"]
    labelled = values.get("labelled", samples)
    if samples.shape == labelled.shape and torch.equal(samples, labelled):
        return labels
    places: dict[bytes, dict[bytes, int]] = {}
    for place, (point, label) in enumerate(zip(labelled, labels, strict=True)):
        places.setdefault(_bytes(point), {})[_bytes(label)] = place
    found = [places.get(_bytes(point), {}) for point in samples]
    if all(len(one) == 1 for one in found):
        return labels[[place for one in found for place in one.values()]]
    # New points in the old number were computed from the old ones, place by place.
    if not any(found) and len(samples) == len(labels) and "batch_index" not in values:
        return labels
    raise InputError(
        "This latent was put together from several, and which image has which class was lost on the way: "
        "set a label on Decode, or decode each batch by itself and join the images."
    )


def _bytes(point: torch.Tensor) -> bytes:
    return point.cpu().double().contiguous().numpy().tobytes()
