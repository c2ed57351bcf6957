"""Consent to publishing, and the workflow that may be published."""

from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args

from ...gan_core.hub import consent


def refusal_to_publish() -> str | None:
    """How the person can allow publishing; None where that is done."""
    return consent.refusal(Path(folder_paths.get_user_directory()))


def workflow(hidden: Any) -> dict[str, Any] | None:
    """The workflow that is run, as the page has it, or else as it was sent; None where ComfyUI is to tell nobody."""
    if args.disable_metadata:
        return None
    page = (hidden.extra_pnginfo or {}).get("workflow")
    return page if isinstance(page, dict) else hidden.prompt
