"""What the page asks of runs: GET to see them, POST to steer or to put one away. Only pages of this server may ask."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from server import PromptServer

from ...gan_core import InputError
from . import runs
from .live import ACTIONS
from .paths import without_folders

PREFIX = "/gan_studio"

TRASH = "trash"
"""What is asked of a run that is to be put away."""

MAX_BODY = 1000
"""Bytes of a question: longer ones are not read."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def register_routes() -> None:
    """Adds the routes to ComfyUI's."""
    PromptServer.instance.routes.get(f"{PREFIX}/runs")(_answering(_list))
    PromptServer.instance.routes.get(f"{PREFIX}/runs/{{run}}")(_answering(_snapshot))
    PromptServer.instance.routes.get(f"{PREFIX}/runs/{{run}}/records")(_answering(_records))
    PromptServer.instance.routes.get(f"{PREFIX}/runs/{{run}}/sheets/{{images}}")(_answering(_sheet))
    PromptServer.instance.routes.get(f"{PREFIX}/runs/{{run}}/graph")(_answering(_graph))
    PromptServer.instance.routes.post(f"{PREFIX}/runs/{{run}}")(_answering(_change))


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this server, from the address bar or from a program, and not from a page
    of another one. Browsers say so themselves; older ones name the page's origin."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("Host", "").lower() != ""
    except ValueError:
        return False


class _Refused(Exception):
    """A question that is not answered: the status, and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def _answering(handler: Handler) -> Handler:
    """Answers errors as JSON: {"error": a sentence}."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            if not is_same_origin(request.headers):
                raise _Refused(403, "Only pages of this ComfyUI may ask this.")
            return await handler(request)
        except _Refused as refused:
            return _error(refused.status, str(refused))
        except runs.UnknownRun as error:
            return _error(404, str(error))
        except InputError as error:
            return _error(409, without_folders(str(error)))

    return answer


async def _list(request: web.Request) -> web.Response:
    at_work = request.query.get("live", "0")
    if at_work not in ("0", "1"):
        raise _Refused(400, "live must be 0 or 1.")
    return web.json_response({"runs": await asyncio.to_thread(runs.summaries, at_work == "1")})


async def _snapshot(request: web.Request) -> web.Response:
    return web.json_response(await asyncio.to_thread(runs.snapshot_of, request.match_info["run"]))


async def _records(request: web.Request) -> web.Response:
    since = _number(request.query.get("since", "0"))
    return web.json_response(await asyncio.to_thread(runs.records_of, request.match_info["run"], since))


async def _sheet(request: web.Request) -> web.StreamResponse:
    images = _number(request.match_info["images"])
    path = await asyncio.to_thread(runs.sheet_of, request.match_info["run"], images)
    # A run of the same name may come after this one, so the browser asks each time, and mostly hears that it has it.
    return web.FileResponse(path, headers={"Cache-Control": "no-cache", "Content-Type": "image/jpeg"})


async def _graph(request: web.Request) -> web.Response:
    return web.json_response(await asyncio.to_thread(runs.graph_of, request.match_info["run"]))


async def _change(request: web.Request) -> web.Response:
    action, name = await _action(request), request.match_info["run"]
    if action == TRASH:
        return web.json_response({"run": name, "kept": await asyncio.to_thread(runs.trash, name)})
    run = await asyncio.to_thread(runs.at_work, name)
    run.ask(action)
    return web.json_response(await asyncio.to_thread(runs.snapshot_of, name))


async def _action(request: web.Request) -> str:
    # A form of another page can send any other type without asking first.
    if request.content_type != "application/json":
        raise _Refused(415, "Send JSON.")
    if request.content_length is None or request.content_length > MAX_BODY:
        raise _Refused(413, f"Send at most {MAX_BODY} bytes.")
    try:
        asked: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise _Refused(400, "This is not JSON.") from None
    action = asked.get("action") if isinstance(asked, dict) else None
    if not isinstance(action, str) or action not in (*ACTIONS, TRASH):
        raise _Refused(400, f"The action must be one of {', '.join((*ACTIONS, TRASH))}.")
    return action


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise _Refused(400, "A number must be written in digits alone.")
    return int(text)


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
