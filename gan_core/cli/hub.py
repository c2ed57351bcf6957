"""Commands for the Hugging Face Hub: fetch, publish."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from .. import hub
from ..errors import InputError
from ..generator import load
from .paths import Place, check_file
from .printing import say, say_where


@click.command()
@click.argument("name", metavar="ID[@REVISION]")
@click.option("--out", type=Place(new=True), help="Output file.  [default: the repository's name, in this folder]")
def fetch(name: str, out: Path | None) -> None:
    """Fetch a generator from the Hugging Face Hub as one safetensors file.

    ID is owner/name, as at the top of its page; REVISION is a branch, a tag or a commit. The download is stored in the
    cache of the Hub's own client. For private repositories, log in with the command hf auth login.
    """
    hub_id = hub.HubId.parse(name)
    target = out or Path(hub_id.repo.partition("/")[2] + ".safetensors")
    if out is None and target.exists():
        raise InputError(f"{target} exists already: choose another file with --out.")
    check_file(target)
    with closing(hub.fetching(name)) as steps:
        *_, last = steps
    generator = last.generator
    assert generator is not None and generator.card.hub is not None
    for line in (
        generator.summary,
        *generator.origin,
        f"{hub_id.repo}@{generator.card.hub.commit}",
        *filter(None, [last.remark]),
    ):
        say(line)
    say_where(generator.save(target).parent, target.name)


@click.command()
@click.argument("weights", type=Place())
@click.argument("repo", metavar="ID")
@click.option(
    "--license",
    "--licence",
    "license",
    type=click.Choice(list(hub.LICENSES)),
    required=True,
    help="Licence: what others may do with it.",
)
@click.option("--title", default="", help="Title of its page.  [default: the name in ID]")
@click.option("--description", default="", help="Description for its page, in Markdown.")
@click.option("--class-names", is_flag=True, help="Publish the names of its classes. Otherwise they are numbers.")
@click.option("--public", is_flag=True, help="Make the repository public. Otherwise a new repository is private.")
@click.option("--pull-request", is_flag=True, help="Open a pull request in an existing repository.")
@click.option("--workflow", type=Place(), help="A ComfyUI workflow to publish with it.")
@click.option("--dry-run", is_flag=True, help="Only show what would be uploaded.")
def publish(
    weights: Path,
    repo: str,
    license: str,
    title: str,
    description: str,
    class_names: bool,
    public: bool,
    pull_request: bool,
    workflow: Path | None,
    dry_run: bool,
) -> None:
    """Publish the generator in the file WEIGHTS on the Hugging Face Hub.

    ID is owner/name. Uploads the weights, a config, a page, sample images, and the workflow if you give one, without
    the names of your files and folders. --dry-run shows what is uploaded, and what is left out. Log in first, with the
    command hf auth login.
    """
    generator = load(weights)
    with_workflow = None if workflow is None else _workflow(workflow)
    with hub.prepared(generator, repo, license, title, description, with_workflow, class_names) as publication:
        if dry_run:
            say(str(publication))
            return
        with closing(hub.publishing(publication, not public, pull_request)) as steps:
            *_, last = steps
    say(str(last))


def _workflow(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{path.name} is not a workflow: save one in ComfyUI with Export, and give that file.")
    return value
