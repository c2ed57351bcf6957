"""Files of weights: writing a generator, and checking a file before it is trusted."""

from .native import (
    FORMAT_VERSION,
    WHERE_GENERATORS_COME_FROM,
    OpenedFile,
    check,
    check_finite,
    is_safetensors,
    opened,
    write,
    write_tensors,
)

__all__ = [
    "FORMAT_VERSION",
    "WHERE_GENERATORS_COME_FROM",
    "OpenedFile",
    "check",
    "check_finite",
    "is_safetensors",
    "opened",
    "write",
    "write_tensors",
]
