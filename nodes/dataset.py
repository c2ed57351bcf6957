"""GAN / data: training images."""

from comfy_api.latest import io, ui

from ..gan_core import ImageDataset, InputError
from ..gan_core.data import overview
from ..gan_core.data.images import CHANNELS, fingerprint_of_folder, reading
from ..gan_core.media.image_files import FITS
from .host import image_folders, previews
from .host.errors import refusal, says_errors
from .host.progress import NodeProgress
from .host.texts import report_skipped
from .optional import OptionalInt
from .types import IMAGE_DATASET

CATEGORY = "GAN/data"


WIDTH = OptionalInt("width", unset="square", min=8, max=1024)


def _shape_inputs() -> list[io.Input]:
    """How images come to one size, for both nodes."""
    return [
        io.Int.Input(
            "size",
            default=64,
            min=8,
            max=1024,
            tooltip="Height of the images in pixels, and their width unless width is set. Smaller is faster.",
        ),
        io.Combo.Input(
            "fit",
            options=list(FITS),
            default="crop",
            tooltip="How images of another aspect ratio are fitted: crop the middle, pad with white (with "
            "transparent pixels, for RGBA), or stretch.",
        ),
        io.Boolean.Input(
            "mirror",
            default=False,
            tooltip="Also train on horizontally flipped images. Good for faces and landscapes, wrong for text.",
        ),
    ]


def _further_inputs() -> list[io.Input]:
    """What both nodes ask last, as few people need it."""
    return [
        io.Combo.Input(
            "channels",
            options=list(CHANNELS),
            default="auto",
            optional=True,
            advanced=True,
            tooltip="Colours of the images. auto: RGBA if any image has transparency, grey if all images are grey, "
            "else RGB.",
        ),
        WIDTH.input(
            tooltip="Width of the images in pixels, for non-square images, such as 96 with a size of 64.", advanced=True
        ),
    ]


class LoadGANImageFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadGANImageFolder",
            display_name="Load GAN Image Folder",
            category=CATEGORY,
            description="Read a folder of images and its sub-folders, for training. Images are decoded once and "
            "cached, so that a folder of any size needs little memory and opens at once the next time.",
            search_aliases=["dataset", "training images", "image directory", "load images from folder", "MNIST"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=[*image_folders.image_folders(), *image_folders.image_archives()],
                    default=next(iter(image_folders.EXAMPLE_FOLDERS)),
                    tooltip="A folder or a .zip file in ComfyUI's input or datasets folder; put yours there and "
                    "press R. example/digits has 10,000 handwritten digits that come with the pack, "
                    "example/portraits 273 small drawings, example/critters 10,000 small creatures.",
                ),
                *_shape_inputs(),
                io.Boolean.Input(
                    "labels",
                    default=False,
                    tooltip="Use class labels, to generate images of a chosen class: from a dataset.json, else from "
                    "the sub-folders.",
                ),
                *_further_inputs(),
            ],
            outputs=[IMAGE_DATASET.Output(display_name="dataset", tooltip="Images, ready for training.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, width=None) -> bool | str:
        return refusal(WIDTH.reason(width))

    @classmethod
    def fingerprint_inputs(cls, folder=None, **settings) -> str:
        """Runs again after a file in the folder is added or changed."""
        if folder is None or folder in image_folders.EXAMPLE_FOLDERS:
            return ""
        try:
            return fingerprint_of_folder(image_folders.resolve_images(folder), image_folders.results())
        except (InputError, OSError):
            return "missing"  # execute says so

    @classmethod
    @says_errors
    def execute(cls, folder, size, fit, mirror, labels, channels="auto", width=None) -> io.NodeOutput:
        bar = NodeProgress(cls.hidden.unique_id)
        height_and_width = size, WIDTH.read(width) or size
        if folder in image_folders.EXAMPLE_FOLDERS:
            dataset = image_folders.EXAMPLE_FOLDERS[folder](height_and_width, channels, mirror, labels)
        else:
            path = image_folders.resolve_images(folder)
            settings = height_and_width, channels, fit, mirror, labels
            for step in reading(path, *settings, image_folders.dataset_cache(), image_folders.results()):
                bar.reading(step.done, step.total, "images read")
            assert step.dataset, "the last step has it"
            dataset = step.dataset
        report_skipped(dataset)
        return _shown(cls, dataset)


class ImagesToGANDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagesToGANDataset",
            display_name="Images to GAN Dataset",
            category=CATEGORY,
            description="Create a data set for training from a batch of images of any node.",
            search_aliases=["dataset", "training images", "batch to dataset"],
            inputs=[
                io.Image.Input("images", tooltip="Batch of images. More are better; a few hundred are a start."),
                *_shape_inputs(),
                *_further_inputs(),
            ],
            outputs=[IMAGE_DATASET.Output(display_name="dataset", tooltip="Images, ready for training.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, width=None) -> bool | str:
        return refusal(WIDTH.reason(width))

    @classmethod
    @says_errors
    def execute(cls, images, size, fit, mirror, channels="auto", width=None) -> io.NodeOutput:
        dataset = ImageDataset.from_images(images, (size, WIDTH.read(width) or size), channels, fit, mirror)
        return _shown(cls, dataset)


def _shown(node: type[io.ComfyNode], dataset: ImageDataset) -> io.NodeOutput:
    """Hands a data set on, and shows on the node what will be learned from."""
    NodeProgress(node.hidden.unique_id).say("\n".join(overview.in_words(dataset)))
    sheet = previews.as_image(previews.enlarged(overview.sheet(dataset)))
    return io.NodeOutput(dataset, ui=ui.PreviewImage(sheet, cls=node))


NODES = [LoadGANImageFolder, ImagesToGANDataset]
