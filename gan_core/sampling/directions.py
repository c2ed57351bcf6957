"""Directions in latent space: finding, applying, saving and loading.

SeFa computes them from a generator's weights (Shen and Zhou 2021), GANSpace as principal components of its styles
(Haerkoenen et al. 2020), InterFaceGAN as normals of boundaries between two sets of latents (Shen et al. 2020).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..generator import Generator
from ..latents import Latent
from ..weights import check_finite, opened, write_tensors
from .mixing import layers_of
from .spaces import to_space

FORMAT_VERSION = 1

MAX_SAMPLES = 100_000
"""Maximum number of styles sampled for a PCA; more do not change the result."""

FOR_DEVIATIONS = 1024
"""Styles from which the standard deviation along a direction is estimated."""


@dataclass(frozen=True, repr=False, eq=False)
class Directions:
    """Named unit vectors in the latent space of a generator. Their tensors lie on the CPU."""

    names: tuple[str, ...]
    vectors: Tensor
    """Unit vectors [K, C]; C is the length of z, or of a style w."""
    space: str
    """Latent space of the vectors, "z" or "w"."""
    deviations: Tensor
    """Standard deviation of the generator's latents along each vector, [K]: the length of a step of strength 1."""
    strengths: Tensor
    """Importance of each vector, [K]: its singular value (SeFa), its fraction of the variance (PCA), or the fraction of
    points on the correct side (boundary)."""
    method: str
    """Method by which they were found."""
    layers: tuple[int, int] | None
    """First and last style layer that they apply to; None for all, and in z."""
    generator: str
    """Title of the generator that they belong to."""
    fingerprint: str
    """Hash of that generator's latent space, from fingerprint()."""

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Directions({self.summary})"

    @property
    def summary(self) -> str:
        """One line with names, space and generator."""
        shown = ", ".join(self.names[:8]) + (f" and {len(self) - 8} more" if len(self) > 8 else "")
        return f"{shown} in {self.space} of {self.generator}"

    def place(self, which: str) -> int:
        """Index of a direction, from its name or its number, which counts from 1.

        Raises InputError if there is no such direction.
        """
        which = which.strip()
        if which in self.names:
            return self.names.index(which)
        if which.isascii() and which.isdigit() and 1 <= int(which[:9]) <= len(self):
            return int(which) - 1
        raise InputError(
            f'There is no direction "{which[:100]}": write a number from 1 to {len(self)}, or one of the names '
            f"{', '.join(self.names[:20])}."
        )

    def belong_to(self, generator: Generator) -> bool:
        """Whether they were found in this generator, or in one with the same latent space."""
        return self.fingerprint == fingerprint(generator)


def fingerprint(generator: Generator) -> str:
    """Hash that identifies the latent space of a generator.

    Taken over the mapping network of a style-based generator, so that tuning its synthesis network does not change the
    hash; over all weights of others.
    """
    module = generator.module if generator.style_shape is None else generator.module.mapping
    found = hashlib.sha256(generator.architecture.name.encode())
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


# Finding directions.


def sefa(generator: Generator, count: int = 10, first: int = 0, last: int | None = None) -> Directions:
    """SeFa: directions to which the weights respond most, in closed form, without sampling (Shen and Zhou 2021, eq. 6).

    They are the eigenvectors of A^T A, where A are the weights applied to the latent: those of style layers first to
    last of a style-based generator, those of the first layer of others.

    Raises InputError for a count below 1, and for layers that the generator does not have.
    """
    if generator.style_shape is None:
        if (first, last) != (0, None):
            layers_of(generator)  # raises the error
        weights = _first_weights(generator)
    else:
        chosen = layers_of(generator, first, last)
        weights = torch.cat([_weights(affine) for affine in _affines(generator)[chosen]], dim=1)
    weights = weights.double()
    values, vectors = torch.linalg.eigh(weights @ weights.T)
    order = values.argsort(descending=True)[: _at_most(count, len(values))]
    return _directions(
        generator,
        [f"sefa {i + 1}" for i in range(len(order))],
        vectors[:, order].T,
        values[order].clamp_min(0).sqrt(),
        "sefa",
        (first, generator.style_shape[1] - 1 if last is None else last) if generator.style_shape else None,
    )


def pca(generator: Generator, count: int = 10, samples: int = 4096, seed: int = 0) -> Directions:
    """GANSpace: principal components of the styles w of a style-based generator (Haerkoenen et al. 2020, sec. 2.1).

    samples: number of styles, sampled with the seed. Raises InputError for a generator that is not style-based, for a
    count below 1, and for fewer than two samples.
    """
    if generator.style_shape is None:
        raise InputError(
            f"{generator.title} is a {generator.architecture.name} generator and has no styles w: choose sefa or "
            "boundary."
        )
    if not 2 <= samples <= MAX_SAMPLES:
        raise InputError(f"samples must be 2 to {MAX_SAMPLES:,} (got {samples}).")
    w = _styles(generator, samples, seed).double()
    w = w - w.mean(0)
    values, vectors = torch.linalg.eigh(w.T @ w / (samples - 1))
    order = values.argsort(descending=True)[: _at_most(count, len(values))]
    return _directions(
        generator,
        [f"pca {i + 1}" for i in range(len(order))],
        vectors[:, order].T,
        values[order].clamp_min(0) / values.sum(),
        "pca",
        None,
        deviations=values[order].clamp_min(0).sqrt(),
    )


def boundary(generator: Generator, positive: Latent, negative: Latent, name: str = "boundary") -> Directions:
    """Normal of the hyperplane that separates two sets of latents, from negative to positive (InterFaceGAN).

    Fisher's discriminant with a covariance shrunk towards a multiple of the identity, more for fewer points. Raises
    InputError if a set is empty, or if both have the same mean.
    """
    name = _name(name)
    if min(len(positive), len(negative)) < 1:
        raise InputError("A boundary needs two sets of latents, but one of them is empty.")
    x, y = (_vectors(to_space(generator, each)) for each in (positive, negative))
    return _boundaries(generator, [(name, x, y)])


def class_boundaries(generator: Generator, latent: Latent) -> Directions:
    """Boundaries of the classes in a labelled latent: for each class one direction, from the other classes to it.

    Raises InputError for a latent without labels or with a single class, and for a generator that is not style-based,
    because z does not depend on the class.
    """
    if latent.labels is None or generator.style_shape is None or latent.space != "z":
        raise InputError(
            "A boundary needs two sets of latents: connect the second one to negative, or give labelled latents in z "
            "of a style-based generator."
        )
    labels = latent.labels.cpu()
    labels = labels.argmax(1) if labels.ndim == 2 else labels
    w = _vectors(to_space(generator, latent))
    found = sorted(set(labels.tolist()))
    if len(found) < 2:
        raise InputError("All latents have the same class: a boundary needs at least two classes.")
    names = generator.card.class_names or ()
    known = {label: str(names[label]) if label < len(names) else str(label) for label in found}
    return _boundaries(
        generator, [(_name(f"class {known[label]}"), w[labels == label], w[labels != label]) for label in found]
    )


def _boundaries(generator: Generator, sets: Sequence[tuple[str, Tensor, Tensor]]) -> Directions:
    normals, right = [], []
    for name, positive, negative in sets:
        x, y = positive.double(), negative.double()
        apart = x.mean(0) - y.mean(0)
        if not bool(apart.norm() > 1e-9):
            raise InputError(f"The two sets of {name} cannot be separated: their means are equal.")
        inner = torch.cat([x - x.mean(0), y - y.mean(0)])
        count, size = inner.shape
        covariance = inner.T @ inner / max(1, count - 2)
        shrink = size / (size + count)
        mean_variance = covariance.diagonal().mean().clamp_min(1e-12)
        identity = torch.eye(size, dtype=torch.float64)
        normal = torch.linalg.solve((1 - shrink) * covariance + shrink * mean_variance * identity, apart)
        middle = (x.mean(0) + y.mean(0)) / 2 @ normal
        own_side = torch.cat([x @ normal > middle, y @ normal < middle]).double().mean()
        normals.append(normal)
        right.append(own_side)
    return _directions(
        generator,
        [name for name, _, _ in sets],
        torch.stack(normals),
        torch.stack(right),
        "boundary",
        None,
        turn=False,
    )


def _directions(
    generator: Generator,
    names: Sequence[str],
    vectors: Tensor,
    strengths: Tensor,
    method: str,
    layers: tuple[int, int] | None,
    deviations: Tensor | None = None,
    turn: bool = True,
) -> Directions:
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    if turn:
        # The sign of an eigenvector is arbitrary: the largest component is made positive.
        places = vectors.abs().argmax(1, keepdim=True)
        vectors = vectors * vectors.gather(1, places).sign()
    space = "z" if generator.style_shape is None else "w"
    if deviations is None and space == "z":
        deviations = torch.ones(len(vectors))
    if deviations is None:
        w = _styles(generator, FOR_DEVIATIONS, 0)
        deviations = (w.double() @ vectors.T).std(0)
    return Directions(
        tuple(names),
        vectors.float(),
        space,
        deviations.float(),
        strengths.float(),
        method,
        layers,
        generator.title,
        fingerprint(generator),
    )


def _styles(generator: Generator, count: int, seed: int) -> Tensor:
    """Random styles w of a generator, without truncation, [count, w_dim], on the CPU."""
    stream = np.random.RandomState(seed)
    z = torch.from_numpy(stream.randn(count, generator.config.latent_size).astype(np.float32))
    labels = torch.from_numpy(stream.randint(generator.classes, size=count)) if generator.classes else None
    return _vectors(generator.mapped(Latent(z[:, :, None, None], labels=labels)))


def _vectors(latent: Latent) -> Tensor:
    """Points as vectors, [N, C]; of points in w+ the mean over their styles."""
    return latent.samples.mean(2).flatten(1).cpu()


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable() or name.isdigit():
        raise InputError(f'"{name[:100]}" is not a valid name of a direction: use one word or a few.')
    return name


def _at_most(count: int, available: int) -> int:
    if count < 1:
        raise InputError(f"count must be at least 1 (got {count}).")
    return min(count, available)


@torch.no_grad()
def _weights(layer: nn.Module, shape: torch.Size | None = None, size: int | None = None) -> Tensor:
    """Effective weights of a linear layer, [inputs, outputs], including any scale that it applies.

    shape: shape of one input, if it is not a vector. size: number of the first inputs to include; None for all.
    """
    weight = next(layer.parameters())
    inputs = shape or weight.shape[1:]
    units = torch.eye(size or inputs.numel(), inputs.numel(), device=weight.device).unflatten(1, inputs)
    return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).cpu()


def _affines(generator: Generator) -> list[nn.Module]:
    """Affine layer of each style: that of a convolution, or of the image output for the last style."""
    found = [(name, module) for name, module in generator.module.synthesis.named_modules() if name.endswith("affine")]
    assert generator.style_shape is not None
    convolutions = [module for name, module in found if not name.endswith("torgb.affine")]
    return [*convolutions, found[-1][1]][: generator.style_shape[1]]


class _Met(Exception):
    """Carries the first layer and the shape of one of its inputs."""


@torch.no_grad()
def _first_weights(generator: Generator) -> Tensor:
    """Effective weights of the first layer called with z, or a multiple of it: [latent_size, outputs]."""
    size = generator.config.latent_size
    z = torch.from_numpy(np.random.RandomState(0).randn(1, size)).float().to(generator.device)
    labels = torch.zeros(1, dtype=torch.int64, device=generator.device) if generator.classes else None

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0] if inputs else None
        if isinstance(x, Tensor) and x.is_floating_point() and len(x) == 1 and x.numel() >= size:
            alike = torch.cosine_similarity(x.flatten(1)[:, :size], z)
            if hasattr(module, "weight") and float(alike) > 0.9999:
                raise _Met(module, x.shape[1:])

    leaves = [module for module in generator.module.modules() if not any(module.children())]
    hooks = [module.register_forward_pre_hook(look) for module in leaves]
    try:
        generator.module(z, labels)
    except _Met as met:
        layer, shape = met.args
    else:
        raise InputError(f"{generator.title} has no layer whose input is z itself: choose boundary instead.")
    finally:
        for hook in hooks:
            hook.remove()
    return _weights(layer, shape, size)


# Applying directions.


def move(
    generator: Generator,
    latent: Latent,
    directions: Directions,
    which: str,
    strength: float | Sequence[float],
    first: int | None = None,
    last: int | None = None,
) -> Latent:
    """Moves latents along a direction.

    which: name of the direction, or its number from 1. strength: distance in standard deviations, for all points or for
    each; negative for the opposite way. first, last: style layers that are moved, inclusive; None for the layers of the
    direction. Points of a style-based generator are mapped to w first.

    Raises InputError for directions of another latent space, for an unknown direction, for strengths that are not
    finite or do not fit the number of points, and for layers that the generator does not have.
    """
    check_fit(generator, directions)
    place = directions.place(which)
    far = torch.tensor([strength] if isinstance(strength, int | float) else list(strength), dtype=torch.float32)
    if len(far) not in (1, len(latent)) or not bool(far.isfinite().all()):
        raise InputError(f"strength must be a finite number, one for all {len(latent)} latents or one for each.")
    meant = directions.layers or (0, None)
    layers = (meant[0] if first is None else first, meant[1] if last is None else last)
    latent = to_space(generator, latent)
    chosen, space = slice(None), latent.space
    if generator.style_shape is not None:
        chosen = layers_of(generator, *layers)
        space = space if chosen == slice(0, generator.style_shape[1]) else "w+"
    elif first is not None or last is not None:
        layers_of(generator)  # raises the error
    step = (directions.vectors[place] * directions.deviations[place]).to(latent.samples)
    samples = latent.samples.clone()
    samples[:, :, chosen] += far.to(samples)[:, None, None, None] * step[:, None, None]
    return Latent(samples, space, latent.labels)


def check_fit(generator: Generator, directions: Directions) -> None:
    """Raises InputError if directions belong to a latent space of another kind or size than the generator's."""
    space, size = ("z", generator.latent_shape[0]) if generator.style_shape is None else ("w", generator.style_shape[0])
    if (directions.space, directions.vectors.shape[1]) != (space, size):
        raise InputError(
            f"These directions belong to {directions.generator}, whose {directions.space} has "
            f"{directions.vectors.shape[1]} dimensions; {generator.title} needs directions in {space} with {size}: "
            "find its own."
        )


# Saving and loading.


def save(directions: Directions, path: str | Path) -> Path:
    """Writes directions to one safetensors file, atomically. Returns its path.

    Raises InputError if the path cannot be written.
    """
    path = Path(path)
    facts = {
        "names": directions.names,
        "space": directions.space,
        "method": directions.method,
        "layers": directions.layers,
        "generator": directions.generator,
        "fingerprint": directions.fingerprint,
    }
    metadata = {
        "format": "pt",
        "gan_core.directions_version": str(FORMAT_VERSION),
        "gan_core.directions": json.dumps(facts, ensure_ascii=False),
        "modelspec.title": f"directions of {directions.generator}",
    }
    tensors = {name: getattr(directions, name) for name in ("vectors", "deviations", "strengths")}
    write_tensors(path, tensors, metadata)
    return path


def holds_directions(path: str | Path) -> bool:
    """Whether a safetensors file has directions that this version can read, from its header alone."""
    try:
        with opened(Path(path)) as file:
            return file.metadata.get("gan_core.directions_version") == str(FORMAT_VERSION)
    except InputError:
        return False


def load(path: str | Path) -> Directions:
    """Loads directions from a safetensors file. Nothing in the file is executed.

    Raises InputError, which names the file and the cause, for anything else.
    """
    path = Path(path)
    with opened(path) as file:
        version = file.metadata.get("gan_core.directions_version")
        if version is None:
            kind = "a generator" if "gan_core.architecture" in file.metadata else file.kind
            raise InputError(
                f"{path.name} is {kind} and contains no directions: choose a file written by Save Latent Directions."
            )
        if version != str(FORMAT_VERSION):
            raise InputError(
                f"{path.name} has directions in format version {version}, and this ComfyUI-GAN-Studio reads version "
                f"{FORMAT_VERSION}: update the pack to open it."
            )
        try:
            facts = json.loads(file.metadata["gan_core.directions"])
            names, layers = tuple(facts["names"]), facts["layers"]
            count, size = file.shapes["vectors"]
            texts = [facts[name] for name in ("space", "method", "generator", "fingerprint")]
            whole = (
                len(names) == count >= 1
                and size >= 1
                and all(isinstance(text, str) for text in (*names, *texts))
                and facts["space"] in ("z", "w")
                and file.shapes["deviations"] == file.shapes["strengths"] == (count,)
                and (layers is None or (len(layers) == 2 and all(type(layer) is int for layer in layers)))
            )
        except (KeyError, ValueError, TypeError, RecursionError):
            whole = False
        tensors = file.tensors() if whole else {}
        if not whole or not all(tensor.is_floating_point() for tensor in tensors.values()):
            raise InputError(f"{path.name} is damaged: the description of its directions does not match its tensors.")
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    check_finite(path.name, tensors)
    return Directions(
        names=names,
        vectors=tensors["vectors"],
        space=facts["space"],
        deviations=tensors["deviations"],
        strengths=tensors["strengths"],
        method=facts["method"],
        layers=None if layers is None else (layers[0], layers[1]),
        generator=facts["generator"],
        fingerprint=facts["fingerprint"],
    )
