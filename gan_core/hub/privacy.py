"""What must not leave this machine by accident."""

from __future__ import annotations

import re

REMOVED = "removed"
"""What stands where something private stood."""

_TOKENS = re.compile(
    r"\b(?:hf|api_org)_\w{6,}"
    r"|\b(?:sk|pk|rk)-[\w-]{12,}"
    r"|\bgh[a-z]_\w{12,}|\bgithub_pat_\w{12,}|\bglpat-[\w-]{12,}|\bxox[a-z]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"  # JSON web tokens
    r"|\b[Bb]earer\s+\S+"
    r"|(?<=://)[^/\s@]+(?=@)"  # name and password in an address
    r"|(?i:\b(?:token|api_?key|key|password|passwd|pwd|secret|signature|sig|auth)=[^\s&]+)"
)
"""Of the services that people use beside ComfyUI, by how they begin."""


def without_tokens(text: str) -> str:
    """The text, with what looks like a token or a password replaced."""
    return _TOKENS.sub(REMOVED, text)
