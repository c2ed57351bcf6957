"""A real ComfyUI for the tests: found, started with this checkout as its only pack, and spoken to as its own page does.

run = comfy.run(graph)          queues it and follows it to its end
comfy.error_of(graph)           the sentence of the node that failed
comfy.refusal_of(graph)         the sentences of a prompt that was not even queued
"""

import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket
from PIL import Image

ROOT = Path(__file__).parents[2]
PACK = "ComfyUI-GAN-Studio"

START_SECONDS = 240
WAIT_SECONDS = 240
"""Generous: they only end a test that would never end by itself."""


DEVICES: dict[str, list[str]] = {"cpu": ["--cpu"], "cuda": []}
"""Where servers may compute, and ComfyUI's options for that."""

DEVICE = os.environ.get("GAN_STUDIO_TEST_DEVICE", "cpu")
if DEVICE not in DEVICES:
    raise ValueError(f"GAN_STUDIO_TEST_DEVICE is {DEVICE}: set it to {' or '.join(DEVICES)}.")


# Finding ComfyUI.


def find_comfyui() -> Path | None:
    """ComfyUI's folder: where COMFYUI_DIR says, around this checkout, or where comfy-cli installs it.

    Raises FileNotFoundError where COMFYUI_DIR is set to something else.
    """
    told = os.environ.get("COMFYUI_DIR")
    if told:
        if not (Path(told) / "main.py").is_file():
            raise FileNotFoundError(f"COMFYUI_DIR is {told}, and there is no main.py in it: point it at ComfyUI.")
        return Path(told).absolute()
    around = [ROOT.parent.parent] if ROOT.parent.name == "custom_nodes" else []
    places = [*around, Path.home() / "comfy" / "ComfyUI"]
    return next((place for place in places if (place / "main.py").is_file()), None)


def find_python(comfyui: Path) -> str:
    """ComfyUI's Python: COMFYUI_PYTHON, that of a virtual environment in or beside it, or the one that runs us."""
    told = os.environ.get("COMFYUI_PYTHON")
    if told:
        return told
    for folder in (comfyui, comfyui.parent):
        for name in (".venv", "venv"):
            for python in (folder / name / "bin" / "python", folder / name / "Scripts" / "python.exe"):
                if python.is_file():
                    return str(python)
    return sys.executable


# The server.


class Server:
    """ComfyUI as a process of its own, in a base folder of its own."""

    def __init__(self, comfyui: Path, base: Path, variables: dict[str, str]):
        """Starts it and waits until it answers. Raises RuntimeError with the end of its log where it does not.

        variables: of its environment, besides our own.
        """
        self.base, self.log_file = base, base / "server.log"
        for folder in ("custom_nodes", "models", "input", "output", "temp", "user", self.packages.name):
            (base / folder).mkdir(parents=True)
        (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
        self.port = _free_port()
        command = [
            find_python(comfyui), "main.py", *DEVICES[DEVICE], "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(base), "--database-url", "sqlite:///:memory:",
            "--disable-api-nodes", "--disable-auto-launch",
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK,
        ]  # fmt: skip
        # Networks this small learn fastest on one thread: several wait for each other, and long on a busy machine.
        paths = os.pathsep.join([str(self.packages), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **variables}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=comfyui, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_until_ready(command)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def packages(self) -> Path:
        """An empty folder that its Python imports from: what a test puts there is as if it were installed."""
        return self.base / "packages"

    @property
    def log(self) -> str:
        """All that it has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_ready(self, command: list[str]) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with _open(f"{self.url}/system_stats"):
                    return
            except OSError:
                time.sleep(0.3)
        state = "did not answer" if self.process.poll() is None else f"ended with {self.process.returncode}"
        raise RuntimeError(
            f"ComfyUI {state}. Is {command[0]} the Python that it runs with? (COMFYUI_PYTHON says otherwise.)\n"
            f"{' '.join(command)}\n{self.log[-4000:]}"
        )


# What is sent.


@dataclass(frozen=True)
class Output:
    """An output of a node in a graph; `node[1]` is its next."""

    node: str
    slot: int = 0

    def __getitem__(self, slot: int) -> "Output":
        return Output(self.node, slot)


class Graph:
    """A prompt in the API's format, made by calling: `latent = graph("SampleNoise", generator=model, seed=3)`."""

    def __init__(self, prompt: dict[str, Any] | None = None):
        self.prompt = prompt or {}

    def __call__(self, class_type: str, **inputs: Any) -> Output:
        node = str(len(self.prompt) + 1)
        linked = {
            name: [value.node, value.slot] if isinstance(value, Output) else value for name, value in inputs.items()
        }
        self.prompt[node] = {"class_type": class_type, "inputs": linked}
        return Output(node)


# What comes back.


@dataclass
class Run:
    """A prompt in the queue, and all that the server has told about it."""

    id: str
    state: str = "queued"
    """queued, running, success, error or interrupted."""
    over: bool = False
    cached: list[str] = field(default_factory=list)
    """Nodes whose results were still there from before."""
    executed: list[str] = field(default_factory=list)
    """Nodes that worked."""
    progress: list[tuple[str, float, float]] = field(default_factory=list)
    """(node, done, total)"""
    previews: list[tuple[str, Image.Image]] = field(default_factory=list)
    """(node, image)"""
    texts: list[tuple[str, str]] = field(default_factory=list)
    """(node, line)"""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What its history says that each output node shows."""
    error: dict[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The server answered 400: the prompt was not queued."""


class Comfy:
    """A page's view of a server: its websocket and its routes."""

    def __init__(self, server: Server):
        self.server = server
        self.base, self.url = server.base, server.url
        self.client_id = uuid.uuid4().hex
        address = f"ws://127.0.0.1:{server.port}/ws?clientId={self.client_id}"
        self.socket = websocket.create_connection(address, timeout=WAIT_SECONDS, http_no_proxy=["127.0.0.1"])
        # As the page does, to be told which node a preview belongs to.
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        self.socket.send(json.dumps(flags))

    def close(self) -> None:
        self.socket.close()

    # Running graphs.

    def run(self, graph: Graph) -> Run:
        """Queues a graph and follows it to a good end."""
        run = self.finish(self.submit(graph))
        assert run.state == "success", f"{run.state}: {run.error}\n{self.server.log[-3000:]}"
        return run

    def error_of(self, graph: Graph) -> str:
        """Queues a graph in which a node fails; returns what the person is told."""
        run = self.finish(self.submit(graph))
        assert run.state == "error", f"this ended in {run.state}, and should have failed"
        return run.error["exception_message"].strip()

    def refusal_of(self, graph: Graph) -> str:
        """Returns why the server does not even queue a graph."""
        try:
            run = self.submit(graph)
        except Refused as refused:
            return str(refused)
        self.interrupt()
        self.finish(run)
        raise AssertionError("this was queued, and should have been answered with 400")

    def submit(self, graph: Graph) -> Run:
        """Queues a graph. Raises Refused where the server does not take it."""
        try:
            answer = self.post("/prompt", {"prompt": graph.prompt, "client_id": self.client_id})
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            body = json.loads(error.read())
            reasons = [reason for node in body["node_errors"].values() for reason in node["errors"]]
            lines = [f"{reason['message']}: {reason['details']}" for reason in [*reasons, body["error"]]]
            raise Refused("\n".join(dict.fromkeys(lines))) from None
        if answer["node_errors"]:
            self.interrupt()
            raise Refused(json.dumps(answer["node_errors"]))
        return Run(answer["prompt_id"])

    def finish(self, run: Run) -> Run:
        """Follows a queued graph to its end, good or bad."""
        self.follow(run, lambda run: run.over)
        history = self.get(f"/history/{run.id}")[run.id]
        run.outputs = history["outputs"]
        return run

    def follow(self, run: Run, until: Callable[[Run], bool]) -> None:
        """Takes in what the server tells until a condition holds."""
        end = time.monotonic() + WAIT_SECONDS
        while not until(run):
            assert time.monotonic() < end, (
                f"nothing came of this for {WAIT_SECONDS} s: {run}\n{self.server.log[-3000:]}"
            )
            assert not run.over, f"the run ended too early: {run}"
            message = self.socket.recv()
            if isinstance(message, bytes):
                _take_binary(run, message)
            else:
                _take_event(run, json.loads(message))

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    # What is shown and known.

    def images(self, run: Run, node: Output) -> list[Image.Image]:
        """The images that an output node shows."""
        return [Image.open(io.BytesIO(self._view(where))) for where in run.outputs[node.node]["images"]]

    def texts(self, run: Run, node: Output) -> list[str]:
        """The last lines that a node showed."""
        return [line for owner, line in run.texts if owner == node.node]

    def node_info(self) -> dict[str, Any]:
        """The schemas of this pack's nodes, as the server tells them."""
        everything = self.get("/object_info")
        return {name: info for name, info in everything.items() if info["python_module"].endswith(PACK)}

    # Routes.

    def get(self, route: str) -> Any:
        with _open(self.url + route) as answer:
            return json.load(answer)

    def text(self, route: str) -> str:
        with _open(self.url + route) as answer:
            return answer.read().decode()

    def post(self, route: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + route, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with _open(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _view(self, where: dict[str, str]) -> bytes:
        with _open(f"{self.url}/view?{urllib.parse.urlencode(where)}") as answer:
            return answer.read()

    # Folders.

    @property
    def input(self) -> Path:
        return self.base / "input"

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def models(self) -> Path:
        return self.base / "models"

    def clear(self, folder: Path) -> Path:
        """Makes a folder anew, empty."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def _take_event(run: Run, message: dict[str, Any]) -> None:
    kind, data = message["type"], message["data"]
    if data.get("prompt_id") != run.id:
        return
    if kind == "execution_start":
        run.state = "running"
    elif kind == "execution_cached":
        run.cached += data["nodes"]
    elif kind == "executing" and data["node"] is None:
        run.over = True  # the last word, when the history is written
    elif kind == "executing":
        run.executed.append(data["node"])
    elif kind == "progress":
        run.progress.append((data["node"], data["value"], data["max"]))
    elif kind == "execution_error":
        run.state, run.error = "error", data
    elif kind in ("execution_success", "execution_interrupted"):
        run.state = kind.removeprefix("execution_")


_TEXT, _PREVIEW_WITH_METADATA = 3, 4


def _take_binary(run: Run, message: bytes) -> None:
    """Layouts: (kind, length of the node's id, id, text) and (kind, length of metadata, metadata, image)."""
    kind, length = struct.unpack(">II", message[:8])
    head, rest = message[8 : 8 + length], message[8 + length :]
    if kind == _TEXT:
        run.texts.append((head.decode(), rest.decode()))
    elif kind == _PREVIEW_WITH_METADATA:
        metadata = json.loads(head)
        if metadata["prompt_id"] == run.id:
            run.previews.append((metadata["node_id"], Image.open(io.BytesIO(rest))))


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on 127.0.0.1


def _open(request: str | urllib.request.Request) -> Any:
    return _opener.open(request, timeout=WAIT_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
