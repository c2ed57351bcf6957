"""The package's page on PyPI, which knows no other file of the repository: README.md with absolute links.

All else about the package is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#)[^)\s]+|(?<=(?:src|ref)=")(?![a-z]+:|#)[^"]+')
IMAGES = (".png", ".jpg", ".gif", ".webp", ".svg")


def absolute(page: str, repository: str) -> str:
    """The page with its links into the repository made links to GitHub: to files, and to images as such."""

    def to_github(link: re.Match[str]) -> str:
        return f"{repository}/{'raw' if link[0].endswith(IMAGES) else 'blob'}/main/{link[0]}"

    return LINK.sub(to_github, page)


if __name__ == "__main__":
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    repository = re.search(r'^Repository = "(.+)"$', project, re.MULTILINE)[1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(readme, repository),
        long_description_content_type="text/markdown",
    )
