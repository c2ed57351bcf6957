"""Changes what this project is called elsewhere: its owner on GitHub, its publisher and its id in ComfyUI's registry.

python .ci/identity.py OWNER PUBLISHER ID

What they are is decided in pyproject.toml. They are written there and into every tracked file that repeats them, and
the note that they are placeholders is removed.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTE = re.compile(r"\A# PLACEHOLDERS.*?\n\n", re.DOTALL)


def decided(project: str) -> dict[str, str]:
    """What a pyproject.toml says: owner, repository (its name on GitHub), publisher and id."""
    owner, repository = re.search(r'^Repository = "https://github\.com/([^/"]+)/([^/"]+)"$', project, re.M).groups()
    publisher = re.search(r'^PublisherId = "(.+)"$', project, re.M)[1]
    return {
        "owner": owner,
        "repository": repository,
        "publisher": publisher,
        "id": re.search(r'^name = "(.+)"$', project, re.M)[1],
    }


def renamed(text: str, old: dict[str, str], owner: str, publisher: str, registry_id: str) -> str:
    """A file's text with the new names."""
    text = text.replace(f"{old['owner']}/{old['repository']}", f"{owner}/{old['repository']}")
    text = re.sub(rf"(?<![\w-]){re.escape(old['id'])}(?![\w-])", registry_id, text)
    text = re.sub(r'^PublisherId = ".+"$', f'PublisherId = "{publisher}"', text, flags=re.MULTILINE)
    return NOTE.sub("", text)


def main(owner: str, publisher: str, registry_id: str) -> None:
    old = decided((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in (ROOT / name for name in tracked.split("\0") if name):
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # no text
        changed = renamed(text, old, owner, publisher, registry_id)
        if changed != text:
            path.write_bytes(changed.encode())
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
