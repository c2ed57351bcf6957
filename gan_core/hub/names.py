"""Names of repositories on the Hub and of their revisions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError
from .redaction import without_tokens

MAIN = "main"
"""The default branch."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REVISION = r"[A-Za-z0-9_][A-Za-z0-9._/+-]*"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubId:
    """A repository and a revision: a branch, a tag, a commit, or a pull request (refs/pr/1)."""

    repo: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repo if self.revision == MAIN else f"{self.repo}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return COMMIT.fullmatch(self.revision) is not None

    @classmethod
    def parse(cls, text: str, revision: str = "") -> HubId:
        """Parses "owner/name" or "owner/name@revision". revision: the revision, if it is given separately.

        Raises InputError for anything else.
        """
        repo, _, own = text.strip().partition("@")
        revision = revision.strip()
        # A pasted address may contain a token, and the error goes into logs.
        shown = without_tokens(text.strip())[:200]
        if "://" in text:
            raise InputError(f'"{shown}" is an address: give only the name, owner/name, as at the top of its page.')
        if (
            not re.fullmatch(f"{_PART}/{_PART}", repo)
            or len(repo) > 96
            or re.search(r"--|\.\.", repo)
            or repo.endswith(".git")
        ):
            raise InputError(f'"{shown}" is not a name on the Hub: write owner/name, or owner/name@revision.')
        if own and revision and own != revision:
            raise InputError(f'Two revisions are given, "{own}" and "{revision}": leave one of them out.')
        revision = revision or own or MAIN
        if ("@" in text and not own) or not re.fullmatch(_REVISION, revision) or ".." in revision:
            raise InputError(
                f'"{without_tokens(revision)[:200]}" is not a revision: write the name of a branch or tag, or a commit.'
            )
        return cls(repo, revision)
