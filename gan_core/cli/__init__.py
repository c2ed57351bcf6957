"""Command line, `python -m gan_core`: one file for each group of commands."""

import click

from .errors import OneLineErrors
from .generators import convert, info, sample
from .hub import fetch, publish
from .measure import likelihood_command, measure_command
from .train import demo, train_command

__all__ = ["main"]


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Train a small image generator (a GAN or a VAE) on a folder of images, and generate images with it.

    \b
    Start here:
      python -m gan_core demo                              train on handwritten digits, about 3 minutes
      python -m gan_core train photos --out runs/photos    train on the images in a folder
      python -m gan_core sample runs/photos/generator.safetensors --out new.png
      python -m gan_core convert stylegan2-ada.pkl         convert a generator of another program
      python -m gan_core fetch owner/name                  fetch one from the Hugging Face Hub
      python -m gan_core publish mine.safetensors me/mine --license cc-by-4.0
    """


for command in (demo, train_command, sample, convert, info, measure_command, likelihood_command, fetch, publish):
    main.add_command(command)
