"""Model card: the page of a published generator on the Hub."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from ..architectures import ARCHITECTURES
from ..card import HubOrigin, Metric
from ..errors import InputError
from ..foreign.layouts import LAYOUTS
from ..generator import Generator
from .names import HubId
from .redaction import WORDS, stripped, without_tokens

LIBRARY = "gan-studio"
HOME = "https://github.com/ComfyUI-GAN-Studio/ComfyUI-GAN-Studio"

LICENSES = {
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
"""Display names of licences, by their names on the Hub."""

GRID, SINGLE = "samples/seeds.png", "samples/seed{:02}.png"
"""Images in the repository: a grid of many seeds, and single seeds for the gallery."""


_FACTS = {
    "data": ("images", "mirror"),
    "training": (
        *("preset", "objective", "augment", "penalty", "gamma", "lecam", "reconstruction", "beta"),
        *("batch_size", "learning_rate", "kimg", "seed"),
    ),
    "tuned": ("pictures", "steps"),
}
"""Published entries of a card: only numbers, and words of ours."""


def public(generator: Generator, title: str, class_names: bool) -> tuple[dict[str, Any], list[str]]:
    """Public card of a generator, and a line for each entry that is left out of it.

    It contains no names of local files or folders, from which the names of the data, the classes and the generator
    come. title: the public title. class_names: whether the names of the classes are published.
    """
    card, left = generator.card.to_json(), []  # as JSON, whose every key is published or left out
    facts: dict[str, Any] = {"title": title}
    own = card.get("title")
    if own and own != title:
        left.append(f"its title: {own}")
    if "created" in card:
        with suppress(ValueError, TypeError):
            datetime.fromisoformat(card["created"])  # only a date is published
            facts["created"] = card["created"]
    if "class_names" in card:
        names = [str(name) for name in card["class_names"]] if isinstance(card["class_names"], list) else []
        facts["class_names"] = [without_tokens(name) for name in names] if class_names else []
        if names and not class_names:
            left.append(f"the names of its {len(names)} classes: {', '.join(names)}")
    for part in _FACTS:
        values = card.get(part)
        if isinstance(values, Mapping):
            facts[part] = {name: value for name, value in values.items() if _is_public(part, name, value)}
            left += [f"{part}, {name}: {value}" for name, value in values.items() if name not in facts[part]]
    imported = card.get("imported")
    if isinstance(imported, Mapping):
        layout = _layout(imported)
        facts |= {"imported": {"from": layout}} if layout else {}
        left += [f"imported, {name}: {value}" for name, value in imported.items() if value != layout]
    metrics = stripped([metric.to_json() for metric in metrics_of(generator)])
    if metrics:
        facts["metrics"] = metrics
    rest = card.keys() - facts.keys() - _FACTS.keys() - {"hub", "imported", "created", "metrics"}
    left += [f"{name}: {card[name]}" for name in sorted(map(str, rest))]
    return facts, [without_tokens(" ".join(line.split()))[:200] for line in left]


def _is_public(part: str, name: Any, value: Any) -> bool:
    return name in _FACTS[part] and (
        value in WORDS if isinstance(value, str) else isinstance(value, bool | int | float)
    )


def _layout(imported: Mapping[str, Any]) -> str | None:
    """Layout of the imported file, without its name and the place of the network in it."""
    known = [layout.name for layout in LAYOUTS] + [f"a {architecture.name}" for architecture in ARCHITECTURES]
    return next((name for name in known if f"{imported.get('from')}, ".startswith(f"{name}, ")), None)


def network_shape(generator: Generator) -> tuple[int, ...]:
    """Shape of one latent as an input of the network: its length, or channels, height and width."""
    return generator.latent_shape if generator.architecture.spatial else generator.latent_shape[:1]


def metrics_of(generator: Generator) -> list[Metric]:
    """Metrics in the card of a generator, each with name, value, extractor, resolution and n.

    Raises InputError if one of these is missing: a value without its extractor, resolution and number of images has no
    meaning.
    """
    card = generator.card
    metrics = [replace(metric, other={}) for metric in card.metrics or ()]
    if "metrics" in card.other or any(metric.missing for metric in metrics):
        raise InputError(
            f"The metrics in the card of {generator.title} cannot be published: each needs name, value, extractor, "
            "resolution, n."
        )
    for metric in metrics:
        if not math.isfinite(metric.value or 0):
            raise InputError(f"The metric {metric.name} of {generator.title} is not finite: measure it again.")
    return metrics


def written(
    generator: Generator,
    repo: str,
    license: str,
    title: str,
    description: str,
    singles: Sequence[int],
    origin: HubOrigin | None,
    has_workflow: bool,
) -> str:
    """Text of README.md: metadata for the Hub between lines of dashes, then the page.

    singles: seeds with an image of their own. origin: where on the Hub the generator came from.
    """
    sections = [
        f"# {title}",
        description,
        f"![Images of the seeds from 0 on]({GRID})",
        "<Gallery />",
        _facts(generator),
        _measured(metrics_of(generator)),
        _how_to(generator, repo, has_workflow),
        f"## Licence\n\n{LICENSES[license]}",
    ]
    head = _head(generator, repo, license, title, singles, origin)
    return f"---\n{head}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def _head(
    generator: Generator, repo: str, license: str, title: str, singles: Sequence[int], origin: HubOrigin | None
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    name, kind = generator.architecture.name, "vae" if generator.architecture.encodes else "gan"
    data: dict[str, Any] = {
        "license": license,
        "library_name": LIBRARY,
        "pipeline_tag": "unconditional-image-generation",
        "tags": [kind, name, "comfyui", "model_hub_mixin", "pytorch_model_hub_mixin"],
        "widget": [{"text": f"seed {seed}", "output": {"url": SINGLE.format(seed)}} for seed in singles],
    }
    if origin and origin.id and origin.id != repo:
        data["base_model"] = HubId.parse(origin.id).repo
    metrics = metrics_of(generator)
    if metrics:
        data["model_name"] = title
        data["eval_results"] = [
            EvalResult(
                task_type="unconditional-image-generation",
                dataset_type="images",
                dataset_name="unnamed",  # its own name is that of a local folder
                metric_type=str(metric.name),
                metric_name=f"{metric.name} ({metric.extractor} at {metric.resolution}, n = {metric.n})",
                metric_value=metric.value,
            )
            for metric in metrics
        ]
    return ModelCardData(**data).to_yaml().strip()


def _facts(generator: Generator) -> str:
    card, config = generator.card, asdict(generator.config)
    parameters = sum(parameter.numel() for parameter in generator.module.parameters())
    channels = generator.config.channels
    colours = {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")
    rows = [
        ("network", f"{generator.architecture.name}, {parameters:,} parameters"),
        ("images", f"{generator.size_in_words}, {colours}"),
        ("latent", f"{' x '.join(map(str, network_shape(generator)))} numbers"),
    ]
    if generator.classes:
        names = card.class_names or ()
        rows.append(("classes", f"{generator.classes}" + (f": {', '.join(names[:20])}" if names else "")))
    rows += [("made by", line) for line in generator.origin]
    rows += [(f"data: {key}", value) for key, value in _entries(card.data.to_json() if card.data else {})]
    rows += [(f"training: {key.replace('_', ' ')}", value) for key, value in _entries(card.training or {})]
    if card.created:
        rows.append(("created", card.created))
    rows.append(("config", ", ".join(f"{key} {value}" for key, value in config.items())))
    return "## What it is\n\n| | |\n|---|---|\n" + "\n".join(f"| {key} | {_cell(value)} |" for key, value in rows)


def _entries(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((key, str(value)) for key, value in part.items())


def _cell(text: str) -> str:
    """Escapes a text for a cell of a table: no bar, no line break, no HTML."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _measured(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return ""
    rows = [
        (_cell(str(each.name)), f"{each.value:.6g}", _cell(str(each.extractor)), each.resolution, each.n)
        for each in metrics
    ]
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
    return f"## Metrics\n\n| metric | value | extractor | resolution | n |\n|---|---|---|---|---|\n{table}"


def _how_to(generator: Generator, repo: str, has_workflow: bool) -> str:
    labels = ", labels=torch.arange(16) % network.generator.classes" if generator.classes else ""
    workflow = " `workflow.json` is the workflow that published it." if has_workflow else ""
    return f"""## How to use it

In ComfyUI, with [ComfyUI-GAN-Studio]({HOME}): *Load Generator from Hub* with `{repo}`, then *Sample Noise*, *Decode* \
and *Save Image*.{workflow}

In Python, with the same package (`pip install git+{HOME}`). The same seed gives the same image:

```python
import gan_core
from gan_core.hub import fetching

*_, last = fetching("{repo}")
images = last.generator.decode(gan_core.sample_noise(last.generator, seeds=range(16)))  # [16, C, H, W] in [-1, 1]
```

As a PyTorch module, with `PyTorchModelHubMixin`:

```python
import torch
from gan_core.hub.mixin import HubGenerator

network = HubGenerator.from_pretrained("{repo}")
images = network(torch.randn(16, *network.latent_shape){labels})
```

`model.safetensors` can be read without this package too: \
[the format]({HOME}/blob/main/docs/file-format.md)."""
