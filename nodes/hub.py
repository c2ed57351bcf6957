"""GAN / hub: generators from the Hugging Face Hub, and to it."""

from contextlib import closing

from comfy_api.latest import io

from ..gan_core import InputError
from ..gan_core.hub import LICENSES, HubId, fetching, newest_commit, prepared, publishing
from .host import consent
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .types import GENERATOR

CATEGORY = "GAN/hub"

NO_LICENSE = "choose"
"""Value of license before a choice. It is not an option, so that ComfyUI asks for one."""


class LoadGeneratorFromHub(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadGeneratorFromHub",
            display_name="Load Generator from Hub",
            category=CATEGORY,
            description="Load a generator from the Hugging Face Hub by its name. It is downloaded once, and opens "
            "without a network afterwards. Nothing in the repository is executed.",
            search_aliases=["Hugging Face", "download GAN", "HF", "load from hub", "pretrained"],
            inputs=[
                io.String.Input(
                    "repo",
                    default="",
                    placeholder="owner/name",
                    tooltip="owner/name, as at the top of its page on huggingface.co.",
                ),
                io.String.Input(
                    "revision",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="A branch, a tag or a commit, if it is not in repo. A commit never changes, so that a "
                    "shared workflow stays the same; the node shows it. Empty: the newest.",
                ),
            ],
            outputs=[GENERATOR.Output(display_name="generator", tooltip="For Sample Noise and Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, repo=None) -> bool | str:
        return refusal(_bad_name(repo))

    @classmethod
    def fingerprint_inputs(cls, repo=None, revision="") -> str:
        """Loads again after the branch has moved."""
        return newest_commit(repo or "", revision or "")

    @classmethod
    @says_errors
    def execute(cls, repo, revision="") -> io.NodeOutput:
        bar = NodeProgress(cls.hidden.unique_id)
        with closing(fetching(repo, revision)) as steps:
            for step in steps:
                bar.receiving(step.done, step.total, "fetched")
        generator = step.generator
        assert generator and generator.card.hub, "the last step has both"
        origin = f"{generator.card.hub.id}@{generator.card.hub.commit}"
        bar.say("\n".join(filter(None, [origin, step.remark, generator.summary, *generator.origin])))
        return io.NodeOutput(generator)


class PublishGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PublishGenerator",
            display_name="Publish Generator",
            category=CATEGORY,
            description="Publish a generator on the Hugging Face Hub, with a page, sample images and this workflow, "
            "but without names of your files and folders. Until you allow publishing outside the workflow, it only "
            "shows what would be uploaded, and what is left out.",
            search_aliases=["Hugging Face", "upload GAN", "share generator", "push to hub", "model card"],
            is_output_node=True,
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator to publish."),
                io.String.Input(
                    "repo",
                    default="",
                    placeholder="owner/name",
                    tooltip="owner/name, where owner is you or your organisation. The repository is created if it is "
                    "missing.",
                ),
                io.Combo.Input(
                    "license",
                    options=list(LICENSES),
                    default=NO_LICENSE,
                    tooltip="What others may do with it. The choice is yours; mind the licence of the training images.",
                ),
                io.Boolean.Input(
                    "private",
                    default=True,
                    tooltip="Whether a new repository is private. An existing one stays as it is.",
                ),
                io.String.Input("title", default="", tooltip="Title of its page. Empty: the name in repo."),
                io.String.Input(
                    "description",
                    default="",
                    multiline=True,
                    tooltip="Description for its page, in Markdown: what it shows, its training data, its limits.",
                ),
                io.Boolean.Input(
                    "as_pull_request",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Open a pull request in an existing repository, for its owner to accept.",
                ),
                io.Boolean.Input(
                    "class_names",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Publish the names of its classes, which are those of your folders. Otherwise they are "
                    "numbers.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="What was uploaded, or would be: the files and the page. For Preview as Text.",
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, repo=None) -> bool | str:
        """Rejects an invalid name before an hour of training, not after."""
        return refusal(_bad_name(repo))

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        """Runs again, and then publishes, after the user has allowed it."""
        return str(consent.refusal_to_publish())

    @classmethod
    @says_errors
    def execute(
        cls, generator, repo, license, private, title, description, as_pull_request=False, class_names=False
    ) -> io.NodeOutput:
        bar = NodeProgress(cls.hidden.unique_id)
        drawn_by = consent.workflow(cls.hidden)
        with prepared(generator, repo, license, title, description, drawn_by, class_names) as publication:
            refusal = consent.refusal_to_publish()
            if refusal:
                bar.say(f"dry run: nothing was uploaded. {refusal}\n\n{publication}")
                return _report(f"{refusal}\n\n{publication}")
            with closing(publishing(publication, private, as_pull_request)) as steps:
                for step in steps:
                    bar.receiving(step.done, step.total, "uploaded")
            bar.say(str(step))
            return _report(f"{step}\n\n{publication.card}")


def _bad_name(repo: str | None) -> str | None:
    """Reason why a name is invalid; None for a valid one, or if it is not known yet."""
    try:
        if repo is not None:
            HubId.parse(repo)
    except InputError as error:
        return str(error)
    return None


def _report(text: str) -> io.NodeOutput:
    return io.NodeOutput(text, ui={"text": [text]})


NODES = [LoadGeneratorFromHub, PublishGenerator]
