"""A loopback stand-in for web servers and for the Hugging Face Hub: files by their path over HTTP, and failures on demand.

It answers HEAD and GET, also for a Range, with the headers of the hub: ETag, X-Repo-Commit, X-Linked-Etag and X-Linked-Size for
LFS files, X-Error-Code. No Xet headers, hence no Xet.
"""

import hashlib
import os
import re
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest
from huggingface_hub import constants

FILE = "model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Answer:
    """How to answer one request. By default the file; otherwise:

    `status` and `headers` (None removes one) instead of its own, `body` instead of the content, `sent` bytes of it and
    then the connection is closed, `silent` without a word until the server stops. `ranges`: a Range is answered by a part.
    """

    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    sent: int | None = None
    silent: bool = False
    raw: bytes | None = None
    pause: float = 0.0
    endless: bool = False
    stalls: bool = False
    reset: bool = False
    ranges: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case


class Hub:
    """`files` are contents by path; `answers` are used up one a request but for the last, which stays."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: list[Answer] = [Answer()]
        self.requests: list[Request] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on connections are refused."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def add(self, content: bytes, path: str = "/weights.pt") -> str:
        """Serve `content` as a plain web server does, and return its address."""
        self.files[path] = content
        return self.url + path

    def put(self, content: bytes, repo: str = "me/tiny", revision: str = "main", file: str = FILE) -> None:
        self.files[f"/{repo}/resolve/{revision}/{file}"] = content

    def next(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        self.hub.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = hub.next(Request(self.command, self.path, headers))
        self.close_connection = True
        if answer.silent:
            hub._stopped.wait(10)
            return
        if answer.raw is not None:
            self._give(answer.raw, answer)
            return
        content = hub.files.get(self.path)
        if answer.status == 200 and content is None:
            answer = Answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"Entry not found")
        body = answer.body if answer.body is not None else content if answer.status == 200 and content else b""
        part = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if part and answer.ranges:
            answer, body = Answer(206, {"Content-Range": f"bytes {part[1]}-{len(body) - 1}/{len(body)}"}), body[int(part[1]) :]
        self.send_response(answer.status)
        own = _lfs_headers(content) if content is not None else {}
        usual = {"Content-Length": str(len(body)), "Connection": "close"}
        for name, value in {**own, **usual, **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._give(body[: answer.sent], answer)

    def _give(self, content: bytes, answer: Answer) -> None:
        stopped = self.server.hub._stopped
        with suppress(ConnectionError):  # a client that has read enough
            if answer.pause:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    if stopped.wait(answer.pause):
                        return
            else:
                self.wfile.write(content)
            while answer.endless and not stopped.is_set():
                self.wfile.write(bytes(1 << 16))
            if answer.stalls:
                stopped.wait(10)
        if answer.reset:  # instead of the usual end: what was not sent yet is lost
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def _lfs_headers(content: bytes) -> dict[str, str]:
    """An LFS file's: the linked ETag is the SHA-256 of the content, the plain one that of the pointer."""
    return {
        "X-Repo-Commit": COMMIT,
        "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
        "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
        "X-Linked-Size": str(len(content)),
        "Content-Type": "binary/octet-stream",
    }


def isolated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own in `folder`, no token, no proxy, nothing that the environment says of a hub."""
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy") or name == "HUGGING_FACE_HUB_TOKEN":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ERANNTAG_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    for name, value in {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_TELEMETRY": True, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(constants, name, value)
