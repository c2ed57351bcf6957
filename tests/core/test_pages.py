"""The pages of the repository say what is there: nodes, templates, images, and the same in both languages."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("nodes_page", ROOT / ".ci" / "nodes_page.py")
nodes_page = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(nodes_page)

READMES = ["README.md", "README.zh-CN.md"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", nodes_page.pages(), ids=lambda path: path.name)
def test_the_tables_of_nodes_are_those_of_the_schemas(path):
    assert path.read_text(encoding="utf-8") == nodes_page.pages()[path], "python .ci/nodes_page.py writes it anew"


def test_every_node_is_in_one_group():
    grouped = [node for nodes in nodes_page.grouped().values() for node in nodes]
    assert sorted(grouped) == sorted(json.loads(text("tests/comfyui/schemas.json")))


@pytest.mark.parametrize("readme", READMES)
def test_every_template_is_shown(readme):
    templates = {path.stem for path in ROOT.glob("workflows/*.json")}
    assert (
        set(re.findall(r'<img src="workflows/(\w+)\.jpg" height="72" alt=""> \*\*\w+\*\*', text(readme))) == templates
    )


def outline(readme: str) -> dict[str, list[str]]:
    """What two READMEs in two languages have alike: levels of headings, images, programs, widths of tables."""
    page = text(readme)
    return {
        "headings": re.findall(r"^#+(?= )", page, re.MULTILINE),
        "images": re.findall(r'!\[[^]]*\]\(([^)]+)\)|<img src="([^"]+)"', page),
        "programs": re.findall(r"^```(?:sh|python)\n.*?^```$", page, re.MULTILINE | re.DOTALL),
        "tables": [str(row.count("|")) for row in re.findall(r"^\|.*\|$", page, re.MULTILINE)],
        "presets": re.findall(r"`(\w+)`(?=[^`\n]*\|)", page),
        "numbers": sorted(re.findall(r"\d[\d,.]*\d", "".join(re.findall(r"^\|.*\|$", page, re.MULTILINE)))),
    }


@pytest.mark.parametrize("part", ["headings", "images", "programs", "tables", "presets", "numbers"])
def test_both_readmes_say_the_same(part):
    english, chinese = map(outline, READMES)
    assert english[part]
    assert chinese[part] == english[part]


@pytest.mark.parametrize("readme", READMES)
def test_a_readme_is_short(readme):
    assert len(text(readme).splitlines()) <= 120


def test_sentences_in_chinese_are_on_one_line():
    """As a line break between two Chinese characters is a blank on GitHub."""
    assert re.findall(r".*[\u4e00-\u9fff，、]\n[\u4e00-\u9fff].*", text("README.zh-CN.md")) == []


@pytest.mark.parametrize("readme", READMES)
def test_no_image_is_larger_than_a_page_may_load(readme):
    names = {name for pair in outline(readme)["images"] for name in pair if name and not name.startswith("http")}
    assert {name for name in names if (ROOT / name).stat().st_size > 1_500_000} == set()


def test_every_image_is_shown_and_its_origin_told():
    pages = "".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    pages += text("pyproject.toml")
    images = [path for path in (ROOT / "docs" / "images").iterdir() if path.suffix != ".md"]
    assert [path.name for path in images if f"images/{path.name}" not in pages] == []
    origins = re.findall(r"`([\w.*-]+)`", text("docs/images/README.md"))
    assert [path.name for path in images if not any(path.match(origin) for origin in origins)] == []


def test_contributors_are_shown_files_that_are_there():
    folders = r"gan_core|nodes|tests|docs|web|workflows|locales|\.ci|\.github"
    named = re.findall(rf"`((?:{folders})/[^`<>\s]*)`", text("CONTRIBUTING.md"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_moves():
    from PIL import Image

    with Image.open(ROOT / "docs" / "images" / "training.webp") as image:
        assert image.is_animated
        assert image.n_frames >= 20
