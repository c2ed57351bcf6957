"""Common files that are not generators: recognised, for a helpful error."""

import re
from collections.abc import Iterable

STRANGERS = {
    r"conv\.modulation\.weight": "a StyleGAN2 of rosinality's code",
    r"style\.\d+\.weight": "a StyleGAN of rosinality's code",
    r"lora_(up|down|A|B)\b": "a LoRA",
    r"model\.diffusion_model\.": "a checkpoint of a diffusion model",
    r"first_stage_model\.|(de|en)coder\.conv_in\.weight": "a VAE of another kind",
    r"text_model\.|transformer_blocks\.": "a part of a diffusion model",
    r"^embed_tokens|\.self_attn\.": "a language model",
    r"synthesis\.(superres|early_layers)|mapping\.embed_proj": "a StyleGAN-XL",
    r"^params|body\.\d+\.(rdb|conv)|conv_first\.weight": "an upscaler",
    r"^(layer1|features)\.0\.": "a classifier",
}
"""Kinds of files, by a pattern in the name of one of their tensors."""


def stranger(names: Iterable[str]) -> str | None:
    """Kind of a file with tensors of these names, for a sentence; None if it is unknown."""
    for name in names:
        for pattern, what in STRANGERS.items():
            if re.search(pattern, name):
                return f"{what} (it has {name}), which cannot be opened here"
    return None
