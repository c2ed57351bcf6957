"""A published page word by word, its images to the pixel, and names and files on either side of their limits."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hub_server import WRITER, Hub
from PIL import Image

from gan_core import Generator, InputError, sample_noise
from gan_core.card import Metric
from gan_core.hub import LICENSES, HubId, prepared, publishing
from gan_core.hub.card import metrics_of
from gan_core.hub.publish import _single
from gan_core.media import image as pictures
from gan_core.weights import native

pytestmark = pytest.mark.usefixtures("client")

PAGE = """\
---
library_name: gan-studio
license: mit
pipeline_tag: unconditional-image-generation
tags:
- gan
- dcgan
- comfyui
- model_hub_mixin
- pytorch_model_hub_mixin
widget:
- text: seed 0
  output:
    url: samples/seed00.png
- text: seed 1
  output:
    url: samples/seed01.png
- text: seed 2
  output:
    url: samples/seed02.png
- text: seed 3
  output:
    url: samples/seed03.png
---

# Cats

Of *mine*.

![Images of the seeds from 0 on](samples/seeds.png)

<Gallery />

## What it is

| | |
|---|---|
| network | dcgan, 7,211 parameters |
| images | 16x16, RGB |
| latent | 4 numbers |
| classes | 3: red, green, blue |
| training: kimg | 4 |
| training: learning rate | 0.001 |
| created | 2026-01-02 |
| config | side 16, channels 3, classes 3, latent_size 4, width 2, refine 0, start (4, 4) |

## How to use it

In ComfyUI, with [ComfyUI-GAN-Studio](https://github.com/ComfyUI-GAN-Studio/ComfyUI-GAN-Studio): *Load Generator from \
Hub* with `anna/cats`, then *Sample Noise*, *Decode* and *Save Image*. `workflow.json` is the workflow that \
published it.

In Python, with the same package (`pip install git+https://github.com/ComfyUI-GAN-Studio/ComfyUI-GAN-Studio`). The \
same seed gives the same image:

```python
import gan_core
from gan_core.hub import fetching

*_, last = fetching("anna/cats")
images = last.generator.decode(gan_core.sample_noise(last.generator, seeds=range(16)))  # [16, C, H, W] in [-1, 1]
```

As a PyTorch module, with `PyTorchModelHubMixin`:

```python
import torch
from gan_core.hub.mixin import HubGenerator

network = HubGenerator.from_pretrained("anna/cats")
images = network(torch.randn(16, *network.latent_shape), labels=torch.arange(16) % network.generator.classes)
```

`model.safetensors` can be read without this package too: [the format]\
(https://github.com/ComfyUI-GAN-Studio/ComfyUI-GAN-Studio/blob/main/docs/file-format.md).

## Licence

MIT
"""


def test_the_page_of_a_generator_with_classes(new_generator: Callable[..., Generator]) -> None:
    card = {
        "title": "other",
        "created": "2026-01-02",
        "class_names": ["red", "green", "blue"],
        "training": {"learning_rate": 0.001, "kimg": 4},
    }
    cats = new_generator(card, channels=3, classes=3)
    parameters = sum(parameter.numel() for parameter in cats.module.parameters())
    with prepared(cats, "anna/cats", "mit", " Cats\n", "Of *mine*.", {"nodes": []}, class_names=True) as publication:
        assert publication.title == "Cats"
        assert publication.card == PAGE.replace("7,211", f"{parameters:,}")
        assert str(publication).splitlines()[0] == "9 files would be uploaded to anna/cats:"
        sizes = [f"{name}  {size:,} bytes" for name, size in publication.files.items()]
        assert str(publication).splitlines()[1:10] == sizes
        assert json.loads((publication.folder / "config.json").read_text()) == {
            **{"architecture": "dcgan", "format_version": 1, "side": 16, "channels": 3, "classes": 3},
            **{"latent_size": 4, "width": 2, "refine": 0, "start": [4, 4]},
        }


def test_these_licences_can_be_chosen() -> None:
    assert LICENSES == {
        "cc0-1.0": "CC0 1.0",
        "cc-by-4.0": "CC BY 4.0",
        "cc-by-sa-3.0": "CC BY-SA 3.0",
        "cc-by-sa-4.0": "CC BY-SA 4.0",
        "cc-by-nc-4.0": "CC BY-NC 4.0",
        "cc-by-nc-sa-4.0": "CC BY-NC-SA 4.0",
        "mit": "MIT",
        "apache-2.0": "Apache 2.0",
        "creativeml-openrail-m": "CreativeML OpenRAIL-M",
        "other": "other: see the description",
        "unknown": "unknown",
    }


@pytest.mark.parametrize(
    ("side", "count", "sheet", "single"), [(16, 64, 4, 16), (28, 64, 3, 10), (64, 64, 1, 4), (128, 16, 1, 2)]
)
def test_sheets_and_singles_are_enlarged_by_whole_numbers(
    new_generator: Callable[..., Generator], side: int, count: int, sheet: int, single: int
) -> None:
    cats = new_generator(side=side)
    drawn = pictures.grid(cats.decode(sample_noise(cats, range(count))))
    with prepared(cats, "anna/cats", "mit") as publication:
        with Image.open(publication.folder / "samples/seeds.png") as found:
            assert found.size == (drawn.width * sheet, drawn.height * sheet)
            assert found.resize(drawn.size, Image.Resampling.NEAREST).tobytes() == drawn.tobytes()
        for seed in range(4):
            with Image.open(publication.folder / f"samples/seed0{seed}.png") as found:
                assert found.size == (side * single, side * single)


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [
        (256, 256, (256, 256)),
        (255, 255, (510, 510)),
        (512, 512, (512, 512)),
        (600, 300, (256, 512)),
        (8, 16, (256, 128)),
    ],
)
def test_a_single_picture_has_sides_of_256_to_512_pixels(height: int, width: int, shown: tuple[int, int]) -> None:
    assert _single(torch.zeros(1, 3, height, width)).size == shown


METRIC: dict[str, Any] = {"name": "kid", "value": 1, "extractor": "e", "resolution": 64, "n": 10}


@pytest.mark.parametrize("missing", METRIC)
def test_a_metric_needs_all_of_its_parts(new_generator: Callable[..., Generator], missing: str) -> None:
    part = {name: value for name, value in METRIC.items() if name != missing}
    with pytest.raises(InputError, match=f"each needs {', '.join(METRIC)}"):
        metrics_of(new_generator({"metrics": [METRIC, part]}))
    with pytest.raises(InputError, match="cannot be published"):
        metrics_of(new_generator({"metrics": [{**METRIC, missing: [1]}]}))


def test_a_metric_has_its_parts_and_no_others(new_generator: Callable[..., Generator]) -> None:
    assert metrics_of(new_generator()) == []
    assert metrics_of(new_generator({"metrics": [{**METRIC, "folder": "/home/anna"}]})) == [Metric(**METRIC)]
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(InputError, match="is not finite: measure it again"):
            metrics_of(new_generator({"metrics": [{**METRIC, "value": value}]}))


def test_a_generator_that_came_from_the_same_repository_is_based_on_nothing(
    new_generator: Callable[..., Generator],
) -> None:
    for origin, based in (({"id": "anna/cats"}, False), ({"id": "anna/dogs"}, True), ("anna/dogs", False)):
        with prepared(new_generator({"hub": origin}), "anna/cats", "mit") as publication:
            assert ("base_model: anna/dogs" in publication.card) == based


# Names.


@pytest.mark.parametrize(
    "text",
    ["a/b", "A1/b.c_d-e", "a/b_", f"{'a' * 46}/{'b' * 49}", "a/b@v1", "a/b@refs/pr/1", "a/b@feature/x+1", "a/b@_x"],
)
def test_a_name_at_its_limits_is_read(text: str) -> None:
    assert str(HubId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("a", "/b", "a/", "a/b/c", f"{'a' * 46}/{'b' * 50}", "a--b/c", "a/b--c", "a/b..c", "a/b.git", ".a/b", "a/-b"),
        *("a/b-", "a/b.", "a/b@", "a/b@-x", "a/b@x..y", "a/b@x y", "a b/c", "ä/b", "a/b@.x", "https://hub.co/a/b"),
    ],
)
def test_a_name_beyond_its_limits_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        HubId.parse(text)


def test_a_revision_is_said_once() -> None:
    assert HubId.parse("a/b", "v1") == HubId.parse("a/b@v1", "v1") == HubId("a/b", "v1")
    with pytest.raises(InputError, match="Two revisions"):
        HubId.parse("a/b@v1", "v2")
    assert not HubId("a/b", "0" * 39).is_pinned and not HubId("a/b", "0" * 41).is_pinned
    assert HubId("a/b", "0123456789abcdef" * 2 + "01234567").is_pinned
    assert not HubId("a/b", "g" * 40).is_pinned


# What counts as a repository of ours.


@pytest.mark.parametrize(
    ("config", "ours"),
    [
        ({"architecture": "x", "format_version": 1}, True),
        ({"architecture": "x"}, False),
        ({"format_version": 1}, False),
        (["architecture", "format_version"], False),
    ],
    ids=["plain", "no version", "no architecture", "a list"],
)
def test_a_repository_of_ours_is_known_by_its_config(
    hub: Hub, new_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch, config: Any, ours: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub.add("anna/cats", {"config.json": json.dumps(config).encode(), "model.safetensors": b"x"})
    with prepared(new_generator(), "anna/cats", "mit") as publication:
        if ours:
            *_, last = publishing(publication, private=False)
            assert last.changed
        else:
            with pytest.raises(InputError, match="has other files than those of a generator"):
                list(publishing(publication, private=False))


def test_a_config_of_exactly_a_megabyte_is_read(
    hub: Hub, new_generator: Callable[..., Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    start = '{"architecture": "x", "format_version": 1, "more": "'
    for size, ours in ((1_000_000, True), (1_000_001, False)):
        text = f'{start}{"x" * (size - len(start) - 2)}"}}'
        assert len(text) == size
        hub.add(f"anna/of{size}", {"config.json": text.encode(), "model.safetensors": b"x"})
        with prepared(new_generator(), f"anna/of{size}", "mit") as publication:
            if ours:
                assert list(publishing(publication, private=False))[-1].changed
            else:
                with pytest.raises(InputError, match="has other files than those of a generator"):
                    list(publishing(publication, private=False))


@pytest.mark.parametrize("version", [native.FORMAT_VERSION, native.FORMAT_VERSION + 1])
def test_a_config_of_a_newer_version_is_not_built(version: int) -> None:
    from gan_core.hub.mixin import HubGenerator

    settings = {"side": 16, "channels": 1, "latent_size": 4, "width": 2}
    if version == native.FORMAT_VERSION:
        assert HubGenerator("dcgan", version, **settings).latent_shape == (4,)
    else:
        with pytest.raises(InputError, match="format_version must be at most 1"):
            HubGenerator("dcgan", version, **settings)
