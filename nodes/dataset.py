"""GAN / data: images to learn from."""

from comfy_api.latest import io

from ..gan_core import ImageDataset, InputError, examples
from ..gan_core.dataset import CHANNELS, fingerprint_of_folder, reading
from ..gan_core.image_files import FITS
from . import host
from .types import IMAGE_DATASET

CATEGORY = f"{host.CATEGORY}/data"


def _shaping_inputs() -> list[io.Input]:
    """What both nodes ask about how images become squares."""
    return [
        io.Int.Input(
            "size",
            default=64,
            min=8,
            max=1024,
            tooltip="Side of the squares in pixels. dcgan learns 16, 28, 32, 64 or 128; smaller is faster.",
        ),
        io.Combo.Input(
            "channels",
            options=list(CHANNELS),
            default="auto",
            tooltip="Colours to learn. auto: RGBA where images are see-through, grey where all are grey, else RGB.",
        ),
        io.Combo.Input(
            "fit",
            options=list(FITS),
            default="crop",
            tooltip="How an image that is not square becomes one: crop its middle, pad it with white "
            "(with nothing, for RGBA), or stretch it.",
        ),
        io.Boolean.Input(
            "mirror",
            default=False,
            tooltip="Also learn from every image left-right reversed. Right for faces and landscapes, wrong for text.",
        ),
    ]


class LoadImageFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImageFolder",
            display_name="Load Image Folder",
            category=CATEGORY,
            description="Reads a folder of images, and the folders in it, for training. Images are decoded once and "
            "kept in a cache, so that a folder of any size needs little memory and is there at once the next time.",
            search_aliases=["dataset", "training images", "image directory", "load images from folder", "MNIST"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=host.image_folders(),
                    default=host.EXAMPLE_FOLDER,
                    tooltip="A folder in ComfyUI's input or datasets folder; put yours there and press R. "
                    "example/digits is 10,000 handwritten digits that come with the pack.",
                ),
                *_shaping_inputs(),
                io.Boolean.Input(
                    "labels",
                    default=False,
                    tooltip="Take the sub-folders for classes, so that the generator can be asked for one of them.",
                ),
            ],
            outputs=[IMAGE_DATASET.Output(display_name="dataset", tooltip="The images, ready to train on.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, folder=None, **settings) -> str:
        """Runs again when a file in the folder is added or changed."""
        if folder in (None, host.EXAMPLE_FOLDER):
            return ""
        try:
            return fingerprint_of_folder(host.resolve_image_folder(folder))
        except (InputError, OSError):
            return "missing"  # execute says so

    @classmethod
    def execute(cls, folder, size, channels, fit, mirror, labels) -> io.NodeOutput:
        bar = host.NodeProgress(cls.hidden.unique_id)
        if folder == host.EXAMPLE_FOLDER:
            dataset = examples.digits(size, channels, mirror, labels)
        else:
            path = host.resolve_image_folder(folder)
            for step in reading(path, size, channels, fit, mirror, labels, host.dataset_cache()):
                bar.reading(step.done, step.total)
            dataset = step.dataset
        host.report_skipped(dataset)
        bar.say(dataset.summary)
        return io.NodeOutput(dataset)


class ImagesToDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagesToDataset",
            display_name="Images to Dataset",
            category=CATEGORY,
            description="Makes a data set for training of a batch of images from any node.",
            search_aliases=["dataset", "training images", "batch to dataset"],
            inputs=[
                io.Image.Input("images", tooltip="A batch of images: the more, the better; a few hundred is a start."),
                *_shaping_inputs(),
            ],
            outputs=[IMAGE_DATASET.Output(display_name="dataset", tooltip="The images, ready to train on.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, images, size, channels, fit, mirror) -> io.NodeOutput:
        dataset = ImageDataset.from_images(images, size, channels, fit, mirror)
        host.NodeProgress(cls.hidden.unique_id).say(dataset.summary)
        return io.NodeOutput(dataset)


NODES = [LoadImageFolder, ImagesToDataset]
