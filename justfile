# What one types daily. just is a single program without a shell of its own, which pip installs on Windows too
# (pip install -e ".[dev]"); a Makefile would need make and a POSIX shell there.
set windows-shell := ["powershell.exe", "-NoLogo", "-Command"]

python := env("PYTHON", "python")

# The commands.
default:
    @just --list

# Tests without ComfyUI: just test tests/core/sampling/test_walks.py, just test -k seeds
test *arguments="tests/core":
    {{python}} -m pytest -q {{arguments}}

# Tests against a real ComfyUI and a real browser.
comfyui *arguments="tests/comfyui tests/browser":
    {{python}} -m pytest -q {{arguments}}

# What judges style and types.
style:
    {{python}} -m ruff check .
    {{python}} -m ruff format --check .
    {{python}} .ci/check_types.py --python-executable {{python}}

# Mends what can be mended by itself.
fix:
    {{python}} -m ruff check --fix .
    {{python}} -m ruff format .

# All that has to pass before a merge, in a new environment. On Windows: from Git Bash.
ci:
    bash .ci/run
