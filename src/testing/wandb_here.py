"""Serves W&B on this machine, and keeps every byte that it is sent, for tests and for measurements.

Online runs, resumed ones and `wandb sync` complete against it; `wandb.Api` reads its projects, and workspaces and
reports are saved to it. It can be stopped and started again at its port.
"""

import gzip
import json
import os
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from src.testing.wandb_answers import Answers
from src.testing.wandb_sent import SentRun

KEY = "0" * 40
"""An API key of the form that W&B takes."""


@dataclass(frozen=True)
class Request:
    """Holds one request as it came.

    Attributes:
        head: method, path and headers.
        raw: the body as it was sent.
        body: the same without compression of the transport.
    """

    head: str
    raw: bytes
    body: bytes


class WandbHere:
    """Serves W&B on a port of 127.0.0.1, while `with` lasts.

    Attributes:
        entity: whose projects it holds.
        requests: all that came, in order.
        refuses: HTTP status with which everything is refused; 0 for a server in health.
    """

    def __init__(self, entity: str = "researcher") -> None:
        self.entity = entity
        self.requests: list[Request] = []
        self.refuses = 0
        self.port = 0
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._answers = Answers(entity, self)

    def __enter__(self) -> "WandbHere":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begins to answer; again at the same port after `stop`."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Is gone, connections in use included; what was sent is kept."""
        if self._server:
            self._server.end()
            self._server = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Takes the server away, and brings it back at the end."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def url(self) -> str:
        """Is its address, with the port that it keeps."""
        return f"http://127.0.0.1:{self.port}"

    def env(self, **more: str) -> dict[str, str]:
        """Builds the environment of a process that is logged in here, without W&B settings of this one and proxies."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        # A proxy would be asked for 127.0.0.1 too, and its answer would pass for the server's.
        kept = {name: value for name, value in kept.items() if "proxy" not in name.lower()}
        return {**kept, "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "NO_PROXY": "*", **more}

    def run(self, name: str, project: str | None = None) -> SentRun:
        """Finds a run by its id.

        Raises:
            KeyError: there is none, or it is in several projects and none was named.
        """
        matching = [run for run in self.runs if run.name == name and project in (None, run.project)]
        if len(matching) != 1:
            raise KeyError(f"{name}: {len(matching)} runs of that id")
        return matching[0]

    @property
    def runs(self) -> list[SentRun]:
        """Lists every run of every project."""
        with self._lock:
            return list(self._answers.runs.values())

    @property
    def views(self) -> list[dict[str, Any]]:
        """Lists saved workspaces and reports, as they were sent; of one saved twice the last."""
        return list(self._answers.views.values())

    @property
    def unknown(self) -> list[str]:
        """Lists what was asked that it has no answer for."""
        return self._answers.unknown

    @property
    def hosts(self) -> set[str]:
        """Lists the names under which it was called."""
        return set(re.findall(r"(?im)^host: *(\S+)", "\n".join(request.head for request in self.requests)))

    def history(self, name: str, project: str | None = None) -> list[dict[str, Any]]:
        """Reads the rows of a run's history, by their place in the stream."""
        return self.run(name, project).history

    def summary(self, name: str, project: str | None = None) -> dict[str, Any]:
        """Reads a run's summary."""
        return self.run(name, project).summary

    def config(self, name: str, project: str | None = None) -> dict[str, Any]:
        """Reads a run's configuration, without W&B's own part."""
        return self.run(name, project).config

    def files(self, name: str, project: str | None = None) -> dict[str, bytes]:
        """Returns the files of a run that were uploaded, by name."""
        return dict(self.run(name, project).files)

    def sent(self) -> bytes:
        """Joins every byte that came: heads, paths decoded too, bodies as sent and without transport compression."""
        parts = []
        with self._lock:
            for request in self.requests:
                parts += [request.head.encode(), unquote(request.head).encode(), request.raw]
                parts += [request.body] if request.body != request.raw else []
        return b"\n".join(parts)

    def reply(self, method: str, path: str, head: str, raw: bytes, encoding: str) -> tuple[int, bytes]:
        """Keeps one request and answers it with an HTTP status and JSON."""
        body = gzip.decompress(raw) if encoding == "gzip" else zlib.decompress(raw) if encoding == "deflate" else raw
        request = Request(head, raw, body)
        with self._lock:
            self.requests.append(request)
            if self.refuses:
                return self.refuses, b"{}"
            if path == "/graphql":
                operation = json.loads(request.body)
                return 200, json.dumps(
                    self._answers.graphql(operation["query"], operation.get("variables") or {})
                ).encode()
            if stream := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                answer = self._answers.file_stream(unquote(stream[2]), unquote(stream[3]), json.loads(request.body))
                return 200, json.dumps(answer).encode()
            if stored := re.fullmatch(r"/storage/([^/]+)/([^/]+)/(.+)", path):
                run = self._answers.run(unquote(stored[1]), unquote(stored[2]))
                if method == "GET":
                    return 200, run.files[unquote(stored[3])]
                run.files[unquote(stored[3])] = request.body
                return 200, b"{}"
            if path.startswith("/sdk/otel/"):  # W&B's measurements of itself
                return 200, b"{}"
            self.unknown.append(f"{method} {path}")
            return 404, b"{}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], here: WandbHere) -> None:
        self.here = here
        self.open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        # Closing the listening socket leaves connections open, over which a client would still be answered.
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports nothing, as clients drop connections when they end."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *words: Any) -> None:
        """Prints nothing."""

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            raw = self._chunks()
        head = f"{self.command} {self.path}\n{self.headers}"
        encoding = self.headers.get("Content-Encoding", "")
        status, body = self.server.here.reply(self.command, self.path, head, raw, encoding)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = do_DELETE = answer

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)
