"""GAN / generate: generators from files, and to files."""

from comfy_api.latest import io

from ..gan_core import load
from .generate import CATEGORY
from .host import paths, saving
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .types import GENERATOR


class LoadGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadGenerator",
            display_name="Load Generator",
            category=CATEGORY,
            description="Load a generator from a safetensors file. Nothing in the file is executed.",
            search_aliases=["open GAN", "GAN loader", "load model", "load GAN"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.generator_names(),
                    default=paths.EXAMPLE_GENERATORS[0],
                    tooltip="A file in models/gan or output/gan, the newest first; press R after saving a new one. The "
                    "latest generator of each run is under runs. example/critters.safetensors comes with the pack.",
                ),
            ],
            outputs=[GENERATOR.Output(display_name="generator", tooltip="For Sample Noise and Decode.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        return refusal(paths.not_there(paths.resolve_generator, name))

    @classmethod
    def fingerprint_inputs(cls, name=None) -> str:
        """Loads the file again after it was replaced."""
        return paths.fingerprint(paths.resolve_generator, name)

    @classmethod
    @says_errors
    def execute(cls, name) -> io.NodeOutput:
        generator = load(paths.resolve_generator(name))
        NodeProgress(cls.hidden.unique_id).say("\n".join(filter(None, [generator.summary, generator.numbered_classes])))
        return io.NodeOutput(generator)


class SaveGenerator(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveGenerator",
            display_name="Save Generator",
            category=CATEGORY,
            description="Save a generator as one safetensors file in output/gan, for Load Generator.",
            search_aliases=["save GAN", "export generator", "save model", "safetensors"],
            is_output_node=True,
            inputs=[
                GENERATOR.Input("generator", tooltip="Generator to save: the weights and the card."),
                io.String.Input(
                    "filename_prefix",
                    default="generator",
                    tooltip="Name in output/gan; a number is added. May be folder/name and contain "
                    "%year%-%month%-%day%.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None) -> bool | str:
        """Rejects an invalid prefix before an hour of training, not after."""
        return refusal(saving.unusable_prefix(filename_prefix))

    @classmethod
    @says_errors
    def execute(cls, generator, filename_prefix) -> io.NodeOutput:
        path = generator.save(saving.generator_path(filename_prefix))
        shown = paths.shown_path(path)
        NodeProgress(cls.hidden.unique_id).say(f"saved as {shown}")
        return io.NodeOutput(ui={"text": [shown]})


NODES = [LoadGenerator, SaveGenerator]
