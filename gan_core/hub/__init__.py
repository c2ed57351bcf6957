"""The Hugging Face Hub: fetching generators by name, and publishing them with a model card.

    for step in fetching("owner/name@revision"):
        print(step.done, step.total)
    generator = step.generator

    with prepared(generator, "owner/name", license="cc-by-4.0") as publication:
        print(publication)                              # everything that would be uploaded
        for step in publishing(publication):
            print(step.done, step.total)

The Hub's own client does the work, with its cache, login and endpoint (HF_HOME, HF_TOKEN, HF_ENDPOINT). It is imported
by the first call that needs it. docs/hub.md says what is uploaded and stored.
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
