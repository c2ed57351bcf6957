"""Texts on a node while it works, and in ComfyUI's log."""

import logging
import re
import sys
from collections.abc import Sequence

from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...gan_core import ImageDataset
from ...gan_core.errors import cleaned


def say(text: str, node_id: str | None = None) -> None:
    """Shows a text of one or more lines on a node. node_id: None for the node that is running."""
    context = get_executing_context()
    node_id = node_id or (context.node_id if context else None)
    if node_id is not None:
        PromptServer.instance.send_progress_text("\n".join(map(_plain, text.split("\n"))), node_id)


def once(lines: Sequence[str]) -> list[str]:
    """Removes sentences that are contained in others, ignoring the time at their beginning."""
    bare = [re.sub(r"^At [\d.]+ kimg: ", "", line) for line in lines]
    return [
        line
        for place, line in enumerate(lines)
        if not any(bare[place] in other for other in bare[:place])
        and not any(bare[place] in other and bare[place] != other for other in bare[place + 1 :])
    ]


def log(text: str, level: int = logging.INFO) -> None:
    """Writes a text to ComfyUI's log, in the encoding of the console, which on Windows may have few characters."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    logging.log(level, "GAN Studio: %s", cleaned(text).encode(encoding, "replace").decode(encoding))


def report_skipped(dataset: ImageDataset) -> None:
    """Lists the files that could not be used in ComfyUI's log."""
    for file, reason in list(dataset.skipped.items())[:20]:
        log(f"skipped {file}: {reason}", logging.WARNING)


def _plain(line: str) -> str:
    """Escapes a line for the web page, which reads it as Markdown: a title could embed an image."""
    return cleaned(line).replace("<", "‹").replace("](", "] (")
