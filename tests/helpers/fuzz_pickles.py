"""Fuzzes the pickle reader, guided by coverage. `python tests/helpers/fuzz_pickles.py -runs=1000000` (needs atheris).

Every input must be read, or refused in a sentence; anything else, or more memory or time than a small file may cost,
ends the run with the input that did it. The corpus begins with the files of tests/core/foreign/test_pickles.py and of
tests/helpers/hostile_pickles.py. What a file may cost is set low here, so that what is not counted shows.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / "core" / "foreign"),
    str(Path(__file__).parents[2]),
]

import torch  # noqa: E402, F401 - before the instrumentation, which is for our own code

with atheris.instrument_imports(include=["gan_core.foreign"]):
    from gan_core.foreign import state_dicts as foreign
    from gan_core.foreign import torch_files

from hostile_pickles import HOSTILE  # noqa: E402
from test_pickles import BOMBS, INERT, RUNNING, WHOLE  # noqa: E402

from gan_core import InputError  # noqa: E402

torch_files.MAX_STEPS = foreign.MAX_SEARCHED = 50_000

FILE = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "file.pkl"


def read(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        with torch_files.opened(FILE) as file:
            for found in foreign.candidates(file):
                for stored in found.tensors.values():
                    file.tensor(stored)
    except InputError as error:
        if not (str(error).startswith("file.pkl ") and str(error).endswith(".")):
            raise AssertionError(f"no sentence: {error}") from error


if __name__ == "__main__":
    corpus = Path(tempfile.mkdtemp())
    hostile = [made(count) for made in HOSTILE.values() for count in (2, 30)]
    for number, data in enumerate([*RUNNING.values(), *INERT.values(), *BOMBS.values(), *WHOLE.values(), *hostile]):
        if len(data) < 20_000:
            (corpus / str(number)).write_bytes(data)
    atheris.Setup([*sys.argv, "-max_len=20000", "-rss_limit_mb=4096", "-timeout=10", str(corpus)], read)
    atheris.Fuzz()
