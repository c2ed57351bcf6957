"""Load Generator from Hub and Publish Generator on real servers, with the genuine client and a Hub on loopback."""

import json
import urllib.error
from collections.abc import Iterator
from contextlib import suppress

import pytest
from comfyui_graphs import (
    EXAMPLE_GENERATOR,
    decode,
    differ,
    folder_of_pictures,
    is_sentence,
    load_folder,
    pictures,
    sample,
    train,
)
from comfyui_server import Comfy, Graph, Output, Server, find_comfyui
from hub_server import WRITER, Hub

from gan_core.examples import FOLDER as EXAMPLES

DIGITS = (EXAMPLES / "digits.safetensors").read_bytes()
STYLEGAN = (EXAMPLES / "stylegan2-digits.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def _hub_as_it_was(hub: Hub) -> Iterator[None]:
    hub.reset()
    yield
    hub.reset()


@pytest.fixture(scope="module")
def publisher(server: Server, tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Comfy]:
    """A second ComfyUI, of somebody who has a login and has allowed publishing in its environment."""
    comfyui = find_comfyui()
    assert comfyui is not None
    base = tmp_path_factory.mktemp("publisher")
    allowed = {"HF_TOKEN": WRITER, "GAN_STUDIO_ALLOW_PUBLISH": "1"}
    second = Server(comfyui, base, {**hub.environment(base / "huggingface"), **allowed})
    client = Comfy(second)
    yield client
    client.close()
    second.stop()


def from_hub(graph: Graph, repo: str, **changes: str) -> Output:
    return graph("LoadGeneratorFromHub", repo=repo, **changes)


def publish(graph: Graph, generator: Output, repo: str = "anna/cats", **changes: object) -> Output:
    settings = {"license": "cc-by-4.0", "private": True, "title": "", "description": "", **changes}
    return graph("PublishGenerator", generator=generator, repo=repo, **settings)


def publish_digits(graph: Graph, **changes: object) -> Output:
    return publish(graph, graph("LoadGenerator", name=EXAMPLE_GENERATOR), **changes)


# There and back.


def test_what_one_trains_and_publishes_another_loads_by_name(hub: Hub, publisher: Comfy, comfy: Comfy) -> None:
    graph = Graph()
    trained = train(graph, load_folder(graph, folder_of_pictures(publisher, "cats")), "cats")
    published = publish(graph, trained, private=False)
    before = decode(graph, trained, sample(graph, trained, seed=5))
    run = publisher.run(graph)
    assert publisher.texts(run, published)[-1] == f"published: http://127.0.0.1:{hub.port}/anna/cats"

    graph = Graph()
    loaded = from_hub(graph, "anna/cats")
    after = decode(graph, loaded, sample(graph, loaded, seed=5))
    again = comfy.run(graph)
    assert pictures(publisher, run, before).std() > 0
    assert not differ(pictures(comfy, again, after), pictures(publisher, run, before))
    commit = hub.repositories["anna/cats"].names["main"]
    assert comfy.texts(again, loaded)[-1] == f"anna/cats@{commit}\ncats: dcgan, 16x16x3"
    assert (comfy.base / "huggingface" / "hub" / "models--anna--cats").is_dir()


def test_a_pinned_commit_stays_and_a_branch_is_followed(hub: Hub, comfy: Comfy) -> None:
    first = hub.add("anna/moving", {"model.safetensors": DIGITS})
    graph = Graph()
    nodes = [
        from_hub(graph, "anna/moving"),
        from_hub(graph, f"anna/moving@{first}"),
        from_hub(graph, "anna/moving", revision=first),
    ]
    for node in nodes:
        decode(graph, node, sample(graph, node, batch_size=1))
    comfy.run(graph)
    assert set(comfy.run(graph).executed) == set()  # nothing has moved

    second = hub.add("anna/moving", {"model.safetensors": STYLEGAN})
    run = comfy.run(graph)
    assert comfy.texts(run, nodes[0])[-1].startswith(f"anna/moving@{second}\ndigits, stylegan2: ")
    assert not {node.node for node in nodes[1:]} & set(run.executed)


def test_without_the_hub_the_cache_will_do_and_the_node_says_so(hub: Hub, comfy: Comfy) -> None:
    hub.add("anna/digits", {"model.safetensors": DIGITS})
    for _ in range(2):
        graph = Graph()
        node = from_hub(graph, "anna/digits", revision="main" if hub.faults else "")
        decode(graph, node, sample(graph, node))
        run = comfy.run(graph)
        hub.fails("/api/models", 503)
    assert "from the cache of this machine: the Hub could not be asked" in comfy.texts(run, node)[-1]


def test_two_prompts_for_the_same_model_both_get_it(hub: Hub, comfy: Comfy) -> None:
    hub.add("anna/two", {"model.safetensors": DIGITS})
    hub.bytes_per_second = 400_000
    runs = []
    for seed in (1, 2):
        graph = Graph()
        node = from_hub(graph, "anna/two")
        decode(graph, node, sample(graph, node, seed=seed))
        runs.append(comfy.submit(graph))
    assert [comfy.finish(run).state for run in runs] == ["success", "success"]
    assert len([line for line in hub.requests if line.startswith("GET /lfs/")]) == 1


def test_stopping_a_long_download_leaves_comfyui_alive(hub: Hub, comfy: Comfy) -> None:
    hub.add("anna/huge", {"model.safetensors": bytes(100 << 20)})
    hub.bytes_per_second = 20e6
    graph = Graph()
    node = from_hub(graph, "anna/huge")
    decode(graph, node, sample(graph, node))
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: any(owner == node.node and 0 < done < total for owner, done, total in run.progress))
    comfy.interrupt()
    assert comfy.finish(run).state == "interrupted"
    blobs = comfy.base / "huggingface" / "hub" / "models--anna--huge" / "blobs"
    assert [blob for blob in blobs.iterdir() if blob.suffix != ".incomplete"] == []

    graph = Graph()
    digits = graph("LoadGenerator", name=EXAMPLE_GENERATOR)
    decode(graph, digits, sample(graph, digits, seed=77))
    comfy.run(graph)


# What goes wrong.


@pytest.mark.parametrize("repo", ["", "cats", "https://huggingface.co/anna/cats", "../..", "anna/cats@"])
def test_a_name_that_cannot_be_is_not_queued(hub: Hub, comfy: Comfy, repo: str) -> None:
    graph = Graph()
    node = from_hub(graph, repo)
    decode(graph, node, sample(graph, node))
    assert (
        " on the Hub: write owner/name" in (said := comfy.refusal_of(graph))
        or "is an address" in said
        or ("is not a revision" in said)
    )
    graph = Graph()
    publish_digits(graph, repo=repo)
    assert comfy.refusal_of(graph)
    assert hub.requests == []


def test_a_licence_that_is_not_chosen_is_not_queued(comfy: Comfy) -> None:
    graph = Graph()
    publish_digits(graph, license="choose")
    assert "Value not in list: license: 'choose' not in ['" in comfy.refusal_of(graph)


def test_what_is_not_there_is_a_sentence(hub: Hub, comfy: Comfy) -> None:
    hub.add("anna/gated", {"model.safetensors": DIGITS}, gated=True)
    hub.add("anna/empty", {"README.md": b"#"})
    for repo, said in {
        "anna/nothing": "The Hub has no anna/nothing that you can see",
        "anna/gated": "anna/gated is only for those who accept its conditions",
        "anna/gated@v9": "anna/gated has no revision v9",
        "anna/empty": "anna/empty has no file of weights that could be a generator",
    }.items():
        graph = Graph()
        node = from_hub(graph, repo)
        decode(graph, node, sample(graph, node))
        sentence = comfy.error_of(graph)
        assert sentence.startswith(said) and is_sentence(sentence)


# Consent.


def test_a_workflow_alone_publishes_nothing_and_shows_what_it_would(hub: Hub, comfy: Comfy) -> None:
    graph = Graph()
    node = publish_digits(graph, description="For a *dry run*.")
    run = comfy.run(graph)
    shown = comfy.texts(run, node)[-1]
    assert shown.startswith("dry run: nothing was uploaded. To publish from workflows, start ComfyUI with GAN_STUDIO_")
    (report,) = run.outputs[node.node]["text"]
    for text in (shown, report):
        assert "model.safetensors  317," in text and "license: cc-by-4.0" in text and "For a *dry run*." in text
    assert hub.requests == []


def test_the_switch_lies_where_no_route_of_the_page_can_write(comfy: Comfy) -> None:
    switch = comfy.base / "user" / "gan_studio" / "publish.txt"
    for name in ("../gan_studio/publish.txt", "gan_studio/publish.txt", "../../gan_studio/publish.txt"):
        for route in (f"/userdata/{name.replace('/', '%2F')}", f"/userdata/{name}"):
            with suppress(urllib.error.HTTPError):
                comfy.post(route, "allow")
    comfy.post("/settings", {"gan_studio": "allow", "GAN_STUDIO_ALLOW_PUBLISH": "1"})
    assert not switch.exists()
    graph = Graph()
    node = publish_digits(graph, title="tried")
    assert comfy.texts(comfy.run(graph), node)[-1].startswith("dry run")


def test_a_file_of_the_persons_is_consent_and_is_noticed_at_once(hub: Hub, comfy: Comfy) -> None:
    graph = Graph()
    node = publish_digits(graph, title="allowed later")
    assert comfy.texts(comfy.run(graph), node)[-1].startswith("dry run")
    switch = comfy.base / "user" / "gan_studio" / "publish.txt"
    switch.parent.mkdir(exist_ok=True)
    for content, allowed in {"": False, "no": False, "allow\n": True}.items():
        switch.write_text(content)
        if allowed:  # this server has no login
            assert comfy.error_of(graph) == "The Hub needs a login: log in with the command hf auth login."
        else:
            comfy.run(graph)
            assert not any(line.startswith("POST") for line in hub.requests)
    switch.unlink()


# The token.


def test_the_token_is_in_nothing_that_a_run_leaves_behind(hub: Hub, publisher: Comfy) -> None:
    hub.add("berta/dogs", {"model.safetensors": DIGITS}, private=True)
    graph = Graph()
    node = from_hub(graph, "berta/dogs")
    published = publish(graph, node, repo="anna/dogs", description=f"my key is {WRITER[:-4]}")
    images = graph("Decode", generator=node, latent=sample(graph, node))
    graph("SaveImage", images=images, filename_prefix="dogs")
    run = publisher.run(graph)
    assert publisher.texts(run, published)[-1].startswith("published: ") and hub.repositories["anna/dogs"].private
    for repo, said in {
        "berta/cats": "Your login has no permission for this",
        "anna/x": "The Hub is having trouble",
    }.items():
        if repo == "anna/x":
            hub.fails("/commit/", 503)
        graph = Graph()
        publish_digits(graph, repo=repo)
        assert publisher.error_of(graph).startswith(said)

    token = WRITER.encode()
    left = [path for path in publisher.base.rglob("*") if path.is_file() and "custom_nodes" not in path.parts]
    assert any(path.suffix == ".png" for path in left) and publisher.server.log_file in left
    assert [path for path in left if token in path.read_bytes()] == []
    told = [publisher.text(route) for route in ("/history", "/queue", "/prompt", "/object_info", "/internal/logs/raw")]
    assert [text for text in told if WRITER in text] == []
    assert not any(WRITER[:-4] in json.dumps(text) for _, text in run.texts)
    assert token[:-4] not in b"".join(hub.files("anna/dogs").values())


def test_the_workflow_is_published_without_what_is_private(hub: Hub, publisher: Comfy) -> None:
    graph = Graph()
    publish_digits(graph, repo="anna/flow", title="flow", description="in /home/anna/pictures")
    publisher.run(graph)
    files = hub.files("anna/flow")
    sent = json.loads(files["workflow.json"])
    (node,) = [node for node in sent.values() if node["class_type"] == "PublishGenerator"]
    assert node["inputs"]["description"] == "in removed" and node["inputs"]["repo"] == "anna/flow"
