"""Critters: drawn creatures whose factors are known, such as hue, ears, smile and tilt.

`factors` draws a table of factors from a seed, and `draw` turns it into images of any size. Shapes are signed distances
to their edges, so that edges and outlines are smooth without supersampling. Pixels are computed with elementary
operations only, and what they begin with is rounded, so that machines agree on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np

KINDS = ("bear", "bug", "bunny", "cat", "imp", "sprout")
"""What grows on top of the head: round ears, feelers, long ears, pointed ears, horns, leaves."""

PATTERNS = ("plain", "belly", "spots", "stripes")

RANGES = {
    "hue": (0.0, 1.0),
    "background": (0.0, 1.0),
    "size": (0.78, 1.08),
    "height": (0.78, 1.25),
    "squareness": (0.0, 0.75),
    "pear": (-0.12, 0.22),
    "tilt": (-14.0, 14.0),
    "eye_size": (0.22, 0.33),
    "eye_spacing": (0.38, 0.48),
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "smile": (-0.35, 1.0),
    "mouth": (-0.8, 1.0),
}
"""Range of each continuous factor, within which it is uniform.

hue, background: hues of body and background, in turns from red over yellow, green and blue.
size: scale of the body. height: its height over its width. squareness: 0 an ellipse, 1 a rectangle.
pear: how much wider it is below than above.
tilt: rotation in degrees, clockwise.
eye_size, eye_spacing: radius of an eye and its distance from the middle, over half of the body's width.
gaze_x, gaze_y: where the eyes look, right and down.
smile: from a frown to a smile. mouth: how far it is open; below 0 it is closed.
"""

VERSION = 2
"""Version of the drawing, increased whenever the same factors give other pixels."""

CHUNK = 32
"""Images that are drawn at once: few enough for their arrays to stay in a processor's cache."""

RADIUS, GROUND = 0.52, 0.79
"""Mean radius of a body of size 1, and height of the ground. Images go from -1 to 1, down and right."""

BORDER, OUTLINE = 0.075, 0.032
"""Widths of the white border and of the dark outline."""

WHITE, CREAM, LEAF = (1.0, 1.0, 1.0), (1.0, 0.93, 0.78), (0.52, 0.78, 0.36)
INK, ROSE, THROAT = (0.20, 0.13, 0.16), (0.98, 0.50, 0.50), (0.48, 0.12, 0.18)

SPOTS = ((-0.62, -0.62, 0.15), (0.30, -0.82, 0.19), (0.78, -0.36, 0.11), (-0.86, 0.22, 0.14), (0.66, 0.66, 0.17),
         (-0.42, 0.82, 0.15), (0.90, 0.16, 0.08))  # fmt: skip
"""Places and radii of the spots, over the body's half width and height."""


def factors(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws the factors of images, each [count]: those of RANGES, kind (index into KINDS) and pattern (into PATTERNS).

    The first images of a seed are the same for every count.
    """
    # RandomState's stream is frozen, and each image takes a row of it.
    uniform = np.random.RandomState(seed).rand(count, len(RANGES) + 2)
    table = {name: low + (high - low) * uniform[:, i] for i, (name, (low, high)) in enumerate(RANGES.items())}
    table["kind"] = (uniform[:, -2] * len(KINDS)).astype(np.int64)
    table["pattern"] = (uniform[:, -1] * len(PATTERNS)).astype(np.int64)
    return table


def draw(table: Mapping[str, np.ndarray], side: int = 64) -> np.ndarray:
    """Draws images, uint8 [N, side, side, 3], of factors [N] as `factors` gives them."""
    images = np.empty((len(table["kind"]), side, side, 3), np.uint8)
    for kind in range(len(KINDS)):
        for pattern in range(len(PATTERNS)):
            (chosen,) = np.nonzero((table["kind"] == kind) & (table["pattern"] == pattern))
            for start in range(0, len(chosen), CHUNK):
                rows = chosen[start : start + CHUNK]
                critter = _Critter({name: values[rows] for name, values in table.items()}, side)
                images[rows] = critter.drawn(KINDS[kind], PATTERNS[pattern])
    return images


Number = float | np.ndarray
"""The same for all images or [N, 1, 1]; in pixels [N, side, side]."""

Colour = tuple[float, float, float] | np.ndarray
"""sRGB in [0, 1], the same for all images or [N, 3, 1, 1]."""


class _Part(NamedTuple):
    """Part of a critter: distances to its edge and to that of an area inside it, if it has one, and their colours."""

    distance: np.ndarray
    colour: Colour
    inner: np.ndarray | None = None
    inner_colour: Colour = WHITE


class _Critter:
    """Critters of one kind and pattern, while they are drawn. Distances and coordinates are float32 [N, side, side]."""

    def __init__(self, table: Mapping[str, np.ndarray], side: int):
        self.table, self.side = table, side
        self.of = {name: values.astype(np.float32)[:, None, None] for name, values in table.items()}
        of = self.of
        stretch = np.sqrt(of["height"])
        self.a = RADIUS * of["size"] / stretch
        """Half of the body's width."""
        self.b = RADIUS * of["size"] * stretch
        """Half of its height."""
        axis = ((np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1).astype(np.float32)
        self.across, self.down = axis[None, None, :], axis[None, :, None]
        cos, sin = _turn(table["tilt"][:, None, None])
        middle = GROUND - self.b
        # Coordinates of a critter that stands straight, from the middle of its body.
        self.x = cos * self.across + sin * (self.down - middle)
        self.y = cos * (self.down - middle) - sin * self.across
        self.u, self.v = self.x / self.a, self.y / self.b
        # Yellow is lighter than other colours; dark yellow would be brown.
        hue = table["hue"]
        lighter = 0.07 * np.cos(2 * np.pi * (hue - 0.25))
        self.fur = _colour(0.77 + lighter, 0.125, hue)
        self.light = _colour(0.92 + 0.5 * lighter, 0.07, hue + 0.03)
        self.shade = _colour(0.64 + lighter, 0.13, hue - 0.03)
        self.line = _colour(0.36, 0.075, hue - 0.02)

    def drawn(self, kind: str, pattern: str) -> np.ndarray:
        """Images, uint8 [N, side, side, 3]."""
        self.image = self.background()
        body, top = self.body(), getattr(self, kind)()
        parts = [*top, *self.feet(), *self.arms()]
        self.paint(reduce(np.minimum, [body, *(part.distance for part in parts)]) - BORDER, WHITE)
        for part in parts:
            self.paint_part(part)
        self.paint_part(_Part(body, self.fur))
        self.paint_pattern(pattern, body)
        self.paint_light(body)
        self.face()
        return (self.image * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)

    # What is painted.

    def paint(self, distance: np.ndarray, colour: Colour, opacity: float = 1.0) -> None:
        """Paints the inside of a shape, where its distance is negative, with a smooth edge of one pixel."""
        self.blend(np.clip(0.5 - distance * (self.side / 2), 0, 1) * np.float32(opacity), colour)

    def blend(self, coverage: np.ndarray, colour: Colour) -> None:
        """Blends a colour into the images with a coverage of 0 to 1."""
        rows, columns = (_span(np.any(coverage, axis=(0, axis))) for axis in (2, 1))
        image = self.image[:, :, rows, columns]
        image += coverage[:, None, rows, columns] * (np.asarray(colour, np.float32).reshape(-1, 3, 1, 1) - image)

    def paint_part(self, part: _Part) -> None:
        self.paint(part.distance - OUTLINE, self.line)
        self.paint(part.distance, part.colour)
        if part.inner is not None:
            self.paint(part.inner, part.inner_colour)

    def background(self) -> np.ndarray:
        """A pale tint, lighter behind the critter, with the critter's shadow. [N, 3, side, side]."""
        hue = self.table["background"]
        self.image = np.repeat(np.repeat(_colour(0.89, 0.055, hue), self.side, 2), self.side, 3)
        self.blend(_glow(self.across / 1.3, self.down / 1.3), _colour(0.96, 0.03, hue + 0.04))
        shadow = _glow(self.across / (1.3 * self.a), (self.down - GROUND - 0.07) / 0.13)
        self.blend(0.8 * shadow, _colour(0.62, 0.06, hue))
        return self.image

    def paint_pattern(self, pattern: str, body: np.ndarray) -> None:
        a, b = self.a, self.b
        if pattern == "belly":
            self.paint(np.maximum(self.ellipse(0, 0.52 * b, 0.62 * a, 0.58 * b), body), CREAM)
        elif pattern == "spots":
            for x, y, radius in SPOTS:
                spot = self.ellipse(x * a, y * b, radius * a, radius * a)
                self.paint(np.maximum(spot, body), self.shade, 0.85)
        elif pattern == "stripes":
            wave = (self.v - 0.25 * np.abs(self.u)) * 2.6
            stripe = np.abs(wave - np.floor(wave) - 0.5) - 0.26  # of a period
            inside = np.maximum(stripe * (self.b / 2.6), 0.52 - np.abs(self.u) - np.maximum(np.abs(self.v) - 0.62, 0))
            self.paint(np.maximum(inside, body), self.shade, 0.85)

    def paint_light(self, body: np.ndarray) -> None:
        """Light from above on the left, and shade at the edge below."""
        inside = np.clip(0.5 - body * (self.side / 2), 0, 1)
        shade = np.clip(self.radius(self.u + 0.25, self.v + 0.30) - 0.85, 0, 0.6)
        self.blend(0.75 * shade * inside, self.line)
        self.blend(0.7 * _glow((self.u + 0.34) / 0.6, (self.v + 0.55) / 0.45), self.light)

    def face(self) -> None:
        a, b, of = self.a, self.b, self.of
        radius, spacing = of["eye_size"] * a, of["eye_spacing"] * a
        height = -0.14 * b
        for side in (-1, 1):
            self.blend(0.75 * _glow((self.u - side * 0.66) / 0.27, (self.y - 0.30 * b) / (0.18 * a)), ROSE)
        self.mouth()
        for side in (-1, 1):
            x, y = side * spacing, height
            self.paint(self.disc(x, y, radius) - 0.6 * OUTLINE, self.line)
            self.paint(self.disc(x, y, radius), WHITE)
            # Pupils keep to the white, and squint a little.
            x, y = x + (0.26 * of["gaze_x"] - 0.07 * side) * radius, y + 0.24 * of["gaze_y"] * radius
            self.paint(self.disc(x, y, 0.68 * radius), INK)
            glow = _glow((self.x - x) / (0.55 * radius), (self.y - y - 0.36 * radius) / (0.42 * radius))
            self.blend(0.9 * glow, self.shade)
            self.paint(self.disc(x - 0.24 * radius, y - 0.26 * radius, 0.25 * radius), WHITE)
            self.paint(self.disc(x + 0.26 * radius, y + 0.24 * radius, 0.11 * radius), WHITE, 0.9)

    def mouth(self) -> None:
        """A stroke along a parabola, or the space between two of them, with a tongue."""
        a, of = self.a, self.of
        width, height = 0.23 * a, 0.36 * self.b + 0.04 * a
        arch = 1 - (self.x / width) ** 2  # 1 in the middle, 0 at the corners
        upper = height + 0.14 * a * of["smile"] * arch
        open_by = 0.26 * a * np.maximum(of["mouth"], 0)
        lower = upper + open_by * arch
        gradient = 2 * 0.14 * a * of["smile"] * self.x / width**2
        steep = np.sqrt(1 + gradient * gradient)
        inside = np.maximum(upper - self.y, self.y - lower) / steep
        stroke = np.maximum(inside, np.abs(self.x) - width) - 0.026
        self.paint(stroke, self.line)
        space = np.maximum(inside, np.abs(self.x) - width) + 0.004
        self.paint(np.where(open_by > 0.03, space, 1), THROAT)
        tongue = self.ellipse(0, upper + open_by, 0.6 * width, 0.55 * open_by + 1e-3)
        self.paint(np.where(open_by > 0.03, np.maximum(tongue, space), 1), ROSE)

    # Shapes: distances to their edges, negative inside.

    def radius(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """1 at the body's edge, 0 in its middle (Fernandez-Guasti's squircle, wider below)."""
        u = u / (1 + self.of["pear"] * v.clip(-1.5, 1.5))
        p, q = u * u, v * v
        return np.sqrt(p + q - self.of["squareness"] * np.minimum(p * q, 1))

    def body(self) -> np.ndarray:
        radius = self.radius(self.u, self.v)
        across = self.u * (1 - self.of["squareness"] * np.minimum(self.v * self.v, 1)) / self.a
        down = self.v * (1 - self.of["squareness"] * np.minimum(self.u * self.u, 1)) / self.b
        return (radius - 1) * radius / np.sqrt(across * across + down * down + np.float32(1e-9))

    def disc(self, x: Number, y: Number, radius: Number) -> np.ndarray:
        across, down = self.x - x, self.y - y
        return np.sqrt(across * across + down * down) - radius

    def ellipse(
        self,
        x: Number,
        y: Number,
        width: Number,
        height: Number,
        across: np.ndarray | None = None,
        down: np.ndarray | None = None,
    ) -> np.ndarray:
        """Ellipse with half axes. across, down: coordinates; None for those of the critter."""
        u = ((self.x if across is None else across) - x) / width
        v = ((self.y if down is None else down) - y) / height
        squared = u * u + v * v + np.float32(1e-9)
        u, v = u / width, v / height
        # To first order the distance is a function's value over the length of its gradient.
        return (squared - np.sqrt(squared)) / np.sqrt(u * u + v * v + np.float32(1e-9))

    def turned(self, x: Number, y: Number, degrees: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates from a point, of a part that is turned clockwise."""
        cos, sin = _turn(np.float64(degrees))
        across, down = self.x - x, self.y - y
        return cos * across + sin * down, cos * down - sin * across

    def feet(self) -> list[_Part]:
        feet = [self.ellipse(side * 0.46 * self.a, 0.97 * self.b, 0.30 * self.a, 0.10) for side in (-1, 1)]
        return [_Part(foot, self.shade) for foot in feet]

    def arms(self) -> list[_Part]:
        shoulder = 0.98 * (1 + 0.3 * self.of["pear"]) * self.a
        turned = [self.turned(side * shoulder, 0.30 * self.b, side * -35) for side in (-1, 1)]
        return [_Part(self.ellipse(0, 0, 0.075, 0.15, *at), self.shade) for at in turned]

    def pair(self, u: float, v: float, degrees: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Coordinates of the left and right one of two things on the head."""
        x = u * (1 + self.of["pear"] * v) * self.a
        return [self.turned(side * x, v * self.b, side * degrees) for side in (-1, 1)]

    # What grows on top of the head, by the kind.

    def bear(self) -> list[_Part]:
        return [
            _Part(self.ellipse(0, 0, 0.17, 0.17, *at), self.fur, self.ellipse(0, 0.02, 0.095, 0.095, *at), self.light)
            for at in self.pair(0.66, -0.80, 0)
        ]

    def bug(self) -> list[_Part]:
        feelers = []
        for x, y in self.pair(0.36, -0.85, 18):
            feelers.append(_Part(np.maximum(np.abs(x) - 0.018, np.abs(y + 0.1) - 0.2), self.line))
            tip, gleam = self.ellipse(0, -0.32, 0.1, 0.1, x, y), self.ellipse(-0.03, -0.35, 0.035, 0.035, x, y)
            feelers.append(_Part(tip, CREAM, gleam))
        return feelers

    def bunny(self) -> list[_Part]:
        return [
            _Part(self.ellipse(0, 0, 0.125, 0.33, *at), self.fur, self.ellipse(0, 0.03, 0.06, 0.24, *at), ROSE)
            for at in self.pair(0.44, -1.14, 11)
        ]

    def cat(self) -> list[_Part]:
        return [
            _Part(_drop(0.21, 0.4, x, y), self.fur, _drop(0.11, 0.24, x, y + 0.04), ROSE)
            for x, y in self.pair(0.56, -0.62, 17)
        ]

    def imp(self) -> list[_Part]:
        left, right = self.pair(0.54, -0.76, 26)
        horns = [(left[0] - 1.3 * left[1] ** 2, left[1]), (right[0] + 1.3 * right[1] ** 2, right[1])]  # bent
        return [_Part(_drop(0.12, 0.36, *at), CREAM) for at in horns]

    def sprout(self) -> list[_Part]:
        top = -0.92 * self.b
        stalk = np.maximum(np.abs(self.x) - 0.022, np.abs(self.y - top + 0.06) - 0.16)
        leaves = [self.turned(side * 0.17, top - 0.25, side * -28) for side in (-1, 1)]
        return [_Part(stalk, LEAF), *(_Part(self.ellipse(0, 0, 0.19, 0.095, *at), LEAF) for at in leaves)]


def _drop(width: float, height: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to a drop: round at y 0, with a radius, and pointed at y -height."""
    along = np.clip(-y / height, 0, 1)
    down = y + along * height
    return np.sqrt(x * x + down * down) - width * (1 - along)


def _span(used: np.ndarray) -> slice:
    """From the first True to the last."""
    (places,) = np.nonzero(used)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0)


def _glow(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Coverage that falls smoothly from 1 in the origin to 0 on the unit circle."""
    inside = np.clip(1 - u * u - v * v, 0, 1)
    return inside * inside


def _turn(degrees: np.ndarray | np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angles."""
    radians = np.deg2rad(degrees)
    return np.cos(radians).round(6).astype(np.float32), np.sin(radians).round(6).astype(np.float32)


def _colour(lightness: float | np.ndarray, chroma: float, hue: np.ndarray) -> np.ndarray:
    """sRGB [N, 3, 1, 1] of an OKLCH colour (Ottosson 2020). hue: in turns."""
    angle = 2 * np.pi * hue + 0.35
    a, b = chroma * np.cos(angle), chroma * np.sin(angle)
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cone**3, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.T.round(6).astype(np.float32)[:, :, None, None]
