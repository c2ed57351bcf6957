"""A Hub on loopback, for the genuine huggingface_hub client: repositories, commits, large files, and faults on demand.

with Hub() as hub:                                  a server in a thread of its own
    hub.add("anna/cats", {"README.md": b"..."})     a repository with a first commit
    hub.fails("/resolve/", 503, times=1)            the next request of that kind fails
    environment = hub.environment(tmp_path)         what a process needs to take it for the Hub

Only what the client asks for is here. A token is good if it begins with hf_ and stands in `tokens`.
"""

import asyncio
import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

LARGE = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".png")
"""Endings of the files that go by way of LFS, as the Hub's .gitattributes has them."""

WRITER, READER = "hf_writerWRITERwriterWRITER0123456", "hf_readerREADERreaderREADER0123456"


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files of each commit."""
    names: dict[str, str] = field(default_factory=dict)
    """Branches, tags and refs/pr/N, each with its commit."""

    def commit(self, files: dict[str, bytes], name: str = "main") -> str:
        oid = hashlib.sha1(uuid.uuid4().bytes, usedforsecurity=False).hexdigest()
        self.commits[oid] = files
        self.names[name] = oid
        return oid

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.names.get(revision)


@dataclass
class Fault:
    """What goes wrong with requests whose method and path contain a text."""

    part: str
    status: int
    """Of the answer; 0 for a fault of the file itself."""
    times: float
    headers: dict[str, str]
    seconds: float = 0
    """What the answer waits for."""
    spoil: str = ""
    """cut: the connection ends in the middle of the file; flip: one byte of it is another."""
    answer: str = ""
    """reset: the connection ends instead; silence: headers, and then nothing; trickle: a byte every tenth of a second;
    redirect: to the same address; else the body of the answer."""


class Hub:
    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """Method and path of all so far."""
        self.tokens = {WRITER: ("anna", "write"), READER: ("anna", "read")}
        self.bytes_per_second = 0.0
        """0: no limit."""
        self.piece = 1 << 20
        """Bytes of a large file that are sent at once."""
        self.port = 0

    # What tests do to it.

    def add(self, repo: str, files: dict[str, bytes], **settings: bool) -> str:
        """Makes a repository of these files, or another commit in one. Returns the commit."""
        repository = self.repositories.setdefault(repo, Repository(**settings))
        for name, content in files.items():
            if name.endswith(LARGE):
                self.large[hashlib.sha256(content).hexdigest()] = content
        return repository.commit(dict(files))

    def fails(self, part: str, status: int = 0, times: float = float("inf"), spoil: str = "", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(part, status, times, named, spoil=spoil))

    def answers(self, part: str, answer: str, status: int = 200, times: float = float("inf"), **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(part, status, times, named, answer=answer))

    def delays(self, part: str, seconds: float) -> None:
        self.faults.append(Fault(part, 0, float("inf"), {}, seconds))

    def reset(self) -> None:
        """Takes all back: repositories, faults, and what was asked so far."""
        self.repositories.clear()
        self.large.clear()
        self.faults.clear()
        self.requests.clear()
        self.bytes_per_second = 0.0
        self.piece = 1 << 20

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo]
        return repository.commits[repository.names.get(revision, revision)]

    def environment(self, home: Path) -> dict[str, str]:
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "no_proxy": "127.0.0.1,localhost",
        }

    def __enter__(self) -> "Hub":
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._middleware], client_max_size=2**30)
        model = "/api/models/{owner}/{name}"
        file = "/{owner}/{name}/resolve/{revision:(?:refs/pr/[0-9]+|refs%2Fpr%2F[0-9]+|[^/]+)}/{path:.+}"
        app.add_routes(
            [
                web.get("/api/whoami-v2", self._whoami),
                web.post("/api/repos/create", self._create),
                web.post("/api/validate-yaml", self._validate_yaml),
                web.get(model, self._info),
                web.get(model + "/revision/{revision:.+}", self._info),
                web.post(model + "/preupload/{revision:.+}", self._preupload),
                web.post(model + "/commit/{revision:.+}", self._commit),
                web.post("/{owner}/{name}.git/info/lfs/objects/batch", self._batch),
                web.put("/lfs/{oid}", self._put),
                web.get("/lfs/{oid}", self._large),
                web.get(file, self._resolve),  # HEAD too
            ]
        )
        runner = web.AppRunner(app, handler_cancellation=True)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    # What the client asks.

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Callable) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        self.requests.append(line)
        for fault in self.faults:
            if fault.part in line and fault.seconds:
                await asyncio.sleep(fault.seconds)
            if fault.part in line and fault.times > 0 and fault.status:
                fault.times -= 1
                if fault.answer:
                    return await self._answer(request, fault)
                return web.json_response({"error": "as the test wants"}, status=fault.status, headers=fault.headers)
        return await handler(request)

    async def _answer(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        await request.read()
        if fault.answer == "redirect":
            return web.Response(status=302, headers={"Location": str(request.url), **fault.headers})
        if fault.answer not in ("reset", "silence", "trickle"):
            return web.Response(body=fault.answer.encode("latin-1"), status=fault.status, headers=fault.headers)
        if fault.answer == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(status=fault.status, headers={"Content-Length": "100000", **fault.headers})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.1)
            if fault.answer == "trickle":
                await response.write(b"{")
        return response

    def _user(self, request: web.Request) -> tuple[str, str] | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.tokens:
            raise _error(web.HTTPUnauthorized, "", "Invalid credentials in Authorization header")
        return self.tokens.get(token)

    def _repository(self, request: web.Request) -> Repository:
        """The one that is asked for, to those who may see it."""
        repository = self.repositories.get("{owner}/{name}".format(**request.match_info))
        user = self._user(request)
        if repository is None or (repository.private and not user):
            raise _error(web.HTTPUnauthorized if not user else web.HTTPNotFound, "RepoNotFound", "Repository not found")
        return repository

    def _found(self, request: web.Request, repository: Repository) -> str:
        oid = repository.find(request.match_info.get("revision", "main").replace("%2F", "/"))
        if oid is None:
            raise _error(web.HTTPNotFound, "RevisionNotFound", "Invalid rev id")
        return oid

    def _may_write(self, request: web.Request, owner: str) -> None:
        user = self._user(request)
        if user is None:
            raise _error(web.HTTPUnauthorized, "", "Invalid username or password.")
        if user != (owner, "write"):
            raise _error(web.HTTPForbidden, "", "you don't have the rights to do this")

    async def _whoami(self, request: web.Request) -> web.Response:
        user = self._user(request)
        if user is None:
            raise _error(web.HTTPUnauthorized, "", "Invalid username or password.")
        return web.json_response({"type": "user", "name": user[0], "orgs": [], "auth": {}})

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        user = self._user(request)
        owner = asked.get("organization") or (user[0] if user else "")
        self._may_write(request, owner)
        repo = f"{owner}/{asked['name']}"
        answer = {"url": f"{self._url}/{repo}", "name": repo, "id": uuid.uuid4().hex}
        if repo in self.repositories:
            return web.json_response({"error": "You already created this model repo", **answer}, status=409)
        private = asked.get("private") or asked.get("visibility") == "private"
        self.repositories[repo] = Repository(private=bool(private))
        self.repositories[repo].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return web.json_response(answer)

    async def _validate_yaml(self, request: web.Request) -> web.Response:
        return web.json_response({"errors": [], "warnings": []})

    async def _info(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        oid = self._found(request, repository)
        siblings = [_sibling(name, content) for name, content in repository.commits[oid].items()]
        answer = {"id": "{owner}/{name}".format(**request.match_info), "sha": oid, "private": repository.private}
        return web.json_response({**answer, "gated": repository.gated and "auto", "siblings": siblings, "tags": []})

    async def _preupload(self, request: web.Request) -> web.Response:
        self._repository(request)
        files = (await request.json())["files"]
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in files
        ]
        return web.json_response({"files": modes})

    async def _batch(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["operation"] == "upload":
            self._may_write_there(request)
        objects = [
            {"oid": one["oid"], "size": one["size"]}
            | ({} if one["oid"] in self.large else {"actions": {"upload": {"href": f"{self._cdn}/lfs/{one['oid']}"}}})
            for one in asked["objects"]
        ]
        return web.json_response({"transfer": "basic", "objects": objects})

    def _may_write_there(self, request: web.Request) -> None:
        if self._user(request) is None:
            raise _error(web.HTTPUnauthorized, "", "Invalid username or password.")

    async def _put(self, request: web.Request) -> web.Response:
        content = await request.read()
        assert hashlib.sha256(content).hexdigest() == request.match_info["oid"]
        self.large[request.match_info["oid"]] = content
        return web.Response()

    async def _commit(self, request: web.Request) -> web.Response:
        repository = self._repository(request)
        as_pull_request = request.query.get("create_pr") == "1"
        if as_pull_request:
            self._may_write_there(request)
        else:
            self._may_write(request, request.match_info["owner"])
        oid = self._found(request, repository)
        files = dict(repository.commits[oid])
        for line in (await request.read()).decode().splitlines():
            part = json.loads(line)
            kind, value = part["key"], part["value"]
            if kind == "header" and value.get("parentCommit") not in (None, oid):
                raise _error(web.HTTPPreconditionFailed, "", "The branch has moved")
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        number = 1 + sum(name.startswith("refs/pr/") for name in repository.names)
        where = f"refs/pr/{number}" if as_pull_request else request.match_info["revision"]
        made = repository.commit(files, where)
        repo = "{owner}/{name}".format(**request.match_info)
        answer = {"commitUrl": f"{self._url}/{repo}/commit/{made}", "commitOid": made, "hookOutput": ""}
        if as_pull_request:
            answer["pullRequestUrl"] = f"{self._url}/{repo}/discussions/{number}"
        return web.json_response({"success": True, **answer})

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repository = self._repository(request)
        if repository.gated and not self._user(request):
            raise _error(web.HTTPUnauthorized, "GatedRepo", "Access to this model is restricted")
        oid = self._found(request, repository)
        path = request.match_info["path"]
        if path not in repository.commits[oid]:
            raise _error(web.HTTPNotFound, "EntryNotFound", "Entry not found", X_Repo_Commit=oid)
        content = repository.commits[oid][path]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{_git_oid(content)}"'}
        if path.endswith(LARGE):
            large = hashlib.sha256(content).hexdigest()
            linked = {"X-Linked-Etag": f'"{large}"', "X-Linked-Size": str(len(content))}
            return web.Response(status=302, headers={**headers, **linked, "Location": f"{self._cdn}/lfs/{large}"})
        return web.Response(body=content, headers=headers)

    async def _large(self, request: web.Request) -> web.StreamResponse:
        assert "Authorization" not in request.headers, "the token was sent to the place where large files lie"
        content = self.large[request.match_info["oid"]]
        start = int(re.findall(r"\d+", request.headers.get("Range", "0"))[0])
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(content) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        await response.prepare(request)
        fault = next((each for each in self.faults if each.spoil and each.times > 0), None)
        if fault:
            fault.times -= 1
        end = (start + len(content)) // 2 if fault and fault.spoil == "cut" else len(content)
        for piece in _pieces(content, start, end, self.piece):
            await response.write(bytes([piece[0] ^ 1]) + piece[1:] if fault and fault.spoil == "flip" else piece)
            if self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)
        if end < len(content) and request.transport:
            request.transport.abort()
        return response

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _cdn(self) -> str:
        # Another origin: the client keeps what a redirection within the Hub says only where it leads away from it.
        return f"http://localhost:{self.port}"


def _pieces(content: bytes, start: int, end: int, size: int) -> Iterator[bytes]:
    for place in range(start, end, size):
        yield content[place : min(place + size, end)]


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    entry = {"rfilename": name, "size": len(content), "blobId": _git_oid(content)}
    if name.endswith(LARGE):
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _error(kind: type[web.HTTPError], code: str, message: str, **headers: str) -> web.HTTPError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"X-Error-Code": code} if code else {}
    return kind(
        text=json.dumps({"error": message}),
        content_type="application/json",
        headers={**told, "X-Error-Message": message, **named},
    )
