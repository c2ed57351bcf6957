"""Consent to publishing, and the workflow that may be published."""

from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

from ...gan_core.hub import consent


def refusal_to_publish() -> str | None:
    """Sentence on how the user can allow publishing; None if it is allowed."""
    return consent.refusal(Path(folder_paths.get_user_directory()))


def workflow(hidden: Any) -> dict[str, Any] | None:
    """Workflow that is run, as in the web page, else as in the prompt; None if ComfyUI may not store metadata."""
    if args.disable_metadata:
        return None
    page = (hidden.extra_pnginfo or {}).get("workflow")
    return page if isinstance(page, dict) else hidden.prompt
