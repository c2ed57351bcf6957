"""python -m gan_core: the command line."""

import sys

try:
    from .cli import main
except ModuleNotFoundError as missing:
    if missing.name not in ("click", "tqdm"):
        raise
    sys.exit(
        f"The command line needs {missing.name}, which the nodes do without. "
        "Install what it needs with: python -m pip install click tqdm matplotlib"
    )

if __name__ == "__main__":
    main()
