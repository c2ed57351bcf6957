"""The reader: a small classifier that says which digit an image shows, and how sure it is.

It judges the demo, and so must itself be right: 99 % on digits that it has not seen. Trained once, then kept in the
cache folder.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from gan_core.data.image_cache import default_cache
from gan_core.examples import digits
from gan_core.weights import write_tensors

VERSION = 1
"""Raised whenever the same digits would give another reader."""

HELD_OUT = 2_000
"""Of the shipped digits, kept for testing."""

STEPS, BATCH, LEARNING_RATE = 2_000, 64, 3e-3
"""The same for both sets: 128,000 images, each a little turned, moved and resized."""

TURN, MOVE, RESIZE = math.radians(12), 2 / 14, 0.1
"""At most: an angle, a share of half the image's side (2 pixels of 28), a share of the digit's size."""


@dataclass(frozen=True)
class Digits:
    """What the reader learns from and what it is tested on. Images are uint8 [N, 28, 28], labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def fingerprint(self) -> str:
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv(1, 24),
            *_conv(24, 24, kernel_size=4, stride=2),  # 14x14
            *_conv(24, 48),
            *_conv(48, 48, kernel_size=4, stride=2),  # 7x7
            *_conv(48, 96),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(96, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: [N, 1, 28, 28] in [-1, 1]. Returns logits [N, 10]."""
        return self.layers(images)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """images: [N, 1, 28, 28] in [-1, 1]. Returns [N, 10], each row's sum 1."""
        return torch.cat([self(part).softmax(dim=1) for part in images.split(500)])


def shipped_digits() -> Digits:
    """The project's 10,000 digits: 2,000 of them, by a fixed draw, for testing."""
    dataset = digits(labels=True)
    assert dataset.labels is not None
    order = np.random.RandomState(0).permutation(len(dataset))
    images, labels = dataset.images[order, :, :, 0], dataset.labels[order]
    return Digits(images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT])


def full_mnist(folder: Path) -> Digits:
    """MNIST's own 60,000 and 10,000."""
    train, test = ((_idx(folder, f"{part}-images-idx3"), _idx(folder, f"{part}-labels-idx1")) for part in MNIST_PARTS)
    return Digits(train[0], train[1].astype(np.int64), test[0], test[1].astype(np.int64))


MNIST_PARTS = ("train", "t10k")


def trained(data: Digits) -> tuple[Reader, float]:
    """A reader of such digits and its share of right answers on the held-out ones; from the cache if it is there."""
    path = default_cache() / f"reader-{VERSION}-{data.fingerprint}.safetensors"
    reader = Reader()
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            reader.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        print(f"the reader is the one of an earlier run: {path.name} in the cache folder")
    else:
        print(f"training the reader on {len(data.train_labels):,} digits; it will be kept for the next time")
        _train(reader, data)
        write_tensors(path, reader.state_dict(), {"format": "pt"})
    reader.eval()
    answers = reader.probabilities(to_images(data.test_images)).argmax(dim=1)
    return reader, float((answers == torch.from_numpy(data.test_labels)).float().mean())


def to_images(images: np.ndarray) -> Tensor:
    """uint8 [N, 28, 28] -> [N, 1, 28, 28] in [-1, 1]."""
    return torch.tensor(images)[:, None].float().div(127.5).sub(1)


def _train(reader: Reader, data: Digits) -> None:
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # dropout, and the weights
    reader.apply(_reset)
    reader.train()
    optimizer = torch.optim.AdamW(reader.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    labels = torch.from_numpy(data.train_labels)
    for step in range(STEPS):
        indices = torch.randint(len(labels), (BATCH,), generator=random)
        images = _disturbed(to_images(data.train_images[indices.numpy()]), random)
        loss = cross_entropy(reader(images), labels[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 500 == 0:
            print(f"  step {step + 1} of {STEPS}, loss {loss.item():.3f}", flush=True)


def _disturbed(images: Tensor, random: torch.Generator) -> Tensor:
    """Turns, moves and resizes each image by a little of its own."""
    turn, size, right, down = torch.rand(4, len(images), generator=random).mul(2).sub(1)  # each [N], in [-1, 1]
    angle, size = turn * TURN, 1 + size * RESIZE
    cosine, sine = angle.cos() * size, angle.sin() * size
    rows = [torch.stack([cosine, -sine, right * MOVE], dim=1), torch.stack([sine, cosine, down * MOVE], dim=1)]
    grid = affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    # What comes in from outside is 0 to grid_sample and must be black, which is -1 here.
    return grid_sample(images + 1, grid, align_corners=False) - 1


def _conv(inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
        module.reset_parameters()


def _idx(folder: Path, name: str) -> np.ndarray:
    """An idx file of unsigned bytes: four bytes of which the last counts the axes, their lengths, then the data."""
    with gzip.open(folder / f"{name}-ubyte.gz") as file:
        content = file.read()
    lengths = np.frombuffer(content, ">u4", content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(lengths)
