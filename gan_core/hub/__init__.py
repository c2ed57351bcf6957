"""The Hugging Face Hub: generators fetched by name, and published with a card.

    for step in fetching("owner/name@revision"):
        print(step.done, step.total)
    generator = step.generator

The Hub's own client does the work: its cache, its login, its endpoint (HF_HOME, HF_TOKEN, HF_ENDPOINT). It is imported
when the first call needs it. docs/hub.md says what is sent and kept.
"""

from .fetch import Fetching, fetching, newest_commit
from .names import HubId

__all__ = ["Fetching", "HubId", "fetching", "newest_commit"]
