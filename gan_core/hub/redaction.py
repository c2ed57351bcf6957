"""Redaction of private data before publishing: tokens, paths, names of people and of their files."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

REMOVED = "removed"
"""Replacement of private text."""

_TOKENS = re.compile(
    r"(?:hf|api_org)_[A-Za-z0-9_]{6,}"
    r"|\b(?:sk|pk|rk)-[\w-]{12,}"
    r"|\bgh[a-z]_\w{12,}|\bgithub_pat_\w{12,}|\bglpat-[\w-]{12,}|\bxox[a-z]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"  # JSON web tokens
    r"|\b[Bb]earer\s+\S+"
    r"|(?<=://)[^/\s@]+(?=@)"  # name and password in an address
    r"|(?i:\b(?:token|api_?key|password|passwd|pwd|secret)\s*[=:]\s*[^\s&]+|\b(?:key|signature|sig|auth)=[^\s&]+)"
)
"""Tokens of services that are used with ComfyUI, by their prefixes."""

_OPAQUE = re.compile(r"(?=[A-Za-z+=]*[0-9])(?=[0-9+=]*[A-Za-z])[A-Za-z0-9+=]{20,}")
"""Possible keys of other services: long words of digits and letters."""

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
"""E-mail addresses, and addresses of local machines."""

_MEDIA = re.compile(
    r"(?i)[^\n]*\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic|mp4|mov|mkv|webm|avi|wav|mp3|flac|ogg|m4a|psd|glb|obj|txt|"
    r"csv|json|zip|latent|npy|npz)\b[^\n]*|[^\n]*\[(?:input|output|temp)\][^\n]*|\A(?:input|output|temp|datasets)/[^\n]*"
)
"""Names of the user's own files in free text."""

TYPED = frozenset(["Note", "MarkdownNote", "CLIPTextEncode", "PublishGenerator"])
"""Nodes with texts written for readers or for a model. In other nodes a text may be the name of a file or a folder,
which cannot be told from another word."""

OURS = frozenset(["GANLatentWalk", "SampleNoise", "GANSeedGrid"])
"""Nodes with texts that are numbers, such as seeds."""

_NUMBERS = re.compile(r"[\d\s,.:-]*")

WORDS = frozenset(
    """
    0 1 adaptive ada additive always area auto bernoulli bicubic bilinear bislerp boundary center choose const conv_vae
    crop dcgan dcgan_classic dcgan_small ddim ddim_uniform ddpm decrement default diffaugment digits disable disabled
    down dpm_2 dpm_2_ancestral dpmpp_2m dpmpp_2m_sde dpmpp_2s_ancestral dpmpp_3m_sde dpmpp_sde enable enabled euler
    euler_ancestral exponential fastgan fastgan_small few finetune_decoder fixed fp32 gaussian grey grid heun hinge
    ignore image increment karras kl_optimal lanczos laplace lcm left linear lms log mixture multiscale nearest
    nearest-exact none normal pad pairs pca preset r1 r1_r2 r3gan r3gan_large r3gan_small random randomize relativistic
    RGB RGBA right rollback sefa sgm_uniform simple spherical spline stop stretch stylegan2 stylegan2_medium
    stylegan2_small taesd_vae uni_pc up w w+ wgan white z
    """.split()  # noqa: SIM905
)
"""Options of settings, here and in ComfyUI itself, which contain nothing private."""

_TEMPLATES = Path(__file__).parents[2] / "workflows"


@cache
def _of_templates() -> frozenset[str]:
    """Settings of the workflows that come with the pack, which are public."""
    texts: set[str] = set()
    for path in _TEMPLATES.rglob("*.json"):
        with suppress(OSError, ValueError):
            workflow = json.loads(path.read_bytes())
            nodes = workflow.get("nodes") or workflow.values()
            _mapped(
                [[node.get("widgets_values"), node.get("inputs")] for node in nodes], lambda text: _kept(text, texts)
            )
    return frozenset(texts)


def _kept(text: str, texts: set[str]) -> str:
    texts.add(text)
    return text


def without_tokens(text: str) -> str:
    """Replaces everything in a text that looks like a token or a password."""
    return _TOKENS.sub(REMOVED, text)


def stripped(value: Any) -> Any:
    """Removes tokens, paths, e-mail addresses and the names of this machine and its user from a JSON value."""
    private = _private_words()
    return _mapped(value, lambda text: _text(text, private))


def stripped_workflow(
    workflow: Mapping[str, Any], public: Iterable[str] = (), removed: list[str] | None = None
) -> dict[str, Any]:
    """Public version of a workflow: its nodes, links and settings, and nothing private.

    Settings keep numbers, known options, and the text of notes and prompts.

    workflow: in the format of the web page or of the API. public: texts that stay if they are a whole setting, such as
    the name of a repository, although it may contain a person's name. removed: list to which a line is added for each
    setting that is changed.
    """
    private, kept = _private_words(), frozenset(public) | WORDS | _of_templates()

    def plain(text: str) -> str:
        return _text(text, private)

    def setting(kind: str, text: str) -> str:
        if text in kept or not text.strip() or (kind in OURS and _NUMBERS.fullmatch(text)):
            return text
        left = _OPAQUE.sub(REMOVED, _MEDIA.sub(REMOVED, plain(text))) if kind in TYPED else REMOVED
        if left != text and removed is not None:
            removed.append(f"{plain(kind)}: {' '.join(without_tokens(text).split())[:80]}")
        return left

    if "nodes" in workflow:
        cut = _graph(workflow, plain, setting)
        cut.pop("name", None)  # the file name in the web page
        return cut
    return {plain(str(name)): _node(node, plain, setting, workflow.keys()) for name, node in workflow.items()}


_GRAPH = (
    "id", "name", "revision", "last_node_id", "last_link_id", "config", "version", "state", "inputNode", "outputNode",
    "widgets", "groups", "reroutes",
)  # fmt: skip
_SOCKETS = ("inputs", "outputs", "links", "floatingLinks")
_NODE = (
    "id", "type", "class_type", "pos", "size", "flags", "order", "mode", "title", "color", "bgcolor",
)  # fmt: skip
_PROPERTIES = ("Node name for S&R", "cnr_id", "ver", "proxyWidgets")
_EXTRA = ("reroutes", "linkExtensions")
"""Entries that are kept. The web page and its plug-ins write more: the last view, versions, names, previews."""

Text = Callable[[str], str]
Setting = Callable[[str, str], str]
"""Function of the type of a node and a text in its settings: the changed text."""


def _graph(graph: Any, plain: Text, setting: Setting) -> dict[str, Any]:
    cut = _part(graph, _GRAPH, plain)
    cut |= {name: _sockets(graph[name], plain) for name in _SOCKETS if name in graph}
    if isinstance(graph.get("nodes"), list):
        cut["nodes"] = [_node(each, plain, setting) for each in graph["nodes"]]
    subgraphs = _mapping(graph.get("definitions")).get("subgraphs")
    if isinstance(subgraphs, list):
        cut["definitions"] = {"subgraphs": [_graph(_mapping(each), plain, setting) for each in subgraphs]}
    extra = _part(_mapping(graph.get("extra")), _EXTRA, plain)
    return {**cut, "extra": extra} if extra else cut


def _node(node: Any, plain: Text, setting: Setting, ids: Iterable[str] = ()) -> dict[str, Any]:
    """Public version of a node. ids: nodes that its inputs may be linked to, in the format of the API."""
    node = _mapping(node)
    kind = str(node.get("type") or node.get("class_type"))
    cut = _part(node, _NODE, plain)

    def change(text: str) -> str:
        return setting(kind, text)

    if "properties" in node:
        cut["properties"] = _part(_mapping(node["properties"]), _PROPERTIES, plain)
    for name in ("widgets_values", "inputs", "outputs"):
        value = node.get(name)
        if isinstance(value, Mapping):  # by name; the page's inputs and outputs are lists of sockets
            cut[name] = {
                plain(str(key)): each if _is_link(each, ids) else _mapped(each, change) for key, each in value.items()
            }
        elif name in node:
            cut[name] = _mapped(value, change) if name == "widgets_values" else _sockets(value, plain)
    return cut


def _is_link(value: Any, ids: Iterable[str]) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] in ids and isinstance(value[1], int)


def _sockets(value: Any, plain: Text) -> Any:
    """Public version of sockets and links. Older web pages write all options of a list into the type of a socket."""
    if isinstance(value, Mapping):
        cut = {key: each for key, each in value.items() if key not in ("type", "widget")}
        if "widget" in value:
            cut["widget"] = _part(_mapping(value["widget"]), ("name",), plain)
        if "type" in value:
            cut["type"] = "COMBO" if isinstance(value["type"], list) else value["type"]
        return _mapped(cut, plain)
    if isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value):
        return _mapped(value, plain)
    if isinstance(value, list) and value and not isinstance(value[0], Mapping | list):  # a link: numbers, and a type
        return ["COMBO" if isinstance(each, list) else _mapped(each, plain) for each in value]
    return [_sockets(each, plain) for each in value] if isinstance(value, list) else _mapped(value, plain)


def _part(values: Mapping[str, Any], names: Iterable[str], plain: Text) -> dict[str, Any]:
    return {name: _mapped(values[name], plain) for name in names if name in values}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mapped(value: Any, change: Text) -> Any:
    """Applies a change to all texts in a JSON value, including keys."""
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
"""Common names of accounts and machines, which are not private and occur in workflows."""


def _private_words() -> re.Pattern[str] | None:
    """Pattern of the names of this machine, its user and the home folder, as whole words."""
    words = {socket.gethostname(), Path.home().name}
    with suppress(OSError, KeyError, ImportError):  # an account without a name
        words.add(getpass.getuser())
    words = {word for word in words if len(word) > 2 and word.lower() not in _NO_NAMES}
    if not words:
        return None
    return re.compile(rf"(?i)(?<![^\W_])(?:{'|'.join(map(re.escape, sorted(words)))})(?![^\W_])")
