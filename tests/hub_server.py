"""A hub on the loopback: as much of the Hugging Face hub's protocol as its clients use unmodified.

Served are repositories that a test makes: what they hold at each commit, the tree and the facts of
a commit, files whole or by range, and uploads (create, preupload, large files, commit). As on the
hub, the ETag of a large file is its SHA-256 and that of a small one its git id, and a repository
behind a gate shows its tree and withholds its files.

Faults are ordered by `Hub.fail`; every request is written into `Hub.requests`.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".bin")
TOKEN = "hf_of_the_test"
READ = re.compile(r"/(?P<repo>(datasets/)?[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)")
API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)"
    r"(/auth-check|/(?P<verb>revision|tree|paths-info|preupload|commit)/(?P<rev>[^/]+)"
    r"(/(?P<file>.*))?)?"
)


def etag_of(name: str, data: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """`commits` holds the files of each commit; `refs` are the names that stand for one."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def add(self, files: dict[str, bytes], ref: str = "main") -> str:
        """A new commit of these files, to which `ref` points from now on."""
        names = [f"{name} {etag_of(name, data)}" for name, data in sorted(files.items())]
        commit = hashlib.sha1("\n".join([*names, *self.commits]).encode()).hexdigest()
        self.commits[commit] = files
        self.refs[ref] = commit
        return commit


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    authorised: bool


@dataclass
class Fault:
    method: str
    part: str  # of the path
    kind: int | str  # an HTTP status, or "reset", "cut" or "corrupt"
    times: int


@dataclass
class Hub:
    """What is served, what was asked, and what is to go wrong."""

    url: str = ""
    name: str = ""  # of the repository of the test at hand
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def fail(self, part: str, kind: int | str, times: int = 1, method: str = "GET") -> None:
        """The next `times` requests of `method` whose path contains `part` go wrong."""
        self.faults.append(Fault(method, part, kind, times))

    def fault(self, method: str, path: str) -> int | str | None:
        for fault in self.faults:
            if fault.times and fault.method == method and fault.part in path:
                fault.times -= 1
                return fault.kind
        return None

    def asked(self, part: str, method: str = "GET") -> list[Request]:
        return [r for r in self.requests if r.method == method and part in r.path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    @property
    def authorised(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def reply(self, status: int, body: bytes | list | dict = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def handle_request(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(
            Request(self.command, path, self.headers.get("Range"), self.authorised)
        )
        self.kind = self.hub.fault(self.command, path)
        if isinstance(self.kind, int):
            self.refuse(self.kind, "Broken")
        elif self.kind == "reset":
            self.reset()
        elif found := READ.fullmatch(urlsplit(self.path).path):
            self.serve_file(found["repo"], unquote(found["rev"]), unquote(found["file"]))
        elif found := API.fullmatch(urlsplit(self.path).path):
            self.serve_api(found)
        else:
            self.serve_rest(path)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def reset(self) -> None:
        """Leave without a word: the client sees the connection reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def commit_of(self, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository and the full commit, or None after the answer that there is none."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            # The hub does not tell a stranger whether a repository is missing or private.
            self.refuse(404 if self.authorised else 401, "RepoNotFound")
            return None
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self.refuse(404, "RevisionNotFound")
            return None
        return repository, commit

    def serve_file(self, name: str, revision: str, file: str) -> None:
        if not (found := self.commit_of(name, revision)):
            return
        repository, commit = found
        if repository.gated and not self.authorised:
            self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            return
        data = repository.commits[commit].get(file)
        if data is None:
            self.reply(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        headers = {"ETag": f'"{etag_of(file, data)}"', "X_Repo_Commit": commit}
        headers |= {"X_Linked_Size": str(len(data)), "Accept_Ranges": "bytes"}
        status, part = 200, data
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            status, part = 206, data[first : last + 1]
            headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
        if self.kind == "corrupt":
            part = bytes(byte ^ 1 for byte in part[:8]) + part[8:]
        if self.kind == "cut" and self.command == "GET":
            headers["Content_Length"] = str(len(part))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.reply(status, part, **headers)

    def serve_api(self, found: re.Match[str]) -> None:
        name = found["repo"] if found["kind"] == "models" else f"datasets/{found['repo']}"
        if not (known := self.commit_of(name, unquote(found["rev"] or "main"))):
            return
        repository, commit = known
        files = repository.commits[commit]
        folder = unquote(found["file"] or "")
        if self.path.endswith("/auth-check"):
            if repository.gated and not self.authorised:
                self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            else:
                self.reply(200, {})
        elif found["verb"] == "tree":
            deep = parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() == "true"
            self.reply(200, list(tree(files, folder, deep)))
        elif found["verb"] == "paths-info":
            form = json.loads(self.body) if self.body[:1] == b"{" else None
            paths = form["paths"] if form else parse_qs(self.body.decode())["paths"]
            entries = {entry["path"]: entry for entry in tree(files, "", True)}
            self.reply(200, [entries[path] for path in paths if path in entries])
        elif found["verb"] == "preupload":
            wanted = json.loads(self.body)["files"]
            modes = {True: "lfs", False: "regular"}
            answer = [
                {
                    "path": file["path"],
                    "uploadMode": modes[file["path"].endswith(LARGE)],
                    "shouldIgnore": False,
                }
                for file in wanted
            ]
            self.reply(200, {"files": answer})
        elif found["verb"] == "commit":
            self.commit(repository, files)
        else:
            siblings = [{"rfilename": file} for file in files]
            facts = {"id": found["repo"], "sha": commit, "siblings": siblings, "private": False}
            self.reply(200, facts | {"gated": repository.gated, "tags": [], "downloads": 0})

    def commit(self, repository: Repository, files: dict[str, bytes]) -> None:
        """Take a commit that comes as JSON lines."""
        if not self.authorised:
            self.refuse(401, "Unauthorized")
            return
        files = dict(files)
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        oid = repository.add(files)
        self.reply(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/c/{oid}"})

    def serve_rest(self, path: str) -> None:
        if path == "/api/repos/create":
            wanted = json.loads(self.body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if not self.authorised:
                self.refuse(401, "Unauthorized")
            elif name in self.hub.repositories:
                self.reply(409, {"url": f"{self.hub.url}/{name}"})
            else:
                self.hub.repositories[name] = repository = Repository()
                repository.add({".gitattributes": b""})
                self.reply(200, {"url": f"{self.hub.url}/{name}"})
        elif path == "/api/validate-yaml":
            self.reply(200, {"errors": [], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                wanted | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(self.body)["objects"]
            ]
            self.reply(200, {"transfer": "basic", "objects": objects})
        elif path.startswith("/lfs/"):
            self.hub.uploads[path.removeprefix("/lfs/")] = self.body
            self.reply(200)
        else:
            self.refuse(404, "NotHere")


def tree(files: dict[str, bytes], folder: str, deep: bool) -> Iterator[dict]:
    """Entries below a folder, as the hub lists them."""
    start = f"{folder}/" if folder else ""
    folders = set()
    for name, data in sorted(files.items()):
        if not name.startswith(start):
            continue
        parts = name.removeprefix(start).split("/")
        for depth in range(1, len(parts)) if deep else range(1, min(len(parts), 2)):
            folders.add(start + "/".join(parts[:depth]))
        if deep or len(parts) == 1:
            entry = {"type": "file", "path": name, "size": len(data)}
            entry["oid"] = hashlib.sha1(data).hexdigest()
            if name.endswith(LARGE):
                oid = etag_of(name, data)
                entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
            yield entry
    for name in sorted(folders):
        yield {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub without repositories, on a free port."""
    hub = Hub()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()
