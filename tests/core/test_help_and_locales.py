"""Every node is explained and translated, and what the documents say is what the code does.

ComfyUI is not needed: schemas are read from the source of nodes/.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from gan_core import architectures
from gan_core.examples import FOLDER as EXAMPLES
from gan_core.losses.adversarial import OBJECTIVES
from gan_core.losses.reconstruction import LOSSES
from gan_core.training import TrainConfig
from gan_core.training.presets import GAN_PRESETS, VAE_PRESETS
from gan_core.training.settings import AdversarialRecipe, VariationalRecipe, settings_of

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "web" / "docs"
LANGUAGES = ("en", "zh")
SOURCES = sorted((ROOT / "nodes").glob("*.py"))
CORE_SOCKETS = {"LOSS_MAP"}
"""Types that ComfyUI has, and translates."""


@dataclass(frozen=True)
class Node:
    """What a schema says to people."""

    id: str
    display_name: str
    description: str
    inputs: dict[str, str]
    """Tooltips by input id."""
    outputs: dict[str, str]
    """Tooltips by output name."""


def _constants() -> Iterator[tuple[str, str]]:
    """Constants of nodes/ that stand for an optional input, and its name."""
    for source in SOURCES:
        for item in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.Assign) and ast.unparse(item.value).startswith("Optional"):
                assert isinstance(item.value, ast.Call)
                yield ast.unparse(item.targets[0]), ast.literal_eval(item.value.args[0])


CONSTANTS = dict(_constants())


def _nodes() -> Iterator[Node]:
    for source in SOURCES:
        tree = ast.parse(source.read_text(encoding="utf-8"))
        functions = {item.name: item for item in tree.body if isinstance(item, ast.FunctionDef)}
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema":
                yield _node(_keywords(call), functions)


def _node(schema: dict[str, Any], functions: dict[str, ast.FunctionDef]) -> Node:
    outputs = [_keywords(call) for call in schema["outputs"].elts]
    return Node(
        id=ast.literal_eval(schema["node_id"]),
        display_name=ast.literal_eval(schema["display_name"]),
        description=ast.literal_eval(schema["description"]),
        inputs=dict(_inputs(schema["inputs"], functions)),
        outputs={ast.literal_eval(each["display_name"]): ast.literal_eval(each["tooltip"]) for each in outputs},
    )


def _inputs(items: ast.List, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, str]]:
    """Names and tooltips of the inputs in a list, and of those that are unpacked in it: a function's, or those of the
    settings that gan_core declares."""
    for item in items.elts:
        if isinstance(item, ast.Starred) and isinstance(item.value, ast.GeneratorExp):
            declared = eval(ast.unparse(item.value.generators[0].iter), DECLARED)  # noqa: S307 - our own source
            yield from ((name, each.help) for name, each in declared)
        elif isinstance(item, ast.Starred):
            assert isinstance(item.value, ast.Call)
            body = functions[ast.unparse(item.value.func)].body
            (returned,) = (line.value for line in body if isinstance(line, ast.Return))
            assert isinstance(returned, ast.List)
            yield from _inputs(returned, functions)
        else:
            assert isinstance(item, ast.Call)
            yield _name(item), _text(_keywords(item)["tooltip"])


def _text(tooltip: ast.expr) -> str:
    """A text of the source, or that of a declared setting."""
    if isinstance(tooltip, ast.Attribute):
        return eval(ast.unparse(tooltip), DECLARED)  # noqa: S307 - our own source
    return ast.literal_eval(tooltip)


DECLARED = {
    "SETTINGS": settings_of(TrainConfig),
    "settings_of": settings_of,
    "AdversarialRecipe": AdversarialRecipe,
    "VariationalRecipe": VariationalRecipe,
}
"""What the sources of nodes/ take from gan_core into their schemas."""


def _name(call: ast.Call) -> str:
    """The name of an input."""
    assert isinstance(call.func, ast.Attribute)
    return CONSTANTS[ast.unparse(call.func.value)] if call.func.attr == "input" else ast.literal_eval(call.args[0])


def _keywords(call: ast.Call) -> dict[str, Any]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


NODES = {node.id: node for node in _nodes()}

of_every_node = pytest.mark.parametrize("node", NODES.values(), ids=NODES.keys())
in_every_language = pytest.mark.parametrize("language", LANGUAGES)


def locale(language: str, file: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / f"{file}.json").read_text(encoding="utf-8"))


def page(node: Node, language: str) -> str:
    return (PAGES / node.id / f"{language}.md").read_text(encoding="utf-8")


def is_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value, without the keys."""
    if isinstance(value, str):
        yield value
    else:
        for item in value.values():
            yield from texts(item)


def keys(value: Any) -> Any:
    """A JSON value without its strings."""
    return None if isinstance(value, str) else {key: keys(item) for key, item in value.items()}


def test_help_is_there_for_these_nodes_and_no_others() -> None:
    ids = {found for source in SOURCES for found in re.findall(r'node_id="(\w+)"', source.read_text(encoding="utf-8"))}
    assert ids and set(NODES) == ids
    assert {path.name for path in PAGES.iterdir()} == ids | {f"{node}.md" for node in ids}
    for language in LANGUAGES:
        assert set(locale(language, "nodeDefs")) == ids


@in_every_language
@of_every_node
def test_a_page_explains_every_input_and_output(node: Node, language: str) -> None:
    text, names = page(node, language), locale(language, "nodeDefs")[node.id]
    assert text.startswith(f"# {names['display_name']}\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    shown = {each: names["inputs"][each]["name"] for each in node.inputs}
    shown |= {each: names["outputs"][str(place)]["name"] for place, each in enumerate(node.outputs)}
    for each, name in shown.items():
        beginning = f"| `{each}`" if name == each else f"| {name} `{each}`"
        assert any(row.startswith(beginning) for row in rows), f"no row begins with {beginning}"
    assert is_chinese(text) == (language == "zh")


@of_every_node
def test_other_languages_see_the_english_page(node: Node) -> None:
    # ComfyUI's frontend asks for <id>/<language>.md and then for <id>.md, never for <id>/en.md.
    assert (PAGES / f"{node.id}.md").read_text(encoding="utf-8") == page(node, "en")


@of_every_node
def test_the_english_entries_repeat_the_schema(node: Node) -> None:
    expected: dict[str, Any] = {
        "display_name": node.display_name,
        "description": node.description,
        "inputs": {each: {"name": each, "tooltip": tooltip} for each, tooltip in node.inputs.items()},
    }
    if node.outputs:
        outputs = enumerate(node.outputs.items())
        expected["outputs"] = {str(place): {"name": name, "tooltip": tooltip} for place, (name, tooltip) in outputs}
    assert locale("en", "nodeDefs")[node.id] == expected


@of_every_node
def test_the_chinese_entries_translate_every_text(node: Node) -> None:
    english, chinese = (locale(language, "nodeDefs")[node.id] for language in LANGUAGES)
    assert keys(chinese) == keys(english)
    assert [text for text in texts(chinese) if not is_chinese(text)] == []


@in_every_language
def test_menus_and_sockets_have_names(language: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    categories = {"GAN", *re.findall(r'CATEGORY = "GAN/(\w+)"', source)}
    sockets = set(re.findall(r'io\.Custom\("(\w+)"\)', source)) - CORE_SOCKETS
    assert len(categories) > 1 and sockets
    names = locale(language, "main")
    assert set(names["nodeCategories"]) == categories
    assert set(names["dataTypes"]) == sockets
    untranslated = {text for text in texts(names) if not is_chinese(text)}
    assert untranslated == ({"GAN"} if language == "zh" else categories | sockets)


@in_every_language
@pytest.mark.parametrize("file", ["main", "nodeDefs"])
def test_no_text_has_a_character_that_the_frontend_interprets(language: str, file: str) -> None:
    # In vue-i18n's messages braces are places for values, @ refers to other messages, and | separates plurals.
    assert [text for text in texts(locale(language, file)) if not text.strip() or re.search(r"[{}@|]", text)] == []


CORE_NAMES = json.loads((Path(__file__).parent / "core_names_zh.json").read_text(encoding="utf-8"))
"""Nodes of ComfyUI that Chinese texts speak of, by their names in its Chinese interface, and the labels that they are
said to have. tests/comfyui asks the frontend whether it still calls them so."""


def notes() -> dict[str, tuple[str, set[str]]]:
    """The note of each template, and the ids of the nodes around it."""
    found = {}
    for path in sorted((ROOT / "workflows").glob("*.json")):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        (note,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
        found[path.stem] = note, {node["type"] for node in nodes}
    return found


NOTES = notes()
of_every_note = pytest.mark.parametrize("template", NOTES)


@cache
def labels(node: str) -> set[str]:
    """What a node's inputs and outputs are called in Chinese."""
    entry = locale("zh", "nodeDefs")[node]
    return {each["name"] for part in ("inputs", "outputs") for each in entry.get(part, {}).values()}


DISPLAY_NAMES = {entry["display_name"]: node for node, entry in locale("zh", "nodeDefs").items()}


def chinese_half(template: str) -> str:
    return NOTES[template][0].split("\n\n### ")[1]


def chinese_texts() -> Iterator[tuple[str, str]]:
    """Where it stands, and every Chinese text that people read inside ComfyUI."""
    for node in NODES.values():
        yield f"{node.id}/zh.md", page(node, "zh")
        for text in texts(locale("zh", "nodeDefs")[node.id]):
            yield f"locales/zh, {node.id}", text
    for template in NOTES:
        yield f"note of {template}", chinese_half(template)


def _misnamed(text: str, labels_here: set[str]) -> list[str]:
    """Bold Chinese names that are no node and no label of the nodes here or of those in the same line."""
    wrong = []
    beginning_of_an_item = re.compile(r"^(- |\d+\. )?\*\*[^*]+\*\*(?=[：，（ ])", re.MULTILINE)
    for line in beginning_of_an_item.sub("", text).splitlines():
        known = labels_here | set(DISPLAY_NAMES)
        for name, node in DISPLAY_NAMES.items():
            known |= labels(node) if name in line else set()
        for name, core in CORE_NAMES.items():
            known |= set(core) if f"“{name}”" in line else set()
        wrong += [name for name in re.findall(r"\*\*([^*]+)\*\*", line) if is_chinese(name) and name not in known]
    return wrong


@of_every_node
def test_bold_chinese_names_are_labels_of_the_node_that_is_spoken_of(node: Node) -> None:
    assert _misnamed(page(node, "zh"), labels(node.id)) == []


@of_every_note
def test_bold_chinese_names_in_notes_are_labels_of_the_nodes_around_them(template: str) -> None:
    around = {label for node in NOTES[template][1] & set(NODES) for label in labels(node)}
    assert _misnamed(chinese_half(template), around | {"运行"}) == []  # 运行 is the button


ON_THE_PAGE = set(re.findall('"([^"]+)"', (ROOT / "web/js/texts.js").read_text(encoding="utf-8")))
"""What the panel and the list of runs say."""


def test_quoted_chinese_names_are_nodes_or_labels() -> None:
    known = {*DISPLAY_NAMES, *CORE_NAMES, *ON_THE_PAGE} | {label for node in NODES for label in labels(node)}
    said = [(place, name) for place, text in chinese_texts() for name in re.findall("“([^”]*)”", text)]
    assert said and [each for each in said if each[1] not in known] == []


@of_every_note
def test_notes_speak_both_languages(template: str) -> None:
    english, *chinese = NOTES[template][0].split("\n\n### ")
    assert english.startswith("### ") and len(chinese) == 1
    assert is_chinese(chinese[0]) and not is_chinese(english)


def _misplaced(text: str, inputs_here: set[str]) -> list[str]:
    """Bold names of inputs and outputs that neither the nodes here nor those in the same line have."""
    names = {node.id: {*node.inputs, *node.outputs} for node in NODES.values()}
    wrong = []
    for line in text.splitlines():
        known = inputs_here.union(*(names[node.id] for node in NODES.values() if node.display_name in line))
        said = set(re.findall(r"\*\*(\w+)\*\*", line)) & set().union(*names.values())
        wrong += said - known - {"preset"}  # which is also a word for a value
    return wrong


@of_every_node
def test_bold_names_of_inputs_are_those_of_the_node_that_is_spoken_of(node: Node) -> None:
    assert _misplaced(page(node, "en"), {*node.inputs, *node.outputs}) == []


@of_every_note
def test_bold_names_of_inputs_in_notes_are_those_of_the_nodes_around_them(template: str) -> None:
    note, around = NOTES[template]
    inputs = {name for node in around & set(NODES) for name in (*NODES[node].inputs, *NODES[node].outputs)}
    assert _misplaced(note.split("\n\n### ")[0], inputs) == []


OF_OTHERS = {
    "Value not in list: folder", "Value not in list: license", "The size of tensor a", "must match",
    "float division by zero",
}  # fmt: skip
"""What ComfyUI and torch say."""


def test_sentences_that_pages_quote_are_said_by_the_code() -> None:
    """A page quotes a sentence in parts, with … between them; each part is in one text of the code."""
    code = [path for folder in ("gan_core", "nodes") for path in (ROOT / folder).rglob("*.py")]
    said = "\n".join([*(text for path in code for text in _texts_in(path)), *ON_THE_PAGE])
    quotes = [
        (f"{node.id}/{language}.md", part.strip(" ,.").removeprefix("is "))
        for node in NODES.values()
        for language in LANGUAGES
        for row in page(node, language).splitlines()
        if row.startswith("| ")
        for quote in re.findall(r"(?<!\*)\*([A-Za-z…][^*]+)\*(?!\*)", row.split(" | ")[0])
        for part in quote.split("…")
        if " " in part.strip(" ,.").removeprefix("is ")
    ]
    assert len(quotes) > 100
    assert [quote for quote in quotes if quote[1] not in said and quote[1] not in OF_OTHERS] == []


def _texts_in(path: Path) -> Iterator[str]:
    """Every text in a program; an f-string with a line break for each value in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "\n" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


NOT_CHINESE = re.compile(
    "背下来|死记硬背|免费比特|附加组件|模式坍塌|后验坍|训练目标|左右镜像|自带的|画(出|得|成|图|的)|说出|告诉|看过|这么多千张|拉向|白用"
)
"""What the project once said word for word after its English, and no Chinese engineer says."""


def test_chinese_texts_use_the_words_of_the_field() -> None:
    said = [(place, word.group()) for place, text in chinese_texts() for word in NOT_CHINESE.finditer(text)]
    assert said == []


def test_chinese_texts_are_set_as_chinese_is() -> None:
    """Curved quotation marks, full-width punctuation, and a space between Chinese and Latin letters or digits."""
    wrong = re.compile(r"[「」]|[\u4e00-\u9fff][,;:?!]|[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]")
    names_of_core = "|".join(rf"\*\*{label}\*\*" for label in chain.from_iterable(CORE_NAMES.values()))
    found = []
    for place, text in chinese_texts():
        prose = re.sub(f"`[^`]*`|“[^”]*”|{names_of_core}", "“”", text).replace("**", "")
        found += [(place, prose[max(0, hit.start() - 8) : hit.end() + 8]) for hit in wrong.finditer(prose)]
    assert found == []


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PAGES.rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = [re.sub(r"[^\w\- ]", "", line.lower()) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    anchors = {heading.replace(" ", "-") for heading in headings}
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text)
    here = [(picture, target) for picture, target in found if not re.match(r"https?:", target)]
    if document.is_relative_to(PAGES):
        # A help page is shown far from its file: ComfyUI finds its images from web/docs, and other links nowhere.
        lost = [target for picture, target in here if not (picture and (PAGES / target).is_file())]
    else:
        lost = [target for _, target in here if not _leads_somewhere(document.parent, target, anchors)]
    assert lost == []


def _leads_somewhere(folder: Path, target: str, anchors: set[str]) -> bool:
    path, _, anchor = target.partition("#")
    return (folder / path).exists() if path else anchor in anchors


@pytest.mark.parametrize("heading", ["Presets", "VAE presets"])
def test_the_recipes_page_has_the_presets_as_they_are(heading: str) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    presets = GAN_PRESETS if heading == "Presets" else VAE_PRESETS
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith(tuple(f"| `{name}` " for name in presets))]
    assert rows == [_row(name, recipe) for name, recipe in presets.items()]
    for choice in (*OBJECTIVES, *LOSSES):
        assert f"| `{choice}` |" in text


def _row(name: str, recipe: AdversarialRecipe | VariationalRecipe) -> str:
    learning = [
        f"{recipe.learning_rate:g}",
        ", ".join(f"{beta:g}" for beta in recipe.betas),
        *(f"{value:g}" for value in (recipe.batch_size, recipe.ema_kimg)),
    ]
    if isinstance(recipe, AdversarialRecipe):
        network = ", ".join(f"{name} {value}" for name, value in recipe.network.items())
        return (
            f"| `{name}` | {' '.join(filter(None, [recipe.architecture, network]))} | {' | '.join(learning)} | "
            f"`{recipe.objective}` | {_regularised(recipe)} | {_augmented(recipe)} |"
        )
    latent = "as it is"
    if recipe.architecture:
        shape = architectures.by_name(recipe.architecture).config(side=64, channels=3, **recipe.network)
        latent = str(getattr(shape, "latent_shape", (shape.latent_size,))[0])
    joins = "never" if recipe.adversarial_kimg is None else f"{recipe.adversarial_kimg:g}"
    return (
        f"| {' | '.join([f'`{name}`', latent, *learning, f'`{recipe.reconstruction}`', f'{recipe.beta:g}', joins])} |"
    )


def _regularised(recipe: AdversarialRecipe) -> str:
    """What holds the discriminator, and the generator of a style-based network."""
    parts = [f"{recipe.normalisation} norm"] if recipe.normalisation != "none" else []
    if recipe.gradient_penalty != "none":
        parts.append(f"{recipe.gradient_penalty}, gamma {recipe.gamma:.3g}")
        parts += [f"every {recipe.penalty_every}"] if recipe.penalty_every > 1 else []
    parts += [f"path length {recipe.path_length:g}"] if recipe.path_length else []
    parts += ["self-supervision"] if recipe.self_supervision else []
    return ", ".join(parts)


def _augmented(recipe: AdversarialRecipe) -> str:
    return f"`{recipe.augment}`" + (f", p {recipe.augment_p:g}" if recipe.augment_p is not None else "")


def test_the_reader_in_the_file_format_makes_the_same_pictures(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "file-format.md").read_text(encoding="utf-8")
    (reader,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    program = tmp_path / "reader.py"
    program.write_text(
        reader + "import gan_core\n"
        "generator = gan_core.load(sys.argv[1])\n"
        "expected = generator.decode(gan_core.sample_noise(generator, range(16)))\n"
        "assert torch.allclose(images, expected, atol=1e-5)\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(program), str(EXAMPLES / "digits.safetensors")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
