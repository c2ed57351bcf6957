"""What must not leave this machine by accident: tokens, paths, names of people and of their files."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

REMOVED = "removed"
"""What stands where something private stood."""

_TOKENS = re.compile(
    r"(?:hf|api_org)_[A-Za-z0-9_]{6,}"
    r"|\b(?:sk|pk|rk)-[\w-]{12,}"
    r"|\bgh[a-z]_\w{12,}|\bgithub_pat_\w{12,}|\bglpat-[\w-]{12,}|\bxox[a-z]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"  # JSON web tokens
    r"|\b[Bb]earer\s+\S+"
    r"|(?<=://)[^/\s@]+(?=@)"  # name and password in an address
    r"|(?i:\b(?:token|api_?key|password|passwd|pwd|secret)\s*[=:]\s*[^\s&]+|\b(?:key|signature|sig|auth)=[^\s&]+)"
)
"""Of the services that people use beside ComfyUI, by how they begin."""

_OPAQUE = re.compile(r"(?=[A-Za-z+=]*[0-9])(?=[0-9+=]*[A-Za-z])[A-Za-z0-9+=]{20,}")
"""What may be a key of a service that is not among them: long, and of digits and letters without a break."""

_PATHS = re.compile(
    r"file:/+\S.*"
    r"|(?<![\w/.])/[^\s/][^\n]*"  # to the end of the line, as names have spaces
    r"|(?<!\w)[A-Za-z]:[\\/][^\n]*"
    r"|\\\\[^\n]*"
    r"|(?<![\w.])\.\.?[\\/][^\n]*"
    r"|(?<!\w)~[\\/][^\n]*"
    r"|%[A-Za-z]+%[^\n]*|\$(?:HOME|USER)\b[^\n]*"
)
_PEOPLE = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://(?:localhost|[\d.]+|\[[\da-f:]+\])(?::\d+)?\S*")
"""E-mail addresses, and addresses of machines at home."""

_MEDIA = re.compile(
    r"(?i)[^\n]*\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic|mp4|mov|mkv|webm|avi|wav|mp3|flac|ogg|m4a|psd|glb|obj|txt|"
    r"csv|json|zip|latent|npy|npz)\b[^\n]*|[^\n]*\[(?:input|output|temp)\][^\n]*|\A(?:input|output|temp|datasets)/[^\n]*"
)
"""Files of the person's own, as loaders name them. Names of models stay: they are what a workflow is made of."""


def without_tokens(text: str) -> str:
    """The text, with what looks like a token or a password replaced."""
    return _TOKENS.sub(REMOVED, text)


def stripped(value: Any) -> Any:
    """A JSON value without tokens, paths, e-mail addresses, and the names of this machine and its user."""
    private = _private_words()
    return _mapped(value, lambda text: _text(text, private))


def stripped_workflow(workflow: Mapping[str, Any], public: Iterable[str] = ()) -> dict[str, Any]:
    """A workflow as others may see it: which nodes there are, how they are linked and set, and nothing private.

    workflow: in the page's format or in the API's. public: texts that stay where they are a whole setting, such as the
    name of a repository, though it may have a person's name in it.
    """
    private, kept = _private_words(), frozenset(public)

    def plain(text: str) -> str:
        return _text(text, private)

    def setting(text: str) -> str:
        return text if text in kept else _OPAQUE.sub(REMOVED, _MEDIA.sub(REMOVED, plain(text)))

    if "nodes" in workflow:
        return _graph(workflow, plain, setting)
    return {plain(str(name)): _node(node, plain, setting) for name, node in workflow.items()}


_GRAPH = (
    "id", "name", "revision", "last_node_id", "last_link_id", "links", "floatingLinks", "groups", "config", "version",
    "state", "inputs", "outputs", "inputNode", "outputNode", "widgets", "reroutes",
)  # fmt: skip
_NODE = (
    "id", "type", "class_type", "pos", "size", "flags", "order", "mode", "inputs", "outputs", "title", "color",
    "bgcolor", "widgets_values",
)  # fmt: skip
_PROPERTIES = ("Node name for S&R", "cnr_id", "ver", "models", "proxyWidgets")
_EXTRA = ("reroutes", "linkExtensions")
"""What is kept. The page and its plug-ins write more: where somebody looked last, versions, names, previews."""

Text = Callable[[str], str]


def _graph(graph: Any, plain: Text, setting: Text) -> dict[str, Any]:
    cut = _part(graph, _GRAPH, plain)
    if isinstance(graph.get("nodes"), list):
        cut["nodes"] = [_node(each, plain, setting) for each in graph["nodes"]]
    subgraphs = _mapping(graph.get("definitions")).get("subgraphs")
    if isinstance(subgraphs, list):
        cut["definitions"] = {"subgraphs": [_graph(_mapping(each), plain, setting) for each in subgraphs]}
    extra = _part(_mapping(graph.get("extra")), _EXTRA, plain)
    return {**cut, "extra": extra} if extra else cut


def _node(node: Any, plain: Text, setting: Text) -> dict[str, Any]:
    node = _mapping(node)
    cut = _part(node, _NODE, plain)
    if "properties" in node:
        cut["properties"] = _part(_mapping(node["properties"]), _PROPERTIES, plain)
    if "widgets_values" in node:
        cut["widgets_values"] = _mapped(node["widgets_values"], setting)
    if isinstance(node.get("inputs"), Mapping):  # the API's, which are settings; the page's are sockets
        cut["inputs"] = _mapped(node["inputs"], setting)
    return cut


def _part(values: Mapping[str, Any], names: Iterable[str], plain: Text) -> dict[str, Any]:
    return {name: _mapped(values[name], plain) for name in names if name in values}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mapped(value: Any, change: Text) -> Any:
    """A JSON value with each of its texts changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return value


def _text(text: str, private: re.Pattern[str] | None) -> str:
    for pattern in (_TOKENS, _PEOPLE, _PATHS, *([private] if private else [])):
        text = pattern.sub(REMOVED, text)
    return text


_NO_NAMES = {"root", "user", "admin", "comfy", "comfyui", "home", "localhost", "ubuntu", "runner", "docker"}
"""Names of accounts and machines that say nothing of anybody, and are words of workflows."""


def _private_words() -> re.Pattern[str] | None:
    """The names of this machine, of its user and of the home folder, as whole words."""
    words = {socket.gethostname(), Path.home().name}
    with suppress(OSError, KeyError, ImportError):  # an account without a name
        words.add(getpass.getuser())
    words = {word for word in words if len(word) > 2 and word.lower() not in _NO_NAMES}
    if not words:
        return None
    return re.compile(rf"(?i)(?<![^\W_])(?:{'|'.join(map(re.escape, sorted(words)))})(?![^\W_])")
