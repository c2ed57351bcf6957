"""What the page is told of runs, and what it may ask of one, by the routes of a real server."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import torch
from comfyui_graphs import EXAMPLE_FOLDER, folder_of_pictures, is_sentence, load_folder, train, train_vae
from comfyui_server import Comfy, Graph, Output, Run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gan_core.locks import own

RUNS = "/gan_studio/runs"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["workflow", "prompt", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def folder_of(comfy: Comfy, run: str) -> Path:
    return comfy.output / "gan" / "runs" / run


def ask(
    comfy: Comfy, route: str, body: Any = None, method: str | None = None, raw: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and JSON of an answer, or its bytes where it is a sheet."""
    if body is not None:
        raw, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(comfy.url + route, raw, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            status, text, kind = answer.status, answer.read(), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        status, text, kind = error.code, error.read(), error.headers.get_content_type()
    return status, json.loads(text) if kind == "application/json" else text


def told(comfy: Comfy, run: str) -> dict[str, Any]:
    status, answer = ask(comfy, f"{RUNS}/{quote(run)}")
    assert status == 200, answer
    return answer


def steer(comfy: Comfy, run: str, action: str) -> dict[str, Any]:
    status, answer = ask(comfy, f"{RUNS}/{quote(run)}", {"action": action})
    assert status == 200, answer
    return answer


def long_training(comfy: Comfy, run_name: str, **changes: object) -> tuple[Graph, Output]:
    """A training that ends only when it is asked to, or stopped."""
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER)
    return graph, train(graph, dataset, run_name, kimg=100_000.0, minutes="no limit", batch_size=16, **changes)


def events(comfy: Comfy, run: Run, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """What the server tells of trainings, until something is told."""
    found: list[dict[str, Any]] = []
    while True:
        message = comfy.socket.recv()
        if isinstance(message, str) and (event := json.loads(message))["type"] == "gan_studio.training":
            found.append(event["data"])
            if until(event["data"]):
                return found


@pytest.fixture(scope="module")
def finished(comfy: Comfy) -> str:
    """The name of a run that has ended."""
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "seen")), "seen 写真")
    comfy.run(graph)
    return "seen 写真"


# What is told.


def test_a_run_is_told_from_its_folder_without_a_path_of_this_disk(comfy: Comfy, finished: str) -> None:
    answer = told(comfy, finished)
    assert (answer["run"], answer["state"], answer["images"]) == (finished, "finished", 80)
    assert answer["kept"] == f"output/gan/runs/{finished}" and not answer["live"]
    assert str(comfy.base) not in json.dumps(answer, ensure_ascii=False)
    assert "KID" in [chart["axis"] for chart in answer["charts"]]
    _, all_of_them = ask(comfy, RUNS)
    (listed,) = [run for run in all_of_them["runs"] if run["run"] == finished]
    assert listed["images"] == 80 and listed["sheets"] == len(answer["sheets"]) and "charts" not in listed


def test_the_list_of_runs_at_work_is_empty_while_none_is(comfy: Comfy, finished: str) -> None:
    assert ask(comfy, f"{RUNS}?live=1") == (200, {"runs": []})
    assert ask(comfy, f"{RUNS}?live=yes")[0] == 400


def test_sheets_of_a_run_become_a_batch_for_an_animation(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "filmed")), "filmed", kimg=0.4)
    comfy.run(graph)
    count = len(told(comfy, "filmed")["sheets"])
    for frames, expected in ((500, count), (1, 1)):
        graph = Graph()
        shown = graph("PreviewImage", images=graph("LoadGANRunSheets", run="filmed", frames=frames))
        assert len(comfy.images(comfy.run(graph), shown)) == expected
    assert count >= 1


def test_a_film_of_no_run_is_refused_in_a_sentence(comfy: Comfy) -> None:
    for name in ("nothing", "..", "../runs/filmed"):
        graph = Graph()
        graph("PreviewImage", images=graph("LoadGANRunSheets", run=name, frames=2))
        assert "There is no run" in comfy.refusal_of(graph)


def test_a_run_that_cannot_be_read_is_said_to_be_without_a_path_of_this_disk(comfy: Comfy) -> None:
    folder = comfy.clear(comfy.output / "gan" / "runs" / "unreadable")
    save_file({"weight": torch.zeros(1)}, folder / "checkpoint.safetensors")
    status, answer = ask(comfy, f"{RUNS}/unreadable")
    (listed,) = [run for run in ask(comfy, RUNS)[1]["runs"] if run["run"] == "unreadable"]
    assert status == 409 and listed["state"] == "unreadable"
    for sentence in (answer["error"], listed["trouble"]):
        assert is_sentence(sentence) and "output/gan/runs/unreadable" in sentence and str(comfy.base) not in sentence


def test_records_and_sheets_of_a_run_are_told(comfy: Comfy, finished: str) -> None:
    _, records = ask(comfy, f"{RUNS}/{quote(finished)}/records")
    assert records["total"] == len(records["images"]) == len(records["values"]["generator_loss"]) > 1
    _, later = ask(comfy, f"{RUNS}/{quote(finished)}/records?since=1")
    assert later["images"] == records["images"][1:] and later["total"] == records["total"]
    for images in told(comfy, finished)["sheets"]:
        status, sheet = ask(comfy, f"{RUNS}/{quote(finished)}/sheets/{images}")
        assert status == 200 and sheet.startswith(b"\xff\xd8")


def test_a_page_that_has_a_sheet_is_told_that_it_has_it(comfy: Comfy, finished: str) -> None:
    route = f"{comfy.url}{RUNS}/{quote(finished)}/sheets/{told(comfy, finished)['sheets'][-1]}"
    with urllib.request.urlopen(route) as answer:
        tag = answer.headers["ETag"]
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(route, headers={"If-None-Match": tag}))
    assert error.value.code == 304


def test_a_vae_is_told_by_the_same_routes(comfy: Comfy) -> None:
    graph = Graph()
    train_vae(graph, load_folder(graph, folder_of_pictures(comfy, "vae seen")), "vae seen")
    comfy.run(graph)
    answer = told(comfy, "vae seen")
    assert answer["charts"][0]["axis"] == "nats per image" and answer["health"] is None and answer["sheets"]


# What happens while it trains.


def test_pages_are_told_of_a_training_and_of_its_end(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "told")
    run = comfy.submit(graph)
    seen = events(comfy, run, lambda event: event.get("images", 0) > 0 and event["sheets"] > 1)
    assert {event["run"] for event in seen} == {"told"} and {event["node"] for event in seen} == {trained.node}
    assert all(event["prompt"] == run.id for event in seen)
    assert [each["run"] for each in ask(comfy, f"{RUNS}?live=1")[1]["runs"]] == ["told"]
    assert seen[-1]["state"] == "running" and seen[-1]["seconds_left"] > 0 and seen[-1]["memory"]["used"] > 0
    assert told(comfy, "told")["live"]
    steer(comfy, "told", "finish")
    last = events(comfy, run, lambda event: not event["live"])[-1]
    comfy.finish(run)
    assert last["state"] == "finished early"


def test_finish_ends_a_run_and_the_graph_goes_on_to_success(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "early")
    saved = graph("SaveGenerator", generator=trained, filename_prefix="early")
    chart = graph("LossGraphNode", loss=trained[1], filename_prefix="early")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    steer(comfy, "early", "finish")
    comfy.finish(run)
    assert run.state == "success"
    assert {saved.node, chart.node, trained.node} <= set(run.outputs)
    assert "finished early, kept in output/gan/runs/early" in comfy.texts(run, trained)[-1]
    answer = told(comfy, "early")
    assert answer["state"] == "finished early" and answer["trouble"] == "" and answer["sheets"][-1] == answer["images"]


def test_a_run_is_paused_saved_and_goes_on(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "paused")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    steer(comfy, "paused", "pause")
    comfy.follow(run, lambda run: comfy.texts(run, trained)[-1].startswith("paused"))
    at = told(comfy, "paused")
    assert at["state"] == "paused"
    assert steer(comfy, "paused", "save")["state"] == "paused"
    checkpoint = comfy.output / "gan" / "runs" / "paused" / "snapshot.json"
    events(
        comfy, run, lambda event: checkpoint.is_file() and json.loads(checkpoint.read_text())["images"] == at["images"]
    )
    assert told(comfy, "paused")["images"] == at["images"], "it went on in its pause"
    assert steer(comfy, "paused", "resume")["state"] == "running"
    events(comfy, run, lambda event: event["images"] > at["images"])
    steer(comfy, "paused", "finish")
    assert comfy.finish(run).state == "success"


def test_finish_ends_a_pause(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "paused to its end")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    steer(comfy, "paused to its end", "pause")
    steer(comfy, "paused to its end", "finish")
    assert comfy.finish(run).state == "success"


def test_the_stop_button_works_in_a_pause_and_the_run_says_that_it_was_stopped(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "stopped in a pause")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    steer(comfy, "stopped in a pause", "pause")
    comfy.follow(run, lambda run: comfy.texts(run, trained)[-1].startswith("paused"))
    comfy.interrupt()
    assert comfy.finish(run).state == "interrupted"
    assert told(comfy, "stopped in a pause")["state"] == "stopped"


def test_a_run_that_diverges_is_red_and_says_why(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, EXAMPLE_FOLDER)
    train(graph, dataset, "diverged", kimg=50, learning_rate=0.1, batch_size=16, objective="relativistic")
    run = comfy.submit(graph)
    last = events(comfy, run, lambda event: event["run"] == "diverged" and not event["live"])[-1]
    assert comfy.finish(run).state == "error"
    assert last["state"] == "diverged" and last["trouble"] == run.error["exception_message"].strip()


def test_only_a_run_at_work_can_be_steered(comfy: Comfy, finished: str) -> None:
    status, answer = ask(comfy, f"{RUNS}/{quote(finished)}", {"action": "finish"})
    assert status == 409 and is_sentence(answer["error"]) and "not training" in answer["error"]


# The graph of a run.


def test_the_graph_of_a_run_is_the_one_that_started_it(comfy: Comfy) -> None:
    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "drawn up")), "drawn up")
    workflow = {"id": "4711", "nodes": [], "links": [], "note": "写真"}
    queued = {
        "prompt": graph.prompt, "client_id": comfy.client_id, "extra_data": {"extra_pnginfo": {"workflow": workflow}}
    }  # fmt: skip
    comfy.finish(Run(comfy.post("/prompt", queued)["prompt_id"]))
    status, answer = ask(comfy, f"{RUNS}/drawn%20up/graph")
    assert status == 200 and answer["workflow"] == workflow
    assert {node["class_type"] for node in answer["prompt"].values()} == {
        "LoadGANImageFolder",
        "TrainGAN",
        "GANSettings",
    }


def test_the_graph_of_a_prompt_of_a_program_is_the_prompt(comfy: Comfy, finished: str) -> None:
    _, answer = ask(comfy, f"{RUNS}/{quote(finished)}/graph")
    assert answer["workflow"] is None
    assert "TrainGAN" in [node["class_type"] for node in answer["prompt"].values()]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode())))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"workflow": [], "prompt": 3}')
def test_whatever_a_graph_was_overwritten_with_it_is_one_or_none(comfy: Comfy, finished: str, content: bytes) -> None:
    file = folder_of(comfy, finished) / "graph.json"
    kept = file.read_bytes()
    try:
        file.write_bytes(content)
        status, answer = ask(comfy, f"{RUNS}/{quote(finished)}/graph")
    finally:
        file.write_bytes(kept)
    if status == 404:
        assert is_sentence(answer["error"])
    else:
        assert status == 200 and any(isinstance(answer[name], dict) for name in ("workflow", "prompt"))


# The list of runs, and the trash.


def listed(comfy: Comfy, name: str) -> dict[str, Any] | None:
    _, answer = ask(comfy, RUNS)
    return next((run for run in answer["runs"] if run["run"] == name), None)


def test_the_list_says_what_a_run_offers(comfy: Comfy, finished: str) -> None:
    told = listed(comfy, finished)
    assert told is not None
    assert told["generator"] == f"runs/{finished}/generator.safetensors"
    assert told["graph"] and told["kid"] is None and told["changed"] > 1.7e9
    names = comfy.node_info()["LoadGenerator"]["input"]["required"]["name"]
    assert told["generator"] in str(names)


def test_a_run_goes_to_the_trash_as_it_is_and_its_name_is_free_again(comfy: Comfy) -> None:
    graph = Graph()
    dataset = load_folder(graph, folder_of_pictures(comfy, "put away"))
    train(graph, dataset, "put away")
    comfy.run(graph)
    before = {path.name: path.stat().st_size for path in folder_of(comfy, "put away").rglob("*") if path.is_file()}
    status, answer = ask(comfy, f"{RUNS}/put%20away", {"action": "trash"})
    assert status == 200 and answer["kept"].startswith("output/gan/trash/put away-2")
    moved = comfy.base / answer["kept"]
    assert {path.name: path.stat().st_size for path in moved.rglob("*") if path.is_file()} == before
    assert not folder_of(comfy, "put away").exists() and listed(comfy, "put away") is None
    assert "put away" not in json.dumps(comfy.node_info()["LoadGenerator"])
    assert ask(comfy, f"{RUNS}/put%20away", {"action": "trash"})[0] == 404

    graph = Graph()
    train(graph, load_folder(graph, folder_of_pictures(comfy, "put away")), "put away", seed=1)
    comfy.run(graph)
    assert folder_of(comfy, "put away").is_dir() and not folder_of(comfy, "put away_2").exists()


def test_two_runs_of_a_name_lie_beside_each_other_in_the_trash(comfy: Comfy) -> None:
    places = set()
    for _ in range(3):
        folder = folder_of(comfy, "again and again")
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text("images\n")
        places.add(ask(comfy, f"{RUNS}/again%20and%20again", {"action": "trash"})[1]["kept"])
    assert len(places) == 3 and all((comfy.base / place / "history.csv").is_file() for place in places)


def test_a_run_at_work_is_not_put_into_the_trash(comfy: Comfy) -> None:
    graph, trained = long_training(comfy, "busy")
    run = comfy.submit(graph)
    comfy.follow(run, lambda run: len(comfy.texts(run, trained)) >= 2)
    status, answer = ask(comfy, f"{RUNS}/busy", {"action": "trash"})
    assert status == 409 and answer["error"] == "busy is training: finish or stop it first."
    assert folder_of(comfy, "busy").is_dir()
    steer(comfy, "busy", "finish")
    assert comfy.finish(run).state == "success"


def test_a_run_of_another_program_is_not_put_into_the_trash(comfy: Comfy, finished: str) -> None:
    with own(folder_of(comfy, finished)):
        status, answer = ask(comfy, f"{RUNS}/{quote(finished)}", {"action": "trash"})
    assert status == 409 and is_sentence(answer["error"]) and "is training" in answer["error"]


# What is refused.

HOSTILE = [
    "nothing", "..", ".", "../runs", "/etc", "/etc/passwd", "..\\..", "%2e%2e", "%2e%2e%2f", "..%2f..%2f..", "%252e",
    "a\0b", "~", "C:\\", "\\\\host\\share", "seen 写真/", "seen 写真/..", "./seen 写真", "SEEN 写真", ".lock", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("rest", ["", "/records", "/sheets/80", "/graph"])
def test_no_name_but_that_of_a_run_is_answered(comfy: Comfy, finished: str, name: str, rest: str) -> None:
    for written in {quote(name, safe=""), quote(quote(name, safe=""), safe="")} - {""}:
        status, answer = ask(comfy, f"{RUNS}/{written}{rest}")
        assert status == 404 and (not isinstance(answer, dict) or is_sentence(answer["error"]))
        for action in () if rest else ("finish", "trash"):
            assert ask(comfy, f"{RUNS}/{written}", {"action": action})[0] == 404


FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_servers_are_refused(comfy: Comfy, finished: str, headers: dict[str, str]) -> None:
    for rest in ("", "/records", "/graph"):
        assert ask(comfy, f"{RUNS}/{quote(finished)}{rest}", **headers)[0] == 403
    assert ask(comfy, RUNS, **headers)[0] == 403
    for action in ("finish", "trash"):
        assert ask(comfy, f"{RUNS}/{quote(finished)}", {"action": action}, **headers)[0] == 403
    assert told(comfy, finished)["run"] == finished


def test_the_page_itself_may_ask(comfy: Comfy, finished: str) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": comfy.url}):
        assert ask(comfy, f"{RUNS}/{quote(finished)}", **headers)[0] == 200
        assert ask(comfy, f"{RUNS}/{quote(finished)}", {"action": "finish"}, **headers)[0] == 409


@pytest.mark.parametrize("body", [{}, [], None, "finish", {"action": "delete"}, {"action": ["finish"]}, {"action": 1}])
def test_no_other_action_is_known(comfy: Comfy, finished: str, body: Any) -> None:
    raw = json.dumps(body).encode()
    status, answer = ask(comfy, f"{RUNS}/{quote(finished)}", raw=raw, **{"Content-Type": "application/json"})
    assert status == 400 and is_sentence(answer["error"])


def test_an_action_is_sent_as_a_little_json(comfy: Comfy, finished: str) -> None:
    route, kind = f"{RUNS}/{quote(finished)}", {"Content-Type": "application/json"}
    assert ask(comfy, route, raw=b'{"action": "finish"}', **{"Content-Type": "text/plain"})[0] == 415
    assert ask(comfy, route, raw=b"action=finish")[0] == 415
    assert ask(comfy, route, raw=b'{"action": "finish"' + b" " * 2000 + b"}", **kind)[0] == 413
    assert ask(comfy, route, raw=b"[" * 900, **kind)[0] == 400


SEGMENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(name=SEGMENT, images=SEGMENT, since=SEGMENT)
@example(name="..", images="0x50", since="-1")
@example(name="seen 写真", images="٨٠", since="1e3")
@example(name="seen 写真", images="+80", since="１")
@example(name="seen 写真", images="0" * 12 + "80", since="9" * 15)
def test_whatever_is_asked_the_answer_is_json_and_no_failure(
    comfy: Comfy, finished: str, name: str, images: str, since: str
) -> None:
    written = quote(name, safe="")
    asked = [
        f"{RUNS}/{written}",
        f"{RUNS}/{written}/records?since={quote(since, safe='')}",
        f"{RUNS}/{quote(finished)}/records?since={quote(since, safe='')}",
        f"{RUNS}/{written}/sheets/{quote(images, safe='')}",
        f"{RUNS}/{quote(finished)}/sheets/{quote(images, safe='')}",
        f"{RUNS}/{written}/graph",
    ]
    for route in asked:
        status, answer = ask(comfy, route)
        assert status in (200, 400, 404), route
        assert status != 200 or isinstance(answer, dict) or answer.startswith(b"\xff\xd8")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_no_body_breaks_the_server(comfy: Comfy, finished: str, body: bytes) -> None:
    status, _ = ask(comfy, f"{RUNS}/{quote(finished)}", raw=body, **{"Content-Type": "application/json"})
    assert status in (400, 409)
