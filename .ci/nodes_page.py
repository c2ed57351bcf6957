"""Writes the tables of nodes: docs/nodes.md, docs/nodes.zh-CN.md, and the short one in each README.

python .ci/nodes_page.py

Names and descriptions are those of locales/, categories those of nodes/, sockets those of tests/comfyui/schemas.json.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

GROUPS = {
    ("Train", "训练"): ("data", "train"),
    ("Sample", "采样"): ("generate",),
    ("Steer", "操控"): ("latent", "directions", "project"),
    ("Convert", "转换"): ("convert",),
    ("Measure", "评测"): ("evaluate",),
    ("Hub", "Hub 模型库"): ("hub",),
}
"""Groups of pages of the node menu, as (English, Chinese)."""

NODE = re.compile(r'node_id="(\w+)".*?category=(\w+)', re.DOTALL)

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

HEAD = """# Nodes

[中文](nodes.zh-CN.md)

All {count} nodes, by group. A name leads to the node's help page; ComfyUI shows it too, for a node that is selected,
under **?**. `python .ci/nodes_page.py` writes this page.
"""
HEAD_ZH = """# 节点

[English](nodes.md)

全部 {count} 个节点，按用途排列。点节点名可打开帮助页；在 ComfyUI 中选中节点后点 **?** 也能看到。
本页由 `python .ci/nodes_page.py` 生成。
"""


SAYS = (
    "| | each has a help page in English and Chinese; latents are ComfyUI's own, "
    "so core's nodes blend, batch, save and load them |"
)
SAYS_ZH = "| | 每个节点都有中英文帮助页；潜变量就是 ComfyUI 的 LATENT，核心节点可以混合、合批、保存和加载 |"


def categories() -> dict[str, str]:
    """Each node's page of the menu."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "nodes").glob("*.py"))}
    own = {name: dict(re.findall(r'^(\w+) = "GAN/(\w+)"$', text, re.MULTILINE)) for name, text in texts.items()}
    found = {}
    for name, text in texts.items():
        names = dict(own[name])
        for module, imported in re.findall(r"^from \.(\w+) import (.+)$", text, re.MULTILINE):
            for original, _, alias in (part.strip().partition(" as ") for part in imported.split(",")):
                if original in own.get(module, {}):
                    names[alias or original] = own[module][original]
        found |= {node: names[page] for node, page in NODE.findall(text)}
    return found


def read(name: str) -> dict:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def first_sentence(text: str, stop: str) -> str:
    return re.split(rf"(?<={stop})\s*(?=\S)", text, maxsplit=1)[0].strip()


def sockets(schema: dict | None, names: dict[str, str]) -> str:
    """What a node takes by a line, and what it gives; nothing for a node whose schema is not written yet."""
    if schema is None:
        return ""
    takes = [socket["type"] for socket in schema["inputs"] if socket["type"] not in WIDGETS]
    gives = [socket["type"] for socket in schema["outputs"]]
    return " → ".join(
        ", ".join(dict.fromkeys("/".join(names.get(one, one) for one in kind.split(",")) for kind in kinds)) or "–"
        for kinds in (takes, gives)
    )


def grouped() -> dict[tuple[str, str], list[str]]:
    pages = categories()
    return {names: [node for page in parts for node in pages if pages[node] == page] for names, parts in GROUPS.items()}


def page(language: str) -> str:
    chinese = language == "zh"
    own, other = read(f"locales/{language}/nodeDefs.json"), read(f"locales/{'en' if chinese else 'zh'}/nodeDefs.json")
    schemas = read("tests/comfyui/schemas.json")
    kinds = read(f"locales/{language}/main.json").get("dataTypes", {})
    lines = [(HEAD_ZH if chinese else HEAD).format(count=len(own))]
    for names, nodes in grouped().items():
        lines += [f"## {names[chinese]}", ""]
        lines += [
            "| 节点 | English | 作用 | 输入 → 输出 |" if chinese else "| node | 中文 | what it does | takes → gives |"
        ]
        lines += ["|---|---|---|---|"]
        for node in nodes:
            says = first_sentence(own[node]["description"], "。" if chinese else r"\.").replace("|", "\\|")
            link = f"[{own[node]['display_name']}](../web/docs/{node}/{language}.md)"
            lines.append(f"| {link} | {other[node]['display_name']} | {says} | {sockets(schemas.get(node), kinds)} |")
        lines.append("")
    return "\n".join(lines)


def short(language: str) -> str:
    """The table of the README: a line for each group, every node by both its names."""
    own, other = (read(f"locales/{name}/nodeDefs.json") for name in ("en", "zh"))
    if language == "zh":
        own, other = other, own
    marks = "（{}）" if language == "zh" else " ({})"
    lines = [SAYS_ZH if language == "zh" else SAYS, "|---|---|"]
    for names, nodes in grouped().items():
        named = [own[node]["display_name"] + marks.format(other[node]["display_name"]) for node in nodes]
        lines.append(f"| {names[language == 'zh']} | {' · '.join(named)} |")
    return "\n".join(lines)


def with_table(readme: str, language: str) -> str:
    """A README with the table of today between its two marks."""
    before, begin, rest = readme.partition("<!-- nodes -->\n")
    _, end, after = rest.partition("<!-- end of nodes -->")
    assert begin and end, "the README has no marks for the table of nodes"
    return f"{before}{begin}{short(language)}\n{end}{after}"


def pages() -> dict[Path, str]:
    """Every page that this writes, and its text."""
    readmes = {ROOT / "README.md": "en", ROOT / "README.zh-CN.md": "zh"}
    written = {path: with_table(path.read_text(encoding="utf-8"), language) for path, language in readmes.items()}
    return {ROOT / "docs" / "nodes.md": page("en"), ROOT / "docs" / "nodes.zh-CN.md": page("zh"), **written}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
