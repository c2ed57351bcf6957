"""The Hugging Face Hub: generators fetched by name, and published with a card.

    for step in fetching("owner/name@revision"):
        print(step.done, step.total)
    generator = step.generator

    with prepared(generator, "owner/name", license="cc-by-4.0") as publication:
        print(publication)                              # all that would be sent
        for step in publishing(publication):
            print(step.done, step.total)

The Hub's own client does the work: its cache, its login, its endpoint (HF_HOME, HF_TOKEN, HF_ENDPOINT). It is imported
when the first call needs it. docs/hub.md says what is sent and kept.
"""

from .card import LICENSES
from .fetch import Fetching, fetching, newest_commit
from .names import HubId
from .publish import Publication, Publishing, prepared, publishing

__all__ = [
    "LICENSES",
    "Fetching",
    "HubId",
    "Publication",
    "Publishing",
    "fetching",
    "newest_commit",
    "prepared",
    "publishing",
]
