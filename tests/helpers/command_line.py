"""The command line in this process, with stdout and stderr apart in every version of click."""

import inspect

from click.testing import CliRunner, Result

from gan_core.cli import main


def run(*arguments: object, **options: object) -> Result:
    """What python -m gan_core ARGUMENTS does."""
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}  # before click 8.2
    return CliRunner(**apart, **options).invoke(main, [str(argument) for argument in arguments])
